package boltstore_test

import (
	"bytes"
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
		{"cut short", func(t *testing.T, path string) { truncate(t, path, 3*int64(os.Getpagesize())) }, "was cut short or overwritten", nil},
		{"emptied", func(t *testing.T, path string) { truncate(t, path, 0) }, "was cut short or overwritten", nil},
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
			if _, err := s.Get(t.Context(), "after"); err == nil {
				t.Error("a batch that was refused is there")
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

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// TestCopyWrittenOverOpenFile: a batch in another copy would be acknowledged, and would hide
// what the copy lacks. It does not matter how the copy is written, nor how old it is.
func TestCopyWrittenOverOpenFile(t *testing.T) {
	read := func(t *testing.T, path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	put := func(t *testing.T, s storage.Store, key string) {
		t.Helper()
		if _, err := s.Apply(t.Context(), storage.Change{Key: key, Expect: storage.Any}); err != nil {
			t.Fatal(err)
		}
	}
	session := func(t *testing.T, path, key string) {
		t.Helper()
		s := open(t, path)
		put(t, s, key)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, write := range []struct {
		name string
		flag int
	}{{"cut off first", os.O_TRUNC}, {"in place", 0}} {
		over := func(t *testing.T, path string, b []byte) {
			t.Helper()
			file, err := os.OpenFile(path, os.O_WRONLY|write.flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.Write(b); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			name string
			copy func(t *testing.T, path string, s storage.Store) []byte // made while s is open, before its last batch
		}{
			{"a copy of an earlier run", func(t *testing.T, path string, _ storage.Store) []byte { return read(t, path) }},
			{"a copy of the same run", func(t *testing.T, path string, s storage.Store) []byte {
				put(t, s, "b")
				return read(t, path)
			}},
			{"a copy of the same revision that went on apart", func(t *testing.T, path string, _ storage.Store) []byte {
				other := mustWrite(t, filepath.Join(t.TempDir(), "other.db"), read(t, path))
				session(t, other, "z")
				return read(t, other)
			}},
			{"a newer copy that went on apart", func(t *testing.T, path string, _ storage.Store) []byte {
				other := mustWrite(t, filepath.Join(t.TempDir(), "other.db"), read(t, path))
				session(t, other, "y")
				session(t, other, "z")
				return read(t, other)
			}},
			{"a store of others", func(t *testing.T, _ string, _ storage.Store) []byte {
				other := filepath.Join(t.TempDir(), "other.db")
				session(t, other, "y")
				session(t, other, "z")
				return read(t, other)
			}},
		} {
			t.Run(write.name+"/"+test.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "tokens.db")
				session(t, path, "a")
				s := open(t, path)
				defer s.Close()
				older := test.copy(t, path, s)
				put(t, s, "revocation")
				right := read(t, path)
				over(t, path, older)
				for _, err := range []error{s.Check(t.Context()), func() error { _, err := s.Apply(t.Context(), storage.Change{Key: "after"}); return err }()} {
					if err == nil || !strings.Contains(err.Error(), "another copy was written over the file") || !strings.Contains(err.Error(), path) {
						t.Errorf("%v, want an error about the copy", err)
					}
				}
				if got := read(t, path); !bytes.Equal(got[:len(older)], older) {
					t.Error("the copy was changed")
				}
				over(t, path, right)
				if err := s.Check(t.Context()); err != nil {
					t.Errorf("Check after it was mended: %v", err)
				}
				put(t, s, "after")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, path)
				defer s.Close()
				for _, key := range []string{"a", "revocation", "after"} {
					if _, err := s.Get(t.Context(), key); err != nil {
						t.Errorf("Get %q of the store that was mended: %v", key, err)
					}
				}
			})
		}
	}
}

// TestFileLongerOrWrittenAnew: what leaves the content as it is does no harm.
func TestFileLongerOrWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := open(t, path)
	defer s.Close()
	for i, happen := range []func(){
		func() {},
		func() { truncate(t, path, 16<<20) },
		func() {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, path, b)
		},
	} {
		happen()
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("%d: Check: %v", i, err)
		}
		if _, err := s.Apply(t.Context(), storage.Change{Key: "a", Expect: storage.Any}); err != nil {
			t.Errorf("%d: Apply: %v", i, err)
		}
	}
}
