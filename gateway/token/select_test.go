package token_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// selected returns the names that a filter selects, as texts such as "user=alice".
func (w *world) selected(fields ...string) string {
	w.t.Helper()
	f, err := parseFilter(w.now, fields...)
	if err != nil {
		w.t.Fatalf("ParseFilter(%q): %v", fields, err)
	}
	var names []string
	for _, t := range w.Select(f) {
		names = append(names, t.Record().Name)
	}
	return strings.Join(names, " ")
}

func parseFilter(now time.Time, fields ...string) (token.Filter, error) {
	return token.ParseFilter(func(name string) string {
		for _, field := range fields {
			if value, found := strings.CutPrefix(field, name+"="); found {
				return value
			}
		}
		return ""
	}, now)
}

// In a name that is searched for nothing but * and ? means anything but itself.
func TestSelectNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"deploy", "deploy/eu", "deploy/eu/1", "nightly[1]", `back\slash`, "n", "Σύστημα"} {
		w.create(token.Request{User: "alice", Name: name})
	}
	for _, c := range []struct{ pattern, want string }{
		{"deploy", "deploy"},
		{"deploy*", "deploy deploy/eu deploy/eu/1"},
		{"deploy/*", "deploy/eu deploy/eu/1"},
		{"*eu", "deploy/eu"},
		{"*/eu/?", "deploy/eu/1"},
		{"deploy?eu", "deploy/eu"},
		{"nightly[1]", "nightly[1]"},
		{"nightly[*", "nightly[1]"},
		{"[a-z]", ""},
		{"*]", "nightly[1]"},
		{`back\slash`, `back\slash`},
		{`*\*`, `back\slash`},
		{`\n`, ""},
		{"?", "n"},
		{"Σ??????", "Σύστημα"},
		{"DEPLOY", ""},
		{"*", `back\slash deploy deploy/eu deploy/eu/1 n nightly[1] Σύστημα`},
	} {
		if got := w.selected("name=" + c.pattern); got != c.want {
			t.Errorf("name %q selects %q, want %q", c.pattern, got, c.want)
		}
	}
}

// What is revoked for not being used has to have been watched.
func TestSelectUnusedWithUsageOff(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{UsageOff: true})
	w.create(token.Request{User: "alice", Name: "busy", Expires: "never"})
	w.now = w.now.Add(100 * day)
	if got := w.selected("unused_for=30d"); got != "" {
		t.Errorf("%q count as unused where nothing is counted", got)
	}
}

// The seconds around a bound, and days that mean nothing.
func TestSelectBounds(t *testing.T) {
	w := newWorld(t)
	w.create(token.Request{User: "alice", Name: "a", Expires: "24h"})
	end := w.now.Add(day)
	for _, c := range []struct {
		name   string
		now    time.Time
		fields string
		want   string
	}{
		{"ends just within", end.Add(-2 * hour), "expires_within=2h", "a"},
		{"ends a second later", end.Add(-2*hour - time.Second), "expires_within=2h", ""},
		{"a second before its end", end.Add(-time.Second), "expires_within=2h", "a"},
		{"at its end", end, "expires_within=2h", ""},
		{"unused for just as long", end, "unused_for=24h", "a"},
		{"a second less", end.Add(-time.Second), "unused_for=24h", ""},
	} {
		w.now = c.now
		if got := w.selected(c.fields); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, text := range []string{"1970-01-01", "0001-01-01", "1969-07-20T20:17:40Z"} {
		if f, err := parseFilter(w.now, "created_before="+text); err == nil {
			t.Errorf("created_before=%s is %+v, want an error: it would mean nothing, or all", text, f)
		}
	}
}

func TestSelect(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{MaxIdle: 300 * day})
	old := w.now
	w.imports(
		token.Import{User: "alice", Name: "legacy", Digest: numbered(1), Legacy: true, Created: old.Add(-2 * 365 * day).Unix()},
		token.Import{User: "alice", Name: "dateless", Digest: numbered(2)},
	)
	w.create(token.Request{User: "alice", Name: "scoped", Expires: "never", Limits: &token.Limits{Scopes: []string{"build:team-a/**"}}})
	w.create(token.Request{User: "alice", Name: "observed", Expires: "never", Limits: &token.Limits{Scopes: []string{"read"}, Observe: true}})
	used, _ := w.create(token.Request{User: "ALICE", Name: "used", Expires: "never"})
	replaced, _ := w.create(token.Request{User: "alice", Name: "rotated", Expires: "100d"})
	revoked, _ := w.create(token.Request{User: "alice", Name: "revoked", Expires: "never"})
	suspended, _ := w.create(token.Request{User: "alice", Name: "suspended", Expires: "never"})
	w.create(token.Request{User: "alice", Name: "expired", Expires: "1h"})
	w.create(token.Request{User: "bob", Name: "Bob's", Expires: "never"})
	w.now = w.now.Add(40 * day)
	if _, err := w.Revoke(t.Context(), revoked.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SuspendAll(t.Context(), []*token.Token{suspended}, token.ByAdmin, "", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.Rotate(t.Context(), replaced.Record().ID, token.Rotation{Overlap: "0", Expires: "6d"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetDisabled(t.Context(), "bob", true, "admin"); err != nil {
		t.Fatal(err)
	}
	used.Use(usage.Use{Time: w.now.Add(-10 * day), Addr: "10.0.0.1"})
	const all = "dateless expired legacy observed rotated rotated scoped suspended used Bob's"
	for _, c := range []struct {
		fields, want string
	}{
		{"", all},
		{"all=true", "dateless expired legacy observed revoked rotated rotated scoped suspended used Bob's"},
		{"all=false", all},
		{"user=Alice", strings.TrimSuffix(all, " Bob's")},
		{"user=BOB", "Bob's"},
		{"user=carol", ""},
		{"q=SCOPE", "scoped"},
		{"q=team-a", "scoped"},
		{"q=bob", "Bob's"},
		{"q=" + used.Record().ID.String(), "used"},
		{"q=" + used.Record().ID.String()[1:], ""},
		{"q=" + used.Record().ID.String()[28:], "used"},
		{"q=…" + used.Record().ID.String()[28:], "used"},
		{"q=" + used.Record().ID.String()[29:], ""},
		{"state=active", "dateless observed rotated scoped used"},
		{"state=revoked", "revoked"},
		{"state=suspended", "suspended"},
		{"state=expired", "expired"},
		{"state=superseded", "rotated"},
		{"state=owner disabled", "Bob's"},
		{"state=legacy", "legacy"},
		{"state=idle", ""},
		{"unused_for=20d", "dateless expired legacy observed rotated scoped suspended Bob's"},
		{"unused_for=5d", "dateless expired legacy observed rotated scoped suspended used Bob's"},
		{"created_before=2026-10-01", "legacy"},
		{"created_before=2026-10-02", "expired legacy observed rotated scoped suspended used Bob's"},
		{"created_before=2026-10-01T12:00:00Z", "legacy"},
		{"created_before=2026-10-01T12:00:01Z", "expired legacy observed rotated scoped suspended used Bob's"},
		{"expires_within=7d", "rotated"},
		{"expires_within=5d", ""},
		{"legacy=true", "legacy"},
		{"never_used=1", "expired legacy observed rotated scoped suspended Bob's"},
		{"unending=true", "dateless legacy observed scoped suspended used Bob's"},
		{"unlimited=true", "dateless expired legacy observed rotated rotated suspended used Bob's"},
		{"disabled_user=true", "Bob's"},
		{"category=disabled_users", "Bob's"},
		{"category=suspended", "suspended"},
		{"category=legacy", "legacy"},
		{"category=over_privileged", "observed"},
		{"category=unending user=alice", "dateless observed scoped used"},
		{"user=alice name=*ed state=active", "observed rotated scoped used"},
		{"unending=true unused_for=20d state=active", "dateless observed scoped"},
	} {
		fields := strings.Split(c.fields, " ")
		if c.fields == "state=owner disabled" {
			fields = []string{c.fields}
		}
		if got := w.selected(fields...); got != c.want {
			t.Errorf("%s selects %q, want %q", c.fields, got, c.want)
		}
	}
	for _, c := range []struct{ field, want string }{
		{"all=maybe", `all="maybe"`},
		{"legacy=2", "neither true nor false"},
		{"state=dead", "none of active, revoked"},
		{"category=dead", "none of legacy, old"},
		{"unused_for=soon", "unused_for"},
		{"expires_within=-1d", "expires_within"},
		{"created_before=yesterday", "neither a date"},
		{"user=anonymous", "Jenkins keeps"},
		{"name=" + strings.Repeat("n", 257), "at most 256"},
		{"q=" + strings.Repeat("n", 257), "at most 256"},
	} {
		if f, err := parseFilter(w.now, c.field); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s is %+v, %v, want an error with %q", c.field, f, err, c.want)
		}
	}
	for _, name := range token.FilterFields {
		asked := false
		if _, err := token.ParseFilter(func(n string) string { asked = asked || n == name; return "" }, w.now); err != nil || !asked {
			t.Errorf("ParseFilter does not ask for %q (%v)", name, err)
		}
	}
}

// The days are those of the calendar where the gateway is, as in Jenkins.
func TestMarks(t *testing.T) {
	kiritimati, pagoPago := zone(t, "Pacific/Kiritimati"), zone(t, "Pacific/Pago_Pago")
	noon := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		created   time.Time
		now       time.Time
		used      time.Time // the last time, if not zero
		age       token.Level
		lastUse   token.Level
		neverUsed bool
	}{
		{name: "new", created: noon, now: noon},
		{name: "7 days", created: noon, now: noon.AddDate(0, 0, 7)},
		{name: "8 days", created: noon, now: noon.AddDate(0, 0, 8), neverUsed: true},
		{name: "8 days by a minute before midnight", created: noon.Add(12*hour - time.Minute), now: noon.AddDate(0, 0, 7).Add(12 * hour), neverUsed: true},
		{name: "7 days and almost 24 hours", created: noon.Add(-12 * hour), now: noon.AddDate(0, 0, 7).Add(12*hour - time.Second)},
		{name: "8 days, used", created: noon, now: noon.AddDate(0, 0, 8), used: noon},
		{name: "180 days", created: noon, now: noon.AddDate(0, 0, 180), neverUsed: true},
		{name: "181 days", created: noon, now: noon.AddDate(0, 0, 181), age: token.LevelWarning, neverUsed: true},
		{name: "360 days", created: noon, now: noon.AddDate(0, 0, 360), age: token.LevelWarning, neverUsed: true},
		{name: "361 days", created: noon, now: noon.AddDate(0, 0, 361), age: token.LevelError, neverUsed: true},
		{name: "used 180 days ago", created: noon, now: noon.AddDate(0, 0, 190), used: noon.AddDate(0, 0, 10), age: token.LevelWarning},
		{name: "used 181 days ago", created: noon, now: noon.AddDate(0, 0, 191), used: noon.AddDate(0, 0, 10), age: token.LevelWarning, lastUse: token.LevelWarning},
		{name: "used 361 days ago", created: noon, now: noon.AddDate(0, 0, 371), used: noon.AddDate(0, 0, 10), age: token.LevelError, lastUse: token.LevelError},
		// 11:00 and 13:00 UTC on day 180 are two days in one place and one in another.
		{name: "far east, before its midnight", created: noon.Add(-3 * hour), now: noon.AddDate(0, 0, 180).Add(-3 * hour).In(kiritimati), neverUsed: true},
		{name: "far east, after its midnight", created: noon.Add(-3 * hour), now: noon.AddDate(0, 0, 180).Add(-1 * hour).In(kiritimati), age: token.LevelWarning, neverUsed: true},
		{name: "far west, before its midnight", created: noon.Add(-2 * hour), now: noon.AddDate(0, 0, 180).Add(-2 * hour).In(pagoPago), neverUsed: true},
		{name: "far west, after its midnight", created: noon.Add(-2 * hour), now: noon.AddDate(0, 0, 180).Add(-30 * time.Minute).In(pagoPago), age: token.LevelWarning, neverUsed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.now = c.created
			made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "never"})
			if !c.used.IsZero() {
				made.Use(usage.Use{Time: c.used, Addr: "10.0.0.1"})
			}
			want := token.Marks{State: "active", Age: c.age, LastUse: c.lastUse, NeverUsed: c.neverUsed, Unending: true, Unlimited: true}
			if got := made.Marks(c.now); got != want {
				t.Errorf("Marks = %+v, want %+v", got, want)
			}
			w.rule(token.Rules{UsageOff: true})
			if made.Marks(c.now).NeverUsed {
				t.Error("a token counts as never used where nothing is counted")
			}
		})
	}
	t.Run("end", func(t *testing.T) {
		w := newWorld(t)
		made, _ := w.create(token.Request{User: "alice", Name: "a", Expires: "30d"})
		end := w.now.Add(30 * day)
		for now, want := range map[time.Time]bool{end.Add(-3*day - time.Second): false, end.Add(-3 * day): true, end.Add(-time.Second): true, end: false} {
			if got := made.Marks(now); got.Expiring != want || got.Unending {
				t.Errorf("%v before its end: %+v", end.Sub(now), got)
			}
		}
	})
	t.Run("others", func(t *testing.T) {
		w := newWorld(t)
		out := w.imports(token.Import{User: "alice", Name: "a", Digest: numbered(1), Legacy: true})
		w.now = w.now.AddDate(2, 0, 0)
		if got, want := w.get(out[0].ID).Marks(w.now), (token.Marks{State: "legacy", Unending: true, Legacy: true, Unlimited: true}); got != want {
			t.Errorf("Marks of a legacy token of unknown age = %+v, want %+v", got, want)
		}
		made, _ := w.create(token.Request{User: "alice", Name: "b", Expires: "never", Limits: &token.Limits{Scopes: []string{"read"}}})
		if _, _, _, err := w.Rotate(t.Context(), made.Record().ID, token.Rotation{Overlap: "0"}); err != nil {
			t.Fatal(err)
		}
		if got, want := made.Marks(w.now), (token.Marks{State: "superseded", Replaced: true}); got != want {
			t.Errorf("Marks of a replaced token = %+v, want %+v", got, want)
		}
	})
}

// A filter is an error or can be applied, whatever is in it; and a name that is no
// pattern selects just the token of that name.
func FuzzFilter(f *testing.F) {
	w := newWorld(f)
	names := []string{"deploy", "deploy/eu", "nightly[1]", `back\slash`, "n"}
	for _, name := range names {
		w.create(token.Request{User: "alice", Name: name})
	}
	for _, field := range token.FilterFields {
		for _, value := range []string{"", "true", "alice", "[", "*/?", "30d", "2026-10-01", "active"} {
			f.Add(field, value, "name", "nightly[1]")
		}
	}
	f.Fuzz(func(t *testing.T, field, value, otherField, otherValue string) {
		filter, err := token.ParseFilter(func(name string) string {
			switch name {
			case field:
				return value
			case otherField:
				return otherValue
			}
			return ""
		}, w.now)
		if err != nil {
			return
		}
		selected := w.Select(filter)
		if wants := len(selected); filter == (token.Filter{}) && wants != len(names) {
			t.Errorf("no filter selects %d of %d", wants, len(names))
		}
		if filter.Name != "" && !strings.ContainsAny(filter.Name, "*?") {
			for _, tok := range selected {
				if tok.Record().Name != filter.Name {
					t.Errorf("%+v selects %q", filter, tok.Record().Name)
				}
			}
			only := token.Filter{Name: filter.Name}
			if got := len(w.Select(only)); slices.Contains(names, filter.Name) != (got == 1) {
				t.Errorf("the name %q selects %d tokens", filter.Name, got)
			}
		}
	})
}
