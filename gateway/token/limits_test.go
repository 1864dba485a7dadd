package token_test

import (
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// A token that is used up is refused, and listed so.
func TestUsedUpIsAState(t *testing.T) {
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "once", Limits: &token.Limits{Uses: 1}})
	w.create(token.Request{User: "alice", Name: "often"})
	if got := made.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"}); got != "" {
		t.Fatalf("Use = %q", got)
	}
	w.reopen()
	if got := w.states(made.Record().ID); got[0] != token.RefusedUses {
		t.Errorf("Admit = %q, want %q", got, token.RefusedUses)
	}
	if got := w.selected("state=used up"); got != "once" {
		t.Errorf("used up are %q", got)
	}
	if got := w.selected("state=active"); got != "often" {
		t.Errorf("active are %q", got)
	}
}
