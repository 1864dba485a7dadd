package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// The store outlives a configuration, its rules don't.
func TestRulesAreOfTheConfiguration(t *testing.T) {
	const caddyfile = `{
	admin off
	persist_config off
	log {
		output discard
	}
	crumbgate {
		storage bbolt STORE
		RULES
	}
}
`
	store := quiet(t)
	attempts := []struct {
		name string
		req  token.Request
	}{
		{"an end in a year", token.Request{User: "alice", Name: "year", Expires: "366d"}},
		{"no end", token.Request{User: "alice", Name: "never", Expires: "never"}},
		{"no name", token.Request{User: "alice", Expires: "1d"}},
	}
	var first *token.Directory
	for i, config := range []struct {
		rules   string
		refused []string      // what the errors say, "" for none
		life    time.Duration // of a token whose request doesn't say
	}{
		{"", []string{"", "", ""}, 90 * 24 * time.Hour},
		{"tokens {\nmax_life 30d\nnames required\n}", []string{"30d", "30d", "name"}, 30 * 24 * time.Hour},
		{"tokens {\nunending refuse\ndefault_life 7d\n}", []string{"", "end", ""}, 7 * 24 * time.Hour},
		{"", []string{"", "", ""}, 90 * 24 * time.Hour},
	} {
		d := run(t, store, strings.Replace(caddyfile, "RULES", config.rules, 1)).mustDirectory(t)
		if first == nil {
			first = d
		}
		if d != first {
			t.Fatal("the store was opened again")
		}
		for n, attempt := range attempts {
			if attempt.req.Name != "" {
				attempt.req.Name += string(rune('a' + i))
			}
			_, _, err := d.Create(t.Context(), attempt.req)
			switch want := config.refused[n]; {
			case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("with %q, %s: %v, want an error with %q", config.rules, attempt.name, err, want)
			}
		}
		made, _, err := d.Create(t.Context(), token.Request{User: "alice", Name: "unsaid" + string(rune('a'+i))})
		if err != nil {
			t.Fatal(err)
		}
		r := made.Record()
		if got := time.Duration(r.Expires-r.Created) * time.Second; got != config.life {
			t.Errorf("with %q a token lives for %v, want %v", config.rules, got, config.life)
		}
	}
}
