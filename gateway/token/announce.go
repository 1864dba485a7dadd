package token

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

// The store and the audit log change together, in one of two orders:
//
//   - A change that takes rights away (Kind.Removes) is stored first, with its audit line in
//     the same transaction under storekey.AuditWaiting. The log gets the line right after, or when it
//     can be written again, and the store forgets it then.
//   - Any other change is announced first: its line is in the log before the store has the
//     change, which also stores up to which line it has all changes. A change that fails then
//     gets a second line.
//
// So the log of a stopped gateway holds at most one change more than its store, the last one,
// and Reconcile settles that at the next start.

const (
	// maxRevised bounds the records of one batch: each may need a line in the store as well,
	// and Audit needs one change.
	maxRevised = (storage.MaxBatch - 1) / 2
	// recordEvery is how often waiting lines are tried again while the log can't be written.
	recordEvery = time.Second
)

// A waitingLine is an Event as it is stored, in CBOR.
type waitingLine struct {
	Time      int64     `cbor:"1,keyasint"` // Unix milliseconds
	Kind      Kind      `cbor:"2,keyasint"`
	Actor     string    `cbor:"3,keyasint,omitempty"`
	Via       string    `cbor:"4,keyasint,omitempty"`
	Addr      string    `cbor:"5,keyasint,omitempty"`
	TokenID   uuid.UUID `cbor:"6,keyasint,omitzero"`
	TokenName string    `cbor:"7,keyasint,omitempty"`
	User      user.ID   `cbor:"8,keyasint,omitempty"`
	Detail    string    `cbor:"9,keyasint,omitempty"`
}

func (e *Event) waitingChange() storage.Change {
	line := waitingLine{Time: e.Time.UnixMilli(), Kind: e.Kind, Actor: e.Actor.Name, Via: e.Actor.Via, Addr: e.Actor.Addr, User: e.User, Detail: e.Detail}
	if e.Token != nil {
		line.TokenID, line.TokenName = e.Token.ID, e.Token.Name
	}
	return storage.Change{Key: waitingKey(e.ID), Value: encode(&line), Expect: storage.Absent}
}

func waitingKey(id uuid.UUID) string { return storekey.AuditWaiting + id.String() }

// loadWaiting reads the lines that the log did not have when the gateway ended.
func (d *Directory) loadWaiting(ctx context.Context) error {
	for entry, err := range d.store.List(ctx, storekey.AuditWaiting) {
		if err != nil {
			return err
		}
		id, err := uuid.Parse(strings.TrimPrefix(entry.Key, storekey.AuditWaiting))
		var line waitingLine
		if err == nil {
			err = strictcbor.Decoding.Unmarshal(entry.Value, &line)
		}
		if err == nil && line.Kind == "" {
			err = errors.New("it has no kind")
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", entry.Key, err)
		}
		e := Event{ID: id, Time: time.UnixMilli(line.Time), Kind: line.Kind, Actor: Actor{line.Actor, line.Via, line.Addr}, User: line.User, Detail: line.Detail}
		if line.TokenID != uuid.Nil {
			e.Token = &Record{ID: line.TokenID, Name: line.TokenName, Owner: line.User}
		}
		d.waiting = append(d.waiting, e)
	}
	return nil
}

// begin takes the locks that a change of a kind needs, and returns what gives them up.
func (d *Directory) begin(kind Kind) (end func()) {
	if kind.Removes() {
		d.mu.Lock()
		return d.mu.Unlock
	}
	d.changing.Lock()
	d.mu.Lock()
	return func() { d.mu.Unlock(); d.changing.Unlock() }
}

// apply records events and makes their changes, in the order that their kind asks for. The
// caller has the locks of begin. For all kinds but those that take rights away, mu is given
// up while the log writes.
func (d *Directory) apply(ctx context.Context, events []Event, changes ...storage.Change) error {
	return d.applyTo(ctx, events, changes, func(ctx context.Context, changes ...storage.Change) error {
		_, err := d.store.Apply(ctx, changes...)
		return err
	})
}

// applyTo is apply by way of a function that stores changes in one transaction.
func (d *Directory) applyTo(ctx context.Context, events []Event, changes []storage.Change, store func(context.Context, ...storage.Change) error) error {
	if events[0].Kind.Removes() {
		return d.applyFirst(ctx, events, changes, store)
	}
	d.touched = make(map[string]bool)
	d.mu.Unlock()
	mark, err := d.announce(ctx, events)
	d.mu.Lock()
	touched := d.touched
	d.touched = nil
	if err != nil {
		d.config.Log.Error("a change of the tokens was refused, because it can't be audited", "error", err)
		return errorf(ErrAudit, "nothing was changed, because the change can't be audited: %v", err)
	}
	// What took rights away meanwhile must not be overwritten.
	for _, c := range changes {
		if touched[c.Key] {
			d.failed(events, errors.New("the token or user was revoked, suspended or disabled meanwhile"))
			return errorf(ErrConflict, "nothing was changed, because the token or user was revoked, suspended or disabled meanwhile: look at it, and try again")
		}
	}
	if mark.Key != "" {
		changes = append(changes, mark)
	}
	if err := store(ctx, changes...); err != nil {
		d.config.Log.Error("a change of the token store failed", "error", err)
		d.failed(events, err)
		return errorf(ErrStore, "nothing was changed, because the token store can't keep it: %v", err)
	}
	d.stored(changes)
	return nil
}

// errInMemory is the kind of the error for rights that are taken away, but only in memory so
// far, because the store can't keep it. It is an ErrStore.
var errInMemory = fmt.Errorf("in memory only: %w", ErrStore)

// storeLate stores what the store could not keep before.
func (d *Directory) storeLate(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for part := range slices.Chunk(slices.Collect(maps.Values(d.unstored)), storage.MaxBatch) {
		if _, err := d.store.Apply(ctx, part...); err != nil {
			return fmt.Errorf("storing what the token store could not keep before: %w", err)
		}
		d.stored(part)
		d.config.Log.Info("the token store has what it could not keep before", "changes", len(part))
	}
	return nil
}

// late reports whether there is something for storeLate.
func (d *Directory) late() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unstored) > 0
}

// stored notes that the store has changes. The caller holds mu.
func (d *Directory) stored(changes []storage.Change) {
	for _, c := range changes {
		delete(d.unstored, c.Key)
	}
}

// applyFirst makes changes that take rights away. Their lines are stored with them. After an
// error of the kind errInMemory the caller shows the changes nevertheless: a leaked token must
// not go on working because a disk has failed. If the audit log still takes the lines, the next start
// finds them there, and applies them. The caller holds mu.
func (d *Directory) applyFirst(ctx context.Context, events []Event, changes []storage.Change, store func(context.Context, ...storage.Change) error) error {
	now, ours := d.config.Now(), len(changes)
	for i := range events {
		events[i].ID, events[i].Time = newID(), now
		changes = append(changes, events[i].waitingChange())
	}
	err := store(ctx, reserved(changes)...)
	if err != nil && ours == 0 { // what store would have changed is not held here
		d.config.Log.Error("a change of the token store failed", "error", err)
		return errorf(ErrStore, "nothing was changed, because the token store can't keep it: %v", err)
	}
	if d.touched != nil {
		for _, c := range changes {
			d.touched[c.Key] = true
		}
	}
	d.wait(events...)
	if err != nil {
		d.config.Log.Error("a change of the token store failed", "error", err)
		for _, c := range changes[:ours] {
			d.unstored[c.Key] = c
		}
		return errorf(errInMemory, "it holds from now on, but not after a restart, because the token store can't keep it: %v;"+
			" mend that while the gateway runs, which tries again every second", err)
	}
	d.stored(changes)
	return nil
}

// reserved lets changes use the room that the store keeps for what takes rights away.
func reserved(changes []storage.Change) []storage.Change {
	for i := range changes {
		changes[i].Room = storage.AllRoom
	}
	return changes
}

// announce records events before their changes are made. The lines that wait come first, so
// that the log has all in the order of the commits. The caller holds changing, and not mu.
func (d *Directory) announce(ctx context.Context, events []Event) (storage.Change, error) {
	if err := d.record(ctx); err != nil {
		return storage.Change{}, err
	}
	id, now := newID(), d.config.Now()
	for i := range events {
		events[i].ID, events[i].Time = id, now
	}
	return d.config.Audit(ctx, events...)
}

// failed has the log say that announced events have failed. The caller holds mu.
func (d *Directory) failed(events []Event, err error) {
	for i := range events {
		events[i].Err = err
	}
	d.wait(events...)
}

// wait has events recorded soon. The caller holds mu.
func (d *Directory) wait(events ...Event) {
	d.waiting = append(d.waiting, events...)
	select {
	case d.unrecorded <- struct{}{}:
	default:
	}
}

// record writes the lines that wait into the log, and removes them from the store. The
// caller holds changing, and not mu.
func (d *Directory) record(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			d.recordErr.Store(&err)
		} else {
			d.recordErr.Store(nil)
		}
	}()
	// The log gets the lines even if the store has failed: the next start finds them there.
	unsettled := d.settle(ctx, storage.Change{})
	for {
		d.mu.Lock()
		part := slices.Clone(d.waiting[:min(len(d.waiting), maxRevised)])
		d.mu.Unlock()
		if len(part) == 0 {
			return unsettled
		}
		mark, err := d.config.Audit(ctx, part...)
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.waiting = slices.Delete(d.waiting, 0, len(part))
		d.mu.Unlock()
		for _, e := range part {
			if e.Err == nil {
				d.forget = append(d.forget, forgetting(e.ID))
			}
		}
		unsettled = d.settle(ctx, mark)
	}
}

func forgetting(id uuid.UUID) storage.Change {
	return storage.Change{Key: waitingKey(id), Delete: true, Expect: storage.Any}
}

// settle removes from the store the waiting lines that the log has, and stores a mark of
// Audit. Until it has succeeded no other mark may be stored: the next start would not look
// at these lines of the log, and write them once more. The caller holds changing.
func (d *Directory) settle(ctx context.Context, mark storage.Change) error {
	changes := d.forget
	if mark.Key != "" {
		changes = append(slices.Clip(changes), mark)
	}
	if err := d.storeLate(ctx); err != nil {
		return err
	}
	for part := range slices.Chunk(changes, storage.MaxBatch) {
		if _, err := d.store.Apply(context.WithoutCancel(ctx), reserved(part)...); err != nil {
			return fmt.Errorf("storing that the audit log has the lines that waited: %w", err)
		}
	}
	d.forget = nil
	return nil
}

// recordWaiting records the lines that wait, and stores what the store could not keep, until
// the directory is closed.
func (d *Directory) recordWaiting() {
	defer close(d.recorderDone)
	retry := time.NewTicker(recordEvery)
	defer retry.Stop()
	try := func() {
		d.changing.Lock()
		defer d.changing.Unlock()
		_ = d.record(context.Background()) // it is tried again, and Check or the log say why it can't be
	}
	for {
		select {
		case <-d.unrecorded:
			try()
		case <-retry.C:
			if n, err := d.Waiting(); n > 0 || err != nil || d.late() {
				try()
			}
		case <-d.done:
			try()
			return
		}
	}
}

// Waiting returns how many audit lines wait for the log, and the error of the last attempt
// to record them, nil if it succeeded.
func (d *Directory) Waiting() (lines int, err error) {
	d.mu.Lock()
	lines = len(d.waiting)
	d.mu.Unlock()
	if p := d.recordErr.Load(); p != nil {
		err = *p
	}
	return lines, err
}
