package token_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage"
)

// child creates a token with another one, without limits of its own.
func (w *world) child(parent uuid.UUID, name string) uuid.UUID {
	w.t.Helper()
	made, _ := w.create(token.Request{User: "alice", Name: name, Expires: "365d", Parent: w.get(parent), Actor: "alice"})
	return made.Record().ID
}

// use returns why a request by a token is refused, as the gate asks.
func (w *world) use(id uuid.UUID) token.Refusal {
	w.t.Helper()
	t := w.get(id)
	if refusal := t.Admit(w.now); refusal != "" {
		return refusal
	}
	if !t.AllowsSource("10.0.0.1") {
		return token.RefusedSource
	}
	if t.Scoped() {
		if covered, uncovered := t.Covers(policy.Classify("POST", "/job/a/build", "")); !covered && !uncovered {
			return token.RefusedScope
		}
	}
	return t.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
}

// A token that a token has created can do nothing that any token above it can't do at
// that moment, also after a restart.
func TestTokenIsBoundByThoseAbove(t *testing.T) {
	limit := func(limits token.Limits) func(*world, uuid.UUID) {
		return func(w *world, id uuid.UUID) {
			if _, err := w.SetLimits(w.t.Context(), id, &limits, "admin"); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(w *world, parent uuid.UUID)
		want   token.Refusal
		ends   token.Refusal // what ends an in-flight request
	}{
		{"nothing", func(*world, uuid.UUID) {}, "", ""},
		{"revoked", func(w *world, id uuid.UUID) {
			if _, err := w.Revoke(w.t.Context(), id, "admin"); err != nil {
				w.t.Fatal(err)
			}
		}, token.RefusedParent, token.RefusedParent},
		{"suspended", func(w *world, id uuid.UUID) {
			if _, err := w.SuspendAll(w.t.Context(), []*token.Token{w.get(id)}, token.ByAdmin, "", "admin"); err != nil {
				w.t.Fatal(err)
			}
		}, token.RefusedParent, token.RefusedParent},
		{"expired", func(w *world, _ uuid.UUID) { w.now = w.now.Add(31 * day) }, token.RefusedParent, token.RefusedParent},
		{"other sources", limit(token.Limits{Sources: []string{"192.0.2.0/24"}}), token.RefusedSource, token.RefusedSource},
		{"narrow scopes", limit(token.Limits{Scopes: []string{"read"}}), token.RefusedScope, token.RefusedScope},
		{"observed scopes", limit(token.Limits{Scopes: []string{"read"}, Observe: true}), "", ""},
		{"scopes that cover it", limit(token.Limits{Scopes: []string{"build:a"}}), "", ""},
		{"all uses spent", func(w *world, id uuid.UUID) {
			limit(token.Limits{Uses: 1})(w, id)
			if got := w.use(id); got != "" {
				w.t.Fatalf("the use of the parent is refused: %q", got)
			}
		}, token.RefusedUses, ""},
		{"the rate reached", func(w *world, id uuid.UUID) {
			limit(token.Limits{Rate: 1})(w, id)
			if got := w.use(id); got != "" {
				w.t.Fatalf("the use of the parent is refused: %q", got)
			}
		}, token.RefusedRate, ""},
	} {
		for generations := 1; generations <= 3; generations += 2 {
			t.Run(fmt.Sprintf("%s, %d generations", c.name, generations), func(t *testing.T) {
				w := newWorld(t)
				first, _ := w.create(token.Request{User: "alice", Name: "first", Expires: "30d"})
				id := first.Record().ID
				for n := range generations {
					id = w.child(id, fmt.Sprint(n))
				}
				c.change(w, first.Record().ID)
				for _, when := range []string{"at once", "after a restart"} {
					access := token.Access{Method: "POST", Path: "/job/a/build", Addr: "10.0.0.1"}
					if got := w.get(id).Continue(w.now, &access); got != c.ends {
						t.Errorf("%s: Continue = %q, want %q", when, got, c.ends)
					}
					if c.want == token.RefusedRate && when != "at once" {
						continue // the last minute is not stored
					}
					if got := w.use(id); got != c.want {
						t.Errorf("%s: a use is refused as %q, want %q", when, got, c.want)
					}
					w.reopen()
				}
			})
		}
	}
}

// A token and those that it has created share its uses, whoever spends them.
func TestUsesAreSharedWithCreatedTokens(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "first", Limits: &token.Limits{Uses: 5}})
	ids := []uuid.UUID{first.Record().ID}
	for n := range 4 {
		ids = append(ids, w.child(ids[n/2], fmt.Sprint(n)))
	}
	granted := 0
	for n := range 20 {
		if w.use(ids[n%len(ids)]) == "" {
			granted++
		}
		if n == 2 {
			w.reopen()
		}
	}
	if granted != 5 {
		t.Errorf("%d uses are granted, want 5", granted)
	}
}

// A created token lives on under the successor of its parent, and no longer under the
// replaced one. A rotated token keeps its parent.
func TestRotationMovesCreatedTokens(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "first", Expires: "30d"})
	child := w.child(first.Record().ID, "child")
	ids := []uuid.UUID{first.Record().ID}
	for range 2 {
		made, _, _, err := w.Rotate(t.Context(), ids[len(ids)-1], token.Rotation{Overlap: "1h"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.Record().ID)
	}
	late := w.child(ids[0], "late") // while the first still works
	rotated, _, _, err := w.Rotate(t.Context(), child, token.Rotation{Overlap: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	created := []uuid.UUID{child, late, rotated.Record().ID}
	check := func(when string, want token.Refusal) {
		t.Helper()
		for range 2 {
			for i, id := range created {
				if got := w.use(id); got != want {
					t.Errorf("%s: the use of token %d is refused as %q, want %q", when, i, got, want)
				}
			}
			w.reopen()
		}
	}
	for _, id := range ids[:2] {
		if _, err := w.Revoke(t.Context(), id, "admin"); err != nil {
			t.Fatal(err)
		}
	}
	check("the replaced ones are revoked", "")
	if _, err := w.Revoke(t.Context(), ids[2], "admin"); err != nil {
		t.Fatal(err)
	}
	check("the last successor is revoked", token.RefusedParent)
}

// The end that is shown is the first one of a token and those above it.
func TestExpiresIsNotAfterThatOfThoseAbove(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "first", Expires: "2h"})
	made, _ := w.create(token.Request{User: "alice", Name: "child", Expires: "never", Parent: first})
	if got, want := made.Expires(), w.now.Add(2*time.Hour).Unix(); got != want || made.Marks(w.now).Unending {
		t.Errorf("Expires = %d, marks %+v, want %d", got, made.Marks(w.now), want)
	}
}

func TestTokensThatCreateNone(t *testing.T) {
	w := newWorld(t)
	create := func(parent uuid.UUID) error {
		_, _, err := w.Create(t.Context(), token.Request{User: "alice", Parent: w.get(parent)})
		return err
	}
	observed, _ := w.create(token.Request{User: "alice", Name: "observed", Limits: &token.Limits{Scopes: []string{"read"}, Observe: true}})
	wantError(t, create(observed.Record().ID), token.ErrConflict, "while it is observed")
	revoked, _ := w.create(token.Request{User: "alice", Name: "revoked"})
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	wantError(t, create(revoked.Record().ID), token.ErrConflict, "it is revoked")
	first, _ := w.create(token.Request{User: "alice", Name: "first"})
	id := first.Record().ID
	for n := range 8 {
		id = w.child(id, fmt.Sprint(n))
	}
	wantError(t, create(id), token.ErrConflict, "8 tokens stand above it")
	w.reopen()
	if _, err := w.SetLimits(t.Context(), first.Record().ID, &token.Limits{Scopes: []string{"read"}, Observe: true}, "admin"); err != nil {
		t.Fatal(err)
	}
	wantError(t, create(w.List(func(t *token.Token) bool { return t.Record().Name == "0" })[0].Record().ID), token.ErrConflict, "while it is observed")
}

// A store that lacks the parent of a token is not opened.
func TestMissingParentStopsTheStart(t *testing.T) {
	w := newWorld(t)
	first, _ := w.create(token.Request{User: "alice", Name: "first"})
	w.child(first.Record().ID, "child")
	w.close()
	defer w.open()
	store := openStore(t, w.path)
	key := "token/" + first.Record().ID.String()
	entry, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), storage.Change{Key: key, Delete: true, Expect: storage.Any}); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Open(t.Context(), store, token.Config{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "which is missing") {
		t.Errorf("Open = %v", err)
	}
	store = openStore(t, w.path)
	if _, err := store.Apply(t.Context(), storage.Change{Key: key, Value: entry.Value}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
