package token_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// ending sweeps and returns the names of tokens that were said to end soon.
func (w *world) ending() []string {
	w.t.Helper()
	w.told.take("")
	w.Sweep(w.t.Context())
	var names []string
	for _, e := range w.told.take(token.KindExpiring) {
		names = append(names, e.Token.Name)
	}
	slices.Sort(names)
	return names
}

// Each token is said to end soon once, also when the gateway starts again.
func TestExpiringIsToldOnce(t *testing.T) {
	w := newWorld(t)
	for _, life := range []string{"10d", "20d", "100d", "never"} {
		w.create(token.Request{User: "alice", Name: life, Expires: life})
	}
	revoked, _ := w.create(token.Request{User: "alice", Name: "revoked", Expires: "10d"})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	replaced, _ := w.create(token.Request{User: "alice", Name: "replaced", Expires: "10d"})
	if _, _, _, err := w.Rotate(t.Context(), replaced.Record().ID, token.Rotation{Overlap: "8w", Expires: "never"}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{
		{0, nil},
		{9*day - time.Second, nil},
		{time.Second, []string{"10d"}}, // in the last tenth of its life
		{0, nil},
		{9 * day, []string{"20d"}},
		{75*day - time.Second, nil},     // the others have ended
		{time.Second, []string{"100d"}}, // in the last week
		{hour, nil},
	} {
		w.pass(step.after)
		if got := w.ending(); !slices.Equal(got, step.want) {
			t.Errorf("%v: %q end soon, want %q", w.now, got, step.want)
		}
		if got := w.ending(); got != nil {
			t.Errorf("%v: a second look says that %q end soon", w.now, got)
		}
	}
}

// Who could not be warned in time is warned late: the owner of a token that was
// suspended while its last week began, or of one that came from Jenkins in it.
func TestExpiringIsToldLate(t *testing.T) {
	w := newWorld(t)
	suspended, _ := w.create(token.Request{User: "alice", Name: "suspended", Expires: "100d"})
	w.create(token.Request{User: "alice", Name: "other", Expires: "100d"})
	if _, err := w.SuspendAll(t.Context(), []*token.Token{suspended}, token.ByAdmin, "", "admin"); err != nil {
		t.Fatal(err)
	}
	w.pass(94 * day)
	if got := w.ending(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("%q end soon, want the other", got)
	}
	w.now = w.now.Add(time.Minute)
	w.imports(token.Import{User: "alice", Name: "from Jenkins", Digest: numbered(1), Expires: w.now.Add(5 * day).Unix()})
	if _, err := w.ResumeAll(t.Context(), []*token.Token{w.get(suspended.Record().ID)}, token.ByAdmin, "admin"); err != nil {
		t.Fatal(err)
	}
	w.create(token.Request{User: "alice", Name: "short", Expires: "5d"})
	if got := w.ending(); !slices.Equal(got, []string{"from Jenkins", "suspended"}) {
		t.Errorf("%q end soon, want both that nobody was warned of, and not the one whose maker knows", got)
	}
	w.pass(time.Minute)
	if got := w.ending(); got != nil {
		t.Errorf("%q end soon, want none", got)
	}
}

// What can't be noted is told again, rather than not at all.
func TestExpiringWithoutStore(t *testing.T) {
	w := newWorld(t)
	w.create(token.Request{User: "alice", Name: "a", Expires: "10d"})
	w.pass(9 * day)
	w.store.fail(errFull)
	w.ending()
	w.store.heal()
	if got := w.ending(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q end soon, want the one that could not be noted", got)
	}
	if got := w.ending(); got != nil {
		t.Errorf("%q end soon, want none", got)
	}
}

// After a look with a clock that was a year ahead, tokens are still said to end soon.
func TestExpiringIsToldAfterAWrongClock(t *testing.T) {
	w := newWorld(t)
	for _, life := range []string{"10d", "100d"} {
		w.create(token.Request{User: "alice", Name: life, Expires: life})
	}
	right := w.now
	w.pass(366 * day)
	w.ending()
	w.now = right.Add(9 * day)
	if got, want := w.ending(), []string{"10d"}; !slices.Equal(got, want) {
		t.Errorf("the clock is right again, and %q end soon, want %q", got, want)
	}
	if got := w.ending(); got != nil {
		t.Errorf("a second look says that %q end soon", got)
	}
	w.pass(85 * day)
	if got, want := w.ending(), []string{"100d"}; !slices.Equal(got, want) {
		t.Errorf("at the end of the other %q end soon, want %q", got, want)
	}
}

// Idle tokens are refused to the second, and stay active. One that is resumed is not idle
// at once.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{MaxIdle: 30 * day})
	used, _ := w.create(token.Request{User: "alice", Name: "used", Expires: "never"})
	unused, _ := w.create(token.Request{User: "alice", Name: "unused", Expires: "never"})
	revoked, _ := w.create(token.Request{User: "alice", Name: "revoked", Expires: "never"})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	w.pass(10 * day)
	w.get(used.Record().ID).Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
	ids := tokenIDs(used, unused, revoked)
	for _, step := range []struct {
		after time.Duration
		want  []token.Refusal
	}{
		{20*day - time.Second, []token.Refusal{"", "", token.RefusedRevoked}},
		{time.Second, []token.Refusal{"", token.RefusedIdle, token.RefusedRevoked}},
		{10*day - time.Second, []token.Refusal{"", token.RefusedIdle, token.RefusedRevoked}},
		{time.Second, []token.Refusal{token.RefusedIdle, token.RefusedIdle, token.RefusedRevoked}},
	} {
		w.pass(step.after)
		w.Sweep(t.Context())
		if got := w.states(ids...); !slices.Equal(got, step.want) {
			t.Errorf("%v: states are %q, want %q", w.now, got, step.want)
		}
	}
	if got := w.audited.take(token.KindSuspended); len(got) > 0 {
		t.Errorf("idleness has changed tokens: %+v", got)
	}
	done, err := w.ResumeAll(t.Context(), []*token.Token{w.get(ids[0]), w.get(ids[1]), w.get(ids[2])}, token.ByOwner, "alice")
	if err != nil || len(done) != 2 {
		t.Errorf("ResumeAll = %d tokens, %v, want 2", len(done), err)
	}
	for _, after := range []time.Duration{0, 30*day - time.Second} {
		w.pass(after)
		if got, want := w.states(ids...), []token.Refusal{"", "", token.RefusedRevoked}; !slices.Equal(got, want) {
			t.Errorf("%v after they were resumed, states are %q, want %q", after, got, want)
		}
	}
	w.pass(time.Second)
	if got := w.states(ids[0]); got[0] != token.RefusedIdle {
		t.Errorf("a month after it was resumed the state is %q, want %q", got, token.RefusedIdle)
	}
	w.rule(token.Rules{})
	if got := w.states(ids[0]); got[0] != "" {
		t.Errorf("without the rule the state is %q", got)
	}
}

// A clock that was a year ahead for a while, also over a restart, leaves no token idle.
func TestWrongClockLeavesNoTokenIdle(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{MaxIdle: 30 * day})
	made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "never"})
	right := w.now.Add(day)
	w.pass(366 * day)
	w.Sweep(t.Context())
	if got := w.states(made.Record().ID); got[0] != token.RefusedIdle {
		t.Errorf("a year ahead the state is %q, want %q", got[0], token.RefusedIdle)
	}
	w.now = right
	if got := w.states(made.Record().ID); got[0] != "" {
		t.Errorf("the clock is right again, and the state is %q", got[0])
	}
	w.reopen()
	if got := w.states(made.Record().ID); got[0] != "" {
		t.Errorf("after a restart the state is %q", got[0])
	}
	w.pass(30 * day)
	if got := w.states(made.Record().ID); got[0] != token.RefusedIdle {
		t.Errorf("unused for a month the state is %q, want %q", got[0], token.RefusedIdle)
	}
}

// A use that a clock ahead has noted keeps a token from being idle for no longer than any use.
func TestWrongClockKeepsNoTokenFromBeingIdle(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		w.rule(token.Rules{MaxIdle: 30 * day})
		made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "never"})
		id, right := made.Record().ID, w.now.Add(day)
		w.pass(20 * day)
		w.get(id).Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
		w.now = right
		if restart {
			w.reopen()
		}
		w.Sweep(t.Context())
		if restart {
			w.reopen()
		}
		w.pass(30*day - time.Second)
		w.Sweep(t.Context())
		if got := w.states(id); got[0] != "" {
			t.Errorf("restart %v: before a month has passed the state is %q", restart, got[0])
		}
		w.pass(time.Second)
		if got := w.states(id); got[0] != token.RefusedIdle {
			t.Errorf("restart %v: unused for a month the state is %q, want %q", restart, got[0], token.RefusedIdle)
		}
	}
}

// A token that a clock ahead has resumed is said to end soon all the same.
func TestExpiringIsToldAfterResumingByAWrongClock(t *testing.T) {
	w := newWorld(t)
	resumed, _ := w.create(token.Request{User: "alice", Name: "resumed", Expires: "30d"})
	right := w.now
	w.now = right.Add(28 * day)
	if _, err := w.SuspendAll(t.Context(), []*token.Token{resumed}, token.ByAdmin, "", "admin"); err != nil {
		t.Fatal(err)
	}
	if done, err := w.ResumeAll(t.Context(), []*token.Token{resumed}, token.ByAdmin, "admin"); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	w.now = right
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{{0, nil}, {27*day - time.Second, nil}, {time.Second, []string{"resumed"}}, {hour, nil}} {
		w.pass(step.after)
		if got := w.ending(); !slices.Equal(got, step.want) {
			t.Errorf("%v: %q end soon, want %q", w.now, got, step.want)
		}
	}
}

// Idleness counts from when uses began to be counted: nobody knows of a use before.
func TestIdlenessCountsFromTheFirstCount(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{UsageOff: true})
	made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "never"})
	w.pass(365 * day)
	imported := w.imports(token.Import{User: "alice", Name: "b", Digest: numbered(1), Created: w.now.Add(-900 * day).Unix(), LastUse: w.now.Add(-300 * day).Unix(), Uses: 7})
	ids := []uuid.UUID{made.Record().ID, imported[0].ID}
	w.rule(token.Rules{MaxIdle: 30 * day})
	for _, step := range []struct {
		after time.Duration
		want  token.Refusal
	}{{0, ""}, {30*day - time.Second, ""}, {time.Second, token.RefusedIdle}} {
		w.pass(step.after)
		if got, want := w.states(ids...), []token.Refusal{step.want, step.want}; !slices.Equal(got, want) {
			t.Errorf("%v after uses began to be counted the states are %q, want %q", w.now, got, want)
		}
	}
}
