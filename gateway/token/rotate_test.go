package token_test

import (
	"testing"
	"time"

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
