package blackbox_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// A sink answers POSTs in the place of Jenkins, and counts those that it acted on.
type sink struct {
	jenkins *jenkinstest.Jenkins
	acted   atomic.Int64
	// post answers a POST, or returns false to let Jenkins do it.
	post func(w http.ResponseWriter, r *http.Request) bool
	// get is called before Jenkins answers any other request; nil if nothing is.
	get func(r *http.Request)
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && s.post != nil && s.post(w, r) {
		s.acted.Add(1)
		return
	}
	if r.Method != http.MethodPost && s.get != nil {
		s.get(r)
	}
	s.jenkins.ServeHTTP(w, r)
}

func startSink(t *testing.T, config jenkinstest.Config, caddyfile string) (*sink, *gatewaytest.Gateway) {
	t.Helper()
	s := &sink{jenkins: jenkinstest.New(config)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.jenkins.Close)
	return s, gatewaytest.Start(t, server.URL, caddyfile)
}

// A POST on which Jenkins acted is never sent again, whatever the answer says.
func TestPostIsSentAgainOnlyInANewSession(t *testing.T) {
	t.Parallel()
	for issuer, config := range map[string]jenkinstest.Config{"default issuer": {}, "strict issuer": {Strict: jenkinstest.DefaultStrictIssuer()}} {
		t.Run(issuer, func(t *testing.T) {
			t.Parallel()
			s, g := startSink(t, config, gatewaytest.Smallest)
			post := call{method: "POST", path: "/quietDown", user: "alice", secret: g.CreateToken(t, "alice", "ci")}
			for _, body := range []string{"", "upload failed: " + jenkinstest.NoValidCrumb} {
				s.acted.Store(0)
				s.post = func(w http.ResponseWriter, _ *http.Request) bool {
					w.WriteHeader(http.StatusForbidden)
					_, _ = io.WriteString(w, body)
					return true
				}
				if got := post.want(t, g.URL, 403); s.acted.Load() != 1 || got.body != body {
					t.Errorf("answer %q: Jenkins acted %d times; the client got %q", body, s.acted.Load(), got.body)
				}
			}
			s.post = nil
			post.want(t, g.URL, 302)
			for what, forget := range map[string]func(){"a restart": s.jenkins.Restart, "idle time": s.jenkins.ExpireSessions} {
				forget()
				s.jenkins.ResetRequests()
				post.want(t, g.URL, 302)
				if n := len(s.jenkins.Requests()); n != 3 {
					t.Errorf("after %s Jenkins got %d requests, want a refused POST, a question and the POST", what, n)
				}
			}
		})
	}
}

// While Jenkins starts, each client gets what Jenkins says, also the one that needs a crumb.
func TestStartingJenkinsAsksEachClientToWait(t *testing.T) {
	t.Parallel()
	s, g := startSink(t, jenkinstest.Config{}, gatewaytest.Smallest)
	post := call{method: "POST", path: "/quietDown", user: "alice", secret: g.CreateToken(t, "alice", "ci")}
	const page = "getting ready"
	check := func(when string, c call) {
		t.Helper()
		if got := c.want(t, g.URL, 503); got.header.Get("Retry-After") == "" || !strings.Contains(got.body, page) {
			t.Errorf("%s, %s: the client got %v\n%s", when, c.path, got.header, got.body)
		}
	}
	s.jenkins.SetBooting(true)
	check("cold", post)
	s.jenkins.SetBooting(false)
	post.want(t, g.URL, 302)
	s.jenkins.Restart()
	s.jenkins.SetBooting(true)
	check("with a session that is gone", post)
	get := post
	get.method, get.path = "GET", "/api/json"
	check("without a crumb", get)
	s.jenkins.SetBooting(false)
	post.want(t, g.URL, 302)
}
