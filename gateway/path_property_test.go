package gateway

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// pathPieces are what proxies, containers and Stapler read differently.
var pathPieces = []string{
	".", "..", "...", "/", "//", "/./", "/../", "%2e", "%2E", "%2e%2E", ".%2e", "%2F", "%2f", "%5c", "%5C", `\`,
	";x=y", ";", "%3B", "%3b", "%00", "%0a", "%7f", "%20", "%25", "%252F", "%252e", "%C3%A9", "%c0%af", "%ff", "%", "%zz", "é", "+", "~", "*", "?", "#",
	"static", "static/x", "/static/x/", "%73tatic", "Static", "$stapler/bound",
	"jenkins", "Jenkins", "%6aenkins", "/ci/jenkins", "/jenkins/",
	"job", "JOB", "%6aob", "a", "A", "a.", "a..", ".a", "feature%2Fx", "feature%252Fx", "doDelete", "login", "adjuncts",
}

// drawPath makes a request target's path, most often one that begins in the prefix.
func drawPath(t *rapid.T, prefix string) string {
	start := rapid.SampledFrom([]string{prefix + "/", prefix + "/", prefix + "/static/x/", prefix, "/", "//", "/./", "/x/.." + prefix + "/", strings.ToUpper(prefix) + "/"}).Draw(t, "start")
	return start + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pathPieces), 0, 10).Draw(t, "pieces"), "")
}

// checkAgainstJenkins holds of every target: its route has the very segments that Jenkins
// dispatches for the path that a proxy sends on, or it is refused. It returns whether the
// target was let pass.
func checkAgainstJenkins(t interface{ Fatalf(string, ...any) }, target, prefix string) (passed bool) {
	r := requestFor(target)
	if r == nil {
		return false
	}
	p, err := dispatchPath(r, prefix)
	if err != nil {
		if !errors.Is(err, ErrPath) && !errors.Is(err, ErrOutside) {
			t.Fatalf("dispatchPath(%q, %q): %v is neither ErrPath nor ErrOutside", target, prefix, err)
		}
		return false
	}
	got := slices.Collect(p.segments())
	written := r.URL.EscapedPath() // what a proxy sends on
	want, ok := jenkinstest.Dispatched(prefix, written)
	if !ok || !slices.Equal(got, want) {
		t.Fatalf("dispatchPath(%q, %q) = %q; Jenkins dispatches %q, %v", target, prefix, got, want, ok)
	}
	if path, _, _ := strings.Cut(target, "?"); strings.HasPrefix(path, "/") {
		if meant, _ := jenkinstest.Meant(prefix, path); !slices.Equal(got, meant) {
			t.Fatalf("dispatchPath(%q, %q) = %q, but the client wrote %q", target, prefix, got, meant)
		}
	}
	return true
}

func TestDispatchPathIsJenkins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "/jenkins", "/ci/jenkins"}).Draw(t, "prefix")
		checkAgainstJenkins(t, drawPath(t, prefix), prefix)
	})
}

// TestOutsideIsOutside makes sure that what is refused as outside of the prefix, and may
// thus be handled by others, doesn't reach Jenkins by a path that is cleaned on the way:
// decoded, as often as it may be, without dots and empty segments, in another case.
func TestOutsideIsOutside(t *testing.T) {
	const prefix = "/jenkins"
	rapid.Check(t, func(t *rapid.T) {
		target := drawPath(t, prefix)
		r := requestFor(target)
		if r == nil {
			t.Skip("no request target")
		}
		if _, err := dispatchPath(r, prefix); !errors.Is(err, ErrOutside) {
			return
		}
		decoded, err := url.PathUnescape(r.URL.EscapedPath())
		if err != nil {
			t.Fatalf("%q is outside, but its escapes are broken", target)
		}
		var names []string
		for name := range strings.SplitSeq(decoded, "/") {
			switch name {
			case "", ".":
			case "..":
				names = names[:max(len(names)-1, 0)]
			default:
				names = append(names, name)
			}
		}
		if len(names) > 0 && strings.EqualFold(names[0], "jenkins") {
			t.Fatalf("%q is outside of %s, but cleaned it lies within", target, prefix)
		}
	})
}

func FuzzDispatchPathIsJenkins(f *testing.F) {
	for _, piece := range pathPieces {
		f.Add("/job/"+piece+"/a", "")
		f.Add("/jenkins/static/"+piece+"/x/"+piece, "/jenkins")
	}
	f.Fuzz(func(t *testing.T, target, prefix string) {
		if prefix != "" {
			prefix = "/jenkins" // prefixes come from the configuration
		}
		checkAgainstJenkins(t, target, prefix)
	})
}
