package gateway_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// A browser that asks for a page of a trusted origin is told yes; one of another origin
// gets what a stranger gets. Jenkins is asked by neither.
func TestPreflight(t *testing.T) {
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.TrustedOrigins = []string{"https://portal.example.com"} }})
	for origin, status := range map[string]int{
		"https://portal.example.com": 204, "https://portal.example.com.evil.example": 401, "http://portal.example.com": 401, "null": 401,
	} {
		a := s.send("OPTIONS", "/job/a/build", "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: jenkins-crumb")
		if a.StatusCode != status {
			t.Errorf("from %s: %s, want %d", origin, a.dump(), status)
		}
		allowed := a.Header.Get("Access-Control-Allow-Origin")
		if status == 204 && (allowed != origin || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Jenkins-Crumb")) || status != 204 && allowed != "" {
			t.Errorf("from %s: %s", origin, a.dump())
		}
	}
	s.untouched()
}

// An origin that no browser sends is refused when the configuration is read.
func TestTrustedOriginsThatNeverMatch(t *testing.T) {
	for _, origin := range []string{
		"https://*.example.com", "https://Portal.example.com", "https://portal.example.com:443", "http://portal.example.com:80", "https://bücher.example",
		"https://user@portal.example.com", "https://portal.example.com.",
	} {
		if _, err := (gateway.Config{TrustedOrigins: []string{origin}}).Defaulted(); err == nil || !strings.Contains(err.Error(), "trusted_origins") {
			t.Errorf("trusted_origins %s: %v", origin, err)
		}
	}
	if _, err := (gateway.Config{TrustedOrigins: []string{"https://portal.example.com", "http://10.0.0.1:8080", "https://xn--bcher-kva.example"}}).Defaulted(); err != nil {
		t.Error(err)
	}
}

// A refusal in a browser is a page that fits a phone; other clients get text. A path
// that is refused says why.
func TestRefusalsName(t *testing.T) {
	s := newSite(t, options{})
	auth := "Authorization: " + basicAuth("alice", s.token("alice"))
	for path, cause := range map[string]string{
		"/job/a;x/build": "a semicolon", "/job/%2e%2e/build": "an escaped dot segment", "/job/a%5cbuild": "a backslash", "/job/%ff": "not UTF-8",
	} {
		if a := s.send("GET", path, "", auth); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, cause) || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("GET %s: %s, want the cause %q", path, a.dump(), cause)
		}
	}
	raw := httptest.NewRequest("GET", "/job/a", nil)
	raw.URL.Path, raw.URL.RawPath = "/job/a/\u00e9", "/job/a%2F\u00e9"
	answer := httptest.NewRecorder()
	gate, err := gateway.New(gateway.Config{Lookup: func(token.Digest) (*token.Token, error) { return nil, nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	if err := gate.ServeHTTP(answer, raw, nil); err != nil || answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "must be escaped") {
		t.Errorf("a raw letter beside an escape: %d %s (%v)", answer.Code, answer.Body, err)
	}
	for _, request := range []string{"GET /api/json", "GET /job/a;x/"} {
		method, path, _ := strings.Cut(request, " ")
		a := s.send(method, path, "", "Accept: text/html,application/xhtml+xml")
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, `name="viewport"`) || a.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s in a browser: %s", request, a.dump())
		}
	}
	s.untouched()
}
