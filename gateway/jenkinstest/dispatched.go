package jenkinstest

import (
	"net/url"
	"regexp"
	"strings"
)

// Dispatched returns the decoded names that Jenkins, running under the context path
// prefix, walks for a path as it is written in a request. It reports false for what
// isn't dispatched: a path that the container refuses, outside of the prefix, with a
// semicolon, or with a name that decodes to "..".
func Dispatched(prefix, rawPath string) (tokens []string, ok bool) {
	rest, inside, bad := locate(rawPath, prefix)
	if !inside || bad || strings.Contains(rest, ";") {
		return nil, false
	}
	return pathTokens(canonicalPath(rest))
}

// Meant is Dispatched for a path as a client writes it that leaves the escaping of blanks and non-ASCII characters to a proxy.
func Meant(prefix, path string) (tokens []string, ok bool) {
	return Dispatched(prefix, unescaped.ReplaceAllStringFunc(path, url.PathEscape))
}

var unescaped = regexp.MustCompile(`[^!-~]+`)
