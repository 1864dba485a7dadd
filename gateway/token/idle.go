package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

// idle reports whether the token was not used for too long at now. That is computed and
// never stored, so that a clock that was wrong leaves nothing behind.
func (t *Token) idle(now time.Time) bool {
	limit := t.owner.directory.Rules().MaxIdle
	return limit != 0 && t.idleSince()+int64(limit/time.Second) <= now.Unix()
}

// Resumable reports whether resuming changes the token at now: it is suspended or idle.
func (t *Token) Resumable(now time.Time) bool {
	return t.Record().State == Suspended || t.Admit(now) == RefusedIdle
}

// idleSince returns the Unix second from which on the token is known not to be used.
func (t *Token) idleSince() int64 {
	r := t.Record()
	since := max(r.Created, r.Resumed, t.owner.directory.countedSince.Load())
	if c := t.uses.Load(); c != nil {
		since = max(since, c.Last())
	}
	return since
}

func (d *Directory) loadCountedSince(ctx context.Context) error {
	entry, err := d.store.Get(ctx, storekey.Counted)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var unix int64
	if err := strictcbor.Decoding.Unmarshal(entry.Value, &unix); err != nil {
		return fmt.Errorf("record %q: %w", storekey.Counted, err)
	}
	d.countedSince.Store(unix)
	return nil
}

// setCounting notes since when uses are counted, so that no token counts as idle for a
// time in which they were not.
func (d *Directory) setCounting(on bool) {
	now, since := d.config.Now().Unix(), d.countedSince.Load()
	switch {
	case !on && since != 0:
		since = 0
	case on && (since == 0 || since > now): // the clock may have been wrong
		since = now
	default:
		return
	}
	d.countedSince.Store(since)
	if _, err := d.store.Apply(context.Background(), storage.Change{Key: storekey.Counted, Value: encode(since), Expect: storage.Any}); err != nil {
		d.config.Log.Error("the start of use counts could not be stored; idleness counts from the next start", "error", err)
	}
}
