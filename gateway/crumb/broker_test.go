package crumb_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/user"
)

var alice = crumb.Key{User: "alice"}

func newBroker(t testing.TB, max int) *crumb.Broker {
	t.Helper()
	b, err := crumb.NewBroker(max, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fetchOf answers with a session of its own at each call, and counts them.
func fetchOf(calls *atomic.Int64) crumb.Fetch {
	return func(_ context.Context, _ *crumb.Session) (*crumb.Session, error) {
		return &crumb.Session{Crumb: fmt.Sprint(calls.Add(1))}, nil
	}
}

func TestForget(t *testing.T) {
	b := newBroker(t, 10)
	var calls atomic.Int64
	b.Forget(alice, &crumb.Session{}) // unknown
	first, err := b.Session(t.Context(), alice, nil, fetchOf(&calls))
	if err != nil {
		t.Fatal(err)
	}
	b.Forget(alice, &crumb.Session{})
	b.Forget(crumb.Key{User: "bob"}, first)
	if b.Cached(alice) != first {
		t.Error("a session was forgotten that nobody had refused")
	}
	b.Forget(alice, first)
	if b.Cached(alice) != nil {
		t.Error("a refused session was not forgotten")
	}
}

func TestBroker(t *testing.T) {
	b := newBroker(t, 10)
	var calls atomic.Int64
	fetch := fetchOf(&calls)
	if s := b.Cached(alice); s != nil {
		t.Errorf("Cached = %v before anything was fetched", s)
	}
	get := func(key crumb.Key, refused *crumb.Session, fresh bool) *crumb.Session {
		t.Helper()
		var s *crumb.Session
		var err error
		if fresh {
			s, err = b.Fresh(t.Context(), key, fetch)
		} else {
			s, err = b.Session(t.Context(), key, refused, fetch)
		}
		if err != nil || s == nil {
			t.Fatalf("session of %v: %v, %v", key, s, err)
		}
		return s
	}
	first := get(alice, nil, false)
	if get(alice, nil, false) != first || b.Cached(alice) != first {
		t.Error("a session was not kept")
	}
	second := get(alice, first, false)
	if second == first {
		t.Error("the refused session came back")
	}
	if get(alice, first, false) != second {
		t.Error("another caller with the old session makes a fetch")
	}
	if third := get(alice, nil, true); third == second || b.Cached(alice) != third {
		t.Error("a fresh session is the old one, or was not kept")
	}
	for _, other := range []crumb.Key{{User: "bob"}, {User: "Alice"}, {User: "alice", Addr: "10.0.0.1"}, {User: "alice\x0010.0.0.1"}} {
		if b.Cached(other) != nil || get(other, nil, false) == b.Cached(alice) {
			t.Errorf("%v shares the session of alice", other)
		}
	}
}

func TestColdCallersShareAFetch(t *testing.T) {
	for range 2000 { // now and then a caller is late
		b := newBroker(t, 10)
		var calls atomic.Int64
		fetch := fetchOf(&calls)
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				<-begin
				if s, err := b.Session(t.Context(), alice, nil, fetch); err != nil || s.Crumb != "1" {
					t.Errorf("session %v, %v", s, err)
				}
			})
		}
		close(begin)
		wg.Wait()
		if calls.Load() != 1 {
			t.Fatalf("%d fetches, want 1", calls.Load())
		}
	}
}

// Who needs a session that holds now is not given one that was asked for earlier.
func TestFreshJoinsNoOlderFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 10)
		answer := make(chan struct{})
		older := make(chan *crumb.Session)
		go func() {
			s, _ := b.Session(t.Context(), alice, nil, func(context.Context, *crumb.Session) (*crumb.Session, error) {
				<-answer
				return &crumb.Session{Crumb: "older"}, nil
			})
			older <- s
		}()
		synctest.Wait()
		s, err := b.Fresh(t.Context(), alice, func(context.Context, *crumb.Session) (*crumb.Session, error) {
			return &crumb.Session{Crumb: "fresh"}, nil
		})
		if err != nil || s.Crumb != "fresh" {
			t.Errorf("Fresh = %+v, %v", s, err)
		}
		close(answer)
		if s := <-older; s == nil || s.Crumb != "older" {
			t.Errorf("Session = %+v", s)
		}
	})
}

// A caller that leaves gets its answer at once; the fetch that it began goes on
// for the others.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 10)
		release := make(chan struct{})
		fetch := func(ctx context.Context, _ *crumb.Session) (*crumb.Session, error) {
			select {
			case <-release:
				return &crumb.Session{Crumb: "1"}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		left, served := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := b.Session(ctx, alice, nil, fetch)
			left <- err
		}()
		synctest.Wait()
		go func() {
			_, err := b.Session(t.Context(), alice, nil, fetch)
			served <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left got %v", err)
		}
		synctest.Wait()
		close(release)
		if err := <-served; err != nil {
			t.Errorf("the other got %v", err)
		}
		if b.Cached(alice) == nil {
			t.Error("the session was not kept")
		}
	})
}

func TestFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 10)
		begun := time.Now()
		_, err := b.Session(t.Context(), alice, nil, func(ctx context.Context, _ *crumb.Session) (*crumb.Session, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %v, want the deadline after a minute", err, time.Since(begun))
		}
		// The old session stays what a fetch presents, and the next one is not in its way.
		var calls atomic.Int64
		old, err := b.Session(t.Context(), alice, nil, fetchOf(&calls))
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		if _, err := b.Fresh(t.Context(), alice, func(_ context.Context, presented *crumb.Session) (*crumb.Session, error) {
			if presented != old {
				t.Errorf("the fetch presents %v, want %v", presented, old)
			}
			return nil, broken
		}); !errors.Is(err, broken) {
			t.Errorf("error %v, want that of the fetch", err)
		}
		if b.Cached(alice) != old {
			t.Error("a failed fetch changed the session")
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	const max = 5
	b := newBroker(t, max)
	var calls atomic.Int64
	var keys []crumb.Key
	for i := range 200 {
		key := crumb.Key{User: user.ID(fmt.Sprint("user", i))}
		keys = append(keys, key)
		if _, err := b.Session(t.Context(), key, nil, fetchOf(&calls)); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() (n int) {
		for _, key := range keys {
			if b.Cached(key) != nil {
				n++
			}
		}
		return n
	}
	// The cache evicts in its own time.
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for kept() > max {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d sessions are kept, want at most %d", kept(), max)
		}
	}
}
