package token_test

import (
	"strings"
	"testing"
	"time"

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

func TestLegacyRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules token.Rules
		want  []token.Refusal // today, a second before the last moment, and at it
		warns int
	}{
		{"by default", token.Rules{}, []token.Refusal{token.RefusedLegacy, token.RefusedLegacy, token.RefusedLegacy}, 0},
		{"warn", token.Rules{Legacy: token.LegacyWarned}, []token.Refusal{"", "", ""}, 1},
		{"allow", token.Rules{Legacy: token.LegacyAllowed}, []token.Refusal{"", "", ""}, 0},
		{"warn until", token.Rules{Legacy: token.LegacyWarned, LegacyUntil: 1}, []token.Refusal{"", "", token.RefusedLegacy}, 1},
		{"allow until", token.Rules{Legacy: token.LegacyAllowed, LegacyUntil: 1}, []token.Refusal{"", "", token.RefusedLegacy}, 0},
		{"warn, uncounted", token.Rules{Legacy: token.LegacyWarned, UsageOff: true}, []token.Refusal{"", "", ""}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			until := w.now.Add(30 * day)
			if c.rules.LegacyUntil != 0 {
				c.rules.LegacyUntil = until.Unix()
			}
			w.rule(c.rules)
			out := w.imports(
				token.Import{User: "alice", Name: "old", Digest: numbered(1), Legacy: true},
				token.Import{User: "alice", Name: "new", Digest: numbered(2)},
			)
			starts := 0
			for i, now := range []time.Time{w.now, until.Add(-time.Second), until} {
				w.reopen()
				w.now = now
				starts++
				if got := w.states(out[0].ID, out[1].ID); got[0] != c.want[i] || got[1] != "" {
					t.Errorf("%v: states are %q, want %q and none", now, got, c.want[i])
				}
				if c.want[i] != "" {
					continue
				}
				for _, o := range out {
					for range 3 {
						if got := w.get(o.ID).Use(usage.Use{Time: w.now, Addr: "10.0.0.1"}); got != "" {
							t.Errorf("Use = %q", got)
						}
					}
				}
				if got := strings.Count(w.log.String(), "is in use: replace it"); got != c.warns*starts {
					t.Errorf("%v: %d warnings after %d starts, want %d each", now, got, starts, c.warns)
				}
			}
			if text := w.LegacyWarning(); !strings.Contains(text, "1 token ") {
				t.Errorf("LegacyWarning = %q, want it to count the one", text)
			}
			if _, err := w.Revoke(t.Context(), out[0].ID, "admin"); err != nil {
				t.Fatal(err)
			}
			if text := w.LegacyWarning(); (text == "") != (c.want[2] != "") {
				t.Errorf("LegacyWarning without such tokens = %q", text)
			}
		})
	}
}
