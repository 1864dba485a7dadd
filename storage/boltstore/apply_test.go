package boltstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
)

// These tests need to see inside: which calls share a transaction, and what a disk
// does that fails its fsync.

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "tokens.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A call is an Apply under way.
type call struct {
	revision storage.Revision
	err      error
}

// together has each batch wait in the queue, in this order, before the first of
// them may be written. It returns when all calls have.
func together(t *testing.T, s *Store, ctxs []context.Context, meanwhile func(), batches ...[]storage.Change) []call {
	t.Helper()
	s.writer <- struct{}{}
	calls := make([]call, len(batches))
	var wait sync.WaitGroup
	for i, changes := range batches {
		wait.Go(func() { calls[i].revision, calls[i].err = s.Apply(ctxs[i], changes...) })
		await(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.waiting) == i+1 })
	}
	meanwhile()
	<-s.writer
	wait.Wait()
	return calls
}

// await polls until ok or 10 seconds have passed.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); runtime.Gosched() {
		if time.Since(start) > 10*time.Second {
			t.Fatal("waited for 10 seconds")
		}
	}
}

func transactions(t *testing.T, s *Store) int {
	t.Helper()
	id := 0
	if err := s.db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func contexts(n int) []context.Context {
	ctxs := make([]context.Context, n)
	for i := range ctxs {
		ctxs[i] = context.Background()
	}
	return ctxs
}

func TestCombined(t *testing.T) {
	s := openTest(t)
	before := transactions(t, s)
	calls := together(t, s, contexts(5), func() {},
		[]storage.Change{{Key: "a", Value: []byte("0")}},
		[]storage.Change{{Key: "a", Value: []byte("1")}, {Key: "b"}}, // a is no longer absent
		[]storage.Change{{Key: "a", Value: []byte("2"), Expect: 1}},
		[]storage.Change{{Key: "a", Delete: true, Expect: 1}}, // a is at revision 2
		[]storage.Change{{Key: "c", Value: []byte("4"), Expect: storage.Any}})
	if n := transactions(t, s) - before; n != 1 {
		t.Errorf("5 batches took %d transactions", n)
	}
	for i, want := range []any{
		storage.Revision(1), storage.ConflictError{Key: "a", Expect: 0, Actual: 1},
		storage.Revision(2), storage.ConflictError{Key: "a", Expect: 1, Actual: 2}, storage.Revision(3),
	} {
		var got any = calls[i].revision
		var conflict *storage.ConflictError
		if errors.As(calls[i].err, &conflict) {
			got = *conflict
		} else if calls[i].err != nil {
			got = calls[i].err
		}
		if got != want {
			t.Errorf("batch %d: %v, want %v", i, got, want)
		}
	}
	var got []string
	for e, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
	}
	if want := "a=2@2 c=4@3"; strings.Join(got, " ") != want {
		t.Errorf("the store has %q, want %q", got, want)
	}
}

func TestCombinedIsBounded(t *testing.T) {
	s := openTest(t)
	batches := make([][]storage.Change, 2*maxCombined/storage.MaxBatch)
	for i := range batches {
		for k := range storage.MaxBatch {
			batches[i] = append(batches[i], storage.Change{Key: fmt.Sprint(i, k)})
		}
	}
	before := transactions(t, s)
	for i, c := range together(t, s, contexts(len(batches)), func() {}, batches...) {
		if c.err != nil {
			t.Errorf("batch %d: %v", i, c.err)
		}
	}
	if n := transactions(t, s) - before; n != 2 {
		t.Errorf("%d batches took %d transactions, want 2", len(batches), n)
	}
}

func TestConflictsAloneAreNotWritten(t *testing.T) {
	s := openTest(t)
	before := transactions(t, s)
	if _, err := s.Apply(t.Context(), storage.Change{Key: "a", Expect: 7}); err == nil {
		t.Error("Apply has succeeded")
	}
	if n := transactions(t, s) - before; n != 0 {
		t.Errorf("a conflict took %d transactions", n)
	}
}

func TestWithdrawn(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	ctxs := contexts(3)
	ctxs[1] = ctx
	calls := together(t, s, ctxs, func() {
		cancel()
		await(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.waiting) == 2 })
	}, []storage.Change{{Key: "a"}}, []storage.Change{{Key: "b"}}, []storage.Change{{Key: "c"}})
	for i, want := range []error{nil, context.Canceled, nil} {
		if !errors.Is(calls[i].err, want) {
			t.Errorf("batch %d: %v, want %v", i, calls[i].err, want)
		}
	}
	if _, err := s.Get(t.Context(), "b"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get of what was withdrawn: %v", err)
	}
}

// TestWithdrawnTooLate ends a context while its batch is being written.
func TestWithdrawnTooLate(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.update = func(f func(*bolt.Tx) error) error {
		cancel()
		return s.db.Update(f)
	}
	calls := together(t, s, []context.Context{context.Background(), ctx}, func() {}, []storage.Change{{Key: "a"}}, []storage.Change{{Key: "b"}})
	for i, want := range []storage.Revision{1, 2} {
		if calls[i].err != nil || calls[i].revision != want {
			t.Errorf("batch %d: %d, %v, want %d", i, calls[i].revision, calls[i].err, want)
		}
	}
}

func TestFailingDisk(t *testing.T) {
	for _, test := range []struct {
		name   string
		update func(s *Store) func(func(*bolt.Tx) error) error
		want   string
		usable bool // for the next batch
	}{
		{"before the end", func(s *Store) func(func(*bolt.Tx) error) error {
			return func(f func(*bolt.Tx) error) error {
				return s.db.Update(func(tx *bolt.Tx) error {
					if err := f(tx); err != nil {
						return err
					}
					return syscall.ENOSPC
				})
			}
		}, "the batch was not stored, nothing of it: no space left on device", true},
		{"at the end", func(s *Store) func(func(*bolt.Tx) error) error {
			return func(f func(*bolt.Tx) error) error {
				if err := s.db.Update(f); err != nil {
					return err
				}
				return syscall.EIO
			}
		}, "whether that is stored can't be known; no more are taken until the store is opened again: input/output error", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openTest(t)
			s.update = test.update(s)
			calls := together(t, s, contexts(2), func() {}, []storage.Change{{Key: "a"}}, []storage.Change{{Key: "a"}})
			for i, c := range calls {
				// Not a conflict for the second: it would be with what is not stored.
				if c.revision != 0 || c.err == nil || !strings.Contains(c.err.Error(), test.want) {
					t.Errorf("batch %d: %d, %v, want %q", i, c.revision, c.err, test.want)
				}
			}
			if _, err := s.Get(t.Context(), "none"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Get: %v", err)
			}

			s.update = s.db.Update
			_, err := s.Apply(t.Context(), storage.Change{Key: "b"})
			if test.usable != (err == nil) || !test.usable && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Apply afterwards: %v, want success: %t", err, test.usable)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(s.path, Options{}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Apply(t.Context(), storage.Change{Key: "c"}); err != nil {
				t.Errorf("Apply after opening again: %v", err)
			}
		})
	}
}
