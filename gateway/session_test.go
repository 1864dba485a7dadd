package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// ssoHeader names in these tests who has signed in.
const ssoHeader = "Sso-User"

// newPeopleSite is newSite for people who have signed in.
func newPeopleSite(t testing.TB, o options) *site {
	t.Helper()
	more := o.gate
	o.gate = func(c *gateway.Config) {
		c.Session = func(r *http.Request) (*token.Profile, error) {
			if r.Header.Get(ssoHeader) == "" {
				return nil, nil
			}
			return gateway.NewPerson(r.Header.Get(ssoHeader), nil, "", "")
		}
		if more != nil {
			more(c)
		}
	}
	return newSite(t, o)
}

// A browser is one of a person who has signed in. It keeps Jenkins' cookies.
type browser struct {
	*site
	user    string
	cookies []*http.Cookie
}

func (s *site) browser(user string) *browser { return &browser{site: s, user: user} }

func (b *browser) send(method, path string, body io.Reader, headers ...string) answer {
	b.t.Helper()
	a, err := b.try(method, path, body, headers...)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is send for other goroutines than the test's.
func (b *browser) try(method, path string, body io.Reader, headers ...string) (answer, error) {
	headers = append([]string{ssoHeader + ": " + b.user}, headers...)
	if len(b.cookies) > 0 {
		headers = append(headers, "Cookie: "+b.cookie())
	}
	a, err := b.site.try(method, path, body, headers...)
	if err != nil {
		return a, err
	}
	for _, c := range a.Cookies() {
		known := false
		for i := range b.cookies {
			if b.cookies[i].Name == c.Name {
				b.cookies[i], known = c, true
			}
		}
		if !known {
			b.cookies = append(b.cookies, c)
		}
	}
	return a, nil
}

func (b *browser) cookie() string {
	pairs := make([]string, len(b.cookies))
	for i, c := range b.cookies {
		pairs[i] = c.Name + "=" + c.Value
	}
	return strings.Join(pairs, "; ")
}

// session is the id of the newest session of Jenkins.
func (b *browser) session() string {
	b.t.Helper()
	if len(b.cookies) == 0 {
		b.t.Fatalf("%s has no session of Jenkins", b.user)
	}
	id, _, _ := strings.Cut(b.cookies[len(b.cookies)-1].Value, ".")
	return id
}

// own fetches a crumb of the gateway.
func (b *browser) own() string {
	b.t.Helper()
	a := b.send("GET", "/crumbIssuer/api/json", nil)
	var issued struct{ Crumb string }
	if err := json.Unmarshal([]byte(a.body), &issued); err != nil || issued.Crumb == "" {
		b.t.Fatalf("no crumb: %v\n%s", err, a.dump())
	}
	return issued.Crumb
}

var inPage = regexp.MustCompile(`data-crumb-value="([^"]+)"`)

// page opens a page and returns Jenkins' crumb in it, once the gateway knows it.
func (b *browser) page() string {
	b.t.Helper()
	a := b.send("GET", "/", nil, "Accept: text/html")
	found := inPage.FindStringSubmatch(a.body)
	if found == nil {
		b.t.Fatalf("no crumb in the page\n%s", a.dump())
	}
	b.own()
	b.gate.Close() // waits for what it learns in the background
	return found[1]
}

const (
	urlencoded = "Content-Type: application/x-www-form-urlencoded"
	sameOrigin = "Sec-Fetch-Site: same-origin"
)

// build sends a POST that starts a build.
func (b *browser) build(headers ...string) answer {
	b.t.Helper()
	return b.send("POST", "/job/a/build", strings.NewReader("x=1"), append(headers, urlencoded)...)
}

func (s *site) refusedWith(a answer, status int, reason gateway.Reason) {
	s.t.Helper()
	if a.StatusCode != status || !strings.Contains(s.log.last(), `"reason":"`+string(reason)+`"`) {
		s.t.Errorf("the client got\n%s\nwant %d, and %q in the log, which says %s", a.dump(), status, reason, s.log.last())
	}
	for _, r := range s.jenkins.Requests() {
		if r.Method != "GET" {
			s.t.Errorf("Jenkins got %s %s", r.Method, r.RequestURI)
		}
	}
}

func multipartForm(name, value string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value +
		"\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.bin\"\r\n\r\n\x00\x01\xff\r\n--b--\r\n"
}

// TestCrumbPlaces: wherever a person's client puts the crumb, Jenkins gets its own
// in the header, and the body as it was sent.
func TestCrumbPlaces(t *testing.T) {
	const multipart = "Content-Type: multipart/form-data; boundary=b"
	places := []struct {
		name string
		// request returns what to send with a crumb under a name.
		request func(name, crumb string) (query, body string, headers []string)
	}{
		{"header", func(n, c string) (string, string, []string) { return "", "x=1", []string{n + ": " + c, urlencoded} }},
		{"query", func(n, c string) (string, string, []string) { return "&" + n + "=" + c, "x=1", []string{urlencoded} }},
		{"urlencoded", func(n, c string) (string, string, []string) {
			return "", "x=1&" + n + "=" + c + "&y=%zz", []string{urlencoded}
		}},
		{"multipart", func(n, c string) (string, string, []string) { return "", multipartForm(n, c), []string{multipart} }},
	}
	for _, field := range []string{"Jenkins-Crumb", ".crumb", "X-Csrf"} {
		for _, whose := range []string{"own", "of Jenkins"} {
			for _, place := range places {
				t.Run(field+", "+whose+", "+place.name, func(t *testing.T) {
					var o options
					o.jenkins.CrumbField = "Jenkins-Crumb"
					if field == "X-Csrf" {
						o.jenkins.CrumbField = field
						o.gate = func(c *gateway.Config) { c.CrumbField = field }
					}
					s := newPeopleSite(t, o)
					bob := s.browser("bob")
					theirs := bob.page()
					presented := theirs
					if whose == "own" {
						presented = bob.own()
					}
					query, body, headers := place.request(field, presented)
					s.jenkins.ResetRequests()
					a := bob.send("POST", "/job/a/build?delay=0sec"+query, strings.NewReader(body), headers...)
					if a.StatusCode != http.StatusCreated || a.Header["Set-Cookie"] != nil {
						t.Fatalf("the client got\n%s", a.dump())
					}
					got := s.only("POST")
					sum := sha256.Sum256([]byte(body))
					if got.User != "bob" || got.Crumb != jenkinstest.CrumbValid || got.SessionID != bob.session() || got.BodySHA256 != hex.EncodeToString(sum[:]) {
						t.Errorf("Jenkins saw %q in session %q, crumb %q, body %q", got.User, got.SessionID, got.Crumb, got.Body)
					}
					if got.RequestURI != "/job/a/build?delay=0sec"+query {
						t.Errorf("Jenkins got %s", got.RequestURI)
					}
					for _, name := range []string{"Jenkins-Crumb", ".crumb", "X-Csrf"} {
						values := got.Header[name]
						if name == o.jenkins.CrumbField && (len(values) != 1 || values[0] != theirs) || name != o.jenkins.CrumbField && values != nil {
							t.Errorf("Jenkins got %s: %q", name, values)
						}
					}
					if s.jenkins.CrumbFetches() != 0 || s.refusals() != 0 {
						t.Errorf("%d fetches and %d refusals, want none", s.jenkins.CrumbFetches(), s.refusals())
					}
				})
			}
		}
	}
}

func TestCrumbsThatDoNotCount(t *testing.T) {
	s := newPeopleSite(t, options{})
	bob, eve := s.browser("bob"), s.browser("eve")
	own, page, evesOwn, evesPage := bob.own(), bob.page(), eve.own(), eve.page()
	for _, test := range []struct {
		name    string
		path    string
		headers []string
		body    string
		status  int
		reason  gateway.Reason
	}{
		{"none", "", nil, "", 403, gateway.ReasonNoCrumb},
		{"empty", "", []string{"Jenkins-Crumb: "}, "", 403, gateway.ReasonNoCrumb},
		{"another's", "", []string{"Jenkins-Crumb: " + evesOwn}, "", 403, gateway.ReasonCrumb},
		{"another's, of Jenkins", "", []string{"Jenkins-Crumb: " + evesPage}, "", 403, gateway.ReasonCrumb},
		{"cut", "", []string{"Jenkins-Crumb: " + own[1:]}, "", 403, gateway.ReasonCrumb},
		{"of Jenkins, cut", "", []string{"Jenkins-Crumb: " + page[1:]}, "", 403, gateway.ReasonCrumb},
		{"two headers", "", []string{"Jenkins-Crumb: " + own, "Jenkins-Crumb: " + own}, "", 403, gateway.ReasonCrumb},
		{"a wrong header before a right query", "?Jenkins-Crumb=" + own, []string{"Jenkins-Crumb: x"}, "", 403, gateway.ReasonCrumb},
		{"a wrong query before a right form", "?Jenkins-Crumb=x", []string{urlencoded}, "Jenkins-Crumb=" + own, 403, gateway.ReasonCrumb},
		{"in a form that is no form", "", []string{"Content-Type: text/plain"}, "Jenkins-Crumb=" + own, 403, gateway.ReasonNoCrumb},
		{"in an encoded form", "", []string{urlencoded, "Content-Encoding: gzip"}, "Jenkins-Crumb=" + own, 403, gateway.ReasonNoCrumb},
		{"in a malformed form", "", []string{"Content-Type: multipart/form-data; boundary=b; boundary=b"}, multipartForm("Jenkins-Crumb", own), 400, gateway.ReasonCrumbForm},
		{"from another site", "", []string{"Jenkins-Crumb: " + own, "Sec-Fetch-Site: cross-site"}, "", 403, gateway.ReasonCrossOrigin},
	} {
		for _, method := range []string{"POST", "DELETE", "PUT"} {
			t.Run(test.name+", "+method, func(t *testing.T) {
				s.jenkins.ResetRequests()
				headers := test.headers
				if test.reason != gateway.ReasonCrossOrigin {
					headers = append(headers[:len(headers):len(headers)], sameOrigin)
				}
				s.refusedWith(bob.send(method, "/job/a/build"+test.path, strings.NewReader(test.body), headers...), test.status, test.reason)
			})
		}
	}
	if a := bob.build("Jenkins-Crumb: " + own); a.StatusCode != http.StatusCreated {
		t.Errorf("afterwards, with a right crumb, the client got\n%s", a.dump())
	}
}

// TestStrictIssuer: a masked crumb is compared without its mask. Of one that the gateway
// does not know Jenkins alone can tell, so that a POST goes on as it came.
func TestStrictIssuer(t *testing.T) {
	s := newPeopleSite(t, options{jenkins: jenkinstest.Config{Strict: jenkinstest.DefaultStrictIssuer()}})
	bob, eve := s.browser("bob"), s.browser("eve")
	page, own, evesPage := bob.page(), bob.own(), eve.page()
	if other := bob.page(); len(page) != 128 || other == page {
		t.Fatalf("the crumbs %q and %q are not masked", page, other)
	}
	form := strings.NewReplacer("%", page)
	for _, test := range []struct {
		name    string
		headers []string
		body    string
		crumb   jenkinstest.CrumbState
		given   string // the header that Jenkins got, "" for none
		status  int
	}{
		{"of the page", []string{"Jenkins-Crumb: " + page}, "x=1", jenkinstest.CrumbValid, "of Jenkins", 201},
		{"of the page, in a form", nil, form.Replace("x=1&Jenkins-Crumb=%"), jenkinstest.CrumbValid, "of Jenkins", 201},
		{"wrong", []string{"Jenkins-Crumb: " + strings.Repeat("0", 128)}, "x=1", jenkinstest.CrumbInvalid, strings.Repeat("0", 128), 403},
		{"wrong, in a form", nil, "Jenkins-Crumb=wrong", jenkinstest.CrumbInvalid, "", 403},
		{"another's", []string{"Jenkins-Crumb: " + evesPage}, "x=1", jenkinstest.CrumbInvalid, evesPage, 403},
		{"own", []string{"Jenkins-Crumb: " + own}, "x=1", jenkinstest.CrumbValid, "of Jenkins", 201},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			a := bob.send("POST", "/job/a/build", strings.NewReader(test.body), append(test.headers, urlencoded, sameOrigin)...)
			if a.StatusCode != test.status || a.StatusCode == 403 && (!strings.Contains(a.Header.Get("Server"), "Jetty") || !strings.Contains(a.body, jenkinstest.NoValidCrumb)) {
				t.Errorf("the client got\n%s\nwant %d from Jenkins", a.dump(), test.status)
			}
			got := s.jenkins.Requests()
			if len(got) != 1 || got[0].Method != "POST" || got[0].Crumb != test.crumb || got[0].User != "bob" || got[0].SessionID != bob.session() {
				t.Fatalf("Jenkins got %+v", got)
			}
			header := got[0].Header.Get("Jenkins-Crumb")
			if test.given == "of Jenkins" {
				if len(header) != 128 || header == page {
					t.Errorf("Jenkins got the crumb %q", header)
				}
			} else if header != test.given {
				t.Errorf("Jenkins got the crumb %q, want %q", header, test.given)
			}
			if sum := sha256.Sum256([]byte(test.body)); test.status == 201 && got[0].BodySHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("Jenkins got the body %q", got[0].Body)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		s.jenkins.ResetRequests()
		s.refusedWith(bob.build(sameOrigin), 403, gateway.ReasonNoCrumb)
	})
	t.Run("without the session", func(t *testing.T) {
		s.jenkins.ResetRequests()
		s.refusedWith(s.browser("bob").build(sameOrigin, "Jenkins-Crumb: "+page), 403, gateway.ReasonCrumbSession)
	})
	t.Run("after a restart", func(t *testing.T) {
		s.jenkins.Restart()
		s.jenkins.ResetRequests()
		if a := bob.build("Jenkins-Crumb: " + own); a.StatusCode != 201 || s.refusals() != 1 {
			t.Errorf("an own crumb: the client got\n%s", a.dump())
		}
		s.jenkins.ResetRequests()
		if a := eve.build(sameOrigin, "Jenkins-Crumb: "+evesPage); a.StatusCode != 403 || s.refusals() != 1 || len(s.jenkins.Requests()) != 1 {
			t.Errorf("a crumb of the page: the client got\n%s", a.dump())
		}
	})
}

// TestStrictIssuerOnWhatJenkinsDoesNotCheck: where Jenkins looks at no crumb, the gateway lets none
// pass that it can't verify itself. It knows the crumbs of earlier time steps that Jenkins gave
// to this session.
func TestStrictIssuerOnWhatJenkinsDoesNotCheck(t *testing.T) {
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	strict := jenkinstest.DefaultStrictIssuer()
	strict.Now = now
	s := newPeopleSite(t, options{jenkins: jenkinstest.Config{Strict: strict}, gate: func(c *gateway.Config) { c.Now = now }})
	bob, eve, elsewhere := s.browser("bob"), s.browser("eve"), s.browser("bob")
	// shown is a page whose crumb the gateway has learned by itself.
	shown := func(b *browser) string {
		before := s.jenkins.CrumbFetches()
		text := inPage.FindStringSubmatch(b.send("GET", "/", nil, "Accept: text/html").body)[1]
		for deadline := time.Now().Add(time.Minute); s.jenkins.CrumbFetches() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("Jenkins was not asked for the crumb of the page")
			}
		}
		b.own() // waits until the gateway knows it, too
		return text
	}
	first := shown(bob)
	evesPage, anotherSession := shown(eve), shown(elsewhere)
	passed.Add(int64(7 * time.Minute))
	second := shown(bob)
	passed.Add(int64(7 * time.Minute))
	third := shown(bob)
	passed.Add(int64(7 * time.Minute))
	missed := s.askJenkins("bob", bob.cookie()) // in a step in which the gateway asks for none
	passed.Add(int64(7 * time.Minute))
	shown(bob)

	type what struct {
		method, path string
		status       int // with a crumb that verifies
	}
	for _, w := range []what{{"DELETE", "/job/none/", 404}, {"PUT", "/job/none/", 404}, {"PATCH", "/job/none/", 404}, {"POST", "/github-webhook/", 200}, {"POST", "/generic-webhook-trigger/invoke", 200}} {
		for name, text := range map[string]string{"of the first page": first, "of the second": second, "of the third": third} {
			s.jenkins.ResetRequests()
			if a := bob.send(w.method, w.path, nil, sameOrigin, "Jenkins-Crumb: "+text); a.StatusCode != w.status {
				t.Errorf("%s %s, crumb %s: the client got\n%s\nwant %d", w.method, w.path, name, a.dump(), w.status)
			}
		}
		for name, text := range map[string]string{
			"junk": "junk", "zeros": strings.Repeat("0", 128), "another user's": evesPage, "of another session": anotherSession, "that the gateway has not seen": missed,
			"one digit changed": first[:127] + map[bool]string{true: "1", false: "0"}[first[127] == '0'],
		} {
			s.jenkins.ResetRequests()
			a := bob.send(w.method, w.path, nil, sameOrigin, "Jenkins-Crumb: "+text)
			reason := gateway.ReasonCrumb
			if name == "of another session" {
				reason = gateway.ReasonCrumbSession
			}
			s.refusedWith(a, 403, reason)
		}
	}
	// A POST on which Jenkins checks the crumb is left to it.
	s.jenkins.ResetRequests()
	if a := bob.build(sameOrigin, "Jenkins-Crumb: "+missed); a.StatusCode != 201 {
		t.Errorf("a POST with a crumb that Jenkins alone knows: the client got\n%s", a.dump())
	}
}

// askJenkins fetches a crumb past the gateway.
func (s *site) askJenkins(user, cookie string) string {
	s.t.Helper()
	r := httptest.NewRequest("GET", "/crumbIssuer/api/json", nil)
	r.Header.Set("X-Forwarded-User", user)
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	s.jenkins.ServeHTTP(w, r)
	var issued struct{ Crumb string }
	if err := json.Unmarshal(w.Body.Bytes(), &issued); err != nil || issued.Crumb == "" {
		s.t.Fatalf("Jenkins answered %d %s", w.Code, w.Body)
	}
	return issued.Crumb
}

// TestCSRFOff: Jenkins' pages have no crumb then, and the browser has to vouch for
// the page.
func TestCSRFOff(t *testing.T) {
	s := newPeopleSite(t, options{})
	bob := s.browser("bob")
	own := bob.own()
	host := strings.TrimPrefix(s.url, "http://")
	s.jenkins.SetCSRF(false)
	fresh := s.browser("bob") // in whose session no crumb is known
	fresh.cookies = []*http.Cookie{{Name: "JSESSIONID.x", Value: "node0x.node0"}}
	for _, test := range []struct {
		name    string
		headers []string
		reason  gateway.Reason
	}{
		{"same origin", []string{sameOrigin}, ""},
		{"typed", []string{"Sec-Fetch-Site: none"}, ""},
		{"own Origin", []string{"Origin: http://" + host}, ""},
		{"own Referer", []string{"Referer: http://" + host + "/job/a/"}, ""},
		{"same origin, any crumb", []string{sameOrigin, "Jenkins-Crumb: x"}, ""},
		{"nothing", nil, gateway.ReasonNoCrumb},
		{"any crumb", []string{"Jenkins-Crumb: x"}, gateway.ReasonNoCrumb},
		{"foreign Referer", []string{"Referer: http://evil.example/"}, gateway.ReasonNoCrumb},
		{"foreign Origin", []string{"Origin: http://evil.example"}, gateway.ReasonCrossOrigin},
		{"cross-site", []string{"Sec-Fetch-Site: cross-site"}, gateway.ReasonCrossOrigin},
		{"same-site", []string{"Sec-Fetch-Site: same-site"}, gateway.ReasonCrossOrigin},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			a := fresh.build(test.headers...)
			if test.reason != "" {
				s.refusedWith(a, 403, test.reason)
				return
			}
			if got := s.only("POST"); a.StatusCode != 201 || got.Crumb != jenkinstest.CrumbOff || got.User != "bob" || got.Header["Jenkins-Crumb"] != nil && got.Header.Get("Jenkins-Crumb") != "x" {
				t.Errorf("the client got\n%s\nJenkins got %v", a.dump(), got.Header)
			}
		})
	}
	t.Run("own crumb", func(t *testing.T) {
		if a := bob.build("Jenkins-Crumb: " + own); a.StatusCode != 201 {
			t.Errorf("the client got\n%s", a.dump())
		}
	})
	t.Run("no issuer", func(t *testing.T) {
		if a := fresh.send("GET", "/crumbIssuer/api/json", nil); a.StatusCode != 404 || a.Header.Get("X-Jenkins") == "" {
			t.Errorf("the client got\n%s\nwant Jenkins' 404", a.dump())
		}
	})
	// The gateway believes that there are no crumbs, until Jenkins refuses.
	t.Run("on again", func(t *testing.T) {
		s.jenkins.SetCSRF(true)
		page := inPage.FindStringSubmatch(fresh.send("GET", "/", nil, "Accept: text/html").body)[1]
		var got []int
		for range 2 {
			got = append(got, fresh.build("Origin: http://"+host, "Jenkins-Crumb: "+page).StatusCode)
		}
		if got[1] != 201 {
			t.Errorf("status %v, want 201 in the end", got)
		}
	})
}

// TestBrowsersWithoutCookies: two browsers of one person that have no session yet
// each get one of their own.
func TestBrowsersWithoutCookies(t *testing.T) {
	s := newPeopleSite(t, options{})
	const n = 16
	browsers := make([]*browser, n)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range browsers {
		browsers[i] = s.browser("bob")
		wg.Go(func() {
			<-begin
			if a, err := browsers[i].try("GET", "/crumbIssuer/api/json", nil); err != nil || a.StatusCode != 200 {
				t.Errorf("no crumb: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	sessions := make(map[string]bool)
	for _, b := range browsers {
		sessions[b.session()] = true
	}
	if len(sessions) != n || s.jenkins.CrumbFetches() != n {
		t.Fatalf("%d browsers have %d sessions after %d fetches", n, len(sessions), s.jenkins.CrumbFetches())
	}

	one, two := s.browser("bob"), s.browser("bob")
	first, second := one.own(), two.own()
	if one.session() == two.session() {
		t.Fatal("two browsers have one session")
	}
	for _, b := range []struct {
		*browser
		crumb string
	}{{one, one.own()}, {two, two.own()}} {
		s.jenkins.ResetRequests()
		if a := b.build("Jenkins-Crumb: " + b.crumb); a.StatusCode != 201 || s.only("POST").SessionID != b.session() {
			t.Errorf("the client got\n%s\nin session %s, want %s", a.dump(), s.only("POST").SessionID, b.session())
		}
	}
	// The first crumbs belong to the sessions that they came with.
	for _, b := range []struct {
		*browser
		crumb, other string
	}{{one, first, second}, {two, second, first}} {
		if a := b.build("Jenkins-Crumb: " + b.crumb); a.StatusCode != 201 {
			t.Errorf("with the first crumb, the client got\n%s", a.dump())
		}
		s.jenkins.ResetRequests()
		s.refusedWith(b.build("Jenkins-Crumb: "+b.other), 403, gateway.ReasonCrumbSession)
	}
	// A POST without any cookie: the crumb is another session's.
	s.jenkins.ResetRequests()
	lost := s.browser("bob")
	s.refusedWith(lost.build("Jenkins-Crumb: "+first), 403, gateway.ReasonCrumbSession)
}

// refreshing lets pages go on that were opened in another session, as is the
// default in a Caddyfile.
func refreshing(c *gateway.Config) { c.RefreshCrumbs = true }

func TestBrowsersWithCookies(t *testing.T) {
	for _, refresh := range []bool{false, true} {
		for _, kind := range []string{"own", "of Jenkins"} {
			for _, vouched := range []string{"", "Sec-Fetch-Site: none", sameOrigin} {
				t.Run(fmt.Sprintf("refresh %v, %s, %q", refresh, kind, vouched), func(t *testing.T) {
					s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.RefreshCrumbs = refresh }})
					one, two := s.browser("bob"), s.browser("bob")
					crumbs := []string{one.page(), two.page()}
					if kind == "own" {
						crumbs = []string{one.own(), two.own()}
					}
					var headers []string
					if vouched != "" {
						headers = []string{vouched}
					}
					s.jenkins.ResetRequests()
					if a := one.build(append(headers, "Jenkins-Crumb: "+crumbs[0])...); a.StatusCode != 201 || s.only("POST").SessionID != one.session() {
						t.Errorf("with its own crumb, the client got\n%s", a.dump())
					}
					s.jenkins.ResetRequests()
					a := one.build(append(headers, "Jenkins-Crumb: "+crumbs[1])...)
					if !refresh || vouched != sameOrigin {
						s.refusedWith(a, 403, gateway.ReasonCrumbSession)
						return
					}
					if a.StatusCode != 201 || s.only("POST").SessionID != one.session() {
						t.Errorf("with the other's crumb, the client got\n%s", a.dump())
					}
				})
			}
		}
	}
}

func TestRefreshAfterRestart(t *testing.T) {
	for _, forget := range []string{"restart", "idle"} {
		for _, test := range []struct {
			name    string
			off     bool // refresh_crumbs
			own     bool
			vouched []string
			goesOn  bool
		}{
			{"page, vouched for", false, false, []string{sameOrigin}, true},
			{"page, typed", false, false, []string{"Sec-Fetch-Site: none"}, false},
			{"page, not vouched for", false, false, nil, false},
			{"page, vouched for, refresh_crumbs off", true, false, []string{sameOrigin}, false},
			// Ours has been verified by user and session, whatever has become of Jenkins'.
			{"own, vouched for", false, true, []string{sameOrigin}, true},
			{"own, not vouched for", false, true, nil, true},
			{"own, refresh_crumbs off", true, true, nil, true},
		} {
			t.Run(forget+", "+test.name, func(t *testing.T) {
				s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.RefreshCrumbs = !test.off }})
				bob := s.browser("bob")
				presented := bob.page()
				if test.own {
					presented = bob.own()
				}
				before := bob.session()
				if forget == "restart" {
					s.jenkins.Restart()
				} else {
					s.jenkins.ExpireSessions()
				}
				s.jenkins.ResetRequests()
				headers := append(test.vouched, "Jenkins-Crumb: "+presented)
				a := bob.build(headers...)
				if test.goesOn {
					got := s.only("POST")
					if a.StatusCode != 201 || s.refusals() != 1 || got.User != "bob" || string(got.Body) != "x=1" {
						t.Errorf("the client got\n%s\nafter %d refusals", a.dump(), s.refusals())
					}
					if bob.session() == before || bob.session() != got.SessionID {
						t.Errorf("the client is in session %s, Jenkins in %s, before it was %s", bob.session(), got.SessionID, before)
					}
					return
				}
				// Jenkins' own answer, for which it need not be asked anything more.
				if a.StatusCode != 403 || !strings.Contains(a.Header.Get("Server"), "Jetty") || !strings.Contains(a.body, jenkinstest.NoValidCrumb) {
					t.Errorf("the client got\n%s", a.dump())
				}
				if n := len(s.jenkins.Requests()); n != 1 {
					t.Errorf("Jenkins got %d requests, want the one", n)
				}
				s.jenkins.ResetRequests()
				s.refusedWith(bob.build(headers...), 403, gateway.ReasonCrumbSession)
				if a := bob.build("Jenkins-Crumb: " + bob.page()); a.StatusCode != 201 {
					t.Errorf("with the crumb of a new page, the client got\n%s", a.dump())
				}
			})
		}
	}
}

// TestRefusalIsPassedOn: where a crumb may not be renewed, it is of no account
// whether Jenkins would give a new one.
func TestRefusalIsPassedOn(t *testing.T) {
	s := newPeopleSite(t, options{})
	bob := s.browser("bob")
	page := bob.page()
	s.jenkins.Restart()
	s.jenkins.Fail(jenkinstest.Fault{PathPrefix: "/crumbIssuer", Status: 500, Body: "oops"})
	a := bob.build("Jenkins-Crumb: " + page)
	if a.StatusCode != 403 || !strings.Contains(a.Header.Get("Server"), "Jetty") || !strings.Contains(a.body, jenkinstest.NoValidCrumb) {
		t.Errorf("the client got\n%s\nwant Jenkins' 403", a.dump())
	}
}

// TestPagesAreLearned: the crumb of a page is asked for when the page is sent, so
// that it is known after a restart.
func TestPagesAreLearned(t *testing.T) {
	for issuer, strict := range map[string]*jenkinstest.StrictIssuer{"default issuer": nil, "strict issuer": jenkinstest.DefaultStrictIssuer()} {
		for path, status := range map[string]int{"/": 200, "/job/parameters/build": 405, "/job/a/doDelete": 405, "/job/none/": 404} {
			t.Run(issuer+", "+path, func(t *testing.T) {
				s := newPeopleSite(t, options{jenkins: jenkinstest.Config{Strict: strict}, gate: refreshing})
				if err := s.jenkins.AddJob("parameters", jenkinstest.ParameterizedXML); err != nil {
					t.Fatal(err)
				}
				bob := s.browser("bob")
				a := bob.send("GET", path, nil, "Accept: text/html")
				found := inPage.FindStringSubmatch(a.body)
				if a.StatusCode != status || found == nil {
					t.Fatalf("the page is\n%s\nwant %d and a crumb", a.dump(), status)
				}
				deadline := time.Now().Add(30 * time.Second)
				for s.jenkins.CrumbFetches() == 0 {
					if time.Now().After(deadline) {
						t.Fatal("Jenkins was not asked for the crumb of the page")
					}
					time.Sleep(time.Millisecond)
				}
				s.jenkins.Restart()
				s.jenkins.ResetRequests()
				if a := bob.build(sameOrigin, "Jenkins-Crumb: "+found[1]); a.StatusCode != 201 || s.refusals() > 1 {
					t.Errorf("the client got\n%s\nafter %d refusals", a.dump(), s.refusals())
				}
			})
		}
	}
}

// TestLearnersAreBounded: however many pages are opened, few crumbs are asked for
// ahead of need at once, and the gate waits for them when it is closed.
func TestLearnersAreBounded(t *testing.T) {
	var now, most, begun, done atomic.Int64
	hold := make(chan struct{})
	s := newPeopleSite(t, options{between: func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/crumbIssuer") {
				begun.Add(1)
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				<-hold
				defer done.Add(1)
				defer now.Add(-1)
			}
			proxy.ServeHTTP(w, r)
		})
	}})
	for range 30 {
		s.browser("bob").send("GET", "/", nil, "Accept: text/html")
	}
	for deadline := time.Now().Add(30 * time.Second); begun.Load() < 8; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d crumbs were asked for", begun.Load())
		}
	}
	close(hold)
	s.gate.Close()
	if most.Load() != 8 || done.Load() != begun.Load() {
		t.Errorf("up to %d crumbs were asked for at once, want 8; %d of %d were awaited", most.Load(), done.Load(), begun.Load())
	}
	if strings.Contains(s.log.String(), "no crumb for a page") {
		t.Errorf("the log says %s", s.log)
	}
}

func TestExpiredOwnCrumb(t *testing.T) {
	var passed atomic.Int64
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) {
		c.RefreshCrumbs, c.CrumbLifetime = true, time.Hour
		c.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	}})
	bob := s.browser("bob")
	page, own := bob.page(), bob.own()
	for _, test := range []struct {
		after  time.Duration
		status int
	}{
		{0, 201}, {time.Hour - time.Second, 201}, {time.Hour, 403}, {24 * time.Hour, 403}, {-time.Minute, 201}, {-2 * time.Minute, 403},
	} {
		t.Run(test.after.String(), func(t *testing.T) {
			passed.Store(int64(test.after))
			s.jenkins.ResetRequests()
			a := bob.build(sameOrigin, "Jenkins-Crumb: "+own)
			if test.status == 403 {
				s.refusedWith(a, 403, gateway.ReasonCrumbExpired)
			} else if a.StatusCode != test.status {
				t.Errorf("the client got\n%s", a.dump())
			}
			if a := bob.build("Jenkins-Crumb: " + page); a.StatusCode != 201 {
				t.Errorf("with Jenkins' crumb of today the client got\n%s", a.dump())
			}
		})
	}
	// That a crumb of Jenkins was once the user's is forgotten after the same time.
	passed.Store(int64(time.Hour))
	other := s.browser("bob")
	other.own()
	s.jenkins.ResetRequests()
	s.refusedWith(other.build(sameOrigin, "Jenkins-Crumb: "+page), 403, gateway.ReasonCrumb)
}

// TestCrumbMethods: crumb_methods post gives the crumb up where Jenkins wants none,
// and nothing else.
func TestCrumbMethods(t *testing.T) {
	for _, postOnly := range []bool{false, true} {
		s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.CrumbOnPostOnly = postOnly }})
		bob := s.browser("bob")
		own := bob.own()
		for _, method := range []string{"DELETE", "PUT", "PATCH", "PROPFIND", "delete"} {
			t.Run(fmt.Sprintf("%s, post only %v", method, postOnly), func(t *testing.T) {
				s.jenkins.ResetRequests()
				a := bob.send(method, "/job/none/", nil)
				if postOnly {
					if s.only(method).User != "bob" {
						t.Errorf("the client got\n%s", a.dump())
					}
				} else {
					s.refusedWith(a, 403, gateway.ReasonNoCrumb)
				}
				s.jenkins.ResetRequests()
				s.refusedWith(bob.send(method, "/job/none/", nil, "Sec-Fetch-Site: cross-site"), 403, gateway.ReasonCrossOrigin)
				bob.send(method, "/job/none/", nil, "Jenkins-Crumb: "+own)
				if got := s.only(method); !postOnly && got.Header["Jenkins-Crumb"] != nil {
					t.Errorf("Jenkins, which looks for none, got the crumb %q", got.Header["Jenkins-Crumb"])
				}
			})
		}
		s.jenkins.ResetRequests()
		s.refusedWith(bob.build(), 403, gateway.ReasonNoCrumb)
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			s.jenkins.ResetRequests()
			bob.send(method, "/job/a/", nil)
			s.only(method)
		}
	}
}

// TestAnotherIssuer: a crumb is not measured by what Jenkins has said before somebody
// chose another crumb issuer.
func TestAnotherIssuer(t *testing.T) {
	const old = `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"0123456789abcdef","crumbRequestField":"Jenkins-Crumb"}`
	for name, strict := range map[string]*jenkinstest.StrictIssuer{"default": nil, "strict": jenkinstest.DefaultStrictIssuer()} {
		t.Run(name, func(t *testing.T) {
			s := newPeopleSite(t, options{jenkins: jenkinstest.Config{Strict: strict}})
			bob := s.browser("bob")
			s.jenkins.Fail(jenkinstest.Fault{PathPrefix: "/crumbIssuer", ContentType: "application/json", Body: old, Times: 1})
			page := bob.page()
			if a := bob.build("Jenkins-Crumb: " + page); a.StatusCode != 201 || s.refusals() != 0 {
				t.Errorf("the client got\n%s", a.dump())
			}
			s.jenkins.ResetRequests()
			if a := bob.build("Jenkins-Crumb: " + page); a.StatusCode != 201 || s.jenkins.CrumbFetches() != 0 {
				t.Errorf("the second time, the client got\n%s\nafter %d fetches", a.dump(), s.jenkins.CrumbFetches())
			}
			s.jenkins.ResetRequests()
			a := bob.build(sameOrigin, "Jenkins-Crumb: "+strings.Repeat("0", 64))
			if a.StatusCode != 403 || len(s.received("POST")) != 0 || s.jenkins.CrumbFetches() > 1 {
				t.Errorf("with a forged crumb, the client got\n%s\nafter %d fetches", a.dump(), s.jenkins.CrumbFetches())
			}
		})
	}
}

func TestCrumbKeyRotation(t *testing.T) {
	keys := crumb.NewKeys()
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) {
		c.RefreshCrumbs = true
		c.CrumbKeys = func() (*crumb.Keys, error) { return keys, nil }
	}})
	bob := s.browser("bob")
	old, page := bob.own(), bob.page()
	rotate := func(drop bool) {
		t.Helper()
		if err := keys.Rotate(t.Context(), drop); err != nil {
			t.Fatal(err)
		}
	}
	rotate(false)
	for name, text := range map[string]string{"old": old, "new": bob.own(), "of Jenkins": page} {
		if a := bob.build("Jenkins-Crumb: " + text); a.StatusCode != 201 {
			t.Errorf("after a rotation, with a crumb that is %s, the client got\n%s", name, a.dump())
		}
	}
	rotate(true)
	s.jenkins.ResetRequests()
	s.refusedWith(bob.build(sameOrigin, "Jenkins-Crumb: "+old), 403, gateway.ReasonCrumb)
	for name, text := range map[string]string{"new": bob.own(), "of Jenkins": page} {
		if a := bob.build("Jenkins-Crumb: " + text); a.StatusCode != 201 {
			t.Errorf("after the old keys were dropped, with a crumb that is %s, the client got\n%s", name, a.dump())
		}
	}
}

func TestNoCrumbKeys(t *testing.T) {
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) {
		c.CrumbKeys = func() (*crumb.Keys, error) { return nil, fmt.Errorf("the store is not open") }
	}})
	bob := s.browser("bob")
	bob.send("GET", "/job/a/", nil)
	s.jenkins.ResetRequests()
	s.refusedWith(bob.build(sameOrigin, "Jenkins-Crumb: x"), 503, gateway.ReasonUnavailable)
	if a := bob.send("GET", "/crumbIssuer/api/json", nil); a.StatusCode != 502 {
		t.Errorf("who asks for a crumb got\n%s", a.dump())
	}
}

// TestLargeBodies: what is too large to be kept is sent once, with a crumb that
// Jenkins has confirmed before.
func TestLargeBodies(t *testing.T) {
	const limit = 4096
	large := bytes.Repeat([]byte("&y=0123456789"), limit)
	for _, test := range []struct {
		name    string
		refresh bool
		restart bool
		own     bool
		place   string // of the crumb
		chunked bool
		headers []string
		reason  gateway.Reason
	}{
		{name: "header", own: true, place: "header"},
		{name: "header, of Jenkins", place: "header"},
		{name: "header, chunked", own: true, place: "header", chunked: true},
		{name: "first in the form", own: true, place: "first"},
		{name: "first in the form, chunked", own: true, place: "first", chunked: true},
		{name: "last in the form", own: true, place: "last", reason: gateway.ReasonCrumbForm},
		{name: "after a restart", restart: true, own: true, place: "header"},
		{name: "after a restart, in the form", restart: true, own: true, place: "first"},
		{name: "after a restart, of Jenkins", refresh: true, restart: true, place: "header", headers: []string{sameOrigin}},
		{name: "after a restart, of Jenkins, not vouched for", refresh: true, restart: true, place: "header", reason: gateway.ReasonCrumbSession},
		{name: "after a restart, of Jenkins, refresh_crumbs off", restart: true, place: "header", headers: []string{sameOrigin}, reason: gateway.ReasonCrumbSession},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newPeopleSite(t, options{gate: func(c *gateway.Config) { c.ReplayLimit, c.RefreshCrumbs = limit, test.refresh }})
			bob := s.browser("bob")
			text := bob.page()
			if test.own {
				text = bob.own()
			}
			if test.restart {
				s.jenkins.Restart()
			}
			s.jenkins.ResetRequests()
			body, headers := []byte("x=1"+string(large)), append(test.headers, urlencoded)
			switch test.place {
			case "header":
				headers = append(headers, "Jenkins-Crumb: "+text)
			case "first":
				body = append([]byte("Jenkins-Crumb="+text), large...)
			case "last":
				body = append(body, "&Jenkins-Crumb="+text...)
			}
			var r io.Reader = bytes.NewReader(body)
			if test.chunked {
				r = struct{ io.Reader }{r}
			}
			a := bob.send("POST", "/job/a/build", r, headers...)
			switch test.reason {
			case "":
			case gateway.ReasonCrumbForm:
				s.refusedWith(a, 400, test.reason)
				return
			default:
				s.refusedWith(a, 403, test.reason)
				return
			}
			got := s.only("POST")
			if sum := sha256.Sum256(body); a.StatusCode != 201 || got.BodySHA256 != hex.EncodeToString(sum[:]) || got.BodyLen != int64(len(body)) {
				t.Errorf("the client got\n%s\nJenkins got %d bytes of %d", a.dump(), got.BodyLen, len(body))
			}
			if s.jenkins.CrumbFetches() != 1 || s.refusals() != 0 || got.SessionID != bob.session() {
				t.Errorf("%d fetches and %d refusals, want 1 and 0; session %s, want %s", s.jenkins.CrumbFetches(), s.refusals(), got.SessionID, bob.session())
			}
		})
	}
}

// A crumb is for nobody but who checks it: Jenkins does not get the gateway's by
// requests that need none.
func TestCrumbOfAGetStaysHere(t *testing.T) {
	s := newPeopleSite(t, options{})
	bob := s.browser("bob")
	own := bob.own()
	for _, method := range []string{"GET", "HEAD"} {
		s.jenkins.ResetRequests()
		if a := bob.send(method, "/job/a/", nil, "Jenkins-Crumb: "+own); a.StatusCode != 200 {
			t.Errorf("%s got\n%s", method, a.dump())
		}
		if got := s.only(method); got.Header.Get("Jenkins-Crumb") != "" {
			t.Errorf("Jenkins got the crumb of a %s", method)
		}
	}
}

// A stalled is a ResponseWriter of a client that stops in the middle of its body: a read fails
// once its deadline has passed, which is at once.
type stalled struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (s *stalled) SetReadDeadline(at time.Time) error {
	s.set = append(s.set, at)
	return nil
}

func (s *stalled) Read([]byte) (int, error) {
	if len(s.set) == 0 || s.set[len(s.set)-1].IsZero() {
		return 0, io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("reading the body: %w", os.ErrDeadlineExceeded)
}

// TestSlowForms: the gateway does not wait for ever for the crumb in a form, of either kind.
func TestSlowForms(t *testing.T) {
	s := newPeopleSite(t, options{})
	bob := s.browser("bob")
	own := bob.own()
	for contentType, begin := range map[string]string{"application/x-www-form-urlencoded": "x=1&y=", "multipart/form-data; boundary=b": "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n"} {
		for _, complete := range []bool{false, true} {
			w := &stalled{ResponseRecorder: httptest.NewRecorder()}
			var body io.Reader = io.MultiReader(strings.NewReader(begin), w)
			if complete && !strings.HasPrefix(contentType, "multipart") {
				body = strings.NewReader("x=1&Jenkins-Crumb=" + own)
			} else if complete {
				body = strings.NewReader(multipartForm("Jenkins-Crumb", own))
			}
			r := httptest.NewRequest("POST", "/job/a/build", body)
			r.Header.Set(ssoHeader, "bob")
			r.Header.Set("Cookie", bob.cookie())
			r.Header.Set("Content-Type", contentType)
			s.jenkins.ResetRequests()
			if err := s.gate.ServeHTTP(w, r, passTo(s.jenkins)); err != nil {
				t.Fatal(err)
			}
			switch {
			case !complete && (w.Code != http.StatusRequestTimeout || !strings.Contains(s.log.last(), string(gateway.ReasonCrumbSlow)) || len(w.set) != 1 || w.set[0].IsZero()):
				t.Errorf("%s: the client got %d %s; deadlines %v; the log says %s", contentType, w.Code, w.Body, w.set, s.log.last())
			case complete && (w.Code != http.StatusCreated || len(w.set) != 2 || !w.set[1].IsZero()):
				t.Errorf("%s, complete: the client got %d %s; deadlines %v, want one that is taken back", contentType, w.Code, w.Body, w.set)
			}
		}
	}
}
