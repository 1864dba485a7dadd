package token_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// family makes three tokens, each the successor of the one before, of which the first
// has ended.
func (w *world) family() (ids []uuid.UUID) {
	w.t.Helper()
	first, _ := w.create(token.Request{User: "alice", Name: "ci", Expires: "never", Actor: "admin"})
	ids = append(ids, first.Record().ID)
	for _, overlap := range []string{"0", "24h"} {
		made, _, _, err := w.Rotate(w.t.Context(), ids[len(ids)-1], token.Rotation{Overlap: overlap, Actor: "admin"})
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, made.Record().ID)
	}
	return ids
}

func TestReuse(t *testing.T) {
	for _, suspends := range []bool{false, true} {
		t.Run(fmt.Sprintf("suspends=%t", suspends), func(t *testing.T) {
			w := newWorld(t)
			w.rule(token.Rules{ReuseSuspends: suspends})
			ids := w.family()
			other, _ := w.create(token.Request{User: "alice", Name: "other", Expires: "never"})
			if got, want := w.states(ids...), []token.Refusal{token.RefusedSuperseded, "", ""}; !slices.Equal(got, want) {
				t.Fatalf("states are %q, want %q", got, want)
			}
			old := w.get(ids[0])
			for range 100 {
				old.Reused("192.0.2.66")
			}
			w.reopen()
			told := w.told.take(token.KindReused)
			if len(told) != 1 || told[0].Token.ID != ids[0] || told[0].User != "alice" || told[0].Actor.Addr != "192.0.2.66" || !strings.Contains(told[0].Detail, ids[1].String()) {
				t.Errorf("told of %+v, want one use of the replaced token by 192.0.2.66", told)
			}
			want := []token.Refusal{token.RefusedSuperseded, "", ""}
			if suspends {
				want = slices.Repeat([]token.Refusal{token.RefusedSuspended}, 3)
			}
			if got := w.states(ids...); !slices.Equal(got, want) {
				t.Errorf("states are %q, want %q", got, want)
			}
			if got := w.states(other.Record().ID); got[0] != "" {
				t.Errorf("a token of another family is refused as %q", got)
			}
			if !suspends {
				return
			}
			for _, e := range w.audited.take(token.KindSuspended) {
				if e.Actor.Name != "gateway" || e.Actor.Via != "gateway" || !strings.Contains(e.Detail, "replaced") {
					t.Errorf("audited is %+v, want the gateway's reason", e)
				}
			}
			if why := w.get(ids[2]).Record().Why; !strings.Contains(why, "replaced") {
				t.Errorf("why is %q", why)
			}
			// Another start of the gateway, another alarm.
			w.get(ids[0]).Reused("192.0.2.66")
			w.reopen()
			if got := len(w.told.take(token.KindReused)); got != 1 {
				t.Errorf("told of %d uses after another start, want 1", got)
			}
		})
	}
}

// A family is suspended even if the store can't keep it, and the store gets it later.
func TestReuseIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{ReuseSuspends: true})
	ids := w.family()
	old, newest := w.get(ids[0]), w.get(ids[2])
	w.store.fail(errFull)
	old.Reused("192.0.2.66")
	w.settle("the failure is in the log", func() bool { return strings.Contains(w.log.String(), "could not be suspended") })
	w.store.heal()
	if got := newest.Admit(w.now); got != token.RefusedSuspended {
		t.Fatalf("the newest token is %q, want it suspended until the gateway ends", got)
	}
	w.settle("the family is suspended in the store", func() bool { return w.Check(t.Context()) == nil })
	w.reopen()
	if got := w.get(ids[2]).Admit(w.now); got != token.RefusedSuspended {
		t.Fatalf("after a restart the newest token is %q", got)
	}
}

// An alarm for which there is no room is raised again by the next use.
func TestReuseIsNotLost(t *testing.T) {
	w := newWorld(t)
	ids := w.family()
	old, newest := w.get(ids[0]), w.get(ids[2])
	w.holding.Lock() // whoever is told now waits
	for i := range 2000 {
		if got := newest.Use(usage.Use{Time: w.now, Addr: fmt.Sprintf("10.0.%d.%d", i/250, i%250)}); got != "" {
			t.Fatalf("Use = %q", got)
		}
	}
	old.Reused("192.0.2.66")
	w.holding.Unlock()
	w.settle("the alarm is told", func() bool {
		old.Reused("192.0.2.66")
		return len(w.told.take(token.KindReused)) == 1
	})
}
