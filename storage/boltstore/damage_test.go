package boltstore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

const pageSize = 4096

// overwrite replaces bytes of the file, which bbolt sees at once in its mapping.
func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// useAll calls each method, and returns the first error.
func useAll(s storage.Store) error {
	ctx := context.Background()
	for _, err := range s.List(ctx, "") {
		if err != nil {
			return err
		}
	}
	for n := range 3 {
		if _, err := s.Get(ctx, fmt.Sprintf("token/%02d-%02d", n, n)); err != nil {
			return err
		}
		if _, err := s.Apply(ctx, storage.Change{Key: fmt.Sprintf("token/%02d-%02d", n, n), Expect: storage.Any}); err != nil {
			return err
		}
	}
	return nil
}

// TestDamageUnderWay damages the file of an open store.
func TestDamageUnderWay(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, path string)
		want   string
	}{
		{"pages overwritten", func(t *testing.T, path string) {
			overwrite(t, path, 4*pageSize, bytes.Repeat([]byte("garbage!"), 60*pageSize/8))
		}, "the file is damaged, restore it from a backup: bbolt can't go on: "},
		{"cut to its first pages", func(t *testing.T, path string) { cut(t, path, 2*pageSize) },
			"the file is damaged, restore it from a backup: bbolt can't go on: "},
		{"emptied", func(t *testing.T, path string) { cut(t, path, 0) },
			"the file is damaged, restore it from a backup: bbolt can't go on: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filled(t)
			s := open(t, path)
			test.damage(t, path)
			for range 2 {
				if err := useAll(s); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("store %q: %s", path, test.want)) {
					t.Fatalf("%v, want %q", err, test.want)
				}
			}
			if _, err := s.Apply(t.Context(), storage.Change{Key: "new"}); err == nil {
				t.Error("Apply works on a damaged file")
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			// The lock is gone, whatever else the file now is.
			if s, err := boltstore.Open(path, impatient); err == nil {
				_ = s.Close()
			} else if strings.Contains(err.Error(), "is in use") {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestDamagedEntryUnderWay has an entry change in the file of an open store, as on a
// failing disk. It is no reason to give up the others.
func TestDamagedEntryUnderWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := open(t, path)
	defer s.Close()
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.Apply(t.Context(), storage.Change{Key: "key-" + name, Value: []byte("value " + name)}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ { // all copies, in pages that are no longer used as well
		next := bytes.Index(b[at:], []byte("value b"))
		if next < 0 {
			break
		}
		at += next
		overwrite(t, path, int64(at), []byte("value c"))
	}
	const want = `the file is damaged, restore it from a backup: key "key-b": the checksum is wrong`
	for _, e := range s.List(t.Context(), "") {
		err = e
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("List: %v, want %q", err, want)
	}
	if _, err := s.Get(t.Context(), "key-b"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Get: %v, want %q", err, want)
	}
	for _, expect := range []storage.Revision{2, storage.Any} {
		if _, err := s.Apply(t.Context(), storage.Change{Key: "key-b", Expect: expect}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply: %v, want %q", err, want)
		}
	}
	if e, err := s.Get(t.Context(), "key-a"); err != nil || string(e.Value) != "value a" {
		t.Errorf("Get of another entry = %q, %v", e.Value, err)
	}
	if _, err := s.Apply(t.Context(), storage.Change{Key: "key-a", Expect: storage.Any}); err != nil {
		t.Errorf("Apply to another entry: %v", err)
	}
}

// damageRounds is the variable of the environment with the number of files that
// TestDamagedFiles damages in each way.
const damageRounds = "BOLTSTORE_DAMAGE_ROUNDS"

// history fills a store in a way that leaves free pages, pages of several levels and
// entries of several kinds, and returns the file after it and a while before.
func history(t *testing.T) (before, after []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := open(t, path)
	r := rand.New(rand.NewPCG(3, 4))
	read := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for n := range 120 {
		var changes []storage.Change
		for _, i := range r.Perm(900)[:1+r.IntN(storage.MaxBatch-2)] {
			c := storage.Change{Key: fmt.Sprintf("token/%036d", i), Expect: storage.Any, Delete: r.IntN(8) == 0}
			if !c.Delete {
				c.Value = bytes.Repeat([]byte{byte(n)}, r.IntN(300))
			}
			changes = append(changes, c)
		}
		changes = append(changes, storage.Change{Key: fmt.Sprintf("usage/%036d", r.IntN(300)), Value: []byte("count"), Expect: storage.Any},
			storage.Change{Key: "meta/large", Value: bytes.Repeat([]byte{byte(n)}, 9000), Expect: storage.Any})
		if _, err := s.Apply(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
		if n == 110 {
			before = read()
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return before, read()
}

// content opens the file of a store and returns all that it serves. It also writes, so
// that the list of free pages is used, and reads again.
func content(path string) (string, error) {
	s, err := boltstore.Open(path, impatient)
	if err != nil {
		return "", err
	}
	defer s.Close()
	var all strings.Builder
	for range 2 {
		for e, err := range s.List(context.Background(), "") {
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(e.Key, "new/") {
				continue
			}
			fmt.Fprintln(&all, e.Key, e.Revision, len(e.Value), string(e.Value))
		}
		if _, err := s.Get(context.Background(), "meta/large"); err != nil {
			return "", err
		}
		for n := range 40 {
			change := storage.Change{Key: fmt.Sprint("new/", n), Value: make([]byte, 2000), Expect: storage.Any}
			if _, err := s.Apply(context.Background(), change); err != nil {
				return "", err
			}
		}
	}
	return all.String(), nil
}

// TestDamagedFiles opens files that are damaged in one place: each is refused with the
// words that say what to do, or serves exactly what was written.
func TestDamagedFiles(t *testing.T) {
	rounds := 20
	if text := os.Getenv(damageRounds); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", damageRounds, err)
		}
	}
	before, whole := history(t)
	path := filepath.Join(t.TempDir(), "tokens.db")
	mustWrite(t, path, whole)
	want, err := content(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := len(whole) / pageSize
	// used returns a page that is not all zeros, so that most damages meet something.
	used := func(b []byte, r *rand.Rand) []byte {
		for {
			if p := b[r.IntN(pages)*pageSize:][:pageSize]; !bytes.Equal(p, make([]byte, pageSize)) {
				return p
			}
		}
	}
	flip := func(b []byte, r *rand.Rand) { b[r.IntN(len(b))] ^= 1 << r.IntN(8) }
	for _, kind := range []struct {
		name   string
		damage func(b []byte, r *rand.Rand) []byte
	}{
		{"a bit", func(b []byte, r *rand.Rand) []byte { flip(used(b, r), r); return b }},
		{"a bit of a page's head or first elements", func(b []byte, r *rand.Rand) []byte { flip(used(b, r)[:200], r); return b }},
		{"a bit of the first pages", func(b []byte, r *rand.Rand) []byte { flip(b[r.IntN(6)*pageSize:][:96], r); return b }},
		{"a bit of a key", func(b []byte, r *rand.Rand) []byte {
			from := r.IntN(len(b))
			if i := bytes.Index(b[from:], []byte("token/")); i >= 0 {
				flip(b[from+i:][:42], r)
			}
			return b
		}},
		{"random bytes", func(b []byte, r *rand.Rand) []byte {
			p := used(b, r)
			at := r.IntN(pageSize - 64)
			for i := range 1 + r.IntN(64) {
				p[at+i] = byte(r.Uint32())
			}
			return b
		}},
		{"a page of random bytes", func(b []byte, r *rand.Rand) []byte {
			p := used(b, r)
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			return b
		}},
		{"a page of zeros", func(b []byte, r *rand.Rand) []byte { clear(used(b, r)); return b }},
		{"another page", func(b []byte, r *rand.Rand) []byte { copy(used(b, r), used(b, r)); return b }},
		{"another page under the right number", func(b []byte, r *rand.Rand) []byte { copy(used(b, r)[8:], used(b, r)[8:]); return b }},
		{"a write that was lost", func(b []byte, r *rand.Rand) []byte {
			// Not that of a head: a file without its last transaction is whole.
			if at := (2 + r.IntN(pages-2)) * pageSize; at < len(before) {
				copy(b[at:][:pageSize], before[at:])
			}
			return b
		}},
		{"the end missing", func(b []byte, r *rand.Rand) []byte { return b[:r.IntN(len(b))] }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			refused := 0
			for round := range rounds {
				damaged := kind.damage(bytes.Clone(whole), r)
				if len(damaged) == 0 {
					continue // the beginning of a new store
				}
				mustWrite(t, path, damaged)
				got, err := content(path)
				switch {
				case err != nil:
					refused++
					if !strings.Contains(err.Error(), "damaged, restore it from a backup") {
						t.Errorf("round %d: %v", round, err)
					}
				case got != want:
					t.Errorf("round %d: the store serves other data than were written", round)
				}
			}
			if refused == 0 {
				t.Errorf("none of %d damages was found", rounds)
			}
			t.Logf("%d of %d damaged files were refused, the others had all of their data", refused, rounds)
		})
	}
}
