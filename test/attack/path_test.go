package attack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// odd are paths that two servers could read differently; each either reaches
// Jenkins byte for byte, or not at all.
var odd = []string{
	"/./whoAmI/api/json", "/../whoAmI/api/json", "/a/../whoAmI/api/json", "/a/../../whoAmI/api/json", "//whoAmI/api/json", "///whoAmI//api///json",
	"/whoAmI/./api/json", "/whoAmI/.//api/json", "/.../whoAmI", "/..../whoAmI", "/whoAmI/..", "/whoAmI/.", "/..", "/.", "//", "///",
	"/%2e/whoAmI/api/json", "/%2e%2e/whoAmI/api/json", "/a/%2e%2e/whoAmI/api/json", "/a/.%2e/whoAmI", "/a/%2E./whoAmI", "/a/%252e%252e/whoAmI",
	"/%2fwhoAmI/api/json", "/a%2f..%2fwhoAmI", "/a%2F..%2FwhoAmI", "/whoAmI%2fapi%2fjson", "/%2f%2fwhoAmI", "/a%2f%2e%2e%2fwhoAmI", "/%2F..", "/..%2f", "/..%2fwhoAmI", "/..%5cwhoAmI",
	`/a\..\whoAmI`, `\whoAmI`, `/\whoAmI`, "/a%5c..%5cwhoAmI", "/a%5C..%5CwhoAmI", "/whoAmI%5capi%5cjson",
	"/whoAmI;x=y/api/json", "/a/..;/whoAmI", "/;/whoAmI", "/whoAmI/;x", "/whoAmI;", "/a/..;x=y/whoAmI", "/whoAmI%3bx=y/api/json", "/a/..%3b/whoAmI", "/login;/../whoAmI", "/;login/../whoAmI",
	"/static/x/whoAmI/api/json", "/static/whoAmI", "/static//whoAmI", "/static/../whoAmI/api/json", "/static/x/../whoAmI", "/static/x/static/y/whoAmI", "/STATIC/x/whoAmI", "/%73tatic/x/whoAmI", "/static/%2e%2e/whoAmI", "/./static/x/whoAmI", "/static/..;/whoAmI",
	"/%77hoAmI/api/json", "/WHOAMI/api/json", "/whoami/api/json", "/whoAmI%00/api/json", "/whoAmI/api/json%00.css", "/%00", "/whoAmI%0d%0aX-Forwarded-User:%20admin", "/whoAmI%0a", "/whoAmI%20", "/whoAmI%09", "/whoAmI%7f", "/whoAmI.", "/whoAmI./api", "/whoAmI%2e", "/whoAmI ",
	"/whoAmI%", "/whoAmI%2", "/whoAmI%zz", "/whoAmI%u002f", "/%c0%ae%c0%ae/whoAmI", "/%c0%afwhoAmI", "/%e0%80%afwhoAmI", "/%f0%80%80%af", "/%c1%9c", "/%ed%a0%80", "/%ff", "/whoAmI\x80", "/\xc0\xaf", "/\xe2\x80\xaeImAohw", "/%e2%80%8bwhoAmI", "/who%ef%bc%8fAmI", "/%ef%bc%8e%ef%bc%8e/whoAmI", "/%ef%bc%9b",
	"/whoAmI?/../login", "/whoAmI%3f/../script", "/whoAmI/api/json?x=/login", "/script?/login", "/script?x=/github-webhook/", "/script#/login", "/script%23/login", "/script/login/..", "/script/../login/../script",
	"/login/../script", "/login/%2e%2e/script", "/login%2f..%2fscript", "/loginx", "/login/x", "/github-webhook/../script", "/github-webhook/..%2fscript", "/github-webhook/%2e%2e/script", "/github-webhook//../script", "/github-webhook;/../script",
	"/$stapler/bound/x", "/WEB-INF/web.xml", "/web-inf/", "/META-INF/x", "/%57EB-INF/web.xml",
	"/crumbIssuer/../whoAmI/api/json", "/crumbIssuer//api//json", "/crumbIssuer/api/%6ason", "/%63rumbIssuer/api/json", "/static/x/crumbIssuer/api/json", "/crumbIssuer/api%2fjson", "/CRUMBISSUER/api/json",
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/jenkins"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			directive := "\tcrumbgate"
			if prefix != "" {
				directive = "\tcrumbgate {\n\t\tprefix " + prefix + "\n\t}"
			}
			w := newWorld(t, jenkinstest.Config{Prefix: prefix}, site(directive))
			w.token(t, "alice")
			alice := asToken("alice", nil)
			var attacks []attack
			paths := odd
			if prefix != "" {
				for _, path := range odd {
					paths = append(paths[:len(paths):len(paths)], prefix+path)
				}
				paths = append(paths, "/jenkins/../whoAmI", "/jenkins/..", "/jenkins%2fwhoAmI", "/jenkins/../jenkins/whoAmI/api/json", "/Jenkins/whoAmI", "/jenkinsx/whoAmI",
					"/%6aenkins/whoAmI", "/jenkins;/whoAmI", "/x/../jenkins/whoAmI", "//jenkins/whoAmI", "/./jenkins/whoAmI", "/jenkins/static/x/../../../script")
			}
			for _, path := range paths {
				for _, method := range []string{"GET", "POST", "DELETE"} {
					arrives := escaped(path)
					status := []int{200, 204, 302, 400, 403, 404, 405, 500}
					attacks = append(attacks,
						attack{name: method + " " + path, h1: method + " " + path + " HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n", status: status, seen: method + " " + arrives},
						attack{name: method + " " + path + ", h2", h2: h2(method, path, field{"authorization", "Basic {BASIC}"}), status: append([]int{0}, status...), seen: method + " " + arrives},
						attack{name: method + " " + path + " without a credential", h1: method + " " + path + " HTTP/1.1\nHost: {HOST}\nX-Forwarded-User: admin\n\n", status: []int{400, 401}})
				}
			}
			for i := range attacks {
				// The gateway answers for the crumb issuer itself.
				if strings.Contains(attacks[i].seen, "rumbIssuer") || strings.Contains(attacks[i].seen, "api/json") && strings.Contains(attacks[i].seen, "%63rumb") {
					attacks[i].optional = true
				}
			}
			w.run(t, alice.caller, attacks)
		})
	}
}

// escaped escapes what must not stand in a target as it is.
func escaped(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
