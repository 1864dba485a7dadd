// Package usage counts the uses of tokens, off the request path.
//
// A Counter is written by requests, without locks and without allocation but for
// a new address or client. A Tracker carries what has changed to the store, in batches
// at a fixed interval and once more when it is closed. What a crash can lose is
// what was counted since the last batch, and nothing else; a clean stop loses
// nothing.
package usage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/storage"
)

// Interval is how often counts are stored, and so the bound on what a crash
// can lose.
const Interval = 10 * time.Second

// prefix begins the keys under which totals are stored; the token's id follows.
const prefix = "usage/"

// A Total is what is known of the uses of one token.
type Total struct {
	Count    uint64 `cbor:"1,keyasint"`
	First    int64  `cbor:"2,keyasint,omitempty"` // Unix seconds; 0: never
	Last     int64  `cbor:"3,keyasint,omitempty"` // Unix seconds; 0: never
	LastAddr string `cbor:"4,keyasint,omitempty"`
	// Agent is the family of the last client's User-Agent.
	Agent string `cbor:"5,keyasint,omitempty"`
	// Addrs are the last addresses that are known, the newest at the end.
	Addrs []string `cbor:"6,keyasint,omitempty"`
}

// maxAddrs bounds how many addresses are known of a token. From one that has been
// forgotten a use counts as the first again.
const maxAddrs = 16

// A Use is one use of a token.
type Use struct {
	Time  time.Time
	Addr  string // of the network
	Agent string // the User-Agent
}

// A Counter counts the uses of one token. The zero value is not usable; a
// Tracker makes them.
type Counter struct {
	id      uuid.UUID
	tracker *Tracker

	count    atomic.Uint64
	first    atomic.Int64
	last     atomic.Int64
	lastAddr atomic.Pointer[string]
	agent    atomic.Pointer[string]
	addrs    atomic.Pointer[[]string] // replaced, never changed

	dirty atomic.Bool
	next  *Counter // in the tracker's list of dirty counters
}

// Add counts one use, unless there have been as many as bound already, which is 0
// for none. Fresh tells that the address was not known before.
func (c *Counter) Add(u Use, bound uint64) (counted, fresh bool) {
	if bound == 0 {
		c.count.Add(1)
	} else {
		for n := c.count.Load(); ; n = c.count.Load() {
			if n >= bound {
				return false, false
			}
			if c.count.CompareAndSwap(n, n+1) {
				break
			}
		}
	}
	unix := u.Time.Unix()
	if c.first.Load() == 0 {
		c.first.CompareAndSwap(0, unix)
	}
	if c.last.Load() != unix {
		c.last.Store(unix)
	}
	if old := c.lastAddr.Load(); old == nil || *old != u.Addr {
		fresh = c.from(u.Addr)
	}
	if family := Family(u.Agent); family != "" {
		if old := c.agent.Load(); old == nil || *old != family {
			kept := strings.Clone(family)
			c.agent.Store(&kept)
		}
	}
	c.markDirty()
	return true, fresh
}

// from notes another address than that of the use before, and tells whether it was
// not known.
func (c *Counter) from(addr string) (fresh bool) {
	for {
		old := c.addrs.Load()
		var known []string
		if old != nil {
			known = *old
		}
		if i := slices.Index(known, addr); i >= 0 {
			c.lastAddr.Store(&known[i])
			return false
		}
		kept := strings.Clone(addr) // it may be a piece of a whole request head
		grown := append(slices.Clone(known[max(0, len(known)+1-maxAddrs):]), kept)
		if c.addrs.CompareAndSwap(old, &grown) {
			c.lastAddr.Store(&kept)
			return true
		}
	}
}

// Touch notes that a use that was counted before still goes on, if the last use that is
// known is at least a step before now.
func (c *Counter) Touch(now time.Time, step time.Duration) {
	if unix := now.Unix(); unix-c.last.Load() >= int64(step/time.Second) {
		c.last.Store(unix)
		c.markDirty()
	}
}

// Last returns when the token was last used, in Unix seconds; 0: never.
func (c *Counter) Last() int64 { return c.last.Load() }

func (c *Counter) markDirty() {
	if !c.dirty.Load() && c.dirty.CompareAndSwap(false, true) {
		c.tracker.push(c)
	}
}

// Total returns the uses so far, those not yet stored included.
func (c *Counter) Total() Total {
	t := Total{Count: c.count.Load(), First: c.first.Load(), Last: c.last.Load()}
	if addr := c.lastAddr.Load(); addr != nil {
		t.LastAddr = *addr
	}
	if agent := c.agent.Load(); agent != nil {
		t.Agent = *agent
	}
	if addrs := c.addrs.Load(); addrs != nil {
		t.Addrs = *addrs
	}
	return t
}

// Stored is a total as the store has it.
type Stored struct {
	ID uuid.UUID // of the token
	Total
}

// All yields what is stored, by the id of the token.
func All(ctx context.Context, store storage.Store) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		texts := make(map[string]string) // one copy of each address and agent
		for entry, err := range store.List(ctx, prefix) {
			if err != nil {
				yield(Stored{}, err)
				return
			}
			id, err := uuid.Parse(strings.TrimPrefix(entry.Key, prefix))
			if err == nil && entry.Key != prefix+id.String() {
				err = errors.New("the id is not in its usual form")
			}
			stored := Stored{ID: id}
			if err == nil {
				err = cbor.Unmarshal(entry.Value, &stored.Total)
			}
			if err != nil {
				yield(Stored{}, fmt.Errorf("record %q: %w", entry.Key, err))
				return
			}
			for _, text := range []*string{&stored.LastAddr, &stored.Agent} {
				if known, ok := texts[*text]; ok {
					*text = known
				} else {
					texts[*text] = *text
				}
			}
			if !yield(stored, nil) {
				return
			}
		}
	}
}

// A Tracker makes counters and stores their totals until it is closed.
type Tracker struct {
	store storage.Store
	log   *slog.Logger
	dirty atomic.Pointer[Counter]
	stop  chan struct{}
	done  chan struct{}

	flushing sync.Mutex // one flush at a time; no request takes it
}

// NewTracker starts a tracker. Its owner closes it before the store.
func NewTracker(store storage.Store, log *slog.Logger) *Tracker {
	t := &Tracker{store: store, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

// Counter returns a new counter for the token id that goes on from a total.
func (t *Tracker) Counter(id uuid.UUID, from Total) *Counter {
	c := &Counter{id: id, tracker: t}
	c.count.Store(from.Count)
	c.first.Store(from.First)
	c.last.Store(from.Last)
	if addr := from.LastAddr; addr != "" {
		c.lastAddr.Store(&addr) // of from itself it would keep the whole
		addrs := from.Addrs
		if !slices.Contains(addrs, addr) {
			addrs = []string{addr} // a total from before addresses were kept
		}
		c.addrs.Store(&addrs)
	}
	if agent := from.Agent; agent != "" {
		c.agent.Store(&agent)
	}
	return c
}

// push adds a counter that has just become dirty to the list. Only the goroutine
// that set dirty pushes, so a counter is never in the list twice.
func (t *Tracker) push(c *Counter) {
	for {
		c.next = t.dirty.Load()
		if t.dirty.CompareAndSwap(c.next, c) {
			return
		}
	}
}

func (t *Tracker) run() {
	defer close(t.done)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.flushOrWarn()
		case <-t.stop:
			t.flushOrWarn()
			return
		}
	}
}

func (t *Tracker) flushOrWarn() {
	if err := t.Flush(context.Background()); err != nil {
		t.log.Error("could not store the use counts of tokens; they are kept in memory and tried again", "error", err)
	}
}

// Flush stores the totals of all counters that have changed. What can't be
// stored stays dirty for the next time.
func (t *Tracker) Flush(ctx context.Context) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	left := t.dirty.Swap(nil)
	for left != nil {
		var taken []*Counter
		var batch []storage.Change
		for left != nil && len(batch) < storage.MaxBatch {
			c := left
			left = c.next
			// From here on a use makes the counter dirty again. One that saw it dirty
			// before has been added already, so the total holds it.
			c.dirty.Store(false)
			taken = append(taken, c)
			batch = append(batch, Change(c.id, c.Total()))
		}
		if _, err := t.store.Apply(ctx, batch...); err != nil {
			for _, c := range taken {
				c.markDirty()
			}
			for left != nil {
				c := left
				left = c.next
				t.push(c)
			}
			return fmt.Errorf("storing use counts: %w", err)
		}
	}
	return nil
}

// Change returns what stores a total of a token.
func Change(id uuid.UUID, total Total) storage.Change {
	value, err := cbor.Marshal(total)
	if err != nil {
		panic(err) // numbers and strings always encode
	}
	return storage.Change{Key: prefix + id.String(), Value: value, Expect: storage.Any}
}

// Close stores what is left and stops the tracker.
func (t *Tracker) Close() {
	close(t.stop)
	<-t.done
}
