package token

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	tokenPrefix   = storekey.Tokens
	profilePrefix = storekey.Users
)

func tokenKey(id uuid.UUID) string { return tokenPrefix + id.String() }

// MaxNameLen bounds the name of a token, in bytes.
const MaxNameLen = 128

// The kinds of Error, to be told apart with errors.Is.
var (
	ErrNotFound  = errors.New("not found")
	ErrDuplicate = errors.New("duplicate")
	ErrInvalid   = errors.New("invalid")
	ErrConflict  = errors.New("conflict") // with what a token or user is at the moment
	ErrStore     = errors.New("store")
	ErrAudit     = errors.New("audit")
)

// An Error says, for a person, why a change was not made and what to do.
type Error struct {
	Kind error // one of the kinds above
	Text string
}

func (e *Error) Error() string { return e.Text }
func (e *Error) Unwrap() error { return e.Kind }

func errorf(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// A Token is an entry of the directory. It stays the same while its record is
// replaced by newer ones.
type Token struct {
	record atomic.Pointer[Record]
	// The record at first, which for most tokens is the only one: beside the token
	// it is found with one access to memory less.
	first Record

	uses    atomic.Pointer[usage.Counter] // nil until the first use
	rate    atomic.Pointer[window]        // nil until the first use of one with a rate
	needs   atomic.Pointer[observed]      // nil until the first request that is observed
	alarmed atomic.Bool                   // its use after its end has been told of
	warned  atomic.Bool                   // its use as a legacy token has been told of
	owner   *owner
	parent  atomic.Pointer[Token] // see Record.Parent, or its newest successor; nil: none
	older   *Token                // the owner's token before this one; guarded by Directory.mu
}

// Record returns the token's record as it stands now.
func (t *Token) Record() *Record { return t.record.Load() }

// Profile returns what is known of the token's owner.
func (t *Token) Profile() *Profile { return t.owner.profile.Load() }

// Uses returns how often the token has been used.
func (t *Token) Uses() usage.Total {
	if c := t.uses.Load(); c != nil {
		return c.Total()
	}
	return usage.Total{}
}

// A Directory is the index of all tokens, in memory, and the only writer of their
// records. A change is checked, audited, stored durably, and only then visible and
// acknowledged; it names its actor. Find takes no lock.
type Directory struct {
	config  Config
	store   storage.Store
	tracker *usage.Tracker
	index   *index
	rules   atomic.Pointer[Rules] // never nil
	// countedSince is when uses began to be counted, in Unix seconds; 0: they are not, or
	// always were.
	countedSince atomic.Int64

	// changing is held by a change from its announcement to its commit. It comes before mu.
	// Changes that take rights away don't take it: they never wait for the audit log.
	changing sync.Mutex
	forget   []storage.Change // of waiting lines that the log has; guarded by changing

	mu      sync.Mutex // orders all commits, and guards what follows; not held while the log writes
	owners  owners
	waiting []Event // lines that the audit log has not taken yet, the oldest first
	// unstored has the changes by their keys that hold here, but are not in the store, since
	// that could not keep them when rights were taken away.
	unstored map[string]storage.Change
	touched  map[string]bool // keys changed while a change is announced; nil: none is

	unrecorded   chan struct{}         // has a value if waiting has got events
	recordErr    atomic.Pointer[error] // why waiting events can't be recorded; nil: they can
	recorderDone chan struct{}

	happened chan Event // of requests, which don't wait for what is done about them
	stop     chan struct{}
	done     chan struct{}
}

// Config is what a Directory needs of the outside world. Only Log is required.
type Config struct {
	Log *slog.Logger
	Now func() time.Time // time.Now if nil
	// Audit records events durably, all or none. It returns a change by which the store
	// remembers that it has all changes recorded so far, for the transaction of the last of
	// them; the zero Change: there is nothing to remember. The directory never has two calls
	// under way.
	Audit func(context.Context, ...Event) (storage.Change, error)
	// Told is told of each event: of a change after it was made, and of what has
	// happened to a token. It must not wait.
	Told func(Event)
}

// Open reads all records of a store, which the directory closes from then on,
// also when Open fails. A damaged record is an error: a gateway that starts
// without some of its tokens would look healthy and be wrong.
func Open(ctx context.Context, store storage.Store, cfg Config) (*Directory, error) {
	d := &Directory{
		config:       cfg,
		store:        store,
		index:        newIndex(),
		owners:       owners{byKey: make(map[string]*owner)},
		unrecorded:   make(chan struct{}, 1),
		unstored:     make(map[string]storage.Change),
		recorderDone: make(chan struct{}),
		happened:     make(chan Event, maxHappened),
		stop:         make(chan struct{}),
		done:         make(chan struct{}),
	}
	d.owners.directory = d
	d.rules.Store(new(Rules))
	if d.config.Now == nil {
		d.config.Now = time.Now
	}
	if d.config.Audit == nil {
		d.config.Audit = func(context.Context, ...Event) (storage.Change, error) { return storage.Change{}, nil }
	}
	if d.config.Told == nil {
		d.config.Told = func(Event) {}
	}
	d.tracker = usage.NewTracker(store, cfg.Log)
	err := d.load(ctx)
	go d.run() //nolint:gosec // it goes on until Close, whatever becomes of ctx
	go d.recordWaiting()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the token store: %w", err), d.Close())
	}
	return d, nil
}

func (d *Directory) load(ctx context.Context) error {
	names := make(map[string]string) // one copy of each of the few names of actors
	var tokens []*Token              // by id
	for token, err := range decoded(ctx, d.store) {
		if err != nil {
			return err
		}
		record := &token.first
		if actor, ok := names[record.Actor]; ok {
			record.Actor = actor
		} else {
			names[record.Actor] = record.Actor
		}
		if twin := d.Find(record.Digest); twin != nil {
			return fmt.Errorf("records %s and %s have the same digest", twin.Record().ID, record.ID)
		}
		d.insert(token)
		tokens = append(tokens, token)
	}
	for entry, err := range d.store.List(ctx, profilePrefix) {
		if err != nil {
			return err
		}
		p := new(Profile)
		if err := strictcbor.Decoding.Unmarshal(entry.Value, p); err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		if entry.Key != profilePrefix+string(p.User) {
			return fmt.Errorf("record %q says that it is user %q", entry.Key, p.User)
		}
		d.owners.exact(p.User).profile.Store(p)
	}
	if err := linkParents(tokens); err != nil {
		return err
	}
	if err := d.loadCountedSince(ctx); err != nil {
		return err
	}
	for stored, err := range usage.All(ctx, d.store) {
		if err != nil {
			return err
		}
		// Both come by id, so that one pass finds them all.
		for len(tokens) > 0 && bytes.Compare(tokens[0].Record().ID[:], stored.ID[:]) < 0 {
			tokens = tokens[1:]
		}
		if len(tokens) > 0 && tokens[0].Record().ID == stored.ID {
			tokens[0].uses.Store(d.tracker.Counter(stored.ID, stored.Total))
		}
	}
	if err := d.loadWaiting(ctx); err != nil {
		return err
	}
	return d.loadObserved(ctx)
}

// decoded yields a token for each record of a store, by id. Decoding is most of the work
// of a start with many tokens, so all processors take part.
func decoded(ctx context.Context, store storage.Store) iter.Seq2[*Token, error] {
	const chunk = 2048
	type raw struct {
		key   string
		value []byte
	}
	decode := func(part []raw) ([]*Token, error) {
		tokens := make([]*Token, len(part))
		for i, r := range part {
			tokens[i] = new(Token)
			if err := tokens[i].first.decode(r.key, r.value); err != nil {
				return nil, err
			}
		}
		return tokens, nil
	}
	return func(yield func(*Token, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(1 + runtime.GOMAXPROCS(0))
		// Nothing is left running after an early end of the loop: what the reader
		// below waits for ends with ctx. Its error is that of the loop then.
		defer func() { cancel(); _ = group.Wait() }()

		parts := make(chan chan []*Token, runtime.GOMAXPROCS(0)) // in the order of the store
		group.Go(func() error {
			defer close(parts)
			var next []raw
			var values []byte // of all in next, one after the other
			send := func() error {
				part, done := next, make(chan []*Token, 1)
				next, values = make([]raw, 0, chunk), make([]byte, 0, len(values)+len(values)/8)
				group.Go(func() error {
					defer close(done)
					tokens, err := decode(part)
					done <- tokens
					return err
				})
				select {
				case parts <- done:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			for entry, err := range store.List(ctx, tokenPrefix) {
				if err != nil {
					return err
				}
				// Growing values leaves what was cut from it before as it is.
				from := len(values)
				values = append(values, entry.Value...)
				next = append(next, raw{entry.Key, values[from:len(values):len(values)]})
				if len(next) == chunk {
					if err := send(); err != nil {
						return err
					}
				}
			}
			return send()
		})
		for part := range parts {
			for _, token := range <-part {
				if !yield(token, nil) {
					return
				}
			}
		}
		if err := group.Wait(); err != nil {
			yield(nil, err)
		}
	}
}

// insert makes a token of which only the first record is set visible. The caller
// holds mu or is alone.
func (d *Directory) insert(token *Token) {
	o := d.owners.exact(token.first.Owner)
	token.first.Owner = o.id // one copy of the id a user
	token.record.Store(&token.first)
	token.owner, token.older = o, o.newest
	o.newest = token
	d.index.insert(token)
}

// Find returns the token of a digest, or nil. It does not say whether the token
// may be used: Admit does.
func (d *Directory) Find(digest Digest) *Token {
	return d.index.find(digest)
}

// Get returns the token of an id, or an *Error of kind ErrNotFound.
func (d *Directory) Get(ctx context.Context, id uuid.UUID) (*Token, error) {
	entry, err := d.store.Get(ctx, tokenKey(id))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errorf(ErrNotFound, "there is no token %s: list them to find the id", id)
	}
	if err != nil {
		return nil, errorf(ErrStore, "the token store can't be read: %v", err)
	}
	var record Record
	if err := record.decode(entry.Key, entry.Value); err != nil {
		return nil, errorf(ErrStore, "the token store is damaged: %v", err)
	}
	token := d.Find(record.Digest)
	if token == nil {
		return nil, errorf(ErrStore, "the token store holds %s, but the index does not: restart the gateway", id)
	}
	return token, nil
}

// Check returns an error if the store could not keep the next change, or lacks one that
// holds here.
func (d *Directory) Check(ctx context.Context) error {
	if err := d.store.Check(ctx); err != nil {
		return errorf(ErrStore, "the token store can't keep changes: %v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.unstored); n > 0 {
		return errorf(ErrStore, "the token store lacks %d tokens or users that were revoked, suspended or disabled while it could not keep changes; that is tried again every second", n)
	}
	return nil
}

// Len returns the number of tokens, the expired and the revoked included.
func (d *Directory) Len() int { return int(d.index.size.Load()) }

// List returns the tokens that a filter wants, by owner, name and age.
func (d *Directory) List(want func(*Token) bool) []*Token {
	var found []*Token
	for t := range d.index.all() {
		if want(t) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *Token) int {
		ra, rb := a.Record(), b.Record()
		return cmp.Or(
			strings.Compare(string(ra.Owner), string(rb.Owner)),
			strings.Compare(ra.Name, rb.Name),
			bytes.Compare(ra.ID[:], rb.ID[:]),
		)
	})
	return found
}

// StoreUses stores the use counts so far.
func (d *Directory) StoreUses(ctx context.Context) error { return d.tracker.Flush(ctx) }

// Close stores the last use counts and closes the store.
func (d *Directory) Close() error {
	close(d.stop)
	<-d.done
	<-d.recorderDone
	d.tracker.Close()
	return d.store.Close()
}
