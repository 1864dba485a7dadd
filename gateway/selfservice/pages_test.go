package selfservice_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// A world is pages on a directory in a file, with a clock.
type world struct {
	*token.Directory
	t       testing.TB
	pages   *selfservice.Pages
	log     bytes.Buffer
	now     time.Time
	down    error      // why there is no directory
	mu      sync.Mutex // guards the next two, which the directory uses in the background
	failing error      // why no change can be audited
	audited []token.Event
	entries []selfservice.AuditEntry
	asked   selfservice.AuditQuery
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)}
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Directory, err = token.Open(t.Context(), store, token.Config{
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now },
		Audit: func(_ context.Context, events ...token.Event) (storage.Change, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.audited = append(w.audited, events...)
			return storage.Change{}, w.failing
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	keys := crumb.NewKeys()
	w.pages, err = selfservice.New(selfservice.Config{
		Directory:     func() (*token.Directory, error) { return w.Directory, w.down },
		CrumbKeys:     func() (*crumb.Keys, error) { return keys, nil },
		JenkinsPrefix: "/jenkins",
		Admin:         func(p *token.Profile) bool { return slices.Contains(p.Groups, "admins") },
		Audit: func(_ context.Context, q selfservice.AuditQuery) ([]selfservice.AuditEntry, error) {
			w.asked = q
			return w.entries, w.failing
		},
		Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var (
	carol = &token.Profile{User: "carol", DisplayName: "Carol C."}
	mal   = &token.Profile{User: "mal"}
	root  = &token.Profile{User: "root", Groups: []string{"admins"}}
)

func (w *world) make(user, name string) *token.Token {
	w.t.Helper()
	made, _, err := w.Create(w.t.Context(), token.Request{User: user, Name: name, Actor: user, Limits: &token.Limits{Scopes: []string{"read"}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// An answer is what the pages have answered.
type answer struct {
	*http.Response
	body string
}

func (w *world) serve(r *http.Request, person *token.Profile) answer {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.pages.ServeHTTP(recorder, r, person, "192.0.2.7")
	response := recorder.Result()
	if got := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; style-src 'self'; script-src 'self'") ||
		!strings.HasSuffix(got, "form-action 'self'; base-uri 'none'; frame-ancestors 'none'") {
		w.t.Errorf("%s %s: Content-Security-Policy %q", r.Method, r.URL, got)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
		if got := response.Header.Get(name); got != want {
			w.t.Errorf("%s %s: %s %q, want %q", r.Method, r.URL, name, got, want)
		}
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" && !strings.Contains(r.URL.Path, "/assets/") {
		w.t.Errorf("%s %s: Cache-Control %q", r.Method, r.URL, got)
	}
	return answer{response, recorder.Body.String()}
}

func (w *world) get(person *token.Profile, path string) answer {
	w.t.Helper()
	return w.serve(httptest.NewRequest(http.MethodGet, "/crumbgate/"+path, nil), person)
}

var crumbPattern = regexp.MustCompile(`name="crumb" value="([^"]*)"`)

// crumb returns the crumb on the page at a path.
func (w *world) crumb(person *token.Profile, path string) string {
	w.t.Helper()
	found := crumbPattern.FindStringSubmatch(w.get(person, path).body)
	if found == nil {
		w.t.Fatalf("no crumb at %q", path)
	}
	return found[1]
}

func (w *world) send(person *token.Profile, path string, form url.Values) answer {
	w.t.Helper()
	return w.sendBody(person, path, form.Encode())
}

func (w *world) sendBody(person *token.Profile, path, body string) answer {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://jenkins.example.org/crumbgate/"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://jenkins.example.org")
	return w.serve(r, person)
}

// post sends a form with a crumb that holds: that of the page with the form.
func (w *world) post(person *token.Profile, path string, pairs ...string) answer {
	w.t.Helper()
	// The crumbs of all forms but one are the same, and that page needs no token.
	form := url.Values{"crumb": {w.crumb(person, "new")}}
	if path != "new" {
		shown := w.make(string(person.User), fmt.Sprintf("for a crumb %d", w.Len()))
		form.Set("crumb", w.crumb(person, "token/"+shown.Record().ID.String()))
		if _, err := w.Revoke(w.t.Context(), shown.Record().ID, "test"); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return w.send(person, path, form)
}

func (a answer) want(t testing.TB, status int, texts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("status %d, want %d:\n%s", a.StatusCode, status, plain(a.body))
	}
	for _, text := range texts {
		if !strings.Contains(plain(a.body), text) {
			t.Errorf("the page lacks %q:\n%s", text, plain(a.body))
		}
	}
}

var tagPattern = regexp.MustCompile(`(?s)<head>.*</head>|<[^>]*>`)

// plain returns the text of a page.
func plain(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(page, " "))), " ")
}

func TestNew(t *testing.T) {
	keys := crumb.NewKeys()
	directory := func() (*token.Directory, error) { return nil, errors.New("none") }
	log := slog.New(slog.DiscardHandler)
	tests := []struct {
		name, prefix, jenkins string
		ok                    bool
	}{
		{"defaults", "", "", true},
		{"below Jenkins", "/jenkins/crumbgate/", "/jenkins", true},
		{"odd characters that are plain", "/a.b_c~d-e/", "/x.y", true},
		{"no slash at the end", "/tokens", "", false},
		{"no slash at the beginning", "tokens/", "", false},
		{"everything", "/", "", false},
		{"two slashes", "/a//b/", "", false},
		{"another host", "//evil.example/", "", false},
		{"dots", "/a/../b/", "", false},
		{"a header", "/a\r\nSet-Cookie: x=1/", "", false},
		{"a line's end at the end", "/a/\n", "", false},
		{"markup", `/"><script>/`, "", false},
		{"an escape", "/%61/", "", false},
		{"a query", "/a?/", "", false},
		{"Jenkins with a slash at the end", "", "/jenkins/", false},
		{"Jenkins with a header", "", "/jenkins\r\nX: y", false},
		{"Jenkins elsewhere", "", "//evil.example", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := selfservice.New(selfservice.Config{
				Directory: directory, CrumbKeys: func() (*crumb.Keys, error) { return keys, nil },
				Prefix: tt.prefix, JenkinsPrefix: tt.jenkins, Log: log,
			})
			if (err == nil) != tt.ok {
				t.Errorf("New with the prefixes %q and %q: %v", tt.prefix, tt.jenkins, err)
			}
		})
	}
	if _, err := selfservice.New(selfservice.Config{}); err == nil {
		t.Error("New without a directory has no error")
	}
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	w.entries = []selfservice.AuditEntry{{Time: w.now, Kind: "token.created", Actor: "carol"}}
	mine, theirs := w.make("carol", "mine").Record().ID.String(), w.make("mal", "theirs").Record().ID.String()
	tests := []struct {
		name   string
		person *token.Profile
		path   string
		status int
		text   string
	}{
		{"own", carol, "", 200, "mine"},
		{"new", carol, "new", 200, "Make the token"},
		{"token", carol, "token/" + mine, 200, "Recent use"},
		{"revoke", carol, "token/" + mine + "/revoke", 200, "can’t be undone"},
		{"somebody else's", carol, "token/" + theirs, 404, "Nothing is here"},
		{"revoke somebody else's", carol, "token/" + theirs + "/revoke", 404, "Nothing is here"},
		{"nobody's", carol, "token/" + uuid.NewString(), 404, "Nothing is here"},
		{"id in another spelling", carol, "token/" + strings.ToUpper(mine), 404, ""},
		{"id in braces", carol, "token/%7B" + mine + "%7D", 404, ""},
		{"id with more", carol, "token/" + mine + "/", 404, ""},
		{"unknown", carol, "nowhere", 404, "Nothing is here"},
		{"unknown action", carol, "token/" + mine + "/steal", 404, ""},
		{"admin", carol, "admin/", 404, ""},
		{"admin's audit", carol, "admin/audit", 404, ""},
		{"admin's user", carol, "admin/user?id=mal", 404, ""},
		{"unknown query", carol, "?x=1", 400, "not known"},
		{"broken query", carol, "?done=%zz", 400, ""},
		{"query twice", carol, "?done=a&done=b", 400, "twice"},
		{"notice", carol, "?done=revoked", 200, "for good"},
		{"no notice", carol, "?done=%3Cscript%3E", 200, "mine"},
		{"nobody", nil, "", 403, "Nobody has signed in"},
		{"all", root, "admin/", 200, "theirs"},
		{"all by user", root, "admin/?user=mal", 200, "1 to 1 of 1"},
		{"all by text", root, "admin/?q=thei", 200, "1 to 1 of 1"},
		{"all without any", root, "admin/?q=nothing", 200, "No token is found"},
		{"all by a wrong filter", root, "admin/?unused_for=soon", 400, "not a time"},
		{"all by nonsense", root, "admin/?legacy=perhaps", 400, "neither true nor false"},
		{"all, far page", root, "admin/?page=1000", 200, ""},
		{"all, page nought", root, "admin/?page=0", 400, ""},
		{"token of all", root, "token/" + theirs, 200, "mal"},
		{"revoke of all", root, "token/" + theirs + "/revoke", 200, "A token of mal"},
		{"user", root, "admin/user?id=mal", 200, "theirs"},
		{"user that nobody knows", root, "admin/user?id=nobody-yet", 200, "None"},
		{"no user", root, "admin/user?id=", 400, ""},
		{"audit", root, "admin/audit?owner=carol&kind=token.created&token=" + mine, 200, "token.created"},
		{"audit of no token", root, "admin/audit?token=x", 400, "not the id of a token"},
		{"audit of nobody", root, "admin/audit?owner=anonymous", 400, "Jenkins keeps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.get(tt.person, tt.path).want(t, tt.status, tt.text)
			r := httptest.NewRequest(http.MethodHead, "/crumbgate/"+tt.path, nil)
			if head := w.serve(r, tt.person); head.StatusCode != tt.status || head.body != "" {
				t.Errorf("HEAD: status %d and %d bytes, want %d and none", head.StatusCode, len(head.body), tt.status)
			}
		})
	}
	if want := (selfservice.AuditQuery{Owner: "carol", Token: uuid.MustParse(mine), Kind: "token.created", Limit: 200}); w.asked != want {
		t.Errorf("the audit log was asked for %+v, want %+v", w.asked, want)
	}
	bare := w.serve(httptest.NewRequest(http.MethodGet, "/crumbgate", nil), carol)
	if bare.StatusCode != http.StatusPermanentRedirect || bare.Header.Get("Location") != "/crumbgate/" {
		t.Errorf("/crumbgate without its slash: status %d, Location %q", bare.StatusCode, bare.Header.Get("Location"))
	}
	for _, path := range []string{"/elsewhere/", "/crumbgate/%61dmin/"} {
		if got := w.serve(httptest.NewRequest(http.MethodGet, path, nil), root); got.StatusCode != 404 && got.StatusCode != 200 {
			t.Errorf("%s: status %d", path, got.StatusCode)
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	id := w.make("carol", "mine").Record().ID.String()
	for path, allow := range map[string]string{"": "GET, HEAD", "new": "GET, HEAD, POST", "token/" + id + "/rename": "POST", "token/" + id + "/revoke": "GET, HEAD, POST"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"} {
			r := httptest.NewRequest(http.MethodPost, "/crumbgate/"+path, strings.NewReader(""))
			r.Method = method
			a := w.serve(r, carol)
			if a.StatusCode != 405 || a.Header.Get("Allow") != allow {
				t.Errorf("%s %q: status %d, Allow %q, want 405, %q", method, path, a.StatusCode, a.Header.Get("Allow"), allow)
			}
		}
	}
	w.get(carol, "token/"+id+"/rename").want(t, 405)
	w.post(carol, "", "name", "x").want(t, 405)
	// No other way of naming the method is looked at.
	r := httptest.NewRequest(http.MethodGet, "/crumbgate/token/"+id+"/suspend", nil)
	r.Header.Set("X-HTTP-Method-Override", "POST")
	w.serve(r, carol).want(t, 405)
	w.post(carol, "token/"+id+"/revoke", "_method", "GET").want(t, 400)
}

var secretPattern = regexp.MustCompile(`<code id="secret"[^>]*>([^<]*)</code>`)

// secret returns the token whose secret a page shows.
func (w *world) secret(a answer) (*token.Token, string) {
	w.t.Helper()
	a.want(w.t, 200, "Copy the secret now")
	found := secretPattern.FindStringSubmatch(a.body)
	if found == nil {
		w.t.Fatal("the page shows no secret")
	}
	digest, err := token.Parse(found[1])
	if err != nil {
		w.t.Fatal(err)
	}
	made := w.Find(digest)
	if made == nil {
		w.t.Fatal("the secret is no token's")
	}
	return made, found[1]
}

func TestCreate(t *testing.T) {
	const day = 24 * 60 * 60
	tests := []struct {
		name   string
		rules  token.Rules
		pairs  []string
		status int
		text   string
		limits string
		life   int64 // seconds; 0: without end
	}{
		{"all", token.Rules{}, []string{"name", "a", "life", "30d", "access", "full"}, 200, "", "no limits", 30 * day},
		{"scopes", token.Rules{}, []string{"name", "a", "life", "never", "access", "limited", "scope", "read", "scope", "build"}, 200, "It never expires", "scopes=read,build", 0},
		{"folder", token.Rules{}, []string{"name", "a", "life", "7d", "access", "limited", "scope", "build", "folder", "team-a/**"}, 200, "", "scopes=build:team-a/**", 7 * day},
		{"lines", token.Rules{}, []string{"name", "a", "life", "7d", "access", "limited", "scopes", "build:a/**\r\n\r\n read:b \r\n"}, 200, "", "scopes=build:a/**,read:b", 7 * day},
		{"observed", token.Rules{}, []string{"name", "a", "life", "7d", "access", "limited", "scope", "read", "observe", "yes", "sources", "10.0.0.0/8, 192.0.2.7"}, 200, "", "scopes=read observe sources=10.0.0.0/8,192.0.2.7/32", 7 * day},
		{"date", token.Rules{}, []string{"name", "a", "life", "date", "until", "2026-10-02", "access", "full"}, 200, "", "no limits", day + day/2},
		{"a life of the rules", token.Rules{DefaultLife: 36 * time.Hour, MaxLife: 48 * time.Hour}, []string{"name", "a", "life", "36h", "access", "full"}, 200, "", "no limits", 36 * 60 * 60},

		{"no name", token.Rules{}, []string{"life", "30d", "access", "full"}, 400, "Say what the token is for", "", 0},
		{"long name", token.Rules{}, []string{"name", strings.Repeat("é", 65), "life", "30d", "access", "full"}, 400, "at most 128", "", 0},
		{"invisible name", token.Rules{}, []string{"name", "a\u202eb", "life", "30d", "access", "full"}, 400, "invisible", "", 0},
		{"name of another", token.Rules{}, []string{"name", "taken", "life", "30d", "access", "full"}, 409, "already has a token named", "", 0},
		{"no access", token.Rules{}, []string{"name", "a", "life", "30d"}, 400, "Choose what the token may do", "", 0},
		{"odd access", token.Rules{}, []string{"name", "a", "life", "30d", "access", "root"}, 400, "Choose what the token may do", "", 0},
		{"no scope", token.Rules{}, []string{"name", "a", "life", "30d", "access", "limited"}, 400, "at least one permission", "", 0},
		{"no item in agents", token.Rules{}, []string{"name", "a", "life", "30d", "access", "limited", "scope", "agents", "folder", "a"}, 400, "limited to folders", "", 0},
		{"wrong source", token.Rules{}, []string{"name", "a", "life", "30d", "access", "full", "sources", "10.0.0.1/8"}, 400, "write 10.0.0.0/8", "", 0},
		{"no life", token.Rules{}, []string{"name", "a", "access", "full"}, 400, "how long the token is to live", "", 0},
		{"a life that is not offered", token.Rules{}, []string{"name", "a", "life", "3650d", "access", "full"}, 400, "how long the token is to live", "", 0},
		{"no date", token.Rules{}, []string{"name", "a", "life", "date", "access", "full"}, 400, "Choose the date", "", 0},
		{"a date that is past", token.Rules{}, []string{"name", "a", "life", "date", "until", "2025-01-01", "access", "full"}, 400, "in the past", "", 0},
		{"never, refused", token.Rules{NoNever: true}, []string{"name", "a", "life", "never", "access", "full"}, 400, "how long the token is to live", "", 0},
		{"never by a date", token.Rules{NoNever: true}, []string{"name", "a", "life", "date", "until", "never", "access", "full"}, 400, "without an end are not allowed", "", 0},
		{"too far", token.Rules{MaxLife: 30 * 24 * time.Hour}, []string{"name", "a", "life", "date", "until", "2027-10-02", "access", "full"}, 400, "further away", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.SetRules(tt.rules)
			if tt.status == 409 {
				w.make("carol", "taken")
			}
			before := w.Len()
			a := w.post(carol, "new", tt.pairs...)
			if tt.status != 200 {
				a.want(t, tt.status, "That did not work", tt.text)
				if w.Len() != before {
					t.Error("a token was made")
				}
				for i := 0; i < len(tt.pairs); i += 2 {
					if tt.pairs[i] == "name" && !strings.Contains(a.body, `name="name" value="`+html.EscapeString(tt.pairs[i+1])+`"`) {
						t.Errorf("the name that was typed is gone:\n%s", a.body)
					}
				}
				return
			}
			made, secret := w.secret(a)
			a.want(t, 200, tt.text, "https://jenkins.example.org/jenkins/", "carol:"+secret)
			r := made.Record()
			life := r.Expires - w.now.Unix()
			if r.Expires == 0 {
				life = 0
			}
			if r.Owner != "carol" || r.Name != "a" || r.Actor != "carol" || r.Limits.String() != tt.limits && made.Record().Scoped() || life != tt.life {
				t.Errorf("made %+v with %v, want %v", r, r.Limits, tt.limits)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			e := w.audited[len(w.audited)-1]
			if want := (token.Actor{Name: "carol", Via: "page", Addr: "192.0.2.7"}); e.Actor != want || e.Kind != token.KindCreated {
				t.Errorf("audited %s by %+v, want %+v", e.Kind, e.Actor, want)
			}
			if strings.Contains(w.log.String(), secret) {
				t.Error("the secret is in the log")
			}
			if strings.Contains(w.get(carol, "").body+w.get(carol, "token/"+r.ID.String()).body, secret) {
				t.Error("the secret is shown again")
			}
		})
	}
}

// TestCreateTwice sends a form again, in each way that a browser may.
func TestCreateTwice(t *testing.T) {
	w := newWorld(t)
	form := url.Values{"crumb": {w.crumb(carol, "new")}, "name": {"a"}, "life": {"30d"}, "access": {"full"}}
	made, _ := w.secret(w.send(carol, "new", form))
	w.send(carol, "new", form).want(t, 409, "Nothing was made now")
	if _, err := w.Revoke(t.Context(), made.Record().ID, "carol"); err != nil {
		t.Fatal(err)
	}
	again := w.send(carol, "new", form) // though the name is free again
	again.want(t, 409, "Nothing was made now")
	if w.Len() != 1 {
		t.Errorf("there are %d tokens, want 1", w.Len())
	}
	// That page has a form that can be sent.
	form.Set("crumb", crumbPattern.FindStringSubmatch(again.body)[1])
	w.secret(w.send(carol, "new", form))
}

func TestSecretsAreNotShownAgain(t *testing.T) {
	w := newWorld(t)
	secret := token.NewSecret(token.Native).Reveal()
	for _, field := range []string{"name", "folder", "scopes", "sources"} {
		pairs := map[string]string{"name": "a", "life": "30d", "access": "limited", "scope": "read"}
		pairs[field] = secret
		var list []string
		for name, value := range pairs {
			list = append(list, name, value)
		}
		if field == "folder" || field == "scopes" {
			list = append(list, "sources", "nonsense")
		}
		a := w.post(carol, "new", list...)
		if a.StatusCode != 400 || strings.Contains(a.body, secret) && field != "sources" || strings.Contains(w.log.String(), secret) {
			t.Errorf("a secret in %s: status %d, and it is shown", field, a.StatusCode)
		}
	}
}

func TestToken(t *testing.T) {
	tests := []struct {
		name   string
		before func(w *world, made *token.Token)
		path   string
		pairs  []string
		status int
		text   string // of the page, or the query that a redirect leads to
		check  func(r *token.Record) bool
	}{
		{"rename", nil, "rename", []string{"name", "new"}, 303, "?done=renamed", func(r *token.Record) bool { return r.Name == "new" }},
		{"rename to nothing", nil, "rename", []string{"name", " "}, 400, "new name is empty", func(r *token.Record) bool { return r.Name == "mine" }},
		{"rename to another's", func(w *world, _ *token.Token) { w.make("carol", "taken") }, "rename", []string{"name", "taken"}, 409, "already has a token", func(r *token.Record) bool { return r.Name == "mine" }},
		{"limit", nil, "limits", []string{"access", "limited", "scope", "build"}, 303, "?done=limited", func(r *token.Record) bool { return r.Scoped() }},
		{"limit wrongly", nil, "limits", []string{"access", "limited"}, 400, "at least one permission", func(r *token.Record) bool { return r.Limits.Scopes[0] == "read" }},
		{"no limits", nil, "limits", []string{"access", "full"}, 303, "?done=limited", func(r *token.Record) bool { return r.Limits == nil }},
		{"limits that the form does not know", func(w *world, made *token.Token) {
			_, err := w.SetLimits(context.Background(), made.Record().ID, &token.Limits{Rate: 5, Uses: 6}, "test")
			if err != nil {
				w.t.Fatal(err)
			}
		}, "limits", []string{"access", "full"}, 303, "", func(r *token.Record) bool { return r.Limits.Rate == 5 && r.Limits.Uses == 6 }},
		{"suspend", nil, "suspend", []string{"why", "lost laptop"}, 303, "?done=suspended", func(r *token.Record) bool { return r.State == token.Suspended && r.Why == "lost laptop" }},
		{"suspend with too much", nil, "suspend", []string{"why", strings.Repeat("x", 201)}, 400, "at most 200", func(r *token.Record) bool { return r.State == token.Active }},
		{"suspend with a secret", nil, "suspend", []string{"why", token.NewSecret(token.Native).Reveal()}, 400, "holds a token", func(r *token.Record) bool { return r.State == token.Active }},
		{"resume", func(w *world, made *token.Token) {
			_, err := w.SuspendAll(context.Background(), []*token.Token{made}, token.ByOwner, "", "test")
			if err != nil {
				w.t.Fatal(err)
			}
		}, "resume", nil, 303, "?done=resumed", func(r *token.Record) bool { return r.State == token.Active }},
		{"resume what an administrator has suspended", func(w *world, made *token.Token) {
			_, err := w.SuspendAll(context.Background(), []*token.Token{made}, token.ByAdmin, "", "test")
			if err != nil {
				w.t.Fatal(err)
			}
		}, "resume", nil, 409, "not suspended by its owner", func(r *token.Record) bool { return r.State == token.Suspended }},
		{"resume what the reuse alarm has suspended", func(w *world, made *token.Token) {
			_, err := w.SuspendAll(context.Background(), []*token.Token{made}, token.ByGateway, "", "test")
			if err != nil {
				w.t.Fatal(err)
			}
		}, "resume", nil, 409, "not suspended by its owner", func(r *token.Record) bool { return r.State == token.Suspended }},
		{"revoke", nil, "revoke", nil, 303, "?done=revoked", func(r *token.Record) bool { return r.State == token.Revoked }},
		{"rotate", nil, "rotate", []string{"overlap", "1h", "life", "7d"}, 200, "works until", (*token.Record).Superseded},
		{"rotate at once", nil, "rotate", []string{"overlap", "0", "life", ""}, 200, "it has ended", (*token.Record).Superseded},
		{"rotate with another overlap", nil, "rotate", []string{"overlap", "9000d", "life", ""}, 400, "did not offer", func(r *token.Record) bool { return !r.Superseded() }},
		{"rotate a suspended one", func(w *world, made *token.Token) {
			_, err := w.SuspendAll(context.Background(), []*token.Token{made}, token.ByAdmin, "", "test")
			if err != nil {
				w.t.Fatal(err)
			}
		}, "rotate", []string{"overlap", "1h", "life", ""}, 409, "resume it first", func(r *token.Record) bool { return !r.Superseded() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			made := w.make("carol", "mine")
			if tt.before != nil {
				tt.before(w, made)
			}
			path := "token/" + made.Record().ID.String()
			before := *made.Record()
			w.post(mal, path+"/"+tt.path, tt.pairs...).want(t, 404, "Nothing is here")
			if *made.Record() != before {
				t.Fatalf("somebody else has changed the token: %+v", made.Record())
			}
			a := w.post(carol, path+"/"+tt.path, tt.pairs...)
			if tt.status == 303 {
				a.want(t, 303)
				if got := a.Header.Get("Location"); !strings.HasPrefix(got, "/crumbgate/"+path+"?done=") || !strings.HasSuffix(got, tt.text) {
					t.Errorf("leads to %q", got)
				}
				w.get(carol, strings.TrimPrefix(a.Header.Get("Location"), "/crumbgate/")).want(t, 200, "Recent use")
			} else {
				a.want(t, tt.status, tt.text)
			}
			if !tt.check(made.Record()) {
				t.Errorf("the token has become %+v with %v", made.Record(), made.Record().Limits)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.audited {
				if e.Actor.Via == "page" && e.Actor.Name != "carol" {
					t.Errorf("%s by %q", e.Kind, e.Actor.Name)
				}
			}
		})
	}
}

func TestAdminsDoNotRotateForOthers(t *testing.T) {
	w := newWorld(t)
	made := w.make("carol", "mine")
	path := "token/" + made.Record().ID.String()
	if a := w.get(root, path); strings.Contains(a.body, "/rotate") {
		t.Error("the page offers to rotate")
	}
	w.post(root, path+"/rotate", "overlap", "0", "life", "").want(t, 404)
	w.post(root, path+"/suspend", "why", "looks stolen").want(t, 303)
	if r := made.Record(); r.Superseded() || r.State != token.Suspended {
		t.Errorf("the token is %+v", r)
	}
	w.get(carol, "").want(t, 200, "looks stolen")
}

func TestMarks(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		age  int
		name string
	}{{400, "ancient"}, {200, "old"}, {10, "unused"}} {
		w.now = w.now.AddDate(0, 0, -tt.age)
		if _, _, err := w.Create(t.Context(), token.Request{User: "carol", Name: tt.name, Expires: "never", Actor: "carol"}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.AddDate(0, 0, tt.age)
	}
	w.now = w.now.Add(-55 * time.Minute)
	if _, _, err := w.Create(t.Context(), token.Request{User: "carol", Name: "short", Expires: "1h", Actor: "carol"}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(55 * time.Minute)
	used := w.make("carol", "used")
	used.Use(usage.Use{Time: w.now, Addr: "192.0.2.8", Agent: "curl/8"})
	used.Use(usage.Use{Time: w.now, Addr: "192.0.2.9", Agent: "curl/8"})
	w.get(carol, "").want(t, 200, "Made 400 days ago: rotate it", "Made 200 days ago: rotate it", "Never used: do you need it?", "Never expires",
		"Expires in 5 minutes", "No scopes", "2 uses curl")
	w.get(carol, "token/"+used.Record().ID.String()).want(t, 200, "192.0.2.9", "192.0.2.8", "curl")
	w.get(root, "admin/").want(t, 200, "1 more than 360 days old", "1 more than 180 days old", "3 made more than a week ago and not used since", "1 expires soon", "3 without an end", "4 without scopes")

	if _, err := w.SetDisabled(t.Context(), "carol", true, "root"); err != nil {
		t.Fatal(err)
	}
	w.get(carol, "").want(t, 200, "You are disabled since", "Refused: the user is disabled")
	w.post(mal, "new", "name", "a", "life", "30d", "access", "full").want(t, 200)
}

// Every link of every page leads to a page.
func TestLinksLeadToPages(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		w.make("carol", fmt.Sprintf("token %d & more", i))
	}
	links := regexp.MustCompile(`href="([^"]*)"`)
	seen, pages := map[string]bool{}, 0
	queue := []string{"/crumbgate/", "/crumbgate/admin/?q=%26+more&user=carol"}
	for len(queue) > 0 && pages < 60 {
		path := html.UnescapeString(queue[0])
		queue = queue[1:]
		if seen[path] || !strings.HasPrefix(path, "/crumbgate/") {
			continue
		}
		seen[path] = true
		pages++
		a := w.serve(httptest.NewRequest(http.MethodGet, path, nil), root)
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, a.StatusCode)
		}
		for _, match := range links.FindAllStringSubmatch(a.body, -1) {
			// Links to single tokens last, as there are so many.
			if strings.Contains(match[1], "/token/") {
				queue = append(queue, match[1])
			} else {
				queue = append([]string{match[1]}, queue...)
			}
		}
	}
	for _, path := range []string{"/crumbgate/admin/?page=2", "/crumbgate/admin/?page=2&q=%26+more&user=carol", "/crumbgate/admin/?page=3&q=%26+more&user=carol", "/crumbgate/admin/?page=1&q=%26+more&user=carol"} {
		if !seen[path] {
			t.Errorf("no link leads to %s", path)
		}
	}
}

// More tokens than change at once are refused with a text that says so.
func TestTooManySelected(t *testing.T) {
	w := newWorld(t)
	var form []string
	for i := range 1001 {
		form = append(form, "id", w.make("carol", fmt.Sprintf("token %d", i)).Record().ID.String())
	}
	w.post(root, "admin/preview", "action", "suspend", "which", "all", "filter", "user=carol").want(t, 400, "Too many tokens", "At most 1000 tokens")
	w.post(root, "admin/preview", append(form, "action", "suspend", "which", "chosen", "filter", "")...).want(t, 400, "Too many tokens", "At most 1000 tokens")
	w.post(root, "admin/apply", append(form, "action", "suspend")...).want(t, 400, "Too many tokens")
}

func TestBulk(t *testing.T) {
	w := newWorld(t)
	first, second, other := w.make("carol", "first"), w.make("carol", "second"), w.make("mal", "other")
	id := func(t *token.Token) string { return t.Record().ID.String() }
	chosen := w.post(root, "admin/preview", "action", "suspend", "which", "chosen", "filter", "", "id", id(first), "id", id(second))
	chosen.want(t, 200, "2 would change", "first", "second")
	if strings.Contains(chosen.body, id(other)) {
		t.Error("the preview lists another token")
	}
	w.post(root, "admin/preview", "action", "revoke", "which", "all", "filter", "user=carol").want(t, 200, "2 would change")
	for _, pairs := range [][]string{
		{"action", "explode", "which", "all", "filter", ""},
		{"action", "revoke", "which", "some", "filter", ""},
		{"action", "revoke", "which", "chosen", "filter", ""},
		{"action", "revoke", "which", "all", "filter", "user=a:b"},
		{"action", "revoke", "which", "all", "filter", "hidden=1"},
		{"action", "revoke", "which", "chosen", "filter", "", "id", "x"},
	} {
		w.post(root, "admin/preview", pairs...).want(t, 400)
	}
	if first.Record().State != token.Active {
		t.Fatal("a preview has changed a token")
	}
	w.post(root, "admin/apply", "action", "suspend", "id", id(first), "id", id(second), "why", "audit").want(t, 303)
	w.post(root, "admin/preview", "action", "suspend", "which", "chosen", "filter", "", "id", id(first)).want(t, 200, "Nothing would change")
	w.post(root, "admin/apply", "action", "resume", "id", id(first)).want(t, 303)
	w.post(root, "admin/apply", "action", "revoke", "id", id(second), "why", strings.Repeat("x", 300)).want(t, 400, "at most 200")
	w.post(root, "admin/apply", "action", "revoke", "id", id(second), "id", id(second), "why", "gone").want(t, 303)
	w.post(root, "admin/apply", "action", "revoke", "id", uuid.NewString()).want(t, 404)
	if a, b, c := first.Record(), second.Record(), other.Record(); a.State != token.Active || b.State != token.Revoked || b.Why != "gone" || c.State != token.Active {
		t.Errorf("the tokens are %v, %v because %q, and %v", a.State, b.State, b.Why, c.State)
	}
	for _, path := range []string{"admin/preview", "admin/apply", "admin/user/disable", "admin/user/enable"} {
		w.post(carol, path, "action", "revoke", "id", id(other), "user", "mal").want(t, 404)
	}
}

func TestManyTokens(t *testing.T) {
	w := newWorld(t)
	for i := range 130 {
		w.make("carol", fmt.Sprintf("token %03d", i))
	}
	w.get(root, "admin/").want(t, 200, "1 to 100 of 130", "Next")
	w.get(root, "admin/?page=2&q=token").want(t, 200, "101 to 130 of 130", "Previous", "token 129")
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	w.make("mal", "theirs")
	w.post(root, "admin/user/disable", "user", "mal").want(t, 303)
	if p, _ := w.Profile("mal"); p.Disabled == 0 {
		t.Error("the user is not disabled")
	}
	w.get(root, "admin/user?id=mal").want(t, 200, "Disabled", "Enable the user")
	w.post(root, "admin/user/enable", "user", "mal").want(t, 303)
	w.post(root, "admin/user/disable", "user", "").want(t, 400)
	kept := w.make("root", "own")
	w.post(root, "admin/user/disable", "user", "ROOT").want(t, 409, "can’t disable yourself")
	// An admin who has been disabled is none.
	if _, err := w.SetDisabled(t.Context(), "root", true, "other"); err != nil {
		t.Fatal(err)
	}
	w.get(root, "admin/").want(t, 404)
	// A disabled user changes nothing, the own tokens included.
	own := "token/" + kept.Record().ID.String()
	for path, form := range map[string]url.Values{
		own + "/rename":      {"crumb": {w.crumb(root, own)}, "name": {"renamed"}},
		own + "/revoke":      {"crumb": {w.crumb(root, own)}},
		"new":                {"crumb": {w.crumb(root, "new")}, "name": {"a"}, "life": {"30d"}, "access": {"full"}},
		"admin/user/enable":  {"crumb": {w.crumb(root, own)}, "user": {"root"}},
		"admin/user/disable": {"crumb": {w.crumb(root, own)}, "user": {"mal"}},
	} {
		before := w.Len()
		if a := w.send(root, path, form); a.StatusCode != 403 && a.StatusCode != 404 {
			t.Errorf("POST %s by a disabled user: status %d", path, a.StatusCode)
		}
		if now := kept.Record(); w.Len() != before || now.Name != "own" || now.State != token.Active {
			t.Errorf("POST %s by a disabled user: %d tokens more, the own one is %+v", path, w.Len()-before, now)
		}
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t)
	made := w.make("carol", "mine")
	path := "token/" + made.Record().ID.String()
	crumb := w.crumb(carol, path)
	w.failing = errors.New("disk /var/lib/secret-place is full")
	for _, a := range []answer{w.send(carol, path+"/rename", url.Values{"crumb": {crumb}, "name": {"other"}}), w.get(root, "admin/audit")} {
		a.want(t, 503)
		if strings.Contains(a.body, "secret-place") {
			t.Error("the page tells what only the log should")
		}
	}
	w.failing, w.down = nil, errors.New("locked")
	w.get(carol, "").want(t, 503, "Not ready")
	if !strings.Contains(w.log.String(), "secret-place") || !strings.Contains(w.log.String(), "locked") {
		t.Error("the log does not tell why")
	}
}

func TestAssets(t *testing.T) {
	w := newWorld(t)
	page := w.get(carol, "").body
	found := regexp.MustCompile(`(?:href|src)="/crumbgate/(assets/[^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 3 {
		t.Fatalf("%d assets on the page", len(found))
	}
	for _, match := range found {
		a := w.get(carol, match[1])
		if a.StatusCode != 200 || a.body == "" || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: status %d, Cache-Control %q", match[1], a.StatusCode, a.Header.Get("Cache-Control"))
		}
	}
	for _, path := range []string{"assets/", "assets/style.css", "assets/../pages.go", "assets/00-style.css"} {
		w.get(carol, path).want(t, 404)
	}
	for _, inline := range []string{"<style", " style=", "javascript:", " onclick", "http://", "https://"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has %q", inline)
		}
	}
}
