package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

func TestConnectionOptions(t *testing.T) {
	tests := []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"Keep-Alive"}, "keep-alive"},
		{[]string{"Upgrade, HTTP2-Settings"}, "upgrade, http2-settings"},
		{[]string{"close,close", "Close"}, "close"},
		{[]string{"X-Forwarded-User", "te ,\tCookie"}, "te"},
		{[]string{"close\x00", "close-x", "clo se"}, ""},
	}
	for _, test := range tests {
		if got := connectionOptions(test.lines); got != test.want {
			t.Errorf("connectionOptions(%q) = %q, want %q", test.lines, got, test.want)
		}
	}
}

// Once the handlers behind the gateway are done, no header is left that holds a secret or an identity, in any spelling.
func TestWithdrawLeavesNoSecret(t *testing.T) {
	c, err := Config{TokenHeader: "X-Team-Token", CrumbField: "X-Team-Crumb", UserHeader: "X-Who"}.Defaulted()
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{Config: c, scrubber: newScrubber(&c)}
	r := &http.Request{Header: make(http.Header)}
	for _, name := range append(endpoint.SecretNames(), "X-Team-Token", "X-Team-Crumb", "X-Who", "X_Gitlab_Token", "Jenkins_Crumb", "secret-key", "X-Gitlab-Token") {
		r.Header[name] = []string{"s3cret"}
	}
	r.Header["User-Agent"] = []string{"curl"}
	g.withdraw(r, "192.0.2.1:1")
	if len(r.Header) != 1 || r.RemoteAddr != "192.0.2.1:1" {
		t.Errorf("left are %v of %s", r.Header, r.RemoteAddr)
	}
}

// What is left names no header that anybody else sets, and all that a proxy needs
// for an upgrade.
func FuzzConnectionOptions(f *testing.F) {
	f.Add("keep-alive", "Upgrade")
	f.Add("X-Forwarded-User,Cookie", ",,")
	f.Add("ſ, K\u212aeep-alive", "close;q=1")
	f.Fuzz(func(t *testing.T, a, b string) {
		got := connectionOptions([]string{a, b})
		if got != "" {
			for option := range strings.SplitSeq(got, ", ") {
				if !slices.Contains(hopByHop, option) {
					t.Errorf("connectionOptions(%q, %q) = %q lets %q pass", a, b, got, option)
				}
			}
		}
		if len(got) > 200 {
			t.Errorf("connectionOptions(%q, %q) has %d bytes", a, b, len(got))
		}
		wanted := httpguts.HeaderValuesContainsToken([]string{a, b}, "Upgrade")
		if wanted && !httpguts.HeaderValuesContainsToken([]string{got}, "Upgrade") {
			t.Errorf("connectionOptions(%q, %q) = %q loses the upgrade", a, b, got)
		}
	})
}

// No name that a lenient server takes for one of an identity header passes.
func FuzzScrub(f *testing.F) {
	config, err := Config{UserHeader: "X-Remote.User"}.Defaulted()
	if err != nil {
		f.Fatal(err)
	}
	s := newScrubber(&config)
	f.Add("X-Forwarded-User")
	f.Add("x_remote.user")
	f.Fuzz(func(t *testing.T, name string) {
		if !httpguts.ValidHeaderFieldName(name) {
			return
		}
		r := &http.Request{Header: http.Header{name: {"admin"}}}
		s.scrub(r, true)
		cgi := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		forbidden := slices.Contains([]string{"x-forwarded-user", "x-forwarded-groups", "x-forwarded-mail", "x-forwarded-displayname", "x-remote-user",
			"x-http-method-override", "x-http-method", "x-method-override"}, cgi)
		if _, left := r.Header[name]; left == forbidden && name != "Connection" && name != "Upgrade" {
			t.Errorf("%q is left: %v", name, left)
		}
	})
}
