package blackbox_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// Caddy can refuse a configuration after crumbgate has started. Then the former one must
// hold in all respects: its audit log, its rules and its spellings of user IDs.
func TestRefusedReloadChangesNothing(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	const loader = `,"admin":{"listen":"ADMIN","config":{"load":{"module":"http","url":"http://127.0.0.1:1/"}}}}`
	for _, c := range []struct {
		name     string
		settings string // of the refused configuration
		port     string // on which its site listens as well
		loads    bool   // whether it loads another configuration, which can't be had
	}{
		{name: "a port is in use", settings: "audit off\ntokens {\nnames required\n}", port: busy.Addr().String()},
		{name: "a port is in use and the audit log is another one", settings: "audit {$DIR}/other.log\ntokens {\nnames required\n}", port: busy.Addr().String()},
		{name: "what comes after the start fails", settings: "audit off\ntokens {\nnames required\n}", loads: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gatewaytest.Start(t, url, gatewaytest.Smallest)
			refused := strings.Replace(gatewaytest.Smallest, "bbolt {$STORE}\n", "bbolt {$STORE}\n"+c.settings+"\n", 1)
			refused = strings.Replace(refused, "\tcrumbgate\n\treverse", "\tcrumbgate {\n\t\tuser_ids case_sensitive\n\t}\n\treverse", 1)
			if c.port != "" {
				refused = strings.Replace(refused, "http://{$SITE} {", "http://{$SITE}, http://"+c.port+" {", 1)
			}
			times := 8 // Caddy starts apps in no order
			if c.loads {
				times = 1
			}
			for i := range times {
				var answer string
				if c.loads {
					g.Configure(t, refused)
					adapted := g.Run(t, "adapt", "--config", g.Config)
					apps := adapted.Stdout[strings.Index(adapted.Stdout, `"apps"`):]
					body := "{" + strings.TrimSuffix(strings.TrimSpace(apps), "}") + strings.Replace(loader, "ADMIN", g.Admin, 1)
					resp, err := gatewaytest.Client.Post("http://"+g.Admin+"/load", "application/json", strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					text, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					answer = resp.Status + string(text)
					if resp.StatusCode == http.StatusOK || !strings.Contains(answer, "dynamic config") {
						t.Fatalf("the configuration was not refused: %s", answer)
					}
				} else {
					g.Configure(t, refused)
					if r := g.Run(t, "reload", "--config", g.Config, "--address", g.Admin); r.Status == 0 || !strings.Contains(r.Stderr, "address already in use") {
						t.Fatalf("the configuration was not refused: %+v", r)
					}
				}
				status, err := g.API().AuditStatus(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if status.File != auditLog(g) {
					t.Fatalf("after refused reload %d the audit log is %q, want %q", i, status.File, auditLog(g))
				}
				user := fmt.Sprint("alice", i)
				if made := g.Token(t, "create", "--user", user, "--quiet"); made.Status != 0 {
					t.Fatalf("after refused reload %d: %s", i, made.Stderr)
				}
				if text, err := os.ReadFile(auditLog(g)); err != nil || !strings.Contains(string(text), user) {
					t.Fatalf("after refused reload %d the token is not in the audit log (%v)", i, err)
				}
				if shown := g.Token(t, "list", "--user", strings.ToUpper(user)); !strings.Contains(shown.Stdout, user) {
					t.Fatalf("after refused reload %d the other spelling of the user is not known: %+v", i, shown)
				}
			}
			g.Configure(t, gatewaytest.Smallest)
			if r := g.Run(t, "reload", "--force", "--config", g.Config, "--address", g.Admin); r.Status != 0 {
				t.Fatalf("the former configuration is not taken on again: %s", r.Stderr)
			}
			if r := g.Run(t, "crumbgate", "audit", "verify", "--address", g.Admin); r.Status != 0 {
				t.Errorf("audit verify: %+v", r)
			}
		})
	}
}

// An audit log of another store is refused, and tokens are created as before.
func TestReloadToAForeignAuditLogChangesNothing(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	other := gatewaytest.Start(t, url, gatewaytest.Smallest)
	for _, name := range []string{"first", "second", "third"} { // the last one could be interrupted
		other.CreateToken(t, "mallory", name)
	}
	other.Kill(t)
	for _, former := range []string{"audit off", "audit"} {
		t.Run(former, func(t *testing.T) {
			with := func(setting string) string {
				return strings.Replace(gatewaytest.Smallest, "bbolt {$STORE}\n", "bbolt {$STORE}\n"+setting+"\n", 1)
			}
			g := gatewaytest.Start(t, url, with(former))
			foreign := filepath.Join(g.Dir, "foreign")
			if err := os.CopyFS(foreign, os.DirFS(filepath.Dir(auditLog(other)))); err != nil {
				t.Fatal(err)
			}
			g.Configure(t, with("audit "+filepath.Join(foreign, "audit.log")))
			if r := g.Run(t, "reload", "--config", g.Config, "--address", g.Admin); r.Status == 0 {
				t.Fatal("a foreign audit log was taken on")
			}
			g.CreateToken(t, "alice", "ci")
			status, err := g.API().AuditStatus(t.Context())
			if err != nil || strings.Contains(status.File, "foreign") {
				t.Errorf("the audit log is %q, %v", status.File, err)
			}
		})
	}
}
