package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// Tokens of Jenkins for the tests of shadow mode.
const (
	bothKnow    = "110123456789abcdef0123456789abcdef"
	onlyJenkins = "11aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	onlyGateway = "11bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	revokedHere = "11cccccccccccccccccccccccccccccccc"
	scopedHere  = "11dddddddddddddddddddddddddddddddd"
	legacyBoth  = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
)

// imported takes over a token of Jenkins for alice.
func (s *site) imported(secret string) *token.Token {
	s.t.Helper()
	item := token.Import{User: "alice", Name: secret[:4], ID: uuid.New()}
	var err error
	if item.Digest, err = token.Parse(secret); err != nil {
		item.Legacy = true
		item.Digest, err = token.ParseLegacy(secret)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	done, err := s.directory.Import(s.t.Context(), []token.Import{item}, false, "test")
	if err != nil || done[0].Outcome != token.Taken {
		s.t.Fatalf("Import: %+v, %v", done, err)
	}
	return s.directory.Find(item.Digest)
}

func newShadow(t *testing.T) *site {
	s := newSite(t, options{
		jenkins: jenkinstest.Config{Users: map[string]jenkinstest.User{
			"alice": {Tokens: []string{bothKnow, onlyJenkins, revokedHere, scopedHere, legacyBoth}, Password: "sesame"},
		}},
		gate: func(c *gateway.Config) { c.Shadow = true },
	})
	s.imported(bothKnow)
	s.imported(onlyGateway)
	s.imported(legacyBoth)
	if _, err := s.directory.Revoke(t.Context(), s.imported(revokedHere).Record().ID, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.directory.SetLimits(t.Context(), s.imported(scopedHere).Record().ID, &token.Limits{Scopes: []string{"read"}}, "test"); err != nil {
		t.Fatal(err)
	}
	return s
}

// reports waits until so many differences are in the log: the answer is there before.
func (s *site) reports(n int) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); strings.Count(s.log.String(), "decide differently") < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the log has not told of %d differences:\n%s", n, s.log)
		}
	}
}

func TestShadow(t *testing.T) {
	s := newShadow(t)
	own := s.token("alice")
	for _, c := range []struct {
		name, auth string
		status     int
		reported   bool
		asked      bool // whether Jenkins is asked
	}{
		{"both know it", basicAuth("alice", bothKnow), 201, false, true},
		{"Jenkins alone knows it", basicAuth("alice", onlyJenkins), 201, true, true},
		{"the gateway alone knows it", basicAuth("alice", onlyGateway), 401, true, true},
		{"nobody knows it", basicAuth("alice", "11ffffffffffffffffffffffffffffffff"), 401, false, true},
		{"another's", basicAuth("bob", bothKnow), 401, false, true},
		{"legacy, which the gateway refuses by its rules", basicAuth("alice", legacyBoth), 201, true, true},
		{"revoked in the gateway", basicAuth("alice", revokedHere), 401, false, false},
		{"beyond its scopes", basicAuth("alice", scopedHere), 403, false, false},
		{"made by the gateway", basicAuth("alice", own), 201, false, true},
		{"a token alone, which Jenkins does not take", "Bearer " + bothKnow, 201, false, true},
		{"none", "", 401, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			before := strings.Count(s.log.String(), "decide differently")
			headers := []string{"X-Forwarded-User: root", "Cookie: JSESSIONID.1=forged"}
			if c.auth != "" {
				headers = append(headers, "Authorization: "+c.auth)
			}
			a := s.send("POST", "/job/a/build?delay=0sec", "", headers...)
			if a.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", a.StatusCode, c.status, a.body)
			}
			if a.Header["Set-Cookie"] != nil {
				t.Errorf("the client got %q", a.Header["Set-Cookie"])
			}
			if c.reported {
				s.reports(before + 1)
			}
			if got := strings.Count(s.log.String(), "decide differently") - before; (got == 1) != c.reported {
				t.Errorf("%d differences are reported, want one: %v\n%s", got, c.reported, s.log.last())
			}
			if got := len(s.jenkins.Requests()) > 0; got != c.asked {
				t.Errorf("Jenkins was asked: %v, want %v", got, c.asked)
			}
			for _, r := range s.jenkins.Requests() {
				if r.User == "root" || strings.Contains(r.Header.Get("Cookie"), "forged") {
					t.Errorf("Jenkins got %s as %q, with the cookie %q", r.Path, r.User, r.Header.Get("Cookie"))
				}
			}
		})
	}
	for _, secret := range []string{bothKnow, onlyJenkins, onlyGateway, revokedHere, own} {
		s.hides("alice", secret)
	}
}

// Without shadow mode a token that only Jenkins knows never gets there.
func TestNoShadow(t *testing.T) {
	s := newSite(t, options{jenkins: jenkinstest.Config{Users: map[string]jenkinstest.User{"alice": {Tokens: []string{onlyJenkins}, Password: "sesame"}}}})
	for _, secret := range []string{onlyJenkins, "sesame"} {
		if a := s.send("GET", "/api/json", "", "Authorization: "+basicAuth("alice", secret)); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d, want 401", a.StatusCode)
		}
	}
	s.untouched()
}

// A password, which the gateway never takes, is Jenkins' to take meanwhile.
func TestShadowOfAPassword(t *testing.T) {
	s := newShadow(t)
	a := s.send("GET", "/whoAmI/api/json", "", "Authorization: "+basicAuth("alice", "sesame"))
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", a.StatusCode, a.body)
	}
	s.reports(1)
	if line := s.log.last(); !strings.Contains(line, "decide differently") || !strings.Contains(line, `"reason":"a credential that is not a token of ours"`) || strings.Contains(line, "sesame") {
		t.Errorf("the log says %s", line)
	}
}
