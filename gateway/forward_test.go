package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// auth makes a token and returns the header that presents it.
func (s *site) auth(user string) string {
	s.t.Helper()
	return "Authorization: " + basicAuth(user, s.token(user))
}

// refusals counts the POSTs that Jenkins refused for their crumb.
func (s *site) refusals() (n int) {
	for _, r := range s.jenkins.Requests() {
		if r.Crumb == jenkinstest.CrumbInvalid || r.Crumb == jenkinstest.CrumbMissing {
			n++
		}
	}
	return n
}

// warm has the broker hold a session for the owner of auth.
func (s *site) warm(auth string) {
	s.t.Helper()
	if a := s.send("POST", "/job/a/build", "", auth); a.StatusCode != http.StatusCreated {
		s.t.Fatalf("the first POST: status %d, %s", a.StatusCode, a.body)
	}
	s.jenkins.ResetRequests()
}

func TestPost(t *testing.T) {
	tests := []struct {
		name    string
		jenkins jenkinstest.Config
		gate    func(*gateway.Config)
		field   string
		fetches int
	}{
		{"default", jenkinstest.Config{}, nil, "Jenkins-Crumb", 1},
		{"prefix", jenkinstest.Config{Prefix: "/ci/jenkins"}, nil, "Jenkins-Crumb", 1},
		{"field of old versions", jenkinstest.Config{CrumbField: ".crumb"}, nil, ".crumb", 1},
		{"field as configured", jenkinstest.Config{CrumbField: "X-Csrf"}, func(c *gateway.Config) { c.CrumbField = "x-csrf" }, "X-Csrf", 1},
		{"address in the crumb", jenkinstest.Config{Version: "2.426.3"}, nil, "Jenkins-Crumb", 2},
		{"strict issuer", jenkinstest.Config{Strict: jenkinstest.DefaultStrictIssuer()}, nil, "Jenkins-Crumb", 1},
		{"other identity header", jenkinstest.Config{UserHeader: "X-Remote-User"}, func(c *gateway.Config) { c.UserHeader = "X-Remote-User" }, "Jenkins-Crumb", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, options{jenkins: test.jenkins, gate: test.gate})
			a := s.send("POST", "/job/a/build?delay=0sec", "x=1", s.auth("alice"),
				"Content-Type: application/x-www-form-urlencoded", test.field+": forged", "Cookie: JSESSIONID.1=forged; remember-me=x")
			if a.StatusCode != http.StatusCreated || !strings.HasSuffix(a.Header.Get("Location"), "/") {
				t.Fatalf("status %d, Location %q, %s; want 201 and a queue item", a.StatusCode, a.Header.Get("Location"), a.body)
			}
			if cookies := a.Header["Set-Cookie"]; cookies != nil {
				t.Errorf("the client got %q", cookies)
			}
			got := s.only("POST")
			if got.User != "alice" || got.Crumb != jenkinstest.CrumbValid || string(got.Body) != "x=1" {
				t.Errorf("Jenkins saw %q, crumb %q, body %q", got.User, got.Crumb, got.Body)
			}
			if cookie := got.Header.Get("Cookie"); !strings.HasPrefix(cookie, "JSESSIONID.") || strings.Contains(cookie, "forged") || strings.Contains(cookie, "remember-me") {
				t.Errorf("Jenkins got the cookie %q", cookie)
			}
			if values := got.Header[http.CanonicalHeaderKey(test.field)]; len(values) != 1 || values[0] == "forged" {
				t.Errorf("Jenkins got %s: %q", test.field, values)
			}
			if n := s.jenkins.CrumbFetches(); n != test.fetches || s.refusals() != 0 {
				t.Errorf("%d fetches and %d refusals, want %d and 0", n, s.refusals(), test.fetches)
			}
		})
	}
}

// ask serves one request in place, without a connection of its own to the gate.
func (s *site) ask(proxy http.Handler, method, path, auth string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader("x=1"))
	_, value, _ := strings.Cut(auth, ": ")
	r.Header.Set("Authorization", value)
	w := httptest.NewRecorder()
	if err := s.gate.ServeHTTP(w, r, passTo(proxy)); err != nil {
		s.t.Errorf("ServeHTTP: %v", err)
	}
	return w
}

func TestColdPostsShareOneFetch(t *testing.T) {
	s := newSite(t, options{})
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	if err := j.AddJob("a", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	proxy, auth := newProxy(t, url), s.auth("alice")
	const n = 1000
	var wg sync.WaitGroup
	begin, created := make(chan struct{}), atomic.Int64{}
	for range n {
		wg.Go(func() {
			<-begin
			if s.ask(proxy, "POST", "/job/a/build", auth).Code == http.StatusCreated {
				created.Add(1)
			}
		})
	}
	close(begin)
	wg.Wait()
	if created.Load() != n || j.CrumbFetches() != 1 {
		t.Errorf("%d of %d POSTs created something, with %d crumb fetches; want all, and one", created.Load(), n, j.CrumbFetches())
	}
}

func TestSessionsAreNotShared(t *testing.T) {
	s := newSite(t, options{})
	var wg sync.WaitGroup
	for i := range 100 {
		user := fmt.Sprintf("user%d", i)
		auth := s.auth(user)
		for range 4 {
			wg.Go(func() {
				a, err := s.try("POST", "/whoAmI/api/json", nil, auth)
				if err != nil || a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"name":"`+user+`"`) {
					t.Errorf("%s got %v, %q", user, err, a.body)
				}
			})
		}
		if i == 50 {
			s.jenkins.Restart()
		}
	}
	wg.Wait()
	owner := make(map[string]string)
	for _, r := range s.jenkins.Requests() {
		if other, known := owner[r.SessionID]; known && other != r.User {
			t.Fatalf("session %s was used by %s and by %s", r.SessionID, other, r.User)
		}
		owner[r.SessionID] = r.User
	}
}

func TestReplay(t *testing.T) {
	const limit = 4096
	body := make([]byte, 20*limit)
	rand.NewChaCha8([32]byte{}).Read(body)
	type reader struct{ io.Reader } // whose length nobody can tell
	tests := []struct {
		name     string
		body     []byte
		chunked  bool
		refusals int // 0 where the crumb is known to be fresh
	}{
		{"no body", nil, false, 1},
		{"small", body[:100], false, 1},
		{"exactly the limit", body[:limit], false, 1},
		{"one over the limit", body[:limit+1], false, 0},
		{"large", body, false, 0},
		{"chunked, empty", nil, true, 0},
		{"chunked, small", body[:100], true, 0},
		{"chunked, exactly the limit", body[:limit], true, 0},
		{"chunked, one over the limit", body[:limit+1], true, 0},
		{"chunked, large", body, true, 0},
	}
	for _, forget := range []string{"restart", "idle"} {
		for _, test := range tests {
			t.Run(forget+", "+test.name, func(t *testing.T) {
				s := newSite(t, options{gate: func(c *gateway.Config) { c.ReplayLimit = limit }})
				auth := s.auth("alice")
				s.warm(auth)
				if forget == "restart" {
					s.jenkins.Restart()
				} else {
					s.jenkins.ExpireSessions()
				}
				var r io.Reader = bytes.NewReader(test.body)
				if test.chunked {
					r = reader{r}
				}
				a := s.sendBody("POST", "/job/a/build", r, auth, "Content-Type: application/octet-stream")
				if a.StatusCode != http.StatusCreated || a.Header["Set-Cookie"] != nil || a.Header["Cache-Control"] != nil {
					t.Fatalf("the client got\n%s", a.dump())
				}
				got := s.only("POST")
				if sum := sha256.Sum256(test.body); got.BodySHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("Jenkins got %d bytes, not the %d that were sent", got.BodyLen, len(test.body))
				}
				if n := s.refusals(); n != test.refusals {
					t.Errorf("Jenkins refused %d times, want %d", n, test.refusals)
				}
			})
		}
	}
}

// sized is a body of a known length.
type sized struct {
	io.Reader
	size int64
}

// The client sends on while Jenkins has refused already, and the proxy is still
// reading for the first attempt.
func TestReplayWithASlowClient(t *testing.T) {
	const limit = 64 << 10
	refused, again := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var lingering sync.WaitGroup
	var s *site
	s = newSite(t, options{
		gate: func(c *gateway.Config) { c.ReplayLimit = limit },
		between: func(proxy http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				first := false
				if r.Method == http.MethodPost {
					once.Do(func() { first = true })
				}
				if !first {
					if r.Method == http.MethodPost {
						close(again)
					}
					proxy.ServeHTTP(w, r)
					return
				}
				if _, err := io.ReadFull(r.Body, make([]byte, 1000)); err != nil {
					t.Error(err)
				}
				lingering.Go(func() {
					_, _ = r.Body.Read(make([]byte, 1000)) // under way when the second attempt wants to begin
					<-again
					if n, err := io.Copy(io.Discard, r.Body); n != 0 || err == nil {
						t.Errorf("the first attempt read %d bytes on, error %v", n, err)
					}
				})
				s.jenkins.Restart()
				http.Error(w, jenkinstest.NoValidCrumb, http.StatusForbidden)
				close(refused)
			})
		},
	})
	auth := s.auth("alice")
	body := make([]byte, limit)
	rand.NewChaCha8([32]byte{1}).Read(body)
	pr, pw := io.Pipe()
	defer pr.Close()
	go func() {
		for at := 0; at < len(body); at += 1000 {
			switch at {
			case 1000:
				<-refused
			case 2000:
				<-again
			}
			if _, err := pw.Write(body[at:min(at+1000, len(body))]); err != nil {
				break // the client tells why
			}
		}
		pw.Close()
	}()
	a := s.sendBody("POST", "/job/a/build", sized{pr, limit}, auth, "Content-Type: application/octet-stream")
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %s", a.StatusCode, a.body)
	}
	if sum, got := sha256.Sum256(body), s.only("POST"); got.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("Jenkins got %d bytes, not the %d that were sent", got.BodyLen, len(body))
	}
	lingering.Wait()
}

// Jenkins restarts after it has given the crumb for a body that is too large to
// keep.
func TestRestartUnderALargeBody(t *testing.T) {
	const limit = 4096
	var s *site
	s = newSite(t, options{
		gate: func(c *gateway.Config) { c.ReplayLimit = limit },
		between: func(proxy http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					begin := make([]byte, limit+1)
					if _, err := io.ReadFull(r.Body, begin); err != nil {
						t.Error(err)
					}
					r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), r.Body))
					s.jenkins.Restart()
				}
				proxy.ServeHTTP(w, r)
			})
		},
	})
	a := s.send("POST", "/job/a/build", strings.Repeat("x", 3*limit), s.auth("alice"))
	if a.StatusCode != http.StatusBadGateway || !strings.Contains(a.body, "Send the request again") {
		t.Errorf("the client got\n%s\nwant 502 and what to do", a.dump())
	}
	if got := s.received("POST"); len(got) != 0 {
		t.Errorf("Jenkins accepted %d POSTs", len(got))
	}
	if line := s.log.last(); !strings.Contains(line, "too large to send again") || !strings.Contains(line, "token_id") {
		t.Errorf("the log says %s", line)
	}
}

// An issuer that refuses each of its own crumbs makes no loop, and no replay: the session
// goes on.
func TestRefusedForEver(t *testing.T) {
	s := newSite(t, options{jenkins: jenkinstest.Config{Strict: &jenkinstest.StrictIssuer{CheckSessionMatch: true, CheckSameSource: true}}})
	a := s.send("POST", "/job/a/build", "x=1", s.auth("alice"), "Referer: http://elsewhere/")
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.Header.Get("Server"), "Jetty") || s.refusals() != 1 {
		t.Errorf("after %d refusals the client got\n%s\nwant Jenkins' 403 after 1", s.refusals(), a.dump())
	}
	if line := s.log.last(); !strings.Contains(line, "Referer") {
		t.Errorf("the log says %s", line)
	}
}

// A crumb issuer that looks at the client's address makes the gateway hold a session for each
// address, after one refusal.
func TestIssuerThatChecksTheAddress(t *testing.T) {
	s := newSite(t, options{
		jenkins: jenkinstest.Config{Strict: &jenkinstest.StrictIssuer{HoursValid: 2, XORMasking: true, CheckSessionMatch: true, CheckClientIP: true}},
		gate: func(c *gateway.Config) {
			c.ClientAddr = func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }
		},
	})
	auth := s.auth("alice")
	for i := range 8 {
		want := http.StatusCreated
		if i == 1 {
			want = http.StatusForbidden
		}
		if a := s.send("POST", "/job/a/build", "x=1", auth, fmt.Sprintf("X-Forwarded-For: 10.0.0.%d", i%2)); a.StatusCode != want {
			t.Errorf("POST %d: the client got\n%s\nwant %d", i, a.dump(), want)
		}
	}
	if n := s.refusals(); n != 1 {
		t.Errorf("%d refusals, want 1", n)
	}
}

// Jenkins words its refusal as the client likes it.
func TestRefusalInEveryForm(t *testing.T) {
	for _, accept := range []string{"", "text/html", "*/*", "application/json", "text/json", "text/plain", "image/png", "application/json;charset=utf-8"} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q, strict %v", accept, strict), func(t *testing.T) {
				var o options
				if strict {
					o.jenkins.Strict = jenkinstest.DefaultStrictIssuer()
				}
				s := newSite(t, o)
				auth := s.auth("alice")
				s.warm(auth)
				headers := []string{auth}
				if accept != "" {
					headers = append(headers, "Accept: "+accept)
				}
				s.jenkins.Restart()
				if a := s.send("POST", "/job/a/build", "x=1", headers...); a.StatusCode != http.StatusCreated {
					t.Errorf("the client got\n%s", a.dump())
				}
				if s.refusals() != 1 || len(s.received("POST")) != 1 {
					t.Errorf("Jenkins refused %d and accepted %d, want 1 and 1", s.refusals(), len(s.received("POST")))
				}
			})
		}
	}
}

// A crumb that has grown too old within its session is fetched anew before it is used, not
// after Jenkins has refused it.
func TestAgedCrumbIsFetchedAnew(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	for _, class := range []string{"token", "session"} {
		t.Run(class, func(t *testing.T) {
			strict := jenkinstest.DefaultStrictIssuer()
			strict.HoursValid, strict.Now = 1, now
			s := newPeopleSite(t, options{jenkins: jenkinstest.Config{Strict: strict}, gate: func(c *gateway.Config) { c.Now = now }})
			var post func() answer
			if class == "token" {
				auth := s.auth("alice")
				post = func() answer { return s.send("POST", "/job/a/build", "x=1", auth) }
			} else {
				bob := s.browser("bob")
				own := bob.own()
				post = func() answer { return bob.build("Jenkins-Crumb: " + own) }
			}
			for _, step := range []time.Duration{0, 29 * time.Minute, 45 * time.Minute, 3 * time.Hour, 30 * time.Minute} {
				passed.Add(int64(step))
				if a := post(); a.StatusCode != http.StatusCreated || s.refusals() != 0 {
					t.Errorf("after %v more, and %d refusals, the client got\n%s", step, s.refusals(), a.dump())
				}
			}
			if n := s.jenkins.CrumbFetches(); n > 6 {
				t.Errorf("%d crumbs were fetched", n)
			}
		})
	}
}

// TestActedPostIsNotReplayed: an answer that reads like the refusal of a crumb is no reason to send
// a request again while its session goes on: Jenkins may have acted.
func TestActedPostIsNotReplayed(t *testing.T) {
	for _, issuer := range []string{"default", "strict"} {
		for name, body := range map[string]string{"the phrase in a text": "job said: " + jenkinstest.NoValidCrumb + ", sorry", "empty": ""} {
			for _, class := range []string{"token", "session", "session without cookies", "exempt path, after a restart"} {
				t.Run(issuer+", "+name+", "+class, func(t *testing.T) {
					var acted atomic.Int64
					o := options{gate: refreshing, between: func(proxy http.Handler) http.Handler {
						return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if r.Method != http.MethodPost {
								proxy.ServeHTTP(w, r)
								return
							}
							acted.Add(1)
							w.Header().Set("Content-Type", "text/plain")
							w.WriteHeader(http.StatusForbidden)
							_, _ = io.WriteString(w, body)
						})
					}}
					if issuer == "strict" {
						o.jenkins.Strict = jenkinstest.DefaultStrictIssuer()
					}
					s := newPeopleSite(t, o)
					bob, path := s.browser("bob"), "/job/a/build"
					headers := []string{s.auth("alice")}
					switch class {
					case "session":
						headers = []string{ssoHeader + ": bob", sameOrigin, "Jenkins-Crumb: " + bob.own()}
						headers = append(headers, "Cookie: "+bob.cookie())
					case "session without cookies":
						headers = []string{ssoHeader + ": bob", sameOrigin, "Jenkins-Crumb: " + bob.own()}
					case "exempt path, after a restart":
						path = "/generic-webhook-trigger/invoke"
						s.send("POST", path, "x=1", headers...)
						s.jenkins.Restart()
						acted.Store(0)
					}
					a := s.send("POST", path, "x=1", headers...)
					if acted.Load() != 1 || a.StatusCode != http.StatusForbidden || a.body != body {
						t.Errorf("Jenkins acted %d times, want once; the client got\n%s", acted.Load(), a.dump())
					}
				})
			}
		}
	}
}

// Other refusals are the client's business, and not repeated.
func TestForbiddenPasses(t *testing.T) {
	s := newSite(t, options{jenkins: jenkinstest.Config{Readers: []string{"guest"}}})
	guest, alice := s.auth("guest"), s.auth("alice")
	a := s.send("POST", "/job/a/build", "x=1", guest)
	if a.StatusCode != http.StatusForbidden || a.Header.Get("X-Required-Permission") != "hudson.model.Item.Build" || !strings.Contains(a.body, "Access Denied") {
		t.Errorf("the client got\n%s", a.dump())
	}
	if n := len(s.received("POST")); n != 1 {
		t.Errorf("Jenkins got it %d times", n)
	}
	tests := []struct {
		name, body, contentType string
	}{
		{"another text", "denied by a firewall", "text/plain"},
		{"large", strings.Repeat("denied ", 10_000), "text/plain"},
		{"large, and the phrase late", strings.Repeat("denied ", 10_000) + jenkinstest.NoValidCrumb, "text/plain"},
		{"a little more than is held", strings.Repeat("x", 16<<10+1), "text/plain"},
	}
	s.warm(alice)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			s.jenkins.Fail(jenkinstest.Fault{Method: "POST", Status: 403, Body: test.body, ContentType: test.contentType, Times: 1})
			a := s.send("POST", "/job/a/build", "x=1", alice)
			if a.StatusCode != http.StatusForbidden || a.body != test.body {
				t.Errorf("status %d and %d bytes, want 403 and %d bytes", a.StatusCode, len(a.body), len(test.body))
			}
			if n := len(s.received("POST")); n != 1 {
				t.Errorf("Jenkins got it %d times", n)
			}
		})
	}
	t.Run("empty", func(t *testing.T) { // as a refused crumb's, but the session holds
		s.jenkins.ResetRequests()
		s.jenkins.Fail(jenkinstest.Fault{Method: "POST", Status: 403, ContentType: "text/plain", Times: 1})
		if a := s.send("POST", "/job/a/build", "x=1", alice); a.StatusCode != http.StatusForbidden || len(s.received("POST")) != 1 {
			t.Errorf("status %d, Jenkins got it %d times", a.StatusCode, len(s.received("POST")))
		}
	})
}

// An encoder behind the gate hides what a refusal says.
func TestCompressedRefusal(t *testing.T) {
	s := newSite(t, options{between: func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			proxy.ServeHTTP(answer, r)
			body := answer.Body.Bytes()
			h := w.Header()
			for name, values := range answer.Header() {
				h[name] = values
			}
			if answer.Code == http.StatusForbidden {
				h.Set("Content-Encoding", "reversed")
				for i, j := 0, len(body)-1; i < j; i, j = i+1, j-1 {
					body[i], body[j] = body[j], body[i]
				}
			}
			w.WriteHeader(answer.Code)
			_, _ = w.Write(body)
		})
	}})
	auth := s.auth("alice")
	s.warm(auth)
	s.jenkins.Restart()
	if a := s.send("POST", "/job/a/build", "x=1", auth); a.StatusCode != http.StatusCreated || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("the client got\n%s", a.dump())
	}
}

func TestProtectionSwitched(t *testing.T) {
	s := newSite(t, options{})
	auth := s.auth("alice")
	post := func(what string, want jenkinstest.CrumbState) {
		t.Helper()
		s.jenkins.ResetRequests()
		if a := s.send("POST", "/job/a/build", "x=1", auth, "Jenkins-Crumb: forged"); a.StatusCode != http.StatusCreated {
			t.Errorf("%s: the client got\n%s", what, a.dump())
		}
		got := s.only("POST")
		if got.Crumb != want || got.Header.Get("Jenkins-Crumb") == "forged" {
			t.Errorf("%s: Jenkins took the crumb for %q, want %q; header %q", what, got.Crumb, want, got.Header["Jenkins-Crumb"])
		}
	}
	s.jenkins.SetCSRF(false)
	post("off", jenkinstest.CrumbOff)
	if a := s.send("GET", "/crumbIssuer/api/json", "", auth); a.StatusCode != http.StatusNotFound || a.Header.Get("X-Jenkins") == "" || a.Header["Set-Cookie"] != nil {
		t.Errorf("off: the issuer's answer is\n%s", a.dump())
	}
	s.jenkins.SetCSRF(true)
	post("on", jenkinstest.CrumbValid)
	s.jenkins.SetCSRF(false)
	post("off again", jenkinstest.CrumbOff)
}

// Before 2.543 a crumb holds the client's address.
func TestAddressesOfOneUser(t *testing.T) {
	s := newSite(t, options{
		jenkins: jenkinstest.Config{Version: "2.541.3"},
		gate: func(c *gateway.Config) {
			c.ClientAddr = func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }
		},
	})
	auth := s.auth("alice")
	var wg sync.WaitGroup
	for i := range 40 { // cold, so that they share fetches
		wg.Go(func() {
			a, err := s.try("POST", "/job/a/build", strings.NewReader("x=1"), auth, fmt.Sprintf("X-Forwarded-For: 10.0.0.%d", i%4))
			if err != nil || a.StatusCode != http.StatusCreated {
				t.Errorf("cold: %v, %s", err, a.body)
			}
		})
	}
	wg.Wait()
	if n := s.refusals(); n != 0 {
		t.Errorf("cold: %d refusals, want none", n)
	}
	s.jenkins.ResetRequests()
	for i := range 8 {
		if a := s.send("POST", "/job/a/build", "x=1", auth, fmt.Sprintf("X-Forwarded-For: 10.0.0.%d", i%4)); a.StatusCode != http.StatusCreated {
			t.Errorf("the client got\n%s", a.dump())
		}
	}
	if s.refusals() != 0 || s.jenkins.CrumbFetches() != 0 {
		t.Errorf("warm: %d refusals and %d fetches, want none", s.refusals(), s.jenkins.CrumbFetches())
	}
}

func TestFewSessions(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.MaxSessions = 2 }})
	var auths []string
	for i := range 10 {
		auths = append(auths, s.auth(fmt.Sprintf("user%d", i)))
	}
	for range 3 {
		for _, auth := range auths {
			if a := s.send("POST", "/job/a/build", "x=1", auth); a.StatusCode != http.StatusCreated {
				t.Errorf("the client got\n%s", a.dump())
			}
		}
	}
}

// Whatever else answers the crumb request, the POST stays here.
func TestNoCrumb(t *testing.T) {
	fault := func(f jenkinstest.Fault) jenkinstest.Fault {
		f.PathPrefix = "/crumbIssuer"
		return f
	}
	issue := func(crumb, field string) jenkinstest.Fault {
		return fault(jenkinstest.Fault{ContentType: "application/json;charset=utf-8", Body: fmt.Sprintf(`{"_class":"c","crumb":%q,"crumbRequestField":%q}`, crumb, field)})
	}
	tests := []struct {
		name   string
		fault  jenkinstest.Fault
		status int
		reason string // in the log
	}{
		{"cut", fault(jenkinstest.Fault{Abort: true}), 502, "status 502 in place of 200"},
		{"hangs", fault(jenkinstest.Fault{Hang: true}), 504, "no crumb after 1s"},
		{"drips", fault(jenkinstest.Fault{Body: strings.Repeat(" ", 1000), ContentType: "application/json", Drip: jenkinstest.Drip{Bytes: 1, Interval: 20 * time.Millisecond}}), 504, "no crumb after 1s"},
		{"a gigabyte", fault(jenkinstest.Fault{Size: 1 << 30, ContentType: "application/json"}), 502, "more than 65536 bytes"},
		{"without end", fault(jenkinstest.Fault{Size: -1, ContentType: "application/json"}), 502, "more than 65536 bytes"},
		{"HTML", fault(jenkinstest.Fault{Body: "<html>", Status: 200}), 502, "in place of application/json"},
		{"no content type", fault(jenkinstest.Fault{Body: "{}", ContentType: ";"}), 502, "in place of application/json"},
		{"long content type", fault(jenkinstest.Fault{Body: "{}", ContentType: strings.Repeat("x", 9000)}), 502, "in place of application/json"},
		{"redirect", fault(jenkinstest.Fault{Status: 302}), 502, "status 302"},
		{"unauthorized", fault(jenkinstest.Fault{Status: 401}), 502, "status 401"},
		{"forbidden by something else", fault(jenkinstest.Fault{Status: 403, Body: "denied"}), 502, "status 403"},
		{"not found by something else", fault(jenkinstest.Fault{Status: 404, Body: "no such page"}), 502, "set prefix"},
		{"no JSON", fault(jenkinstest.Fault{Body: `{"crumb":"`, ContentType: "application/json"}), 502, "not the JSON of a crumb issuer"},
		{"JSON of something else", fault(jenkinstest.Fault{Body: `[1]`, ContentType: "application/json"}), 502, "not the JSON of a crumb issuer"},
		{"empty", fault(jenkinstest.Fault{Body: `{}`, ContentType: "application/json"}), 502, "crumb is empty"},
		{"crumb with a line break", issue("ab\ncd", "Jenkins-Crumb"), 502, "other than visible ASCII"},
		{"long crumb", issue(strings.Repeat("a", 1025), "Jenkins-Crumb"), 502, "longer than 1024 bytes"},
		{"no field", issue("ab", ""), 502, "not a name for a header"},
		{"field with a blank", issue("ab", "Jenkins Crumb"), 502, "not a name for a header"},
		{"field with a line break", issue("ab", "Jenkins-Crumb\r\nX"), 502, "not a name for a header"},
		{"identity for a field", issue("admin", "X-Forwarded-User"), 502, "which is no default name"},
		{"identity in another spelling", issue("admin", "x_forwarded.user"), 502, "which is no default name"},
		{"configured identity", issue("admin", "x-mail"), 502, "which is no default name"},
		{"Connection for a field", issue("X-Forwarded-User", "connection"), 502, "which is no default name"},
		{"Cookie for a field", issue("a=b", "Cookie"), 502, "which is no default name"},
		{"method override for a field", issue("PUT", "X-HTTP-Method-Override"), 502, "which is no default name"},
		{"encoding for a field", issue("gzip", "Content-Encoding"), 502, "which is no default name"},
		{"range for a field", issue("bytes=0-1", "Range"), 502, "which is no default name"},
		{"hop for a field", issue("x", "Via"), 502, "which is no default name"},
		{"unknown header for a field", issue("x", "X-Unknown"), 502, "which is no default name"},
		{"Host for a field", issue("evil", "Host"), 502, "which is no default name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, options{gate: func(c *gateway.Config) {
				c.MailHeader = "X-Mail"
				if test.status == http.StatusGatewayTimeout {
					c.CrumbTimeout = time.Second
				}
			}})
			s.jenkins.Fail(test.fault)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			auth := s.auth("alice")
			for _, method := range []string{"POST", "GET"} {
				path := map[string]string{"POST": "/job/a/build", "GET": "/crumbIssuer/api/json"}[method]
				a := s.send(method, path, "x=1", auth)
				if a.StatusCode != test.status || !strings.Contains(a.body, "did not give a crumb") || strings.Contains(a.body, test.reason) {
					t.Errorf("%s: the client got\n%s", method, a.dump())
				}
				if line := s.log.last(); !strings.Contains(line, test.reason) || !strings.Contains(line, `"level":"WARN"`) || len(line) > 1000 {
					t.Errorf("%s: the log says %s\nwant %q", method, line, test.reason)
				}
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("%d MiB were allocated", used>>20)
			}
			if got := s.received("POST"); len(got) != 0 {
				t.Errorf("Jenkins got %s", got[0].RequestURI)
			}
			s.jenkins.ClearFaults()
			if a := s.send("POST", "/job/a/build", "x=1", auth); a.StatusCode != http.StatusCreated {
				t.Errorf("after it was over, the client got\n%s", a.dump())
			}
		})
	}
}

func TestJenkinsDown(t *testing.T) {
	s := newSite(t, options{})
	proxy := newProxy(t, "http://127.0.0.1:1")
	for _, test := range []struct{ method, path string }{{"POST", "/job/a/build"}, {"GET", "/api/json"}} {
		w := s.ask(proxy, test.method, test.path, s.auth("alice"))
		if w.Code != http.StatusBadGateway {
			t.Errorf("%s: status %d, want 502", test.method, w.Code)
		}
	}
}

func TestWrongCrumbField(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.CrumbField = "X-Csrf" }})
	if a := s.send("POST", "/job/a/build", "x=1", s.auth("alice")); a.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", a.StatusCode)
	}
	if line := s.log.last(); !strings.Contains(line, "set crumb_field") {
		t.Errorf("the log says %s", line)
	}
	if got := s.received("POST"); len(got) != 0 {
		t.Error("the POST went on")
	}
}

// If Jenkins refuses a crumb and then gives none, the client gets what Jenkins said.
func TestNoCrumbForTheReplay(t *testing.T) {
	s := newSite(t, options{})
	auth := s.auth("alice")
	s.warm(auth)
	s.jenkins.Restart()
	s.jenkins.Fail(jenkinstest.Fault{PathPrefix: "/crumbIssuer", Status: 500, Body: "oops"})
	a := s.send("POST", "/job/a/build", "x=1", auth)
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.Header.Get("Server"), "Jetty") || !strings.Contains(a.body, jenkinstest.NoValidCrumb) {
		t.Errorf("the client got\n%s\nwant Jenkins' 403", a.dump())
	}
}

// TestJenkinsAsksToWait: a client that needs a crumb gets what Jenkins, or a proxy before it, tells all
// clients while it can't serve them.
func TestJenkinsAsksToWait(t *testing.T) {
	for _, status := range []int{429, 503, 504} {
		for _, size := range []int{100, 84_636} {
			for _, when := range []string{"at first", "in the place of the session"} {
				t.Run(fmt.Sprintf("%d, %d bytes, %s", status, size, when), func(t *testing.T) {
					var waits atomic.Bool
					page := strings.Repeat("Please wait while Jenkins is getting ready to work. ", size/52+1)[:size]
					s := newPeopleSite(t, options{between: func(proxy http.Handler) http.Handler {
						return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if !waits.Load() || r.Method == http.MethodPost {
								proxy.ServeHTTP(w, r)
								return
							}
							w.Header().Set("Retry-After", "7")
							w.Header().Set("Content-Type", "text/html;charset=utf-8")
							w.Header().Set("Set-Cookie", "JSESSIONID.1=node01")
							w.Header().Set("X-Jenkins", "2.578")
							w.Header().Set("X-Other", "x")
							w.WriteHeader(status)
							_, _ = io.WriteString(w, page)
						})
					}})
					auth := s.auth("alice")
					if when != "at first" {
						s.warm(auth)
						s.jenkins.Restart()
					}
					waits.Store(true)
					asks := [][]string{{"POST", "/job/a/build", auth}}
					if when == "at first" {
						asks = append(asks, []string{"GET", "/crumbIssuer/api/json", auth}, []string{"POST", "/job/a/build", ssoHeader + ": bob"})
					}
					for _, ask := range asks {
						a := s.send(ask[0], ask[1], "", ask[2])
						if a.StatusCode != status || a.Header.Get("Retry-After") != "7" || a.Header["Set-Cookie"] != nil || a.Header["X-Other"] != nil || a.Header["Cache-Control"] == nil {
							t.Errorf("%s %s: the client got\n%s\nwant %d and Retry-After", ask[0], ask[1], a.dump(), status)
						}
						if small := size < 64<<10; small != (a.body == page) || !small && !strings.Contains(a.body, "Try again soon") {
							t.Errorf("%s %s: the client got %d bytes: %.100s", ask[0], ask[1], len(a.body), a.body)
						}
					}
					if got := s.received("POST"); len(got) != 0 {
						t.Errorf("Jenkins accepted %s", got[0].RequestURI)
					}
				})
			}
		}
	}
}

func TestNoRightToACrumb(t *testing.T) {
	s := newSite(t, options{between: func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Required-Permission", "hudson.model.Hudson.Read")
			http.Error(w, "Access Denied", http.StatusForbidden)
		})
	}})
	if a := s.send("POST", "/job/a/build", "x=1", s.auth("alice")); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "Overall/Read") {
		t.Errorf("the client got\n%s", a.dump())
	}
	s.untouched()
}

// A fetch that lost its client, and a panic in it, harm nobody else.
func TestPanicInTheFetch(t *testing.T) {
	s := newSite(t, options{between: func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })
	}})
	if a := s.send("POST", "/job/a/build", "x=1", s.auth("alice")); a.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", a.StatusCode)
	}
	if line := s.log.last(); !strings.Contains(line, "the next handler panicked: a bug") {
		t.Errorf("the log says %s", line)
	}
}

func TestCrumbIssuer(t *testing.T) {
	s := newSite(t, options{jenkins: jenkinstest.Config{Prefix: "/jenkins"}})
	auth := s.auth("alice")
	const class = "hudson.security.csrf.DefaultCrumbIssuer"
	crumb := strings.TrimPrefix(s.send("GET", `/crumbIssuer/api/xml?xpath=concat(//crumbRequestField,%22:%22,//crumb)`, "", auth).body, "Jenkins-Crumb:")
	if len(crumb) != 64 {
		t.Fatalf("the crumb is %q", crumb)
	}
	tests := []struct{ path, contentType, want string }{
		{"/crumbIssuer/api/json", "application/json;charset=utf-8", `{"_class":"` + class + `","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`},
		{"/crumbIssuer/api/json/", "application/json;charset=utf-8", `{"_class":"` + class + `","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`},
		{"/crumbIssuer/api/json/api/json", "application/json;charset=utf-8", `{"_class":"` + class + `","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`},
		{"//crumbIssuer/./api/%6ason", "application/json;charset=utf-8", `{"_class":"` + class + `","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`},
		{"/crumbIssuer/api/python", "text/x-python;charset=UTF-8", `{"_class":"` + class + `","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`},
		{"/crumbIssuer/api/xml", "application/xml;charset=UTF-8", `<defaultCrumbIssuer _class='` + class + `'><crumb>` + crumb + `</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>`},
		{"/crumbIssuer/api/xml?xpath=/*/crumb/text()", "text/plain;charset=utf-8", crumb},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			a := s.send("GET", test.path, "", auth)
			if a.StatusCode != http.StatusOK || a.body != test.want || a.Header.Get("Content-Type") != test.contentType {
				t.Errorf("the client got\n%s\nwant %s: %s", a.dump(), test.contentType, test.want)
			}
			if a.Header.Get("X-Jenkins") != "2.578" || len(a.Header.Get("X-Jenkins-Session")) != 8 || len(a.Header["Set-Cookie"]) != 1 || !strings.HasPrefix(a.Header.Get("Set-Cookie"), "JSESSIONID.crumbgate=none;Path=/jenkins;") {
				t.Errorf("the header is %v", a.Header)
			}
			head := s.send("HEAD", test.path, "", auth)
			if head.body != "" || head.ContentLength != int64(len(test.want)) {
				t.Errorf("HEAD gives %d bytes and Content-Length %d, want 0 and %d", len(head.body), head.ContentLength, len(test.want))
			}
		})
	}
	for _, path := range []string{
		"/crumbIssuer/api/json", "/crumbIssuer/api%2Fjson", "/crumbIssuer%2Fapi%2fjson", "/crumbIssuer/api/bean/api/json", "/crumbIssuer/api/", "/static/x/crumbIssuer/api/json", "/manage/crumbIssuer/api/json",
		"/manage/manage//crumbIssuer/api/json", "/me/../crumbIssuer/api/json", "/computer/(built-in)/node/crumbIssuer/api/json", "/job/a/parent/crumbIssuer/api/json", "/view/all/owner/crumbIssuer/api%2fxml",
		"/descriptorByName/hudson.security.csrf.GlobalCrumbIssuerConfiguration/crumbIssuer/api/json", "/job/a/lastBuild/builtOn/crumbIssuer/api/python", "/crumbIssuer/api/json/search", "/%63rumbIssuer/%61pi/json",
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"} {
			a := s.send(method, path, "", auth)
			if real := a.Header["Set-Cookie"]; a.StatusCode != 200 && a.StatusCode != 404 || len(real) > 1 || len(real) == 1 && !strings.HasPrefix(real[0], "JSESSIONID.crumbgate=") {
				t.Errorf("%s %s: the client got\n%s", method, path, a.dump())
			}
		}
	}
	if got := s.jenkins.Requests(); len(got) != 1 || got[0].Path != "/crumbIssuer/api/json" {
		t.Errorf("Jenkins got %d requests, want the question for a crumb alone: %v", len(got), got)
	}
	for path, location := range map[string]string{"/crumbIssuer/api": "/jenkins/crumbIssuer/api/", "//x/../crumbIssuer/api?a=b": "/jenkins/crumbIssuer/api/?a=b"} {
		if a := s.send("GET", path, "", auth); a.StatusCode != 302 || a.Header.Get("Location") != location {
			t.Errorf("%s: the client got\n%s\nwant 302 to %s", path, a.dump(), location)
		}
	}
	if a := s.send("GET", "/crumbIssuer/api/json?jsonp=f", "", auth, "Accept: text/html"); a.StatusCode != 403 || !strings.Contains(a.body, "<h2>HTTP ERROR 403 jsonp forbidden") {
		t.Errorf("jsonp: the client got\n%s", a.dump())
	}
	// What only looks like the issuer is Jenkins'.
	for _, path := range []string{"/crumbIssuer/api/schema", "/job/crumbIssuer/api/json", "/view/crumbIssuer/api/json", "/job/a/ws/crumbIssuer/api/x"} {
		s.jenkins.ResetRequests()
		if s.send("GET", path, "", auth); len(s.jenkins.Requests()) != 1 {
			t.Errorf("%s did not reach Jenkins", path)
		}
	}
	bob := s.send("GET", "/crumbIssuer/api/json", "", s.auth("bob")).body
	if strings.Contains(bob, crumb) {
		t.Error("two users have the same crumb")
	}
	for _, headers := range [][]string{
		{"Jenkins-Crumb: " + crumb},
		{"Jenkins-Crumb: wrong"},
		{".crumb: " + crumb},
		{},
		{"Jenkins-Crumb: " + crumb, "Cookie: JSESSIONID.12345678=node01.node0"},
		{"Jenkins-Crumb: " + crumb, "Jenkins-Crumb: wrong"},
	} {
		s.jenkins.ResetRequests()
		if a := s.send("POST", "/job/a/build", "", append(headers, auth)...); a.StatusCode != http.StatusCreated {
			t.Errorf("POST with %q: the client got\n%s", headers, a.dump())
		}
		if s.refusals() != 0 {
			t.Errorf("POST with %q was refused at first", headers)
		}
		for _, value := range s.only("POST").Header["Jenkins-Crumb"] {
			if value == crumb || value == "wrong" {
				t.Errorf("Jenkins got the crumb %q of the client", value)
			}
		}
	}
}
