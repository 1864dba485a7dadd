package jenkinstest_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// FuzzPath: no path makes the stand-in panic, and a canonical path is its own canonical form.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"", "/", "job/a/api/json", "job//a/../a/./", "static/x/job/a", "%2e%2e/x", `a\b`, "crumbIssuer/api/xml?xpath=//*", "job/p/lastBuild/", "..;/", "user//api", "queue/item/1/task/"} {
		f.Add(seed)
	}
	j := jenkinstest.New(jenkinstest.Config{RecordLimit: 1})
	addJobs(f, j)
	canonical := func(target string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI = target
		r.Header.Set("X-Forwarded-User", "alice")
		j.ServeHTTP(httptest.NewRecorder(), r)
		return j.Requests()[0].Path
	}
	f.Fuzz(func(t *testing.T, target string) {
		once := canonical("/" + target)
		if twice := canonical(once); twice != once {
			t.Errorf("canonical path of %q is %q, and of that %q", target, once, twice)
		}
		if strings.Contains(once, "//") || strings.Contains(once+"/", "/./") || strings.Contains(once+"/", "/../") {
			t.Errorf("canonical path of %q is %q", target, once)
		}
	})
}
