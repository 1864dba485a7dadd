package jenkinstest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// htmlPage is a page as a browser's parser sees it.
type htmlPage struct {
	head map[string]string            // attributes
	ids  map[string]map[string]string // attributes of the elements that have an id
	bad  []string                     // what the Content-Security-Policy forbids: inline scripts and handlers
	src  []string                     // of scripts
}

func parsePage(t testing.TB, body string) htmlPage {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatalf("parse page %q: %v", body, err)
	}
	page := htmlPage{ids: make(map[string]map[string]string)}
	for node := range root.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		attributes := make(map[string]string)
		for _, a := range node.Attr {
			attributes[a.Key] = a.Val
			if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Val, "javascript:") {
				page.bad = append(page.bad, node.Data+" "+a.Key)
			}
		}
		switch node.Data {
		case "head":
			page.head = attributes
		case "script":
			page.src = append(page.src, attributes["src"])
			if node.FirstChild != nil || attributes["src"] == "" {
				page.bad = append(page.bad, "inline script")
			}
		case "base":
			page.bad = append(page.bad, "base")
		}
		if id := attributes["id"]; id != "" {
			if page.ids[id] != nil {
				t.Errorf("two elements with id %q", id)
			}
			page.ids[id] = attributes
		}
	}
	return page
}

func TestPages(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	if a := send(t, "POST", url+"/job/p/buildWithParameters?delay=0sec&DURATION=1h", "", alice, crumb, session); a.StatusCode != 201 {
		t.Fatalf("build: %d %q", a.StatusCode, a.body)
	}
	tests := []struct {
		path   string
		status int
		ids    string // that must be there
		not    string // that must not
	}{
		{"/", 200, "home user logout result manage whoami projectstatus job_a job_p job_F", ""},
		{"/view/all/", 200, "job_a", ""},
		{"/job/F/", 200, "job_a", "job_p build-now"},
		{"/manage/", 200, "form-quiet-down quiet-down proxy-test", ""},
		{"/job/a/", 200, "build-now delete delete-bare builds", "form-urlencoded build-with-parameters"},
		{"/job/p/", 200, "build-with-parameters form-urlencoded submit-urlencoded form-json submit-json form-multipart file-multipart submit-multipart form-multipart-field file-multipart-field submit-multipart-field console-1", "build-now"},
		{"/job/p/build", 405, "form-urlencoded form-json form-multipart form-multipart-field", "delete"},
		{"/job/p/1/console", 200, "out", ""},
		{"/login", 200, "form-login j_username j_password", ""},
		{"/nothing", 404, "home result", ""},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			a := send(t, "GET", url+tt.path, "", alice)
			if a.StatusCode != tt.status {
				t.Fatalf("GET %s = %d, want %d", tt.path, a.StatusCode, tt.status)
			}
			page := parsePage(t, a.body)
			for id := range strings.FieldsSeq(tt.ids) {
				if page.ids[id] == nil {
					t.Errorf("no element %q in %s", id, a.body)
				}
			}
			for id := range strings.FieldsSeq(tt.not) {
				if page.ids[id] != nil {
					t.Errorf("element %q in %s", id, a.body)
				}
			}
			if len(page.bad) > 0 {
				t.Errorf("the policy forbids %q", page.bad)
			}
			csp := a.Header.Get("Content-Security-Policy")
			for _, directive := range []string{"base-uri 'none';", "default-src 'self';", "form-action 'self';", "script-src 'report-sample' 'self';", "report-uri " + url + "/content-security-policy-reporting-endpoint/"} {
				if !strings.Contains(csp, directive) {
					t.Errorf("Content-Security-Policy %q lacks %q", csp, directive)
				}
			}
			if strings.Contains(csp, "script-src 'report-sample' 'self' 'unsafe-inline'") {
				t.Errorf("Content-Security-Policy %q allows inline scripts", csp)
			}
			if got := a.Header.Get("X-Frame-Options"); got != "sameorigin" {
				t.Errorf("X-Frame-Options %q", got)
			}
			if cookies := a.Header.Values("Set-Cookie"); len(cookies) != 1 || !strings.HasPrefix(cookies[0], "JSESSIONID.") {
				t.Errorf("Set-Cookie %q, want one session", cookies)
			}

			if page.head["data-rooturl"] != "/ctx" || page.head["data-resurl"] != "/ctx/static/"+a.Header.Get("X-Jenkins-Session") ||
				page.head["data-crumb-header"] != "Jenkins-Crumb" || page.head["data-extensions-available"] != "true" {
				t.Errorf("head %q", page.head)
			}
			own := "Jenkins-Crumb: " + page.head["data-crumb-value"]
			if got := send(t, "POST", url+"/job/a/submitDescription", "", alice, own, sessionOf(a)); got.StatusCode != 302 {
				t.Errorf("POST with the page's crumb = %d", got.StatusCode)
			}
			if got := send(t, "POST", url+"/job/a/submitDescription", "", alice, own, session); got.StatusCode != 403 {
				t.Errorf("POST with the page's crumb in another session = %d", got.StatusCode)
			}
			if again := send(t, "GET", url+tt.path, "", alice, sessionOf(a)); again.Header.Get("Set-Cookie") != "" ||
				parsePage(t, again.body).head["data-crumb-value"] != page.head["data-crumb-value"] {
				t.Error("another session or crumb for the same session")
			}
		})
	}
}

func TestPageScript(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	page := parsePage(t, send(t, "GET", url+"/", "", alice).body)
	if len(page.src) != 1 || page.src[0] != page.head["data-resurl"]+"/scripts/hudson-behavior.js" {
		t.Fatalf("scripts %q", page.src)
	}
	a := send(t, "GET", strings.TrimSuffix(url, "/ctx")+page.src[0], "") // by nobody, as all files of the war
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/javascript;charset=utf-8" || a.Header.Get("Set-Cookie") != "" ||
		!strings.Contains(a.body, "crumbHeader") {
		t.Errorf("script: %d %v %q", a.StatusCode, a.Header, a.body)
	}
}

func TestPagesOfVersions(t *testing.T) {
	tests := []struct {
		version           string
		policy, loginForm bool
	}{
		{"2.462.3", false, false},
		{"2.538", false, false},
		{"2.539", true, false},
		{"2.541", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			_, url := jenkinstest.Start(t, jenkinstest.Config{Version: tt.version})
			a := send(t, "GET", url+"/login", "")
			policy := a.Header.Get("Content-Security-Policy") != "" && a.Header.Get("Reporting-Endpoints") != ""
			form := strings.Contains(a.body, `name="Jenkins-Crumb"`)
			if policy != tt.policy || form != tt.loginForm {
				t.Errorf("policy %v, crumb in the log-in form %v, want %v and %v", policy, form, tt.policy, tt.loginForm)
			}
		})
	}
}

func TestPagesWithoutCrumbs(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.SetCSRF(false)
	page := parsePage(t, send(t, "GET", url+"/", "", alice).body)
	if _, there := page.head["data-crumb-value"]; there {
		t.Errorf("head %q", page.head)
	}
}

// TestPageEscapes: names are text in pages, whoever chose them.
func TestPageEscapes(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{CrumbField: `X"><script>`})
	for _, path := range []string{"/", "/login?from=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/user/%3Cscript%3Ealert(1)%3C%2Fscript%3E/"} {
		a := send(t, "GET", url+path, "", `X-Forwarded-User: "><script>alert(1)</script>`)
		if page := parsePage(t, a.body); len(page.bad) > 0 || len(page.src) != 1 {
			t.Errorf("GET %s: %q in %s", path, page.bad, a.body)
		}
	}
}

func TestUploadRecorded(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	_, value, _ := strings.Cut(crumb, ": ")
	file := bytes.Repeat([]byte("\x00\r\n--x"), 2<<20) // longer than what is kept of a body
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := form.WriteField("Jenkins-Crumb", value); err != nil {
		t.Fatal(err)
	}
	upload, err := form.CreateFormFile("UPLOAD", "a b.bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := upload.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, query string
		status      int
		read        bool
	}{
		{"crumb in the URL too", "?Jenkins-Crumb=" + value, http.StatusCreated, true},
		{"crumb in the field only", "", http.StatusForbidden, false}, // CrumbFilter can't see into it
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j.ResetRequests()
			a := send(t, "POST", url+"/job/p/buildWithParameters"+tt.query, body.String(), alice, session, "Cookie: theme=dark",
				"Content-Type: "+form.FormDataContentType())
			r := j.Requests()[0]
			if a.StatusCode != tt.status || r.Status != tt.status {
				t.Errorf("status %d, recorded %d, want %d", a.StatusCode, r.Status, tt.status)
			}
			if names := r.CookieNames(); len(names) != 2 || !strings.HasPrefix(names[0], "JSESSIONID.") || names[1] != "theme" {
				t.Errorf("cookies %q", names)
			}
			sum, crumbSum := sha256.Sum256(file), sha256.Sum256([]byte(value))
			want := []jenkinstest.Part{
				{Name: "Jenkins-Crumb", Size: 64, SHA256: hex.EncodeToString(crumbSum[:])},
				{Name: "UPLOAD", FileName: "a b.bin", Size: int64(len(file)), SHA256: hex.EncodeToString(sum[:])},
			}
			if !tt.read {
				want = nil
			}
			if !slices.Equal(r.Parts, want) {
				t.Errorf("parts %+v, want %+v", r.Parts, want)
			}
			if sum := sha256.Sum256(body.Bytes()); tt.read && (r.BodyLen != int64(body.Len()) || r.BodySHA256 != hex.EncodeToString(sum[:])) {
				t.Errorf("body of %d bytes recorded as %d, %s", body.Len(), r.BodyLen, r.BodySHA256)
			}
		})
	}
}

// TestBrokenMultipart: a body that isn't what it says is recorded all the same.
func TestBrokenMultipart(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	crumb, session := crumbFor(t, url, "alice")
	for _, tt := range []struct {
		name, contentType, body string
		parts                   int
	}{
		{"no boundary", "multipart/form-data", "--x\r\n\r\n\r\n--x--", 0},
		{"not multipart", "text/plain; boundary=x", "--x\r\n\r\n\r\n--x--", 0},
		{"cut short", "multipart/form-data; boundary=x", "--x\r\nA: b\r\n\r\none\r\n--x\r\n\r\ntw", 1},
		{"another boundary", "multipart/form-data; boundary=y", "--x\r\n\r\n\r\n--x--", 0},
		{"too many parts", "multipart/form-data; boundary=x", strings.Repeat("--x\r\n\r\n1\r\n", 200) + "--x--", 100},
		{"text after the end", "multipart/form-data; boundary=x", "--x\r\n\r\n1\r\n--x--\r\nmore", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j.ResetRequests()
			send(t, "POST", url+"/quietDown", tt.body, alice, crumb, session, "Content-Type: "+tt.contentType)
			r := j.Requests()[0]
			if string(r.Body) != tt.body || r.BodyLen != int64(len(tt.body)) || len(r.Parts) != tt.parts {
				t.Errorf("recorded %d bytes %q and %d parts, want %d", r.BodyLen, r.Body, len(r.Parts), tt.parts)
			}
		})
	}
}
