package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/crumbgate/crumbgate/caddymodule"
)

var update = flag.Bool("update", false, "write what the adapter makes into the golden files")

func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// Each file is a Caddyfile, a line of dashes, and the JSON that it stands for.
func TestAdapt(t *testing.T) {
	t.Setenv("GITHUB_SECRET", "the secret of now")
	t.Setenv("GITHUB_SECRET_OLD", "the secret of before")
	const separator = "----------\n"
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, found := strings.Cut(string(content), separator)
			if !found {
				t.Fatalf("%s has no line of dashes", file)
			}
			config, err := adapt(text)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, config, "", "\t"); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			if *update {
				if err := os.WriteFile(file, []byte(text+separator+got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("adapting\n%s\ngives\n%s\nwant\n%s", text, got.String(), want)
			}
			validate(t, config)
		})
	}
}

// validate loads a configuration as caddy validate does, with a store in a
// directory that must stay empty.
func validate(t *testing.T, config []byte) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	text := strings.NewReplacer("/var/lib/crumbgate", dir, "/srv", dir).Replace(string(config))
	var parsed *caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	// Whatever Caddy itself keeps goes elsewhere, and certificates are nobody's business here.
	if err := caddy.Validate(parsed); err != nil {
		t.Errorf("what the adapter makes is not valid: %v", err)
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, "tokens.db") {
			t.Errorf("validating made %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAdaptRefuses(t *testing.T) {
	site := func(lines string) string { return "http://:8000 {\n\tcrumbgate {\n\t\t" + lines + "\n\t}\n}\n" }
	global := func(lines string) string {
		return "{\n\tcrumbgate {\n\t\t" + lines + "\n\t}\n}\nhttp://:8000 {\n\tcrumbgate\n}\n"
	}
	tests := []struct {
		name, caddyfile string
		want            []string // parts of the error
	}{
		{"unknown option", site("prefiks /jenkins"), []string{`unknown option "prefiks" of crumbgate`, "Caddyfile:3"}},
		{"argument", "http://:8000 {\n\tcrumbgate /a b\n}\n", []string{"wrong argument count", "Caddyfile:2"}},
		{"option twice", site("prefix /a\n\t\tprefix /a"), []string{"prefix is set twice", "Caddyfile:4"}},
		{"no value", site("prefix"), []string{"prefix takes one value", "Caddyfile:3"}},
		{"two values", site("prefix /a /b"), []string{"prefix takes one value", "Caddyfile:3"}},
		{"empty value", site(`user_header ""`), []string{"user_header is empty: leave it out", "Caddyfile:3"}},
		{"prefix without slash", site("prefix jenkins"), []string{`prefix "jenkins" is not a context path`, "Caddyfile:3"}},
		{"prefix with slash at the end", site("prefix /jenkins/"), []string{"is not a context path", "Caddyfile:3"}},
		{"prefix with dots", site("prefix /a/../b"), []string{"is not a context path"}},
		{"header with blank", site(`user_header "X User"`), []string{`user_header "X User" is not a name for a header`, "Caddyfile:3"}},
		{"two headers alike", site("max_sessions 7\n\t\tuser_header X-Who\n\t\tmail_header X_Who"), []string{"user_header and mail_header are both X_who", "Caddyfile:5"}},
		{"token header is the user's", site("token_header X-Forwarded-User"), []string{"token_header can't be X-Forwarded-User", "Caddyfile:3"}},
		{"token header is Authorization", site("token_header authorization"), []string{"token_header can't be Authorization", "Caddyfile:3"}},
		{"crumb field is Cookie", site("crumb_field Cookie"), []string{"crumb_field can't be Cookie", "Caddyfile:3"}},
		{"user ids", site("user_ids lower"), []string{`unknown user id strategy "lower"`, "Caddyfile:3"}},
		{"body limit", site("body_limit much"), []string{`body_limit "much" is not a size`, "Caddyfile:3"}},
		{"body memory below the body limit", site("body_limit 2MiB\n\t\tbody_memory 1MiB"), []string{"body_memory 1048576 is less than body_limit 2097152", "raise body_memory"}},
		{"body limit of none", site("body_limit 0"), []string{`body_limit "0" is not a size`}},
		{"crumb timeout", site("crumb_timeout 10"), []string{`crumb_timeout "10" is not a duration`, "Caddyfile:3"}},
		{"negative crumb timeout", site("crumb_timeout -1s"), []string{"is not a duration above zero"}},
		{"max sessions", site("max_sessions 0"), []string{`max_sessions "0" is not a number above zero`, "Caddyfile:3"}},
		{"session without user", site("session {\n\t\t\tmail {http.auth.user.mail}\n\t\t}"), []string{`user "" has no placeholder`}},
		{"session of one person", site("session {\n\t\t\tuser alice\n\t\t}"), []string{`user "alice" has no placeholder, so everybody would be the same person`}},
		{"session by a cookie", site("session {\n\t\t\tuser {http.request.cookie.user}\n\t\t}"), []string{"user takes {http.request.cookie.user}, which the client fills in"}},
		{"session by the query", site("session {\n\t\t\tuser {http.auth.user.id}\n\t\t\tgroups {query.groups}\n\t\t}"), []string{"groups takes {http.request.uri.query.groups}, which the client fills in"}},
		{"session by a pattern", site("session {\n\t\t\tuser {re.1}\n\t\t}"), []string{"which the client fills in"}},
		{"session by the environment", site("session {\n\t\t\tuser {env.USER}\n\t\t}"), []string{"user takes {env.USER}, which the client fills in or is the same for all"}},
		{"session by an address", site("session {\n\t\t\tuser {client_ip}\n\t\t}"), []string{"user takes {http.vars.client_ip}, which"}},
		{"session by a file", site("session {\n\t\t\tuser {file./etc/hostname}\n\t\t}"), []string{"user takes {file./etc/hostname}, which"}},
		{"anonymous", site("anonymous maybe"), []string{`anonymous "maybe" is neither refuse nor pass`, "Caddyfile:3"}},
		{"crumb methods", site("crumb_methods get"), []string{`crumb_methods "get" is neither unsafe nor post`}},
		{"refresh crumbs", site("refresh_crumbs yes"), []string{`refresh_crumbs "yes" is neither on nor off`}},
		{"trusted origin with a path", site("trusted_origins https://a.example/b"), []string{"is not an origin such as https://portal.example.com"}},
		{"jenkins url", site("jenkins_url jenkins.example.com"), []string{`jenkins_url "jenkins.example.com" is not a URL`}},
		{"unknown endpoint", site("public nothing"), []string{`nothing`, "Caddyfile:3"}},
		{"forge by public", site("public github"), []string{"webhook github"}},
		{"unknown forge", site("webhook gitea {\n\t\t\tsecret something\n\t\t}"), []string{"gitea"}},
		{"webhook without secret", site("webhook github"), []string{"webhook github has no secret"}},
		{"webhook twice", site("webhook github {\n\t\t\tsecret something\n\t\t}\n\t\twebhook github {\n\t\t\tsecret other\n\t\t}"), []string{"webhook github is set twice"}},
		{"unknown global option", global("store x"), []string{`unknown option "store" of crumbgate`, "Caddyfile:3"}},
		{"global argument", "{\n\tcrumbgate x\n}\n", []string{"wrong argument count", "Caddyfile:2"}},
		{"global option twice", "{\n\tcrumbgate\n\tcrumbgate\n}\n", []string{"crumbgate is set twice", "Caddyfile:3"}},
		{"storage twice", global("storage bbolt /a\n\t\tstorage bbolt /b"), []string{"storage is set twice", "Caddyfile:4"}},
		{"storage without backend", global("storage"), []string{"wrong argument count", "Caddyfile:3"}},
		{"unknown backend", global("storage sqlite /a"), []string{"crumbgate.storage.sqlite", "Caddyfile:3"}},
		{"two paths", global("storage bbolt /a /b"), []string{"wrong argument count", "Caddyfile:3"}},
		{"unknown storage option", global("storage bbolt /a {\n\t\t\tmode 0600\n\t\t}"), []string{`unknown option "mode" of storage bbolt`, "Caddyfile:4"}},
		{"lock timeout", global("storage bbolt /a {\n\t\t\tlock_timeout soon\n\t\t}"), []string{`lock_timeout "soon" is not a duration`, "Caddyfile:4"}},
		{"token api", site("token_api deny"), []string{`token_api "deny" is neither pass, refuse nor answer`, "Caddyfile:3"}},
		{"shadow", site("shadow maybe"), []string{`shadow "maybe" is neither off nor on`, "Caddyfile:3"}},
		{"shadow that answers", site("shadow on\n\t\ttoken_api answer"), []string{"contradict each other", "Caddyfile:4"}},
		{"admin of no name", site("admins system"), []string{"admins:", "Jenkins keeps for itself"}},
		{"group of no name", site("admins group:"), []string{"admins:", "empty"}},
		{"cookie of no name", site(`pass_cookies "a b"`), []string{`pass_cookies: "a b" is not the name of a cookie`, "Caddyfile:3"}},
		{"cookie with a star within", site("pass_cookies a*b"), []string{`"a*b" is not the name of a cookie`}},
		{"cookie of Jenkins' own sign-in", site("pass_cookies remember-me"), []string{`"remember-me" never passes`}},
		{"cookie of a session", site("pass_cookies jsessionid*"), []string{"passes by rules of its own"}},
		{"sign-out by script", site("sign_out javascript:alert(1)"), []string{"sign_out", "is neither a path of this site", "Caddyfile:3"}},
		{"sign-out without a scheme", site("sign_out //evil.example/"), []string{"is neither a path of this site"}},
		{"sign-out with a backslash", site(`sign_out "/\evil.example"`), []string{"is neither a path of this site"}},
		{"sign-out by a placeholder", site("sign_out https://{host}/logout"), []string{"is neither a path of this site"}},
		{"sign-out with a user", site("sign_out https://a:b@sso.example/"), []string{"is neither a path of this site"}},
		{"sign-out that leads to itself", site("prefix /jenkins\n\t\tsign_out /jenkins/logout?a"), []string{"would lead to itself", "Caddyfile:4"}},
		{"unknown option of groups", site("session {\n\t\t\tuser {http.auth.user.id}\n\t\t\tgroups {http.auth.user.groups} {\n\t\t\t\tsuffix x\n\t\t\t}\n\t\t}"), []string{`unknown option "suffix" of groups`, "Caddyfile:6"}},
		{"groups by a broken expression", site("session {\n\t\t\tuser {http.auth.user.id}\n\t\t\tgroups {http.auth.user.groups} {\n\t\t\t\tregexp a)|(b\n\t\t\t}\n\t\t}"), []string{`groups: regexp "a)|(b"`}},
		{"more groups than Jenkins takes", site("session {\n\t\t\tuser {http.auth.user.id}\n\t\t\tgroups {http.auth.user.groups} {\n\t\t\t\tmax_bytes 8KiB\n\t\t\t}\n\t\t}"), []string{"max_bytes 8192 is out of range"}},
		{"rules twice", global("tokens\n\t\ttokens"), []string{"tokens is set twice", "Caddyfile:4"}},
		{"unknown rule", global("tokens {\n\t\t\tlife 3d\n\t\t}"), []string{`unknown option "life" of tokens`, "Caddyfile:4"}},
		{"rule twice", global("tokens {\n\t\t\tmax_life 3d\n\t\t\tmax_life 3d\n\t\t}"), []string{"max_life is set twice", "Caddyfile:5"}},
		{"default life beyond the longest", global("tokens {\n\t\t\tmax_life 3d\n\t\t\tdefault_life 4d\n\t\t}"), []string{"default_life is longer than max_life", "Caddyfile:5"}},
		{"life of more than a century", global("tokens {\n\t\t\tmax_life 40000d\n\t\t}"), []string{"100 years"}},
		{"legacy rule", global("tokens {\n\t\t\tlegacy yes\n\t\t}"), []string{`legacy "yes" is none of refuse, warn and allow`, "Caddyfile:4"}},
		{"last day of what is refused", global("tokens {\n\t\t\tlegacy refuse 2027-01-31\n\t\t}"), []string{"needs warn or allow"}},
		{"last day in words", global("tokens {\n\t\t\tlegacy warn soon\n\t\t}"), []string{`legacy until "soon" is not a day such as 2027-01-31`}},
		{"idleness without usage", global("tokens {\n\t\t\tmax_idle 30d\n\t\t\tusage off\n\t\t}"), []string{"max_idle can't be watched with usage off"}},
		{"log format", "{\n\tlog {\n\t\tformat crumbgate {\n\t\t\thide \"a b\"\n\t\t}\n\t}\n}\n", []string{`"a b" is not a name`, "Caddyfile:4"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapt(test.caddyfile)
			if err == nil {
				t.Fatalf("adapt(%q) succeeds, want an error", test.caddyfile)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("adapt(%q) fails with %q, want %q in it", test.caddyfile, err, want)
				}
			}
		})
	}
}

// JSON can say what the Caddyfile's parser would have refused.
func TestValidateRefuses(t *testing.T) {
	tests := []struct{ name, handler, want string }{
		{"negative body limit", `"body_limit": -1`, "body_limit is negative"},
		{"negative body memory", `"body_memory": -1`, "body_memory is negative"},
		{"negative timeout", `"crumb_timeout": -1`, "crumb_timeout is negative"},
		{"negative sessions", `"max_sessions": -1`, "max_sessions is negative"},
		{"user ids", `"user_ids": "x"`, "unknown user id strategy"},
		{"headers alike", `"user_header": "X-A", "groups_header": "x-a"`, "are both X-A"},
		{"negative bytes of groups", `"session": {"user": "{http.auth.user.id}", "groups_max_bytes": -1}`, "max_bytes -1 is out of range"},
		{"sign-out elsewhere", `"sign_out": "ftp://example.com/"`, "sign_out"},
		{"empty cookie", `"pass_cookies": [""]`, "is not the name of a cookie"},
		{"unknown field", `"user": "x"`, "unknown field"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[{"handler":"crumbgate",` + test.handler + `}]}]}}}}}`
			var parsed *caddy.Config
			if err := json.Unmarshal([]byte(config), &parsed); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(parsed); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("validating %s: %v, want %q in the error", test.handler, err, test.want)
			}
		})
	}
}

// Sites that share the tokens can't differ in whose they are.
func TestSitesAgreeOnUserIDs(t *testing.T) {
	config, err := adapt("http://127.0.0.1:8000 {\n\tcrumbgate\n}\nhttp://127.0.0.1:8001 {\n\tcrumbgate {\n\t\tuser_ids case_sensitive\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	var parsed *caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(parsed); err == nil || !strings.Contains(err.Error(), "set the same for both") {
		t.Errorf("validating two sites with different user_ids: %v", err)
	}
}
