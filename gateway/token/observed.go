package token

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

// neededPrefix begins the keys under which is stored what observed tokens have
// done; the token's id follows.
const neededPrefix = storekey.Needs

// maxNeeds bounds how many different needs are kept of a token. One that does more
// than that needs a scope over a folder, which these suffice to find.
const maxNeeds = 512

// maxNeedLen bounds, in bytes, what is kept of one need. No item of Jenkins has such a
// name; a client can ask for it.
const maxNeedLen = 1024

// observed is what a token has been seen to do.
type observed struct {
	mu    sync.Mutex        // guards the rest; requests of other tokens don't take it
	needs map[needed]uint64 // and how many requests had each
	dirty bool
}

// needed is a need in a form that can be compared and stored.
type needed struct {
	Permission policy.Permission `cbor:"1,keyasint,omitempty"`
	Item       string            `cbor:"2,keyasint,omitempty"`
	Reach      policy.Reach      `cbor:"3,keyasint,omitempty"`
}

// stored is a need in the store. A count of 0 is from before needs were counted.
type stored struct {
	Permission policy.Permission `cbor:"1,keyasint,omitempty"`
	Item       string            `cbor:"2,keyasint,omitempty"`
	Reach      policy.Reach      `cbor:"3,keyasint,omitempty"`
	Count      uint64            `cbor:"4,keyasint,omitempty"`
}

// A Seen is a need of an observed token, and how many of its requests had it.
type Seen struct {
	Need  policy.Need
	Count uint64
}

// Observe notes what a request of a token has needed, in memory, for the token and for
// those above it that are observed. It is for requests that Jenkins has granted: what it refuses is nothing that the token needs.
func (t *Token) Observe(need policy.Need) {
	t.observe(need)
	for a := t.parent.Load(); a != nil; a = a.parent.Load() {
		if a.Record().Observed() {
			a.observe(need)
		}
	}
}

func (t *Token) observe(need policy.Need) {
	if len(need.String()) > maxNeedLen {
		return
	}
	o := t.needs.Load()
	if o == nil {
		t.needs.CompareAndSwap(nil, &observed{needs: make(map[needed]uint64)})
		o = t.needs.Load()
	}
	// The text of an item is a copy: the need may hold on to a whole request head.
	key := needed{need.Permission, strings.Clone(need.Item.String()), need.Reach}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.needs[key] == 0 && len(o.needs) >= maxNeeds {
		return
	}
	o.needs[key]++
	o.dirty = true
}

// Seen returns what a token has been seen to do while it was observed.
func (t *Token) Seen() []Seen {
	o := t.needs.Load()
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := make([]Seen, 0, len(o.needs))
	for n, count := range o.needs {
		seen = append(seen, Seen{policy.Need{Permission: n.Permission, Item: policy.ItemNamed(n.Item), Reach: n.Reach}, count})
	}
	return seen
}

// Needs returns the same without the counts.
func (t *Token) Needs() []policy.Need {
	var needs []policy.Need
	for _, seen := range t.Seen() {
		needs = append(needs, seen.Need)
	}
	return needs
}

// storeObserved stores what has been seen since the last time.
func (d *Directory) storeObserved(ctx context.Context) error {
	var batch []storage.Change
	var written []*observed
	apply := func() error {
		if len(batch) == 0 {
			return nil
		}
		if _, err := d.store.Apply(ctx, batch...); err != nil {
			for _, o := range written {
				o.mu.Lock()
				o.dirty = true
				o.mu.Unlock()
			}
			return fmt.Errorf("storing what observed tokens do: %w", err)
		}
		batch, written = nil, nil
		return nil
	}
	for t := range d.index.all() {
		o := t.needs.Load()
		if o == nil {
			continue
		}
		o.mu.Lock()
		if o.dirty {
			o.dirty = false
			needs := make([]stored, 0, len(o.needs))
			for n, count := range o.needs {
				needs = append(needs, stored{n.Permission, n.Item, n.Reach, count})
			}
			value := encode(needs)
			for len(value) > storage.MaxValueLen { // the rest is kept in memory, and seen again after a restart
				needs = needs[:len(needs)*3/4]
				value = encode(needs)
			}
			batch = append(batch, storage.Change{Key: neededPrefix + t.Record().ID.String(), Value: value, Expect: storage.Any})
			written = append(written, o)
		}
		o.mu.Unlock()
		if len(batch) == storage.MaxBatch {
			if err := apply(); err != nil {
				return err
			}
		}
	}
	return apply()
}

func (d *Directory) loadObserved(ctx context.Context) error {
	seen := make(map[uuid.UUID]*observed)
	for entry, err := range d.store.List(ctx, neededPrefix) {
		if err != nil {
			return err
		}
		id, err := uuid.Parse(strings.TrimPrefix(entry.Key, neededPrefix))
		var needs []stored
		if err == nil {
			err = strictcbor.Decoding.Unmarshal(entry.Value, &needs)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		o := &observed{needs: make(map[needed]uint64, len(needs))}
		for _, n := range needs {
			o.needs[needed{n.Permission, n.Item, n.Reach}] += max(n.Count, 1)
		}
		seen[id] = o
	}
	if len(seen) == 0 {
		return nil
	}
	for t := range d.index.all() {
		if o := seen[t.Record().ID]; o != nil {
			t.needs.Store(o)
		}
	}
	return nil
}
