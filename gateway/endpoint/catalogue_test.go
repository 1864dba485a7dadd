package endpoint

import (
	"slices"
	"strings"
	"testing"
)

func TestCatalogueIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Catalogue {
		if seen[e.Name] {
			t.Errorf("two entries are called %q", e.Name)
		}
		seen[e.Name] = true
		if e.Name == "" || e.Why == "" || e.Guard == "" || len(e.Paths) == 0 {
			t.Errorf("%+v: a field is missing", e)
		}
		if strings.HasPrefix(e.Name, "-") || strings.HasPrefix(e.Name, "/") || strings.ContainsAny(e.Name, " \t{}") {
			t.Errorf("the settings can't name %q", e.Name)
		}
		if e.Signed != "" && (e.Public || e.CrumbExempt) {
			t.Errorf("%s needs a signature, so it can't be open by default", e.Name)
		}
		if e.KeepsAuthorization && e.Plugin == "" {
			t.Errorf("%s: the core reads no Authorization but Basic", e.Name)
		}
		if name, value, ok := strings.Cut(e.Query, "="); e.Query != "" && (!ok || name == "" || value == "") {
			t.Errorf("%s: query %q isn't name=value", e.Name, e.Query)
		}
		if before := e.SecretPath.Before; before != "" && !slices.Contains(e.Paths, before+"*") {
			t.Errorf("%s: the secret behind %s is on no path of it", e.Name, before)
		}
		for _, name := range slices.Concat(e.Secrets, e.SecretParameters) {
			if slices.Contains(CredentialHeaders, name) || slices.Contains(crumbs, name) || slices.Contains(everywhere, name) {
				t.Errorf("%s: %s is secret everywhere", e.Name, name)
			}
		}
		for _, path := range e.Paths {
			p := compile(path)
			if !strings.HasPrefix(path, "/") || slices.Contains(p.segments, "") || p.segments[0] == "*" || p.segments[0] == "static" {
				t.Errorf("%s: bad pattern %q", e.Name, path)
			}
		}
	}
}

func TestCatalogueHasOneAnswerForAPath(t *testing.T) {
	type at struct{ name, path string }
	var all []at
	for _, e := range Catalogue {
		for _, path := range e.Paths {
			all = append(all, at{e.Name, path})
		}
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if compile(a.path).overlaps(compile(b.path)) {
				t.Errorf("%s %s overlaps %s %s", a.name, a.path, b.name, b.path)
			}
		}
	}
}

func TestPatternOverlaps(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true},
		{"/a", "/b", false},
		{"/a", "/a/*", true},
		{"/a/b", "/a/*", true},
		{"/a/b", "/a", false},
		{"/a/*", "/a/b/*", true},
		{"/a/*/c", "/a/b/c", true},
		{"/a/*/c", "/a/b/d", false},
		{"/a/*/c", "/a/b", false},
		{"/a/*/c", "/a/b/*", true},
		{"/ab/*", "/a/*", false},
	}
	for _, tt := range tests {
		if compile(tt.a).overlaps(compile(tt.b)) != tt.want || compile(tt.b).overlaps(compile(tt.a)) != tt.want {
			t.Errorf("%s overlaps %s: want %v both ways", tt.a, tt.b, tt.want)
		}
	}
}
