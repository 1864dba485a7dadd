package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// validate checks a Caddyfile as "caddy validate" does.
func validate(t *testing.T, text string) error {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&config)
}

// A configuration in which a client could reach Jenkins past the gate is refused,
// whatever the way, in any order of provisioning.
func TestUnguardedUpstreams(t *testing.T) {
	const past, late = "can be reached without crumbgate", "no request reaches crumbgate"
	t.Setenv("JENKINS", "127.0.0.1:8080")
	for _, c := range []struct {
		name, sites string
		want        string // in the error; empty: none
	}{
		{"all behind", "http://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}", ""},
		{"matcher of the gate", "http://a.example {\n crumbgate /api*\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"same matcher behind the gate", "http://a.example {\n crumbgate /api*\n reverse_proxy /api* 127.0.0.1:8080\n}", ""},
		{"same named matcher behind the gate", "http://a.example {\n @api {\n  path /api*\n  not path /api/x\n }\n crumbgate @api\n reverse_proxy @api 127.0.0.1:8080\n}", ""},
		{"another matcher behind the gate", "http://a.example {\n @api not path /a\n @other not path /b\n crumbgate @api\n reverse_proxy @other 127.0.0.1:8080\n}", past},
		{"before the gate", "http://a.example {\n route {\n  reverse_proxy 127.0.0.1:8080\n  crumbgate\n }\n}", late},
		{"before the gate, for some", "http://a.example {\n route {\n  reverse_proxy /x 127.0.0.1:8080\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", past},
		{"beside the gate", "http://a.example {\n handle /hook/* {\n  reverse_proxy 127.0.0.1:8080\n }\n handle {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", past},
		{"beside the gate, in one more block", "http://a.example {\n handle /hook/* {\n  route {\n   handle_path /a* {\n    reverse_proxy 127.0.0.1:8080\n   }\n  }\n }\n handle {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", past},
		{"behind the gate of a sibling", "http://a.example {\n handle /a* {\n  crumbgate\n }\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"as an error route", "http://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n handle_errors {\n  reverse_proxy 127.0.0.1:8080\n }\n}", past},
		{"as a guarded error route", "http://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n handle_errors {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", ""},
		{"error route elsewhere", "http://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n handle_errors {\n  reverse_proxy 127.0.0.1:9999\n }\n}", ""},
		{"by a named route", "&(jenkins) {\n reverse_proxy 127.0.0.1:8080\n}\nhttp://a.example {\n handle /hook/* {\n  invoke jenkins\n }\n handle {\n  crumbgate\n  invoke jenkins\n }\n}", past},
		{"by a named route behind the gate", "&(jenkins) {\n reverse_proxy 127.0.0.1:8080\n}\nhttp://a.example {\n crumbgate\n invoke jenkins\n}", ""},
		{"by a guarded named route", "&(jenkins) {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}\nhttp://a.example {\n invoke jenkins\n}\nhttp://b.example {\n invoke jenkins\n}", ""},
		{"in another site", "http://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}\nhttp://b.example {\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"in an earlier site", "http://0.example {\n reverse_proxy 127.0.0.1:8080\n}\nhttp://a.example {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"on another port", "http://a.example:81 {\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}\nhttp://a.example:82 {\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"localhost", "http://a.example {\n crumbgate /a\n reverse_proxy /a 127.0.0.1:8080\n reverse_proxy localhost:8080\n}", past},
		{"IPv6 loopback", "http://a.example {\n crumbgate /a\n reverse_proxy /a 127.0.0.1:8080\n reverse_proxy [::1]:8080\n}", past},
		{"mapped IPv6", "http://a.example {\n crumbgate /a\n reverse_proxy /a 10.1.1.1:8080\n reverse_proxy [::ffff:10.1.1.1]:8080\n}", past},
		{"no host", "http://a.example {\n crumbgate /a\n reverse_proxy /a 127.0.0.1:8080\n reverse_proxy :8080\n}", past},
		{"name in capitals, with a dot", "http://a.example {\n crumbgate /a\n reverse_proxy /a jenkins.example:8080\n reverse_proxy Jenkins.Example.:8080\n}", past},
		{"one of several", "http://a.example {\n crumbgate /a\n reverse_proxy /a 10.1.1.1:8080 10.1.1.2:8080\n reverse_proxy 10.1.1.3:8080 10.1.1.2:8080\n}", past},
		{"environment", "http://a.example {\n crumbgate /a\n reverse_proxy /a {env.JENKINS}\n reverse_proxy localhost:8080\n}", past},
		{"the same placeholder", "http://a.example {\n crumbgate /a\n reverse_proxy /a {http.vars.x}:80\n reverse_proxy {http.vars.x}:80\n}", past},
		{"Unix socket", "http://a.example {\n crumbgate /a\n reverse_proxy /a unix//run/jenkins\n reverse_proxy unix//run/jenkins\n}", past},
		{"Unix socket by another path", "http://a.example {\n crumbgate /a\n reverse_proxy /a unix//run/jenkins\n reverse_proxy unix//run/../run//./jenkins\n}", past},
		{"Unix socket for HTTP/2", "http://a.example {\n crumbgate /a\n reverse_proxy /a unix//run/jenkins\n reverse_proxy unix+h2c//run/jenkins\n}", past},
		{"another Unix socket", "http://a.example {\n crumbgate /a\n reverse_proxy /a unix//run/jenkins\n reverse_proxy unix//run/other\n}", ""},
		{"by other schemes", "http://a.example {\n crumbgate /a\n reverse_proxy /a jenkins.example:8080\n reverse_proxy /b h2c://JENKINS.example:8080\n}", past},
		{"by TLS", "http://a.example {\n crumbgate /a\n reverse_proxy /a jenkins.example:443\n reverse_proxy /b https://jenkins.example.\n}", past},
		{"without a port", "http://a.example {\n crumbgate /a\n reverse_proxy /a jenkins.example:80\n reverse_proxy /b jenkins.example\n}", past},
		{"in a range of ports", "http://a.example {\n crumbgate /a\n reverse_proxy /a 10.1.1.1:8080\n reverse_proxy /b 10.1.1.1:8079-8081\n}", past},
		{"dynamic upstream of the same name", "http://a.example {\n handle /x {\n  reverse_proxy {\n   dynamic a Jenkins.example 8080\n  }\n }\n handle {\n  crumbgate\n  reverse_proxy jenkins.example:8080\n }\n}", past},
		{"another port of the host", "http://a.example {\n crumbgate /a\n reverse_proxy /a 127.0.0.1:8080\n reverse_proxy 127.0.0.1:8081\n}", ""},
		{"sign-in beside the gate", "http://a.example {\n handle /oauth2/* {\n  reverse_proxy 127.0.0.1:4180\n }\n handle {\n  forward_auth 127.0.0.1:4180 {\n   uri /oauth2/auth\n   copy_headers Remote-User\n  }\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", ""},
		{"sign-in at Jenkins' address", "http://a.example {\n forward_auth 127.0.0.1:8080 {\n  uri /x\n }\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"two guarded blocks", "http://a.example {\n handle /a* {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n handle {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", ""},
		{"a guarded block and another upstream", "http://a.example {\n handle /jenkins* {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n reverse_proxy 127.0.0.1:9000\n}", ""},
		{"answers before the gate", "http://a.example {\n @foreign not host a.example\n respond @foreign 421\n redir /old /new\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}", ""},
		{"answer of the upstream", "http://a.example {\n crumbgate /a\n reverse_proxy /a 127.0.0.1:8080\n reverse_proxy 127.0.0.1:9000 {\n  @gone status 404\n  handle_response @gone {\n   reverse_proxy 127.0.0.1:8080\n  }\n }\n}", past},
		{"intercepted answer", "http://a.example {\n intercept {\n  @gone status 404\n  handle_response @gone {\n   reverse_proxy 127.0.0.1:8080\n  }\n }\n crumbgate\n reverse_proxy 127.0.0.1:8080\n}", past},
		{"two addresses, one for files", "http://a.example {\n handle /files/* {\n  root * /srv\n  file_server\n }\n handle {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", ""},
		{"dynamic upstream beside the gate", "http://a.example {\n handle /x {\n  reverse_proxy {\n   dynamic a x.example 80\n  }\n }\n handle {\n  crumbgate\n  reverse_proxy 127.0.0.1:8080\n }\n}", ""},
		{"allowed", "http://a.example {\n crumbgate /api* {\n  insecure_unguarded_upstreams allow\n }\n reverse_proxy 127.0.0.1:8080\n}", ""},
		{"allowed for another gate", "http://a.example {\n handle /a* {\n  crumbgate {\n   insecure_unguarded_upstreams allow\n  }\n  reverse_proxy 127.0.0.1:8080\n }\n crumbgate /b*\n reverse_proxy 127.0.0.1:8080\n}", past},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 3 { // Caddy provisions servers in no order
				err := validate(t, "{\n admin off\n}\n"+c.sites)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Fatalf("the error is %v, want %q", err, c.want)
				}
			}
		})
	}
}

// One upstream has one form, whatever the spelling of its address.
func TestUpstreamAddress(t *testing.T) {
	for want, spellings := range map[string][]string{
		"localhost:8080":       {"127.0.0.1:8080", "localhost:8080", "LOCALHOST.:8080", "[::1]:8080", "127.9.9.9:8080", "tcp/127.0.0.1:8080", "tcp4/127.0.0.1:8080", "TCP/127.0.0.1:8080", "127.0.0.1:08080", "[127.0.0.1]:8080", "127.1:8080", "0x7f.1:8080", "0177.0.0.01:8080", "2130706433:8080", "0:8080", "[::1%lo]:8080", "[0:0::1]:8080", "0.0.0.0:8080", ":8080", "[::ffff:127.0.0.1]:8080", "x.localhost:8080"},
		"10.1.1.1:80":          {"10.1.1.1:80", "[::ffff:10.1.1.1]:80"},
		"jenkins.example:8080": {"jenkins.example:8080", "JENKINS.example.:8080"},
		"unix//run/jenkins":    {"unix//run/jenkins", "UNIX//run/jenkins", "unix//run/../run/jenkins", "unix//run//jenkins", "unix//./run/jenkins/", "unix//run/missing/../jenkins", "unix+h2c//run/jenkins"},
		"unix/@jenkins":        {"unix/@jenkins"},
		"[2001:db8::1]:80":     {"[2001:db8::1]:80", "[2001:DB8:0:0::1]:80", "[2001:db8::1%eth0]:0080"},
		"1.2.3.example:80":     {"1.2.3.EXAMPLE:80"},
		"1.2.3.4.5:80":         {"1.2.3.4.5:80"},
		"1.2.256.4:80":         {"1.2.256.4:80"},
		"{http.vars.a}:80":     {"{http.vars.a}:80"},
	} {
		for _, spelling := range spellings {
			if got := upstreamAddress(spelling); got != want {
				t.Errorf("upstreamAddress(%q) = %q, want %q", spelling, got, want)
			}
		}
	}
}

// A Unix socket has one form, whatever links and relative paths lead to it, also before
// it is there.
func TestUpstreamAddressOfSockets(t *testing.T) {
	real, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"run", "elsewhere/deep"} {
		if err := os.MkdirAll(filepath.Join(real, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"var": "run", "into": "elsewhere/deep", "run/socket": "run/j.sock"} {
		if err := os.Symlink(filepath.Join(real, to), filepath.Join(real, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(real)
	for _, there := range []bool{false, true} {
		if there {
			if err := os.WriteFile(filepath.Join(real, "run/j.sock"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want := "unix/" + real + "/run/j.sock"
		for _, path := range []string{"run/j.sock", "./run/j.sock", "var/j.sock", "into/../../run/j.sock", real + "/var/../run/j.sock", real + "//run/./j.sock"} {
			if got := upstreamAddress("unix/" + path); got != want {
				t.Errorf("%q, there %t: %q, want %q", path, there, got, want)
			}
		}
	}
	if got, want := upstreamAddress("unix/run/socket"), "unix/"+real+"/run/j.sock"; got != want {
		t.Errorf("a link to the socket: %q, want %q", got, want)
	}
	if got, want := upstreamAddress("unix/var/new/j.sock"), "unix/"+real+"/run/new/j.sock"; got != want {
		t.Errorf("in a directory that is not there yet: %q, want %q", got, want)
	}
}
