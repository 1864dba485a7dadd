package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
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
