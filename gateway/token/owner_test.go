package token_test

import (
	"slices"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func groups(names ...string) *token.ProfileUpdate { return &token.ProfileUpdate{Groups: &names} }

// In Jenkins' default, alice and Alice are one user: one spelling, one set of
// names, and one profile, or leaving a group would leave half of the tokens in it.
func TestSpellingsOfOneUser(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "a", Profile: groups("ops")})
	second, _ := w.create(token.Request{User: "ALICE", Name: "b"})
	for range 2 {
		if got := second.Record().Owner; got != "alice" {
			t.Errorf("the owner of the second token = %q, want the spelling of the first", got)
		}
		if _, _, err := w.Create(t.Context(), token.Request{User: "Alice", Name: "a"}); err == nil {
			t.Error("a second token named a was made for another spelling")
		} else {
			wantError(t, err, token.ErrDuplicate, "alice already has a token")
		}
		if p, err := w.Profile("aLiCe"); err != nil || !slices.Equal(p.Groups, []string{"ops"}) {
			t.Errorf("Profile = %+v, %v, want the group ops", p, err)
		}
		w.reopen()
		first, second = w.Find(first.Record().Digest), w.Find(second.Record().Digest)
	}
	if _, err := w.SetProfile(t.Context(), "Alice", *groups(), "admin"); err != nil {
		t.Fatal(err)
	}
	for _, tok := range []*token.Token{first, second} {
		if got := tok.Profile().Groups; len(got) != 0 {
			t.Errorf("token %s has the groups %q after all were taken from Alice", tok.Record().Name, got)
		}
	}
}

func TestSpellingsOfTwoUsers(t *testing.T) {
	w := newWorld(t)
	w.SetUserIDs(user.CaseSensitive)
	lower, _ := w.create(token.Request{User: "alice", Name: "a", Profile: groups("ops")})
	upper, _ := w.create(token.Request{User: "ALICE", Name: "a"})
	if lower.Record().Owner != "alice" || upper.Record().Owner != "ALICE" {
		t.Errorf("owners %q and %q, want both as they were written", lower.Record().Owner, upper.Record().Owner)
	}
	if got := upper.Profile().Groups; len(got) != 0 {
		t.Errorf("ALICE has alice's groups %q", got)
	}

	// Now case stops to matter. What is taken from one is taken from both.
	w.reopen()
	if _, err := w.SetProfile(t.Context(), "Alice", *groups("dev"), "admin"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, tok := range []*token.Token{w.Find(lower.Record().Digest), w.Find(upper.Record().Digest)} {
			if got := tok.Profile().Groups; !slices.Equal(got, []string{"dev"}) {
				t.Errorf("the token of %s has the groups %q, want dev alone", tok.Record().Owner, got)
			}
		}
		w.reopen()
	}
}
