package blackbox_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// demo is the command line of a demo on free ports.
func demo(args ...string) []string {
	return append([]string{"crumbgate", "demo", "--listen", "127.0.0.1:0", "--jenkins-listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)
}

var ended = regexp.MustCompile(`Build number 1 of crumbgate-demo has ended: SUCCESS`)

func TestDemoOnce(t *testing.T) {
	t.Run("leaves nothing behind", func(t *testing.T) {
		t.Parallel()
		g := gatewaytest.New(t, "", "")
		before := slices.Sorted(maps.Keys(snapshot(t, g.Dir)))
		r := g.Run(t, demo("--once")...)
		if r.Status != 0 || !ended.MatchString(r.Stdout) {
			t.Errorf("status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
		}
		if after := slices.Sorted(maps.Keys(snapshot(t, g.Dir))); !slices.Equal(before, after) {
			t.Errorf("there was:\n%q\nthere is:\n%q", before, after)
		}
	})
	t.Run("keeps the store in --data", func(t *testing.T) {
		t.Parallel()
		g := gatewaytest.New(t, "", "")
		for range 2 { // the second one goes on with the store of the first
			if r := g.Run(t, demo("--once", "--data", "kept")...); r.Status != 0 {
				t.Fatalf("status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
			}
		}
		if _, err := os.Stat(filepath.Join(g.Dir, "kept", "tokens.db")); err != nil {
			t.Error(err)
		}
	})
	t.Run("with another Jenkins", func(t *testing.T) {
		t.Parallel()
		jenkins, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/jenkins"})
		g := gatewaytest.New(t, "", "")
		if r := g.Run(t, demo("--once", "--jenkins", url+"/")...); r.Status != 0 || !ended.MatchString(r.Stdout) {
			t.Errorf("status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
		}
		if len(jenkins.Requests()) == 0 {
			t.Error("it was not asked for anything")
		}
	})
	t.Run("with no Jenkins", func(t *testing.T) {
		t.Parallel()
		g := gatewaytest.New(t, "", "")
		r := g.Run(t, demo("--once", "--jenkins", "http://"+gatewaytest.FreeAddress(t))...)
		if r.Status != 1 || !strings.Contains(r.Stderr, "Error: ") {
			t.Errorf("status %d, want 1\n%s%s", r.Status, r.Stdout, r.Stderr)
		}
	})
	t.Run("as go run", func(t *testing.T) {
		t.Parallel()
		root, err := gatewaytest.Root()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", append([]string{"run", "./cmd/caddy"}, demo("--once")...)...)
		cmd.Dir = root
		// What is compiled already, with these flags of the Makefile, need not be again.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -tags=nobadger,nomysql,nopgx")
		if out, err := cmd.CombinedOutput(); err != nil || !ended.Match(out) {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestDemoOnABusyPort(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, flag := range []string{"--listen", "--jenkins-listen", "--admin"} {
		t.Run(flag, func(t *testing.T) {
			g := gatewaytest.New(t, "", "")
			r := g.Run(t, demo("--once", flag, busy.Addr().String())...)
			if r.Status != 1 || !strings.Contains(r.Stderr, busy.Addr().String()+" is in use") || !strings.Contains(r.Stderr, "such as "+flag+" ") {
				t.Errorf("status %d, want 1, the port and the flag: %s", r.Status, r.Stderr)
			}
		})
	}
}

// TestDemoStaysUp: until Ctrl-C the demo answers the lines that it shows.
func TestDemoStaysUp(t *testing.T) {
	g := gatewaytest.New(t, "", "")
	out := new(lockedBuffer)
	process := gatewaytest.Spawn(t, g.Command(context.Background(), demo()...), out)
	line := regexp.MustCompile(`curl -u demo:(cg_\w+) (http://[^/]+)/whoAmI`)
	var found []string
	gatewaytest.Eventually(t, "the demo is up", func() error {
		if done, err := process.Exited(); done {
			t.Fatalf("it ended: %v\n%s", err, out)
		}
		if found = line.FindStringSubmatch(out.String()); found == nil || !strings.Contains(out.String(), "until you press Ctrl-C") {
			return errors.New(out.String())
		}
		return nil
	})
	call{user: "demo", secret: found[1]}.want(t, found[2], 200)
	call{method: "POST", path: "/job/crumbgate-demo/build", user: "demo", secret: found[1]}.want(t, found[2], 201)
	call{user: "demo", secret: "wrong"}.want(t, found[2], 401)
	process.Stop(t, syscall.SIGINT)
	left, err := os.ReadDir(filepath.Join(g.Dir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
}

// lockedBuffer is a bytes.Buffer for concurrent use.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
