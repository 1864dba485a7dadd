package blackbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestBadStores: a gateway whose store can't be opened does not start, and says
// which file it is and what to do.
func TestBadStores(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	brief := strings.Replace(gatewaytest.Smallest, "{$STORE}\n", "{$STORE} {\n\t\t\tlock_timeout 300ms\n\t\t}\n", 1)
	// made leaves a store with one token behind.
	made := func(t *testing.T, g *gatewaytest.Gateway) {
		g.Start(t)
		g.CreateToken(t, "alice", "ci")
		g.Stop(t)
	}
	tests := []struct {
		name string
		bad  func(t *testing.T, g *gatewaytest.Gateway)
		says []string
	}{
		{"locked by another process", func(t *testing.T, g *gatewaytest.Gateway) {
			other := gatewaytest.New(t, url, gatewaytest.Smallest)
			other.Env = append(other.Env, "STORE="+g.Store)
			other.Start(t)
		}, []string{"is in use by", "stop it, or name another file"}},
		{"a directory", func(t *testing.T, g *gatewaytest.Gateway) {
			if err := os.MkdirAll(g.Store, 0o700); err != nil {
				t.Fatal(err)
			}
		}, []string{"is a directory", "name a file in it"}},
		{"not a store", func(t *testing.T, g *gatewaytest.Gateway) {
			if err := os.MkdirAll(filepath.Dir(g.Store), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(g.Store, []byte(strings.Repeat("no store\n", 10_000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"is not a bbolt file", "restore it from a backup"}},
		{"cut off", func(t *testing.T, g *gatewaytest.Gateway) {
			made(t, g)
			if err := os.Truncate(g.Store, 3*int64(os.Getpagesize())); err != nil {
				t.Fatal(err)
			}
		}, []string{"the file is damaged, restore it from a backup"}},
		{"a bit of a key flipped", func(t *testing.T, g *gatewaytest.Gateway) {
			made(t, g)
			flipped(t, g.Store, "token/", "uoken/")
		}, []string{"the file is damaged, restore it from a backup"}},
		{"a token that is another user's", func(t *testing.T, g *gatewaytest.Gateway) {
			made(t, g)
			flipped(t, g.Store, "alice", "alicf")
		}, []string{"the file is damaged, restore it from a backup"}},
		{"of a newer version", func(t *testing.T, g *gatewaytest.Gateway) {
			made(t, g)
			db, err := bolt.Open(g.Store, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.Update(func(tx *bolt.Tx) error {
				return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
					if version := b.Get([]byte("schema")); version != nil {
						newer := append([]byte{}, version...)
						newer[len(newer)-1]++
						// What a newer version says of its entries can't be read.
						return errors.Join(b.Put([]byte("schema"), newer), b.Put([]byte("state"), []byte("of another kind")))
					}
					return nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
		}, []string{"has schema 3", "run the newer crumbgate"}},
		{"read-only", func(t *testing.T, g *gatewaytest.Gateway) {
			made(t, g)
			readOnly(t, g)
		}, []string{"permission denied"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.New(t, url, brief)
			tt.bad(t, g)
			began := time.Now()
			r := g.Run(t, "run", "--config", g.Config)
			if r.Status != 1 || time.Since(began) > gatewaytest.Patience/2 {
				t.Errorf("status %d after %v, want 1 soon", r.Status, time.Since(began))
			}
			lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
			var last struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Level != "error" {
				t.Fatalf("it ends with %q (%v), want an error", lines[len(lines)-1], err)
			}
			for _, want := range append(tt.says, g.Store) {
				if !strings.Contains(last.Msg, want) {
					t.Errorf("it ends with %q, want %q in it", last.Msg, want)
				}
			}
		})
	}
}

// flipped replaces a text in a file by one of its length.
func flipped(t *testing.T, path, old, changed string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), old, changed)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readOnly takes the right to write the store from the gateway. Permissions do
// not bind root, so that loses its privileges.
func readOnly(t *testing.T, g *gatewaytest.Gateway) {
	t.Helper()
	if err := os.Chmod(g.Store, 0o400); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return
	}
	g.Wrap = []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}
}

// TestDiskFull: with no room left a gateway acknowledges nothing and goes on with
// what it knows. The limit of the size of files stands for the disk: a write
// beyond it fails as one does there.
func TestDiskFull(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	api := g.API()
	first, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "first"})
	if err != nil {
		t.Fatal(err)
	}
	leaked, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "leaked"})
	if err != nil {
		t.Fatal(err)
	}
	limit := func(bytes string) {
		t.Helper()
		if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(g.Process().Pid()), "--fsize="+bytes).CombinedOutput(); err != nil {
			t.Fatalf("prlimit: %v: %s", err, out)
		}
	}
	limit("4096:unlimited")

	_, err = api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "second"})
	refused := (*admin.Error)(nil)
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || !strings.Contains(refused.Text, syscall.EFBIG.Error()) {
		t.Errorf("with a full disk: %v, want status 503 and the reason", err)
	}
	if _, err := api.RevokeToken(t.Context(), leaked.ID, "test"); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("revocation with a full disk: %v, want status 503", err)
	}
	call{user: "alice", secret: leaked.Secret}.want(t, g.URL, 401) // although the store doesn't have it
	if r := g.Token(t, "create", "--user", "alice", "--name", "second", "--quiet"); r.Status != 1 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "Error: ") {
		t.Errorf("create with a full disk: %+v, want status 1, an error, and no secret", r)
	}
	works(t, jenkins, g.URL, first.Secret)

	limit("unlimited:unlimited")
	second, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "second"})
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	limit("4096:unlimited")
	if _, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "third"}); err == nil {
		t.Error("a third token was acknowledged")
	}
	g.Kill(t)
	g.Start(t)
	for _, secret := range []string{first.Secret, second.Secret} {
		works(t, jenkins, g.URL, secret)
	}
	if list, err := g.API().Tokens(t.Context(), "", true); err != nil || len(list.Tokens) != 3 {
		t.Errorf("there are %d tokens (%v), want the three that were acknowledged", len(list.Tokens), err)
	}
}

// TestStoreMovedWhileRunning: nothing is acknowledged that the next start would not find.
// What takes rights away holds at once all the same, and gets into the store when that is
// back.
func TestStoreMovedWhileRunning(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	leaked, kept := g.CreateToken(t, "alice", "leaked"), g.CreateToken(t, "alice", "kept")
	older, err := os.ReadFile(g.Store)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		happen func() error
		revoke bool
		says   string
	}{
		{"moved", func() error { return os.Rename(g.Store, g.Store+".moved") }, true, "was moved or removed"},
		{"replaced by an older copy", func() error { return os.WriteFile(g.Store, older, 0o600) }, false, "another file has replaced the store"},
	} {
		if err := test.happen(); err != nil {
			t.Fatal(err)
		}
		if r := g.Token(t, "create", "--user", "alice", "--name", "lost", "--quiet"); r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, test.says) {
			t.Errorf("%s: create: %+v", test.name, r)
		}
		if test.revoke {
			if r := g.Token(t, "revoke", "--user", "alice", "--name", "leaked"); r.Status != 1 || !strings.Contains(r.Stderr, "it holds from now on, but not after a restart") || !strings.Contains(r.Stderr, test.says) {
				t.Errorf("%s: revoke: %+v", test.name, r)
			}
		}
		call{user: "alice", secret: leaked}.want(t, g.URL, 401)
		works(t, jenkins, g.URL, kept)
		r := g.Run(t, "crumbgate", "health", "--address", g.Admin)
		if r.Status != 0 || !strings.Contains(r.Stdout, test.says) {
			t.Errorf("%s: health: %+v", test.name, r)
		}
	}
	if err := os.Rename(g.Store+".moved", g.Store); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the store has the revocation", func() error {
		if r := g.Run(t, "crumbgate", "health", "--address", g.Admin); strings.Contains(r.Stdout, "Warning") {
			return errors.New(r.Stdout)
		}
		return nil
	})
	g.Kill(t)
	g.Start(t)
	call{user: "alice", secret: leaked}.want(t, g.URL, 401)
	works(t, jenkins, g.URL, kept)
	if r := g.Token(t, "create", "--user", "alice", "--name", "lost", "--quiet"); r.Status != 0 {
		t.Errorf("create afterwards: %+v", r)
	}
}
