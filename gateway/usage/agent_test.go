package usage_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/usage"
)

func TestFamily(t *testing.T) {
	for agent, want := range map[string]string{
		"":                       "",
		"curl/8.5.0":             "curl",
		"curl":                   "curl",
		"python-requests/2.32.3": "python-requests",
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0": "browser",
		"Mozilla":                "browser",
		"MozillaFake/1":          "MozillaFake",
		"Apache-HttpClient/4.5":  "Apache-HttpClient",
		"okhttp/4.12.0":          "okhttp",
		"a.b_c+d-1 more":         "a.b_c+d-1",
		"(comment)":              "",
		" curl/8":                "",
		"cürl/8":                 "c",
		"curl\x1b[31m/8":         "curl",
		"curl\nforged=line":      "curl",
		"\xff":                   "",
		strings.Repeat("a", 100): strings.Repeat("a", 32),
	} {
		if got := usage.Family(agent); got != want {
			t.Errorf("Family(%q) = %q, want %q", agent, got, want)
		}
	}
}
