package endpoint

import (
	"net/url"
	"strings"
)

// ActsOnGet reports whether Jenkins acts on a GET for a path, as it does on a link with a job's trigger token, on the
// notifications of repositories and on the links by which plugins build again. Such a request has no crumb, so a page anywhere can make a browser send it.
//
// The path may be as the client wrote it, escaped. A page of the root counts wherever in it Stapler may be back at the root
// (Walk), and one of another object after any segment. A web method ignores what follows it.
func ActsOnGet(path, rawQuery string) bool {
	for w := (Walk{Path: path}); w.Next(); {
		name := w.Name
		if !w.Root {
			name = decode(name) // the getter may take no name
		}
		for _, a := range acting[name] {
			if (w.Root || !a.ofRoot) && a.begins(w.Path) && (!a.withToken || hasToken(rawQuery)) {
				return true
			}
		}
	}
	return false
}

// An act is an endpoint that acts on a GET.
type act struct {
	pattern
	ofRoot    bool
	withToken bool
	index     bool
}

// begins reports whether a path begins with the pattern, whose first segment is known to match.
func (a act) begins(rest string) bool {
	if a.index {
		return strings.Trim(rest, "/") == "" // such a page has one segment
	}
	p := a.pattern
	p.below = true
	return p.match(rest)
}

// acting are found by their first segment.
var acting = func() map[string][]act {
	found := make(map[string][]act)
	for page := range all {
		switch page.How {
		case Acting, ActingWithToken, ActingIndex:
		default:
			continue
		}
		for path := range strings.FieldsSeq(page.Paths) {
			p := compile(path)
			found[p.segments[0]] = append(found[p.segments[0]], act{p, page.Of == TheRoot, page.How == ActingWithToken, page.How == ActingIndex})
		}
	}
	return found
}()

// hasToken reports whether a query may have the parameter token. What can't be read may.
func hasToken(rawQuery string) bool {
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name == "token" {
			return true
		}
	}
	return false
}
