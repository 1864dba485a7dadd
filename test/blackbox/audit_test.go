package blackbox_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// auditLog is the file of a gateway's changes.
func auditLog(g *gatewaytest.Gateway) string {
	return strings.TrimSuffix(g.Store, "tokens.db") + "audit.log"
}

// flood sends n anonymous requests, which are denied.
func flood(t *testing.T, g *gatewaytest.Gateway, n int) {
	t.Helper()
	const clients = 8
	var sending sync.WaitGroup
	for range clients {
		sending.Go(func() {
			for range n / clients {
				resp, err := gatewaytest.Client.Get(g.URL + "/api/json")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("an anonymous request: %s", resp.Status)
				}
			}
		})
	}
	sending.Wait()
}

// TestStrangersCannotPushChangesOut: a flood of denied requests is a few lines in a file of
// its own. The commands and their sums show both files as one log.
func TestStrangersCannotPushChangesOut(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	small := strings.Replace(gatewaytest.Smallest, "storage bbolt {$STORE}", "storage bbolt {$STORE}\n\t\taudit {\n\t\t\tdenials {\n\t\t\t\tmax_size 4KiB\n\t\t\t\tkeep 1\n\t\t\t}\n\t\t}", 1)
	g := gatewaytest.Start(t, url, small)
	g.CreateToken(t, "alice", "ci")
	const requests = 8000
	began := time.Now()
	flood(t, g, requests)
	took := time.Since(began)
	g.Stop(t)
	changes, err := os.ReadFile(auditLog(g))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(changes, []byte("request.")) || !bytes.Contains(changes, []byte("token.created")) {
		t.Errorf("the log of changes is %s", changes)
	}
	denials, err := os.ReadFile(audit.DenialsName(auditLog(g)))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests in %v wrote %d lines and %d bytes", requests, took, bytes.Count(denials, []byte("\n")), len(denials))
	r := g.Run(t, "crumbgate", "audit", "find", "--file", auditLog(g), "--json", "--since", "2000-01-01")
	total, created := uint64(0), 0
	for line := range strings.Lines(r.Stdout) {
		var record struct {
			Kind  string
			Count uint64
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		switch record.Kind {
		case "request.denied":
			total += max(record.Count, 1)
		case "token.created":
			created++
		}
	}
	if total != requests || created != 1 {
		t.Errorf("audit find shows %d denials and %d created tokens, want %d and 1: %+v", total, created, requests, r)
	}
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 0 || !strings.Contains(r.Stdout, "audit.denials.log") {
		t.Errorf("audit verify: %+v", r)
	}
	// A change of the other file is found, too.
	if err := os.WriteFile(audit.DenialsName(auditLog(g)), bytes.Replace(denials, []byte("127.0.0.1"), []byte("127.0.0.2"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 1 || !strings.Contains(r.Stderr, "audit.denials.log, line") || !strings.Contains(r.Stdout, "audit.log\n") {
		t.Errorf("audit verify of changed denials: %+v", r)
	}
	// One broken log does not hide the other.
	changes, err = os.ReadFile(auditLog(g))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(auditLog(g), bytes.Replace(changes, []byte("gateway"), []byte("gatewax"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 1 || !strings.Contains(r.Stderr, "audit.denials.log, line") || !strings.Contains(r.Stderr, "audit.log, line") {
		t.Errorf("audit verify of two changed logs: %+v", r)
	}
}

// TestOlderStoreIsNoticed: an older copy of the store is refused, with what it lacks, until an
// operator accepts it. What takes rights away is applied in any case.
func TestOlderStoreIsNoticed(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	leaked := g.CreateToken(t, "alice", "leaked")
	left := g.CreateToken(t, "bob", "left")
	g.Stop(t)
	backup, err := os.ReadFile(g.Store)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		t.Helper()
		if err := os.WriteFile(g.Store, backup, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	revoked := func() {
		t.Helper()
		call{user: "alice", secret: leaked}.want(t, g.URL, 401)
		call{user: "bob", secret: left}.want(t, g.URL, 401)
	}
	g.Start(t)
	for _, args := range [][]string{{"token", "revoke", "--user", "alice", "--name", "leaked"}, {"user", "disable", "bob"}} {
		if r := g.Run(t, append(append([]string{"crumbgate"}, args...), "--address", g.Admin)...); r.Status != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
	}
	g.Stop(t)
	restore()
	g.Start(t)
	revoked()
	g.Stop(t)
	g.Start(t) // it is settled
	revoked()

	created := g.CreateToken(t, "carol", "new")
	g.Stop(t)
	restore()
	r := g.Run(t, "run", "--config", g.Config)
	command := regexp.MustCompile(`caddy (crumbgate audit accept --store ` + regexp.QuoteMeta(g.Store) + ` \d+:[0-9a-f]{64})`).FindStringSubmatch(r.Stderr)
	if r.Status == 0 || command == nil || !strings.Contains(r.Stderr, "lacks 3 changes") || !strings.Contains(r.Stderr, "token.created") {
		t.Fatalf("a start with the older store: %+v", r)
	}
	if again := g.Run(t, "run", "--config", g.Config); again.Status == 0 || !strings.Contains(again.Stderr, command[1]) {
		t.Fatalf("the second start: %+v", again)
	}
	if r := g.Run(t, strings.Fields(command[1])...); r.Status != 0 {
		t.Fatalf("audit accept: %+v", r)
	}
	g.Start(t)
	revoked()
	call{user: "carol", secret: created}.want(t, g.URL, 401)
	g.CreateToken(t, "carol", "new")
	g.Stop(t)
	g.Start(t)
	g.Stop(t)
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 0 || !strings.Contains(r.Stdout, "an older token store, 1 time") {
		t.Errorf("audit verify: %+v", r)
	}
}

// TestOlderStoreWrittenOverTheOpenOne: an older copy of the store is copied over the file while
// the gateway runs. No change that follows may hide from the next start what the copy lacks.
func TestOlderStoreWrittenOverTheOpenOne(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	for _, how := range []struct {
		name string
		flag int
		end  func(*gatewaytest.Gateway, testing.TB)
	}{
		{"cut off first, then stopped", os.O_TRUNC, (*gatewaytest.Gateway).Stop},
		{"in place, then killed", 0, (*gatewaytest.Gateway).Kill},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.Start(t, url, gatewaytest.Smallest)
			leaked, left := g.CreateToken(t, "alice", "leaked"), g.CreateToken(t, "bob", "left")
			backup, err := os.ReadFile(g.Store)
			if err != nil {
				t.Fatal(err)
			}
			run := func(want int, says string, args ...string) {
				t.Helper()
				r := g.Run(t, append(append([]string{"crumbgate"}, args...), "--address", g.Admin)...)
				if r.Status != want || !strings.Contains(r.Stdout+r.Stderr, says) {
					t.Errorf("%v: %+v, want status %d and %q", args, r, want, says)
				}
			}
			refused := func() {
				t.Helper()
				call{user: "alice", secret: leaked}.want(t, g.URL, 401)
				call{user: "bob", secret: left}.want(t, g.URL, 401)
			}
			run(0, "", "token", "revoke", "--user", "alice", "--name", "leaked")
			run(0, "", "user", "disable", "bob")
			file, err := os.OpenFile(g.Store, os.O_WRONLY|how.flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.Write(backup); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			run(0, "another copy was written over the file", "health")
			run(1, "another copy was written over the file", "token", "create", "--user", "carol")
			refused()
			how.end(g, t)
			g.Start(t)
			refused()
			if n := strings.Count(g.Log(), "was missing from the token store, and is applied"); n < 2 {
				t.Errorf("the log names %d changes that were applied, want 2", n)
			}
		})
	}
}
