package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/internal/shellword"
	"github.com/crumbgate/crumbgate/storage"
)

// Recorded is what the audit log holds behind the last line that the store knows.
type Recorded struct {
	Events []RecordedEvent
	// Interrupted is the change in which the process before may have been killed, if any.
	Interrupted uuid.UUID
	// Settled is what the store remembers once it has all of Events.
	Settled storage.Change
}

// A RecordedEvent is a line of the audit log.
type RecordedEvent struct {
	Event
	Line string // its number and hash
}

// A StaleError says that a store lacks changes that the audit log has: it is an older copy.
type StaleError struct {
	Lacks []RecordedEvent
	// Store is the file of the store, filled in by the caller that knows it.
	Store string
}

// maxNamed bounds how many lacking changes an error names.
const maxNamed = 5

func (e *StaleError) Error() string {
	var named []string
	for _, l := range e.Lacks[:min(len(e.Lacks), maxNamed)] {
		what := fmt.Sprintf("%s of %q", l.Kind, l.User)
		if l.Token != nil {
			what += fmt.Sprintf(" (token %q, %s)", l.Token.Name, l.Token.ID)
		}
		named = append(named, what+" at "+l.Time.UTC().Format("2006-01-02 15:04:05Z"))
	}
	if more := len(e.Lacks) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("the token store is older than the audit log and lacks %s: %s; put the newest store back, or accept this one with: caddy crumbgate audit accept --store %s %s",
		english.Plural(len(e.Lacks), "change", ""), strings.Join(named, ", "), shellword.Quote(cmp.Or(e.Store, "FILE")), e.Lacks[len(e.Lacks)-1].Line)
}

// AcceptStore has the next Reconcile accept that a store lacks changes up to a line, as a
// StaleError has named it.
func AcceptStore(ctx context.Context, store storage.Store, line string) error {
	_, err := store.Apply(ctx, storage.Change{Key: storekey.AuditAccepted, Value: []byte(line), Expect: storage.Any})
	return err
}

// Reconcile settles what a kill, or an older copy of the store, has left between the audit
// log and the store. It is called before the directory is used, and again with each other log:
// use makes Audit write to that log, and returns what it holds.
//
// Waiting lines that the log has are removed. What takes rights away and is missing from the
// store is applied. The change that was interrupted gets a line that says so. If any other
// change is missing, the error is a *StaleError, unless an operator has accepted that.
func (d *Directory) Reconcile(ctx context.Context, use func() Recorded) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	r := use()
	d.mu.Lock()
	left, lacks := unsettled(d.waiting, r)
	for _, e := range d.waiting {
		if !slices.ContainsFunc(left, e.same) {
			d.forget = append(d.forget, forgetting(e.ID))
		}
	}
	d.waiting = left
	d.mu.Unlock()
	accepted, err := d.accepts(ctx, r, lacks)
	if err != nil {
		return err
	}
	if accepted {
		d.config.Log.Warn("an older token store was accepted", "missing_changes", len(lacks), "line", lacks[len(lacks)-1].Line)
		d.forget = append(d.forget, storage.Change{Key: storekey.AuditAccepted, Delete: true, Expect: storage.Any})
	}
	var removals, others []RecordedEvent
	for _, e := range lacks {
		if e.Kind.Removes() {
			removals = append(removals, e)
		} else {
			others = append(others, e)
		}
	}
	for _, e := range removals {
		if err := d.applyRecorded(ctx, e.Event); err != nil {
			return fmt.Errorf("applying %s of line %s, which the token store lacks: %w", e.Kind, e.Line, err)
		}
	}
	if len(lacks) == 0 && len(d.forget) == 0 {
		return nil
	}

	// The lines about what is missing come before the store says that all is settled.
	var lines []Event
	if accepted {
		lines = append(lines, Event{ID: newID(), Time: d.config.Now(), Kind: KindStoreAccepted, Actor: Actor{Via: "gateway"},
			Detail: fmt.Sprintf("an older store lacks %s up to line %s", english.Plural(len(lacks), "change", ""), lacks[len(lacks)-1].Line)})
	} else {
		for _, e := range others {
			e.Err = errors.New("the gateway was killed before it stored the change")
			e.Time = d.config.Now()
			lines = append(lines, e.Event)
		}
	}
	settled := r.Settled
	for part := range slices.Chunk(lines, maxRevised) {
		mark, err := d.config.Audit(ctx, part...)
		if err != nil {
			// They are written before any other change. Until then the store does not call
			// it settled.
			d.config.Log.Error("the audit log can't take the lines about an interrupted change yet", "error", err)
			d.mu.Lock()
			d.wait(lines...)
			d.mu.Unlock()
			return nil
		}
		settled = mark
	}
	return d.settle(ctx, settled)
}

// CheckRecorded returns the error with which Reconcile would refuse a log, and changes
// nothing.
func (d *Directory) CheckRecorded(ctx context.Context, r Recorded) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.mu.Lock()
	_, lacks := unsettled(d.waiting, r)
	d.mu.Unlock()
	_, err := d.accepts(ctx, r, lacks)
	return err
}

// accepts reports whether an operator has accepted that the store lacks changes. It returns
// a *StaleError if one is needed who has. The caller holds changing.
func (d *Directory) accepts(ctx context.Context, r Recorded, lacks []RecordedEvent) (bool, error) {
	if !slices.ContainsFunc(lacks, func(e RecordedEvent) bool { return !e.Kind.Removes() && e.ID != r.Interrupted }) {
		return false, nil
	}
	entry, err := d.store.Get(ctx, storekey.AuditAccepted)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return false, err
	}
	if string(entry.Value) != lacks[len(lacks)-1].Line {
		return false, &StaleError{Lacks: lacks}
	}
	return true, nil
}

// same reports whether two events are about the same change of the same token or user.
func (e Event) same(other Event) bool {
	return other.ID == e.ID && other.User == e.User && (other.Token == nil) == (e.Token == nil) && (e.Token == nil || other.Token.ID == e.Token.ID)
}

// unsettled returns the waiting lines that a log does not have, and its changes that the
// store lacks.
func unsettled(waiting []Event, r Recorded) (left []Event, lacks []RecordedEvent) {
	left = slices.Clone(waiting)
	for _, e := range r.Events {
		if at := slices.IndexFunc(left, e.same); at >= 0 && e.Err == nil {
			left = slices.Delete(left, at, at+1)
			continue
		}
		switch {
		case e.Err != nil:
			lacks = slices.DeleteFunc(lacks, func(l RecordedEvent) bool { return e.same(l.Event) })
		case e.Kind == KindExported || e.Kind == KindStoreAccepted: // nothing of them is in the store
		default:
			lacks = append(lacks, e)
		}
	}
	return left, lacks
}

// applyRecorded makes a change that takes rights away and that the log has already. The
// caller holds changing.
func (d *Directory) applyRecorded(ctx context.Context, e Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config.Log.Warn("a change that the audit log has was missing from the token store, and is applied", "kind", string(e.Kind), "user", string(e.User))
	switch e.Kind {
	case KindCrumbKeysDropped:
		// Without keys, package crumb makes new ones.
		_, err := d.store.Apply(ctx, storage.Change{Key: storekey.CrumbKeys, Delete: true, Expect: storage.Any, Room: storage.AllRoom})
		return err
	case KindDisabled:
		since := e.Time.Unix()
		profiles, err := d.updated(e.User, ProfileUpdate{disabled: &since})
		if err != nil {
			return err
		}
		if _, err := d.store.Apply(ctx, reserved(profileChanges(profiles))...); err != nil {
			return err
		}
		d.show(profiles)
		return nil
	}
	if e.Token == nil {
		return errors.New("the line names no token")
	}
	t, err := d.Get(ctx, e.Token.ID)
	if errors.Is(err, ErrNotFound) {
		return nil // it was created after the copy was made
	}
	if err != nil {
		return err
	}
	record := *t.Record()
	if e.Kind == KindRevoked {
		revoke(&record, e.Time.Unix(), e.Detail)
	} else {
		suspend(&record, e.Time.Unix(), ByAdmin, e.Detail) // the log does not say by which right
	}
	if _, err := d.store.Apply(ctx, reserved([]storage.Change{{Key: tokenKey(record.ID), Value: encode(&record), Expect: storage.Any}})...); err != nil {
		return err
	}
	t.record.Store(&record)
	return nil
}

// Store makes a change of something else in the same store, such as the keys of crumbs, and
// has it recorded like those of tokens. The changes that store gets belong into its own
// transaction.
func (d *Directory) Store(ctx context.Context, kind Kind, detail, actor string, store func(context.Context, ...storage.Change) error) error {
	events := []Event{{Kind: kind, Actor: actorOf(ctx, actor), Detail: detail}}
	defer d.begin(kind)()
	if err := d.applyTo(ctx, events, nil, store); err != nil {
		return err
	}
	d.tell(events...)
	return nil
}
