package jenkinstest

import "strings"

// Dispatched returns the decoded names that Jenkins, running under the context path
// prefix, walks for a path as it is written in a request. It reports false for what
// isn't dispatched: a path outside of the prefix, with a semicolon, or with a name that
// decodes to "..".
func Dispatched(prefix, rawPath string) (tokens []string, ok bool) {
	rest, inside := strings.CutPrefix(rawPath, prefix)
	if !inside || rest != "" && rest[0] != '/' || strings.Contains(rest, ";") {
		return nil, false
	}
	return pathTokens(canonicalPath(rest))
}
