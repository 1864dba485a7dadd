// Package audit keeps the audit log: who changed which token and from where, and
// which requests were refused. It is a file of JSON lines to which lines are only
// added, each bound to the one before by a hash.
//
// A change is recorded by Append before it is made, and is on disk when Append
// returns; what can't be recorded must not be done. A refused request is recorded
// by Note, which costs the request next to nothing, and never waits: if there are
// more than the disk takes they are counted, and the next line says how many are
// missing.
//
// Verify finds what was changed, removed, inserted or put in another order by
// somebody who can write the files. Somebody who can write all of them can compute
// all hashes anew, unless there is a key that they don't have. Lines cut off at the end
// are missed only if the Head of the log is kept elsewhere, as a Log does in the token
// store: what is missing at its start it says in the log.
//
// The log never holds a secret.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/internal/diskroom"
	"github.com/crumbgate/crumbgate/storage"
)

// Sizes are how much a log keeps, and in what pieces. The zero value is good.
type Sizes struct {
	// MaxSize is the size in bytes at which a file is put aside and a new one begun;
	// only a single line can make a file larger. 0 means 64 MiB.
	MaxSize int64

	// Keep is how many files that were put aside are kept. 0 means all.
	Keep int

	// KeepFor is for how long a file is kept after it was put aside. 0 means for ever.
	KeepFor time.Duration
}

// defaulted returns the sizes that are meant, or what is wrong with them.
func (s Sizes) defaulted() (Sizes, error) {
	if s.MaxSize < 0 || s.Keep < 0 || s.KeepFor < 0 {
		return s, fmt.Errorf("the size %d, the number of files %d and the time %v can't be negative", s.MaxSize, s.Keep, s.KeepFor)
	}
	if s.MaxSize == 0 {
		s.MaxSize = 64 << 20
	}
	return s, nil
}

// Options are the settings of a log. The zero value is good.
type Options struct {
	Sizes

	// Key makes each line carry an HMAC-SHA256, so that who has the files and not
	// the key can't write a valid line. It has at least 32 bytes and is kept apart
	// from the log. A log has a key from its first line on or never. nil: no key.
	Key []byte

	// LockTimeout is how long to wait for another process to let go of the log.
	// 0 means 5 seconds; if negative Open does not wait.
	LockTimeout time.Duration

	// Reserve is the room in bytes that the newest file has ahead, for lines that must be
	// written on a full disk, too: those of changes that are made already. Where the file
	// system can't allocate ahead there is none.
	Reserve int64

	// Store keeps the head of the log under Name, for the next Open to compare with. It
	// is used until Close returns. nil: nothing keeps it.
	Store storage.Store
	Name  string

	// Log is told when events can't be written, and when they can again. nil:
	// nobody is.
	Log *slog.Logger
}

const (
	// queued bounds the notes that wait to be written: half a megabyte, and their
	// texts.
	queued = 2048
	// maxWrite bounds what is written at once, but for one line.
	maxWrite = 256 << 10
)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("the audit log is closed")

// A Log writes an audit log. It is safe for concurrent use. Its owner closes it.
type Log struct {
	path    string
	o       Options
	lock    *os.File
	notes   chan Event
	appends chan pending
	sizes   chan Sizes
	stop    chan struct{}
	done    chan struct{}
	closing sync.Once
	dropped atomic.Uint64 // events that could not be written
	synced  atomic.Pointer[Head]
	failing atomic.Pointer[error] // of the last attempt to write; nil: it succeeded

	unsettled Unsettled // at Open

	// What follows is of the goroutine that writes.
	encoder
	file   *os.File // nil: to be created
	size   int64    // of its whole lines
	first  uint64   // the seq of its first line, if it has one
	dirty  bool     // there may be half a line behind size
	room   int64    // up to where file has its blocks
	head   Head
	told   uint64  // of dropped, what lines have said
	own    []Event // of the log itself, to be written before all else
	lines  []byte
	last   error // of the one before the end
	kept   Head  // as the store has it
	unkept error // why it has not a later one
	cutOff bool  // lines that the store knows are gone
}

// pending is a group of events on its way to the file, which takes all of them or none.
type pending struct {
	events []Event
	ctx    context.Context
	done   chan<- appended // nil: no caller waits
	own    bool            // to be tried again if it can't be written
	head   Head            // of the last line, once written
}

// appended is the outcome of an Append.
type appended struct {
	head Head
	err  error
}

func one(e Event) []Event { return []Event{e} }

// vital reports whether p may use the room that is reserved: its change is made already, or
// has failed, or it is the log's own.
func (p *pending) vital() bool {
	return p.own || p.done != nil && !slices.ContainsFunc(p.events, func(e Event) bool { return !e.Failed && !token.Kind(e.Kind).Removes() })
}

// errReserved is the error of lines for which there is only room that is reserved.
var errReserved = errors.New("the disk has no room but what is kept for revocations")

// roomAhead is how much more than Options.Reserve is allocated at once.
const roomAhead = 256 << 10

// makeRoom makes sure that the file has its blocks for n bytes more, and behind them, unless
// the lines are vital, the room that is reserved.
func (l *Log) makeRoom(n int64, vital bool) error {
	end := l.size + n + l.o.Reserve
	if l.o.Reserve == 0 || vital || end <= l.room {
		return nil
	}
	switch err := diskroom.Ahead(l.file, l.size, n+l.o.Reserve+roomAhead); {
	case err == nil:
		l.room = end + roomAhead
	case errors.Is(err, diskroom.ErrUnsupported):
		l.o.Reserve = 0
	default:
		return fmt.Errorf("%w: %w", errReserved, err)
	}
	return nil
}

// Append records events, all of them or none, and returns the head of their last line
// when they are on disk. The events of concurrent calls go there together. All that was
// noted before is written before.
//
// After an error the log has none of them. An end of ctx withdraws what is not being
// written yet; else Append waits for the outcome.
func (l *Log) Append(ctx context.Context, events ...Event) (Head, error) {
	head, err := l.append(ctx, slices.Clone(events))
	if err != nil {
		return Head{}, fmt.Errorf("audit log %q: %s was not recorded: %w", l.path, kindsOf(events), err)
	}
	return head, nil
}

func kindsOf(events []Event) string {
	if len(events) == 1 {
		return string(events[0].Kind)
	}
	return fmt.Sprintf("a group of %d events", len(events))
}

// maxAppend bounds the events of one Append, and so what is written at once.
const maxAppend = 256

func (l *Log) append(ctx context.Context, events []Event) (Head, error) {
	if len(events) == 0 || len(events) > maxAppend {
		return Head{}, fmt.Errorf("%d events, 1 to %d are taken at once", len(events), maxAppend)
	}
	for i := range events {
		if events[i].Kind == "" || events[i].Kind.own() {
			return Head{}, errors.New("its kind is none for callers")
		}
		if events[i].Time.IsZero() {
			events[i].Time = time.Now()
		}
	}
	select {
	case <-l.stop:
		return Head{}, ErrClosed
	default:
	}
	done := make(chan appended, 1)
	select {
	case l.appends <- pending{events: events, ctx: ctx, done: done}:
	case <-ctx.Done():
		return Head{}, ctx.Err()
	case <-l.stop:
		return Head{}, ErrClosed
	}
	select {
	case a := <-done:
		return a.head, a.err
	case <-l.done:
	}
	select {
	case a := <-done:
		return a.head, a.err
	default: // handed over when the goroutine had looked for the last time
		return Head{}, ErrClosed
	}
}

// Note records an event some time within the next second, if there is room in the
// queue. It does not wait, and does no I/O. What was noted before Close is
// written; a crash loses what was still in the queue.
func (l *Log) Note(e Event) {
	if e.Kind == "" || e.Kind.own() {
		l.dropped.Add(1)
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(l.notes) < cap(l.notes) {
		e.keep()
		select {
		case l.notes <- e:
			return
		default:
		}
	}
	l.dropped.Add(1)
}

// Resize sets how much the log keeps, from the next line on. After Close it does
// nothing.
func (l *Log) Resize(s Sizes) error {
	s, err := s.defaulted()
	if err != nil {
		return fmt.Errorf("audit log %q: %w", l.path, err)
	}
	select {
	case l.sizes <- s:
	case <-l.done:
	}
	return nil
}

// Head returns the last line that is on disk for certain. What Append has recorded
// is in it or before it.
func (l *Log) Head() Head { return *l.synced.Load() }

// Failing returns the error of the last attempt to write, nil if it succeeded.
func (l *Log) Failing() error {
	if err := l.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// Dropped returns how many events could not be written since Open.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is queued and closes the log. The error says if the end could
// not be written. A second call waits for the first and returns the same.
func (l *Log) Close() error {
	l.closing.Do(func() { close(l.stop) })
	<-l.done
	if l.last != nil {
		return fmt.Errorf("audit log %q: closing it: %w", l.path, l.last)
	}
	return nil
}

func (l *Log) run() {
	defer close(l.done)
	l.commit(nil) // that it was opened
	l.rememberHead()
	keep := time.NewTicker(headInterval)
	defer keep.Stop()
	for {
		var batch, appends []pending
		stopping := false
		select {
		case e := <-l.notes:
			batch = append(batch, pending{events: one(e)})
		case p := <-l.appends:
			appends = append(appends, p)
		case l.o.Sizes = <-l.sizes:
			continue
		case <-keep.C:
			l.rememberHead()
			l.probe()
			continue
		case <-l.stop:
			stopping = true
		}
		// The appends are taken first: so all that was noted before one of them is
		// among the notes that are taken next, and written before it.
		for range len(l.appends) {
			appends = append(appends, <-l.appends)
		}
		for range len(l.notes) {
			batch = append(batch, pending{events: one(<-l.notes)})
		}
		batch = append(batch, appends...)
		if stopping {
			batch = append(batch, pending{events: one(Event{Time: time.Now(), Kind: LogClosed, Via: ViaGateway}), own: true})
		}
		l.commit(batch)
		if stopping {
			l.last = errors.Join(l.Failing(), l.keepHead())
			if l.file != nil {
				l.last = errors.Join(l.last, l.file.Close())
			}
			l.last = errors.Join(l.last, l.lock.Close())
			return
		}
	}
}

// commit writes a batch, and answers those who wait.
func (l *Log) commit(batch []pending) {
	if len(l.own) > 0 {
		first := make([]pending, 0, len(l.own)+len(batch))
		for _, e := range l.own {
			first = append(first, pending{events: one(e), own: true})
		}
		batch, l.own = append(first, batch...), nil
	}
	var live []pending
	for _, p := range batch {
		if p.ctx != nil && p.ctx.Err() != nil { // nobody waits any more
			p.done <- appended{err: p.ctx.Err()}
			continue
		}
		live = append(live, p)
	}
	if len(live) == 0 {
		return
	}
	full := false
	for len(live) > 0 {
		n, err := l.write(live)
		if err == nil && n == 0 {
			err = l.rotate()
		}
		if errors.Is(err, errReserved) { // the next ones may use what is reserved
			l.fail(live[:1], err)
			live, full = live[1:], true
			continue
		}
		if err != nil {
			l.fail(live, err)
			return
		}
		answer(live[:n], nil)
		live = live[n:]
	}
	if !full {
		l.recovered()
	}
}

// answer tells the callers of a batch its outcome.
func answer(batch []pending, err error) {
	for _, p := range batch {
		if p.done != nil {
			p.done <- appended{p.head, err}
		}
	}
}

// fail gives up a batch, but for the log's own events.
func (l *Log) fail(batch []pending, err error) {
	for _, p := range batch {
		switch {
		case p.own:
			l.own = append(l.own, p.events...)
		case p.done == nil:
			l.dropped.Add(1)
		}
	}
	if l.failing.Swap(&err) == nil {
		l.warn(slog.LevelError, "the audit log can't be written: only revocations, suspensions and disablings go on, denials are counted", "error", err)
	}
	answer(batch, err)
}

// probe looks whether a change could be recorded now, so that a log that can't be written is
// known before.
func (l *Log) probe() {
	err := l.ready()
	if err == nil {
		err = l.makeRoom(maxLine, false)
	}
	if err != nil {
		l.fail(nil, err)
		return
	}
	if l.o.Reserve > 0 { // else only a write can tell
		l.commit(nil)
		l.recovered()
	}
}

// recovered says that the log can be written again.
func (l *Log) recovered() {
	if len(l.own) == 0 && l.failing.Swap(nil) != nil {
		l.warn(slog.LevelInfo, "the audit log is written again", "dropped", l.dropped.Load())
	}
}

func (l *Log) warn(level slog.Level, message string, args ...any) {
	if l.o.Log != nil {
		l.o.Log.Log(context.Background(), level, message, append(args, "path", l.path)...)
	}
}

// write writes as many groups of the batch as fit, in one call, and makes them
// durable if somebody waits. It returns 0 if the file has no room for even one.
// On an error nothing of the batch is in the file.
func (l *Log) write(batch []pending) (int, error) {
	if err := l.ready(); err != nil {
		return 0, err
	}
	head, n, durable := l.head, 0, false
	dropped := l.dropped.Load()
	missing := dropped - l.told
	l.lines = l.lines[:0]
	for i, p := range batch {
		with, next := l.lines, head
		for j, e := range p.events {
			lost := missing
			if j > 0 {
				lost = 0
			}
			with, next = l.encoder.append(with, next, e, lost)
		}
		full := l.size > 0 || n > 0
		if full && l.size+int64(len(with)) > l.o.MaxSize || n > 0 && len(with) > maxWrite {
			break
		}
		if err := l.makeRoom(int64(len(with)), p.vital()); err != nil {
			if n > 0 {
				break
			}
			return 0, err
		}
		l.lines, head, missing = with, next, 0
		batch[i].head = next //nolint:gosec // G602: i is an index of batch
		n++
		durable = durable || p.own || p.done != nil
	}
	if n == 0 {
		return 0, nil
	}
	_, err := l.file.Write(l.lines)
	if err == nil && durable {
		err = l.file.Sync()
	}
	if err != nil {
		// Half a line would end the chain. If it can't be cut off now, ready does it
		// before the next. After a failed sync the kernel may have forgotten earlier
		// notes too, which the chain shows after a crash of the machine.
		l.dirty = true
		_ = l.cut()
		return 0, err
	}
	if l.size == 0 {
		l.first = l.head.Seq + 1
	}
	l.size += int64(len(l.lines))
	l.head, l.told = head, dropped
	if durable {
		l.synced.Store(&head)
	}
	return n, nil
}
