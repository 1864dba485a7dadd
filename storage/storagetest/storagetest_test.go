package storagetest_test

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/storagetest"
)

// flaw names what is wrong with memory in this process: nothing, unless
// TestFlawsAreFound has started it.
var flaw = os.Getenv("STORAGETEST_FLAW")

// TestMemory shows that the suite passes a right store.
func TestMemory(t *testing.T) {
	var mu sync.Mutex
	disks := map[string]*disk{}
	storagetest.Run(t, func(_ testing.TB, dir string) storage.Store {
		mu.Lock()
		defer mu.Unlock()
		if disks[dir] == nil || flaw == "not durable" {
			disks[dir] = &disk{entries: map[string]storage.Entry{}}
		}
		if flaw == "revisions reused" {
			disks[dir].last = 0
			for _, e := range disks[dir].entries {
				disks[dir].last = max(disks[dir].last, e.Revision)
			}
		}
		return &memory{disk: disks[dir]}
	})
}

// TestFlawsAreFound shows that it fails a wrong one, in the test that it should.
func TestFlawsAreFound(t *testing.T) {
	for _, test := range []struct{ flaw, by string }{
		{"not durable", "revisions_over_reopening"},
		{"revisions reused", "revisions_over_reopening"},
		{"revision not raised", "concurrent_batches"},
		{"empty value lost", "get"},
		{"list unsorted", "list"},
		{"list ignores prefix", "list"},
		{"list only once", "list"},
		{"list moves on", "list_sees_one_moment"},
		{"list swallows panics", "list_stops_early"},
		{"half a batch", "expectations"},
		{"no conflict", "expectations"},
		{"no detail", "expectations"},
		{"last conflict first", "expectations"},
		{"delete unchecked", "expectations"},
		{"checked before locked", "one_of_many_wins"},
		{"no limits", "limits"},
		{"no context", "ended_context"},
		{"applied in spite of context", "ended_context"},
		{"value kept", "values_are_copied"},
		{"value given", "values_are_copied"},
		{"usable when closed", "closed"},
		{"closed once", "closed"},
		{"delete forgets others", "model"},
	} {
		t.Run(test.flaw, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.timeout=60s", "-rapid.nofailfile", "-rapid.shrinktime=100ms")
			cmd.Env = append(os.Environ(), "STORAGETEST_FLAW="+test.flaw)
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: TestMemory/"+test.by+" ")) {
				t.Errorf("the test %q does not fail: %v\n%s", test.by, err, out)
			}
		})
	}
}

// A disk outlives the stores opened on it.
type disk struct {
	mu      sync.Mutex
	entries map[string]storage.Entry // guarded by mu
	last    storage.Revision         // guarded by mu
}

// memory is a storage.Store without durability.
type memory struct {
	*disk
	closed bool // guarded by mu
}

func (m *memory) usableLocked(ctx context.Context) error {
	if m.closed && flaw != "usable when closed" {
		return storage.ErrClosed
	}
	if flaw == "no context" {
		return nil
	}
	return ctx.Err()
}

func (m *memory) Check(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usableLocked(ctx)
}

func (m *memory) Get(ctx context.Context, key string) (storage.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return storage.Entry{}, err
	}
	e, ok := m.entries[key]
	if !ok || flaw == "empty value lost" && len(e.Value) == 0 {
		return storage.Entry{}, storage.ErrNotFound
	}
	if flaw != "value given" {
		e.Value = bytes.Clone(e.Value)
	}
	return e, nil
}

func (m *memory) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	passes := 0
	return func(yield func(storage.Entry, error) bool) {
		m.mu.Lock()
		err := m.usableLocked(ctx)
		entries := maps.Clone(m.entries)
		m.mu.Unlock()
		if flaw == "list swallows panics" {
			defer func() { _ = recover() }()
		}
		if passes++; passes > 1 && flaw == "list only once" {
			return
		}
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		keys := slices.Sorted(maps.Keys(entries))
		if flaw == "list unsorted" {
			slices.Reverse(keys)
		}
		for _, k := range keys {
			e := entries[k]
			if flaw == "list moves on" {
				m.mu.Lock()
				e = m.entries[k]
				m.mu.Unlock()
			}
			e.Value = bytes.Clone(e.Value)
			if (strings.HasPrefix(k, prefix) || flaw == "list ignores prefix") && !yield(e, nil) {
				return
			}
		}
	}
}

func (m *memory) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	if err := storage.CheckBatch(changes); err != nil && flaw != "no limits" {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil && !(flaw == "applied in spite of context" && err == ctx.Err()) {
		return 0, err
	}
	var conflict *storage.ConflictError
	for _, c := range changes {
		actual := m.entries[c.Key].Revision
		if c.Expect != storage.Any && c.Expect != actual && flaw != "no conflict" && !(c.Delete && flaw == "delete unchecked") {
			if conflict == nil || flaw == "last conflict first" {
				conflict = &storage.ConflictError{Key: c.Key, Expect: c.Expect, Actual: actual}
			}
			if flaw == "no detail" {
				conflict = &storage.ConflictError{Key: c.Key}
			}
		} else if flaw == "half a batch" {
			m.writeLocked(m.last+1, c)
		}
	}
	if flaw == "checked before locked" {
		m.mu.Unlock()
		for range 100 {
			runtime.Gosched()
		}
		m.mu.Lock()
	}
	if conflict != nil {
		return 0, conflict
	}
	if flaw != "revision not raised" || m.last == 0 {
		m.last++
	}
	for _, c := range changes {
		m.writeLocked(m.last, c)
	}
	if flaw == "applied in spite of context" {
		return m.last, ctx.Err()
	}
	return m.last, nil
}

func (m *memory) writeLocked(r storage.Revision, c storage.Change) {
	if c.Delete {
		delete(m.entries, c.Key)
		if flaw == "delete forgets others" {
			maps.DeleteFunc(m.entries, func(k string, _ storage.Entry) bool { return strings.HasPrefix(k, c.Key) })
		}
		return
	}
	if flaw != "value kept" {
		c.Value = bytes.Clone(c.Value)
	}
	m.entries[c.Key] = storage.Entry{Key: c.Key, Value: c.Value, Revision: r}
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed && flaw == "closed once" {
		return storage.ErrClosed
	}
	m.closed = true
	return nil
}
