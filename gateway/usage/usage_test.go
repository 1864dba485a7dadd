package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noLog = slog.New(slog.DiscardHandler)
	start = time.Unix(1_790_000_000, 0)
)

// A recorder is a store that keeps the sizes of the batches it was given, and that
// refuses them while err is set.
type recorder struct {
	storage.Store

	mu    sync.Mutex // guards what follows
	sizes []int
	err   error
}

func (r *recorder) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes = append(r.sizes, len(changes))
	if r.err != nil {
		return 0, r.err
	}
	return r.Store.Apply(ctx, changes...)
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// batches returns the sizes since the last call.
func (r *recorder) batches() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sizes := r.sizes
	r.sizes = nil
	return sizes
}

// open returns a store in the file tokens.db of dir, closed with the test.
func open(t testing.TB, dir string) *recorder {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(dir, "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &recorder{Store: store}
}

// stored returns all that a store holds.
func stored(t testing.TB, store storage.Store) map[uuid.UUID]usage.Total {
	t.Helper()
	totals := make(map[uuid.UUID]usage.Total)
	for s, err := range usage.All(t.Context(), store) {
		if err != nil {
			t.Fatal(err)
		}
		totals[s.ID] = s.Total
	}
	return totals
}

func TestCounter(t *testing.T) {
	tracker := usage.NewTracker(open(t, t.TempDir()), noLog)
	defer tracker.Close()

	fresh := tracker.Counter(uuid.New(), usage.Total{})
	if got := fresh.Total(); !reflect.DeepEqual(got, usage.Total{}) {
		t.Errorf("Total of an unused token = %+v", got)
	}
	fresh.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0)
	fresh.Add(usage.Use{Time: start.Add(time.Minute), Addr: "10.0.0.2"}, 0)
	want := usage.Total{Count: 2, First: start.Unix(), Last: start.Unix() + 60, LastAddr: "10.0.0.2", Addrs: []string{"10.0.0.1", "10.0.0.2"}}
	if got := fresh.Total(); !reflect.DeepEqual(got, want) {
		t.Errorf("Total = %+v, want %+v", got, want)
	}

	known := tracker.Counter(uuid.New(), want)
	if got := known.Total(); !reflect.DeepEqual(got, want) {
		t.Errorf("Total of a known token = %+v, want %+v", got, want)
	}
	known.Add(usage.Use{Time: start.Add(time.Hour), Addr: "10.0.0.2"}, 0)
	want.Count, want.Last = 3, start.Unix()+3600
	if got := known.Total(); !reflect.DeepEqual(got, want) {
		t.Errorf("Total = %+v, want %+v", got, want)
	}
}

// Every use is counted once, however uses and flushes interleave, and is there
// when the store is opened again.
func TestCountsAreExact(t *testing.T) {
	const tokens, goroutines, uses = 200, 8, 5_000
	dir := t.TempDir()
	store := open(t, dir)
	tracker := usage.NewTracker(store, noLog)
	counters := make([]*usage.Counter, tokens)
	ids := make([]uuid.UUID, tokens)
	for i := range counters {
		ids[i] = uuid.New()
		counters[i] = tracker.Counter(ids[i], usage.Total{Count: uint64(i)})
	}

	stop := make(chan struct{})
	var flushing, adding sync.WaitGroup
	for range 2 {
		flushing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := tracker.Flush(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for g := range goroutines {
		adding.Go(func() {
			for i := range uses {
				counters[(i*7+g)%tokens].Add(usage.Use{Time: start.Add(time.Duration(i) * time.Millisecond), Addr: "10.0.0.1"}, 0)
			}
		})
	}
	adding.Wait()
	close(stop)
	flushing.Wait()
	tracker.Close()

	want := make(map[uuid.UUID]uint64)
	for i, id := range ids {
		want[id] = uint64(i)
	}
	for g := range goroutines {
		for i := range uses {
			want[ids[(i*7+g)%tokens]]++
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	got := make(map[uuid.UUID]uint64)
	for id, total := range stored(t, open(t, dir)) {
		got[id] = total.Count
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("stored counts are %v, want %v", got, want)
	}
	for _, size := range store.batches() {
		if size > storage.MaxBatch {
			t.Errorf("a batch of %d, at most %d are allowed", size, storage.MaxBatch)
		}
	}
}

// A bound is exact, however uses interleave.
func TestBoundIsExact(t *testing.T) {
	const rounds, goroutines, bound = 20, 4, 500
	tracker := usage.NewTracker(open(t, t.TempDir()), noLog)
	defer tracker.Close()
	for range rounds {
		counter := tracker.Counter(uuid.New(), usage.Total{Count: 1})
		var counted atomic.Int64
		var group sync.WaitGroup
		begin := make(chan struct{})
		for range goroutines {
			group.Go(func() {
				<-begin
				for range bound {
					if _, err := counter.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, bound); err == nil {
						counted.Add(1)
					}
				}
			})
		}
		close(begin)
		group.Wait()
		if got := counter.Total().Count; counted.Load() != bound-1 || got != bound {
			t.Fatalf("%d uses were counted to %d, want %d to %d", counted.Load(), got, bound-1, bound)
		}
	}
}

// spent returns how many uses of a token a start after a crash would take for made.
func spent(t *testing.T, store storage.Store, id uuid.UUID) uint64 {
	t.Helper()
	return stored(t, store)[id].Count
}

// Each use within a bound is in the store before it is granted. A crash costs at most one
// block, and nothing up to a bound of 100. A clean stop costs nothing.
func TestBoundHoldsOverCrashes(t *testing.T) {
	for _, c := range []struct{ bound, block uint64 }{{1, 0}, {3, 0}, {100, 0}, {101, 1}, {1000, 10}, {5000, 50}} {
		t.Run(fmt.Sprint(c.bound), func(t *testing.T) {
			store, id := open(t, t.TempDir()), uuid.New()
			tracker := usage.NewTracker(store, noLog)
			counter := tracker.Counter(id, usage.Total{})
			n := min(c.bound, 260)
			for made := uint64(1); made <= n; made++ {
				if _, err := counter.Add(usage.Use{Time: start}, c.bound); err != nil {
					t.Fatal(err)
				}
				if made%7 == 0 {
					if err := tracker.Flush(t.Context()); err != nil { // which must not store less
						t.Fatal(err)
					}
				}
				if got := spent(t, store, id); got < made || got > made+c.block {
					t.Fatalf("after %d uses a crash leaves %d, want at most %d more", made, got, c.block)
				}
			}
			tracker.Close()
			if got := spent(t, store, id); got != n {
				t.Errorf("after a clean stop %d uses are stored, want %d", got, n)
			}
		})
	}
}

// Uses that wait for the store at the same time share a commit.
func TestConcurrentUsesShareACommit(t *testing.T) {
	const uses = 20
	store := open(t, t.TempDir())
	tracker := usage.NewTracker(store, noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	store.mu.Lock() // the first use waits in the store, and the others for the first
	var group sync.WaitGroup
	for range uses {
		group.Go(func() {
			if _, err := counter.Add(usage.Use{Time: start}, uses); err != nil {
				t.Error(err)
			}
		})
	}
	for counter.Asking() != uses {
		time.Sleep(time.Millisecond)
	}
	store.mu.Unlock()
	group.Wait()
	if got := store.batches(); len(got) > 2 {
		t.Errorf("%d uses took %d commits, want at most 2", uses, len(got))
	}
	if _, err := counter.Add(usage.Use{Time: start}, uses); !errors.Is(err, usage.ErrSpent) {
		t.Errorf("a use beyond the bound: %v, want %v", err, usage.ErrSpent)
	}
}

// A use that can't be reserved is not granted, and is not lost.
func TestUseThatCannotBeReserved(t *testing.T) {
	store := open(t, t.TempDir())
	tracker := usage.NewTracker(store, noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	full := errors.New("disk full")
	store.fail(full)
	if _, err := counter.Add(usage.Use{Time: start}, 1); !errors.Is(err, full) {
		t.Errorf("Add = %v, want %v", err, full)
	}
	store.fail(nil)
	if _, err := counter.Add(usage.Use{Time: start}, 1); err != nil {
		t.Errorf("the use after that: %v", err)
	}
}

// The first use is never after the last, whatever the clock does.
func TestLastIsNotBeforeFirst(t *testing.T) {
	tracker := usage.NewTracker(open(t, t.TempDir()), noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	for _, ahead := range []time.Duration{8760 * time.Hour, 0, time.Minute, -time.Hour} {
		counter.Add(usage.Use{Time: start.Add(ahead)}, 0)
		if got := counter.Total(); got.First > got.Last {
			t.Errorf("%v ahead: first %d, last %d", ahead, got.First, got.Last)
		}
	}
}

// Sixteen addresses are known, and the one known longest is forgotten first.
func TestAddresses(t *testing.T) {
	tracker := usage.NewTracker(open(t, t.TempDir()), noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	var want []string
	for i := range 40 {
		addr := fmt.Sprintf("10.0.0.%d", i)
		if fresh, _ := counter.Add(usage.Use{Time: start, Addr: addr}, 0); !fresh {
			t.Errorf("%s is not new", addr)
		}
		if want = append(want, addr); len(want) > 16 {
			want = want[1:]
		}
		if got := counter.Total(); !slices.Equal(got.Addrs, want) || got.LastAddr != addr {
			t.Fatalf("addresses are %q with %q the last, want %q", got.Addrs, got.LastAddr, want)
		}
	}
	before := counter.Total()
	again := tracker.Counter(uuid.New(), before)
	for _, addr := range want {
		if fresh, _ := again.Add(usage.Use{Time: start, Addr: addr}, 0); fresh {
			t.Errorf("%s is new to a counter that goes on from where it is known", addr)
		}
	}
	if got := again.Total().Addrs; !slices.Equal(got, want) {
		t.Errorf("addresses are %q, want %q", got, want)
	}
	// A total from before addresses were kept has the last one alone.
	old := tracker.Counter(uuid.New(), usage.Total{Count: 1, LastAddr: "10.0.0.1"})
	if fresh, _ := old.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0); fresh {
		t.Error("the last address is new")
	}
}

func TestFlushBatches(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens int
		want   string // sizes of the batches
	}{
		{"nothing", 0, "[]"},
		{"one", 1, "[1]"},
		{"as many as a batch takes", 128, "[128]"},
		{"one more", 129, "[128 1]"},
		{"several batches", 300, "[128 128 44]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, t.TempDir())
			tracker := usage.NewTracker(store, noLog)
			defer tracker.Close()
			for range c.tokens {
				counter := tracker.Counter(uuid.New(), usage.Total{})
				counter.Add(usage.Use{Time: start, Addr: ""}, 0)
				counter.Add(usage.Use{Time: start, Addr: ""}, 0)
			}
			if err := tracker.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(store.batches()); got != c.want {
				t.Errorf("batches of %s changes, want %s", got, c.want)
			}
			if got := len(stored(t, store)); got != c.tokens {
				t.Errorf("%d totals stored, want %d", got, c.tokens)
			}
			if err := tracker.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := store.batches(); got != nil {
				t.Errorf("a second flush wrote batches of %v changes, want none", got)
			}
		})
	}
}

// A counter that was read from the store is not written until it is used.
func TestUnusedIsNotWritten(t *testing.T) {
	store := open(t, t.TempDir())
	tracker := usage.NewTracker(store, noLog)
	tracker.Counter(uuid.New(), usage.Total{Count: 5, LastAddr: "10.0.0.1"})
	tracker.Close()
	if got := store.batches(); got != nil {
		t.Errorf("batches of %v changes, want none", got)
	}
}

func TestFlushKeepsWhatCouldNotBeStored(t *testing.T) {
	store := open(t, t.TempDir())
	tracker := usage.NewTracker(store, noLog)
	defer tracker.Close()
	want := make(map[uuid.UUID]usage.Total)
	counters := make(map[uuid.UUID]*usage.Counter)
	for range 300 {
		id := uuid.New()
		counters[id] = tracker.Counter(id, usage.Total{})
		counters[id].Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0)
	}
	full := errors.New("no space left on device")
	store.fail(full)
	for range 2 {
		if err := tracker.Flush(t.Context()); !errors.Is(err, full) {
			t.Fatalf("Flush = %v, want %v", err, full)
		}
	}
	if got := fmt.Sprint(store.batches()); got != "[128 128]" {
		t.Errorf("two flushes tried batches of %s changes, want one batch each", got)
	}
	if got := stored(t, store); len(got) != 0 {
		t.Errorf("%d totals stored, want none", len(got))
	}
	for id, counter := range counters { // counted while the disk is full
		counter.Add(usage.Use{Time: start.Add(time.Second), Addr: "10.0.0.2"}, 0)
		want[id] = usage.Total{Count: 2, First: start.Unix(), Last: start.Unix() + 1, LastAddr: "10.0.0.2", Addrs: []string{"10.0.0.1", "10.0.0.2"}}
	}
	store.fail(nil)
	if err := tracker.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, store); !reflect.DeepEqual(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
}

func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		store := open(t, t.TempDir())
		tracker := usage.NewTracker(store, slog.New(slog.NewTextHandler(&logged, nil)))
		counter := tracker.Counter(uuid.New(), usage.Total{})

		time.Sleep(10 * usage.Interval)
		synctest.Wait()
		if got := store.batches(); got != nil {
			t.Errorf("idle, but wrote batches of %v changes", got)
		}

		counter.Add(usage.Use{Time: time.Now(), Addr: ""}, 0)
		time.Sleep(usage.Interval - time.Nanosecond)
		synctest.Wait()
		if got := store.batches(); got != nil {
			t.Errorf("wrote batches of %v changes before the interval", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := fmt.Sprint(store.batches()); got != "[1]" {
			t.Errorf("wrote batches of %s changes at the interval, want [1]", got)
		}

		counter.Add(usage.Use{Time: time.Now(), Addr: ""}, 0)
		store.fail(errors.New("no space left on device"))
		time.Sleep(usage.Interval)
		synctest.Wait()
		if !strings.Contains(logged.String(), "no space left on device") {
			t.Errorf("log is %q, want the reason of the failure", logged.String())
		}
		store.fail(nil)
		time.Sleep(usage.Interval)
		synctest.Wait()
		if got := fmt.Sprint(store.batches()); got != "[1 1]" {
			t.Errorf("wrote batches of %s changes, want a failed one and its repetition", got)
		}

		counter.Add(usage.Use{Time: time.Now(), Addr: ""}, 0)
		tracker.Close()
		if got := fmt.Sprint(store.batches()); got != "[1]" {
			t.Errorf("Close wrote batches of %s changes, want [1]", got)
		}
		for _, total := range stored(t, store) {
			if total.Count != 3 {
				t.Errorf("stored %+v, want a count of 3", total)
			}
		}
	})
}

func TestAllRefusesDamage(t *testing.T) {
	id := uuid.MustParse("01990000-0000-7000-8000-00000000000a")
	for _, c := range []struct{ name, key, value string }{
		{"no id", "usage/x", "\xa1\x01\x05"},
		{"an id in capitals", "usage/" + strings.ToUpper(id.String()), "\xa1\x01\x05"},
		{"an id as URN", "usage/" + id.URN(), "\xa1\x01\x05"},
		{"empty value", "usage/" + id.String(), ""},
		{"value cut short", "usage/" + id.String(), "\xa1\x01"},
		{"a negative count", "usage/" + id.String(), "\xa1\x01\x25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, t.TempDir())
			if _, err := store.Apply(t.Context(), storage.Change{Key: c.key, Value: []byte(c.value)}); err != nil {
				t.Fatal(err)
			}
			var got error
			for _, err := range usage.All(t.Context(), store) {
				got = err
			}
			if got == nil || !strings.Contains(got.Error(), fmt.Sprintf("%q", c.key)) {
				t.Errorf("All = %v, want an error that names %q", got, c.key)
			}
		})
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	tracker := usage.NewTracker(open(t, t.TempDir()), noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	if n := testing.AllocsPerRun(1000, func() { counter.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0) }); n != 0 {
		t.Errorf("Add makes %v allocations, want none", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	tracker := usage.NewTracker(open(b, b.TempDir()), noLog)
	defer tracker.Close()
	counter := tracker.Counter(uuid.New(), usage.Total{})
	b.Run("one goroutine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			counter.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0)
		}
	})
	b.Run("all processors", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				counter.Add(usage.Use{Time: start, Addr: "10.0.0.1"}, 0)
			}
		})
	})
}
