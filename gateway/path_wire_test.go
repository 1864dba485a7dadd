package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// sendRaw writes a GET for a target to the gate, byte for byte, and returns the status.
func (s *site) sendRaw(t interface {
	Helper()
	Fatal(...any)
}, target, authorization string) int {
	t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: jenkins.example.org\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", target, authorization); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// dispatched is what Jenkins walked for a request that it recorded.
func dispatched(prefix string, r jenkinstest.Request) (tokens []string, ok bool) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return jenkinstest.Dispatched(prefix, path)
}

// TestPathsOnTheWire sends strange paths through the whole of the gate and looks at what
// Jenkins dispatched: what the client wrote, or nothing.
func TestPathsOnTheWire(t *testing.T) {
	pieces := []string{
		".", "..", "...", "/", "//", "/./", "/../", "%2e", "%2E", ".%2e", "%2F", "%2f", "%5c", `\`, ";x=y", ";", "%3B", "%00", "%0a", "%7f",
		"%20", "%25", "%252F", "%252e", "%C3%A9", "%c0%af", "%ff", "%", "%zz", "é", "+", "*", "?", "#", "static", "/static/x/", "%73tatic",
		"jenkins", "Jenkins", "%6aenkins", "job", "JOB", "%6aob", "a", "a.", "a..", "feature%2Fx", "feature%252Fx",
	}
	for _, prefix := range []string{"", "/jenkins"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			s := newSite(t, options{jenkins: jenkinstest.Config{Prefix: prefix}})
			authorization := basicAuth("alice", s.token("alice"))
			passed := 0
			rapid.Check(t, func(t *rapid.T) {
				start := rapid.SampledFrom([]string{prefix + "/", prefix + "/job/a/", prefix + "/static/x/", "/", "//", "/x/.." + prefix + "/"}).Draw(t, "start")
				target := start + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 6).Draw(t, "pieces"), "")
				path, _, _ := strings.Cut(target, "?")

				s.jenkins.ResetRequests()
				status := s.sendRaw(t, target, authorization)
				got := s.received(http.MethodGet)
				if len(got) == 0 {
					if status != http.StatusBadRequest && status != http.StatusNotFound {
						t.Fatalf("GET %s: %d, though Jenkins got nothing", target, status)
					}
					return
				}
				want, ok := jenkinstest.Meant(prefix, path)
				for _, r := range got {
					tokens, in := dispatched(prefix, r)
					if !in && !ok {
						continue // outside for both: Jenkins' container says 404
					}
					if in != ok || !slices.Equal(tokens, want) {
						t.Fatalf("GET %s: %d; Jenkins dispatched %q, %v, the client meant %q, %v", target, status, tokens, in, want, ok)
					}
					passed++
				}
			})
			if passed == 0 {
				t.Error("every path was refused")
			}
		})
	}
}

// TestMultibranchOnTheWire has names with a slash arrive as they were written.
func TestMultibranchOnTheWire(t *testing.T) {
	tests := []struct {
		target string
		want   []string
	}{
		{"/job/m/job/feature%2Fx/", []string{"job", "m", "job", "feature/x"}},
		{"/job/m/job/feature%2fx/", []string{"job", "m", "job", "feature/x"}},
		{"/job/m/job/feature%252Fx/api/json", []string{"job", "m", "job", "feature%2Fx", "api", "json"}},
		{"/static/1a2b/job/m/job/feature%252Fx/", []string{"job", "m", "job", "feature%2Fx"}},
		{"/job/m/job/%C3%A9%2Fx/", []string{"job", "m", "job", "é/x"}},
		{"/job/m/job/a%20b%2Fc+d/", []string{"job", "m", "job", "a b/c+d"}},
	}
	for _, prefix := range []string{"", "/jenkins"} {
		s := newSite(t, options{jenkins: jenkinstest.Config{Prefix: prefix}})
		authorization := basicAuth("alice", s.token("alice"))
		for _, tt := range tests {
			s.jenkins.ResetRequests()
			s.sendRaw(t, prefix+tt.target, authorization)
			r := s.only(http.MethodGet)
			if tokens, ok := dispatched(prefix, r); r.RequestURI != prefix+tt.target || !ok || !slices.Equal(tokens, tt.want) {
				t.Errorf("GET %s: Jenkins got %s and dispatched %q, want %q", prefix+tt.target, r.RequestURI, tokens, tt.want)
			}
		}
	}
}
