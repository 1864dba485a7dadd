package selfservice

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// FuzzForm checks that what is taken of a form is known, bounded text, which is read
// the same when it is sent again.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"", "name=a&life=30d&access=full&crumb=x", "scope=read&scope=build&folder=team-a%2F**", "name=a&name=b", "scopes=a%0D%0Ab", "name=%zz",
		"name=%00", "name=%ff", "a=b;c=d", "=", "&&", "name", "id=1&id=2", "name=" + strings.Repeat("x", 70000), strings.Repeat("scope&", 2000),
	} {
		f.Add(seed)
	}
	known := append([]string{crumbName}, newFields...)
	f.Fuzz(func(t *testing.T, body string) {
		values, err := parseValues(body, known)
		if err != nil {
			return
		}
		if len(body) > maxBody {
			t.Errorf("%d bytes were taken", len(body))
		}
		for name, all := range values {
			if !slices.Contains(known, name) || len(all) > 1 && !slices.Contains(lists, name) || len(all) > maxBulk {
				t.Errorf("%d values of %q were taken", len(all), name)
			}
			for _, value := range all {
				if len(value) > maxValue || !utf8.ValidString(value) || strings.ContainsAny(value, "\x00\r") {
					t.Errorf("%q was taken for %s", value, name)
				}
			}
		}
		if len(values.Encode()) > maxBody {
			return // escapes make it longer
		}
		again, err := parseValues(values.Encode(), known)
		if err != nil || again.Encode() != values.Encode() {
			t.Errorf("%q is read as %v, then as %v (%v)", body, values, again, err)
		}
	})
}

// TestPermissions compares what forms offer with what policy knows.
func TestPermissions(t *testing.T) {
	for _, p := range permissions {
		for text, want := range map[string]bool{p.Name: true, p.Name + ":team-a/**": p.Items} {
			v := &visit{form: map[string][]string{"access": {"limited"}, "scopes": {text}}}
			if l, faults := v.limits(); (len(faults) == 0) != want {
				t.Errorf("scope %q: %v with the faults %v", text, l, faults)
			}
		}
	}
	for _, g := range endpoint.Grants {
		if !slices.ContainsFunc(permissions, func(offered permission) bool { return offered.Name == g.Name && offered.Reach == g.Reach }) {
			t.Errorf("no form offers the permission %s and says how far it reaches", g.Name)
		}
	}
}
