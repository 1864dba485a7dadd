package boltstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
)

// TestFileGoneWhileOpen: what is written into a file that is not at its path any more must
// not be acknowledged, since the next start would not find it.
func TestFileGoneWhileOpen(t *testing.T) {
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		happen func(t *testing.T, path string)
		want   string
		mend   func(t *testing.T, path string) // nil: not while it is open
	}{
		{"removed", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "was moved or removed", nil},
		{"moved", func(t *testing.T, path string) { rename(t, path, path+".old") }, "was moved or removed",
			func(t *testing.T, path string) { rename(t, path+".old", path) }},
		{"its directory moved", func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".old") }, "was moved or removed",
			func(t *testing.T, path string) { rename(t, filepath.Dir(path)+".old", filepath.Dir(path)) }},
		{"replaced by a copy", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rename(t, mustWrite(t, path+".copy", b), path)
		}, "another file has replaced the store", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "tokens.db")
			s := open(t, path)
			defer s.Close()
			if _, err := s.Apply(t.Context(), storage.Change{Key: "before"}); err != nil {
				t.Fatal(err)
			}
			test.happen(t, path)
			for _, err := range []error{s.Check(t.Context()), func() error { _, err := s.Apply(t.Context(), storage.Change{Key: "after"}); return err }()} {
				if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("%v, want %q", err, test.want)
				}
			}
			if _, err := s.Get(t.Context(), "after"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Get of a batch that was refused: %v", err)
			}
			if test.mend == nil {
				return
			}
			test.mend(t, path)
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("Check after it was mended: %v", err)
			}
			if _, err := s.Apply(t.Context(), storage.Change{Key: "after"}); err != nil {
				t.Errorf("Apply after it was mended: %v", err)
			}
		})
	}
}
