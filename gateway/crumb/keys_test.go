package crumb_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

const keysKey = "meta/crumb-keys"

func openStore(t testing.TB) storage.Store {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "crumbs.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func openKeys(t testing.TB, store storage.Store) *crumb.Keys {
	t.Helper()
	keys, err := crumb.OpenKeys(t.Context(), store, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func rotate(t testing.TB, keys *crumb.Keys, drop bool) {
	t.Helper()
	if err := keys.Rotate(t.Context(), drop); err != nil {
		t.Fatal(err)
	}
}

func wantStanding(t testing.TB, keys *crumb.Keys, text string, want crumb.Standing) {
	t.Helper()
	if got := keys.Verify(text, "alice", "s1", noon, time.Hour); got != want {
		t.Errorf("Verify = %v, want %v", got, want)
	}
}

// numbers returns those of the keys, and tests that the first one is the current.
func numbers(t testing.TB, keys *crumb.Keys) []uint64 {
	t.Helper()
	var ns []uint64
	for i, info := range keys.Info() {
		if info.Current != (i == 0) || info.Created.IsZero() {
			t.Errorf("key %d of Info is %+v", i, info)
		}
		ns = append(ns, info.Number)
	}
	return ns
}

// A hooked store calls a function before each Apply, which may return an error in its place.
type hooked struct {
	storage.Store
	before func() error
	after  error // returned for what has been applied
}

func (h *hooked) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	if h.before != nil {
		if err := h.before(); err != nil {
			return 0, err
		}
	}
	revision, err := h.Store.Apply(ctx, changes...)
	return revision, errors.Join(err, h.after)
}

func TestKeysOutliveTheProcess(t *testing.T) {
	store := openStore(t)
	first := openKeys(t, store)
	text := first.Issue("alice", "s1", noon)
	rotate(t, first, false)

	second := openKeys(t, store)
	wantStanding(t, second, text, crumb.Valid)
	wantStanding(t, second, first.Issue("alice", "s1", noon), crumb.Valid)
	wantStanding(t, first, second.Issue("alice", "s1", noon), crumb.Valid)
	if got, want := second.Info(), first.Info(); !slices.Equal(got, want) || len(got) != 2 || !got[0].Created.Equal(noon) {
		t.Errorf("Info after opening again = %v, want %v", got, want)
	}
}

func TestKeysOfAnotherStore(t *testing.T) {
	mine, theirs := openKeys(t, openStore(t)), openKeys(t, openStore(t))
	wantStanding(t, mine, theirs.Issue("alice", "s1", noon), crumb.Foreign)
	wantStanding(t, crumb.NewKeys(), mine.Issue("alice", "s1", noon), crumb.Foreign)
}

func TestRotate(t *testing.T) {
	for name, keys := range map[string]*crumb.Keys{"in memory": crumb.NewKeys(), "stored": openKeys(t, openStore(t))} {
		t.Run(name, func(t *testing.T) {
			// More rotations than a byte has values, which is how crumbs name their key.
			var texts []string
			for n := range 600 {
				texts = append(texts, keys.Issue("alice", "s1", noon))
				rotate(t, keys, false)
				for age, text := range texts[max(0, n-8):] {
					age := min(n, 8) - age // rotations before this one
					want := crumb.Valid
					if age >= 4 {
						want = crumb.Foreign
					}
					if got := keys.Verify(text, "alice", "s1", noon, time.Hour); got != want {
						t.Fatalf("a crumb %d rotations old is %v, want %v", age+1, got, want)
					}
				}
			}
			if got, want := numbers(t, keys), []uint64{601, 600, 599, 598, 597}; !slices.Equal(got, want) {
				t.Errorf("keys %v, want %v", got, want)
			}
			for _, text := range texts[:len(texts)-4] { // some name a key by the byte of one that holds
				wantStanding(t, keys, text, crumb.Foreign)
			}
		})
	}
}

func TestRotateDrops(t *testing.T) {
	for name, keys := range map[string]*crumb.Keys{"in memory": crumb.NewKeys(), "stored": openKeys(t, openStore(t))} {
		t.Run(name, func(t *testing.T) {
			oldest := keys.Issue("alice", "s1", noon)
			rotate(t, keys, false)
			old := keys.Issue("alice", "s1", noon)
			rotate(t, keys, true)
			wantStanding(t, keys, oldest, crumb.Foreign)
			wantStanding(t, keys, old, crumb.Foreign)
			wantStanding(t, keys, keys.Issue("alice", "s1", noon), crumb.Valid)
			if got, want := numbers(t, keys), []uint64{3}; !slices.Equal(got, want) {
				t.Errorf("keys %v, want %v", got, want)
			}
		})
	}
}

func TestDroppedKeysLeaveTheStore(t *testing.T) {
	store := openStore(t)
	keys := openKeys(t, store)
	secret := storedRing(t, store).Keys[0].Secret
	rotate(t, keys, true)
	entry, err := store.Get(t.Context(), keysKey)
	if err != nil || bytes.Contains(entry.Value, secret) {
		t.Errorf("the stored record is %x, %v, want it without the key %x", entry.Value, err, secret)
	}
}

// Crumbs are made and verified while keys rotate: at most three rotations lie between, so
// that each is valid.
func TestRotateConcurrently(t *testing.T) {
	keys := openKeys(t, openStore(t))
	for range 10 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					text := keys.Issue("alice", "s1", noon)
					if got := keys.Verify(text, "alice", "s1", noon, time.Hour); got != crumb.Valid {
						t.Errorf("Verify(Issue) = %v during a rotation, want valid", got)
					}
					if got := keys.Verify(text, "bob", "s1", noon, time.Hour); got != crumb.Foreign {
						t.Errorf("Verify(Issue) = %v for another user, want foreign", got)
					}
					keys.Info()
				}
			})
		}
		for range 3 {
			all.Go(func() {
				if err := keys.Rotate(t.Context(), false); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if got := numbers(t, keys)[0]; got != 31 {
		t.Errorf("the current key is %d after 30 rotations, want 31", got)
	}
}

func TestOpenersRace(t *testing.T) {
	store := openStore(t)
	var winner *crumb.Keys
	loser := openKeys(t, &hooked{Store: store, before: func() error {
		winner = openKeys(t, store)
		return nil
	}})
	wantStanding(t, loser, winner.Issue("alice", "s1", noon), crumb.Valid)
	wantStanding(t, winner, loser.Issue("alice", "s1", noon), crumb.Valid)
}

func TestManyOpenersMakeOneKey(t *testing.T) {
	store := openStore(t)
	opened := make([]*crumb.Keys, 16)
	var all sync.WaitGroup
	for i := range opened {
		all.Go(func() {
			var err error
			if opened[i], err = crumb.OpenKeys(t.Context(), store, time.Now); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	text := opened[0].Issue("alice", "s1", noon)
	for _, keys := range opened {
		wantStanding(t, keys, text, crumb.Valid)
	}
}

// Two processes that rotate lose neither of the rotations.
func TestRotateAfterConflict(t *testing.T) {
	store := openStore(t)
	a, b := openKeys(t, store), openKeys(t, store)
	rotate(t, a, false)
	byA := a.Issue("alice", "s1", noon)
	wantStanding(t, b, byA, crumb.Foreign)
	rotate(t, b, false)
	wantStanding(t, b, byA, crumb.Valid)
	if got, want := numbers(t, b), []uint64{3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("keys %v after both rotations, want %v", got, want)
	}

	byB := b.Issue("alice", "s1", noon)
	rotate(t, a, true)
	wantStanding(t, a, byB, crumb.Foreign)
	wantStanding(t, openKeys(t, store), byB, crumb.Foreign)
	if got, want := numbers(t, a), []uint64{4}; !slices.Equal(got, want) {
		t.Errorf("keys %v after the drop, want %v", got, want)
	}
}

func TestRotateAloneWritesOnce(t *testing.T) {
	writes := 0
	keys := openKeys(t, &hooked{Store: openStore(t), before: func() error { writes++; return nil }})
	for range 3 {
		rotate(t, keys, false)
	}
	if writes != 4 {
		t.Errorf("the store was written %d times for the first key and 3 rotations, want 4", writes)
	}
}

func TestRotateGivesUp(t *testing.T) {
	store := openStore(t)
	other := openKeys(t, store)
	h := &hooked{Store: store}
	keys := openKeys(t, h)
	h.before = func() error { return other.Rotate(t.Context(), false) }
	if err := keys.Rotate(t.Context(), false); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Fatalf("Rotate against a faster process: %v, want the advice to try again", err)
	}
	// It has taken over what the other did.
	wantStanding(t, keys, other.Issue("alice", "s1", noon), crumb.Valid)
}

func TestStoreFails(t *testing.T) {
	full := errors.New("no space left")
	h := &hooked{Store: openStore(t)}

	h.before = func() error { return full }
	if _, err := crumb.OpenKeys(t.Context(), h, time.Now); !errors.Is(err, full) {
		t.Fatalf("OpenKeys = %v, want %v", err, full)
	}
	h.before = nil
	keys := openKeys(t, h)
	text, before := keys.Issue("alice", "s1", noon), keys.Info()

	for _, drop := range []bool{false, true} {
		h.before = func() error { return full }
		if err := keys.Rotate(t.Context(), drop); !errors.Is(err, full) {
			t.Errorf("Rotate = %v, want %v", err, full)
		}
		if got := keys.Info(); !slices.Equal(got, before) {
			t.Errorf("keys are %v after a failure, want %v", got, before)
		}
		wantStanding(t, keys, text, crumb.Valid)
		wantStanding(t, openKeys(t, h.Store), keys.Issue("alice", "s1", noon), crumb.Valid)
	}

	// The store has made the change, but could not say so: no crumb is issued by a key that
	// may be lost, and the next rotation goes on from there.
	h.before, h.after = nil, errors.New("no answer")
	if err := keys.Rotate(t.Context(), false); !errors.Is(err, h.after) {
		t.Errorf("Rotate = %v, want %v", err, h.after)
	}
	if got := keys.Info(); !slices.Equal(got, before) {
		t.Errorf("keys are %v after no answer, want %v", got, before)
	}
	h.after = nil
	rotate(t, keys, false)
	wantStanding(t, keys, text, crumb.Valid)
	if got, want := numbers(t, keys), []uint64{3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

func TestCancelled(t *testing.T) {
	store := openStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := crumb.OpenKeys(ctx, store, time.Now); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenKeys = %v, want context.Canceled", err)
	}
	keys := openKeys(t, store)
	if err := keys.Rotate(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Rotate = %v, want context.Canceled", err)
	}
}

// The shape of the record, as it was when it was first written.
type ringRecord struct {
	Version int         `cbor:"1,keyasint"`
	Keys    []keyRecord `cbor:"2,keyasint"`
}

type keyRecord struct {
	Number  uint64 `cbor:"1,keyasint"`
	Created int64  `cbor:"2,keyasint"`
	Secret  []byte `cbor:"3,keyasint"`
}

func storedRing(t testing.TB, store storage.Store) ringRecord {
	t.Helper()
	entry, err := store.Get(t.Context(), keysKey)
	if err != nil {
		t.Fatal(err)
	}
	var record ringRecord
	if err := cbor.Unmarshal(entry.Value, &record); err != nil {
		t.Fatal(err)
	}
	return record
}

func TestOpenKeysIsStrict(t *testing.T) {
	const damaged = "restore the store from a backup"
	secret := bytes.Repeat([]byte{0x5a}, 32)
	ring := func(keys ...keyRecord) ringRecord { return ringRecord{1, keys} }
	good := keyRecord{7, 1, secret}
	var many []keyRecord
	for n := range uint64(6) {
		many = append(many, keyRecord{100 - n, 1, secret})
	}
	for _, c := range []struct {
		name   string
		record any
		want   string // in the error, "": none
	}{
		{"one key", ring(good), ""},
		{"five keys", ring(many[:5]...), ""},
		{"later version", ringRecord{2, []keyRecord{good}}, "run the release that wrote it"},
		{"later version with more fields", map[int]any{1: 2, 9: "x"}, "run the release that wrote it"},
		{"no version", map[int]any{2: []keyRecord{good}}, damaged},
		{"negative version", ringRecord{-1, []keyRecord{good}}, damaged},
		{"no keys", ring(), damaged},
		{"six keys", ring(many...), damaged},
		{"short secret", ring(keyRecord{7, 1, secret[:31]}), damaged},
		{"long secret", ring(keyRecord{7, 1, append(secret[:32:32], 1)}), damaged},
		{"no secret", ring(keyRecord{7, 1, nil}), damaged},
		{"secret of zeros", ring(keyRecord{7, 1, make([]byte, 32)}), damaged},
		{"second secret of zeros", ring(good, keyRecord{6, 1, make([]byte, 32)}), damaged},
		{"number 0", ring(keyRecord{0, 1, secret}), damaged},
		{"number 0 below", ring(keyRecord{1, 1, secret}, keyRecord{0, 1, secret}), damaged},
		{"same number", ring(good, good), damaged},
		{"oldest first", ring(good, keyRecord{8, 1, secret}), damaged},
		{"number left out", ring(good, keyRecord{5, 1, secret}), damaged},
		{"same number in a byte", ring(keyRecord{263, 1, secret}, good), damaged},
		{"unknown field", map[int]any{1: 1, 2: []keyRecord{good}, 3: 1}, damaged},
		{"unknown field of a key", map[int]any{1: 1, 2: []map[int]any{{1: 7, 2: 1, 3: secret, 4: 1}}}, damaged},
		{"list", []int{1, 2}, damaged},
		{"text", "keys", damaged},
		{"no CBOR", cbor.RawMessage{0xff, 0x00}, damaged},
		{"nothing", cbor.RawMessage{}, damaged},
		{"rest", cbor.RawMessage(append(marshal(t, ring(good)), 0)), damaged},
		{"cut short", cbor.RawMessage(marshal(t, ring(good))[:30]), damaged},
		{"version twice", cbor.RawMessage(append([]byte{0xa3, 1, 1}, marshal(t, ring(good))[1:]...)), damaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			value, isRaw := c.record.(cbor.RawMessage)
			if !isRaw {
				value = marshal(t, c.record)
			}
			store := openStore(t)
			if _, err := store.Apply(t.Context(), storage.Change{Key: keysKey, Value: value}); err != nil {
				t.Fatal(err)
			}
			_, err := crumb.OpenKeys(t.Context(), store, time.Now)
			if c.want == "" {
				if err != nil {
					t.Fatalf("OpenKeys(%x) = %v", value, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), keysKey) {
				t.Errorf("OpenKeys(%x) = %v, want an error with %q and %q", value, err, c.want, keysKey)
			}
			if err != nil && (strings.Contains(err.Error(), "ZZ") || strings.Contains(err.Error(), "5a5a")) {
				t.Errorf("OpenKeys(%x) = %v, which shows a key", value, err)
			}
			if entry, err := store.Get(t.Context(), keysKey); err != nil || !bytes.Equal(entry.Value, value) {
				t.Errorf("the record is %x, %v afterwards, want %x", entry.Value, err, value)
			}
		})
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysDoNotShow(t *testing.T) {
	store := openStore(t)
	keys := openKeys(t, store)
	secret := storedRing(t, store).Keys[0].Secret
	type exported struct{ Keys *crumb.Keys }
	type unexported struct{ keys *crumb.Keys }

	logged := func(handler func(*bytes.Buffer) slog.Handler) string {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("m", "keys", keys, "exported", exported{keys}, "unexported", unexported{keys})
		return out.String()
	}
	encoded := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	redacting := map[string]string{
		"String":           keys.String(),
		"JSON":             encoded(keys),
		"JSON of a struct": encoded(exported{keys}),
		"slog text":        logged(func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }),
		"slog JSON":        logged(func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }),
		"slog value":       slog.AnyValue(keys).Resolve().String(),
	}
	silent := map[string]string{"Info": fmt.Sprintf("%#v", keys.Info())}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%z"} {
		redacting[verb] = fmt.Sprintf(verb, keys)
		redacting[verb+" of a struct"] = fmt.Sprintf(verb, exported{keys})
		silent[verb+" of a private field"] = fmt.Sprintf(verb, unexported{keys})
	}
	for name, out := range redacting {
		if !strings.Contains(out, "REDACTED") {
			t.Errorf("%s: %q, want REDACTED", name, out)
		}
		silent[name] = out
	}
	for name, out := range silent {
		for _, form := range []string{string(secret[:4]), hex.EncodeToString(secret[:4]), base64.StdEncoding.EncodeToString(secret)[:8],
			strings.Trim(fmt.Sprint(secret[:4]), "[]"), strings.ToUpper(hex.EncodeToString(secret[:4]))} {
			if strings.Contains(out, form) {
				t.Errorf("%s: %q shows the key", name, out)
			}
		}
	}
}
