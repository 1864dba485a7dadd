package jenkinstest_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// noRedirects shows redirects instead of following them.
var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

// send makes a request. Headers are "Name: value" lines; a body without Content-Type has none.
func send(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", method, url, err)
	}
	return answer{resp, string(b)}
}

// sessionOf returns the Cookie header line for the session that an answer set, or "".
func sessionOf(a answer) string {
	for _, c := range a.Cookies() {
		if strings.HasPrefix(c.Name, "JSESSIONID.") {
			return "Cookie: " + c.Name + "=" + c.Value
		}
	}
	return ""
}

// crumbFor fetches a crumb for a header user and returns it and its session as header lines.
func crumbFor(t testing.TB, url, user string) (crumb, session string) {
	t.Helper()
	a := send(t, "GET", url+"/crumbIssuer/api/json", "", "X-Forwarded-User: "+user)
	var issued struct{ Crumb, CrumbRequestField string }
	if err := json.Unmarshal([]byte(a.body), &issued); err != nil || issued.Crumb == "" {
		t.Fatalf("crumb for %q: %d %q: %v", user, a.StatusCode, a.body, err)
	}
	return issued.CrumbRequestField + ": " + issued.Crumb, sessionOf(a)
}

const alice = "X-Forwarded-User: alice"

// basic is the header line of Basic authentication.
func basic(user, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

// addJobs adds what the tests use: a, p (with parameters), doomed, folder F with F/a, and multibranch M.
func addJobs(t testing.TB, j *jenkinstest.Jenkins) {
	t.Helper()
	for _, job := range []struct{ name, config string }{
		{"a", jenkinstest.FreestyleXML},
		{"p", jenkinstest.ParameterizedXML},
		{"doomed", jenkinstest.FreestyleXML},
		{"F", jenkinstest.FolderXML},
		{"F/a", jenkinstest.FreestyleXML},
		{"M", jenkinstest.MultibranchXML},
		{"M/feature%2Fx", jenkinstest.PipelineXML},
	} {
		if err := j.AddJob(job.name, job.config); err != nil {
			t.Fatal(err)
		}
	}
}
