package token_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
)

var errFull = errors.New("no space left on device")

// many makes n tokens of one user.
func (w *world) many(n int) []*token.Token {
	w.t.Helper()
	made := make([]*token.Token, n)
	for i := range made {
		made[i], _ = w.create(token.Request{User: "alice", Name: fmt.Sprintf("%04d", i), Expires: "never"})
	}
	return made
}

// A list of tokens may hold one twice: whoever made it named one id twice.
func TestOneTokenTwiceInAList(t *testing.T) {
	w := newWorld(t)
	a, _ := w.create(token.Request{User: "alice", Name: "a"})
	b, _ := w.create(token.Request{User: "alice", Name: "b"})
	done, err := w.RevokeAll(t.Context(), []*token.Token{a, b, a}, "", "admin")
	if err != nil || !slices.Equal(done, []*token.Token{a, b}) {
		t.Errorf("RevokeAll = %d tokens, %v, want both once", len(done), err)
	}
	w.recorded()
	if got := w.audited.take(token.KindRevoked); len(got) != 2 {
		t.Errorf("%d revocations were audited, want 2", len(got))
	}
}

func tokenIDs(tokens ...*token.Token) []uuid.UUID {
	ids := make([]uuid.UUID, len(tokens))
	for i, t := range tokens {
		ids[i] = t.Record().ID
	}
	return ids
}

// More tokens than a batch of the store takes are changed batch by batch.
func TestChangesOfMany(t *testing.T) {
	const n = 300
	w := newWorld(t)
	all := w.many(n)
	ids := tokenIDs(all...)
	refusals := func(ids []uuid.UUID) map[token.Refusal]int {
		counts := make(map[token.Refusal]int)
		for _, r := range w.states(ids...) {
			counts[r]++
		}
		return counts
	}
	for _, step := range []struct {
		name   string
		change func([]*token.Token) ([]*token.Token, error)
		kind   token.Kind
		before token.Refusal
		after  token.Refusal
	}{
		{"suspend", func(l []*token.Token) ([]*token.Token, error) {
			return w.SuspendAll(t.Context(), l, token.ByAdmin, "away", "admin")
		}, token.KindSuspended, "", token.RefusedSuspended},
		{"resume", func(l []*token.Token) ([]*token.Token, error) {
			return w.ResumeAll(t.Context(), l, token.ByAdmin, "admin")
		}, token.KindResumed, token.RefusedSuspended, ""},
		{"revoke", func(l []*token.Token) ([]*token.Token, error) { return w.RevokeAll(t.Context(), l, "left", "admin") }, token.KindRevoked, "", token.RefusedRevoked},
	} {
		t.Run(step.name, func(t *testing.T) {
			w.reopen() // after which the store has no writes of the step before
			for i, id := range ids {
				all[i] = w.get(id)
			}
			w.audited.take("")
			w.told.take("")
			removes := step.kind.Removes()
			if removes {
				w.audited.fail(errFull) // so that the store has no other writes
			}
			w.store.failWrites(2, errFull)
			const stored = 2 * ((storage.MaxBatch - 1) / 2)
			done, err := step.change(all)
			wantError(t, err, token.ErrStore, errFull.Error())
			if removes {
				if err := w.Check(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n-stored)) {
					t.Errorf("Check: %v, want the number of tokens that the store lacks", err)
				}
			}
			w.store.heal()
			w.audited.fail(nil)
			w.recorded()
			wantDone := stored
			if removes {
				wantDone = n // what the store can't keep holds in memory
			}
			if len(done) != wantDone || !slices.Equal(done, all[:len(done)]) {
				t.Errorf("%d tokens were changed, want %d", len(done), wantDone)
			}
			want := map[token.Refusal]int{step.after: len(done)}
			if !removes {
				want[step.before] = n - len(done)
			}
			if got := refusals(ids); !maps.Equal(got, want) {
				t.Errorf("states are %v, want %v", got, want)
			}
			// The third batch was announced, unless it takes rights away, and then audited as
			// failed.
			wantFailed := stored / 2
			if removes {
				wantFailed = 0
			}
			events := w.audited.take(step.kind)
			failed := slices.DeleteFunc(slices.Clone(events), func(e token.Event) bool { return e.Err == nil })
			if len(events) != len(done)+2*wantFailed || len(failed) != wantFailed || wantFailed > 0 && !errors.Is(failed[0].Err, errFull) {
				t.Errorf("%d events were audited and %d of them with an error, want %d and %d", len(events), len(failed), len(done)+2*wantFailed, wantFailed)
			}
			if got := len(w.told.take(step.kind)); got != len(done) {
				t.Errorf("%d changes were told, want %d", got, len(done))
			}
			w.settle("the store has all that it can", func() bool { return w.Check(t.Context()) == nil })
			w.reopen()
			for i, id := range ids {
				all[i] = w.get(id)
			}
			if got := refusals(ids); !maps.Equal(got, want) {
				t.Errorf("states after a restart are %v, want %v", got, want)
			}
			rest, err := step.change(all)
			if err != nil || !slices.Equal(rest, all[wantDone:]) {
				t.Errorf("tried again: %d tokens, %v, want the rest", len(rest), err)
			}
			again, err := step.change(all)
			if err != nil || len(again) != 0 {
				t.Errorf("once more: %d tokens, %v, want none", len(again), err)
			}
			if got := refusals(ids); got[step.after] != n {
				t.Errorf("states are %v, want all %q", got, step.after)
			}
		})
	}
}

// A change that can't be recorded is refused, unless it takes rights away: then its line
// waits. A change that is announced and can't be stored is recorded as failed.
func TestAudit(t *testing.T) {
	mail := "a@example.org"
	for _, c := range []struct {
		name   string
		kind   token.Kind
		change func(*world, *token.Token) error
	}{
		{"create", token.KindCreated, func(w *world, _ *token.Token) error {
			_, _, err := w.Create(w.t.Context(), token.Request{User: "alice", Name: "new", Actor: "admin"})
			return err
		}},
		{"rotate", token.KindRotated, func(w *world, tok *token.Token) error {
			_, _, _, err := w.Rotate(w.t.Context(), tok.Record().ID, token.Rotation{Actor: "admin"})
			return err
		}},
		{"rename", token.KindRenamed, func(w *world, tok *token.Token) error {
			_, err := w.Rename(w.t.Context(), tok.Record().ID, "other", "admin")
			return err
		}},
		{"limit", token.KindLimited, func(w *world, tok *token.Token) error {
			_, err := w.SetLimits(w.t.Context(), tok.Record().ID, &token.Limits{Rate: 1}, "admin")
			return err
		}},
		{"suspend", token.KindSuspended, func(w *world, tok *token.Token) error {
			_, err := w.SuspendAll(w.t.Context(), []*token.Token{tok}, token.ByAdmin, "", "admin")
			return err
		}},
		{"revoke", token.KindRevoked, func(w *world, tok *token.Token) error {
			_, err := w.Revoke(w.t.Context(), tok.Record().ID, "admin")
			return err
		}},
		{"profile", token.KindUser, func(w *world, _ *token.Token) error {
			_, err := w.SetProfile(w.t.Context(), "alice", token.ProfileUpdate{Mail: &mail}, "admin")
			return err
		}},
		{"disable", token.KindDisabled, func(w *world, _ *token.Token) error {
			_, err := w.SetDisabled(w.t.Context(), "alice", true, "admin")
			return err
		}},
		{"import", token.KindImported, func(w *world, _ *token.Token) error {
			_, err := w.Import(w.t.Context(), []token.Import{{User: "alice", Name: "new", Digest: numbered(1)}}, false, "admin")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			made, _ := w.create(token.Request{User: "alice", Name: "ci"})
			record, profile := *made.Record(), *made.Profile()
			w.audited.take("")
			w.told.take("")
			unchanged := func(when string) {
				t.Helper()
				tok := w.get(record.ID)
				if *tok.Record() != record || !reflect.DeepEqual(*tok.Profile(), profile) || w.Len() != 1 {
					t.Errorf("%s: %+v of %+v, and %d tokens, want it unchanged", when, *tok.Record(), *tok.Profile(), w.Len())
				}
			}
			if !c.kind.Removes() {
				w.audited.fail(errFull)
				wantError(t, c.change(w, made), token.ErrAudit, "nothing was changed, because the change can't be audited: "+errFull.Error())
				unchanged("not audited")
				w.audited.fail(nil)
			}

			w.store.failWrites(0, errFull)
			if c.kind.Removes() {
				wantError(t, c.change(w, made), token.ErrStore, "it holds from now on, but not after a restart, because the token store can't keep it: "+errFull.Error())
				if w.get(record.ID).Admit(w.now) == "" {
					t.Error("the token is let in")
				}
			} else {
				wantError(t, c.change(w, made), token.ErrStore, "nothing was changed, because the token store can't keep it: "+errFull.Error())
				unchanged("not stored")
			}
			w.store.heal()
			w.recorded()
			events := w.audited.take("")
			if c.kind.Removes() {
				// The next start finds this line, and applies it.
				if len(events) != 1 || events[0].Kind != c.kind || events[0].Err != nil {
					t.Errorf("audited is %+v, want what holds in memory", events)
				}
			} else if len(events) != 2 || events[0].Kind != c.kind || events[1].Kind != c.kind || events[0].Err != nil || !errors.Is(events[1].Err, errFull) {
				t.Errorf("audited is %+v, want the change twice, and the second time its failure", events)
			}
			if told := w.told.take(""); (len(told) != 0) != c.kind.Removes() {
				t.Errorf("told is %+v, want what was changed", told)
			}
			if c.kind.Removes() {
				w.settle("the store has it", func() bool { return w.Check(t.Context()) == nil })
				w.reopen()
				if w.get(record.ID).Admit(w.now) == "" {
					t.Error("the token is let in after a restart")
				}
				w = newWorld(t)
				made, _ = w.create(token.Request{User: "alice", Name: "ci"})
				record, profile = *made.Record(), *made.Profile()
				w.audited.take("")
				w.told.take("")
			} else {
				w.reopen()
				unchanged("opened again")
			}

			ctx := token.From(t.Context(), "test", "192.0.2.1")
			w.t = ctxTB{t, ctx}
			if c.kind.Removes() {
				w.audited.fail(errFull)
			}
			if err := c.change(w, w.get(record.ID)); err != nil {
				t.Fatal(err)
			}
			w.t = t
			if c.kind.Removes() {
				if n, _ := w.Waiting(); n != 1 {
					t.Errorf("%d lines wait for the log, want 1", n)
				}
				w.reopen() // as the line does, too
				w.audited.fail(nil)
			}
			w.recorded()
			audited, told := w.audited.take(""), w.told.take("")
			if len(audited) != 1 || len(told) != 1 || audited[0].ID == uuid.Nil || !audited[0].Time.Equal(w.now) ||
				audited[0].Kind != c.kind || audited[0].User != "alice" || audited[0].Actor != (token.Actor{Name: "admin", Via: "test", Addr: "192.0.2.1"}) {
				t.Errorf("audited is %+v and told is %+v, want one change by the admin", audited, told)
			}
		})
	}
}

// A ctxTB is a test with another context.
type ctxTB struct {
	testing.TB
	ctx context.Context
}

func (t ctxTB) Context() context.Context { return t.ctx }

func TestRename(t *testing.T) {
	w := newWorld(t)
	a, _ := w.create(token.Request{User: "alice", Name: "a"})
	b, _ := w.create(token.Request{User: "ALICE", Name: "b"})
	gone, _ := w.create(token.Request{User: "alice", Name: "gone"})
	replaced, _ := w.create(token.Request{User: "alice", Name: "replaced"})
	w.create(token.Request{User: "bob", Name: "bobs"})
	if _, err := w.Revoke(t.Context(), gone.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.Rotate(t.Context(), replaced.Record().ID, token.Rotation{}); err != nil {
		t.Fatal(err)
	}
	leaked := token.NewSecret(token.Native).Reveal()
	for _, c := range []struct {
		name string
		id   uuid.UUID
		to   string
		kind error
		text string
	}{
		{"taken", a.Record().ID, "b", token.ErrDuplicate, b.Record().ID.String()},
		{"taken by a successor", a.Record().ID, "replaced", token.ErrDuplicate, "already has"},
		{"its own", a.Record().ID, "a", nil, ""},
		{"new", a.Record().ID, "c", nil, ""},
		{"free again", b.Record().ID, "a", nil, ""},
		{"of a revoked one", a.Record().ID, "gone", nil, ""},
		{"of another user's", a.Record().ID, "bobs", nil, ""},
		{"of the revoked", gone.Record().ID, "d", token.ErrConflict, "revoked"},
		{"empty", a.Record().ID, "", token.ErrInvalid, "empty"},
		{"not a name", a.Record().ID, "a\nb", token.ErrInvalid, "U+000A"},
		{"a token", a.Record().ID, leaked, token.ErrInvalid, "holds a token"},
		{"nobody's", uuid.New(), "x", token.ErrNotFound, "list them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := w.Rename(t.Context(), c.id, c.to, "admin")
			if c.kind != nil {
				wantError(t, err, c.kind, c.text)
				if strings.Contains(err.Error(), leaked) {
					t.Errorf("the error shows the token: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Record().Name != c.to {
				t.Errorf("the name is %q", got.Record().Name)
			}
			w.reopen()
			if got := w.get(c.id).Record().Name; got != c.to {
				t.Errorf("the name after a restart is %q", got)
			}
		})
	}
}

// A rename and a revocation at once: in the end the token is revoked.
func TestRenameWhileRevoking(t *testing.T) {
	w := newWorld(t)
	for _, tok := range w.many(30) {
		id := tok.Record().ID
		var renamed, revoked error
		var group sync.WaitGroup
		group.Go(func() { _, renamed = w.Rename(t.Context(), id, "new "+tok.Record().Name, "admin") })
		group.Go(func() { _, revoked = w.Revoke(t.Context(), id, "admin") })
		group.Wait()
		r := w.get(id).Record()
		if revoked != nil || r.State != token.Revoked || strings.HasPrefix(r.Name, "new ") != (renamed == nil) || renamed != nil && !errors.Is(renamed, token.ErrConflict) {
			t.Fatalf("Revoke: %v, Rename: %v, and the record is %+v", revoked, renamed, r)
		}
	}
}

func TestDisabledUser(t *testing.T) {
	w := newWorld(t)
	w.SetUserIDs(user.CaseSensitive) // a store from when case mattered
	a, _ := w.create(token.Request{User: "alice", Name: "a"})
	b, _ := w.create(token.Request{User: "ALICE", Name: "b"})
	bob, _ := w.create(token.Request{User: "bob", Name: "c"})
	gone, _ := w.create(token.Request{User: "alice", Name: "gone"})
	if _, err := w.Revoke(t.Context(), gone.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	ids := tokenIDs(a, b, bob, gone)
	w.reopen()
	since := w.now
	if p, err := w.SetDisabled(t.Context(), "Alice", true, "admin"); err != nil || p.Disabled != since.Unix() {
		t.Fatalf("SetDisabled = %+v, %v", p, err)
	}
	for range 2 {
		want := []token.Refusal{token.RefusedOwner, token.RefusedOwner, "", token.RefusedRevoked}
		if got := w.states(ids...); !slices.Equal(got, want) {
			t.Errorf("states are %q, want %q", got, want)
		}
		for _, spelling := range []string{"alice", "ALICE", "aLiCe"} {
			_, _, err := w.Create(t.Context(), token.Request{User: spelling, Name: "new"})
			wantError(t, err, token.ErrConflict, "is disabled since 2026-10-01T12:00:00Z: enable the user first")
		}
		_, _, _, err := w.Rotate(t.Context(), ids[1], token.Rotation{})
		wantError(t, err, token.ErrConflict, "enable the user first")
		w.pass(hour)
	}
	// Once more changes nothing, nor does what else is known of the user.
	if _, err := w.SetDisabled(t.Context(), "ALICE", true, "admin"); err != nil {
		t.Fatal(err)
	}
	mail := "alice@example.org"
	if p, err := w.SetProfile(t.Context(), "alice", token.ProfileUpdate{Mail: &mail}, "admin"); err != nil || p.Disabled != since.Unix() {
		t.Errorf("SetProfile = %+v, %v, want the user disabled since %v", p, err, since)
	}
	if p, err := w.SetDisabled(t.Context(), "aliCE", false, "admin"); err != nil || p.Disabled != 0 || p.Mail != mail {
		t.Errorf("SetDisabled = %+v, %v, want the user enabled", p, err)
	}
	for range 2 {
		if got, want := w.states(ids...), []token.Refusal{"", "", "", token.RefusedRevoked}; !slices.Equal(got, want) {
			t.Errorf("states are %q, want %q", got, want)
		}
		w.reopen()
	}
	w.create(token.Request{User: "alice", Name: "new"})

	// A user who has no token yet is known to be disabled, too.
	if _, err := w.SetDisabled(t.Context(), "carol", true, "admin"); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	_, _, err := w.Create(t.Context(), token.Request{User: "Carol", Name: "new"})
	wantError(t, err, token.ErrConflict, "carol is disabled")
}

// Only an authority at least as high as that which suspended a token resumes it.
func TestResumingNeedsTheAuthority(t *testing.T) {
	for _, c := range []struct {
		name      string
		suspended []token.Authority // one after the other
		byOwner   bool              // the owner may resume it
	}{
		{"by its owner", []token.Authority{token.ByOwner}, true},
		{"by an administrator", []token.Authority{token.ByAdmin}, false},
		{"by the gateway", []token.Authority{token.ByGateway}, false},
		{"by its owner, then by an administrator", []token.Authority{token.ByOwner, token.ByAdmin}, false},
		{"by its owner, then by the gateway", []token.Authority{token.ByOwner, token.ByGateway}, false},
		{"by an administrator, then by its owner", []token.Authority{token.ByAdmin, token.ByOwner}, false},
		{"by an older version", []token.Authority{0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			made, _ := w.create(token.Request{User: "alice", Name: "a"})
			id := made.Record().ID
			for _, by := range c.suspended {
				if _, err := w.SuspendAll(t.Context(), []*token.Token{w.get(id)}, by, "", "x"); err != nil {
					t.Fatal(err)
				}
				w.reopen()
			}
			_, err := w.ResumeAll(t.Context(), []*token.Token{w.get(id)}, token.ByOwner, "alice")
			if c.byOwner {
				if err != nil || w.states(id)[0] != "" {
					t.Errorf("the owner's resume: %v, state %q", err, w.states(id)[0])
				}
				return
			}
			wantError(t, err, token.ErrConflict, "not suspended by its owner")
			if got := w.states(id)[0]; got != token.RefusedSuspended {
				t.Errorf("the state is %q", got)
			}
			if _, err := w.ResumeAll(t.Context(), []*token.Token{w.get(id)}, token.ByAdmin, "admin"); err != nil || w.states(id)[0] != "" {
				t.Errorf("the administrator's resume: %v, state %q", err, w.states(id)[0])
			}
		})
	}
}
