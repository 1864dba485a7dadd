package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// impatient is for opening what no other process will let go of.
var impatient = boltstore.Options{LockTimeout: -1}

// filled makes a store with some pages of entries in a new directory.
func filled(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := open(t, path)
	for n := range 20 {
		var changes []storage.Change
		for i := range 50 {
			changes = append(changes, storage.Change{Key: fmt.Sprintf("token/%02d-%02d", i, n), Value: make([]byte, 200)})
		}
		if _, err := s.Apply(context.Background(), changes...); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// edit changes the file of a store with bbolt.
func edit(t *testing.T, path string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func putMeta(t *testing.T, path, key string, value []byte) {
	t.Helper()
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte(key), value) })
}

func mustWrite(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenErrors(t *testing.T) {
	random := make([]byte, 64<<10)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, test := range []struct {
		name string
		make func(t *testing.T) string
		o    boltstore.Options
		want string // in the error, beside the path
	}{
		{"a directory", func(t *testing.T) string { return t.TempDir() }, boltstore.Options{}, "is a directory, name a file in it"},
		{"not a regular file", func(*testing.T) string { return os.DevNull }, boltstore.Options{}, "is not a regular file"},
		{"below a file", func(t *testing.T) string {
			return filepath.Join(mustWrite(t, filepath.Join(t.TempDir(), "file"), nil), "tokens.db")
		}, boltstore.Options{}, "not a directory"},
		{"two levels below a file", func(t *testing.T) string {
			return filepath.Join(mustWrite(t, filepath.Join(t.TempDir(), "file"), nil), "dir", "tokens.db")
		}, boltstore.Options{}, "not a directory"},
		{"a link to nowhere", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "tokens.db")
			if err := os.Symlink("nowhere", path); err != nil {
				t.Fatal(err)
			}
			return path
		}, boltstore.Options{}, "is a link to nowhere, which does not exist"},
		{"text", func(t *testing.T) string {
			return mustWrite(t, filepath.Join(t.TempDir(), "tokens.db"), []byte("some notes\n"))
		}, boltstore.Options{}, "is not a bbolt file"},
		{"random bytes", func(t *testing.T) string { return mustWrite(t, filepath.Join(t.TempDir(), "tokens.db"), random) },
			boltstore.Options{}, "is not a bbolt file"},
		{"zeros", func(t *testing.T) string {
			return mustWrite(t, filepath.Join(t.TempDir(), "tokens.db"), make([]byte, 64<<10))
		}, boltstore.Options{}, "is not a bbolt file"},
		{"cut to a page", func(t *testing.T) string { return cut(t, filled(t), 4096) }, boltstore.Options{}, "the file is damaged, restore it from a backup: file size too small"},
		{"cut to the first pages", func(t *testing.T) string { return cut(t, filled(t), 8192) }, boltstore.Options{}, "the file is damaged, restore it from a backup"},
		{"cut in the middle", func(t *testing.T) string { return cut(t, filled(t), 64<<10) }, boltstore.Options{}, "the file is damaged, restore it from a backup"},
		{"cut in the middle, read-only", func(t *testing.T) string { return cut(t, filled(t), 64<<10) },
			boltstore.Options{ReadOnly: true}, "the file is damaged, restore it from a backup"},
		{"of another program", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "tokens.db")
			edit(t, path, func(tx *bolt.Tx) error {
				_, err := tx.CreateBucket([]byte("acme"))
				return err
			})
			return path
		}, boltstore.Options{}, "is a bbolt file of another program"},
		{"a newer schema", func(t *testing.T) string {
			path := filled(t)
			edit(t, path, func(tx *bolt.Tx) error {
				meta := tx.Bucket([]byte("meta"))
				// What a newer version says of its entries can't be read.
				return errors.Join(meta.Put([]byte("schema"), []byte{0, 0, 0, 3}), meta.Put([]byte("state"), []byte("of another kind")))
			})
			return path
		}, boltstore.Options{}, "has schema 3, this crumbgate knows schemas up to 2: run the newer crumbgate"},
		{"a newer schema by damage", func(t *testing.T) string {
			path := filled(t)
			putMeta(t, path, "schema", []byte{0, 0, 0, 3})
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: schema 3, with the entries of schema 2"},
		{"an older schema by damage", func(t *testing.T) string {
			path := filled(t)
			putMeta(t, path, "schema", []byte{0, 0, 0, 1})
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: schema 1, with the entries of schema 2"},
		{"schema 0", func(t *testing.T) string {
			path := filled(t)
			putMeta(t, path, "schema", []byte{0, 0, 0, 0})
			return path
		}, boltstore.Options{}, "the file is damaged"},
		{"a malformed schema", func(t *testing.T) string {
			path := filled(t)
			putMeta(t, path, "schema", []byte("1"))
			return path
		}, boltstore.Options{}, "a schema version of 1 bytes"},
		{"a malformed state", func(t *testing.T) string {
			path := filled(t)
			putMeta(t, path, "state", []byte("12"))
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: what it says of its entries is damaged"},
		{"no entries", func(t *testing.T) string {
			path := filled(t)
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("entries")) })
			return path
		}, boltstore.Options{}, `the file is damaged, restore it from a backup: schema 2, but no bucket "entries"`},
		{"no meta", func(t *testing.T) string {
			path := filled(t)
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) })
			return path
		}, boltstore.Options{}, `the file is damaged, restore it from a backup: there is no bucket "meta"`},
		{"nothing any more", func(t *testing.T) string {
			path := filled(t)
			edit(t, path, func(tx *bolt.Tx) error {
				return errors.Join(tx.DeleteBucket([]byte("meta")), tx.DeleteBucket([]byte("entries")))
			})
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: all of its content is missing"},
		{"one head destroyed", func(t *testing.T) string {
			path := filled(t)
			overwrite(t, path, pageSize+20, []byte("garbage"))
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: head 2 of 2"},
		{"one head twice", func(t *testing.T) string {
			path := filled(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, path, 0, b[pageSize:2*pageSize])
			return path
		}, boltstore.Options{}, "the file is damaged, restore it from a backup: head 1 of 2"},
		{"an entry less", func(t *testing.T) string {
			path := filled(t)
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("entries")).Delete([]byte("token/00-00")) })
			return path
		}, boltstore.Options{}, `the file is damaged, restore it from a backup: it holds 999 of 1000 entries "token/"`},
		{"a key of a newer version", func(t *testing.T) string { return filled(t) }, boltstore.Options{Known: []string{"token/0", "token/1"}},
			`has the key "token/20-00", which this crumbgate does not know: run the newer crumbgate that wrote it`},
		{"missing, read-only", func(t *testing.T) string { return filepath.Join(t.TempDir(), "new", "tokens.db") },
			boltstore.Options{ReadOnly: true}, "no such file"},
		{"empty, read-only", func(t *testing.T) string { return mustWrite(t, filepath.Join(t.TempDir(), "tokens.db"), nil) },
			boltstore.Options{ReadOnly: true}, "the file is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := test.make(t)
			before := tree(t, filepath.Dir(path))
			// Twice, since the first failure must not leave the file locked.
			for range 2 {
				s, err := boltstore.Open(path, test.o)
				if err == nil {
					_ = s.Close()
				}
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("store %q: ", path)) || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("Open(%q): %v, want an error with %q", path, err, test.want)
				}
			}
			if after := tree(t, filepath.Dir(path)); path != os.DevNull && after != before {
				t.Errorf("Open has changed the directory from %q to %q", before, after)
			}
		})
	}
}

// cut shortens a file.
func cut(t *testing.T, path string, size int64) string {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree returns the names, modes and contents below dir.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if dir == filepath.Dir(os.DevNull) {
		return ""
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && path == dir {
			return fs.SkipAll // dir does not exist, or is a file
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime(), info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	before := mode(t, dir)
	path := filepath.Join(dir, "a", "b", "tokens.db")
	s := open(t, path)
	for p, want := range map[string]fs.FileMode{dir: before, filepath.Dir(filepath.Dir(path)): 0o700, filepath.Dir(path): 0o700, path: 0o600} {
		if got := mode(t, p); got != want {
			t.Errorf("%s has mode %#o, want %#o", p, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the store there are %v, %v", entries, err)
	}

	for _, test := range []struct {
		name       string
		o          boltstore.Options
		mode, want fs.FileMode
	}{
		{"read by others", boltstore.Options{}, 0o644, 0o600},
		{"written by the group, as by fsGroup", boltstore.Options{}, 0o660, 0o600},
		{"read-only open", boltstore.Options{ReadOnly: true}, 0o644, 0o644},
	} {
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		s, err := boltstore.Open(path, test.o)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := mode(t, path); got != test.want {
			t.Errorf("%s: mode %#o has become %#o, want %#o", test.name, test.mode, got, test.want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEmptyFile has the store begin in a file that is there for it, such as a
// file mounted into a container.
func TestEmptyFile(t *testing.T) {
	path := mustWrite(t, filepath.Join(t.TempDir(), "tokens.db"), nil)
	for range 2 {
		s := open(t, path)
		if _, err := s.Apply(t.Context(), storage.Change{Key: "a", Expect: storage.Any}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	path := filled(t)
	before := tree(t, path)
	o := impatient
	o.ReadOnly = true
	var readers []*boltstore.Store
	for range 2 {
		s, err := boltstore.Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, s)
		entries := 0
		for _, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			entries++
		}
		if entries != 1000 {
			t.Errorf("List has %d entries", entries)
		}
		if _, err := s.Apply(t.Context(), storage.Change{Key: "a"}); err == nil || !strings.Contains(err.Error(), "opened read-only") {
			t.Errorf("Apply: %v", err)
		}
	}
	if _, err := boltstore.Open(path, impatient); err == nil || !strings.Contains(err.Error(), "is in use by") {
		t.Errorf("Open beside readers: %v", err)
	}
	for _, s := range readers {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := tree(t, path); after != before {
		t.Errorf("%s has become %s", before, after)
	}
}

func TestLocked(t *testing.T) {
	path := filled(t)
	s := open(t, path)
	_, err := boltstore.Open(path, impatient)
	if err == nil || !strings.Contains(err.Error(), "is in use by this very process") && !strings.Contains(err.Error(), "another crumbgate") {
		t.Errorf("Open, twice in a process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	holder := startChild(t, "hold", path)
	holder.line(t)
	_, err = boltstore.Open(path, impatient)
	who := "another crumbgate or Caddy process"
	if runtime.GOOS == "linux" {
		name := filepath.Base(os.Args[0])
		who = fmt.Sprintf("process %d, %q", holder.cmd.Process.Pid, name[:min(len(name), 15)]) // TASK_COMM_LEN
	}
	want := fmt.Sprintf("store %q: is in use by %s, which", path, who)
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "stop it, or name another file") {
		t.Errorf("Open of a file in use: %v, want %s…", err, want)
	}

	// One that waits gets the file once the holder lets go of it.
	opened := make(chan error)
	go func() {
		s, err := boltstore.Open(path, boltstore.Options{})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	holder.end(t)
	if err := <-opened; err != nil {
		t.Errorf("Open of a file that is let go of: %v", err)
	}
}

// TestPermissions is run by a child that is not root, who may do everything.
func TestPermissions(t *testing.T) {
	path := filled(t)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	// A child that was root must get past the private parent of t.TempDir.
	if err := os.Chmod(filepath.Dir(t.TempDir()), 0o755); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		for _, p := range []string{path, locked} {
			if err := os.Chown(p, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct{ name, path, want string }{
		{"a read-only file", path, "open " + path + ": permission denied"},
		{"a file in a read-only directory", filepath.Join(locked, "tokens.db"), "creating it: "},
		{"a directory in a read-only directory", filepath.Join(locked, "new", "tokens.db"), "creating its directory: mkdir "},
	}
	if os.Getuid() == 0 { // only root can give the child a file that is not its own
		foreign := filled(t)
		for _, err := range []error{os.Chmod(filepath.Dir(filepath.Dir(foreign)), 0o755), os.Chmod(foreign, 0o666)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		tests = append(tests, struct{ name, path, want string }{"a file of another owner, open to all", foreign, "its mode 0666 lets others in and can't be changed, make it 0600: "})
	}
	for _, test := range tests {
		c := startChild(t, "open as nobody", test.path)
		got := c.line(t)
		c.end(t)
		if !strings.HasPrefix(got, fmt.Sprintf("store %q: ", test.path)+test.want) {
			t.Errorf("%s: Open: %q, want %q", test.name, got, test.want)
		}
	}
}
