package policy

import (
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// page is for what the table has.
func (r request) page(of endpoint.Object, item Item, path string) Need {
	if !r.acts() {
		return Need{}
	}
	p, ok := endpoint.Find(of, path)
	if !ok {
		if at := strings.LastIndex(path, "/api"); at > 0 && isAPI(path[at:]) && hasRemote(of, path[:at]) {
			need := r.api(item, path[at+len("/api"):], ofItem)
			if need.Permission == free {
				need.Permission = Read
			}
			return need
		}
		_, rest := cut(path)
		first, _ := cut(rest)
		if p, _ = endpoint.Find(of, path[:len(path)-len(rest)]); first == "" || !p.Tree && !(p.Files && isFile(first)) {
			return Need{}
		}
	}
	a := p.Posted
	if r.shows() {
		a = p.Shown
	}
	switch {
	case a.Scope == Admin:
		return Need{}
	case a.Below:
		return below(a.Scope, item)
	}
	return Need{Permission: a.Scope, Item: item}
}

// hasRemote reports whether a page has a remote API.
func hasRemote(of endpoint.Object, path string) bool {
	p, _ := endpoint.Find(of, path)
	return p.Remote
}

// isFile tells whether a segment can only be a file or directory. Where an object serves files by doDynamic, Stapler looks for
// getters and fields first (org.kohsuke.stapler.MetaClass): ws/parent of a step is no file, but leads back to the build. These
// have names of Java; so what could be one isn't allowed.
func isFile(segment string) bool {
	return strings.ContainsAny(segment, ".-*") || segment != "" && '0' <= segment[0] && segment[0] <= '9'
}

// isCell tells whether a segment is a combination of a matrix project, such as os=linux,jdk=21 (hudson.matrix.Combination
// .fromString), by which MatrixProject.getDynamic and MatrixBuild.getDynamic find a configuration or its build. With no
// axes it is "default", which other plugins have pages of.
//
// Nothing that Stapler would find before has an equals sign in its name, and what else it could find after, a permalink of the
// job's or an action, is the job's as well. So a combination counts as its project.
func isCell(segment string) bool {
	if !strings.ContainsAny(segment, "=%") || !named(segment) {
		return false
	}
	axis, equals := 0, false
	for at := 0; at < len(segment); {
		c, after, _ := unescape(segment, at)
		switch {
		case c == '=' && axis > 0:
			equals = true
		case c == ',' && !equals:
			return false
		case c == ',':
			axis, equals = 0, false
		default:
			axis++
		}
		at = after
	}
	return equals
}
