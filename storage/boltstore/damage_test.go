package boltstore_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// TestDamagedEntries has entries that bbolt thinks nothing of. They are no reason
// to give up the others.
func TestDamagedEntries(t *testing.T) {
	write := func(t *testing.T, path, key, value string) {
		s := open(t, path)
		if _, err := s.Apply(t.Context(), storage.Change{Key: key, Value: []byte(value), Expect: storage.Any}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(t *testing.T, path, old, new string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("%q is not in the file", old)
		}
		mustWrite(t, path, bytes.ReplaceAll(b, []byte(old), []byte(new)))
	}
	for _, test := range []struct {
		name, old, new string
		want           string
	}{
		{"keys out of order", "key-b", "key-z", `key "key-c" stands after "key-z"`},
		{"revision 0", "\x00\x02bbbb", "\x00\x00bbbb", `key "key-b": revision 0`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens.db")
			write(t, path, "key-a", "aaaa")
			write(t, path, "key-b", "bbbb")
			write(t, path, "key-c", "cccc")
			replace(t, path, test.old, test.new)
			s := open(t, path)
			defer s.Close()
			var err error
			for _, e := range s.List(t.Context(), "") {
				err = e
			}
			if err == nil || !strings.Contains(err.Error(), "the file is damaged") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("List: %v, want %q", err, test.want)
			}
			if e, err := s.Get(t.Context(), "key-a"); err != nil || string(e.Value) != "aaaa" {
				t.Errorf("Get of another entry = %q, %v", e.Value, err)
			}
			if test.name == "revision 0" {
				if _, err := s.Get(t.Context(), "key-b"); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Get: %v, want %q", err, test.want)
				}
				if _, err := s.Apply(t.Context(), storage.Change{Key: "key-b", Expect: 2}); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Apply: %v, want %q", err, test.want)
				}
			}
			if _, err := s.Apply(t.Context(), storage.Change{Key: "key-a", Expect: storage.Any}); err != nil {
				t.Errorf("Apply to another entry: %v", err)
			}
		})
	}
}

// TestDamagedPages opens and uses files with one page of garbage, zeros, another
// page's content or flipped bits. It is no matter which calls fail, only that none
// panics or hangs. Bits are flipped in leaf pages alone: a branch page that leads
// back to itself is beyond help, since bbolt follows it until the stack overflows.
func TestDamagedPages(t *testing.T) {
	whole, err := os.ReadFile(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	kinds := []struct {
		name   string
		damage func(page []byte, r *rand.Rand)
	}{
		{"garbage", func(p []byte, r *rand.Rand) {
			for i := range p {
				p[i] = byte(r.Uint32())
			}
		}},
		{"zeros", func(p []byte, _ *rand.Rand) { clear(p) }},
		{"other page", func(p []byte, r *rand.Rand) { copy(p, whole[r.IntN(len(whole)/pageSize)*pageSize:]) }},
		{"flipped bits", func(p []byte, r *rand.Rand) {
			const flags, leaf = 8, 2 // of bbolt's page header
			for range 4 {
				if i := 16 + r.IntN(256); p[flags] == leaf {
					p[i] ^= 1 << r.IntN(8)
				}
			}
		}},
	}
	path := filepath.Join(t.TempDir(), "tokens.db")
	r := rand.New(rand.NewPCG(1, 2))
	damages, found := 0, 0
	for page := range len(whole) / pageSize {
		kind := kinds[page%len(kinds)]
		b := bytes.Clone(whole)
		p := b[page*pageSize:][:pageSize]
		if kind.damage(p, r); bytes.Equal(b, whole) {
			continue
		}
		damages++
		mustWrite(t, path, b)
		s, err := boltstore.Open(path, impatient)
		if err == nil {
			err = useAll(s)
			if closeErr := s.Close(); closeErr != nil {
				t.Errorf("page %d, %s: Close: %v", page, kind.name, closeErr)
			}
		}
		if err != nil {
			found++
			if strings.Contains(err.Error(), "is in use") {
				t.Fatalf("page %d, %s: %v", page, kind.name, err)
			}
		}
	}
	if found == 0 {
		t.Error("no damage was found")
	}
	t.Logf("%d of %d damages were found", found, damages)
}
