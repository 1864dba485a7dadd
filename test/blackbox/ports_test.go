package blackbox_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestSecondProcessOnOnePort: Caddy shares ports between processes. A gateway with another
// store on the same port would answer half of the requests with 401, so it does not start.
func TestSecondProcessOnOnePort(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	first := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := first.CreateToken(t, "alice", "ci")
	site := strings.TrimPrefix(first.URL, "http://")
	port := site[strings.LastIndexByte(site, ':'):] // Caddy listens on all interfaces there
	for _, test := range []struct{ name, variable, says string }{
		{"the site's", "SITE=" + site, "tcp/[::]" + port},
		{"the admin endpoint's", "ADMIN=" + first.Admin, "tcp/" + first.Admin},
		{"the site's, on all interfaces", "SITE=" + port, "tcp/[::]" + port},
	} {
		// Caddy starts its apps in no order, so several attempts meet both.
		for range 4 {
			second := gatewaytest.New(t, url, gatewaytest.Smallest)
			second.Env = append(second.Env, test.variable)
			r := second.Run(t, "run", "--config", second.Config)
			if r.Status != 1 || !strings.Contains(r.Stderr, "also listens on "+test.says) || !strings.Contains(r.Stderr, "stop it, or let this gateway listen on another address") {
				t.Errorf("%s address: status %d and %q, want 1 and the address", test.name, r.Status, tailOf(r.Stderr))
			}
			if r := second.Run(t, "validate", "--config", second.Config); r.Status != 0 {
				t.Errorf("%s address: validate: status %d and %q", test.name, r.Status, tailOf(r.Stderr))
			}
		}
	}
	for range 20 {
		works(t, jenkins, first.URL, secret)
	}
}

// TestReloadBesideAnotherProcess: another process on the port is no reason to refuse the
// configuration of one that is running.
func TestReloadBesideAnotherProcess(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	first := gatewaytest.Start(t, url, gatewaytest.Smallest)
	other := gatewaytest.New(t, url, "{\n\tadmin {$ADMIN}\n\tpersist_config off\n}\nhttp://{$SITE} {\n\treverse_proxy {$JENKINS}\n}\n")
	other.Env = append(other.Env, "SITE="+strings.TrimPrefix(first.URL, "http://"))
	other.Start(t)
	if r := first.Run(t, "reload", "--force", "--config", first.Config, "--address", first.Admin); r.Status != 0 {
		t.Errorf("reload: %+v", r)
	}
	other.Stop(t)
	secret := first.CreateToken(t, "alice", "ci")
	works(t, jenkins, first.URL, secret)
}

// tailOf returns the last line of a text.
func tailOf(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
