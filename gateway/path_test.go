package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// requestFor parses a target as net/http's server does; nil if the server would refuse it.
func requestFor(target string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: http.MethodGet, URL: u, RequestURI: target}
}

func TestDispatchPath(t *testing.T) {
	tests := []struct {
		name, prefix, target string
		want                 []string
		err                  error
	}{
		{"root", "", "/", nil, nil},
		{"plain", "", "/job/a/build", []string{"job", "a", "build"}, nil},
		{"slash at the end", "", "/job/a/", []string{"job", "a"}, nil},
		{"query left out", "", "/job/a?x=/../", []string{"job", "a"}, nil},
		{"runs of slashes", "", "//job///a//", []string{"job", "a"}, nil},
		{"dots", "", "/./job/./a/.", []string{"job", "a"}, nil},
		{"up", "", "/job/b/../a", []string{"job", "a"}, nil},
		{"up to the root", "", "/job/..", nil, nil},
		{"names with dots", "", "/job/.a/..b/c./d..", []string{"job", ".a", "..b", "c.", "d.."}, nil},
		{"escaped letters", "", "/%6aob/a/%64oDelete", []string{"job", "a", "doDelete"}, nil},
		{"multibranch", "", "/job/m/job/feature%2Fx/", []string{"job", "m", "job", "feature/x"}, nil},
		{"multibranch, as linked", "", "/job/m/job/feature%252Fx/", []string{"job", "m", "job", "feature%2Fx"}, nil},
		{"UTF-8", "", "/job/%C3%A9", []string{"job", "é"}, nil},
		{"characters that need no escape", "", "/job/a:b@c,d=e&f+g(h)!", []string{"job", "a:b@c,d=e&f+g(h)!"}, nil},
		{"escaped semicolon is part of a name", "", "/job/a%3Bb", []string{"job", "a;b"}, nil},
		{"absolute form", "", "http://jenkins/job/a", []string{"job", "a"}, nil},
		{"static is skipped", "", "/static/1a2b3c4d/job/a/doDelete", []string{"job", "a", "doDelete"}, nil},
		{"static is skipped after dots", "", "/x/../static//1a/./job/a", []string{"job", "a"}, nil},
		{"static is skipped once", "", "/static/x/static/y/job", []string{"static", "y", "job"}, nil},
		{"static and nothing", "", "/static/x/", nil, nil},
		{"static without a tail", "", "/static/x", []string{"static", "x"}, nil},
		{"escaped static is a name", "", "/%73tatic/x/job", []string{"static", "x", "job"}, nil},

		{"under the prefix", "/jenkins", "/jenkins/job/a", []string{"job", "a"}, nil},
		{"the prefix itself", "/jenkins", "/jenkins", nil, nil},
		{"the prefix and a slash", "/jenkins", "/jenkins/", nil, nil},
		{"slashes after the prefix", "/jenkins", "/jenkins//job/a", []string{"job", "a"}, nil},
		{"static under the prefix", "/jenkins", "/jenkins/static/x/job/a", []string{"job", "a"}, nil},
		{"prefix of two", "/ci/jenkins", "/ci/jenkins/job/a", []string{"job", "a"}, nil},

		{"outside", "/jenkins", "/job/a", nil, ErrOutside},
		{"outside, longer name", "/jenkins", "/jenkinsx/job/a", nil, ErrOutside},
		{"outside, root", "/jenkins", "/", nil, ErrOutside},
		{"out of the prefix", "/jenkins", "/jenkins/../x", nil, ErrPath},
		{"out of the prefix and back", "/jenkins", "/jenkins/../jenkins/x", nil, ErrPath},
		{"into the prefix", "/jenkins", "/x/../jenkins/job/a", nil, ErrPath},
		{"slashes before the prefix", "/jenkins", "//jenkins/job/a", nil, ErrPath},
		{"dot before the prefix", "/jenkins", "/./jenkins/job/a", nil, ErrPath},
		{"prefix with an escape", "/jenkins", "/%6aenkins/job/a", nil, ErrPath},
		{"prefix with an escaped slash", "/ci/jenkins", "/ci%2Fjenkins/job/a", nil, ErrPath},
		{"prefix in another case", "/jenkins", "/Jenkins/job/a", nil, ErrPath},

		{"above the root", "", "/../job/a", nil, ErrPath},
		{"semicolon", "", "/job/a;x=y/build", nil, ErrPath},
		{"semicolon and dots", "", "/job/..;/a", nil, ErrPath},
		{"backslash", "", `/job\a`, nil, ErrPath},
		{"escaped backslash", "", "/job%5ca", nil, ErrPath},
		{"escaped dot", "", "/job/%2e/a", nil, ErrPath},
		{"escaped dots", "", "/job/%2E%2e/a", nil, ErrPath},
		{"half escaped dots", "", "/job/.%2e/a", nil, ErrPath},
		{"escaped dots within a name", "", "/job/x%2F..%2Fa", nil, ErrPath},
		{"escaped slash that net/url would decode", "", "/job/m/job/feature%2Fé", nil, ErrPath},
		{"escaped dots that net/url would decode", "", "/job/x/%2e%2e/a#", nil, ErrPath},
		{"unescaped UTF-8", "", "/job/é", []string{"job", "é"}, nil},
		{"NUL", "", "/job/a%00", nil, ErrPath},
		{"newline", "", "/job/a%0A", nil, ErrPath},
		{"delete", "", "/job/a%7f", nil, ErrPath},
		{"control character of Latin-1", "", "/job/a%C2%85", nil, ErrPath},
		{"not UTF-8", "", "/job/%ff", nil, ErrPath},
		{"overlong slash", "", "/job/%c0%af", nil, ErrPath},
		{"surrogate", "", "/job/%ed%a0%80", nil, ErrPath},
		{"bad even where dots remove it", "", "/%00/../job", nil, ErrPath},
		{"asterisk", "", "*", nil, ErrPath},
		{"absolute form without a path", "", "http://jenkins", nil, ErrPath},
		{"opaque", "", "jenkins:job", nil, ErrPath},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := requestFor(tt.target)
			if r == nil {
				t.Fatalf("%q isn't a request target", tt.target)
			}
			before := *r.URL
			p, err := dispatchPath(r, tt.prefix)
			got := slices.Collect(p.segments())
			if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) {
				t.Errorf("dispatchPath(%q, %q) = %q, %v; want %q, %v", tt.target, tt.prefix, got, err, tt.want, tt.err)
			}
			if *r.URL != before {
				t.Errorf("dispatchPath(%q) changed the request to %q", tt.target, r.URL)
			}
		})
	}
}

// TestDispatchPathBrokenEscapes makes the URLs by hand, since net/url parses none of them.
func TestDispatchPathBrokenEscapes(t *testing.T) {
	for _, path := range []string{"", "job", "a%"} {
		if p, err := dispatchPath(&http.Request{URL: &url.URL{Path: path}}, ""); !errors.Is(err, ErrPath) {
			t.Errorf("dispatchPath(%q) = %v, %v, want ErrPath", path, p, err)
		}
	}
	for _, path := range []string{"/a%", "/a%2", "/a%zz/b", "/%u0041"} {
		if _, err := checkPath(path); !errors.Is(err, ErrPath) {
			t.Errorf("checkPath(%q) = %v, want ErrPath", path, err)
		}
	}
}

func TestRouteCrumbAPI(t *testing.T) {
	tests := []struct {
		target string
		tail   []string
		way    crumbWay
	}{
		{"/crumbIssuer/api/json", []string{"json"}, crumbWayMain},
		{"/crumbIssuer/api/json/api/json", []string{"json", "api", "json"}, crumbWayMain},
		{"//crumbIssuer/./api/xml/?xpath=//crumb", []string{"xml"}, crumbWayMain},
		{"/static/x/crumbIssuer/%61pi/xml", []string{"xml"}, crumbWayMain},
		{"/crumbIssuer/api/", nil, crumbWayMain},
		{"/crumbIssuer/api", nil, crumbWayMain},
		{"/crumbIssuer/", nil, noCrumbWay},
		{"/crumbissuer/api/json", nil, noCrumbWay},
		{"/job/crumbIssuer/api/json", nil, noCrumbWay},
		{"/crumbIssuer%2Fapi%2fjson", []string{"json"}, crumbWayMain},
		{"/manage/manage/crumbIssuer/api/json", []string{"json"}, crumbWayMain},
		{"/computer/(built-in)/node/crumbIssuer/api/json", nil, crumbWayOther},
		{"/job/job/parent/crumbIssuer/api/json", nil, crumbWayOther},
		{"/view/view/owner/crumbIssuer%2fapi/json", nil, crumbWayOther},
		{"/job/a/ws/crumbIssuer/api/json", nil, noCrumbWay},
		{"/job/ws/parent/crumbIssuer/api/json", nil, crumbWayOther},
		{"/api/json", nil, noCrumbWay},
		{"/", nil, noCrumbWay},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			p, err := dispatchPath(requestFor(tt.target), "")
			if err != nil {
				t.Fatal(err)
			}
			if tail, way := p.crumbAPI(); way != tt.way || !slices.Equal(tail, tt.tail) {
				t.Errorf("crumbAPI of %q = %q, %v; want %q, %v", tt.target, tail, way, tt.tail, tt.way)
			}
		})
	}
}

func TestDispatchPathAllocations(t *testing.T) {
	r := requestFor("/jenkins/job/folder/job/deploy/buildWithParameters?BRANCH=main")
	n := testing.AllocsPerRun(100, func() {
		p, err := dispatchPath(r, "/jenkins")
		if err != nil {
			t.Fatal(err)
		}
		if _, way := p.crumbAPI(); way != noCrumbWay {
			t.Fatal("taken for the crumb issuer")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// checkRoute holds of every request: an accepted path, written out from its segments, leads to the same segments, and none
// of them has two meanings.
func checkRoute(t interface{ Fatalf(string, ...any) }, target, prefix string) {
	r := requestFor(target)
	if r == nil {
		return
	}
	p, err := dispatchPath(r, prefix)
	if err != nil {
		if !errors.Is(err, ErrPath) && !errors.Is(err, ErrOutside) {
			t.Fatalf("dispatchPath(%q, %q): %v is neither ErrPath nor ErrOutside", target, prefix, err)
		}
		return
	}
	segments := slices.Collect(p.segments())
	written := prefix
	if len(segments) > 0 && segments[0] == "static" {
		written += "/static/x" // or else it would be taken off
	}
	for _, name := range segments {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "\\\x00\n\r") {
			t.Fatalf("dispatchPath(%q, %q) lets the segment %q pass", target, prefix, name)
		}
		written += "/" + url.PathEscape(name)
	}
	if len(segments) == 0 {
		written += "/"
	}
	// PathEscape writes ; as %3B but leaves letters, so the result is a path like any other.
	again, err := dispatchPath(requestFor(written), prefix)
	if got := slices.Collect(again.segments()); err != nil || !slices.Equal(got, segments) {
		t.Fatalf("dispatchPath(%q, %q) = %q, but written as %q = %q, %v", target, prefix, segments, written, got, err)
	}
}

func FuzzDispatchPath(f *testing.F) {
	for _, target := range []string{"/", "/job/a%2Fb/../c", "/static/x/job", "/static/static", "//jenkins/../%6a", "/a;b", `/a\b`, "/%C3%A9/%00", "*"} {
		f.Add(target, "")
		f.Add("/jenkins"+target, "/jenkins")
	}
	f.Fuzz(func(t *testing.T, target, prefix string) {
		if prefix != "" {
			prefix = "/jenkins" // prefixes come from the configuration
		}
		checkRoute(t, target, prefix)
	})
}

// TestDispatchPathProperty strings together what proxies and servers disagree about.
func TestDispatchPathProperty(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		".", "..", "/", "//", "%2e", "%2E%2e", ".%2e", "%2F", "%2f", "%5c", `\`, ";x=y", ";", "%3B", "%00", "%0d", "%25", "%252F", "%C3%A9", "%ff",
		"static", "%73tatic", "Static", "jenkins", "Jenkins", "%6aenkins", "job", "JOB", "a", "a.", "a..", "crumbIssuer", "api", "json",
	})
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "/jenkins", "/ci/jenkins"}).Draw(t, "prefix")
		start := rapid.SampledFrom([]string{"/", prefix + "/"}).Draw(t, "start")
		checkRoute(t, start+strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), ""), prefix)
	})
}

func TestIsAPI(t *testing.T) {
	for target, want := range map[string]bool{
		"/api/json":                  true,
		"/api/json/":                 true,
		"/job/a/api/xml?tree=jobs":   true,
		"/job/a/lastBuild/api/json":  true,
		"/":                          false,
		"/api":                       false,
		"/job/api/configure/x":       false,
		"/job/api/configure":         true, // a page of a job named api: costs Jenkins a session, no more
		"/job/a/":                    false,
		"/job/a/1/consoleText":       false,
		"/job/a/myapi/json":          false,
		"/job/a/api/json/api/python": true,
	} {
		route, err := dispatchPath(requestFor(target), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := route.isAPI(); got != want {
			t.Errorf("isAPI of %s = %v, want %v", target, got, want)
		}
	}
}
