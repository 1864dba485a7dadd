package blackbox_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// The secrets of testdata/store-2026-11.db, which a gateway made that knew no limits,
// rotation, rules or audit log. They are good for nothing else.
const (
	storedNative  = "cg_CeEf7sFGFKRJKQTYoEBQY1R6k6jXsL1DoeyC"
	storedJenkins = "11431f5477302ac96dc7551bd0d31469c7"
	storedRevoked = "cg_jZ4W9UfTYvjhhds8es7rKdBSdVMMT942H6GU"
)

// TestUpgrade: the tokens of an older gateway work as before, with their owners'
// profiles, counts and ends, and whatever has been added since can be done with them.
func TestUpgrade(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, gatewaytest.Smallest)
	old, err := os.ReadFile(filepath.Join("testdata", "store-2026-11.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(g.Store), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.Store, old, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start(t)
	tokens := func() map[string]admin.Token {
		list, err := g.API().Tokens(t.Context(), "", true)
		if err != nil {
			t.Fatal(err)
		}
		byName := make(map[string]admin.Token)
		for _, token := range list.Tokens {
			byName[token.Name] = token
		}
		return byName
	}
	for name, want := range map[string]struct {
		user, state, expires string
		uses                 uint64
	}{
		"native":  {"alice", "active", "never", 3},
		"jenkins": {"alice", "active", "2100-01-01T00:00:00Z", 1},
		"revoked": {"bob", "revoked", "2027-02-23T08:18:35Z", 0},
		"ends":    {"bob", "", "2026-11-25T09:18:35Z", 0},
	} {
		got, there := tokens()[name]
		expires, err := got.Expires.MarshalText()
		if !there || err != nil || got.User != want.user || want.state != "" && got.State != want.state || string(expires) != want.expires || got.Uses.Count != want.uses {
			t.Errorf("%s: %+v, which ends %s, want %+v", name, got, expires, want)
		}
	}
	works(t, jenkins, g.URL, storedNative)
	works(t, jenkins, g.URL, storedJenkins)
	call{user: "bob", secret: storedRevoked}.want(t, g.URL, 401)
	requests := jenkins.Requests()
	last := requests[len(requests)-1].Header
	if last.Get("X-Forwarded-Groups") != "dev|ops" || last.Get("X-Forwarded-Mail") != "alice@example.org" || last.Get("X-Forwarded-DisplayName") != "Alice A" {
		t.Errorf("Jenkins is told of alice: %v", last)
	}

	g.Kill(t)
	g.Start(t)
	r := g.Token(t, "rotate", "--user", "alice", "--name", "native", "--overlap", "0", "--quiet")
	if r.Status != 0 {
		t.Fatalf("rotate: %+v", r)
	}
	works(t, jenkins, g.URL, strings.TrimSpace(r.Stdout))
	call{user: "alice", secret: storedNative}.want(t, g.URL, 401)
	if r := g.Token(t, "limit", "--user", "alice", "--name", "jenkins", "--scope", "read"); r.Status != 0 {
		t.Fatalf("limit: %+v", r)
	}
	call{method: "POST", path: "/quietDown", user: "alice", secret: storedJenkins}.want(t, g.URL, 403)
	if now := tokens(); !slices.Equal(now["jenkins"].Scopes, []string{"read"}) {
		t.Errorf("limited: %+v", now["jenkins"])
	}
}
