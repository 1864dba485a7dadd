package jenkinstest_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// What follows was seen on a running Jenkins 2.578 (section 11 of the protocol notes).

func TestBooting(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	j.Restart()
	j.SetBooting(true)
	for _, tt := range []struct {
		name, method, path string
		status             int
	}{
		{"a page", "GET", "/job/a/", 503},
		{"the crumb issuer", "GET", "/crumbIssuer/api/json", 503},
		{"the login page", "GET", "/login", 503},
		{"DELETE", "DELETE", "/job/a/", 503},
		{"a POST that needs no crumb", "POST", "/github-webhook/", 503},
		{"a POST of a session from before", "POST", "/job/a/build", 403},
	} {
		a := send(t, tt.method, url+tt.path, "", alice, crumb, session)
		if a.StatusCode != tt.status || (a.Header.Get("Retry-After") != "") != (tt.status == 503) {
			t.Errorf("%s: %s %s = %d, Retry-After %q, want %d", tt.name, tt.method, tt.path, a.StatusCode, a.Header.Get("Retry-After"), tt.status)
		}
	}
	j.SetBooting(false)
	if a := send(t, "GET", url+"/job/a/", "", alice); a.StatusCode != 200 {
		t.Errorf("a page of a Jenkins that is up = %d, want 200", a.StatusCode)
	}
}

func TestMixedGroups(t *testing.T) {
	for _, mixes := range []bool{false, true} {
		_, url := jenkinstest.Start(t, jenkinstest.Config{MixGroups: mixes})
		var mixed atomic.Int64
		var clients sync.WaitGroup
		for _, group := range []string{"dev", "ops"} {
			clients.Go(func() {
				for range 200 {
					a := send(t, "GET", url+"/whoAmI/api/json", "", alice, "X-Forwarded-Groups: "+group)
					if !strings.Contains(a.body, `"authenticated","`+group+`"]`) {
						mixed.Add(1)
					}
				}
			})
		}
		clients.Wait()
		if (mixed.Load() > 0) != mixes {
			t.Errorf("MixGroups %v: %d of 400 requests had the groups of another request", mixes, mixed.Load())
		}
	}
}

func TestExecutors(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{BuildTime: time.Hour, QuietPeriod: time.Nanosecond})
	addJobs(t, j)
	j.SetCSRF(false)
	if a := send(t, "POST", url+"/job/a/build", "", alice); a.StatusCode != 201 {
		t.Fatalf("build = %d", a.StatusCode)
	}
	const tree = "/computer/api/json?tree=computer[executors[currentExecutable[url]]]"
	if a := send(t, "GET", url+tree, "", alice); !strings.Contains(a.body, `"currentExecutable":{"_class":"hudson.model.FreeStyleBuild","url":"`+url+`/job/a/1/"}`) {
		t.Errorf("executors %s", a.body)
	}
	if a := send(t, "GET", url+"/job/a/firstBuild/api/json?tree=number", "", alice); !strings.Contains(a.body, `"number":1`) {
		t.Errorf("first build %d %s", a.StatusCode, a.body)
	}
	if a := send(t, "GET", url+"/job/p/api/json?tree=actions[parameterDefinitions[name]]", "", alice); !strings.Contains(a.body, `"name":"BRANCH"`) {
		t.Errorf("actions %s", a.body)
	}
}

func TestFolderByForm(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.SetCSRF(false)
	a := send(t, "POST", url+"/createItem", "name=team&mode=com.cloudbees.hudson.plugins.folder.Folder", alice, "Content-Type: application/x-www-form-urlencoded")
	if a.StatusCode != 302 || a.Header.Get("Location") != "/job/team/configure" {
		t.Fatalf("createItem = %d %q", a.StatusCode, a.Header.Get("Location"))
	}
	if a := send(t, "GET", url+"/job/team/api/json", "", alice); !strings.Contains(a.body, "folder.Folder") {
		t.Errorf("folder = %d %s", a.StatusCode, a.body)
	}
}

func TestMoreThanRead(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Readers: []string{"reader"}})
	j.SetCSRF(false)
	send(t, "GET", url+"/", "", alice)
	for _, tt := range []struct {
		method, path      string
		byReader, byOther int
		otherBody         string // of the answer to another user
	}{
		{"GET", "/script", 403, 200, "Script Console"},
		{"POST", "/scriptText", 403, 200, "ran "},
		{"GET", "/scriptText", 403, 405, ""},
		{"GET", "/computer/configure", 403, 200, ""},
		{"GET", "/computer/checkName?value=x", 403, 200, ""},
		{"GET", "/user/alice/my-views/view/all/", 403, 200, ""},
		{"GET", "/user/reader/my-views/view/all/", 200, 200, ""},
		{"GET", "/rssAll", 200, 200, "<feed"},
		{"GET", "/search/?q=x", 200, 200, ""},
		{"TRACE", "/", 403, 403, ""},
	} {
		if a := send(t, tt.method, url+tt.path, "", "X-Forwarded-User: reader"); a.StatusCode != tt.byReader {
			t.Errorf("%s %s of a reader = %d, want %d", tt.method, tt.path, a.StatusCode, tt.byReader)
		}
		if a := send(t, tt.method, url+tt.path, "", alice); a.StatusCode != tt.byOther || !strings.Contains(a.body, tt.otherBody) {
			t.Errorf("%s %s = %d, want %d %q", tt.method, tt.path, a.StatusCode, tt.byOther, tt.otherBody)
		}
	}
}

func TestMissingIssuerIsALargePage(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Readers: []string{"reader"}})
	j.SetCSRF(false)
	a := send(t, "GET", url+"/crumbIssuer/api/json", "", alice)
	if a.StatusCode != http.StatusNotFound || len(a.body) < 80_000 {
		t.Errorf("for an administrator: %d, %d bytes", a.StatusCode, len(a.body))
	}
	if a := send(t, "GET", url+"/crumbIssuer/api/json", "", "X-Forwarded-User: reader"); a.StatusCode != http.StatusNotFound || len(a.body) > 20_000 {
		t.Errorf("for a reader: %d, %d bytes", a.StatusCode, len(a.body))
	}
}

// The container matches the context path without dots, and Jenkins cuts the raw path by its length.
func TestContextPathIsCutByLength(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/jenkins"})
	addJobs(t, j)
	sendRaw(t, url, "GET", "/./jenkins/job/a/", alice)
	requests := j.Requests()
	if got := requests[len(requests)-1].Path; got != "/ns/job/a/" {
		t.Errorf("/./jenkins/job/a/ is dispatched as %q, want /ns/job/a/", got)
	}
}
