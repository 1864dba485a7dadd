package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// buildCaddy builds the real binary into dir.
func buildCaddy(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "caddy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/crumbgate/crumbgate/cmd/caddy")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

// A caddy is a running Caddy process.
type caddy struct {
	binary string
	admin  string // address of its admin endpoint
	log    string // file with what it printed
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process is gone
}

// storeName is the file of the token store in the directory that a run works in.
const storeName = "tokens.db"

// site is the part of a Caddyfile for a port of the loopback interface.
func site(port int, directives string) string {
	return fmt.Sprintf("http://:%d {\nbind 127.0.0.1\n%s}\n", port, directives)
}

// startCaddy runs Caddy on the given sites and returns when its admin endpoint
// answers, which is after the sites listen. withGate adds the crumbgate app on
// the store file in dir.
func startCaddy(ctx context.Context, dir, binary, sites string, withGate bool) (*caddy, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	c := &caddy{
		binary: binary,
		admin:  fmt.Sprintf("127.0.0.1:%d", ports[0]),
		log:    filepath.Join(dir, "caddy.log"),
		exited: make(chan struct{}),
	}
	app := ""
	if withGate {
		app = "crumbgate {\nstorage bbolt " + filepath.Join(dir, storeName) + "\n}\n"
	}
	file := filepath.Join(dir, "Caddyfile")
	text := "{\nadmin " + c.admin + "\npersist_config off\n" + app + "}\n" + sites
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.CommandContext(ctx, binary, "run", "--adapter", "caddyfile", "--config", file)
	c.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+filepath.Join(dir, "data"))
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 10 * time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in its log
		close(c.exited)
	}()
	if err := c.await(ctx, "http://"+c.admin+"/config/", ""); err != nil {
		c.stop()
		return nil, c.explain(err)
	}
	return c, nil
}

// await asks for a URL, with an Authorization header unless that is empty, until
// it is answered with 200, for at most two minutes.
func (c *caddy) await(ctx context.Context, url, authorization string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(res.Status)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", url, err)
		case <-c.exited:
			return errors.New("caddy ended")
		}
	}
}

// stop ends the process and waits for that.
func (c *caddy) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
}

// explain adds the end of Caddy's log to an error.
func (c *caddy) explain(err error) error {
	log, _ := os.ReadFile(c.log)
	return fmt.Errorf("%w\nthe end of Caddy's log:\n%s", err, log[max(0, len(log)-4096):])
}

// createToken issues a token for user and returns its secret.
func (c *caddy) createToken(ctx context.Context, name string, flags ...string) (secret string, err error) {
	cmd := exec.CommandContext(ctx, c.binary, append([]string{"crumbgate", "token", "create",
		"--user", user, "--name", name, "--quiet", "--address", c.admin}, flags...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", c.explain(fmt.Errorf("crumbgate token create: %w: %s", err, stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// cpuTime is what the process has used of the CPUs, to 10 ms (proc_pid_stat(5)).
func (c *caddy) cpuTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name may hold blanks
	var ticks int64
	for _, field := range strings.Fields(string(rest))[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // USER_HZ is 100 on Linux
}

// measure is a round of load on one of the sites, and the CPU time that the
// process spent on it.
func (c *caddy) measure(ctx context.Context, t target, conns int, d time.Duration) (s sample, cpu time.Duration, err error) {
	before, err := c.cpuTime()
	if err != nil {
		return s, 0, err
	}
	if s, err = measure(ctx, t, conns, d); err != nil {
		return s, 0, err
	}
	after, err := c.cpuTime()
	return s, after - before, err
}

// memory is what a process holds, in bytes, as in proc_pid_status(5).
type memory struct {
	Resident  int64 `json:"resident"`  // VmRSS
	Anonymous int64 `json:"anonymous"` // RssAnon: without the mapped files
	Peak      int64 `json:"peak"`      // VmHWM
}

func (m memory) String() string {
	return fmt.Sprintf("%d MB resident, %d MB without mapped files, %d MB at its highest",
		m.Resident/1e6, m.Anonymous/1e6, m.Peak/1e6)
}

func (c *caddy) memory() (m memory, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return m, err
	}
	fields := map[string]*int64{"VmRSS": &m.Resident, "RssAnon": &m.Anonymous, "VmHWM": &m.Peak}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if field := fields[name]; field != nil {
			if _, err := fmt.Sscanf(value, "%d kB", field); err != nil {
				return m, fmt.Errorf("/proc: %q: %w", line, err)
			}
			*field <<= 10
		}
	}
	return m, nil
}

// basic is the Authorization header of a user and a secret.
func basic(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

// freePorts finds ports of the loopback interface that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only after all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
