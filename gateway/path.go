package gateway

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

var (
	// ErrPath means that Jenkins, or the container that it runs in, could understand a path otherwise than we do.
	ErrPath = errors.New("path refused")

	// ErrOutside means that a path doesn't lie under Jenkins' prefix.
	ErrOutside = errors.New("path outside of the prefix")
)

// route is the path of a request as Stapler, Jenkins' dispatcher, walks it. It can be compared. The zero value is the root.
type route struct {
	// path is what Stapler.canonicalPath makes of the escaped path without the prefix, less a leading /static/<x>: one
	// slash before each segment, none at the end, no dot segments, still escaped.
	path string
}

// dispatchPath finds the route of a request. The prefix is Jenkins' context path without a slash at its end, or empty. What
// is decided by path is decided on the route alone, so a path that could reach something else than its route is refused
// with ErrPath; the request isn't changed. A plain path costs no allocation.
//
// It follows org.kohsuke.stapler.Stapler.getServletPath and TokenList.
func dispatchPath(r *http.Request, prefix string) (route, error) {
	if r.URL.Opaque != "" {
		return route{}, fmt.Errorf("%w: opaque URL", ErrPath)
	}
	path := r.URL.EscapedPath() // what a reverse proxy sends on
	if path == "" || path[0] != '/' {
		return route{}, fmt.Errorf("%w: it doesn't start with /", ErrPath)
	}
	// A path with a byte that should have been escaped is escaped anew by net/url, from
	// its decoded form: /a%2Fé becomes /a/%C3%A9, another object than the client meant.
	if raw := r.URL.RawPath; raw != path && strings.Contains(raw, "%") {
		return route{}, fmt.Errorf("%w: a raw byte that must be escaped, beside escapes", ErrPath)
	}
	plain, err := checkPath(path)
	if err != nil {
		return route{}, err
	}
	rest, ok := cutPrefix(path, prefix)
	if !ok {
		// Jetty resolves dots and escapes before it looks for the context, so the prefix may yet be meant.
		if reaches(path, prefix) {
			return route{}, fmt.Errorf("%w: the prefix %s must be written as it is", ErrPath, prefix)
		}
		return route{}, ErrOutside
	}
	if !plain {
		if rest, err = canonical(rest); err != nil {
			return route{}, err
		}
	}
	rest = strings.TrimSuffix(cutStatic(rest), "/")
	return route{rest}, nil
}

// checkPath refuses bytes and escapes that have no single meaning. It tells whether the path is plain: without escapes,
// dot segments and empty segments but for the last.
func checkPath(path string) (plain bool, err error) {
	plain = true
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == ';': // jenkins.security.SuspiciousRequestFilter
			return false, fmt.Errorf("%w: a semicolon", ErrPath)
		case c == '\\': // Stapler takes it as a slash
			return false, fmt.Errorf("%w: a backslash", ErrPath)
		case c <= ' ' || c >= 0x7f:
			return false, fmt.Errorf("%w: a byte that must be escaped", ErrPath)
		case c == '%':
			plain = false
		case c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.'):
			plain = false
		}
	}
	if plain {
		return true, nil
	}
	for segment := range strings.SplitSeq(path, "/") {
		if err := checkSegment(segment); err != nil {
			return false, err
		}
	}
	return false, nil
}

func checkSegment(segment string) error {
	if !strings.Contains(segment, "%") {
		return nil
	}
	name, err := url.PathUnescape(segment)
	switch {
	case err != nil: // Stapler drops it, or makes up a character
		return fmt.Errorf("%w: a broken escape", ErrPath)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: not UTF-8", ErrPath)
	case strings.Contains(name, `\`):
		return fmt.Errorf("%w: a backslash", ErrPath)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: a control character", ErrPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." {
			return fmt.Errorf("%w: an escaped dot segment", ErrPath)
		}
	}
	return nil
}

func cutPrefix(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// reaches tells whether a path that passed checkPath lies under prefix in the eyes of a server that decodes it, resolves
// its dots and slashes, and perhaps ignores case.
func reaches(path, prefix string) bool {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	rest, err := canonical(decoded)
	if err != nil {
		return true
	}
	return len(rest) >= len(prefix) && strings.EqualFold(rest[:len(prefix)], prefix) &&
		(len(rest) == len(prefix) || rest[len(prefix)] == '/')
}

// canonical resolves empty and dot segments. Stapler drops a .. that has nothing to remove; Jetty would leave the prefix,
// or refuse it.
func canonical(path string) (string, error) {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", fmt.Errorf("%w: .. leads out of Jenkins", ErrPath)
			}
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, segment)
		}
	}
	canonical := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(path, "/") {
		canonical += "/"
	}
	return canonical, nil
}

// cutStatic removes /static/<x>, which Stapler skips to let browsers keep what follows for ever: POST
// /static/x/job/a/doDelete deletes the job. It looks at the path as it is written, and once.
func cutStatic(path string) string {
	rest, ok := strings.CutPrefix(path, "/static/")
	if !ok {
		return path
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return path
	}
	return rest[slash:]
}

// segments yields the decoded names, one for each object that Stapler looks up. A name may hold a slash: multibranch jobs
// are called feature%2Fx.
func (p route) segments() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := p.path; rest != ""; {
			segment, after, more := strings.Cut(rest[1:], "/")
			if !yield(decode(segment)) || !more {
				return
			}
			rest = rest[len(rest)-len(after)-1:]
		}
	}
}

func decode(segment string) string {
	name, err := url.PathUnescape(segment)
	if err != nil {
		return segment // not after checkSegment
	}
	return name
}

// A crumbWay is how a route leads to the API of Jenkins' crumb issuer.
type crumbWay int

const (
	noCrumbWay    crumbWay = iota
	crumbWayMain           // crumbIssuer/api/<tail>, also below manage, which falls back to the root
	crumbWayOther          // by another object: each has a way to the root (Computer.getNode, Job.getParent, View.getOwner)
)

// crumbAPI reports whether the route leads to the API of the crumb issuer, and with which
// tail: decoded, nil if nothing follows api. An escaped slash counts as a slash, as some
// containers decode it.
func (p route) crumbAPI() (tail []string, way crumbWay) {
	path := p.path
	escaped := strings.Contains(path, "%")
	if !escaped && !strings.Contains(path, "crumbIssuer") { // nearly always
		return nil, noCrumbWay
	}
	if escaped {
		path = splitEscaped(path)
	}
	for w := (endpoint.Walk{Path: path}); w.Next(); {
		if !w.Root || w.Name != "crumbIssuer" {
			continue
		}
		api, direct := w, w.Direct
		if !api.Next() || api.Name != "api" {
			continue
		}
		if !direct {
			return nil, crumbWayOther
		}
		for api.Next() {
			tail = append(tail, api.Name)
		}
		return tail, crumbWayMain
	}
	return nil, noCrumbWay
}

// splitEscaped returns a path whose escaped slashes are slashes, one before each segment.
func splitEscaped(path string) string {
	path = strings.ReplaceAll(strings.ReplaceAll(path, "%2F", "/"), "%2f", "/")
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" {
			b.WriteString("/" + segment)
		}
	}
	return b.String()
}

// isLogout reports whether the route ends Jenkins' session. A web method ignores what
// follows it in the path.
func (p route) isLogout() bool {
	for w := (endpoint.Walk{Path: p.path}); w.Next() && w.Direct; {
		if w.Name == "logout" {
			return true
		}
	}
	return false
}

// isAPI tells whether the route is one of Jenkins' remote API, <object>/api/<flavour>
// (hudson.model.Api). It is for no decision that matters: it does not look through
// escapes.
func (p route) isAPI() bool {
	rest := p.path[:max(strings.LastIndexByte(p.path, '/'), 0)]
	return rest == "/api" || strings.HasSuffix(rest, "/api")
}
