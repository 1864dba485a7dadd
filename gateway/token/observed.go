package token

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	mu    sync.Mutex // guards the rest; requests of other tokens don't take it
	needs map[needed]bool
	dirty bool
}

// needed is a need in a form that can be compared and stored.
type needed struct {
	Permission policy.Permission `cbor:"1,keyasint,omitempty"`
	Item       string            `cbor:"2,keyasint,omitempty"`
	Reach      policy.Reach      `cbor:"3,keyasint,omitempty"`
}

// Observe notes what a request of a token needs, in memory.
func (t *Token) Observe(need policy.Need) {
	if len(need.String()) > maxNeedLen {
		return
	}
	o := t.needs.Load()
	if o == nil {
		t.needs.CompareAndSwap(nil, &observed{needs: make(map[needed]bool)})
		o = t.needs.Load()
	}
	// The text of an item is a copy: the need may hold on to a whole request head.
	key := needed{need.Permission, strings.Clone(need.Item.String()), need.Reach}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.needs[key] || len(o.needs) >= maxNeeds {
		return
	}
	o.needs[key] = true
	o.dirty = true
}

// Needs returns what a token has been seen to do while it was observed.
func (t *Token) Needs() []policy.Need {
	o := t.needs.Load()
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	needs := make([]policy.Need, 0, len(o.needs))
	for n := range o.needs {
		needs = append(needs, policy.Need{Permission: n.Permission, Item: policy.ItemNamed(n.Item), Reach: n.Reach})
	}
	return needs
}

// storeObserved stores what has been seen since the last time.
func (d *Directory) storeObserved(ctx context.Context) error {
	var batch []storage.Change
	var stored []*observed
	apply := func() error {
		if len(batch) == 0 {
			return nil
		}
		if _, err := d.store.Apply(ctx, batch...); err != nil {
			for _, o := range stored {
				o.mu.Lock()
				o.dirty = true
				o.mu.Unlock()
			}
			return fmt.Errorf("storing what observed tokens do: %w", err)
		}
		batch, stored = nil, nil
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
			needs := slices.Collect(maps.Keys(o.needs))
			value := encode(needs)
			for len(value) > storage.MaxValueLen { // the rest is kept in memory, and seen again after a restart
				needs = needs[:len(needs)*3/4]
				value = encode(needs)
			}
			batch = append(batch, storage.Change{Key: neededPrefix + t.Record().ID.String(), Value: value, Expect: storage.Any})
			stored = append(stored, o)
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
		var needs []needed
		if err == nil {
			err = strictcbor.Decoding.Unmarshal(entry.Value, &needs)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		o := &observed{needs: make(map[needed]bool, len(needs))}
		for _, need := range needs {
			o.needs[need] = true
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
