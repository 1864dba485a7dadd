package blackbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// smallDisk mounts a disk of a size, as mount(8) takes it, and returns its directory. That
// needs root.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatalf("mounting a small disk, for which the test has to run as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until its disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{64 << 10, 512} {
		for err = error(nil); err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// TestFullDiskCountsBoundedUses: a full disk locks out no token with a bound on its uses, also
// not by a start on the full disk. No use beyond the bound is granted.
func TestFullDiskCountsBoundedUses(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	dir := smallDisk(t, "16m") // unmounted after the gateway has ended
	g := gatewaytest.New(t, url, gatewaytest.Smallest)
	g.Store = filepath.Join(dir, "tokens.db")
	g.Env = append(g.Env, "STORE="+g.Store)
	g.Start(t)
	const exact = 40
	few, many := g.CreateToken(t, "alice", "few", "--max-uses", fmt.Sprint(exact)), g.CreateToken(t, "alice", "many", "--max-uses", "500000")
	leaked := g.CreateToken(t, "alice", "leaked")
	fill(t, filepath.Join(dir, "filler"))
	var err error
	for n := 0; err == nil; n++ { // what was allocated ahead is used up first
		_, err = g.API().CreateToken(t.Context(), admin.CreateRequest{User: "dave", Name: fmt.Sprint("many ", n)})
	}
	if !strings.Contains(err.Error(), "no room") {
		t.Fatal(err)
	}
	used := 0
	for round := range 4 {
		for range 5 {
			call{user: "alice", secret: few}.want(t, g.URL, 200)
			call{user: "alice", secret: many}.want(t, g.URL, 200)
			used++
		}
		if round == 2 {
			if r := g.Token(t, "revoke", "--user", "alice", "--name", "leaked"); r.Status != 0 {
				t.Fatalf("revoke: %+v", r)
			}
		}
		g.Kill(t)
		g.Start(t)
	}
	call{user: "alice", secret: leaked}.want(t, g.URL, 401)
	for range exact + 5 {
		if r := (call{user: "alice", secret: few}).send(t, g.URL); r.status == 200 {
			used++
		}
	}
	if used != exact {
		t.Errorf("%d uses were granted, want %d", used, exact)
	}
}

// TestFullDiskRevokes: store and audit log share a disk, which strangers and another program
// fill up. What takes rights away goes on, survives a kill, and is recorded once there is
// room; all else is refused.
func TestFullDiskRevokes(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	dir := smallDisk(t, "16m") // unmounted after the gateway has ended
	g := gatewaytest.New(t, url, gatewaytest.Smallest)
	g.Store = filepath.Join(dir, "tokens.db")
	g.Env = append(g.Env, "STORE="+g.Store)
	g.Start(t)
	works(t, jenkins, g.URL, g.CreateToken(t, "alice", "kept"))
	leaked, paused, left := g.CreateToken(t, "alice", "leaked"), g.CreateToken(t, "bob", "paused"), g.CreateToken(t, "carol", "left")
	const many = 400
	for i := range many {
		if _, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "dave", Name: fmt.Sprint("many ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	flood(t, g, 800)
	fill(t, filler)

	run := func(want int, says string, args ...string) {
		t.Helper()
		r := g.Run(t, append(append([]string{"crumbgate"}, args...), "--address", g.Admin)...)
		if r.Status != want || !strings.Contains(r.Stdout+r.Stderr, says) {
			t.Errorf("%v on a full disk: %+v, want status %d and %q", args, r, want, says)
		}
	}
	// What is refused may use what is left of a block, so some changes may pass first.
	gatewaytest.Eventually(t, "a new token is refused", func() error {
		if r := g.Token(t, "create", "--user", "erin"); r.Status == 0 {
			return errors.New("a token was created")
		}
		return nil
	})
	fill(t, filler)
	run(0, "", "token", "revoke", "--user", "alice", "--name", "leaked")
	run(0, "", "token", "suspend", "--user", "bob", "--name", "paused")
	run(0, "", "user", "disable", "carol")
	run(0, "", "token", "revoke", "--user", "dave", "--all", "--yes")
	run(1, "no room", "token", "rename", "--user", "alice", "--name", "kept", "--to", "renamed")
	run(0, "the audit log can't be written", "health")
	if metrics := (call{path: "/metrics"}).want(t, "http://"+g.Admin, 200); !strings.Contains(metrics.body, "caddy_crumbgate_audit_writable 0") {
		t.Error("the metrics don't say that the audit log can't be written")
	}

	refused := func() {
		t.Helper()
		for user, secret := range map[string]string{"alice": leaked, "bob": paused, "carol": left} {
			call{user: user, secret: secret}.want(t, g.URL, 401)
		}
	}
	refused()
	for range 3 {
		g.Kill(t)
		g.Start(t)
		refused()
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the log has all lines", func() error {
		status, err := g.API().AuditStatus(t.Context())
		if err == nil && (status.Waiting > 0 || status.Error != "") {
			err = fmt.Errorf("%+v", status)
		}
		return err
	})
	run(0, "", "token", "rename", "--user", "alice", "--name", "kept", "--to", "renamed")
	refused()
	g.Stop(t)
	for kind, want := range map[audit.Kind]int{"token.revoked": 1 + many, "token.suspended": 1, "user.disabled": 1} {
		found := 0
		for r, err := range audit.SetOf(os.DirFS(dir), "audit.log").Find(t.Context(), audit.Filter{Kind: kind}) {
			if err != nil {
				t.Fatal(err)
			}
			if !r.Failed {
				found++
			}
		}
		if found != want {
			t.Errorf("the log has %d lines of %s, want %d", found, kind, want)
		}
	}
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 0 {
		t.Errorf("audit verify: %+v", r)
	}
}
