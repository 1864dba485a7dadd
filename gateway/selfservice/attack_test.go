package selfservice_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// TestForgedForms sends each form without the crumb that it needs.
func TestForgedForms(t *testing.T) {
	w := newWorld(t)
	made := w.make("carol", "mine")
	path := "token/" + made.Record().ID.String()
	malsOwn := w.make("mal", "theirs")
	held := map[string]string{
		"none":         "",
		"nonsense":     "AAAA",
		"another's":    w.crumb(mal, "token/"+malsOwn.Record().ID.String()),
		"for Jenkins":  crumb.NewKeys().Issue("carol", "form of the pages", w.now),
		"of new forms": w.crumb(carol, "new"),
	}
	fields := map[string]url.Values{
		path + "/rename": {"name": {"x"}}, path + "/limits": {"access": {"full"}}, path + "/rotate": {"overlap": {"0"}, "life": {""}},
		path + "/suspend": {"why": {""}}, path + "/resume": {}, path + "/revoke": {},
	}
	before := *made.Record()
	for name, text := range held {
		for action, form := range fields {
			form.Set("crumb", text)
			w.send(carol, action, form).want(t, 403, "Nothing was changed")
		}
		if name != "of new forms" {
			w.send(carol, "new", url.Values{"crumb": {text}, "name": {"a"}, "life": {"30d"}, "access": {"full"}}).want(t, 403, "Nothing was changed")
		}
	}
	for _, action := range []string{"admin/preview", "admin/apply", "admin/user/disable", "admin/user/enable"} {
		w.send(root, action, url.Values{"crumb": {held["another's"]}}).want(t, 403)
	}
	// Those of other forms and of yesterday make nothing either.
	old, oldNew := w.crumb(carol, path), w.crumb(carol, "new")
	w.send(carol, "new", url.Values{"crumb": {old}, "name": {"a"}, "life": {"30d"}, "access": {"full"}}).want(t, 409, "Nothing was made now")
	w.now = w.now.Add(crumb.DefaultLifetime)
	w.send(carol, path+"/revoke", url.Values{"crumb": {old}}).want(t, 403)
	w.send(carol, "new", url.Values{"crumb": {oldNew}, "name": {"a"}, "life": {"30d"}, "access": {"full"}}).want(t, 409, "Nothing was made now")
	if w.Len() != 2 || *made.Record() != before {
		t.Errorf("something was changed: %d tokens, %+v", w.Len(), made.Record())
	}
}

// TestOddBodies sends what no browser makes of these forms.
func TestOddBodies(t *testing.T) {
	w := newWorld(t)
	held := w.crumb(carol, "new")
	good := "name=a&life=30d&access=full&crumb=" + held
	ids := "crumb=x" + strings.Repeat("&scope=r", 2000)
	tests := []struct {
		name, contentType, query, body string
		status                         int
	}{
		{"JSON", "application/json", "", good, 415},
		{"text", "text/plain", "", good, 415},
		{"multipart", "multipart/form-data; boundary=x", "", good, 415},
		{"no type", "", "", good, 415},
		{"broken type", "application/x-www-form-urlencoded; =", "", good, 415},
		{"charset", "application/x-www-form-urlencoded; charset=utf-16", "", good, 415},
		{"too large", "application/x-www-form-urlencoded", "", good + "&folder=" + strings.Repeat("x", 64<<10), 413},
		{"long field", "application/x-www-form-urlencoded", "", good + "&folder=" + strings.Repeat("x", 30<<10), 400},
		{"many values", "application/x-www-form-urlencoded", "", ids, 400},
		{"unknown field", "application/x-www-form-urlencoded", "", good + "&user=mal", 400},
		{"field twice", "application/x-www-form-urlencoded", "", good + "&name=b", 400},
		{"crumb twice", "application/x-www-form-urlencoded", "", good + "&crumb=" + held, 400},
		{"crumb in the query", "application/x-www-form-urlencoded", "?crumb=" + held, "name=a&life=30d&access=full", 400},
		{"broken escape", "application/x-www-form-urlencoded", "", good + "&folder=%zz", 400},
		{"semicolon", "application/x-www-form-urlencoded", "", good + ";folder=a", 400},
		{"no UTF-8", "application/x-www-form-urlencoded", "", good + "&folder=%ff", 400},
		{"nul", "application/x-www-form-urlencoded", "", good + "&folder=%00", 400},
		{"good", "application/x-www-form-urlencoded; charset=UTF-8", "", good, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/crumbgate/new"+tt.query, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			w.serve(r, carol).want(t, tt.status)
		})
	}
	if w.Len() != 1 {
		t.Errorf("%d tokens were made, want 1", w.Len())
	}
}

// TestScripts asks for pages as a script in a page of Jenkins can.
func TestScripts(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, mode, dest string
		status           int
	}{
		{"tab", "navigate", "document", 200},
		{"no browser, or plain HTTP", "", "", 200},
		{"fetch", "cors", "empty", 403},
		{"fetch of this site", "same-origin", "empty", 403},
		{"image", "no-cors", "image", 403},
		{"frame", "navigate", "iframe", 403},
		{"object", "navigate", "object", 403},
		{"only the mode", "cors", "", 403},
		{"only the destination", "", "empty", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := httptest.NewRequest(method, "/crumbgate/new", strings.NewReader(url.Values{"crumb": {w.crumb(carol, "new")}}.Encode()))
				for name, value := range map[string]string{"Sec-Fetch-Mode": tt.mode, "Sec-Fetch-Dest": tt.dest} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				want := tt.status
				if method == http.MethodPost && want == 200 {
					want = 400 // nothing is filled in
				}
				if a := w.serve(r, carol); a.StatusCode != want || want == 403 && crumbPattern.MatchString(a.body) {
					t.Errorf("%s: status %d, want %d", method, a.StatusCode, want)
				}
			}
		})
	}
}

// markup is what must not arrive in a page as it is.
const markup = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`

var rawMarkup = regexp.MustCompile(`<script>|<img src=x|onerror=alert\(1\)>`)

func TestMarkup(t *testing.T) {
	w := newWorld(t)
	evil := "e" + strings.ReplaceAll(markup, ":", "")
	person := &token.Profile{User: "carol", DisplayName: markup}
	admin := &token.Profile{User: "root", Groups: []string{"admins"}, DisplayName: markup}
	made, _, err := w.Create(t.Context(), token.Request{User: "carol", Name: evil, Actor: "carol", Limits: &token.Limits{Scopes: []string{"read:" + strings.ReplaceAll(evil, "*", "")}}})
	if err != nil {
		t.Fatal(err)
	}
	groups, mail := []string{evil}, evil
	if _, err := w.SetProfile(t.Context(), "carol", token.ProfileUpdate{Groups: &groups, Mail: &mail, DisplayName: &mail}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Create(t.Context(), token.Request{User: evil, Name: "a", Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SuspendAll(t.Context(), []*token.Token{made}, token.ByAdmin, evil, "test"); err != nil {
		t.Fatal(err)
	}
	w.entries = []selfservice.AuditEntry{{
		Time: w.now, Kind: markup, Actor: markup, Via: markup, Addr: markup, Owner: markup, TokenName: markup, TokenID: made.Record().ID, Detail: markup,
	}}
	path := "token/" + made.Record().ID.String()
	query := url.QueryEscape(markup)
	pages := map[string]answer{
		"own":       w.get(person, ""),
		"token":     w.get(person, path),
		"revoke":    w.get(person, path+"/revoke"),
		"missing":   w.get(person, query),
		"all":       w.get(admin, "admin/"),
		"all found": w.get(admin, "admin/?q="+query+"&user="+url.QueryEscape(evil)),
		"user":      w.get(admin, "admin/user?id=carol"),
		"evil user": w.get(admin, "admin/user?id="+url.QueryEscape(evil)),
		"audit":     w.get(admin, "admin/audit?owner=a&kind="+query),
		"no audit":  w.get(admin, "admin/audit?token="+query),
		"preview":   w.post(admin, "admin/preview", "action", "revoke", "which", "all", "filter", ""),
		"refused":   w.post(person, "new", "name", markup, "life", markup, "until", markup, "access", "limited", "folder", markup, "scopes", markup, "sources", markup),
		"renamed":   w.post(person, path+"/rename", "name", markup+"\u202e"),
	}
	for name, page := range pages {
		if found := rawMarkup.FindString(page.body); found != "" {
			t.Errorf("%s: %q arrives as it is:\n%s", name, found, page.body)
		}
		if name != "missing" && name != "no audit" && !strings.Contains(page.body, "&lt;script&gt;") {
			t.Errorf("%s: the text is not on the page, status %d", name, page.StatusCode)
		}
		for header, values := range page.Header {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n") || strings.Contains(strings.Join(values, ""), "<script") {
				t.Errorf("%s: the header %s is %q", name, header, values)
			}
		}
	}
	// Names are set apart, so that one that is written from right to left turns nothing
	// around it.
	if !strings.Contains(pages["own"].body, "<bdi>e&#34;&gt;&lt;script") {
		t.Error("the name is not in a bdi element")
	}
}

// TestHosts has the page with the secret name the host that a client claims.
func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"jenkins.example.org": "https://jenkins.example.org/jenkins/", "[2001:db8::1]:8443": "http://[2001:db8::1]:8443/jenkins/",
		"a'; rm -rf ~; '": "http://jenkins.example.com/jenkins/", "a$(id)": "http://jenkins.example.com/jenkins/", "": "http://jenkins.example.com/jenkins/",
	} {
		w := newWorld(t)
		body := url.Values{"crumb": {w.crumb(carol, "new")}, "name": {"a"}, "life": {"30d"}, "access": {"full"}}.Encode()
		r := httptest.NewRequest(http.MethodPost, "/crumbgate/new", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "https://jenkins.example.org")
		r.Host = host
		a := w.serve(r, carol)
		a.want(t, 200, want)
		if strings.Contains(a.body, "rm -rf") || strings.Contains(a.body, "$(id)") {
			t.Errorf("the host %q is on the page", host)
		}
	}
}

// TestNoBodyForReads sends a body without an end with a GET.
func TestNoBodyForReads(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodGet, "/crumbgate/", &endless{})
	done := make(chan answer, 1)
	go func() { done <- w.serve(r, carol) }()
	select {
	case a := <-done:
		a.want(t, 200)
	case <-time.After(10 * time.Second):
		t.Fatal("the body of a GET is read")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestQuoting(t *testing.T) {
	w := newWorld(t)
	odd := &token.Profile{User: `o'brien "x" ${y} \z`}
	a := w.post(odd, "new", "name", "a", "life", "30d", "access", "full")
	_, secret := w.secret(a)
	for _, want := range []string{
		`--user 'o'\''brien "x" ${y} \z:` + secret + `'`,
		`login "o'brien \"x\" ${y} \\z" password ` + secret,
		`username: "o'brien \"x\" ${y} \\z"`,
		`username = "o'brien \"x\" $${y} \\z"`,
	} {
		if !strings.Contains(plain(a.body), want) {
			t.Errorf("the page lacks %s:\n%s", want, plain(a.body))
		}
	}
	if strings.Contains(fmt.Sprint(a.Header), secret) {
		t.Error("a header has the secret")
	}
}
