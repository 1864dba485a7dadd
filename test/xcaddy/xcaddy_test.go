// Package xcaddy_test checks that Caddy's own way to add a plugin gives the
// same modules as cmd/caddy.
package xcaddy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.." // of the repository

// TestSameModules builds Caddy twice. Both builds use xcaddy's flags, as does
// `make build`, so that all but our own packages comes from the build cache.
func TestSameModules(t *testing.T) {
	dir := t.TempDir()
	own, plugged := filepath.Join(dir, "own"), filepath.Join(dir, "plugged")
	version := strings.TrimSpace(run(t, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2"))
	run(t, "make", "build", "BINARY="+own)
	t.Setenv("GOPROXY", unpublished(t)+","+strings.TrimSpace(run(t, "go", "env", "GOPROXY")))
	run(t, "go", "tool", "-modfile=tools/go.mod", "xcaddy", "build", version,
		"--with", "github.com/crumbgate/crumbgate=.", "--output", plugged)

	want, got := modules(t, own), modules(t, plugged)
	if !slices.Equal(got, want) {
		t.Errorf("xcaddy's build has modules\n%q\nwant those of cmd/caddy\n%q", got, want)
	}
	for _, id := range []string{"http.handlers.crumbgate", "admin.api.crumbgate", "crumbgate.storage.bbolt"} {
		if !slices.Contains(got, id) {
			t.Errorf("xcaddy's build has no module %s", id)
		}
	}
	// Commands are no modules, but come with them.
	run(t, plugged, "crumbgate", "token", "create", "--help")
}

// unpublished returns a module proxy that knows no version of crumbgate, so that
// none is asked for, and nothing else. Without it xcaddy's `go get` depends on
// what the next proxy answers about a module whose source it never needs.
func unpublished(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	versions := filepath.Join(dir, "github.com/crumbgate/crumbgate/@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(versions, "list"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return "file://" + dir
}

// modules returns the identifiers of all modules that a binary has, sorted.
func modules(t *testing.T, binary string) []string {
	t.Helper()
	var ids []string
	for line := range strings.Lines(run(t, binary, "list-modules")) {
		// Counts and headings are indented.
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, " ") {
			ids = append(ids, line)
		}
	}
	slices.Sort(ids)
	return ids
}

// run runs a command in the root of the repository and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}
