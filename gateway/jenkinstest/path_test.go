package jenkinstest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// sendRaw sends a request target that no client library would.
func sendRaw(t testing.TB, url, method, target string, headers ...string) answer {
	t.Helper()
	address, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: ci.example.org\r\nConnection: close\r\n%s\r\n\r\n", method, target, strings.Join(headers, "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, string(b)}
}

func TestPathsToOneJob(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	addJobs(t, j)
	send(t, "GET", url+"/", "", "X-Forwarded-User: bob") // from now on Jenkins knows bob
	const a, inFolder, branch = `"fullName":"a"`, `"fullName":"F/a"`, `"fullName":"M/feature%2Fx"`
	tests := []struct {
		name, path string
		status     int
		body       string
	}{
		{"7.1 plain", "/job/a/api/json", 200, a},
		{"7.1 empty segments", "//job///a//api/json", 200, a},
		{"7.1 dots", "/./x/../job/a/./api/json", 200, a},
		{"11 surplus dots lead out", "/../../job/a/api/json", 400, "Bad Message 400"},
		{"11 dots lead out of the context", "/../job/a/api/json", 404, ""},
		{"11 not UTF-8", "/%ff", 400, "Bad Message 400"},
		{"11 NUL", "/job/a%00/api/json", 400, "Bad Message 400"},
		{"11 raw non-ASCII", "/job/ä/api/json", 400, "Bad Message 400"},
		{"11 first build", "/job/a/firstBuild/api/json", 404, ""},
		{"7.1 static prefix", "/static/x/job/a/api/json", 200, a},
		{"7.1 static prefix once", "/static/x/static/y/job/a/api/json", 404, ""},
		{"7.1 static with dots", "/y/../static/x/job/a/api/json", 200, a},
		{"11 backslash", `/job\a\api\json`, 400, "Bad Message 400"},
		{"7.1 encoded letters", "/%6aob/a/%61pi/json", 200, a},
		{"7.1 encoded slash isn't one", "/job%2Fa/api/json", 404, ""},
		{"7.1 encoded backslash isn't one", "/job%5Ca/api/json", 404, ""},
		{"7.1 encoded dots throw", "/x/%2e%2e/job/a/api/json", 500, ""},
		{"7.1 encoded single dot is a name", "/%2e/job/a/api/json", 404, ""},
		{"7.1 semicolon", "/job/a;x=1/api/json", 400, "Semicolons are not allowed in the request URI"},
		{"7.1 semicolon in the query", "/job/a/api/json?a;b", 200, a},
		{"7.1 encoded semicolon", "/job/a%3B/api/json", 404, ""},
		{"7.1 method names have case", "/Job/a/api/json", 404, ""},
		{"7.1 job names don't", "/job/A/api/json", 200, a},
		{"7.1 folders don't", "/job/f/job/A/api/json", 200, inFolder},
		{"7.1 tail ignored", "/job/a/api/json/anything/at/all", 200, a},
		{"7.2 item", "/item/a/api/json", 200, a},
		{"7.2 view", "/view/all/job/a/api/json", 200, a},
		{"7.2 nested views", "/view/all/job/F/view/All/job/a/api/json", 200, inFolder},
		{"7.2 views have case", "/view/ALL/job/a/api/json", 404, ""},
		{"7.2 my views", "/me/my-views/view/all/job/a/api/json", 200, a},
		{"7.2 somebody's views", "/user/bob/my-views/view/all/job/a/api/json", 200, a},
		{"11 a user whom Jenkins has not seen", "/user/nonesuch/api/json", 404, ""},
		{"11 the realm is no object", "/securityRealm/user/bob/api/json", 404, ""},
		{"11 a user below manage", "/manage/user/bob/api/json", 200, `"id":"bob"`},
		{"7.2 manage", "/manage/job/a/api/json", 200, a},
		{"6.4 branch encoded twice", "/job/M/job/feature%252Fx/api/json", 200, branch},
		{"6.4 branch encoded once", "/job/M/job/feature%2Fx/api/json", 200, branch},
		{"6.4 branch not encoded", "/job/M/job/feature/x/api/json", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := sendRaw(t, url, "GET", "/ctx"+tt.path, alice)
			if got.StatusCode != tt.status || !strings.Contains(got.body, tt.body) {
				t.Errorf("GET %s = %d %s, want %d %s", tt.path, got.StatusCode, got.body, tt.status, tt.body)
			}
		})
	}
	for _, path := range []string{"/other/", "/ctxt/job/a/", "/"} {
		if got := sendRaw(t, url, "GET", path, alice); got.StatusCode != 404 || got.Header.Get("X-Jenkins") != "" {
			t.Errorf("6.3: outside the context: GET %s = %d, want the container's 404", path, got.StatusCode)
		}
	}
	if err := j.AddJob("ci", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CI", "c%C4%B1", "c%C4%B0"} { // ı and İ
		if a := send(t, "GET", url+"/job/"+name+"/api/json", "", alice); a.StatusCode != 200 {
			t.Errorf("7.1: job ci as %s = %d, want 200", name, a.StatusCode)
		}
	}
}

func TestRedirects(t *testing.T) {
	start := func(version string) (j *jenkinstest.Jenkins, url string) {
		j, url = jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx", Version: version, QuietPeriod: time.Hour})
		addJobs(t, j)
		j.SetCSRF(false)
		return j, url
	}
	_, url := start("")
	_, old := start("2.471")
	tests := []struct {
		name, url, method, path string
		headers                 []string
		status                  int
		location                string
	}{
		{"6.3 missing slash", url, "GET", "/ctx/job/a?x=1", nil, 302, "/ctx/job/a/?x=1"},
		{"6.3 missing slash, POST", url, "POST", "/ctx/job/a", nil, 302, "/ctx/job/a/"},
		{"6.3 context without slash", url, "GET", "/ctx", nil, 302, "/ctx/"},
		{"6.3 absolute before Jetty 12", old, "GET", "/ctx/job/a", nil, 302, "http://ci.example.org/ctx/job/a/"},
		{"6.3 201 is absolute", url, "POST", "/ctx/job/a/build", nil, 201, "http://ci.example.org/ctx/queue/item/1/"},
		{"6.3 201 is absolute in old ones", old, "POST", "/ctx/job/a/build", nil, 201, "http://ci.example.org/ctx/queue/item/1/"},
		{"6.2 X-Forwarded", url, "POST", "/ctx/job/F/job/a/build", []string{"X-Forwarded-Proto: https, http", "X-Forwarded-Host: pub.example.org, x"}, 201, "https://pub.example.org/ctx/queue/item/2/"},
		{"6.2 default port dropped", url, "POST", "/ctx/job/F/job/a/build", []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: pub.example.org:443"}, 201, "https://pub.example.org/ctx/queue/item/2/"},
		{"6.2 X-Forwarded-Port wins", url, "POST", "/ctx/job/F/job/a/build", []string{"X-Forwarded-Port: 8443"}, 201, "http://ci.example.org:8443/ctx/queue/item/2/"},
		{"7.3 enable", url, "POST", "/ctx/job/a/enable", nil, 302, "/ctx/job/a/"},
		{"7.3 doDelete leads to the parent", url, "POST", "/ctx/job/F/job/a/doDelete", []string{"Referer: http://x.example.org/"}, 302, "/ctx/job/F/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := sendRaw(t, tt.url, tt.method, tt.path, append(tt.headers, alice)...)
			if a.StatusCode != tt.status || a.Header.Get("Location") != tt.location {
				t.Errorf("%s %s = %d %q, want %d %q", tt.method, tt.path, a.StatusCode, a.Header.Get("Location"), tt.status, tt.location)
			}
		})
	}
}
