package token_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// A faulty store fails as long as it is told to.
type faulty struct {
	storage.Store
	failing atomic.Pointer[error]
	good    atomic.Int64 // how many calls of Apply succeed yet while failing
	reads   atomic.Bool  // Get does not fail
}

func (f *faulty) fail(err error) {
	f.failWrites(0, err)
	f.reads.Store(false)
}

func (f *faulty) heal() { f.failing.Store(nil) }

// failWrites has Apply alone fail, after n more calls.
func (f *faulty) failWrites(n int64, err error) {
	f.good.Store(n)
	f.reads.Store(true)
	f.failing.Store(&err)
}

func (f *faulty) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	if err := f.failing.Load(); err != nil && f.good.Add(-1) < 0 {
		return 0, *err
	}
	return f.Store.Apply(ctx, changes...)
}

func (f *faulty) Get(ctx context.Context, key string) (storage.Entry, error) {
	if err := f.failing.Load(); err != nil && !f.reads.Load() {
		return storage.Entry{}, *err
	}
	return f.Store.Get(ctx, key)
}

// Events are what a directory has audited or told, from any goroutine.
type events struct {
	mu   sync.Mutex // guards the rest
	list []token.Event
	err  error // of Audit
}

func (e *events) note(list ...token.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	e.list = append(e.list, slices.Clone(list)...)
	return nil
}

func (e *events) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// take returns the events of a kind, or all for "", and forgets all.
func (e *events) take(kind token.Kind) []token.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := slices.DeleteFunc(e.list, func(event token.Event) bool { return kind != "" && event.Kind != kind })
	e.list = nil
	return taken
}

// A logBuffer takes log lines from any goroutine.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A world is a directory on a store in a file, with a clock.
type world struct {
	*token.Directory
	t     testing.TB
	path  string
	store *faulty
	log   *logBuffer
	now   time.Time   // not to be changed while something happens in the background: reopen first
	rules token.Rules // kept when it is opened again

	audited, told events
	holding       sync.Mutex // held by a test that has those wait who are told
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "tokens.db"), log: new(logBuffer), now: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)}
	w.open()
	t.Cleanup(w.close)
	return w
}

func openStore(t testing.TB, path string) storage.Store {
	t.Helper()
	store, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (w *world) open() {
	w.t.Helper()
	w.store = &faulty{Store: openStore(w.t, w.path)}
	directory, err := token.Open(w.t.Context(), w.store, token.Config{
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Now: func() time.Time { return w.now },
		Audit: func(_ context.Context, list ...token.Event) (storage.Change, error) {
			return storage.Change{}, w.audited.note(list...)
		},
		Told: func(e token.Event) {
			w.holding.Lock()
			defer w.holding.Unlock()
			_ = w.told.note(e)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Directory = directory
	w.SetRules(w.rules)
}

func (w *world) close() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
}

// reopen also waits for all that happens in the background.
func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

// rule has rules hold, also when the world is opened again.
func (w *world) rule(rules token.Rules) {
	w.t.Helper()
	if err := rules.Check(); err != nil {
		w.t.Fatal(err)
	}
	w.rules = rules
	w.SetRules(rules)
}

// create makes a token that has to be possible.
func (w *world) create(req token.Request) (*token.Token, token.Secret) {
	w.t.Helper()
	made, secret, err := w.Create(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("Create(%+v): %v", req, err)
	}
	return made, secret
}

// get returns the token of an id, which stays the same when the world is opened again.
func (w *world) get(id uuid.UUID) *token.Token {
	w.t.Helper()
	found, err := w.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// states returns why each of some tokens is refused now.
func (w *world) states(ids ...uuid.UUID) []token.Refusal {
	w.t.Helper()
	states := make([]token.Refusal, len(ids))
	for i, id := range ids {
		states[i] = w.get(id).Admit(w.now)
	}
	return states
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.reopen()
	w.now = w.now.Add(d)
}

// recorded waits until no line waits for the audit log.
func (w *world) recorded() {
	w.t.Helper()
	w.settle("all lines are recorded", func() bool { n, err := w.Waiting(); return n == 0 && err == nil })
}

// settle waits until something is so.
func (w *world) settle(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not so in 10s: %s", what)
		}
	}
}

// names returns the owners and names of all tokens.
func (w *world) names() []string {
	var names []string
	for _, t := range w.List(func(*token.Token) bool { return true }) {
		names = append(names, string(t.Record().Owner)+"/"+t.Record().Name)
	}
	return names
}

// wantError tests that an error is an *Error of a kind and has a text.
func wantError(t testing.TB, err, kind error, text string) {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("error is %T %v, want an *Error of kind %q with %q", err, err, kind, text)
	}
}

func TestCreate(t *testing.T) {
	w := newWorld(t)
	made, secret := w.create(token.Request{User: "Alice", Name: "ci", Expires: "90d", Actor: "admin"})
	want := token.Record{
		ID: made.Record().ID, Digest: sha256.Sum256([]byte(secret.Reveal())), Owner: "Alice", Name: "ci",
		State: token.Active, Origin: token.Issued, Actor: "admin",
		Created: w.now.Unix(), Expires: w.now.Add(90 * 24 * time.Hour).Unix(),
	}
	for _, stage := range []string{"created", "opened again"} {
		digest, err := token.Parse(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		found := w.Find(digest)
		if found == nil {
			t.Fatalf("%s: Find = nil", stage)
		}
		if got := *found.Record(); got != want {
			t.Errorf("%s: record is %+v, want %+v", stage, got, want)
		}
		got, err := w.Get(t.Context(), want.ID)
		if err != nil || got != found {
			t.Errorf("%s: Get = %p, %v, want %p", stage, got, err, found)
		}
		if w.Len() != 1 {
			t.Errorf("%s: Len = %d, want 1", stage, w.Len())
		}
		w.reopen()
	}
	if strings.Contains(w.log.String(), secret.Reveal()[3:]) || !strings.Contains(w.log.String(), want.ID.String()) {
		t.Errorf("log is %q, want it to have the id %s and no secret", w.log, want.ID)
	}
}

func TestCreateRules(t *testing.T) {
	leaked := token.NewSecret(token.Native).Reveal()
	texts := func(s ...string) *token.ProfileUpdate { return &token.ProfileUpdate{Groups: &s} }
	for _, c := range []struct {
		name string
		req  token.Request
		kind error
		text string // of the error
	}{
		{"all left out", token.Request{User: "alice"}, nil, ""},
		{"jenkins format", token.Request{User: "alice", Name: "n", Format: "jenkins"}, nil, ""},
		{"without end", token.Request{User: "alice", Name: "n", Expires: "never"}, nil, ""},
		{"longest name", token.Request{User: "alice", Name: strings.Repeat("n", 128)}, nil, ""},
		{"name not Latin", token.Request{User: "alice", Name: "Σύστημα 中文"}, nil, ""},
		{"no user", token.Request{Name: "n"}, token.ErrInvalid, "the user is empty"},
		{"nobody", token.Request{User: "SYSTEM"}, token.ErrInvalid, "Jenkins keeps"},
		{"name too long", token.Request{User: "alice", Name: strings.Repeat("n", 129)}, token.ErrInvalid, "at most 128"},
		{"blank around the name", token.Request{User: "alice", Name: "n "}, token.ErrInvalid, "blank"},
		{"name of blanks", token.Request{User: "alice", Name: "  "}, token.ErrInvalid, "blank"},
		{"control character in the name", token.Request{User: "alice", Name: "a\x1b[31mb"}, token.ErrInvalid, "U+001B"},
		{"invisible character in the name", token.Request{User: "alice", Name: "a\u200bb"}, token.ErrInvalid, "U+200B"},
		{"name not UTF-8", token.Request{User: "alice", Name: "a\xff"}, token.ErrInvalid, "UTF-8"},
		{"a token for a name", token.Request{User: "alice", Name: leaked}, token.ErrInvalid, "holds a token"},
		{"a token in a wrong name", token.Request{User: "alice", Name: " " + leaked}, token.ErrInvalid, "holds a token"},
		{"past", token.Request{User: "alice", Expires: "2026-09-30"}, token.ErrInvalid, "in the past"},
		{"overflow", token.Request{User: "alice", Expires: "999999w"}, token.ErrInvalid, "100 years"},
		{"unknown format", token.Request{User: "alice", Format: "legacy"}, token.ErrInvalid, "use native or jenkins"},
		{"bad group", token.Request{User: "alice", Profile: texts("a|b")}, token.ErrInvalid, `"a|b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			made, secret, err := w.Create(t.Context(), c.req)
			if c.kind == nil {
				if err != nil {
					t.Fatalf("Create(%+v): %v", c.req, err)
				}
				if name := made.Record().Name; c.req.Name == "" && name != "Token created on 2026-10-01T12:00:00.000Z" {
					t.Errorf("name is %q, want it made up as Jenkins does", name)
				}
				return
			}
			wantError(t, err, c.kind, c.text)
			if strings.Contains(err.Error(), leaked) {
				t.Errorf("error shows the token: %v", err)
			}
			if made != nil || secret.Reveal() != "" || w.Len() != 0 {
				t.Errorf("Create = %v, a secret of %d bytes, and %d tokens, want nothing", made, len(secret.Reveal()), w.Len())
			}
		})
	}
}

func TestDuplicateNames(t *testing.T) {
	w := newWorld(t)
	req := token.Request{User: "alice", Name: "ci", Expires: "1h"}
	first, _ := w.create(req)
	w.create(token.Request{User: "bob", Name: "ci"})
	w.create(token.Request{User: "alice", Name: "CI"})

	taken := func(when string) {
		t.Helper()
		_, _, err := w.Create(t.Context(), req)
		wantError(t, err, token.ErrDuplicate, first.Record().ID.String())
		if !strings.Contains(err.Error(), "revoke") {
			t.Errorf("%s: error %v does not say what to do", when, err)
		}
	}
	taken("active")
	w.reopen()
	taken("opened again")
	w.now = w.now.Add(2 * time.Hour)
	taken("expired")
	if _, err := w.Revoke(t.Context(), first.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	second, _ := w.create(req)
	if second.Record().ID == first.Record().ID {
		t.Errorf("both tokens have the id %s", first.Record().ID)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	made, secret := w.create(token.Request{User: "alice", Name: "ci"})
	other, _ := w.create(token.Request{User: "alice", Name: "other"})
	before := made.Record()
	w.now = w.now.Add(time.Minute)
	revoked, err := w.Revoke(t.Context(), before.ID, "admin")
	if err != nil || revoked != made {
		t.Fatalf("Revoke = %p, %v, want %p", revoked, err, made)
	}
	if before.State != token.Active {
		t.Error("Revoke changed a record that a request may hold")
	}
	want := *before
	want.State, want.Revoked = token.Revoked, w.now.Unix()
	for _, stage := range []string{"revoked", "opened again"} {
		found := w.Find(secret.Digest())
		if got := *found.Record(); got != want {
			t.Errorf("%s: record is %+v, want %+v", stage, got, want)
		}
		if got := found.Record().Admit(w.now); got != token.RefusedRevoked {
			t.Errorf("%s: Admit = %q, want %q", stage, got, token.RefusedRevoked)
		}
		if got := w.Find(other.Record().Digest).Record().Admit(w.now); got != "" {
			t.Errorf("%s: the other token's Admit = %q", stage, got)
		}
		w.reopen()
	}
	w.now = w.now.Add(time.Minute)
	again, err := w.Revoke(t.Context(), want.ID, "admin")
	if err != nil || *again.Record() != want {
		t.Errorf("a second Revoke = %+v, %v, want what was before", again.Record(), err)
	}
	_, err = w.Revoke(t.Context(), uuid.New(), "admin")
	wantError(t, err, token.ErrNotFound, "list them")
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"bob/b", "alice/z", "bob/a", "alice/a", "Alice/q"} { // Alice is alice
		owner, name, _ := strings.Cut(name, "/")
		w.create(token.Request{User: owner, Name: name})
	}
	revoked, _ := w.create(token.Request{User: "bob", Name: "old"})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	younger, _ := w.create(token.Request{User: "bob", Name: "old"})
	for range 2 {
		if got, want := w.names(), []string{"alice/a", "alice/q", "alice/z", "bob/a", "bob/b", "bob/old", "bob/old"}; !slices.Equal(got, want) {
			t.Errorf("List = %q, want %q", got, want)
		}
		old := w.List(func(t *token.Token) bool { return t.Record().Name == "old" })
		if len(old) != 2 || old[0].Record().ID != revoked.Record().ID || old[1].Record().ID != younger.Record().ID {
			t.Errorf("List of the two named old is not by age")
		}
		w.reopen()
	}
	if got := w.List(func(*token.Token) bool { return false }); len(got) != 0 {
		t.Errorf("List of nothing = %d tokens", len(got))
	}
}

func TestFailingStore(t *testing.T) {
	w := newWorld(t)
	made, secret := w.create(token.Request{User: "alice", Name: "ci"})
	mail := "alice@example.org"
	full := errors.New("no space left on device")
	w.store.fail(full)

	_, failed, err := w.Create(t.Context(), token.Request{User: "bob", Name: "new", Profile: &token.ProfileUpdate{Mail: &mail}})
	wantError(t, err, token.ErrStore, "nothing was changed")
	wantError(t, err, token.ErrStore, full.Error())
	if failed.Reveal() != "" {
		t.Error("a secret was given out for a token that is not stored")
	}
	_, err = w.Revoke(t.Context(), made.Record().ID, "admin")
	wantError(t, err, token.ErrStore, full.Error())
	_, err = w.SetProfile(t.Context(), "alice", token.ProfileUpdate{Mail: &mail}, "admin")
	wantError(t, err, token.ErrStore, full.Error())
	_, err = w.Get(t.Context(), made.Record().ID)
	wantError(t, err, token.ErrStore, full.Error())

	check := func(when string) {
		t.Helper()
		if got := w.Find(secret.Digest()).Record().Admit(w.now); got != "" {
			t.Errorf("%s: Admit = %q, want the token admitted, as its revocation was refused", when, got)
		}
		if got := w.names(); !slices.Equal(got, []string{"alice/ci"}) {
			t.Errorf("%s: tokens are %q, want the first only", when, got)
		}
		for _, id := range []string{"alice", "bob"} {
			if p, err := w.Profile(id); err != nil || p.Mail != "" {
				t.Errorf("%s: profile of %s is %+v, %v", when, id, p, err)
			}
		}
	}
	check("failing")
	w.store.heal()
	check("healed")
	w.reopen()
	check("opened again")
	w.create(token.Request{User: "bob", Name: "new"})
	if _, err := w.Revoke(t.Context(), made.Record().ID, "admin"); err != nil {
		t.Error(err)
	}
}

func TestUsesSurvive(t *testing.T) {
	w := newWorld(t)
	used, _ := w.create(token.Request{User: "alice", Name: "used"})
	w.create(token.Request{User: "alice", Name: "unused"})
	uses := func(name string) string {
		found := w.List(func(t *token.Token) bool { return t.Record().Name == name })
		return fmt.Sprintf("%+v", found[0].Uses())
	}
	used.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
	w.now = w.now.Add(time.Minute)
	used.Use(usage.Use{Time: w.now, Addr: "10.0.0.2"})
	want := fmt.Sprintf("{Count:2 First:%d Last:%d LastAddr:10.0.0.2 Agent: Addrs:[10.0.0.1 10.0.0.2]}", w.now.Unix()-60, w.now.Unix())
	for range 2 {
		if got := uses("used"); got != want {
			t.Errorf("Uses = %s, want %s", got, want)
		}
		if got, want := uses("unused"), "{Count:0 First:0 Last:0 LastAddr: Agent: Addrs:[]}"; got != want {
			t.Errorf("Uses of the unused token = %s, want %s", got, want)
		}
		w.reopen()
	}
	w.Find(used.Record().Digest).Use(usage.Use{Time: w.now, Addr: "10.0.0.2"})
	if got := uses("used"); !strings.HasPrefix(got, "{Count:3 ") {
		t.Errorf("Uses = %s, want a count of 3", got)
	}
}

// put writes an entry past the directory.
func put(t testing.TB, path, key string, value any) {
	t.Helper()
	raw, ok := value.([]byte)
	if !ok {
		var err error
		if raw, err = cbor.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	store := openStore(t, path)
	if _, err := store.Apply(t.Context(), storage.Change{Key: key, Value: raw, Expect: storage.Any}); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	id := uuid.MustParse("01990000-0000-7000-8000-000000000001")
	twin := uuid.MustParse("01990000-0000-7000-8000-000000000002")
	digest := bytes.Repeat([]byte{7}, 32)
	record := func(id uuid.UUID) map[int]any {
		return map[int]any{1: id[:], 2: digest, 3: "alice", 4: "ci", 5: 1, 6: 1, 8: 1}
	}
	for _, c := range []struct {
		name, key string
		value     any
		want      string
	}{
		{"record cut short", "token/" + id.String(), []byte{0xa1, 0x01}, `"token/` + id.String()},
		{"record under another key", "token/" + id.String(), record(uuid.New()), `"token/` + id.String()},
		{"two records with one digest", "token/" + id.String(), record(id), "the same digest"},
		{"profile cut short", "user/bob", []byte{0xa1, 0x01}, `"user/bob"`},
		{"profile under another key", "user/bob", map[int]any{1: "alice"}, `"user/bob"`},
		{"profile with an unknown field", "user/bob", map[int]any{1: "bob", 9: 1}, `"user/bob"`},
		{"use count of no token's id", "usage/x", map[int]any{1: 1}, `"usage/x"`},
		{"use count cut short", "usage/" + id.String(), []byte{0xa1, 0x01}, `"usage/` + id.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens.db")
			put(t, path, "token/"+twin.String(), record(twin))
			put(t, path, c.key, c.value)
			store := openStore(t, path)
			d, err := token.Open(t.Context(), store, token.Config{Log: slog.New(slog.DiscardHandler)})
			if d != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open = %v, %v, want an error with %s", d, err, c.want)
			}
			if _, err := store.Get(t.Context(), "x"); !errors.Is(err, storage.ErrClosed) {
				t.Errorf("the store's Get = %v, want it closed", err)
			}
			goleak.VerifyNone(t)
		})
	}
}

// A use count whose token is gone is no reason not to start.
func TestOpenSkipsForeignUseCounts(t *testing.T) {
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "ci"})
	made.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
	w.close()
	put(t, w.path, "usage/00000000-0000-7000-8000-000000000001", map[int]any{1: 5})
	put(t, w.path, "usage/ffffffff-0000-7000-8000-000000000001", map[int]any{1: 5})
	w.open()
	if got := w.Find(made.Record().Digest).Uses().Count; got != 1 {
		t.Errorf("Uses = %d, want 1", got)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	path := fill(t, 10_000, numbered)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := token.Open(ctx, openStore(t, path), token.Config{Log: slog.New(slog.DiscardHandler)}); d != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, %v, want %v", d, err, context.Canceled)
	}
	goleak.VerifyNone(t)
}

// numbered returns the digest of the i-th token of fill.
func numbered(i int) token.Digest {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// fill returns the path of a store with n tokens, twenty for each user.
func fill(t testing.TB, n int, digest func(i int) token.Digest) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	store := openStore(t, path)
	var batch []storage.Change
	for i := range n {
		var id uuid.UUID
		binary.BigEndian.PutUint64(id[8:], uint64(i))
		digest := digest(i)
		value, err := cbor.Marshal(map[int]any{
			1: id[:], 2: digest[:], 3: fmt.Sprintf("user-%06d", i/20), 4: fmt.Sprintf("token of build %07d", i),
			5: 1, 6: 1, 7: "admin", 8: 1_790_000_000, 9: 1_890_000_000,
		})
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, storage.Change{Key: "token/" + id.String(), Value: value})
		if len(batch) == storage.MaxBatch || i == n-1 {
			if _, err := store.Apply(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t testing.TB, path string) *token.Directory {
	t.Helper()
	d, err := token.Open(t.Context(), openStore(t, path), token.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestOpenMany(t *testing.T) {
	const n = 10_001 // several chunks, and a rest
	d := openFile(t, fill(t, n, numbered))
	if d.Len() != n {
		t.Errorf("Len = %d, want %d", d.Len(), n)
	}
	for i := range n {
		found := d.Find(numbered(i))
		if found == nil || found.Record().Name != fmt.Sprintf("token of build %07d", i) {
			t.Fatalf("Find of token %d = %v", i, found)
		}
		if found := d.Find(numbered(n + i)); found != nil {
			t.Fatalf("Find of no token = %+v", found.Record())
		}
	}
	if got := len(d.List(func(*token.Token) bool { return true })); got != n {
		t.Errorf("List = %d tokens, want %d", got, n)
	}
}

// What was created is found at once and what was revoked is refused at once, by
// all who ask, while the index grows.
func TestFindWhileChanging(t *testing.T) {
	const created, lookups = 300, 100_000
	w := newWorld(t)
	var published [created]atomic.Pointer[token.Secret]
	var revoked [created]atomic.Bool
	var count atomic.Int64

	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range lookups / 4 {
				n := count.Load()
				if n == 0 {
					continue
				}
				k := (i*31 + g) % int(n)
				wasRevoked := revoked[k].Load()
				found := w.Find(published[k].Load().Digest())
				if found == nil {
					t.Errorf("token %d is not found", k)
					return
				}
				if admitted := found.Record().Admit(w.now) == ""; admitted && wasRevoked {
					t.Errorf("token %d is admitted after its revocation", k)
					return
				}
				found.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
				if d := numbered(i); w.Find(d) != nil {
					t.Errorf("Find(%x) is a token", d)
					return
				}
			}
		})
	}
	group.Go(func() {
		for i := range created {
			made, secret, err := w.Create(t.Context(), token.Request{User: fmt.Sprintf("user-%d", i%7), Name: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			published[i].Store(&secret)
			count.Store(int64(i + 1))
			if i%3 == 0 {
				if _, err := w.Revoke(t.Context(), made.Record().ID, "admin"); err != nil {
					t.Error(err)
					return
				}
				revoked[i].Store(true)
			}
		}
	})
	group.Wait()
	if w.Len() != created {
		t.Errorf("Len = %d, want %d", w.Len(), created)
	}
	counted := func() (sum uint64) {
		for _, t := range w.List(func(*token.Token) bool { return true }) {
			sum += t.Uses().Count
		}
		return sum
	}
	uses := counted()
	w.reopen()
	if got := counted(); got != uses || w.Len() != created {
		t.Errorf("opened again: %d tokens with %d uses, want %d with %d", w.Len(), got, created, uses)
	}
}

// One name, many who ask for it at once: one gets it.
func TestCreateConcurrently(t *testing.T) {
	w := newWorld(t)
	var made atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			switch _, _, err := w.Create(t.Context(), token.Request{User: "alice", Name: "ci"}); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, token.ErrDuplicate):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || w.Len() != 1 {
		t.Errorf("%d tokens were made and %d are there, want 1", made.Load(), w.Len())
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	_, native := w.create(token.Request{User: "alice", Name: "native"})
	_, jenkins := w.create(token.Request{User: "alice", Name: "jenkins", Format: "jenkins"})
	for name, secret := range map[string]string{"native": native.Reveal(), "jenkins": jenkins.Reveal(), "wrong": valid, "malformed": valid[:38] + "!"} {
		asBytes := []byte(secret)
		if n := testing.AllocsPerRun(1000, func() {
			if digest, err := token.Parse(secret); err == nil {
				w.Find(digest)
			}
			if digest, err := token.Parse(asBytes); err == nil {
				w.Find(digest)
			}
		}); n != 0 {
			t.Errorf("Parse and Find of a %s token make %v allocations, want none", name, n)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	const n = 100_000
	path := fill(b, n, numbered)
	b.ReportAllocs()
	for b.Loop() {
		d, err := token.Open(b.Context(), openStore(b, path), token.Config{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/token")
}

// BenchmarkFind goes from a presented secret to its record, with 100,000 tokens of
// which each is as likely as any other.
func BenchmarkFind(b *testing.B) {
	const n = 100_000
	secrets := make([]string, n)
	d := openFile(b, fill(b, n, func(i int) token.Digest {
		secret := token.NewSecret(token.Native)
		secrets[i] = secret.Reveal()
		return secret.Digest()
	}))
	// In random order, one after the other in memory: the credential of a request has
	// just been read, and only the token is anywhere.
	length := len(secrets[0])
	presented := make([]byte, 0, n*length)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		presented = append(presented, secrets[i]...)
	}
	now := time.Unix(1_800_000_000, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + length) % len(presented) {
		digest, err := token.Parse(presented[i : i+length])
		if err != nil {
			b.Fatal(err)
		}
		if found := d.Find(digest); found == nil || found.Record().Admit(now) != "" {
			b.Fatal("not found")
		}
	}
}

func TestProfile(t *testing.T) {
	list := func(s ...string) *[]string { return &s }
	text := func(s string) *string { return &s }
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "ci"})
	if got, want := *made.Profile(), (token.Profile{User: "alice"}); !reflect.DeepEqual(got, want) {
		t.Errorf("Profile at first = %+v, want %+v", got, want)
	}
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	long := slices.Repeat([]string{strings.Repeat("g", 250)}, 17)
	for _, c := range []struct {
		name   string
		update token.ProfileUpdate
		want   token.Profile
		err    string
	}{
		{"all", token.ProfileUpdate{Groups: list("dev", "ops team"), Mail: text("a@b"), DisplayName: text("Alice Σ")}, token.Profile{User: "alice", Groups: []string{"dev", "ops team"}, Mail: "a@b", DisplayName: "Alice Σ"}, ""},
		{"nothing", token.ProfileUpdate{}, token.Profile{User: "alice", Groups: []string{"dev", "ops team"}, Mail: "a@b", DisplayName: "Alice Σ"}, ""},
		{"mail alone", token.ProfileUpdate{Mail: text("c@d")}, token.Profile{User: "alice", Groups: []string{"dev", "ops team"}, Mail: "c@d", DisplayName: "Alice Σ"}, ""},
		{"mail and name removed", token.ProfileUpdate{Mail: text(""), DisplayName: text("")}, token.Profile{User: "alice", Groups: []string{"dev", "ops team"}}, ""},
		{"most groups", token.ProfileUpdate{Groups: list(many[:256]...)}, token.Profile{User: "alice", Groups: many[:256]}, ""},
		{"longest group", token.ProfileUpdate{Groups: list(strings.Repeat("g", 255))}, token.Profile{User: "alice", Groups: []string{strings.Repeat("g", 255)}}, ""},
		{"too many groups", token.ProfileUpdate{Groups: list(many...)}, token.Profile{}, "at most 256"},
		{"too many bytes", token.ProfileUpdate{Groups: list(long...)}, token.Profile{}, "4096"},
		{"group too long", token.ProfileUpdate{Groups: list(strings.Repeat("g", 4097))}, token.Profile{}, "4096"},
		{"empty group", token.ProfileUpdate{Groups: list("dev", "")}, token.Profile{}, "empty"},
		{"group of blanks", token.ProfileUpdate{Groups: list(" ")}, token.Profile{}, "blank"},
		{"group with the delimiter", token.ProfileUpdate{Groups: list("dev|admin")}, token.Profile{}, `"dev|admin"`},
		{"group with a line end", token.ProfileUpdate{Groups: list("dev\r\nX-Forwarded-User: root")}, token.Profile{}, "U+000D"},
		{"mail with a line end", token.ProfileUpdate{Mail: text("a\nb")}, token.Profile{}, "U+000A"},
		{"mail with a blank around", token.ProfileUpdate{Mail: text(" a@b")}, token.Profile{}, "blank"},
		{"name too long", token.ProfileUpdate{DisplayName: text(strings.Repeat("n", 256))}, token.Profile{}, "255"},
		{"name not UTF-8", token.ProfileUpdate{DisplayName: text("\xff")}, token.Profile{}, "UTF-8"},
		{"groups removed", token.ProfileUpdate{Groups: list()}, token.Profile{User: "alice"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := w.Profile("alice")
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.SetProfile(t.Context(), "alice", c.update, "admin")
			want := &c.want
			if c.err != "" {
				wantError(t, err, token.ErrInvalid, c.err)
				want = before
			} else if err != nil {
				t.Fatal(err)
			} else if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("SetProfile = %+v, want %+v", got, want)
			}
			for range 2 {
				seen := w.Find(made.Record().Digest).Profile()
				if fmt.Sprintf("%+v", seen) != fmt.Sprintf("%+v", want) {
					t.Errorf("the token's Profile = %+v, want %+v", seen, want)
				}
				w.reopen()
			}
		})
	}
	_, err := w.SetProfile(t.Context(), "anonymous", token.ProfileUpdate{}, "admin")
	wantError(t, err, token.ErrInvalid, "Jenkins keeps")
	_, err = w.Profile("")
	wantError(t, err, token.ErrInvalid, "empty")
}

// A caller may go on to use the slice that it has passed.
func TestProfileKeepsItsOwnGroups(t *testing.T) {
	w := newWorld(t)
	groups := []string{"dev"}
	made, _ := w.create(token.Request{User: "alice", Name: "ci", Profile: &token.ProfileUpdate{Groups: &groups}})
	groups[0] = "admin"
	if got := made.Profile().Groups; !slices.Equal(got, []string{"dev"}) {
		t.Errorf("groups are %q, want them as they were checked", got)
	}
}

// A profile may be known before the first token, and is all tokens' of its user.
func TestProfileOfAllTokens(t *testing.T) {
	w := newWorld(t)
	mail := "alice@example.org"
	if _, err := w.SetProfile(t.Context(), "alice", token.ProfileUpdate{Mail: &mail}, "admin"); err != nil {
		t.Fatal(err)
	}
	w.create(token.Request{User: "alice", Name: "first"})
	w.reopen()
	w.create(token.Request{User: "alice", Name: "second"})
	w.create(token.Request{User: "bob", Name: "third"})
	for _, made := range w.List(func(*token.Token) bool { return true }) {
		want := ""
		if made.Record().Owner == "alice" {
			want = mail
		}
		if got := made.Profile().Mail; got != want {
			t.Errorf("mail of token %q = %q, want %q", made.Record().Name, got, want)
		}
	}
}
