package jenkinstest

import (
	"net/url"
	"strings"
)

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
