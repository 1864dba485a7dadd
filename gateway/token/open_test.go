package token_test

import (
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A request that goes on as it would without a credential doesn't end because the scopes
// of its token don't cover it. It ends with the token.
func TestContinueWithoutScopes(t *testing.T) {
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "ci", Limits: &token.Limits{Scopes: []string{"read:a"}}})
	open := &token.Access{Method: "GET", Path: "/wsagents", Open: true}
	closed := &token.Access{Method: "GET", Path: "/wsagents"}
	if got := made.Continue(time.Now(), open); got != "" {
		t.Errorf("an open request ends: %s", got)
	}
	if got := made.Continue(time.Now(), closed); got != token.RefusedScope {
		t.Errorf("a request beyond the scopes ends with %q, want %q", got, token.RefusedScope)
	}
	if _, err := w.Directory.Revoke(t.Context(), made.Record().ID, "test"); err != nil {
		t.Fatal(err)
	}
	if got := made.Continue(time.Now(), open); got == "" {
		t.Error("an open request outlives its token")
	}
}
