package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
)

// A Request asks for a token.
type Request struct {
	User    string
	Name    string // unique among the user's tokens; made up if empty, as Jenkins does
	Expires string // as ParseExpiry takes it
	Format  string // as ParseFormat takes it
	Limits  *Limits
	Actor   string // who asks, for the record and the log

	// Renumber gives the token the next free name, as in "deploy (2)", where the name is
	// taken: Jenkins allows several of one name, and scripts rely on it.
	Renumber bool

	// Parent, if not nil, is the token that asks. The new one can do nothing that its
	// parent can't do at that moment.
	Parent *Token

	// Profile, if not nil, replaces what is known of the user.
	Profile *ProfileUpdate
	// Secret, if not nil, is the token's in place of a new one: what
	// ApiTokenProperty.addFixedToken does. Format means nothing then.
	Secret *Secret
}

// Create makes a token and returns it with its secret, which nobody can ever
// learn again. Errors are of type *Error.
func (d *Directory) Create(ctx context.Context, req Request) (*Token, Secret, error) {
	now, rules := d.config.Now(), d.Rules()
	owner, err := user.ParseID(req.User)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	if req.Name == "" && rules.NamesRequired {
		return nil, Secret{}, errorf(ErrInvalid, "the token has no name: say what it is for, as in deploy")
	}
	name, err := parseName(req.Name, now)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	expires, err := rules.expiry(req.Expires, now)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	format, err := ParseFormat(req.Format)
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	limits, err := req.Limits.compiled()
	if err != nil {
		return nil, Secret{}, errorf(ErrInvalid, "%v", err)
	}
	secret := NewSecret(format)
	if req.Secret != nil {
		secret = *req.Secret
	}
	token := &Token{first: Record{
		ID: newID(), Digest: secret.Digest(), Name: name,
		State: Active, Origin: Issued, Actor: req.Actor,
		Created: now.Unix(), Expires: expires, Limits: limits,
	}}

	defer d.begin(KindCreated)()
	record := &token.first
	record.Owner = d.owners.canonical(owner)
	if req.Parent != nil {
		parent, err := d.checkParent(ctx, req.Parent, now)
		if err != nil {
			return nil, Secret{}, err
		}
		record.Parent = parent.Record().ID
		token.parent.Store(parent)
	}
	if req.Renumber {
		name = freeName(name, d.namesOf(owner))
		record.Name = name
	}
	if err := d.checkNew(owner, name, uuid.Nil); err != nil {
		return nil, Secret{}, err
	}
	if d.Find(record.Digest) != nil {
		return nil, Secret{}, errorf(ErrDuplicate, "there is a token with this secret already: choose another")
	}
	changes := []storage.Change{{Key: tokenKey(record.ID), Value: encode(record), Expect: storage.Absent}}
	var profiles []*Profile
	if req.Profile != nil {
		if profiles, err = d.updated(owner, *req.Profile); err != nil {
			return nil, Secret{}, errorf(ErrInvalid, "%v", err)
		}
		changes = append(changes, profileChanges(profiles)...)
	}
	event := Event{Kind: KindCreated, Actor: actorOf(ctx, req.Actor), Token: record, User: record.Owner, Detail: describe(record)}
	if err := d.apply(ctx, []Event{event}, changes...); err != nil {
		return nil, Secret{}, err
	}
	d.show(profiles)
	d.insert(token)
	d.tell(event)
	return token, secret, nil
}

// newID returns an id that rises with time, so that the store appends and does not
// scatter.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) } // its error is that of crypto/rand, which has none

// checkNew tells whether a user can have a token of a name, other than the token
// except. The caller holds mu.
func (d *Directory) checkNew(owner user.ID, name string, except uuid.UUID) error {
	for o := range d.owners.same(owner) {
		if p := o.profile.Load(); p.Disabled != 0 {
			return errorf(ErrConflict, "%s is disabled since %s: enable the user first", p.User, expiryText(p.Disabled))
		}
		for other := o.newest; other != nil; other = other.older {
			if r := other.Record(); r.Name == name && r.State != Revoked && !r.Superseded() && r.ID != except {
				return errorf(ErrDuplicate,
					"%s already has a token named %q (%s): choose another name, or revoke that one first", r.Owner, name, r.ID)
			}
		}
	}
	return nil
}

// describe tells, for people, what a token may do and until when.
func describe(r *Record) string {
	parts := []string{"expires=" + expiryText(r.Expires)}
	if l := r.Limits; l != nil {
		parts = append(parts, l.String())
	}
	if r.Parent != uuid.Nil {
		parts = append(parts, "parent="+r.Parent.String())
	}
	return strings.Join(parts, " ")
}

// A Rotation asks for the successor of a token.
type Rotation struct {
	// Overlap is for how long the old token still works, as "24h", "7d" or "0"; empty:
	// DefaultOverlap. It never lengthens its life.
	Overlap string
	// Expires is the end of the new one, as ParseExpiry takes it; empty: it lives as
	// long as the old one was to, within the rules. In place of one without an end, or
	// whose age is unknown, comes one with the usual life.
	Expires string
	Actor   string
}

// DefaultOverlap is for how long a token still works when another has replaced it,
// if nobody says otherwise.
const DefaultOverlap = "24h"

// Rotate makes a token in place of another, with its owner, name and limits, as the
// parent of the tokens that the other has created, and
// returns the new one with its secret. Its uses count from zero. One that has expired
// can be rotated too, and stays expired. Errors are of type *Error.
func (d *Directory) Rotate(ctx context.Context, id uuid.UUID, req Rotation) (made *Token, _ Secret, old *Token, _ error) {
	fail := func(err error) (*Token, Secret, *Token, error) { return nil, Secret{}, nil, err }
	now, rules := d.config.Now(), d.Rules()
	overlap, err := parseOverlap(req.Overlap)
	if err != nil {
		return fail(errorf(ErrInvalid, "%v", err))
	}
	defer d.begin(KindRotated)()
	if old, err = d.Get(ctx, id); err != nil {
		return fail(err)
	}
	before := old.Record()
	switch {
	case before.State == Revoked:
		return fail(errorf(ErrConflict, "token %s is revoked: make another with token create", id))
	case before.State == Suspended:
		return fail(errorf(ErrConflict, "token %s is suspended: resume it first", id))
	case before.Superseded():
		return fail(errorf(ErrConflict, "token %s has been replaced already, by %s: rotate that one", id, before.Successor))
	}
	if err := d.checkNew(before.Owner, before.Name, id); err != nil {
		return fail(err)
	}
	expires, err := rules.successorExpiry(before, req.Expires, now)
	if err != nil {
		return fail(errorf(ErrInvalid, "%v", err))
	}
	format := Native
	if before.Origin != Issued {
		format = Jenkins // whoever holds it may insist on the shape
	}
	secret := NewSecret(format)
	made = &Token{first: Record{
		ID: newID(), Digest: secret.Digest(), Owner: before.Owner, Name: before.Name,
		State: Active, Origin: Issued, Actor: req.Actor,
		Created: now.Unix(), Expires: expires, Limits: before.Limits, Family: before.Root(), Parent: before.Parent,
	}}
	made.parent.Store(old.parent.Load())
	after := *before
	after.Successor = made.first.ID
	if end := now.Add(overlap).Unix(); after.Expires == 0 || after.Expires > end {
		after.Expires = end
	}
	event := Event{
		Kind: KindRotated, Actor: actorOf(ctx, req.Actor), Token: &made.first, User: before.Owner,
		Detail: fmt.Sprintf("replaces %s, which ends %s; %s", id, expiryText(after.Expires), describe(&made.first)),
	}
	err = d.apply(ctx, []Event{event},
		storage.Change{Key: tokenKey(made.first.ID), Value: encode(&made.first), Expect: storage.Absent},
		storage.Change{Key: tokenKey(id), Value: encode(&after), Expect: storage.Any})
	if err != nil {
		return fail(err)
	}
	old.record.Store(&after)
	d.insert(made)
	d.replaceParent(old, made)
	d.tell(event)
	return made, secret, old, nil
}

func parseOverlap(text string) (time.Duration, error) {
	if text == "" {
		text = DefaultOverlap
	}
	if text == "0" {
		return 0, nil
	}
	life, err := ParseLife(text)
	if err != nil {
		return 0, fmt.Errorf("overlap %q is not understood: use a time such as 24h or 7d, or 0 for none", text)
	}
	return life, nil
}

// Revoke ends a token, from the next request on, and returns it. A token that is
// revoked already stays as it is. Errors are of type *Error.
func (d *Directory) Revoke(ctx context.Context, id uuid.UUID, actor string) (*Token, error) {
	return d.one(ctx, id, func(tokens []*Token) ([]*Token, error) { return d.RevokeAll(ctx, tokens, "", actor) })
}

// RevokeAll ends tokens, from the next request on, and returns those that were not
// revoked before. Why is for people, and may be empty.
func (d *Directory) RevokeAll(ctx context.Context, tokens []*Token, why, actor string) ([]*Token, error) {
	now := d.config.Now().Unix()
	return d.revise(ctx, KindRevoked, tokens, actor, func(r *Record) (string, error) {
		revoke(r, now, why)
		return why, nil
	})
}

// SuspendAll refuses tokens until they are resumed, and returns those that were
// active before, or that their owners could have resumed. Why is for people, and may be
// empty.
func (d *Directory) SuspendAll(ctx context.Context, tokens []*Token, by Authority, why, actor string) ([]*Token, error) {
	now := d.config.Now().Unix()
	return d.revise(ctx, KindSuspended, tokens, actor, func(r *Record) (string, error) {
		suspend(r, now, by, why)
		return why, nil
	})
}

func revoke(r *Record, now int64, why string) {
	if r.State != Revoked {
		r.State, r.Revoked, r.Why = Revoked, now, why
	}
}

func suspend(r *Record, now int64, by Authority, why string) {
	switch {
	case r.State == Active:
		r.State, r.Suspended, r.SuspendedBy, r.Why = Suspended, now, by, why
	case r.State == Suspended && by != ByOwner && r.ResumableBy(ByOwner):
		r.SuspendedBy, r.Why = by, why
	}
}

// ResumeAll lets tokens that are suspended or idle in again, and returns those. A token
// that was suspended by a higher authority is an *Error of kind ErrConflict.
func (d *Directory) ResumeAll(ctx context.Context, tokens []*Token, by Authority, actor string) ([]*Token, error) {
	now := d.config.Now()
	return d.revise(ctx, KindResumed, tokens, actor, func(r *Record) (string, error) {
		switch {
		case r.State == Suspended && !r.ResumableBy(by):
			return "", errorf(ErrConflict, "token %s was not suspended by its owner: ask an administrator to resume it", r.ID)
		case r.State == Suspended:
			r.State, r.Suspended, r.SuspendedBy, r.Resumed, r.Why = Active, 0, 0, now.Unix(), ""
		case r.State == Active && d.Find(r.Digest).idle(now):
			r.Resumed = now.Unix()
		}
		return "", nil
	})
}

// Rename gives a token another name. Errors are of type *Error.
func (d *Directory) Rename(ctx context.Context, id uuid.UUID, name, actor string) (*Token, error) {
	if name == "" {
		return nil, errorf(ErrInvalid, "the new name is empty: say what the token is for, as in deploy")
	}
	name, err := parseName(name, d.config.Now())
	if err != nil {
		return nil, errorf(ErrInvalid, "%v", err)
	}
	return d.one(ctx, id, func(tokens []*Token) ([]*Token, error) {
		return d.revise(ctx, KindRenamed, tokens, actor, func(r *Record) (string, error) {
			if r.State == Revoked {
				return "", errorf(ErrConflict, "token %s is revoked, and keeps its name", id)
			}
			if err := d.checkNew(r.Owner, name, id); err != nil {
				return "", err
			}
			before := r.Name
			r.Name = name
			return fmt.Sprintf("name=%q, before %q", name, before), nil
		})
	})
}

// SetLimits replaces what a token is limited to; nil: nothing. Errors are of type
// *Error.
func (d *Directory) SetLimits(ctx context.Context, id uuid.UUID, limits *Limits, actor string) (*Token, error) {
	return d.ChangeLimits(ctx, id, func(*Limits) *Limits { return limits }, actor)
}

// ChangeLimits is SetLimits of what change makes of the limits that a token has, which
// it must leave as they are. Of several at once each is made of what the one before has
// stored; so change must not call the directory. Errors are of type *Error.
func (d *Directory) ChangeLimits(ctx context.Context, id uuid.UUID, change func(*Limits) *Limits, actor string) (*Token, error) {
	limited, err := d.one(ctx, id, func(tokens []*Token) ([]*Token, error) {
		return d.revise(ctx, KindLimited, tokens, actor, func(r *Record) (string, error) {
			compiled, err := change(r.Limits).compiled()
			if err != nil {
				return "", errorf(ErrInvalid, "%v", err)
			}
			if r.State == Revoked {
				return "", errorf(ErrConflict, "token %s is revoked: its limits mean nothing any more", id)
			}
			r.Limits = compiled
			return compiled.String(), nil
		})
	})
	if err == nil && limited.bound() != 0 {
		// From now on each use is reserved. A crash must not lose those from before either.
		if err := d.tracker.Flush(context.WithoutCancel(ctx)); err != nil {
			d.config.Log.Error("use counts could not be stored; they are kept in memory and tried again", "error", err)
		}
	}
	return limited, err
}

// one makes a change of the token of an id, and returns the token.
func (d *Directory) one(ctx context.Context, id uuid.UUID, change func([]*Token) ([]*Token, error)) (*Token, error) {
	token, err := d.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := change([]*Token{token}); err != nil {
		return nil, err
	}
	return token, nil
}

// revise replaces the records of tokens, each by what edit makes of a copy, and
// returns the tokens whose records have changed. What edit returns is the detail of
// the event; it is called with mu held, so that nothing changes meanwhile. It does so
// in batches, as many as fit into one of the store: after an error, all batches before
// are made, and none of the rest. Only what takes rights away goes on after an error of the
// store, and holds in memory.
func (d *Directory) revise(ctx context.Context, kind Kind, tokens []*Token, actor string, edit func(*Record) (detail string, err error)) ([]*Token, error) {
	defer d.begin(kind)()
	var revised []*Token
	var inMemory error // of the first batch that the store can't keep
	for part := range slices.Chunk(tokens, maxRevised) {
		var (
			events  []Event
			changes []storage.Change
			records []*Record
			changed []*Token
		)
		for _, token := range part {
			if slices.Contains(changed, token) {
				continue // it is in the list twice, but a batch takes a key once
			}
			record := *token.Record()
			before := record
			detail, err := edit(&record)
			if err != nil {
				return revised, err
			}
			if record == before {
				// What only memory has is no reason to say that it is done.
				if _, late := d.unstored[tokenKey(record.ID)]; !late {
					continue
				}
			}
			changed, records = append(changed, token), append(records, &record)
			events = append(events, Event{Kind: kind, Actor: actorOf(ctx, actor), Token: &record, User: record.Owner, Detail: detail})
			// mu makes this process the only writer of the record, and the store's lock makes
			// it the only process.
			changes = append(changes, storage.Change{Key: tokenKey(record.ID), Value: encode(&record), Expect: storage.Any})
		}
		if len(changed) == 0 {
			continue
		}
		switch err := d.apply(ctx, events, changes...); {
		case errors.Is(err, errInMemory):
			inMemory = cmp.Or(inMemory, err)
		case err != nil:
			return revised, err
		}
		for i, token := range changed {
			token.record.Store(records[i])
		}
		d.tell(events...)
		revised = append(revised, changed...)
	}
	return revised, inMemory
}

// tell makes changes known that have been made.
func (d *Directory) tell(events ...Event) {
	for _, e := range events {
		args := []any{"user", string(e.User), "actor", e.Actor.Name}
		if e.Token != nil {
			args = []any{"token_id", e.Token.ID, "owner", string(e.User), "name", e.Token.Name, "actor", e.Actor.Name}
		}
		if e.Detail != "" {
			args = append(args, "detail", e.Detail)
		}
		level := slog.LevelInfo
		if e.Kind == KindNewAddress { // which is common where addresses change
			level = slog.LevelDebug
		}
		d.config.Log.Log(context.Background(), level, logText.Replace(string(e.Kind)), args...)
		d.config.Told(e)
	}
}

var logText = strings.NewReplacer(".", " ", "_", " ")
