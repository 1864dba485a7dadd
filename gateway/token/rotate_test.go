package token_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// What has an end is replaced by what lives as long, and what lives for ever by what
// lives as is usual, unless rules or people say otherwise.
func TestRotateExpiry(t *testing.T) {
	for _, c := range []struct {
		name          string
		life          string // of the old one
		rules         token.Rules
		expires       string
		want          time.Duration // from the rotation; 0: never
		kind          error
		text          string
		age           time.Duration // of the old one
		unknownAge    bool
		importExpires time.Duration
	}{
		{name: "kept", life: "30d", age: 20 * day, want: 30 * day},
		{name: "kept by a token that has expired", life: "30d", age: 40 * day, want: 30 * day},
		{name: "without end", life: "never", age: 20 * day, want: 90 * day},
		{name: "without end, with another default", life: "never", rules: token.Rules{DefaultLife: 10 * day}, want: 10 * day},
		{name: "kept longer than the default", life: "300d", rules: token.Rules{DefaultLife: 10 * day}, want: 300 * day},
		{name: "bounded", life: "300d", rules: token.Rules{MaxLife: 60 * day}, want: 60 * day},
		{name: "without end where that is bounded now", life: "never", rules: token.Rules{MaxLife: 60 * day}, want: 60 * day},
		{name: "without end where nothing may be", life: "never", rules: token.Rules{NoNever: true}, want: 90 * day},
		{name: "without end where the default is short", life: "never", rules: token.Rules{NoNever: true, DefaultLife: 5 * day}, want: 5 * day},
		{name: "asked for", life: "30d", expires: "12h", want: 12 * hour},
		{name: "never asked for", life: "30d", expires: "never"},
		{name: "never asked for where it is not allowed", life: "30d", rules: token.Rules{NoNever: true}, expires: "never", kind: token.ErrInvalid, text: "not allowed"},
		{name: "too long asked for", life: "30d", rules: token.Rules{MaxLife: 40 * day}, expires: "50d", kind: token.ErrInvalid, text: "further away"},
		{name: "nonsense asked for", life: "30d", expires: "soon", kind: token.ErrInvalid, text: "not understood"},
		{name: "of a token whose age is unknown", unknownAge: true, importExpires: 300 * day, want: 90 * day},
		{name: "of one without end whose age is unknown", unknownAge: true, want: 90 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var old *token.Token
			if c.unknownAge {
				item := token.Import{User: "alice", Name: "ci", Digest: numbered(1)}
				if c.importExpires != 0 {
					item.Expires = w.now.Add(c.importExpires).Unix()
				}
				w.imports(item)
				old = w.Find(numbered(1))
			} else {
				old, _ = w.create(token.Request{User: "alice", Name: "ci", Expires: c.life})
			}
			w.rule(c.rules)
			w.now = w.now.Add(c.age)
			made, _, _, err := w.Rotate(t.Context(), old.Record().ID, token.Rotation{Expires: c.expires, Actor: "admin"})
			if c.kind != nil {
				wantError(t, err, c.kind, c.text)
				if old.Record().Superseded() || w.Len() != 1 {
					t.Error("something was rotated")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			if c.want != 0 {
				want = w.now.Add(c.want).Unix()
			}
			if got := made.Record().Expires; got != want {
				t.Errorf("the new token ends %v, want %v", time.Unix(got, 0).UTC(), time.Unix(want, 0).UTC())
			}
		})
	}
}

// imports takes over tokens of Jenkins, of which all have to be taken.
func (w *world) imports(list ...token.Import) []token.Imported {
	w.t.Helper()
	got, err := w.Import(w.t.Context(), list, false, "admin")
	if err != nil {
		w.t.Fatal(err)
	}
	for i, out := range got {
		if out.Outcome != token.Taken {
			w.t.Fatalf("Import of %+v: %+v, want it taken", list[i], out)
		}
	}
	return got
}

func TestRotate(t *testing.T) {
	for _, c := range []struct {
		name    string
		life    string
		overlap string
		ends    time.Duration // the old one, from the rotation
		kind    error
		text    string
	}{
		{"default", "never", "", day, nil, ""},
		{"a week", "never", "7d", 7 * day, nil, ""},
		{"at once", "never", "0", 0, nil, ""},
		{"never longer than it was to live", "12h", "7d", 12 * hour, nil, ""},
		{"nor by default", "12h", "", 12 * hour, nil, ""},
		{"negative", "never", "-1h", 0, token.ErrInvalid, "overlap \"-1h\""},
		{"nonsense", "never", "a while", 0, token.ErrInvalid, "or 0 for none"},
		{"zero hours", "never", "0h", 0, token.ErrInvalid, "or 0 for none"},
		{"too long", "never", "999999w", 0, token.ErrInvalid, "or 0 for none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			limits := &token.Limits{Sources: []string{"10.0.0.0/8"}, Rate: 60, Uses: 9}
			old, secret := w.create(token.Request{User: "alice", Name: "ci", Expires: c.life, Limits: limits, Actor: "admin"})
			before := *old.Record()
			w.audited.take("")
			w.told.take("")
			w.now = w.now.Add(time.Minute) // of the old one's life
			if c.life == "12h" {
				c.ends -= time.Minute
			}
			made, fresh, returned, err := w.Rotate(t.Context(), before.ID, token.Rotation{Overlap: c.overlap, Actor: "bob"})
			if c.kind != nil {
				wantError(t, err, c.kind, c.text)
				if *old.Record() != before || w.Len() != 1 || made != nil || fresh.Reveal() != "" || len(w.audited.take("")) != 0 {
					t.Error("something was changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if returned != old {
				t.Error("Rotate returns another token as the old one")
			}
			wantOld, wantNew := before, token.Record{
				ID: made.Record().ID, Digest: fresh.Digest(), Owner: "alice", Name: "ci", State: token.Active, Origin: token.Issued, Actor: "bob",
				Created: w.now.Unix(), Expires: made.Record().Expires, Limits: before.Limits, Family: before.ID,
			}
			wantOld.Successor, wantOld.Expires = wantNew.ID, w.now.Add(c.ends).Unix()
			if *old.Record() != wantOld || *made.Record() != wantNew {
				t.Errorf("records are %+v and %+v, want %+v and %+v", *old.Record(), *made.Record(), wantOld, wantNew)
			}
			for how, list := range map[string][]token.Event{"audited": w.audited.take(""), "told": w.told.take("")} {
				if len(list) != 1 || list[0].Kind != token.KindRotated || list[0].Token.ID != wantNew.ID || list[0].User != "alice" ||
					list[0].Actor.Name != "bob" || !strings.Contains(list[0].Detail, "replaces "+before.ID.String()) {
					t.Errorf("%s is %+v, want one rotation", how, list)
				}
			}
			// After a restart both are as they were, to the second.
			w.reopen()
			for _, step := range []struct {
				now  time.Time
				want token.Refusal
			}{{w.now.Add(c.ends - time.Second), ""}, {w.now.Add(c.ends), token.RefusedSuperseded}} {
				if c.ends == 0 && step.want == "" {
					continue
				}
				if got := w.Find(secret.Digest()).Admit(step.now); got != step.want {
					t.Errorf("%v: the old one is %q, want %q", step.now, got, step.want)
				}
				if got := w.Find(fresh.Digest()).Admit(w.now); got != "" {
					t.Errorf("the new one is %q", got)
				}
			}
			if got := w.get(wantNew.ID).Record(); got.Limits.String() != before.Limits.String() || !got.AllowsSource("10.1.2.3") || got.AllowsSource("192.0.2.1") {
				t.Errorf("limits are %v after a restart, want those of the old one, %v", got.Limits, before.Limits)
			}
		})
	}
}

func TestRotateChain(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "ci"})
	ids := []uuid.UUID{first.Record().ID}
	for range 3 {
		made, _, _, err := w.Rotate(t.Context(), ids[len(ids)-1], token.Rotation{Overlap: "0"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.Record().ID)
	}
	for range 2 {
		for i, id := range ids {
			r := w.get(id).Record()
			successor := uuid.Nil
			if i < len(ids)-1 {
				successor = ids[i+1]
			}
			if r.Root() != ids[0] || r.Successor != successor || r.Name != "ci" || r.Superseded() != (successor != uuid.Nil) {
				t.Errorf("token %d of the chain is %+v, want root %s and successor %s", i, r, ids[0], successor)
			}
		}
		w.reopen()
	}
	// The name is taken by the last of them alone.
	_, _, err := w.Create(t.Context(), token.Request{User: "alice", Name: "ci"})
	wantError(t, err, token.ErrDuplicate, ids[3].String())
	if _, err := w.Revoke(t.Context(), ids[3], "admin"); err != nil {
		t.Fatal(err)
	}
	w.create(token.Request{User: "alice", Name: "ci"})
}

func TestRotateRefused(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{Legacy: token.LegacyAllowed})
	issue := func(name string) *token.Token {
		made, _ := w.create(token.Request{User: "alice", Name: name, Expires: "30d"})
		return made
	}
	revoked, suspended, superseded, expired := issue("revoked"), issue("suspended"), issue("superseded"), issue("expired")
	disabled, _ := w.create(token.Request{User: "bob", Name: "disabled"})
	out := w.imports(token.Import{User: "alice", Name: "imported", Digest: numbered(1)}, token.Import{User: "alice", Name: "legacy", Digest: numbered(2), Legacy: true})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SuspendAll(t.Context(), []*token.Token{suspended}, token.ByAdmin, "", "admin"); err != nil {
		t.Fatal(err)
	}
	successor, _, _, err := w.Rotate(t.Context(), superseded.Record().ID, token.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetDisabled(t.Context(), "BOB", true, "admin"); err != nil {
		t.Fatal(err)
	}
	w.recorded() // what took rights away
	w.now = w.now.Add(31 * day)
	w.settle("the audit log has all lines", func() bool { n, _ := w.Waiting(); return n == 0 })
	w.audited.take("")
	for _, c := range []struct {
		name string
		id   uuid.UUID
		kind error
		text string
	}{
		{"revoked", revoked.Record().ID, token.ErrConflict, "is revoked"},
		{"suspended", suspended.Record().ID, token.ErrConflict, "resume it first"},
		{"superseded", superseded.Record().ID, token.ErrConflict, successor.Record().ID.String()},
		{"of a disabled user", disabled.Record().ID, token.ErrConflict, "bob is disabled since 2026-10-01"},
		{"of nobody", uuid.New(), token.ErrNotFound, "list them"},
		{"expired", expired.Record().ID, nil, ""},
		{"imported", out[0].ID, nil, ""},
		{"legacy", out[1].ID, nil, ""},
	} {
		before := w.Len()
		made, secret, old, err := w.Rotate(t.Context(), c.id, token.Rotation{})
		if c.kind != nil {
			wantError(t, err, c.kind, c.text)
			if made != nil || old != nil || secret.Reveal() != "" || w.Len() != before || len(w.audited.take("")) != 0 {
				t.Errorf("%s: something was rotated", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := made.Admit(w.now); got != "" {
			t.Errorf("%s: the new token is %q", c.name, got)
		}
		// Tools that hold a token of Jenkins may insist on the shape.
		if jenkins := strings.HasPrefix(secret.Reveal(), "11"); jenkins != (c.name != "expired") || made.Record().Origin != token.Issued {
			t.Errorf("%s: the new token is in the Jenkins format: %t, and %v", c.name, jenkins, made.Record().Origin)
		}
		w.audited.take("")
	}
	if got := expired.Admit(w.now); got != token.RefusedSuperseded {
		t.Errorf("the expired token is %q after its rotation, want %q: an overlap never lengthens a life", got, token.RefusedSuperseded)
	}
}

// Two who rotate one token at once: one gets a new one.
func TestRotateConcurrently(t *testing.T) {
	w := newWorld(t)
	old, _ := w.create(token.Request{User: "alice", Name: "ci"})
	var won atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			switch _, _, _, err := w.Rotate(t.Context(), old.Record().ID, token.Rotation{}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, token.ErrConflict):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || w.Len() != 2 {
		t.Errorf("%d rotations and %d tokens, want 1 and 2", won.Load(), w.Len())
	}
}

// A rotation and a revocation at once: in the end the old token is revoked or
// replaced, and nothing is lost.
func TestRotateWhileRevoking(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		old, _ := w.create(token.Request{User: "alice", Name: fmt.Sprint(i)})
		id := old.Record().ID
		var rotated, revoked error
		var group sync.WaitGroup
		group.Go(func() { _, _, _, rotated = w.Rotate(t.Context(), id, token.Rotation{}) })
		group.Go(func() { _, revoked = w.Revoke(t.Context(), id, "admin") })
		group.Wait()
		r := w.get(id).Record()
		if revoked != nil || r.State != token.Revoked || r.Superseded() != (rotated == nil) {
			t.Fatalf("Revoke: %v, Rotate: %v, and the record is %+v", revoked, rotated, r)
		}
	}
}

// A rotation that can't be kept, or not be audited, leaves all as it was.
func TestRotateFails(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(*world)
		kind error
	}{
		{"store", func(w *world) { w.store.failWrites(0, errFull) }, token.ErrStore},
		{"audit", func(w *world) { w.audited.fail(errFull) }, token.ErrAudit},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			old, _ := w.create(token.Request{User: "alice", Name: "ci"})
			before := *old.Record()
			c.fail(w)
			made, secret, _, err := w.Rotate(t.Context(), before.ID, token.Rotation{})
			if made != nil || secret.Reveal() != "" {
				t.Error("a token was given out that nobody knows")
			}
			wantError(t, err, c.kind, errFull.Error())
			w.audited.fail(nil)
			w.store.heal()
			for range 2 {
				if got := *w.get(before.ID).Record(); got != before || w.Len() != 1 {
					t.Errorf("the record is %+v, want %+v and nothing else", got, before)
				}
				w.reopen()
			}
			if _, _, _, err := w.Rotate(t.Context(), before.ID, token.Rotation{}); err != nil {
				t.Error(err)
			}
		})
	}
}
