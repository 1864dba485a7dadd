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
	"github.com/crumbgate/crumbgate/storage"
)

// neededPrefix begins the keys under which is stored what observed tokens have
// done; the token's id follows.
const neededPrefix = "needed/"

// maxNeeds bounds how many different needs are kept of a token. One that does more
// than that needs a scope over a folder, which these suffice to find.
const maxNeeds = 512

// observed is what a token has been seen to do.
type observed struct {
	mu    sync.Mutex // guards the rest; requests of other tokens don't take it
	needs map[policy.Need]bool
	dirty bool
}

// Observe notes what a request of a token needs, in memory.
func (t *Token) Observe(need policy.Need) {
	o := t.needs.Load()
	if o == nil {
		t.needs.CompareAndSwap(nil, &observed{needs: make(map[policy.Need]bool)})
		o = t.needs.Load()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.needs[need] || len(o.needs) >= maxNeeds {
		return
	}
	need.Item = strings.Clone(need.Item) // it may be a piece of a whole request head
	o.needs[need] = true
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
	return slices.Collect(maps.Keys(o.needs))
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
			batch = append(batch, storage.Change{Key: neededPrefix + t.Record().ID.String(), Value: encode(slices.Collect(maps.Keys(o.needs))), Expect: storage.Any})
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
		var needs []policy.Need
		if err == nil {
			err = decoding.Unmarshal(entry.Value, &needs)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		o := &observed{needs: make(map[policy.Need]bool, len(needs))}
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
