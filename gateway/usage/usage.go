// Package usage counts the uses of tokens, off the request path.
//
// A Counter is written by requests, without locks and without allocation but for
// a new address or client. A Tracker carries what has changed to the store, in batches
// at a fixed interval and once more when it is closed. A crash can lose what was counted
// since the last batch, and nothing else; a clean stop loses nothing.
//
// A bound on uses holds over crashes: uses are reserved in the store before they are
// granted, in blocks of a hundredth of the bound. A start after a crash takes all
// reserved uses for spent, so a crash can cost a token one block. Up to a bound of 100
// each use is reserved on its own, which is the one sync to disk that a request waits
// for.
package usage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/storage"
)

// Interval is how often counts are stored, and so the bound on what a crash
// can lose.
const Interval = 10 * time.Second

// prefix begins the keys under which totals are stored; the token's id follows.
const prefix = storekey.Usage

// A Total is what is known of the uses of one token.
type Total struct {
	Count    uint64 `cbor:"1,keyasint"`
	First    int64  `cbor:"2,keyasint,omitempty"` // Unix seconds; 0: never
	Last     int64  `cbor:"3,keyasint,omitempty"` // Unix seconds; 0: never
	LastAddr string `cbor:"4,keyasint,omitempty"`
	// Agent is the family of the last client's User-Agent.
	Agent string `cbor:"5,keyasint,omitempty"`
	// Addrs are the last addresses that are known, the newest at the end.
	Addrs []string `cbor:"6,keyasint,omitempty"`
}

// A record is what the store holds of one token.
type record struct {
	Total
	// Reserved is the count up to which uses may be granted, if that is more than Count.
	// After a crash these uses count as made.
	Reserved uint64 `cbor:"7,keyasint,omitempty"`
}

// ErrSpent is returned for a use beyond the bound.
var ErrSpent = errors.New("all uses are spent")

const (
	// maxExact is the highest bound of which a crash loses no use.
	maxExact = 100
	// maxBlock bounds how many uses are reserved ahead.
	maxBlock = 10_000
	// minAhead is the smallest block that is renewed in the background.
	minAhead = 16
	// reserveTimeout bounds how long a request waits for its turn to reserve.
	reserveTimeout = 10 * time.Second
)

// blockOf returns how many uses are reserved at once.
func blockOf(bound uint64) uint64 {
	if bound <= maxExact {
		return 1
	}
	return min(bound/100, maxBlock)
}

// maxAddrs bounds how many addresses are known of a token. From one that has been
// forgotten a use counts as the first again.
const maxAddrs = 16

// A Use is one use of a token.
type Use struct {
	Time  time.Time
	Addr  string // of the network
	Agent string // the User-Agent
}

// A Counter counts the uses of one token. The zero value is not usable; a
// Tracker makes them.
type Counter struct {
	id      uuid.UUID
	tracker *Tracker

	count    atomic.Uint64
	first    atomic.Int64
	last     atomic.Int64
	lastAddr atomic.Pointer[string]
	agent    atomic.Pointer[string]
	addrs    atomic.Pointer[[]string] // replaced, never changed

	dirty atomic.Bool
	next  *Counter // in the tracker's list of dirty counters

	// What follows is used only with a bound. Uses up to reserved are in the store.
	reserved  atomic.Uint64
	asking    atomic.Uint64 // requests that wait for a reservation
	renewing  atomic.Bool
	storing   sync.Mutex // held while a total is stored, so that no older one replaces it
	isBounded bool       // it is in Tracker.bounded; guarded by storing
}

// Take counts one use within a bound, of which nothing else is noted. It returns
// ErrSpent if there is none left, or an error of the store if the use can't be reserved.
func (c *Counter) Take(bound uint64) error {
	block := blockOf(bound)
	for {
		n, reserved := c.count.Load(), c.reserved.Load()
		switch {
		case n >= bound:
			return ErrSpent
		case n >= reserved:
			if err := c.reserve(bound); err != nil {
				return err
			}
		case c.count.CompareAndSwap(n, n+1):
			if block >= minAhead && reserved < bound && reserved-n <= block/2 && c.renewing.CompareAndSwap(false, true) {
				c.tracker.renewSoon(renewal{c, bound})
			}
			c.markDirty()
			return nil
		}
	}
}

// reserve stores that more uses may be granted, unless another request has done so.
func (c *Counter) reserve(bound uint64) error {
	c.asking.Add(1)
	defer c.asking.Add(^uint64(0))
	c.storing.Lock()
	defer c.storing.Unlock()
	if n := c.count.Load(); n >= bound || n < c.reserved.Load() {
		return nil
	}
	return c.extend(bound)
}

// extend reserves the next block, and at least one use for each request that waits. The
// caller holds storing.
func (c *Counter) extend(bound uint64) error {
	if !c.isBounded {
		c.isBounded = true
		c.tracker.addBounded(c)
	}
	total := c.Total()
	if total.Count >= bound {
		return nil
	}
	reserved := total.Count + min(bound-total.Count, max(blockOf(bound), c.asking.Load()))
	ctx, cancel := context.WithTimeout(context.Background(), reserveTimeout)
	defer cancel()
	// On a full disk, too: else it would lock out a token that has uses left.
	reservation := change(c.id, record{total, reserved})
	reservation.Room = storage.HalfRoom
	if _, err := c.tracker.store.Apply(ctx, reservation); err != nil {
		return fmt.Errorf("reserving uses of a token: %w", err)
	}
	c.reserved.Store(reserved)
	return nil
}

// toStore returns the total with the reservation. The caller holds storing.
func (c *Counter) toStore() record {
	r := record{Total: c.Total()}
	if reserved := c.reserved.Load(); reserved > r.Count {
		r.Reserved = reserved
	}
	return r
}

// Add counts one use, within a bound if that is not 0: then it returns the errors of
// Take. Fresh reports that the address was not known before.
func (c *Counter) Add(u Use, bound uint64) (fresh bool, err error) {
	if bound == 0 {
		c.count.Add(1)
	} else if err := c.Take(bound); err != nil {
		return false, err
	}
	unix := u.Time.Unix()
	if first := c.first.Load(); first == 0 || unix < first { // a clock that was ahead is right again
		c.first.CompareAndSwap(first, unix)
	}
	if c.last.Load() != unix {
		c.last.Store(unix)
	}
	if old := c.lastAddr.Load(); old == nil || *old != u.Addr {
		fresh = c.from(u.Addr)
	}
	if family := Family(u.Agent); family != "" {
		if old := c.agent.Load(); old == nil || *old != family {
			kept := strings.Clone(family)
			c.agent.Store(&kept)
		}
	}
	c.markDirty()
	return fresh, nil
}

// from notes another address than that of the use before, and tells whether it was
// not known.
func (c *Counter) from(addr string) (fresh bool) {
	for {
		old := c.addrs.Load()
		var known []string
		if old != nil {
			known = *old
		}
		if i := slices.Index(known, addr); i >= 0 {
			c.lastAddr.Store(&known[i])
			return false
		}
		kept := strings.Clone(addr) // it may be a piece of a whole request head
		grown := append(slices.Clone(known[max(0, len(known)+1-maxAddrs):]), kept)
		if c.addrs.CompareAndSwap(old, &grown) {
			c.lastAddr.Store(&kept)
			return true
		}
	}
}

// Touch notes that a use that was counted before still goes on, if the last use that is
// known is at least a step before now.
func (c *Counter) Touch(now time.Time, step time.Duration) {
	unix, last := now.Unix(), c.last.Load()
	if unix-last >= int64(step/time.Second) || last > unix { // the clock was ahead
		c.last.Store(unix)
		c.markDirty()
	}
}

// NotAfter notes that the last use was now, if it would be later: the clock was ahead then.
func (c *Counter) NotAfter(now time.Time) {
	if unix, last := now.Unix(), c.last.Load(); last > unix && c.last.CompareAndSwap(last, unix) {
		c.markDirty()
	}
}

// Last returns when the token was last used, in Unix seconds; 0: never.
func (c *Counter) Last() int64 { return c.last.Load() }

func (c *Counter) markDirty() {
	if !c.dirty.Load() && c.dirty.CompareAndSwap(false, true) {
		c.tracker.push(c)
	}
}

// Total returns the uses so far, those not yet stored included.
func (c *Counter) Total() Total {
	t := Total{Count: c.count.Load(), First: c.first.Load(), Last: c.last.Load()}
	t.First = min(t.First, t.Last) // requests write them one after the other
	if addr := c.lastAddr.Load(); addr != nil {
		t.LastAddr = *addr
	}
	if agent := c.agent.Load(); agent != nil {
		t.Agent = *agent
	}
	if addrs := c.addrs.Load(); addrs != nil {
		t.Addrs = *addrs
	}
	return t
}

// Stored is a total as the store has it.
type Stored struct {
	ID uuid.UUID // of the token
	Total
}

// All yields what is stored, by the id of the token.
func All(ctx context.Context, store storage.Store) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		texts := make(map[string]string) // one copy of each address and agent
		for entry, err := range store.List(ctx, prefix) {
			if err != nil {
				yield(Stored{}, err)
				return
			}
			id, err := uuid.Parse(strings.TrimPrefix(entry.Key, prefix))
			if err == nil && entry.Key != prefix+id.String() {
				err = errors.New("the id is not in its usual form")
			}
			stored := Stored{ID: id}
			if err == nil {
				var r record
				err = cbor.Unmarshal(entry.Value, &r)
				stored.Total = r.Total
				stored.Count = max(r.Count, r.Reserved)
			}
			if err != nil {
				yield(Stored{}, fmt.Errorf("record %q: %w", entry.Key, err))
				return
			}
			for _, text := range []*string{&stored.LastAddr, &stored.Agent} {
				if known, ok := texts[*text]; ok {
					*text = known
				} else {
					texts[*text] = *text
				}
			}
			if !yield(stored, nil) {
				return
			}
		}
	}
}

// A Tracker makes counters and stores their totals until it is closed.
type Tracker struct {
	store storage.Store
	log   *slog.Logger
	dirty atomic.Pointer[Counter]
	stop  chan struct{}
	done  chan struct{}

	flushing sync.Mutex // one flush at a time; no request takes it

	renewals chan renewal

	mu      sync.Mutex // guards bounded
	bounded []*Counter // those of which uses are reserved
}

// A renewal asks for the next block of a counter before the last one is used up.
type renewal struct {
	counter *Counter
	bound   uint64
}

// NewTracker starts a tracker. Its owner closes it before the store.
func NewTracker(store storage.Store, log *slog.Logger) *Tracker {
	t := &Tracker{store: store, log: log, stop: make(chan struct{}), done: make(chan struct{}), renewals: make(chan renewal, 64)}
	go t.run()
	return t
}

// Counter returns a new counter for the token id that goes on from a total.
func (t *Tracker) Counter(id uuid.UUID, from Total) *Counter {
	c := &Counter{id: id, tracker: t}
	c.count.Store(from.Count)
	c.first.Store(from.First)
	c.last.Store(from.Last)
	if addr := from.LastAddr; addr != "" {
		c.lastAddr.Store(&addr) // of from itself it would keep the whole
		addrs := from.Addrs
		if !slices.Contains(addrs, addr) {
			addrs = []string{addr} // a total from before addresses were kept
		}
		c.addrs.Store(&addrs)
	}
	if agent := from.Agent; agent != "" {
		c.agent.Store(&agent)
	}
	return c
}

// push adds a counter that has just become dirty to the list. Only the goroutine
// that set dirty pushes, so a counter is never in the list twice.
func (t *Tracker) push(c *Counter) {
	for {
		c.next = t.dirty.Load()
		if t.dirty.CompareAndSwap(c.next, c) {
			return
		}
	}
}

func (t *Tracker) run() {
	defer close(t.done)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.flushOrWarn()
		case r := <-t.renewals:
			t.renew(r)
		case <-t.stop:
			t.release()
			t.flushOrWarn()
			return
		}
	}
}

func (t *Tracker) flushOrWarn() {
	if err := t.Flush(context.Background()); err != nil {
		t.log.Error("could not store the use counts of tokens; they are kept in memory and tried again", "error", err)
	}
}

// renewSoon has a block renewed in the background. With no room for that, the request
// that needs the block waits for it.
func (t *Tracker) renewSoon(r renewal) {
	select {
	case t.renewals <- r:
	default:
		r.counter.renewing.Store(false)
	}
}

func (t *Tracker) renew(r renewal) {
	c := r.counter
	c.storing.Lock()
	err := c.extend(r.bound)
	c.storing.Unlock()
	c.renewing.Store(false)
	if err != nil {
		t.log.Error("uses of a token could not be reserved ahead", "token_id", c.id, "error", err)
	}
}

func (t *Tracker) addBounded(c *Counter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bounded = append(t.bounded, c)
}

// release gives back the reserved uses that were not made: no request comes any more.
func (t *Tracker) release() {
	t.mu.Lock()
	bounded := t.bounded
	t.mu.Unlock()
	for _, c := range bounded {
		c.storing.Lock()
		unused := c.reserved.Swap(0) > c.count.Load()
		c.storing.Unlock()
		if unused {
			c.markDirty()
		}
	}
}

// Flush stores the totals of all counters that have changed. What can't be
// stored stays dirty for the next time.
func (t *Tracker) Flush(ctx context.Context) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	left := t.dirty.Swap(nil)
	for left != nil {
		var taken []*Counter
		var batch []storage.Change
		for left != nil && len(batch) < storage.MaxBatch {
			c := left
			left = c.next
			// From here on a use makes the counter dirty again. One that saw it dirty
			// before has been added already, so the total holds it.
			c.dirty.Store(false)
			c.storing.Lock()
			taken = append(taken, c)
			batch = append(batch, change(c.id, c.toStore()))
		}
		_, err := t.store.Apply(ctx, batch...)
		for _, c := range taken {
			c.storing.Unlock()
		}
		if err != nil {
			for _, c := range taken {
				c.markDirty()
			}
			for left != nil {
				c := left
				left = c.next
				t.push(c)
			}
			return fmt.Errorf("storing use counts: %w", err)
		}
	}
	return nil
}

// Change returns what stores a total of a token.
func Change(id uuid.UUID, total Total) storage.Change { return change(id, record{Total: total}) }

func change(id uuid.UUID, r record) storage.Change {
	value, err := cbor.Marshal(r)
	if err != nil {
		panic(err) // numbers and strings always encode
	}
	return storage.Change{Key: prefix + id.String(), Value: value, Expect: storage.Any}
}

// Close stores what is left and stops the tracker.
func (t *Tracker) Close() {
	close(t.stop)
	<-t.done
}
