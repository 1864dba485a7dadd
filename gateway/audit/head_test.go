package audit_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// TestCut: what somebody takes away from the end of the log of a stopped gateway, and
// any other log in its place, is missed at the next start, and by Verify.
func TestCut(t *testing.T) {
	const size = 1500
	// aLog is one of several files, with so many changes. It returns them by name.
	aLog := func(t *testing.T, store string, changes int) (dir string, head audit.Head) {
		dir = t.TempDir()
		o := audit.Options{Sizes: audit.Sizes{MaxSize: size}, Name: "audit.log"}
		if store != "" {
			s := openStore(t, store)
			defer s.Close()
			o.Store = s
		}
		l := open(t, filepath.Join(dir, "audit.log"), o)
		appendTo(t, l, 0, changes)
		closeLog(t, l)
		return dir, l.Head()
	}
	files := func(t *testing.T, dir string) []string {
		names, err := filepath.Glob(filepath.Join(dir, "*.log"))
		if err != nil || len(names) < 3 {
			t.Fatalf("%q, %v", names, err)
		}
		return names
	}
	rewrite := func(t *testing.T, path string, change func([]byte) []byte) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, paths ...string) {
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	// put replaces all of a log by another one.
	put := func(t *testing.T, dir, other string) {
		remove(t, files(t, dir)...)
		if err := os.CopyFS(dir, os.DirFS(other)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		tamper func(t *testing.T, dir string)
		what   string // the log says; "": nothing
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"the last line", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, "audit.log"), func(data []byte) []byte {
				return data[:bytes.LastIndexByte(data[:len(data)-1], '\n')+1]
			})
		}, "missing at the end"},
		{"half of it", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, "audit.log"), func(data []byte) []byte { return data[:len(data)-40] })
		}, "missing at the end"},
		{"the newest file", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "audit.log")) }, "missing at the end"},
		{"all files", func(t *testing.T, dir string) { remove(t, files(t, dir)...) }, "lines 1 to 14 are missing at the end"},
		{"an older copy", func(t *testing.T, dir string) {
			other, _ := aLog(t, "", 9)
			remove(t, filepath.Join(other, "audit.log.lock"))
			put(t, dir, other)
		}, "missing at the end"},
		{"another log as long", func(t *testing.T, dir string) {
			other, _ := aLog(t, "", 12)
			remove(t, filepath.Join(other, "audit.log.lock"))
			put(t, dir, other)
		}, "line 14 is not the one that was written"},
		{"a longer log", func(t *testing.T, dir string) {
			other, _ := aLog(t, "", 40)
			remove(t, filepath.Join(other, "audit.log.lock"))
			put(t, dir, other)
		}, "line 14 is not the one that was written"},
	} {
		t.Run(test.name, func(t *testing.T) {
			storePath := filepath.Join(t.TempDir(), "tokens.db")
			dir, head := aLog(t, storePath, 12)
			if head.Seq != 14 {
				t.Fatalf("head %v", head)
			}
			test.tamper(t, dir)
			path := filepath.Join(dir, "audit.log")
			for start := range 2 { // it is said once
				store, err := boltstore.Open(storePath, boltstore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: size}, Name: "audit.log", Store: store})
				appendTo(t, l, 100, 101) // nothing is refused
				closeLog(t, l)
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				cuts := slices.DeleteFunc(find(t, path, audit.Filter{}), func(r audit.Record) bool { return r.Kind != audit.LogCut })
				if test.what == "" {
					if len(cuts) > 0 {
						t.Errorf("start %d: the log says %+v", start, cuts)
					}
					continue
				}
				if len(cuts) != 1 || !strings.Contains(cuts[0].Reason, test.what) || cuts[0].Before != head.String() {
					t.Errorf("start %d: the log says %+v, want once %q, of %v", start, cuts, test.what, head)
				}
			}
			_, err := verify(path, audit.VerifyOptions{})
			var broken *audit.Broken
			if test.what != "" && (!errors.As(err, &broken) || !strings.Contains(err.Error(), head.String())) || test.what == "" && err != nil {
				t.Errorf("verified: %v", err)
			}
			mustVerify(t, path, audit.VerifyOptions{Lost: []audit.Head{head}})
		})
	}
}

// The head that the store has of one log is not for another.
func TestHeadOfAnotherLog(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, filepath.Join(dir, "tokens.db"))
	for _, name := range []string{"a.log", "b.log", "a.log"} {
		l := open(t, filepath.Join(dir, name), audit.Options{Name: name, Store: store})
		appendTo(t, l, 0, 3)
		closeLog(t, l)
		mustVerify(t, filepath.Join(dir, name), audit.VerifyOptions{Head: l.Head()})
	}
}

// Lines that nobody waits for are covered as well, soon after they are written.
func TestHeadOfNotes(t *testing.T) {
	audit.KeepHeadEvery(time.Millisecond)
	defer audit.KeepHeadEvery(10 * time.Second)
	dir := t.TempDir()
	l := open(t, filepath.Join(dir, "audit.log"), audit.Options{Store: openStore(t, filepath.Join(dir, "tokens.db"))})
	for range 5 {
		l.Note(audit.Event{Kind: audit.RequestDenied, Reason: "unknown token"})
	}
	for began := time.Now(); l.Head().Seq < 6; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("the head is %v, want line 6", l.Head())
		}
	}
	closeLog(t, l)
}
