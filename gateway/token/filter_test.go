package token_test

import (
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
)

func TestWide(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter token.Filter
		want   bool
	}{
		{"nothing", token.Filter{}, true},
		{"revoked ones too", token.Filter{Revoked: true}, true},
		{"a star", token.Filter{Name: "*"}, true},
		{"stars", token.Filter{Name: "**"}, true},
		{"any character and more", token.Filter{Name: "?*"}, true},
		{"all that can be used", token.Filter{State: "active"}, true},
		{"all of them by both", token.Filter{State: "active", Name: "*"}, true},
		{"a user", token.Filter{Owner: "alice"}, false},
		{"a name", token.Filter{Name: "ci-*"}, false},
		{"a state", token.Filter{State: "suspended"}, false},
		{"a mark", token.Filter{Legacy: true}, false},
		{"a text", token.Filter{Text: "a"}, false},
		{"a user, and a star", token.Filter{Owner: "alice", Name: "*"}, false},
	} {
		if got := tt.filter.Wide(); got != tt.want {
			t.Errorf("%s: Wide of %+v = %v, want %v", tt.name, tt.filter, got, tt.want)
		}
	}
}
