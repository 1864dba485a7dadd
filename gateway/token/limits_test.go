package token_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

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

// Changes of different limits at once are all kept.
func TestChangeLimitsAtOnce(t *testing.T) {
	w := newWorld(t)
	for n := range 20 {
		made, _ := w.create(token.Request{User: "alice", Name: fmt.Sprint(n)})
		var wg sync.WaitGroup
		for _, change := range []func(*token.Limits){
			func(l *token.Limits) { l.Rate = 5 }, func(l *token.Limits) { l.Uses = 7 }, func(l *token.Limits) { l.Sources = []string{"10.0.0.0/8"} },
		} {
			wg.Go(func() {
				_, err := w.ChangeLimits(t.Context(), made.Record().ID, func(old *token.Limits) *token.Limits {
					var l token.Limits
					if old != nil {
						l = *old
					}
					change(&l)
					return &l
				}, "admin")
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if l := made.Record().Limits; l.Rate != 5 || l.Uses != 7 || len(l.Sources) != 1 {
			t.Fatalf("limits %+v, want all three", l)
		}
	}
}

// A minute's worth at once, and then evenly.
func TestRate(t *testing.T) {
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "a", Limits: &token.Limits{Rate: 30}})
	allowed := func(now time.Time, n int) (count int) {
		for range n {
			switch got := w.get(made.Record().ID).Use(usage.Use{Time: now, Addr: "10.0.0.1"}); got {
			case "":
				count++
			case token.RefusedRate:
			default:
				t.Fatalf("Use = %q", got)
			}
		}
		return count
	}
	now := w.now
	for _, step := range []struct {
		after time.Duration
		limit uint32 // set before, if not 0
		want  int    // of 100
	}{
		{0, 0, 30}, // all at once
		{59 * time.Second, 0, 0},
		{time.Second, 0, 0},
		{time.Second, 0, 30},
		{time.Hour, 0, 30},
		{0, 60, 30},
		{0, 10, 0},
		{61 * time.Second, 0, 10},
	} {
		now = now.Add(step.after)
		if step.limit != 0 {
			if _, err := w.SetLimits(t.Context(), made.Record().ID, &token.Limits{Rate: step.limit}, "admin"); err != nil {
				t.Fatal(err)
			}
		}
		if got := allowed(now, 100); got != step.want {
			t.Errorf("%v: %d of 100 are allowed, want %d", now.Sub(w.now), got, step.want)
		}
	}
	if _, err := w.SetLimits(t.Context(), made.Record().ID, nil, "admin"); err != nil {
		t.Fatal(err)
	}
	if got := allowed(now, 100); got != 100 {
		t.Errorf("without a limit %d of 100 are allowed", got)
	}
	// What was refused was not counted as a use.
	if got := w.get(made.Record().ID).Uses().Count; got != 30+30+30+30+10+100 {
		t.Errorf("%d uses are counted", got)
	}
}

// A bound on the uses is exact, however many come at once, and over restarts.
func TestUsesAreBounded(t *testing.T) {
	const bound, requests = 137, 1000
	w := newWorld(t)
	w.rule(token.Rules{UsageOff: true}) // such a token is counted all the same
	made, _ := w.create(token.Request{User: "alice", Name: "a", Limits: &token.Limits{Uses: bound}})
	free, _ := w.create(token.Request{User: "alice", Name: "free", Limits: &token.Limits{Rate: 1000}})
	var admitted atomic.Int64
	storm := func() {
		tok := w.get(made.Record().ID)
		var group sync.WaitGroup
		for range requests {
			group.Go(func() {
				switch got := tok.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"}); got {
				case "":
					admitted.Add(1)
				case token.RefusedUses:
				default:
					t.Errorf("Use = %q", got)
				}
			})
		}
		group.Wait()
	}
	for range 100 {
		if got := made.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"}); got != "" {
			t.Fatalf("Use = %q", got)
		}
		free.Use(usage.Use{Time: w.now, Addr: "10.0.0.1"})
	}
	admitted.Add(100)
	w.reopen()
	for range 2 {
		storm()
		if got := admitted.Load(); got != bound {
			t.Errorf("%d uses were admitted, want %d", got, bound)
		}
		w.reopen()
		if got := w.get(made.Record().ID).Uses().Count; got != bound {
			t.Errorf("%d uses are counted, want %d", got, bound)
		}
	}
	if got := w.get(free.Record().ID).Uses().Count; got != 0 {
		t.Errorf("%d uses are counted of a token without a bound on them, with usage off", got)
	}
	// A higher bound lets it in again, and none for good.
	if _, err := w.SetLimits(t.Context(), made.Record().ID, &token.Limits{Uses: bound + 1}, "admin"); err != nil {
		t.Fatal(err)
	}
	storm()
	if got := admitted.Load(); got != bound+1 {
		t.Errorf("%d uses were admitted, want %d", got, bound+1)
	}
}

func TestLimits(t *testing.T) {
	full := &token.Limits{Scopes: []string{"read", "build:team-a/**"}, Observe: true, Sources: []string{"10.0.0.0/8", "192.0.2.7"}, Rate: 60, Uses: 1000}
	for _, c := range []struct {
		name   string
		limits *token.Limits
		want   string
		err    string
	}{
		{"none", nil, "no limits", ""},
		{"nothing in them", &token.Limits{}, "no limits", ""},
		{"empty lists", &token.Limits{Scopes: []string{}, Sources: []string{}}, "no limits", ""},
		{"all", full, "scopes=read,build:team-a/** observe sources=10.0.0.0/8,192.0.2.7/32 rate=60/min uses=1000", ""},
		{"sources", &token.Limits{Sources: []string{"2001:DB8::/32"}}, "sources=2001:db8::/32", ""},
		{"the highest rate", &token.Limits{Rate: 1_000_000}, "rate=1000000/min", ""},
		{"a rate too high", &token.Limits{Rate: 1_000_001}, "", "more than 1000000"},
		{"observed without scopes", &token.Limits{Observe: true, Rate: 1}, "", "nothing to observe"},
		{"no such scope", &token.Limits{Scopes: []string{"everything"}}, "", `"everything"`},
		{"no such network", &token.Limits{Sources: []string{"office"}}, "", `"office"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			before, _ := w.create(token.Request{User: "alice", Name: "before", Limits: &token.Limits{Rate: 7}})
			made, secret, err := w.Create(t.Context(), token.Request{User: "alice", Name: "a", Limits: c.limits})
			_, changed := w.SetLimits(t.Context(), before.Record().ID, c.limits, "admin")
			if c.err != "" {
				wantError(t, err, token.ErrInvalid, c.err)
				wantError(t, changed, token.ErrInvalid, c.err)
				if made != nil || secret.Reveal() != "" || before.Record().Limits.String() != "rate=7/min" {
					t.Error("something was changed")
				}
				return
			}
			if err != nil || changed != nil {
				t.Fatal(err, changed)
			}
			if c.want == "no limits" && (made.Record().Limits != nil || before.Record().Limits != nil) {
				t.Error("limits that limit nothing are not nil")
			}
			for range 2 {
				for _, tok := range []*token.Token{made, before} {
					if got := w.get(tok.Record().ID).Record().Limits.String(); got != c.want {
						t.Errorf("limits are %q, want %q", got, c.want)
					}
				}
				w.reopen()
			}
		})
	}
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "a", Limits: &token.Limits{Rate: 7}})
	if _, err := w.Revoke(t.Context(), made.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	_, err := w.SetLimits(t.Context(), made.Record().ID, nil, "admin")
	wantError(t, err, token.ErrConflict, "revoked")
}

// Limits that a later version knows, or that were damaged, must not become none.
func TestOpenRefusesLimits(t *testing.T) {
	id := uuid.MustParse("01990000-0000-7000-8000-000000000001")
	for _, c := range []struct {
		name   string
		limits map[int]any
		want   string
	}{
		{"good ones", map[int]any{1: []string{"read"}, 3: []string{"10.0.0.0/8"}}, ""},
		{"an unknown scope", map[int]any{1: []string{"everything"}}, `"everything"`},
		{"an unknown network", map[int]any{3: []string{"office"}}, `"office"`},
		{"an unknown limit", map[int]any{9: 1}, "unknown field"},
		{"observed without scopes", map[int]any{2: true}, "nothing to observe"},
		{"a rate beyond 32 bits", map[int]any{4: 1 << 32}, "uint32"},
		{"a negative bound", map[int]any{5: -1}, "uint64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens.db")
			digest := numbered(1)
			put(t, path, "token/"+id.String(), map[int]any{1: id[:], 2: digest[:], 3: "alice", 4: "ci", 5: 1, 6: 1, 8: 1, 14: c.limits})
			d, err := token.Open(t.Context(), openStore(t, path), token.Config{Log: slog.New(slog.DiscardHandler)})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), id.String()) {
				t.Errorf("Open = %v, want an error with %s and the record", err, c.want)
			}
		})
	}
}

// Each address of a token is told of once, as long as it is among the last 16.
func TestNewAddresses(t *testing.T) {
	w := newWorld(t)
	made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "never"})
	addr := func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }
	for _, step := range []struct {
		name     string
		from, to int
		want     int
	}{
		{"the first", 1, 1, 1},
		{"again", 1, 1, 0},
		{"as many as are known", 1, 16, 15},
		{"all again", 1, 16, 0},
		{"one more", 17, 17, 1},
		{"the first, which was forgotten for it", 1, 1, 1},
		{"one that was not", 3, 3, 0},
	} {
		w.told.take("")
		tok := w.get(made.Record().ID)
		for range 3 {
			for i := step.from; i <= step.to; i++ {
				if got := tok.Use(usage.Use{Time: w.now, Addr: addr(i)}); got != "" {
					t.Fatalf("Use = %q", got)
				}
			}
		}
		w.reopen()
		told := w.told.take(token.KindNewAddress)
		if len(told) != step.want {
			t.Errorf("%s: told of %d addresses, want %d", step.name, len(told), step.want)
		}
		for _, e := range told {
			if e.Token.ID != made.Record().ID || e.User != "alice" || !strings.HasPrefix(e.Actor.Addr, "10.0.0.") {
				t.Errorf("%s: told of %+v", step.name, e)
			}
		}
		if got := len(w.get(made.Record().ID).Uses().Addrs); got > 16 {
			t.Errorf("%s: %d addresses are kept", step.name, got)
		}
	}
	if got := len(w.audited.take(token.KindNewAddress)); got != 0 {
		t.Errorf("%d uses were audited as changes", got)
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		rules   token.Rules
		expires string
		want    time.Duration // 0: never
		err     string
	}{
		{"no rules", token.Rules{}, "", 90 * day, ""},
		{"no rules, never", token.Rules{}, "never", 0, ""},
		{"a default", token.Rules{DefaultLife: 10 * day}, "", 10 * day, ""},
		{"longer than a default", token.Rules{DefaultLife: 10 * day}, "20d", 20 * day, ""},
		{"a long default", token.Rules{DefaultLife: 400 * day}, "", 400 * day, ""},
		{"default under a bound", token.Rules{DefaultLife: 10 * day, MaxLife: 30 * day}, "", 10 * day, ""},
		{"no default under a low bound", token.Rules{MaxLife: 30 * day}, "", 30 * day, ""},
		{"no default under a high bound", token.Rules{MaxLife: 300 * day}, "", 90 * day, ""},
		{"at the bound", token.Rules{MaxLife: 30 * day}, "30d", 30 * day, ""},
		{"beyond the bound", token.Rules{MaxLife: 30 * day}, "31d", 0, "at most 30 days"},
		{"beyond a bound in hours", token.Rules{MaxLife: 12 * hour}, "2d", 0, "at most 12 hours"},
		{"the day of the bound", token.Rules{MaxLife: 30 * day}, "2026-10-31", 30*day + 12*hour, ""},
		{"the day after", token.Rules{MaxLife: 30 * day}, "2026-11-01", 0, "at most 30 days"},
		{"never under a bound", token.Rules{MaxLife: 30 * day}, "never", 0, "not allowed"},
		{"never where nothing may be", token.Rules{NoNever: true}, "never", 0, "not allowed"},
		{"an end where nothing may be without", token.Rules{NoNever: true}, "500d", 500 * day, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.rule(c.rules)
			made, _, err := w.Create(t.Context(), token.Request{User: "alice", Name: "a", Expires: c.expires})
			if c.err != "" {
				wantError(t, err, token.ErrInvalid, c.err)
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
				t.Errorf("ends %v, want %v", time.Unix(got, 0).UTC(), time.Unix(want, 0).UTC())
			}
		})
	}
	w := newWorld(t)
	w.rule(token.Rules{NamesRequired: true})
	_, _, err := w.Create(t.Context(), token.Request{User: "alice"})
	wantError(t, err, token.ErrInvalid, "no name")
	w.create(token.Request{User: "alice", Name: "a"})
}

func TestRulesCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules token.Rules
		want  string
	}{
		{"none", token.Rules{}, ""},
		{"all", token.Rules{DefaultLife: day, MaxLife: day, MaxIdle: day, NoNever: true, NamesRequired: true, Legacy: token.LegacyWarned, LegacyUntil: 1, ReuseSuspends: true}, ""},
		{"a negative life", token.Rules{MaxLife: -1}, "negative"},
		{"a negative idleness", token.Rules{MaxIdle: -1}, "negative"},
		{"a life too long", token.Rules{DefaultLife: 101 * 366 * day}, "100 years"},
		{"a default beyond the bound", token.Rules{DefaultLife: 2 * day, MaxLife: day}, "default_life"},
		{"idleness without counts", token.Rules{MaxIdle: day, UsageOff: true}, "max_idle"},
		{"a last day for nothing", token.Rules{LegacyUntil: 1}, "last day"},
	} {
		err := c.rules.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Check = %v, want %q", c.name, err, c.want)
		}
	}
}
