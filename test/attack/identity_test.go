package attack_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// A traffic is a way to be let in, for the attacks that don't depend on which.
type traffic struct {
	name string
	caller
	auth []field
	get  string // the path of a GET that is answered with 200
	post string // of a POST that is answered with postStatus
	// postMore are the fields without which a POST is refused.
	postMore   []field
	postStatus []int
}

// asToken is a script with a token.
func asToken(user string, identity http.Header) traffic {
	identity = identity.Clone()
	if identity == nil {
		identity = make(http.Header)
	}
	identity["X-Forwarded-User"] = []string{user}
	return traffic{
		name: "token of " + user, caller: caller{user, identity}, auth: []field{{"Authorization", "Basic {BASIC}"}},
		get: "/whoAmI/api/json", post: "/quietDown", postStatus: found,
	}
}

// spellings are those of a header's name that some server, or something before
// it, takes for the same.
func spellings(name string) map[string]string {
	lower := strings.ToLower(name)
	return map[string]string{
		"as it is": name, "lower": lower, "upper": strings.ToUpper(name),
		"underscores":       strings.ReplaceAll(name, "-", "_"),
		"lower underscores": strings.ReplaceAll(lower, "-", "_"),
		"dots":              strings.ReplaceAll(lower, "-", "."),
		"an underscore":     strings.Replace(lower, "-", "_", 1),
		"underscore, dot":   strings.Replace(strings.Replace(name, "-", "_", 1), "-", ".", 1),
	}
}

// values are what a smuggled header may hold, line by line.
var values = map[string][]string{
	"admin": {"admin"}, "nothing": {""}, "twice": {"admin", "root"}, "nothing, then admin": {"", "admin"},
	"a list": {"alice, admin"}, "the caller, then admin": {"alice", "admin"}, "blanks": {" \t "},
}

// smuggling returns attacks by headers of every spelling and value.
func smuggling(as traffic, names []string) []attack {
	var attacks []attack
	for _, name := range names {
		for how, spelled := range spellings(name) {
			for what, lines := range values {
				var fields []field
				for _, line := range lines {
					fields = append(fields, field{spelled, line})
				}
				attacks = append(attacks, as.attacks(fmt.Sprintf("%s, %s, %s", name, how, what), fields...)...)
			}
		}
	}
	return attacks
}

// attacks returns the same attack by GET and POST, before and after the caller's
// own headers, with each protocol.
func (as traffic) attacks(name string, fields ...field) []attack {
	var attacks []attack
	for _, method := range []string{"GET", "POST"} {
		path, status, own := as.get, ok, as.auth
		if method == "POST" {
			path, status, own = as.post, as.postStatus, append(as.postMore[:len(as.postMore):len(as.postMore)], as.auth...)
		}
		seen := method + " " + path
		if as.get == "" {
			continue
		}
		before := method + " " + path + " HTTP/1.1\nHost: {HOST}\n" + lines(fields) + lines(own) + "\n"
		after := method + " " + path + " HTTP/1.1\nHost: {HOST}\n" + lines(own) + lines(fields) + "\n"
		attacks = append(attacks, attack{name: name + ", h1 " + method, h1: after, status: status, seen: seen})
		if method == "GET" {
			attacks = append(attacks, attack{name: name + ", h1 before", h1: before, status: status, seen: seen})
		}
		a := attack{name: name + ", h2 " + method, h2: h2(method, path, append(append([]field{}, own...), fields...)...), status: status, seen: seen}
		for i, f := range a.h2.fields {
			if strings.ToLower(f.name) == f.name || i < 4+len(own) {
				a.h2.fields[i].name = strings.ToLower(f.name)
				continue
			}
			a.status, a.seen = hungUp, "" // RFC 9113, section 8.2.1: no upper case
		}
		attacks = append(attacks, a)
	}
	return attacks
}

func lines(fields []field) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.name + ": " + f.value + "\n")
	}
	return b.String()
}

var pluginHeaders = []string{"X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-DisplayName"}

func TestIdentityOfTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	w.run(t, alice.caller, smuggling(alice, pluginHeaders))
}

// TestIdentityOfProfiles: what is known of a user can't be replaced or added to.
func TestIdentityOfProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "carol", "--groups", "dev,ops", "--mail", "carol@example.org", "--display-name", "Carol C.")
	carol := asToken("carol", http.Header{
		"X-Forwarded-Groups": {"dev|ops"}, "X-Forwarded-Mail": {"carol@example.org"}, "X-Forwarded-Displayname": {"Carol C."},
	})
	w.run(t, carol.caller, smuggling(carol, pluginHeaders))
}

// TestIdentityUnderOtherNames: the headers that are configured, and those of the
// plugin beside them.
func TestIdentityUnderOtherNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{UserHeader: "X-Remote-Id", GroupsHeader: "X-Remote-Teams"},
		site("\tcrumbgate {\n\t\tuser_header X-Remote-Id\n\t\tgroups_header X-Remote-Teams\n\t\ttoken_header X-Jenkins-Token\n\t\tcrumb_field Jenkins-Crumb\n\t}"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	alice.identity = http.Header{"X-Remote-Id": {"alice"}}
	w.run(t, alice.caller, smuggling(alice, append([]string{"X-Remote-Id", "X-Remote-Teams"}, pluginHeaders...)))

	get := "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\n"
	seen := "GET /whoAmI/api/json"
	w.run(t, alice.caller, []attack{
		{name: "token twice", h1: get + "X-Jenkins-Token: {TOKEN}\nX-Jenkins-Token: {TOKEN}\n\n", status: bad},
		{name: "token in both headers", h1: get + "X-Jenkins-Token: {TOKEN}\nAuthorization: Bearer {TOKEN}\n\n", status: bad},
		{name: "token beside a password of Jenkins", h1: get + "X-Jenkins-Token: {TOKEN}\nAuthorization: Basic {ADMIN}\n\n", status: ok, seen: seen},
		{name: "empty token header beside a token", h1: get + "X-Jenkins-Token:\nAuthorization: Basic {BASIC}\n\n", status: bad},
		{name: "empty token header", h1: get + "X-Jenkins-Token:\n\n", status: unauthorized},
		{name: "token header with underscores", h1: get + "X_Jenkins_Token: {TOKEN}\n\n", status: unauthorized},
		{name: "token header named in Connection", h1: get + "X-Jenkins-Token: {TOKEN}\nConnection: X-Jenkins-Token\n\n", status: ok, seen: seen},
		{name: "two lines in one", h1: get + "X-Jenkins-Token: {TOKEN}, {TOKEN}\n\n", status: unauthorized},
	})
}
