package gateway_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
)

// TestAnonymousSessions: where requests without a user pass, an anonymous client keeps
// its session and gets a new one after a restart of Jenkins, and a user's is left alone.
func TestAnonymousSessions(t *testing.T) {
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.Anonymous = true }})
	const page = "/" // Jenkins' page for anonymous, which opens a session

	anonymous := s.browser("")
	first := anonymous.send("GET", page, nil)
	if len(first.Cookies()) != 1 {
		t.Fatalf("no session\n%s", first.dump())
	}
	s.jenkins.ResetRequests()
	if a := anonymous.send("GET", page, nil); len(a.Cookies()) != 0 || s.only("GET").SessionID != anonymous.session() {
		t.Errorf("an anonymous client lost its session\n%s", a.dump())
	}
	s.jenkins.Restart()
	if a := anonymous.send("GET", page, nil); len(a.Cookies()) != 1 {
		t.Errorf("after a restart of Jenkins an anonymous client gets no session\n%s", a.dump())
	}

	alice := s.browser("alice")
	alice.page()
	s.jenkins.ResetRequests()
	a := s.send("GET", page, "", "Cookie: "+alice.cookie())
	if got := s.only("GET"); len(a.Cookies()) != 0 || got.User != "anonymous" || got.Header["Cookie"] != nil {
		t.Errorf("an anonymous request with alice's session\n%s\nJenkins got %+v", a.dump(), got)
	}

	// A client that signs in gets a session of its own: whoever knows the anonymous one
	// does not share it.
	s.jenkins.ResetRequests()
	a = s.send("GET", page, "", ssoHeader+": bob", "Cookie: "+anonymous.cookie())
	if got := s.only("GET"); len(a.Cookies()) != 1 || got.User != "bob" || strings.Contains(strings.Join(got.Header["Cookie"], ""), anonymous.session()) {
		t.Errorf("bob's request with an anonymous session\n%s\nJenkins got %+v", a.dump(), got)
	}
}
