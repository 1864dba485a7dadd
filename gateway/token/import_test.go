package token_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Two spellings of one user in one list are one user, as they are everywhere else.
func TestImportSpellings(t *testing.T) {
	for _, dry := range []bool{true, false} {
		w := newWorld(t)
		got, err := w.Import(t.Context(), []token.Import{
			{User: "alice", Name: "ci", Digest: numbered(1)},
			{User: "ALICE", Name: "ci", Digest: numbered(2)},
		}, dry, "admin")
		if err != nil {
			t.Fatal(err)
		}
		if got[1].Detail != `named "ci (2)"` {
			t.Errorf("dry=%t: the second is %+v, want it to have another name", dry, got[1])
		}
		if !dry && !slices.Equal(w.names(), []string{"alice/ci", "alice/ci (2)"}) {
			t.Errorf("tokens are %q", w.names())
		}
	}
}

// Numbers come from files that anybody may have written.
func TestImportNumbers(t *testing.T) {
	w := newWorld(t)
	w.imports(token.Import{User: "alice", Name: "a", Digest: numbered(1), Created: math.MinInt64, Expires: w.now.Add(day).Unix(), Uses: 3, LastUse: math.MinInt64})
	w.imports(token.Import{User: "alice", Name: "b", Digest: numbered(2), Created: math.MaxInt64, Uses: 3, LastUse: math.MaxInt64})
	a, b := w.Find(numbered(1)), w.Find(numbered(2))
	if a.Record().Created != 0 || a.Uses().Last != 0 || b.Record().Created != w.now.Unix() || b.Uses().Last != w.now.Unix() {
		t.Errorf("records are %+v with %+v and %+v with %+v, want moments from 1970 to now", a.Record(), a.Uses(), b.Record(), b.Uses())
	}
	made, _, _, err := w.Rotate(t.Context(), a.Record().ID, token.Rotation{})
	if err != nil || made.Record().Admit(w.now) != "" {
		t.Errorf("Rotate = %+v, %v, want a token that can be used", made, err)
	}
	got, err := w.Import(t.Context(), []token.Import{{User: "alice", Name: "c", Digest: numbered(3), Expires: math.MaxInt64}}, false, "admin")
	if err != nil || got[0].Outcome != token.Left || !strings.Contains(got[0].Detail, "100 years") {
		t.Errorf("Import of one that ends at the end of time = %+v, %v, want it left", got, err)
	}
}

// Nothing is let in by an import, so that a user who is disabled keeps what is taken
// over, for the day of being enabled.
func TestImportForDisabled(t *testing.T) {
	w := newWorld(t)
	if _, err := w.SetDisabled(t.Context(), "alice", true, "admin"); err != nil {
		t.Fatal(err)
	}
	got := w.imports(token.Import{User: "Alice", Name: "ci", Digest: numbered(1)})
	if !strings.Contains(got[0].Detail, "while alice is disabled") {
		t.Errorf("the outcome is %+v, want it to say that the user is disabled", got[0])
	}
	if got := w.states(got[0].ID); got[0] != token.RefusedOwner {
		t.Errorf("Admit = %q, want %q", got, token.RefusedOwner)
	}
	if _, err := w.SetDisabled(t.Context(), "alice", false, "admin"); err != nil {
		t.Fatal(err)
	}
	if got := w.states(got[0].ID); got[0] != "" {
		t.Errorf("Admit = %q after the user was enabled", got)
	}
}
