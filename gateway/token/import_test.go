package token_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

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

func TestImport(t *testing.T) {
	id := uuid.MustParse("a3c2b1d0-1111-4222-8333-444455556666")
	leaked := token.NewSecret(token.Native).Reveal()
	setup := func(t *testing.T) (*world, []token.Import) {
		w := newWorld(t)
		w.create(token.Request{User: "alice", Name: "ci"})
		w.imports(token.Import{User: "alice", Name: "known", Digest: numbered(100)}, token.Import{User: "bob", Name: "bobs", Digest: numbered(101)})
		w.audited.take("")
		w.told.take("")
		return w, []token.Import{
			{User: "alice", ID: id, Name: "deploy", Digest: numbered(1), Created: 1_600_000_000, Uses: 5, LastUse: 1_700_000_000},
			{User: "alice", ID: id, Name: "deploy", Digest: numbered(2)},
			{User: "alice", Name: "ci", Digest: numbered(3), Expires: w.now.Add(time.Second).Unix()},
			{User: "alice", Name: "again", Digest: numbered(1)},
			{User: "Alice", Name: "known", Digest: numbered(100)},
			{User: "alice", Name: "bobs", Digest: numbered(101)},
			{User: "alice", Name: "ended", Digest: numbered(4), Expires: w.now.Unix()},
			{User: "alice", Name: "no digest"},
			{User: "SYSTEM", Name: "x", Digest: numbered(5)},
			{User: "dave", Name: " \u200b\x00odd\xff\nname ", Digest: numbered(6), Legacy: true},
			{User: "dave", Name: "", Digest: numbered(7)},
			{User: "dave", Name: "", Digest: numbered(8)},
			{User: "dave", Name: leaked, Digest: numbered(9)},
			{User: "dave", Name: strings.Repeat("ä", 100), Digest: numbered(10)},
			{User: "dave", Name: strings.Repeat("ä", 100), Digest: numbered(11)},
		}
	}
	want := []string{
		"taken ", `taken named "deploy (2)"`, `taken named "ci (2)"`, "left another token has the same secret",
		"present ", "left bob has a token with the same secret", "left it has expired", "left it has no digest", `left user "SYSTEM"`,
		`taken named "oddname", refused until`, `taken named "from Jenkins"`, `taken named "from Jenkins (2)"`, `taken named "from Jenkins (3)"`,
		`taken named "` + strings.Repeat("ä", 64) + `"`, `taken named "` + strings.Repeat("ä", 62) + ` (2)"`,
	}
	compare := func(t *testing.T, got []token.Imported, want []string) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%d outcomes, want %d", len(got), len(want))
		}
		for i, out := range got {
			if text := string(out.Outcome) + " " + out.Detail; !strings.HasPrefix(text, want[i]) || strings.Contains(text, leaked) {
				t.Errorf("outcome %d is %q, want %q", i, text, want[i])
			}
		}
	}

	t.Run("dry", func(t *testing.T) {
		w, list := setup(t)
		got, err := w.Import(t.Context(), list, true, "admin")
		if err != nil {
			t.Fatal(err)
		}
		compare(t, got, want)
		if w.Len() != 3 || len(w.audited.take("")) != 0 {
			t.Errorf("%d tokens, want 3 and nothing audited", w.Len())
		}
	})
	t.Run("twice", func(t *testing.T) {
		w, list := setup(t)
		first, err := w.Import(t.Context(), list, false, "admin")
		if err != nil {
			t.Fatal(err)
		}
		compare(t, first, want)
		names := w.names()
		if w.Len() != 12 || len(w.audited.take(token.KindImported)) != 9 || len(w.told.take(token.KindImported)) != 9 {
			t.Errorf("%d tokens, want 12, of which 9 were audited and told", w.Len())
		}
		if first[0].ID != id || first[1].ID == id || first[1].ID == uuid.Nil {
			t.Errorf("ids are %s and %s, want %s for the first alone", first[0].ID, first[1].ID, id)
		}
		for range 2 {
			r, uses := w.get(id).Record(), w.get(id).Uses()
			if r.Owner != "alice" || r.Name != "deploy" || r.Origin != token.FromJenkins || r.Digest != numbered(1) || r.Created != 1_600_000_000 || r.Actor != "admin" ||
				uses.Count != 5 || uses.Last != 1_700_000_000 {
				t.Errorf("the record is %+v with %+v", r, uses)
			}
			if r := w.get(first[9].ID).Record(); r.Origin != token.Legacy || r.Admit(w.now) != "" || w.get(first[9].ID).Admit(w.now) != token.RefusedLegacy {
				t.Errorf("the legacy token is %+v", r)
			}
			w.reopen()
		}
		// What has become of a token since is not undone.
		if _, err := w.Revoke(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
		again, err := w.Import(t.Context(), list, false, "admin")
		if err != nil {
			t.Fatal(err)
		}
		for i, out := range again {
			expected := first[i].Outcome
			if expected == token.Taken {
				expected = token.Present
			}
			if i == 3 { // it is known now, as it was within the list
				expected = token.Present
			}
			if out.Outcome != expected || expected == token.Present && i != 3 && out.ID != first[i].ID {
				t.Errorf("outcome %d is %+v, want %s of %s", i, out, expected, first[i].ID)
			}
		}
		if !slices.Equal(w.names(), names) || w.states(id)[0] != token.RefusedRevoked {
			t.Errorf("tokens are %q with the first %q, want %q with it revoked", w.names(), w.states(id), names)
		}
	})
	t.Run("store fails", func(t *testing.T) {
		w, list := setup(t)
		w.store.failWrites(0, errFull)
		got, err := w.Import(t.Context(), list, false, "admin")
		wantError(t, err, token.ErrStore, errFull.Error())
		w.store.heal()
		for range 2 {
			if got != nil || w.Len() != 3 || w.Find(numbered(1)) != nil {
				t.Errorf("Import = %+v and %d tokens, want nothing taken", got, w.Len())
			}
			w.reopen()
		}
		if got, err := w.Import(t.Context(), list, false, "admin"); err != nil || got[0].ID != id {
			t.Errorf("tried again: %+v, %v", got, err)
		}
	})
	t.Run("as many as there may be", func(t *testing.T) {
		w := newWorld(t)
		list := make([]token.Import, token.MaxImport+1)
		for i := range list {
			list[i] = token.Import{User: "alice", Name: "n", Digest: numbered(i), Uses: 1}
		}
		_, err := w.Import(t.Context(), list, false, "admin")
		wantError(t, err, token.ErrInvalid, "at most 63")
		w.imports(list[:token.MaxImport]...)
		if w.Len() != token.MaxImport {
			t.Errorf("%d tokens", w.Len())
		}
	})
}

// Whatever a name was in Jenkins, it becomes one that a new token could have.
func TestImportedNamesAreNames(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		name := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(r, "name")
		w.imports(token.Import{User: "alice", Name: name, Digest: numbered(1)}, token.Import{User: "alice", Name: name, Digest: numbered(2)})
		for i := 1; i < 3; i++ {
			got := w.Find(numbered(i)).Record().Name
			if _, _, err := w.Create(t.Context(), token.Request{User: "bob", Name: got}); err != nil {
				r.Fatalf("%q became %q: %v", name, got, err)
			}
		}
	})
}

func TestExported(t *testing.T) {
	w := newWorld(t)
	all := w.many(3)
	w.audited.take("")
	w.audited.fail(errFull)
	wantError(t, w.Exported(t.Context(), all, "admin"), token.ErrAudit, "nothing was exported")
	w.audited.fail(nil)
	if err := w.Exported(token.From(t.Context(), "cli", ""), all, "admin"); err != nil {
		t.Fatal(err)
	}
	audited := w.audited.take(token.KindExported)
	if len(audited) != 3 || audited[2].Token.ID != all[2].Record().ID || audited[2].Actor != (token.Actor{Name: "admin", Via: "cli"}) {
		t.Errorf("audited is %+v, want each of the three", audited)
	}
	if err := w.Exported(t.Context(), nil, "admin"); err != nil || len(w.audited.take("")) != 0 {
		t.Errorf("Exported of nothing: %v, want nothing audited", err)
	}
}

// What no request of a user could use is taken over all the same, and said.
func TestImportSaysWhatUsersCannotDo(t *testing.T) {
	w := newWorld(t)
	for n, test := range []struct {
		user   string
		legacy bool
		want   string // a part of the detail
	}{
		{"jörg", false, ""},
		{"łukasz", false, "ISO-8859-1"},
		{"kube:admin", false, "works as a Bearer token only"},
		{"kube:admin", true, "can't be used"},
	} {
		got, err := w.Import(t.Context(), []token.Import{{User: test.user, Name: "ci", Digest: numbered(n + 1), Legacy: test.legacy}}, false, "admin")
		if err != nil || got[0].Outcome != token.Taken || !strings.Contains(got[0].Detail, test.want) || test.want == "" && got[0].Detail != "" {
			t.Errorf("Import for %s, legacy %t = %+v, %v, want it taken with %q", test.user, test.legacy, got, err, test.want)
		}
	}
}
