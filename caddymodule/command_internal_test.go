package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdminAddress(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:2019":             "tcp localhost:2019",
		"localhost":                  "tcp localhost:2019",
		":2020":                      "tcp localhost:2020",
		"[::1]:2019":                 "tcp [::1]:2019",
		"tcp/10.0.0.1:2019":          "tcp 10.0.0.1:2019",
		"http://localhost:2019":      "tcp localhost:2019",
		"http://10.0.0.1:2020/":      "tcp 10.0.0.1:2020",
		"/run/caddy.sock":            "unix /run/caddy.sock",
		"./caddy.sock":               "unix ./caddy.sock",
		"unix//run/caddy.sock":       "unix /run/caddy.sock",
		"unix:///run/caddy.sock":     "unix /run/caddy.sock",
		"unix//run/caddy.sock|0220":  "unix /run/caddy.sock|0220",
		"https://localhost:2019":     "error",
		"http://localhost:2019/x":    "error",
		"http://u:p@localhost:2019/": "error",
		"localhost:2019-2021":        "error",
		"udp/localhost:2019":         "error",
		"localhost:0":                "error",
		"localhost:port":             "error",
	} {
		got := "error"
		if network, address, err := adminAddress(text); err == nil {
			got = network + " " + address
		}
		if got != want {
			t.Errorf("adminAddress(%q) = %s, want %s", text, got, want)
		}
	}
}

// A configuration without an admin endpoint is no reason to ask another gateway's.
func TestConfiguredAdmin(t *testing.T) {
	t.Setenv("ADMIN_SOCKET", "/run/gate.sock")
	for name, test := range map[string]struct{ caddyfile, want, refused string }{
		"none":        {":80\n", "", ""},
		"an address":  {"{\n\tadmin 10.0.0.1:3000\n}\n", "10.0.0.1:3000", ""},
		"placeholder": {"{\n\tadmin unix/{env.ADMIN_SOCKET}\n}\n", "unix//run/gate.sock", ""},
		"off":         {"{\n\tadmin off\n}\n", "", "admin off"},
		"no variable": {"{\n\tadmin {env.NO_SUCH_VARIABLE}\n}\n", "", "its placeholder has no value"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte(test.caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := configuredAdmin(file, "")
			if got != test.want || (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("configuredAdmin = %q, %v; want %q, %q", got, err, test.want, test.refused)
			}
			if test.refused == "" {
				return
			}
			if _, err := dialAdmin("", file, ""); err == nil || !strings.Contains(err.Error(), test.refused) || !strings.Contains(err.Error(), file) {
				t.Errorf("dialAdmin: %v", err)
			}
			if _, err := dialAdmin("localhost:2019", file, ""); err != nil {
				t.Errorf("dialAdmin with an address: %v", err)
			}
		})
	}
}
