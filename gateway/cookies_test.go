package gateway_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// FuzzCookies: whatever a client sends in two Cookie headers, what goes on to Jenkins
// can be read in one way only, and holds nothing of somebody else.
func FuzzCookies(f *testing.F) {
	const eves, name = "node0eve0", "JSESSIONID.0a1b2c3d"
	for _, seed := range [][2]string{
		{"", ""},
		{"a=b; c=d", name + "=node0bob0.node0"},
		{"screenResolution=1x1; hudson.plugins.a=b", "iconSize=" + name + "=" + eves + "; jenkins-timestamper-offset=\"1\"; hudson.plugins." + name + "=" + eves},
		{name + "=" + eves + ".node0", name + "=node0bob0.node0"},
		{name + "=node0bob0.node0; " + name + "=" + eves + ".node0", "x=y"},
		{name + "=" + eves, name + "=" + eves + ".node7"},
		{name + "=" + eves + ".", name + "=" + eves + "..node0"},
		{"JSESSIONID=" + eves + ".node0", "JSESSIONID.x=" + eves + ".node0"},
		{"remember-me=x; ACEGI_SECURITY_HASHED_REMEMBER_ME_COOKIE=x", "\"remember-me\"=x; remember-me =x"},
		{"$Version=1; " + name + "=\"" + eves + "\"; $Path=\"/\"", name + "=\"node0\\eve0\""},
		{"a=\"b; " + name + "=" + eves + "; c\"", "a=b, " + name + "=" + eves},
		{"a=b,\t" + name + "=" + eves, "a=b;\t" + name + "=" + eves + "\t"},
		{name + " = " + eves, "=" + name + "=" + eves},
		{"jsessionid.0a1b2c3d=" + eves, "x" + name + "=" + eves},
		{"a=" + name + "=" + eves, name + "=%6eode0eve0"},
		{"a=b\r\nCookie: " + name + "=" + eves, "a=b\x00; \x7f=\x80\xff"},
		{strings.Repeat("JSESSIONID.x=y; ", 40), "JSESSIONID.1=a; JSESSIONID.2=b; JSESSIONID.3=c"},
		{name + "=" + strings.Repeat("a", 300), name + "=" + eves},
		{name + "=" + eves + ";" + name + "=a;;;; ;", ";"},
		{"JSESSIONID.1.2=a; JSESSIONID.1=b", "JSESSIONID=" + strings.Repeat("b", 246)},
	} {
		f.Add(seed[0], seed[1])
	}
	gate, err := gateway.New(gateway.Config{
		Lookup:    func(token.Digest) (*token.Token, error) { return nil, nil },
		Log:       slog.New(slog.DiscardHandler),
		Anonymous: true, // on open endpoints no session passes at all
		Session: func(r *http.Request) (*token.Profile, error) {
			if r.Header.Get(ssoHeader) == "" {
				return nil, nil
			}
			return gateway.NewPerson(r.Header.Get(ssoHeader), nil, "", "")
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(gate.Close)
	// pass returns the Cookie headers with which a request of a user goes on.
	pass := func(t testing.TB, user string, lines []string, answer func(http.Header)) []string {
		t.Helper()
		r := &http.Request{
			Method: "GET", URL: &url.URL{Path: "/"}, RequestURI: "/", Host: "jenkins", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{ssoHeader: {user}, "Cookie": lines}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1",
		}
		var got []string
		next := func(w http.ResponseWriter, r *http.Request) error {
			got = r.Header["Cookie"]
			answer(w.Header())
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		if err := gate.ServeHTTP(httptest.NewRecorder(), r, next); err != nil {
			t.Error(err)
		}
		return got
	}
	pass(f, "eve", nil, func(h http.Header) { h["Set-Cookie"] = []string{name + "=" + eves + ".node0;Path=/;HttpOnly"} })
	if got := pass(f, "eve", []string{name + "=" + eves + ".node0"}, func(http.Header) {}); len(got) != 1 || got[0] != name+"="+eves+".node0" {
		f.Fatalf("eve's own session became %q", got)
	}

	f.Fuzz(func(t *testing.T, one, two string) {
		for _, user := range []string{"bob", ""} {
			got := pass(t, user, []string{one, two}, func(http.Header) {})
			if len(got) == 0 {
				continue
			}
			if len(got) != 1 || got[0] == "" || len(got[0]) > 2*(len(one)+len(two))+2 {
				t.Fatalf("%q and %q became %q", one, two, got)
			}
			checkCookies(t, got[0], eves)
			if again := pass(t, user, got, func(http.Header) {}); !slices.Equal(again, got) {
				t.Errorf("%q became %q", got, again)
			}
		}
	})
}

// jenkinsCookie matches the names of the cookies that reach Jenkins by default.
var jenkinsCookie = regexp.MustCompile(`^(screenResolution|iconSize|disableStickyPositioning|jenkins-timestamper(-local|-offset)?|hudson\.plugins\..*)$`)

// checkCookies holds a Cookie header to what docs/threat-model.md promises.
func checkCookies(t *testing.T, line, another string) {
	t.Helper()
	if strings.ContainsAny(line, "\"\\,") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		t.Errorf("Jenkins got %q", line)
	}
	sessions := make(map[string]bool)
	for pair := range strings.SplitSeq(line, ";") {
		pair = strings.TrimPrefix(pair, " ")
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" || strings.ContainsAny(pair, " \t") || name[0] == '$' {
			t.Errorf("Jenkins got the cookie %q of %q", pair, line)
		}
		if name == "remember-me" || name == "ACEGI_SECURITY_HASHED_REMEMBER_ME_COOKIE" {
			t.Errorf("Jenkins got the cookie %q", pair)
		}
		if !strings.HasPrefix(name, "JSESSIONID") {
			if !jenkinsCookie.MatchString(name) {
				t.Errorf("Jenkins got the cookie %q, which is not one of its own", pair)
			}
			if strings.Contains(strings.ToUpper(pair), "JSESSIONID") {
				t.Errorf("a session hides in the cookie %q", pair)
			}
			continue
		}
		if sessions[name] || len(pair) > 256 {
			t.Errorf("Jenkins got the session %q among %q", pair, line)
		}
		sessions[name] = true
		for _, cut := range []func(string, string) int{strings.Index, strings.LastIndex} { // Jetty has done both
			id := value
			if dot := cut(value, "."); dot >= 0 {
				id = value[:dot]
			}
			if id == another || strings.Contains(value, "%") {
				t.Errorf("Jenkins got the session %q of another", pair)
			}
		}
	}
	if len(sessions) > 16 {
		t.Errorf("Jenkins got %d sessions", len(sessions))
	}
	// Go's own reader finds the same.
	read, err := http.ParseCookie(line)
	for _, c := range read {
		if strings.HasPrefix(c.Name, "JSESSIONID") && !sessions[c.Name] {
			t.Errorf("net/http finds the session %q in %q (%v)", c.Name, line, err)
		}
	}
}
