package blackbox_test

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// smallest returns the Caddyfile that the README begins with.
func smallest(t *testing.T) string {
	t.Helper()
	root, err := gatewaytest.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```caddyfile\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("README.md has no Caddyfile")
	}
	return strings.ReplaceAll("\n"+block, "\n   ", "\n")
}

// forThisMachine checks that a gateway listens on 127.0.0.1 alone, and that a request
// for another host name is refused: Caddy would answer it with an empty 200.
func forThisMachine(t *testing.T, jenkins *jenkinstest.Jenkins, g *gatewaytest.Gateway, secret string) {
	t.Helper()
	_, port, _ := strings.Cut(strings.TrimPrefix(g.URL, "http://"), ":")
	if conn, err := net.Dial("tcp", "127.0.0.2:"+port); err == nil {
		conn.Close()
		t.Error("the gateway listens on another address than 127.0.0.1")
	}
	for _, host := range []string{"localhost:" + port, "evil.example", "127.0.0.1.evil.example:" + port} {
		jenkins.ResetRequests()
		req, err := http.NewRequest("POST", g.URL+"/quietDown", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.SetBasicAuth("alice", secret)
		resp, err := gatewaytest.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest || len(jenkins.Requests()) != 0 {
			t.Errorf("Host %s: status %d, and Jenkins got %d requests; want 421 and none", host, resp.StatusCode, len(jenkins.Requests()))
		}
	}
}

// unconfigured has no global options.
const unconfigured = `http://127.0.0.1:8000 {
	crumbgate
	reverse_proxy 127.0.0.1:8080
}
`

func TestSmallestCaddyfile(t *testing.T) {
	tests := []struct {
		name      string
		caddyfile string
		env       string // with the directory of the test for DIR
		store     string // below that directory
	}{
		{"a store that is named", smallest(t), "", "store/tokens.db"},
		{"in Caddy's data directory", unconfigured, "XDG_DATA_HOME=DIR/data", "data/caddy/crumbgate/tokens.db"},
		{"in Caddy's data directory at home", unconfigured, "", "home/.local/share/caddy/crumbgate/tokens.db"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
			g := gatewaytest.New(t, url, "")
			g.Configure(t, strings.NewReplacer(
				"/var/lib/crumbgate/tokens.db", g.Store,
				"http://127.0.0.1:8000", g.URL, "http://:8000", "http://"+strings.TrimPrefix(g.URL, "http://127.0.0.1"),
				"127.0.0.1:8080", url,
			).Replace(tt.caddyfile))
			g.Env = append(g.Env, "CADDY_ADMIN="+g.Admin)
			if tt.env != "" {
				g.Env = append(g.Env, strings.ReplaceAll(tt.env, "DIR", g.Dir))
			}
			g.Start(t)
			secret := g.CreateToken(t, "alice", "ci")
			works(t, jenkins, g.URL, secret)
			if tt.caddyfile != unconfigured {
				forThisMachine(t, jenkins, g, secret)
			}

			store := filepath.Join(g.Dir, tt.store)
			for path, want := range map[string]os.FileMode{store: 0o600, filepath.Dir(store): 0o700 | os.ModeDir} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != want {
					t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
				}
			}
		})
	}
}

// TestConfigurationIsReadWithoutTouching: whoever looks at a configuration, on a
// build machine or beside the gateway that runs, neither needs the store nor
// disturbs it.
func TestConfigurationIsReadWithoutTouching(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	tests := []struct {
		name    string
		prepare func(*testing.T, *gatewaytest.Gateway)
	}{
		{"there is no store and no directory", func(*testing.T, *gatewaytest.Gateway) {}},
		{"the directory can't be made", func(t *testing.T, g *gatewaytest.Gateway) {
			if err := os.WriteFile(filepath.Dir(g.Store), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"the file is no store", func(t *testing.T, g *gatewaytest.Gateway) {
			if err := os.MkdirAll(g.Store, 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"a gateway runs", func(t *testing.T, g *gatewaytest.Gateway) {
			g.Start(t)
			g.CreateToken(t, "alice", "ci")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.New(t, url, gatewaytest.Smallest)
			tt.prepare(t, g)
			before := snapshot(t, g.Dir)
			for _, args := range [][]string{{"validate"}, {"adapt"}, {"adapt", "--validate"}} {
				if r := g.Run(t, append(args, "--config", g.Config)...); r.Status != 0 {
					t.Errorf("%s: status %d: %s", args, r.Status, r.Stderr)
				}
			}
			if after := snapshot(t, g.Dir); !maps.Equal(before, after) {
				t.Errorf("there was:\n%q\nthere is:\n%q", before, after)
			}
		})
	}
}

func TestExample(t *testing.T) {
	root, err := gatewaytest.Root()
	if err != nil {
		t.Fatal(err)
	}
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, "")
	g.Config = filepath.Join(root, "Caddyfile.example")
	bare := g.Run(t, "validate", "--config", g.Config)
	if bare.Status != 0 {
		t.Errorf("validate without a variable set: status %d: %s", bare.Status, bare.Stderr)
	}

	g.Env = append(g.Env, "JENKINS_URL="+strings.TrimPrefix(url, "http://"), "CRUMBGATE_ADMIN="+g.Admin,
		"CRUMBGATE_STORE="+g.Store, "CRUMBGATE_SITE="+g.URL, "CRUMBGATE_OTHERS=http://"+strings.TrimPrefix(g.URL, "http://127.0.0.1"))
	for _, args := range [][]string{{"validate", "--config", g.Config}, {"fmt", "--diff", g.Config}} {
		r := g.Run(t, args...)
		if r.Status != 0 || strings.Contains(r.Stdout, "\n+") || strings.Contains(r.Stdout, "\n-") {
			t.Errorf("%s: status %d\n%s%s", args, r.Status, r.Stdout, r.Stderr)
		}
	}
	g.Start(t)
	secret := g.CreateToken(t, "alice", "ci")
	works(t, jenkins, g.URL, secret)
	forThisMachine(t, jenkins, g, secret)
	if _, err := os.Stat(g.Store); err != nil {
		t.Error(err)
	}
}

// Where an upstream is known only with each request, nothing can tell whether it can be
// reached without the gate: the operator gets a warning, on whichever side of the gate it is.
func TestUnknownUpstreamsAreWarnedOf(t *testing.T) {
	t.Parallel()
	const behind, outside = "can't tell whether an upstream behind crumbgate", "can't tell whether an upstream outside of crumbgate"
	site := func(open, guarded string) string {
		return strings.Replace(gatewaytest.Smallest, "\tcrumbgate\n\treverse_proxy {$JENKINS}\n",
			"\tmap {path} {jenkins} {\n\t\tdefault 127.0.0.1:8080\n\t}\n\thandle /hook/* {\n\t\t"+open+"\n\t}\n\thandle {\n\t\tcrumbgate\n\t\t"+guarded+"\n\t}\n", 1)
	}
	const fixed, mapped, dynamic = "reverse_proxy 127.0.0.1:8080", "reverse_proxy {jenkins}", "reverse_proxy {\n\t\t\tdynamic srv _jenkins._tcp.example.org\n\t\t}"
	for _, c := range []struct{ name, caddyfile, want string }{
		{"mapped behind the gate", site(fixed, mapped), behind},
		{"dynamic behind the gate", site(fixed, dynamic), behind},
		{"mapped outside of the gate", site(mapped, fixed), outside},
		{"dynamic outside of the gate", site(dynamic, fixed), outside},
		{"nothing is open", site("respond 404", mapped), ""},
		{"all are known", site("reverse_proxy 127.0.0.1:9000", fixed), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gatewaytest.New(t, "127.0.0.1:1", c.caddyfile)
			out, err := g.Command(t.Context(), "validate", "--config", g.Config).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, warning := range []string{behind, outside} {
				if warned := strings.Contains(string(out), warning); warned != (c.want == warning) {
					t.Errorf("%q: %v, want %v\n%s", warning, warned, c.want == warning, out)
				}
			}
		})
	}
}

// Settings that are valid but do not what an operator may expect get one warning each, and
// so do settings with which the gateway can't start.
func TestSurprisingSettingsAreWarnedOf(t *testing.T) {
	t.Parallel()
	const session = "session {\n\t\t\tuser {http.auth.user.id}\n\t\t}\n\t\t"
	for _, c := range []struct{ global, site, want string }{
		{"", "admins alice", "admins has no effect without session"},
		{"", "admins alice\n\t\ttoken_api answer", ""},
		{"", session + "admins alice", ""},
		{"", session + "admins alice\n\t\tpages off", "admins has no effect with pages off"},
		{"", session + "admins group:ops", "session sets no groups"},
		{"", "session {\n\t\t\tuser {http.auth.user.id}\n\t\t\tgroups {http.auth.user.groups}\n\t\t}\n\t\tadmins group:ops", "docs/jenkins.md has the ways out"},
		{"", "sign_out /oauth2/sign_out", "sign_out has no effect without session"},
		{"", session + "sign_out /oauth2/sign_out", ""},
		{"", "pass_cookies *", "pass_cookies * sends all cookies"},
		{"", "pass_cookies theme-*", ""},
		{"tokens {\n\t\t\tlegacy warn 2020-01-31\n\t\t}", "", "the last day of legacy is over"},
		{"tokens {\n\t\t\tlegacy warn 2999-01-31\n\t\t}", "", ""},
		{"tokens {\n\t\t\tunending allow\n\t\t\tmax_life 30d\n\t\t}", "", "unending allow has no effect with max_life"},
		{"tokens {\n\t\t\tmax_life 30d\n\t\t}", "", ""},
		{"audit {\n\t\t\tkey_file {$DIR}/missing\n\t\t}", "", "the key of the audit log can't be read"},
		{"audit off {\n\t\t\tkey_file {$DIR}/missing\n\t\t}", "", "key_file has no effect with audit off"},
	} {
		t.Run(cmp.Or(c.want, "none"), func(t *testing.T) {
			text := strings.Replace(gatewaytest.Smallest, "bbolt {$STORE}\n", "bbolt {$STORE}\n\t\t"+c.global+"\n", 1)
			text = strings.Replace(text, "\tcrumbgate\n\treverse", "\tcrumbgate {\n\t\t"+c.site+"\n\t}\n\treverse", 1)
			g := gatewaytest.New(t, "127.0.0.1:1", text)
			out, err := g.Command(t.Context(), "validate", "--config", g.Config).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var warnings []string
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, "crumbgate") && !strings.Contains(line, "not formatted") {
					warnings = append(warnings, line)
				}
			}
			if c.want == "" && len(warnings) > 0 || c.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], c.want)) {
				t.Errorf("the warnings are %q, want %q", warnings, c.want)
			}
		})
	}
}
