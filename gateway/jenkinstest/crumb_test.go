package jenkinstest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestCrumbIsBoundToUserAndSession(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	if err := j.AddJob("a", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	crumb, session := crumbFor(t, url, "alice")
	otherCrumb, otherSession := crumbFor(t, url, "alice")
	tests := []struct {
		name    string
		headers []string
		status  int
		state   jenkinstest.CrumbState
	}{
		{"3.1 crumb with its session", []string{alice, crumb, session}, 201, jenkinstest.CrumbValid},
		{"3.1 crumb without its session", []string{alice, crumb}, 403, jenkinstest.CrumbInvalid},
		{"3.1 crumb with another session", []string{alice, crumb, otherSession}, 403, jenkinstest.CrumbInvalid},
		{"3.1 crumb of another session", []string{alice, otherCrumb, session}, 403, jenkinstest.CrumbInvalid},
		{"3.1 crumb of another user", []string{"X-Forwarded-User: bob", crumb, session}, 403, jenkinstest.CrumbInvalid},
		{"5.2 another spelling of the user", []string{"X-Forwarded-User: Alice", crumb, session}, 403, jenkinstest.CrumbInvalid},
		{"5.3 header user without crumb", []string{alice, session}, 403, jenkinstest.CrumbMissing},
		{"3.2 empty crumb header counts as present", []string{alice, session, "Jenkins-Crumb: "}, 403, jenkinstest.CrumbInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j.ResetRequests()
			if a := send(t, "POST", url+"/job/a/build", "", tt.headers...); a.StatusCode != tt.status {
				t.Errorf("status %d, want %d; body %q", a.StatusCode, tt.status, a.body)
			}
			if got := j.Requests()[0].Crumb; got != tt.state {
				t.Errorf("recorded crumb state %q, want %q", got, tt.state)
			}
		})
	}
}

func TestCrumbCheck(t *testing.T) {
	const token = "11aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	j, url := jenkinstest.Start(t, jenkinstest.Config{
		Prefix: "/ctx",
		Users:  map[string]jenkinstest.User{"carol": {Tokens: []string{token}, Password: "pw"}},
	})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	_, value, _ := strings.Cut(crumb, ": ")
	const form = "Content-Type: application/x-www-form-urlencoded"
	multipart := "--b\r\nContent-Disposition: form-data; name=\"Jenkins-Crumb\"\r\n\r\n" + value + "\r\n--b--\r\n"
	tests := []struct {
		name, method, path, body string
		headers                  []string
		state                    jenkinstest.CrumbState
		status                   int
		newSession               bool
	}{
		{"3.2 GET is never checked", "GET", "/job/a/api/json", "", []string{alice}, jenkinstest.CrumbUnchecked, 200, false},
		{"3.2 PUT is never checked", "PUT", "/job/a/config.xml", "", []string{alice}, jenkinstest.CrumbUnchecked, 400, false},
		{"3.2 PATCH is never checked", "PATCH", "/job/a/config.xml", "", []string{alice}, jenkinstest.CrumbUnchecked, 400, false},
		{"3.2 DELETE of a job needs none", "DELETE", "/job/doomed/", "", []string{alice}, jenkinstest.CrumbUnchecked, 204, false},
		{"3.2 in the query", "POST", "/job/a/build?Jenkins-Crumb=" + value, "", []string{alice, session}, jenkinstest.CrumbValid, 201, false},
		{"3.2 in an urlencoded body", "POST", "/job/a/build", "x=1&Jenkins-Crumb=" + value, []string{alice, session, form}, jenkinstest.CrumbValid, 201, false},
		{"3.2 not in a body of another type", "POST", "/job/a/build", "Jenkins-Crumb=" + value, []string{alice, session}, jenkinstest.CrumbMissing, 403, false},
		{"3.2 not in a multipart body", "POST", "/job/a/build", multipart, []string{alice, session, "Content-Type: multipart/form-data; boundary=b"}, jenkinstest.CrumbMissing, 403, false},
		{"3.2 in the query of a multipart form", "POST", "/job/a/build?Jenkins-Crumb=" + value, multipart, []string{alice, session, "Content-Type: multipart/form-data; boundary=b"}, jenkinstest.CrumbValid, 201, false},
		{"3.2 a wrong header isn't rescued", "POST", "/job/a/build?Jenkins-Crumb=" + value, "", []string{alice, session, "Jenkins-Crumb: no"}, jenkinstest.CrumbInvalid, 403, false},
		{"3.2 the query comes before the body", "POST", "/job/a/build?Jenkins-Crumb=no", "Jenkins-Crumb=" + value, []string{alice, session, form}, jenkinstest.CrumbInvalid, 403, false},
		{"3.2 a parameter's name has its case", "POST", "/job/a/build?jenkins-crumb=" + value, "", []string{alice, session}, jenkinstest.CrumbMissing, 403, false},
		{"3.1 .crumb counts for nothing", "POST", "/job/a/build", "", []string{alice, session, ".crumb: " + value}, jenkinstest.CrumbMissing, 403, false},
		{"3.2 a stale crumb makes a session", "POST", "/job/a/build", "", []string{alice, "Jenkins-Crumb: stale"}, jenkinstest.CrumbInvalid, 403, true},
		{"3.2 no crumb makes none", "POST", "/job/a/build", "", []string{alice}, jenkinstest.CrumbMissing, 403, false},
		{"2.1 crumb before 404", "POST", "/nowhere", "", []string{alice}, jenkinstest.CrumbMissing, 403, false},
		{"2.1 crumb before permission", "POST", "/job/a/build", "", nil, jenkinstest.CrumbMissing, 403, false},
		{"3.4 POST to the issuer", "POST", "/crumbIssuer/api/json", "", []string{alice}, jenkinstest.CrumbMissing, 403, false},
		{"2.3 own API token is exempt", "POST", "/job/a/build", "", []string{basic("carol", token)}, jenkinstest.CrumbExempt, 201, false},
		{"2.3 so is its bare suffix", "POST", "/job/a/build", "", []string{basic("carol", token[2:])}, jenkinstest.CrumbExempt, 201, false},
		{"2.3 a password isn't", "POST", "/job/a/build", "", []string{basic("carol", "pw"), alice}, jenkinstest.CrumbMissing, 403, false},
		{"5.2 own token with a header user", "POST", "/job/a/build", "", []string{basic("carol", token), alice}, jenkinstest.CrumbExempt, 201, false},
		{"3.6 webhook", "POST", "/github-webhook/", "{}", nil, jenkinstest.CrumbExempt, 200, false},
		{"3.6 webhook by prefix", "POST", "/generic-webhook-trigger/invoke?token=x", "{}", nil, jenkinstest.CrumbExempt, 200, false},
		{"3.6 with dots", "POST", "/x/..//github-webhook/./", "{}", nil, jenkinstest.CrumbExempt, 200, false},
		{"3.6 escapes are left alone", "POST", "/%67ithub-webhook/", "{}", nil, jenkinstest.CrumbMissing, 403, false},
		{"3.6 the static prefix stays", "POST", "/static/x/github-webhook/", "{}", nil, jenkinstest.CrumbMissing, 403, false},
		{"3.6 more than the excluded path", "POST", "/git/notifyCommit/x", "{}", nil, jenkinstest.CrumbMissing, 403, false},
		{"7.1 the static prefix hides nothing", "POST", "/static/x/job/a/build", "", []string{alice}, jenkinstest.CrumbMissing, 403, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j.ResetRequests()
			a := send(t, tt.method, url+tt.path, tt.body, tt.headers...)
			if a.StatusCode != tt.status {
				t.Errorf("%s %s = %d, want %d; body %q", tt.method, tt.path, a.StatusCode, tt.status, a.body)
			}
			if got := j.Requests()[0].Crumb; got != tt.state {
				t.Errorf("%s %s: crumb %q, want %q", tt.method, tt.path, got, tt.state)
			}
			if got := sessionOf(a) != ""; got != tt.newSession {
				t.Errorf("%s %s sets a session: %v, want %v", tt.method, tt.path, got, tt.newSession)
			}
		})
	}
}

func TestDefaultCrumbIsDocumentedHash(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		withIP        bool
	}{
		{"3.1 2.543 left the address out", "2.543", false},
		{"3.1 LTS 2.555.1", "2.555.1", false},
		{"3.1 2.542 has the address", "2.542", true},
		{"3.1 LTS 2.541.3 has it", "2.541.3", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j, url := jenkinstest.Start(t, jenkinstest.Config{Version: tt.version})
			addJobs(t, j)
			crumb, session := crumbFor(t, url, "alice")
			_, value, _ := strings.Cut(crumb, ": ")
			_, id, _ := strings.Cut(session, "=")
			hashed := "alice;"
			if tt.withIP {
				hashed += "127.0.0.1;"
			}
			sum := sha256.Sum256([]byte(hashed + strings.TrimSuffix(id, ".node0") + j.Salt()))
			if want := hex.EncodeToString(sum[:]); value != want {
				t.Errorf("crumb %s, want %s", value, want)
			}

			want := http.StatusCreated
			if tt.withIP {
				want = http.StatusForbidden
			}
			if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session, "X-Forwarded-For: 192.0.2.1, 10.0.0.1"); a.StatusCode != want {
				t.Errorf("POST from another address = %d, want %d", a.StatusCode, want)
			}
		})
	}
}

func TestCrumbDiesWithRestart(t *testing.T) { // 3.1, 4.1
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	salt := j.Salt()
	before := send(t, "GET", url+"/api/json", "", alice).Header.Get("X-Jenkins-Session")

	j.Restart()
	if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session); a.StatusCode != 403 || !strings.Contains(a.body, jenkinstest.NoValidCrumb) {
		t.Errorf("POST with a crumb of before the restart = %d %q", a.StatusCode, a.body)
	}
	_, newSession := crumbFor(t, url, "alice")
	oldName, _, _ := strings.Cut(session, "=")
	if newName, _, _ := strings.Cut(newSession, "="); newName == oldName {
		t.Errorf("the session cookie is still named %q", newName)
	}
	if after := send(t, "GET", url+"/api/json", "", alice).Header.Get("X-Jenkins-Session"); after == before {
		t.Errorf("X-Jenkins-Session is still %q", after)
	}
	if j.Salt() != salt {
		t.Error("the salt changed")
	}
}

func TestExpiredSession(t *testing.T) { // 4.1
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	j.ExpireSessions()
	if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session); a.StatusCode != 403 {
		t.Errorf("POST in an expired session = %d, want 403", a.StatusCode)
	}
	_, renewed := crumbFor(t, url, "alice")
	before, _, _ := strings.Cut(session, "=")
	if after, _, _ := strings.Cut(renewed, "="); after != before {
		t.Errorf("cookie name changed from %q to %q", before, after)
	}
}

func TestCSRFSwitch(t *testing.T) { // 3.4
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	j.SetCSRF(false)
	a := send(t, "GET", url+"/crumbIssuer/api/json", "", alice)
	if a.StatusCode != 404 || a.Header.Get("X-Jenkins") == "" {
		t.Errorf("crumb issuer = %d with X-Jenkins %q, want Jenkins' own 404 page", a.StatusCode, a.Header.Get("X-Jenkins"))
	}
	if a := send(t, "POST", url+"/job/a/build", "", alice); a.StatusCode != 201 {
		t.Errorf("POST without crumb = %d, want 201", a.StatusCode)
	}
	if got := j.Requests()[1].Crumb; got != jenkinstest.CrumbOff {
		t.Errorf("crumb %q, want %q", got, jenkinstest.CrumbOff)
	}
	if a := send(t, "GET", url+"/crumbIssuer/api/json", ""); a.StatusCode != 403 {
		t.Errorf("anonymous at the removed issuer = %d, want 403", a.StatusCode)
	}
	j.SetCSRF(true)
	if a := send(t, "POST", url+"/job/a/build", "", alice); a.StatusCode != 403 {
		t.Errorf("POST without crumb = %d, want 403", a.StatusCode)
	}
}

func TestCrumbField(t *testing.T) { // 3.1
	j, url := jenkinstest.Start(t, jenkinstest.Config{CrumbField: "X-Other"})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	if !strings.HasPrefix(crumb, "X-Other: ") {
		t.Fatalf("crumb %q", crumb)
	}
	if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session); a.StatusCode != 201 {
		t.Errorf("POST = %d, want 201", a.StatusCode)
	}
	if a := send(t, "POST", url+"/job/a/build", "", alice, strings.Replace(crumb, "X-Other", "Jenkins-Crumb", 1), session); a.StatusCode != 403 {
		t.Errorf("POST with the default field = %d, want 403", a.StatusCode)
	}
}
