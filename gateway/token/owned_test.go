package token_test

import (
	"slices"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func TestOwned(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"b", "C", "a"} {
		w.create(token.Request{User: "alice", Name: name})
	}
	w.create(token.Request{User: "bob", Name: "x"})
	revoked, _ := w.create(token.Request{User: "ALICE", Name: "d"})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "test"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[user.ID][]string{"alice": {"a", "b", "C", "d"}, "Alice": {"a", "b", "C", "d"}, "bob": {"x"}, "carol": nil} {
		var got []string
		for _, owned := range w.Owned(id) {
			got = append(got, owned.Record().Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Owned(%q) = %q, want %q", id, got, want)
		}
	}
	w.SetUserIDs(user.CaseSensitive)
	if owned := w.Owned("Alice"); len(owned) != 0 {
		t.Errorf("Owned of another user has %d tokens", len(owned))
	}
}
