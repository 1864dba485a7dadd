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

	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	tokenPrefix   = "token/"
	profilePrefix = "user/"
)

func tokenKey(id uuid.UUID) string { return tokenPrefix + id.String() }

// MaxNameLen bounds the name of a token, in bytes.
const MaxNameLen = 128

// The kinds of Error, to be told apart with errors.Is.
var (
	ErrNotFound  = errors.New("not found")
	ErrDuplicate = errors.New("duplicate")
	ErrInvalid   = errors.New("invalid")
	ErrStore     = errors.New("store")
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

	uses  atomic.Pointer[usage.Counter] // nil until the first use
	owner *owner
	older *Token // the owner's token before this one; guarded by Directory.mu
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
// records. A change is checked, stored durably, and only then visible and
// acknowledged; it names its actor and is logged. Find takes no lock.
type Directory struct {
	store   storage.Store
	log     *slog.Logger
	now     func() time.Time
	tracker *usage.Tracker
	index   *index

	mu     sync.Mutex // orders all changes, and guards owners
	owners owners
}

// Config is what a Directory needs of the outside world.
type Config struct {
	Log *slog.Logger     // required
	Now func() time.Time // time.Now if nil
}

// Open reads all records of a store, which the directory closes from then on,
// also when Open fails. A damaged record is an error: a gateway that starts
// without some of its tokens would look healthy and be wrong.
func Open(ctx context.Context, store storage.Store, cfg Config) (*Directory, error) {
	d := &Directory{
		store:  store,
		log:    cfg.Log,
		now:    cfg.Now,
		index:  newIndex(),
		owners: owners{byKey: make(map[string]*owner)},
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.tracker = usage.NewTracker(store, cfg.Log)
	if err := d.load(ctx); err != nil {
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
		if err := decoding.Unmarshal(entry.Value, p); err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		if entry.Key != profilePrefix+string(p.User) {
			return fmt.Errorf("record %q says that it is user %q", entry.Key, p.User)
		}
		d.owners.exact(p.User).profile.Store(p)
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
	return nil
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
// may be used: Record().Admit does.
func (d *Directory) Find(digest Digest) *Token {
	return d.index.find(digest)
}

// Count counts a use of a token, in memory.
func (d *Directory) Count(token *Token, addr string) {
	counter := token.uses.Load()
	if counter == nil {
		token.uses.CompareAndSwap(nil, d.tracker.Counter(token.Record().ID, usage.Total{}))
		counter = token.uses.Load()
	}
	counter.Add(d.now(), addr)
}

// A Request asks for a token.
type Request struct {
	User    string
	Name    string // unique among the user's tokens; made up if empty, as Jenkins does
	Expires string // as ParseExpiry takes it
	Format  string // as ParseFormat takes it
	Actor   string // who asks, for the record and the log

	// Profile, if not nil, replaces what is known of the user.
	Profile *ProfileUpdate
}

// Create makes a token and returns it with its secret, which nobody can ever
// learn again. Errors are of type *Error.
func (d *Directory) Create(ctx context.Context, req Request) (*Token, Secret, error) {
	now := d.now()
	owner, err := user.ParseID(req.User)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	name, err := parseName(req.Name, now)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	expires, err := ParseExpiry(req.Expires, now)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	format, err := ParseFormat(req.Format)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	// It rises with time, so that the store appends and does not scatter. Its error
	// is that of crypto/rand, which has none.
	id := uuid.Must(uuid.NewV7())
	secret := NewSecret(format)
	token := &Token{first: Record{
		ID: id, Digest: secret.Digest(), Name: name,
		State: Active, Origin: Issued, Actor: req.Actor,
		Created: now.Unix(), Expires: expires,
	}}

	d.mu.Lock()
	defer d.mu.Unlock()
	for o := range d.owners.same(owner) {
		for other := o.newest; other != nil; other = other.older {
			if r := other.Record(); r.Name == name && r.State == Active {
				return nil, Secret{}, errorf(ErrDuplicate,
					"%s already has a token named %q (%s): choose another name, or revoke that one first", r.Owner, name, r.ID)
			}
		}
	}
	record := &token.first
	record.Owner = d.owners.canonical(owner)
	changes := []storage.Change{{Key: tokenKey(id), Value: encode(record), Expect: storage.Absent}}
	var profiles []*Profile
	if req.Profile != nil {
		if profiles, err = d.updated(owner, *req.Profile); err != nil {
			return nil, Secret{}, errorf(ErrInvalid, "%v", err)
		}
		changes = append(changes, profileChanges(profiles)...)
	}
	if err := d.apply(ctx, changes...); err != nil {
		return nil, Secret{}, err
	}
	d.show(profiles)
	d.insert(token)
	d.log.Info("token created", "token_id", id, "owner", record.Owner, "name", name, "expires", expiryText(expires), "actor", req.Actor)
	return token, secret, nil
}

// Revoke ends a token, from the next request on, and returns its record. A token
// that is revoked already stays as it is. Errors are of type *Error.
func (d *Directory) Revoke(ctx context.Context, id uuid.UUID, actor string) (*Token, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	token, err := d.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	old := token.Record()
	if old.State == Revoked {
		return token, nil
	}
	revoked := *old
	revoked.State = Revoked
	revoked.Revoked = d.now().Unix()
	// mu makes this process the only writer of the record, and the store's lock makes
	// it the only process.
	if err := d.apply(ctx, storage.Change{Key: tokenKey(id), Value: encode(&revoked), Expect: storage.Any}); err != nil {
		return nil, err
	}
	token.record.Store(&revoked)
	d.log.Info("token revoked", "token_id", id, "owner", old.Owner, "name", old.Name, "actor", actor)
	return token, nil
}

func (d *Directory) apply(ctx context.Context, changes ...storage.Change) error {
	if _, err := d.store.Apply(ctx, changes...); err != nil {
		d.log.Error("a change of the token store failed", "error", err)
		return errorf(ErrStore, "nothing was changed, because the token store can't keep it: %v", err)
	}
	return nil
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

// Close stores the last use counts and closes the store.
func (d *Directory) Close() error {
	d.tracker.Close()
	return d.store.Close()
}
