package gatewaytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Binary returns the path of cmd/caddy, built by the first call of a process:
// as it is released, or with the race detector if the tests run with that.
func Binary(tb testing.TB) string {
	tb.Helper()
	if raceDetector {
		return built(tb, buildRace)
	}
	return ReleaseBinary(tb)
}

// ReleaseBinary returns the path of cmd/caddy as it is released, whatever the
// tests run with: for those that measure time or memory.
func ReleaseBinary(tb testing.TB) string {
	tb.Helper()
	return built(tb, buildRelease)
}

func built(tb testing.TB, build func() (string, error)) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var (
	// The flags of the Makefile, so that the packages are compiled already.
	buildRelease = sync.OnceValues(func() (string, error) {
		return build("caddy", "CGO_ENABLED=0", "-trimpath", "-tags=nobadger,nomysql,nopgx")
	})
	buildTestClock = sync.OnceValues(func() (string, error) {
		return build("caddy-testclock", "CGO_ENABLED=0", "-trimpath", "-tags=nobadger,nomysql,nopgx,crumbgate_testclock")
	})
	buildRace = sync.OnceValues(func() (string, error) { return build("caddy-race", "CGO_ENABLED=1", "-race") })
)

func build(name, env string, flags ...string) (path string, err error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "build", "gatewaytest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)

	// Tests of several packages run at once, and none may run what another is still
	// writing. All but the first find the file up to date and leave it alone.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, "./cmd/caddy")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
}

// Root returns the directory of the module.
var Root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})
