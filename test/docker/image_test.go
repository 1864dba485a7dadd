// Package docker_test checks the container image and the files that go with it.
//
// Images can't be pulled where the tests run, so the last stage of the
// Dockerfile, which is built on none, is built here from a binary compiled
// beside it. What that leaves out is in docker/README.md.
package docker_test

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	root = "../.." // of the repository

	// imageLimit is far above Caddy's own size and far below that of any base
	// image that brings a distribution along.
	imageLimit = 80 << 20
)

// imageConfig is what the tests read of an image's configuration, in the form
// that Docker gives it: only that has a health check.
type imageConfig struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      map[string]struct{}
	ExposedPorts map[string]struct{}
	Healthcheck  *struct {
		Test                           []string
		Interval, Timeout, StartPeriod time.Duration
		Retries                        int
	}
}

func TestImage(t *testing.T) {
	b := newBuildah(t)
	b.buildImage(t)
	var config imageConfig
	b.inspect(t, &config)
	container := b.output(t, "from", "crumbgate")

	t.Run("configuration", func(t *testing.T) { checkConfig(t, &config) })
	// Before anything runs in the container: that leaves its own files.
	t.Run("files", func(t *testing.T) { checkFiles(t, b.output(t, "mount", container)) })
	t.Run("run", func(t *testing.T) { checkRun(t, b, container, &config) })
}

func checkConfig(t *testing.T, config *imageConfig) {
	if config.User != "65532:65532" {
		t.Errorf("user = %q, want one that is not root, in numbers: Kubernetes' runAsNonRoot can't check a name", config.User)
	}
	if _, ok := config.Volumes["/data"]; !ok || len(config.Volumes) != 1 {
		t.Errorf("volumes = %v, want /data alone", config.Volumes)
	}
	if _, ok := config.ExposedPorts["8000/tcp"]; !ok || len(config.ExposedPorts) != 1 {
		t.Errorf("ports = %v, want 8000/tcp alone", config.ExposedPorts)
	}
	for _, want := range []string{"XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/data/config"} {
		if !slices.Contains(config.Env, want) {
			t.Errorf("environment = %q, want %q in it", config.Env, want)
		}
	}
	health := config.Healthcheck
	if health == nil {
		t.Fatal("no health check")
	}
	if health.Interval <= 0 || health.Timeout <= 0 || health.StartPeriod <= 0 || health.Retries <= 0 {
		t.Errorf("health check = %+v, want every time and the retries set", health)
	}
}

// checkFiles reads the image's file system, mounted at dir.
func checkFiles(t *testing.T, dir string) {
	want := []string{
		"data", // empty: whatever lies in it is copied into each new volume
		"etc/caddy/Caddyfile",
		"etc/ssl/certs/ca-certificates.crt",
		"usr/bin/caddy",
	}
	var files []string
	var size int64
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && path != "data" {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files = append(files, path)
		if entry.IsDir() {
			return nil
		}
		size += info.Size()
		// Other than the volume, nothing can be changed by who runs in it.
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 || info.Mode()&(0o022|fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s: owner %d, mode %v; want root's and not writable by others", path, stat.Uid, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(files, want) {
		t.Errorf("files = %q, want %q", files, want)
	}
	if size == 0 || size > imageLimit {
		t.Errorf("image has %d bytes, want at most %d", size, imageLimit)
	}
	t.Logf("the image has %.1f MiB", float64(size)/(1<<20))

	info, err := os.Stat(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 65532 || stat.Gid != 65532 {
		t.Errorf("/data belongs to %d:%d, want 65532:65532", stat.Uid, stat.Gid)
	}

	binary, err := elf.Open(filepath.Join(dir, "usr/bin/caddy"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, prog := range binary.Progs {
		if prog.Type == elf.PT_INTERP {
			t.Error("the binary needs a dynamic loader, and the image has none")
		}
	}
}

// checkRun runs the image as it stands, save for the addresses, and does the
// main job with it: a token is issued and Jenkins sees whose it is.
func checkRun(t *testing.T, b *buildah, container string, config *imageConfig) {
	const crumb = "0123456789abcdef0123456789abcdef"
	users := make(chan string, 1)
	jenkins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users <- r.Header.Get("X-Forwarded-User")
	}))
	defer jenkins.Close()
	gateway, admin := freeAddress(t), freeAddress(t)
	in := func(command ...string) *exec.Cmd {
		return b.command(t, append([]string{
			"run", "--isolation", "chroot",
			"--env", "CRUMBGATE_LISTEN=http://" + gateway,
			"--env", "CADDY_ADMIN=" + admin,
			"--env", "JENKINS_URL=" + jenkins.Listener.Addr().String(),
			container, "--",
		}, command...)...)
	}
	if config.Healthcheck == nil || len(config.Healthcheck.Test) < 2 || config.Healthcheck.Test[0] != "CMD" {
		t.Fatalf("health check = %+v, want a command that needs no shell", config.Healthcheck)
	}
	healthy := func() error { return in(config.Healthcheck.Test[1:]...).Run() }
	var exit *exec.ExitError
	if err := healthy(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("the health check while nothing runs: %v, want exit status 1", err)
	}

	var log bytes.Buffer
	server := in(slices.Concat(config.Entrypoint, config.Cmd)...)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	defer func() {
		if out, err := in("/usr/bin/caddy", "stop").CombinedOutput(); err != nil {
			t.Errorf("caddy stop: %v\n%s", err, out)
			_ = server.Process.Kill()
		}
		if err := <-exited; err != nil {
			t.Errorf("the gateway exited: %v", err)
		}
		if !strings.Contains(log.String(), "/api/json") || strings.Contains(log.String(), crumb) {
			t.Error("the log misses the request, or shows its crumb")
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", &log)
		}
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		err := healthy() // takes a few processes: this loop does not spin
		if err == nil {
			break
		}
		if time.Now().After(deadline) || len(exited) > 0 {
			t.Fatalf("the health check still fails: %v", err)
		}
	}

	create := in("/usr/bin/caddy", "crumbgate", "token", "create", "--user", "alice", "--name", "test", "--quiet")
	var stderr bytes.Buffer
	create.Stderr = &stderr
	secret, err := create.Output()
	if err != nil {
		t.Fatalf("token create: %v\n%s", err, &stderr)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway+"/api/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Jenkins-Crumb", crumb)
	req.SetBasicAuth("alice", strings.TrimSpace(string(secret)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /api/json with the token: %s", resp.Status)
	}
	if user := <-users; user != "alice" {
		t.Errorf("Jenkins saw user %q, want alice", user)
	}
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A buildah is the command of that name with a store of its own.
type buildah struct{ store []string }

// newBuildah skips the test where buildah can't be used, and fails it where
// CRUMBGATE_REQUIRE_BUILDAH says that it must.
func newBuildah(t *testing.T) *buildah {
	t.Helper()
	var missing string
	if _, err := exec.LookPath("buildah"); err != nil {
		missing = "buildah is not installed (Debian: apt-get install buildah)"
	} else if os.Geteuid() != 0 {
		missing = "buildah's chroot isolation needs root here"
	}
	if missing != "" && os.Getenv("CRUMBGATE_REQUIRE_BUILDAH") != "" {
		t.Fatal(missing)
	} else if missing != "" {
		t.Skip(missing + "; the container image is not tested")
	}
	dir := t.TempDir()
	b := &buildah{store: []string{
		"--root", filepath.Join(dir, "root"),
		"--runroot", filepath.Join(dir, "run"),
		"--storage-driver", "vfs", // the one driver that works inside a container
	}}
	t.Cleanup(func() {
		// t's context is done by now; without this, mounts would stay behind.
		out, err := exec.Command("buildah", append(slices.Clone(b.store), "rm", "--all")...).CombinedOutput()
		if err != nil {
			t.Errorf("buildah rm: %v\n%s", err, out)
		}
	})
	return b
}

func (b *buildah) command(t *testing.T, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), "buildah", append(slices.Clone(b.store), args...)...)
}

func (b *buildah) output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := b.command(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// buildImage builds the last stage of the Dockerfile as the image crumbgate. A
// directory with the same files takes the place of the stage that compiles.
func (b *buildah) buildImage(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	compiled := filepath.Join(dir, "compiled")
	for _, sub := range []string{"empty", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(compiled, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "make", "-C", root, "build", "BINARY="+filepath.Join(compiled, "src/build/caddy"))
	const certificates = "etc/ssl/certs/ca-certificates.crt"
	if err := os.WriteFile(filepath.Join(compiled, certificates), []byte("# none needed here\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	_, stage, ok := strings.Cut(read(t, "docker/Dockerfile"), "\nFROM scratch\n")
	if !ok || strings.Contains(stage, "\nFROM ") {
		t.Fatal("the last stage of docker/Dockerfile does not begin with FROM scratch")
	}
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM scratch\n"+stage), 0o600); err != nil {
		t.Fatal(err)
	}
	b.output(t, "build", "--isolation", "chroot", "--format", "docker",
		"--build-context", "build="+compiled, "--file", file, "--tag", "crumbgate", root)
}

func (b *buildah) inspect(t *testing.T, config *imageConfig) {
	t.Helper()
	var image struct {
		Docker struct {
			Config *imageConfig `json:"config"`
		}
	}
	image.Docker.Config = config
	if err := json.Unmarshal([]byte(b.output(t, "inspect", "--type", "image", "crumbgate")), &image); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// read returns a file's text; the path is relative to the repository's root.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
