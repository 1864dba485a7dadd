package jenkinstest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// BenchmarkServe shows what the stand-in itself costs in benchmarks of a gateway.
func BenchmarkServe(b *testing.B) {
	j := jenkinstest.New(jenkinstest.Config{})
	addJobs(b, j)
	j.SetRecording(false)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/crumbIssuer/api/xml?xpath=/*/crumb/text()", nil)
	r.Header.Set("X-Forwarded-User", "alice")
	j.ServeHTTP(w, r)
	crumb, session, _ := strings.Cut(w.Body.String()+" "+w.Result().Header.Get("Set-Cookie"), " ")
	for _, bb := range []struct{ method, path string }{{"GET", "/whoAmI/api/json"}, {"GET", "/job/a/api/json"}, {"POST", "/job/a/build"}} {
		b.Run(bb.method+bb.path, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest(bb.method, bb.path, http.NoBody)
				r.Header.Set("X-Forwarded-User", "alice")
				r.Header.Set("Jenkins-Crumb", crumb)
				r.Header.Set("Cookie", session)
				w := httptest.NewRecorder()
				if j.ServeHTTP(w, r); w.Code > 201 {
					b.Fatalf("%s %s = %d %s", bb.method, bb.path, w.Code, w.Body)
				}
			}
		})
	}
}
