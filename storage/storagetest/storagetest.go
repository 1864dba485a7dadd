// Package storagetest is the suite that every backend of storage.Store passes.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/storage"
)

// Open opens the store called dir, or makes it, and fails the test if it can't.
// The store outlives its Close: opened again, it has what was acknowledged. dir is
// an empty directory at first; a backend that keeps no files may use it as a name.
type Open func(t testing.TB, dir string) storage.Store

// Run checks a backend against what package storage promises. No store is open
// twice at once.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"get", testGet},
		{"list", testList},
		{"list stops early", testListStops},
		{"list sees one moment", testListMoment},
		{"expectations", testExpectations},
		{"limits", testLimits},
		{"revisions over reopening", testRevisions},
		{"one of many wins", testOneWins},
		{"concurrent batches", testConcurrent},
		{"ended context", testContext},
		{"values are copied", testCopies},
		{"closed", testClosed},
		{"model", testModel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// fresh opens a new store and closes it when the test ends.
func fresh(t testing.TB, open Open) storage.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func put(key, value string, expect storage.Revision) storage.Change {
	return storage.Change{Key: key, Value: []byte(value), Expect: expect}
}

func remove(key string, expect storage.Revision) storage.Change {
	return storage.Change{Key: key, Delete: true, Expect: expect}
}

func apply(t testing.TB, s storage.Store, changes ...storage.Change) storage.Revision {
	t.Helper()
	r, err := s.Apply(context.Background(), changes...)
	if err != nil {
		t.Fatalf("Apply(%v): %v", changes, err)
	}
	return r
}

// list returns the listing of a prefix, each entry as key=value@revision.
func list(t testing.TB, s storage.Store, prefix string) []string {
	t.Helper()
	var got []string
	for e, err := range s.List(context.Background(), prefix) {
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		got = append(got, show(e))
	}
	return got
}

func show(e storage.Entry) string { return fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision) }

func testGet(t *testing.T, open Open) {
	s := fresh(t, open)
	binary := "\x00\xff/\n" + strings.Repeat("k", storage.MaxKeyLen-4)
	large := strings.Repeat("v", storage.MaxValueLen)
	revision := apply(t, s, put("a", "1", storage.Absent), put(binary, large, storage.Absent), put("empty", "", storage.Absent))
	for _, test := range []struct{ name, key, value string }{
		{"short", "a", "1"},
		{"longest key and value, not UTF-8", binary, large},
		{"empty value", "empty", ""},
	} {
		got, err := s.Get(t.Context(), test.key)
		if err != nil || got.Key != test.key || string(got.Value) != test.value || got.Revision != revision {
			t.Errorf("%s: Get(%q) = %.40q, %v, want %.40q at revision %d", test.name, test.key, show(got), err, test.value, revision)
		}
	}
	for _, key := range []string{"", "b", "A", "a\x00", strings.Repeat("k", storage.MaxKeyLen+1)} {
		if got, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Get(%.20q) = %v, %v, want %v", key, show(got), err, storage.ErrNotFound)
		}
	}
}

func testList(t *testing.T, open Open) {
	s := fresh(t, open)
	if got := list(t, s, ""); got != nil {
		t.Fatalf("List of an empty store = %q", got)
	}
	r1 := apply(t, s, put("token/b", "2", storage.Absent), put("token/a", "1", storage.Absent), put("\xff\xff", "8", storage.Absent),
		put("token", "0", storage.Absent), put("token0", "3", storage.Absent), put("token/\xff", "4", storage.Absent),
		put("Token/c", "5", storage.Absent), put("\x00", "6", storage.Absent), put("\xff", "7", storage.Absent))
	r2 := apply(t, s, put("token/a", "9", r1), remove("token0", r1))
	for _, test := range []struct {
		name, prefix string
		want         []string
	}{
		{"all, by bytes", "", []string{"\x00=6", "Token/c=5", "token=0", "token/a=9", "token/b=2", "token/\xff=4", "\xff=7", "\xff\xff=8"}},
		{"a directory", "token/", []string{"token/a=9", "token/b=2", "token/\xff=4"}},
		{"a key and what it begins", "token", []string{"token=0", "token/a=9", "token/b=2", "token/\xff=4"}},
		{"a whole key", "token/b", []string{"token/b=2"}},
		{"the last possible", "\xff", []string{"\xff=7", "\xff\xff=8"}},
		{"none, between keys", "token/aa", nil},
		{"none, after all", "\xff\xff\xff", nil},
	} {
		seq := s.List(t.Context(), test.prefix)
		for _, pass := range []string{"first", "second"} {
			var got []string
			for e, err := range seq {
				if err != nil {
					t.Fatalf("%s: %v", test.name, err)
				}
				got = append(got, e.Key+"="+string(e.Value))
				want := r1
				if e.Key == "token/a" {
					want = r2
				}
				if e.Revision != want {
					t.Errorf("%s: %q is at revision %d, want %d", test.name, e.Key, e.Revision, want)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: List(%q), %s pass = %q, want %q", test.name, test.prefix, pass, got, test.want)
			}
		}
	}

	// More than any backend is likely to fetch at once.
	const many = 20 * storage.MaxBatch
	for n := 0; n < many; n += storage.MaxBatch {
		var changes []storage.Change
		for i := n; i < n+storage.MaxBatch; i++ {
			changes = append(changes, put(fmt.Sprintf("many/%06d", i*7919%many), "", storage.Absent))
		}
		apply(t, s, changes...)
	}
	got := list(t, s, "many/")
	if len(got) != many || !slices.IsSorted(got) {
		t.Errorf("List of %d entries has %d, sorted: %t", many, len(got), slices.IsSorted(got))
	}
}

// testListStops leaves listings early, which must not hold on to anything.
func testListStops(t *testing.T, open Open) {
	s := fresh(t, open)
	apply(t, s, put("a", "", storage.Absent), put("b", "", storage.Absent))
	for range 100 {
		for range s.List(t.Context(), "") {
			break
		}
	}
	func() {
		defer func() {
			if recover() != "of the caller" {
				t.Error("List has swallowed the panic of its caller")
			}
		}()
		for range s.List(t.Context(), "") {
			panic("of the caller")
		}
	}()
	apply(t, s, put("c", strings.Repeat("v", storage.MaxValueLen), storage.Absent))
}

// testListMoment lists while batches are applied that give all keys one number.
func testListMoment(t *testing.T, open Open) {
	s := fresh(t, open)
	batch := func(n int) []storage.Change {
		var changes []storage.Change
		for k := range storage.MaxBatch {
			changes = append(changes, put(fmt.Sprintf("key/%03d", k), fmt.Sprint(n), storage.Any))
		}
		return changes
	}
	apply(t, s, batch(0)...)
	stop, applied := make(chan struct{}), make(chan struct{}, 1)
	var writer sync.WaitGroup
	defer func() { close(stop); writer.Wait() }()
	writer.Go(func() {
		for n := 1; ; n++ {
			if _, err := s.Apply(context.Background(), batch(n)...); err != nil {
				t.Errorf("Apply: %v", err)
				return
			}
			select {
			case applied <- struct{}{}:
			case <-stop:
				return
			}
		}
	})
	for range 20 {
		first, count := "", 0
		for e, err := range s.List(t.Context(), "key/") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			if count++; count == 1 {
				first = string(e.Value)
			}
			if count == storage.MaxBatch/2 {
				// Two, as one may have been applied before the listing began. A store that
				// lets nobody write meanwhile is right as well.
				for range 2 {
					select {
					case <-applied:
					case <-time.After(50 * time.Millisecond):
					}
				}
			}
			if string(e.Value) != first {
				t.Fatalf("a listing has the batches %s and %s", first, e.Value)
			}
		}
		if count != storage.MaxBatch {
			t.Fatalf("a listing has %d entries of %d", count, storage.MaxBatch)
		}
	}
}

func testExpectations(t *testing.T, open Open) {
	s := fresh(t, open)
	first := apply(t, s, put("old", "1", storage.Absent))
	second := apply(t, s, put("key", "1", storage.Absent))
	const never = storage.Revision(1 << 62)
	for _, test := range []struct {
		name    string
		changes []storage.Change
		key     string // the one in conflict, empty if the batch is applied
	}{
		{"absent, is not", []storage.Change{put("key", "2", storage.Absent)}, "key"},
		{"zero value", []storage.Change{{Key: "key"}}, "key"},
		{"revision of another key", []storage.Change{put("key", "2", first)}, "key"},
		{"revision to come", []storage.Change{put("key", "2", never)}, "key"},
		{"revision of no key", []storage.Change{put("none", "2", first)}, "none"},
		{"delete, absent, is not", []storage.Change{remove("key", storage.Absent)}, "key"},
		{"delete, wrong revision", []storage.Change{remove("key", first)}, "key"},
		{"delete, exact, no key", []storage.Change{remove("none", first)}, "none"},
		{"last of three", []storage.Change{put("new", "2", storage.Absent), remove("old", first), put("key", "2", first)}, "key"},
		{"first of two conflicts", []storage.Change{put("old", "2", never), put("key", "2", never)}, "old"},
		{"exact", []storage.Change{put("key", "2", second)}, ""},
		{"exact, once more", []storage.Change{put("key", "3", second)}, "key"},
		{"any", []storage.Change{put("key", "4", storage.Any)}, ""},
		{"any, no key", []storage.Change{put("any", "5", storage.Any)}, ""},
		{"delete, any, no key", []storage.Change{remove("none", storage.Any)}, ""},
		{"delete, absent, no key", []storage.Change{remove("none", storage.Absent)}, ""},
		{"delete, any", []storage.Change{remove("any", storage.Any)}, ""},
		{"delete, exact", []storage.Change{remove("old", first)}, ""},
		{"absent after deletion", []storage.Change{put("old", "6", storage.Absent)}, ""},
		{"revision from before deletion", []storage.Change{put("old", "7", first)}, "old"},
	} {
		before := list(t, s, "")
		_, err := s.Apply(t.Context(), test.changes...)
		if test.key == "" {
			if err != nil {
				t.Errorf("%s: Apply: %v", test.name, err)
			}
			continue
		}
		i := slices.IndexFunc(test.changes, func(c storage.Change) bool { return c.Key == test.key })
		want := storage.ConflictError{Key: test.key, Expect: test.changes[i].Expect}
		if e, err := s.Get(t.Context(), test.key); err == nil {
			want.Actual = e.Revision
		}
		var got *storage.ConflictError
		if !errors.As(err, &got) || *got != want {
			t.Errorf("%s: Apply: %v, want %v", test.name, err, &want)
		}
		if after := list(t, s, ""); !slices.Equal(after, before) {
			t.Errorf("%s: a conflict has changed %q to %q", test.name, before, after)
		}
	}
	got := list(t, s, "")
	if len(got) != 2 || !strings.HasPrefix(got[0], "key=4@") || !strings.HasPrefix(got[1], "old=6@") {
		t.Errorf("at the end the store has %q, want key=4 and old=6", got)
	}
}

func testLimits(t *testing.T, open Open) {
	s := fresh(t, open)
	keys := func(n int) (changes []storage.Change) {
		for i := range n {
			changes = append(changes, put(fmt.Sprint("key", i), "", storage.Any))
		}
		return changes
	}
	for _, test := range []struct {
		name    string
		changes []storage.Change
	}{
		{"empty", nil},
		{"too many", keys(storage.MaxBatch + 1)},
		{"a key twice", []storage.Change{put("a", "1", storage.Any), put("b", "1", storage.Any), remove("a", storage.Any)}},
		{"an empty key", []storage.Change{put("a", "1", storage.Any), put("", "1", storage.Any)}},
		{"a too long key", []storage.Change{put("a", "1", storage.Any), put(strings.Repeat("k", storage.MaxKeyLen+1), "1", storage.Any)}},
		{"a too long value", []storage.Change{put("a", "1", storage.Any), put("b", strings.Repeat("v", storage.MaxValueLen+1), storage.Any)}},
	} {
		if _, err := s.Apply(t.Context(), test.changes...); !errors.Is(err, storage.ErrBatch) {
			t.Errorf("%s: Apply: %v, want %v", test.name, err, storage.ErrBatch)
		}
		if got := list(t, s, ""); got != nil {
			t.Errorf("%s: the store has %q", test.name, got)
		}
	}
	apply(t, s, keys(storage.MaxBatch)...)
}

// testRevisions reopens the store after each kind of batch: what it held is still
// there, and no revision comes again, though what had it was deleted.
func testRevisions(t *testing.T, open Open) {
	dir := t.TempDir()
	last := storage.Revision(0)
	for round := range 3 {
		for _, step := range []struct {
			name    string
			changes []storage.Change
			want    []string // keys
		}{
			{"write", []storage.Change{put("a", "1", storage.Any), put("b", "1", storage.Any)}, []string{"a", "b"}},
			{"overwrite", []storage.Change{put("a", "2", storage.Any)}, []string{"a", "b"}},
			{"delete the newest", []storage.Change{remove("a", storage.Any)}, []string{"b"}},
			{"delete all", []storage.Change{remove("b", storage.Any)}, nil},
			{"delete nothing", []storage.Change{remove("b", storage.Any)}, nil},
		} {
			s := open(t, dir)
			_, conflicts := s.Apply(t.Context(), put("c", "", 1<<60))
			r := apply(t, s, step.changes...)
			before := list(t, s, "")
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s = open(t, dir)
			after := list(t, s, "")
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			if conflicts == nil || r < last || r == last && step.name != "delete nothing" {
				t.Errorf("round %d, %s: revision %d after %d, conflict: %v", round, step.name, r, last, conflicts)
			}
			if !slices.Equal(before, after) || len(after) != len(step.want) {
				t.Errorf("round %d, %s: %q became %q, want %q", round, step.name, before, after, step.want)
			}
			last = r
		}
	}
}

// testOneWins has many callers change one key from the same revision.
func testOneWins(t *testing.T, open Open) {
	s := fresh(t, open)
	revision := apply(t, s, put("key", "start", storage.Absent))
	for round := range 10 {
		const callers = 16
		var (
			wait sync.WaitGroup
			errs [callers]error
			revs [callers]storage.Revision
		)
		for i := range callers {
			wait.Go(func() {
				revs[i], errs[i] = s.Apply(context.Background(), put("key", fmt.Sprint(i), revision), put(fmt.Sprintf("by/%d/%d", round, i), "", storage.Absent))
			})
		}
		wait.Wait()
		winner := slices.Index(errs[:], nil)
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		for i, err := range errs {
			var conflict *storage.ConflictError
			want := storage.ConflictError{Key: "key", Expect: revision, Actual: revs[winner]}
			if i != winner && (!errors.As(err, &conflict) || *conflict != want) {
				t.Errorf("round %d: caller %d got %v, want %v", round, i, err, &want)
			}
		}
		revision = revs[winner]
		want := fmt.Sprintf("key=%d@%d", winner, revision)
		if got := list(t, s, "key"); !slices.Equal(got, []string{want}) {
			t.Errorf("round %d: the store has %q, want %q", round, got, want)
		}
		want = fmt.Sprintf("by/%d/%d=@%d", round, winner, revision)
		if got := list(t, s, fmt.Sprintf("by/%d/", round)); !slices.Equal(got, []string{want}) {
			t.Errorf("round %d: the store has %q, want %q", round, got, want)
		}
	}
}

// testConcurrent has many callers, each with a counter of its own beside one that
// they share, read and write at once.
func testConcurrent(t *testing.T, open Open) {
	s := fresh(t, open)
	const callers, rounds = 8, 20
	var (
		mu   sync.Mutex
		seen = map[storage.Revision]bool{}
		wait sync.WaitGroup
	)
	for i := range callers {
		own := fmt.Sprintf("own/%d", i)
		wait.Go(func() {
			last := storage.Revision(0)
			for round := range rounds {
				r, err := s.Apply(context.Background(), put(own, fmt.Sprint(round), last), put("shared", own, storage.Any))
				if err != nil || r <= last {
					t.Errorf("Apply by %d: revision %d after %d, %v", i, r, last, err)
					return
				}
				last = r
				mu.Lock()
				if seen[r] {
					t.Errorf("revision %d twice", r)
				}
				seen[r] = true
				mu.Unlock()
				if e, err := s.Get(context.Background(), own); err != nil || show(e) != fmt.Sprintf("%s=%d@%d", own, round, r) {
					t.Errorf("Get(%q) after revision %d = %v, %v", own, r, show(e), err)
				}
			}
		})
	}
	wait.Wait()
	newest := slices.Max(slices.Collect(maps.Keys(seen)))
	shared, err := s.Get(t.Context(), "shared")
	if err != nil || shared.Revision != newest {
		t.Errorf("Get(shared) = %v, %v, want revision %d", show(shared), err, newest)
	}
	if got := list(t, s, string(shared.Value)); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("@%d", newest)) {
		t.Errorf("the newest batch %d has %q and %q", newest, show(shared), got)
	}
}

func testContext(t *testing.T, open Open) {
	s := fresh(t, open)
	want := fmt.Sprintf("a=1@%d", apply(t, s, put("a", "1", storage.Absent)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Apply(ctx, put("a", "2", storage.Any)); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v, want %v", err, context.Canceled)
	}
	if got, err := s.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v, %v, want %v", show(got), err, context.Canceled)
	}
	steps := 0
	for e, err := range s.List(ctx, "") {
		if steps++; !errors.Is(err, context.Canceled) || steps > 1 {
			t.Errorf("List, step %d = %v, %v, want %v once", steps, show(e), err, context.Canceled)
		}
	}
	if steps == 0 {
		t.Error("List yields nothing, want an error")
	}

	// Contexts that end at any time while callers wait for each other: a batch
	// whose caller got the error of its context is not there.
	var wait sync.WaitGroup
	withdrawn := make([]bool, 64)
	for i := range withdrawn {
		ctx, cancel := context.WithCancel(context.Background())
		wait.Go(func() {
			_, err := s.Apply(ctx, put(fmt.Sprintf("by/%02d", i), "", storage.Absent))
			if withdrawn[i] = errors.Is(err, context.Canceled); err != nil && !withdrawn[i] {
				t.Errorf("Apply: %v", err)
			}
		})
		wait.Go(cancel)
	}
	wait.Wait()
	for i, withdrawn := range withdrawn {
		if _, err := s.Get(t.Context(), fmt.Sprintf("by/%02d", i)); errors.Is(err, storage.ErrNotFound) != withdrawn {
			t.Errorf("Apply has told %d that its context ended: %t, then Get: %v", i, withdrawn, err)
		}
	}
	if got := list(t, s, "a"); !slices.Equal(got, []string{want}) {
		t.Errorf("the store has %q, want %q", got, want)
	}
}

func testCopies(t *testing.T, open Open) {
	s := fresh(t, open)
	value := []byte("before")
	r1 := apply(t, s, storage.Change{Key: "a", Value: value, Expect: storage.Absent}, put("b", "other", storage.Absent))
	copy(value, "after!")
	got, err := s.Get(t.Context(), "a")
	if err != nil || string(got.Value) != "before" {
		t.Fatalf("Get = %v, %v, want the value as it was applied", show(got), err)
	}
	copy(got.Value, "after!")
	for e, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		clear(e.Value)
	}
	want := []string{fmt.Sprintf("a=before@%d", r1), fmt.Sprintf("b=other@%d", r1)}
	if now := list(t, s, ""); !slices.Equal(now, want) {
		t.Errorf("the store has %q, want %q", now, want)
	}
	apply(t, s, put("a", "new", storage.Any))
	if !bytes.Equal(got.Value, []byte("after!")) {
		t.Errorf("a value that Get returned has become %q", got.Value)
	}
}

func testClosed(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	apply(t, s, put("a", "1", storage.Absent))
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check of an open store: %v", err)
	}
	list := s.List(t.Context(), "")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if got, err := s.Get(t.Context(), "a"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Get = %v, %v, want %v", show(got), err, storage.ErrClosed)
	}
	if err := s.Check(t.Context()); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Check = %v, want %v", err, storage.ErrClosed)
	}
	if r, err := s.Apply(t.Context(), put("a", "2", storage.Any)); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Apply = %d, %v, want %v", r, err, storage.ErrClosed)
	}
	steps := 0
	for e, err := range list {
		if steps++; !errors.Is(err, storage.ErrClosed) || steps > 1 {
			t.Errorf("List, step %d = %v, %v, want %v once", steps, show(e), err, storage.ErrClosed)
		}
	}
	if steps == 0 {
		t.Error("List yields nothing, want an error")
	}

	// Calls that race with Close end with it or before it.
	s = open(t, t.TempDir())
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			var err error
			for n := 0; n < 1000 && err == nil; n++ {
				if n == 3 {
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
				_, err = s.Apply(context.Background(), put(fmt.Sprintf("%d/%d", i, n), "", storage.Absent))
			}
			if !errors.Is(err, storage.ErrClosed) {
				t.Errorf("Apply beside Close: %v, want %v", err, storage.ErrClosed)
			}
		})
	}
	wait.Wait()
}
