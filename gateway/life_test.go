package gateway_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// limited makes a token with limits and returns it with its secret.
func (s *site) limited(limits token.Limits) (*token.Token, string) {
	s.t.Helper()
	secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &limits})
	return s.directory.Find(digest(s.t, secret)), secret
}

// legacySecret is what Jenkins before 2.129 showed to a user.
const legacySecret = "0123456789abcdef0123456789abcdef"

// importLegacy takes over such a token of alice.
func (s *site) importLegacy(rules token.Rules) {
	s.t.Helper()
	s.directory.SetRules(rules)
	got, err := s.directory.Import(s.t.Context(), []token.Import{
		{User: "alice", Name: "legacy", Digest: sha256.Sum256([]byte(legacySecret)), Legacy: true},
	}, false, "test")
	if err != nil || got[0].Outcome != token.Taken {
		s.t.Fatalf("Import = %+v, %v", got, err)
	}
}

func TestLegacyTokens(t *testing.T) {
	allow := token.Rules{Legacy: token.LegacyAllowed}
	jenkins := token.NewSecret(token.Jenkins).Reveal()
	for _, c := range []struct {
		name    string
		rules   token.Rules
		headers []string
		status  int
		reason  gateway.Reason
	}{
		{"by default", token.Rules{}, []string{"Authorization: " + basicAuth("alice", legacySecret)}, 401, gateway.ReasonLegacy},
		{"allowed", allow, []string{"Authorization: " + basicAuth("alice", legacySecret)}, 200, ""},
		{"allowed, another spelling", allow, []string{"Authorization: " + basicAuth("ALICE", legacySecret)}, 200, ""},
		{"warned", token.Rules{Legacy: token.LegacyWarned}, []string{"Authorization: " + basicAuth("alice", legacySecret)}, 200, ""},
		{"until an hour ago", token.Rules{Legacy: token.LegacyAllowed, LegacyUntil: start.Unix() + 3600}, []string{"Authorization: " + basicAuth("alice", legacySecret)}, 401, gateway.ReasonLegacy},
		{"of another user", allow, []string{"Authorization: " + basicAuth("bob", legacySecret)}, 401, gateway.ReasonWrongUser},
		{"in capitals", allow, []string{"Authorization: " + basicAuth("alice", strings.ToUpper(legacySecret))}, 401, gateway.ReasonForeign},
		{"as a bearer", allow, []string{"Authorization: Bearer " + legacySecret}, 401, gateway.ReasonForeign},
		{"in the other header", allow, []string{"X-Api-Token: " + legacySecret}, 401, gateway.ReasonMalformed},
		{"as a token of the Jenkins format", allow, []string{"Authorization: " + basicAuth("alice", "11"+legacySecret)}, 401, gateway.ReasonUnknown},
		{"half of a token in the Jenkins format", allow, []string{"Authorization: " + basicAuth("alice", jenkins[2:])}, 401, gateway.ReasonUnknown},
		{"a password of 32 hex digits", allow, []string{"Authorization: " + basicAuth("alice", strings.Repeat("0a", 16))}, 401, gateway.ReasonForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, options{gate: func(g *gateway.Config) { g.TokenHeader = "X-Api-Token" }})
			s.importLegacy(c.rules)
			fixed, err := token.ParseFixed(jenkins)
			if err != nil {
				t.Fatal(err)
			}
			s.tokenAs(token.Request{User: "alice", Expires: "never", Secret: &fixed})
			a := s.send("GET", "/whoAmI/api/json", "", c.headers...)
			if a.StatusCode != c.status {
				t.Errorf("status %d, want %d", a.StatusCode, c.status)
			}
			if c.reason == "" {
				if got := s.only("GET").User; got != "alice" {
					t.Errorf("Jenkins saw %q", got)
				}
			} else {
				s.untouched()
				if line := s.log.last(); !strings.Contains(line, `"reason":"`+string(c.reason)+`"`) {
					t.Errorf("the log says %s, want %q", line, c.reason)
				}
			}
			if warns := strings.Contains(s.log.String(), "a token from before Jenkins 2.129 is in use"); warns != (c.rules.Legacy == token.LegacyWarned) {
				t.Errorf("the log warns: %t", warns)
			}
			s.hides("alice", legacySecret)
			s.hides("alice", jenkins)
		})
	}
}

// A legacy token is no more for a URL than any other. It has the shape of any MD5 sum,
// so only a known one is refused, and only to a user: a stranger gets the same answer
// to a known token and to an unknown one.
func TestLegacyTokenInURL(t *testing.T) {
	s := newSite(t, options{})
	s.importLegacy(token.Rules{Legacy: token.LegacyAllowed})
	auth := "Authorization: " + basicAuth("alice", s.token("alice"))
	const md5 = "d41d8cd98f00b204e9800998ecf8427e"
	for _, format := range []string{"/api/json?token=%s", "/job/%s/api/json", "/api/json?next=%%2Fx%%3Ftoken%%3D%s"} {
		target := fmt.Sprintf(format, legacySecret)
		s.jenkins.ResetRequests()
		if a := s.send("GET", target, "", auth); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s by a user: status %d, want 400", target, a.StatusCode)
		}
		if a, b := s.send("GET", target, ""), s.send("GET", fmt.Sprintf(format, md5), ""); a.StatusCode != http.StatusUnauthorized || a.dump() != b.dump() {
			t.Errorf("%s: a stranger gets\n%s\nfor a known token and\n%s\nfor another number", format, a.dump(), b.dump())
		}
		s.untouched()
		s.send("GET", fmt.Sprintf(format, md5), "", auth)
		s.only("GET")
	}
	s.hides("alice", legacySecret)
}

// Why a token that exists is refused is for the log alone: to the client all look the
// same, and the same as a token that does not exist.
func TestRefusalsLookAlike(t *testing.T) {
	s := newSite(t, options{})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		reason gateway.Reason
		header func() string
	}{
		{"unknown", gateway.ReasonUnknown, func() string { return "Bearer " + token.NewSecret(token.Native).Reveal() }},
		{"suspended", gateway.ReasonSuspended, func() string {
			made, secret := s.limited(token.Limits{})
			_, err := s.directory.SuspendAll(ctx, []*token.Token{made}, token.ByAdmin, "", "test")
			must(err)
			return "Bearer " + secret
		}},
		{"revoked, of another user", gateway.ReasonWrongUser, func() string {
			made, secret := s.limited(token.Limits{})
			_, err := s.directory.Revoke(ctx, made.Record().ID, "test")
			must(err)
			return basicAuth("bob", secret)
		}},
		{"revoked, from elsewhere", gateway.ReasonRevoked, func() string {
			made, secret := s.limited(token.Limits{Sources: []string{"192.0.2.0/24"}})
			_, err := s.directory.Revoke(ctx, made.Record().ID, "test")
			must(err)
			return basicAuth("alice", secret)
		}},
		{"created by a revoked token", gateway.ReasonParent, func() string {
			parent, _ := s.limited(token.Limits{})
			secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Parent: parent})
			_, err := s.directory.Revoke(ctx, parent.Record().ID, "test")
			must(err)
			return "Bearer " + secret
		}},
		{"expired, and suspended", gateway.ReasonSuspended, func() string {
			secret := s.tokenAs(token.Request{User: "alice", Expires: "1h"}) // the gate is two hours ahead
			made := s.directory.Find(digest(t, secret))
			_, err := s.directory.SuspendAll(ctx, []*token.Token{made}, token.ByAdmin, "", "test")
			must(err)
			return basicAuth("alice", secret)
		}},
		{"of a disabled user", gateway.ReasonOwner, func() string {
			secret := s.tokenAs(token.Request{User: "bob", Expires: "never"})
			_, err := s.directory.SetDisabled(ctx, "BOB", true, "test")
			must(err)
			return basicAuth("bob", secret)
		}},
		{"from elsewhere", gateway.ReasonSource, func() string {
			_, secret := s.limited(token.Limits{Sources: []string{"192.0.2.0/24"}})
			return basicAuth("alice", secret)
		}},
		{"used up", gateway.ReasonUses, func() string {
			_, secret := s.limited(token.Limits{Uses: 1})
			if a := s.send("GET", "/api/json", "", "Authorization: Bearer "+secret); a.StatusCode != http.StatusOK {
				t.Fatalf("the first use: status %d", a.StatusCode)
			}
			s.jenkins.ResetRequests()
			return "Bearer " + secret
		}},
		{"idle", gateway.ReasonIdle, func() string {
			_, secret := s.limited(token.Limits{})
			s.directory.SetRules(token.Rules{MaxIdle: 2 * 60 * 60 * 1e9})
			t.Cleanup(func() { s.directory.SetRules(token.Rules{}) })
			return basicAuth("alice", secret)
		}},
		{"legacy", gateway.ReasonLegacy, func() string {
			s.importLegacy(token.Rules{})
			return basicAuth("alice", legacySecret)
		}},
	}
	var first string
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			header := test.header()
			dump := s.send("GET", "/api/json", "", "Authorization: "+header).dump()
			if first == "" {
				first = dump
			}
			if dump != first || !strings.HasPrefix(dump, "401 ") {
				t.Errorf("the answer is\n%s\nbut was\n%s", dump, first)
			}
			// What the directory does about it comes in the background.
			if log := s.log.String(); !strings.Contains(log, `"reason":"`+string(test.reason)+`"`) {
				t.Errorf("the log has no reason %q:\n%s", test.reason, log)
			}
			s.untouched()
			if secret, found := strings.CutPrefix(header, "Bearer "); found {
				s.hides("alice", secret)
			}
			if strings.Contains(s.log.String(), header) {
				t.Error("the log has the header")
			}
		})
	}
}

// The holder of a secret that has expired or was revoked is told so, behind the challenge
// that other clients get.
func TestHolderIsToldTheEnd(t *testing.T) {
	s := newSite(t, options{})
	revoked, revokedSecret := s.limited(token.Limits{})
	if _, err := s.directory.Revoke(t.Context(), revoked.Record().ID, "test"); err != nil {
		t.Fatal(err)
	}
	replaced, replacedSecret := s.limited(token.Limits{})
	if _, _, _, err := s.directory.Rotate(t.Context(), replaced.Record().ID, token.Rotation{Overlap: "1h"}); err != nil { // the gate is two hours ahead
		t.Fatal(err)
	}
	expired := s.tokenAs(token.Request{User: "alice", Expires: "1h"})
	for _, c := range []struct{ name, secret, end string }{
		{"expired", expired, "expired"}, {"replaced", replacedSecret, "expired"}, {"revoked", revokedSecret, "revoked"},
	} {
		for _, header := range []string{"Bearer " + c.secret, basicAuth("alice", c.secret)} {
			a := s.send("GET", "/api/json", "", "Authorization: "+header)
			want := []string{`Basic realm="Jenkins"`, `Bearer error="invalid_token", error_description="` + c.end + `"`}
			if got := a.Header["Www-Authenticate"]; a.StatusCode != 401 || !slices.Equal(got, want) {
				t.Errorf("%s: status %d, challenges %q, want %q", c.name, a.StatusCode, got, want)
			}
			if !strings.Contains(a.body, "this API token is "+c.end) {
				t.Errorf("%s: the text is %q", c.name, a.body)
			}
		}
	}
	s.untouched()
}

func TestTooOften(t *testing.T) {
	s := newSite(t, options{})
	_, secret := s.limited(token.Limits{Rate: 2})
	_, other := s.limited(token.Limits{})
	auth := "Authorization: " + basicAuth("alice", secret)
	for i, want := range []int{200, 200, 429, 429} {
		a := s.send("GET", "/api/json", "", auth)
		if a.StatusCode != want {
			t.Errorf("request %d: status %d, want %d", i, a.StatusCode, want)
		}
		if got := a.Header.Get("Retry-After"); want == 429 && got != "61" || want == 200 && got != "" {
			t.Errorf("request %d: Retry-After is %q", i, got)
		}
	}
	if line := s.log.last(); !strings.Contains(line, string(gateway.ReasonRate)) {
		t.Errorf("the log says %s", line)
	}
	if a := s.send("GET", "/api/json", "", "Authorization: "+basicAuth("alice", other)); a.StatusCode != http.StatusOK {
		t.Errorf("another token: status %d", a.StatusCode)
	}
	if got := len(s.received("GET")); got != 3 {
		t.Errorf("Jenkins got %d requests, want 3", got)
	}
	s.hides("alice", secret)
}

// The source is the address that a request counts for, and none that a client names.
func TestSources(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		want       int
	}{
		{"inside", "10.1.2.3", 200},
		{"inside, mapped", "::ffff:10.1.2.3", 200},
		{"outside", "192.0.2.1", 401},
		{"no address", "unix", 401},
		{"nothing", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, options{gate: func(g *gateway.Config) { g.ClientAddr = func(*http.Request) string { return c.addr } }})
			_, secret := s.limited(token.Limits{Sources: []string{"10.0.0.0/8"}})
			if a := s.send("GET", "/api/json", "", "Authorization: Bearer "+secret, "X-Forwarded-For: 10.1.2.3"); a.StatusCode != c.want {
				t.Errorf("status %d, want %d", a.StatusCode, c.want)
			}
		})
	}
}

func TestScopesAndObservation(t *testing.T) {
	for _, c := range []struct {
		name         string
		limits       token.Limits
		method, path string
		want         int
		needs        string // in the answer, or what was observed
	}{
		{"covered", token.Limits{Scopes: []string{"build:a"}}, "POST", "/job/a/build", 201, ""},
		{"covered by a star", token.Limits{Scopes: []string{"build:team-a/**", "read"}}, "GET", "/job/a/api/json", 200, ""},
		{"not covered", token.Limits{Scopes: []string{"build:team-a/**"}}, "POST", "/job/a/build", 403, "build:a"},
		{"not even known", token.Limits{Scopes: []string{"build:a"}}, "POST", "/scriptText", 403, "script"},
		{"observed and covered", token.Limits{Scopes: []string{"build:a"}, Observe: true}, "POST", "/job/a/build", 201, "build:a"},
		{"observed and not covered", token.Limits{Scopes: []string{"build:team-a/**"}, Observe: true}, "POST", "/job/a/build", 201, "build:a"},
		{"without scopes", token.Limits{Rate: 100}, "POST", "/job/a/build", 201, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var observed []gateway.Decision
			s := newSite(t, options{gate: func(g *gateway.Config) {
				g.Observed = func(_ *http.Request, d gateway.Decision) { observed = append(observed, d) }
			}})
			made, secret := s.limited(c.limits)
			a := s.send(c.method, c.path, "", "Authorization: "+basicAuth("alice", secret))
			if a.StatusCode != c.want {
				t.Errorf("status %d, want %d", a.StatusCode, c.want)
			}
			refused := c.want == http.StatusForbidden
			header := a.Header.Get("X-Crumbgate-Needs")
			if refused {
				s.untouched()
				if line := s.log.last(); header != c.needs || !strings.Contains(line, string(gateway.ReasonScope)) || !strings.Contains(line, `"needs":"`+c.needs+`"`) {
					t.Errorf("the header is %q and the log says %s, want %q", header, line, c.needs)
				}
				if made.Uses().Count != 0 {
					t.Error("a request that was refused counts as a use")
				}
			} else if header != "" {
				t.Errorf("the header is %q", header)
			}
			var got []string
			for _, need := range made.Needs() {
				got = append(got, need.Scope())
			}
			if want := c.needs; !refused && strings.Join(got, " ") != want || refused && got != nil {
				t.Errorf("observed is %q, want %q", got, want)
			}
			if told := len(observed) == 1; told != (c.name == "observed and not covered") {
				t.Errorf("told of %d uncovered requests", len(observed))
			}
			s.hides("alice", secret)
		})
	}
}
