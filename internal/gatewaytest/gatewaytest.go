// Package gatewaytest runs the real program, cmd/caddy, for tests: built once, in
// a directory of its own, on free ports of the loopback interface, with all that
// it prints kept.
package gatewaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

// Patience bounds everything that a test waits for. The race detector on a busy
// machine is slow; what works does not need it.
const Patience = 60 * time.Second

// Smallest is the smallest Caddyfile of a gateway, as New takes it.
const Smallest = `{
	admin {$ADMIN}
	persist_config off
	crumbgate {
		storage bbolt {$STORE}
	}
}
http://{$SITE} {
	crumbgate
	reverse_proxy {$JENKINS}
}
`

// A Gateway is a configuration of crumbgate, and the process that runs it while
// it is started. Its methods are not for concurrent use, but for Run and Log.
type Gateway struct {
	URL   string // of the site, without a slash at its end
	Admin string // host:port of the admin endpoint
	Dir   string // has all files of the program: home, configuration, data
	Store string // the store's file, not made before it is needed

	// Config is the path of the Caddyfile.
	Config string
	// Env is added to the environment, "NAME=value".
	Env []string
	// Wrap is a command that runs the program as its last arguments, none by default.
	Wrap []string

	caddy   string
	process *Process // nil while there is none
	log     *buffer
}

// New makes the configuration of a gateway. In the Caddyfile {$ADMIN} and {$SITE}
// stand for addresses, {$STORE} for the file of the store, and {$JENKINS} for
// the address jenkins; {$DIR} is a directory for the test's own files.
func New(tb testing.TB, jenkins, caddyfile string) *Gateway {
	tb.Helper()
	dir := tb.TempDir()
	site := FreeAddress(tb)
	g := &Gateway{
		URL: "http://" + site, Admin: FreeAddress(tb), Dir: dir, Store: filepath.Join(dir, "store", "tokens.db"),
		Config: filepath.Join(dir, "Caddyfile"),
		caddy:  Binary(tb), log: new(buffer),
	}
	g.Env = []string{"ADMIN=" + g.Admin, "SITE=" + site, "STORE=" + g.Store, "JENKINS=" + strings.TrimPrefix(jenkins, "http://"), "DIR=" + dir}
	for _, name := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	g.Configure(tb, caddyfile)
	tb.Cleanup(func() {
		if g.process != nil {
			g.Stop(tb)
		}
		if _, race, found := strings.Cut(g.Log(), "DATA RACE"); found {
			tb.Errorf("the gateway has a data race:\n%s", race[:min(len(race), 8<<10)])
		}
		if tb.Failed() {
			var wrong strings.Builder
			for line := range strings.Lines(g.Log()) {
				if strings.Contains(line, `"level":"error"`) {
					wrong.WriteString(line)
				}
			}
			tb.Logf("the gateway's errors:\n%s\nthe end of its log:\n%s", tail(wrong.String(), 4<<10), tail(g.Log(), 8<<10))
		}
	})
	return g
}

// Start makes a gateway and starts it. It runs until the test ends.
func Start(tb testing.TB, jenkins, caddyfile string) *Gateway {
	tb.Helper()
	g := New(tb, jenkins, caddyfile)
	g.Start(tb)
	return g
}

// Configure writes another Caddyfile, for the next Start or a reload.
func (g *Gateway) Configure(tb testing.TB, caddyfile string) {
	tb.Helper()
	if err := os.WriteFile(g.Config, []byte(caddyfile), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// UseRelease makes the next Start run the program as it is released, without the
// race detector.
func (g *Gateway) UseRelease(tb testing.TB) {
	tb.Helper()
	g.caddy = ReleaseBinary(tb)
}

// UseTestClock makes the next Start run the program with a clock that SetClock sets,
// and without the race detector.
func (g *Gateway) UseTestClock(tb testing.TB) {
	tb.Helper()
	g.caddy = built(tb, buildTestClock)
	g.Env = append(g.Env, TestClockEnv+"="+g.clockFile())
	g.SetClock(tb, 0)
}

// TestClockEnv is the environment variable of package caddymodule that names the file
// with the error of the clock.
const TestClockEnv = "CRUMBGATE_TEST_CLOCK"

// SetClock makes the clock of a gateway with a test clock wrong, at once.
func (g *Gateway) SetClock(tb testing.TB, wrong time.Duration) {
	tb.Helper()
	next := g.clockFile() + ".next"
	if err := os.WriteFile(next, []byte(wrong.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(next, g.clockFile()); err != nil { // the gateway reads it all the time
		tb.Fatal(err)
	}
}

func (g *Gateway) clockFile() string { return filepath.Join(g.Dir, "clock") }

// Memory returns a figure of the running gateway's memory in bytes, by its name in
// proc_pid_status(5).
func (g *Gateway) Memory(tb testing.TB, figure string) int64 {
	tb.Helper()
	path := fmt.Sprintf("/proc/%d/status", g.Process().Pid())
	status, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, figure+":"); found {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kB << 10
		}
	}
	tb.Fatalf("%s has no %s", path, figure)
	return 0
}

// ResetPeak makes VmHWM, the peak of the gateway's memory, what it takes now
// (proc_pid_clear_refs(5)).
func (g *Gateway) ResetPeak(tb testing.TB) {
	tb.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.Process().Pid()), []byte("5"), 0); err != nil {
		tb.Fatal(err)
	}
}

// Command returns the program, to be run with some arguments in g's environment.
func (g *Gateway) Command(ctx context.Context, args ...string) *exec.Cmd {
	line := append(append(append([]string{}, g.Wrap...), g.caddy), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = g.Dir
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "XDG_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(g.Dir, "home"), "TMPDIR="+filepath.Join(g.Dir, "tmp"),
		"GORACE=atexit_sleep_ms=0") // or the race detector adds a second to each run
	cmd.Env = append(cmd.Env, g.Env...)
	return cmd
}

// Start starts the gateway and returns when it serves.
func (g *Gateway) Start(tb testing.TB) {
	tb.Helper()
	g.process = Spawn(tb, g.Command(context.Background(), "run", "--config", g.Config), g.log)
	// The admin endpoint answers this one when the configuration is running, sites
	// and all.
	Eventually(tb, "the gateway serves", func() error {
		if done, err := g.process.Exited(); done {
			tb.Fatalf("the gateway ended at once: %v", err)
		}
		resp, err := Client.Get("http://" + g.Admin + "/config/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || len(bytes.TrimSpace(body)) < len("null")+1 {
			return fmt.Errorf("%s: %.100s (%v)", resp.Status, body, err)
		}
		return nil
	})
}

// Stop ends the gateway as an init system does, and waits.
func (g *Gateway) Stop(tb testing.TB) {
	tb.Helper()
	process := g.process
	g.process = nil
	if process != nil {
		process.Stop(tb, syscall.SIGTERM)
	}
}

// Kill ends the gateway without any warning, and waits.
func (g *Gateway) Kill(tb testing.TB) {
	tb.Helper()
	g.process.Kill(tb)
	g.process = nil
}

// Log returns all that the gateway has printed so far, over all of its starts.
func (g *Gateway) Log() string { return g.log.String() }

// Process returns the running gateway.
func (g *Gateway) Process() *Process { return g.process }

// A Result is what came of a command.
type Result struct {
	Stdout, Stderr string
	Status         int // -1 if it was ended by a signal
}

// Run runs the program to its end.
func (g *Gateway) Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := g.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		tb.Fatalf("%s: %v", cmd, err)
	}
	if ctx.Err() != nil {
		tb.Fatalf("%s did not end within %v\n%s%s", cmd, Patience, &stdout, &stderr)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Token runs "crumbgate token" against the running gateway.
func (g *Gateway) Token(tb testing.TB, args ...string) Result {
	tb.Helper()
	return g.Run(tb, append([]string{"crumbgate", "token"}, append(args, "--address", g.Admin)...)...)
}

// CreateToken issues a token by the command line and returns its secret.
func (g *Gateway) CreateToken(tb testing.TB, user, name string, args ...string) string {
	tb.Helper()
	made := g.Token(tb, append([]string{"create", "--user", user, "--name", name, "--quiet"}, args...)...)
	if made.Status != 0 {
		tb.Fatalf("token create: status %d: %s", made.Status, made.Stderr)
	}
	return strings.TrimSuffix(made.Stdout, "\n")
}

// API returns a client of the admin API.
func (g *Gateway) API() *admin.Client { return admin.NewClient(admin.Dial("tcp", g.Admin)) }

// A Process is a program that runs.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when err is set
	err    error
}

// Spawn starts a program that prints to out.
func Spawn(tb testing.TB, cmd *exec.Cmd, out io.Writer) *Process {
	tb.Helper()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p
}

// Exited tells whether the program has ended, and with which error of
// exec.Cmd.Wait.
func (p *Process) Exited() (bool, error) {
	select {
	case <-p.exited:
		return true, p.err
	default:
		return false, nil
	}
}

// Wait waits for the end of the program.
func (p *Process) Wait(tb testing.TB) error {
	tb.Helper()
	select {
	case <-p.exited:
		return p.err
	case <-time.After(Patience):
		p.Kill(tb)
		tb.Fatalf("the program did not end within %v", Patience)
		return nil
	}
}

// Stop sends a signal upon which the program must end with the status 0.
func (p *Process) Stop(tb testing.TB, signal os.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		tb.Errorf("sending %v: %v", signal, err)
	}
	if err := p.Wait(tb); err != nil {
		tb.Errorf("the program ended with %v", err)
	}
}

// Terminate asks the program to end, and does not wait.
func (p *Process) Terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// Kill ends the program at once.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Errorf("killing: %v", err)
	}
	<-p.exited
}

// Pid returns the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Client does not follow redirects and keeps no cookies.
var Client = &http.Client{
	Timeout:       Patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
}

// Eventually polls until check returns nil.
func Eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("not within %v: %s: %v", Patience, what, err)
		}
	}
}

// nextPort is where the search for a free port goes on; several runs of tests on
// one machine begin elsewhere.
var nextPort = func() *atomic.Int32 {
	var port atomic.Int32
	port.Store(20000 + rand.Int32N(10000))
	return &port
}()

// FreeAddress returns an address of the loopback interface on which nobody
// listens. It is taken from below the range from which Linux takes the local
// ports of connections, so that none of the many that tests open gets it first.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	for {
		port := int(nextPort.Add(1))
		if port >= 32768 {
			tb.Fatal("no free port below 32768")
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// OnlyWorthlessCookie reports whether the lines of Set-Cookie are the one that the gateway
// sends to token clients with its crumb: some of them insist on a session, and it names none.
func OnlyWorthlessCookie(lines []string) bool {
	return len(lines) == 1 && strings.HasPrefix(lines[0], "JSESSIONID.crumbgate=none;")
}
