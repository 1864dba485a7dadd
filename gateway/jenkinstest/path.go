package jenkinstest

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// locate is what Jetty 12.1 does with a raw path before Jenkins sees it. It finds the context by the decoded path without
// dot segments, and Stapler then cuts the raw path by the length of the context path: under /jenkins, /./jenkins/x leaves
// "ns/x". bad reports a path that Jetty refuses with 400: a byte that must be escaped, a backslash, an escape that is no
// UTF-8 or a NUL, or dots that lead out of the root.
func locate(path, prefix string) (raw string, inContext, bad bool) {
	depth := 0
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch segment {
		case "..":
			if depth--; depth < 0 {
				return path, false, true
			}
		case ".":
		default:
			depth++
		}
	}
	illegal := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }
	decoded, err := url.PathUnescape(path)
	if err != nil || strings.ContainsFunc(path, illegal) || !utf8.ValidString(decoded) || strings.Contains(decoded, "\x00") {
		return path, false, true
	}
	rest, inside := strings.CutPrefix(canonicalPath(decoded), prefix)
	if !inside || rest != "" && rest[0] != '/' || len(path) < len(prefix) { // "/jenkinsx" isn't under "/jenkins"
		return path, false, false
	}
	return path[len(prefix):], true, false
}

// canonicalPath resolves empty, "." and ".." segments as Stapler.canonicalPath does: literal dots only, surplus ".."
// dropped, percent-escapes untouched. A trailing slash stays.
func canonicalPath(path string) string {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, segment)
		}
	}
	canonical := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(path, "/") && len(kept) > 0 {
		canonical += "/"
	}
	return canonical
}

// pathTokens is Stapler's TokenList for a canonical path: less "/static/x", split at slashes and backslashes, and only
// then percent-decoded. It reports false for a token that decodes to "..", which makes Stapler throw.
func pathTokens(canonical string) (tokens []string, ok bool) {
	if rest, found := strings.CutPrefix(canonical, "/static/"); found {
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			canonical = rest[slash:]
		}
	}
	for token := range strings.FieldsFuncSeq(canonical, func(c rune) bool { return c == '/' || c == '\\' }) {
		decoded, err := url.PathUnescape(token)
		if err != nil {
			decoded = token // the server in front refuses such a request line anyway
		}
		if decoded == ".." {
			return nil, false
		}
		tokens = append(tokens, decoded)
	}
	return tokens, true
}
