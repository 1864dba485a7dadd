// Package clients_test drives Jenkins client libraries, as their authors published them, through the gateway. README.md
// has the scenario that each of them does, and what is peculiar about them.
//
// The same scenarios run against the stand-in Jenkins without a gateway, with an API token of Jenkins' own. Those rows
// show that a failure of another row is the gateway's.
package clients_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

const (
	user = "alice"
	// jenkinsToken is the API token that the stand-in knows.
	jenkinsToken = "110123456789abcdef0123456789abcdef"
	// patience bounds one run of a client. The scenarios give up by themselves after 50 s.
	patience = 60 * time.Second
)

// steps are what each scenario reports, in this order.
var steps = []string{"whoami", "list", "create", "config", "build", "queue", "console", "stop", "delete"}

type client struct {
	name    string
	setup   string // its name for the script setup
	command []string
	env     []string
	// noBasic: the client sends Bearer, which Jenkins itself does not take.
	noBasic bool
}

var clients = []client{
	{name: "python-jenkins", setup: "python", command: python},
	{name: "python-jenkins with Bearer", setup: "python", command: python, noBasic: true},
	{name: "node jenkins", setup: "node", command: []string{"node", "node/scenario.js"},
		env: []string{"NODE_PATH=" + installed("node/node_modules")}},
	{name: "gojenkins", setup: "gojenkins", command: []string{installed("gojenkins/scenario")}},
	{name: "jenkins-rest", setup: "java", command: java},
	{name: "jenkins-rest with crumbs", setup: "java", command: java, env: []string{"JENKINS_PASSWORD_LOGIN=1"}},
	{name: "curl", setup: "curl", command: []string{"bash", "curl/scenario.sh"}},
	{name: "curl with Bearer", setup: "curl", command: []string{"bash", "curl/scenario.sh"}, noBasic: true},
}

var (
	python = []string{installed("python/bin/python"), "python/scenario.py"}
	java   = []string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
		"@" + installed("java/arguments"), "Scenario"}
)

type row struct {
	name    string
	gateway bool
	format  string // of the gateway's token
	prefix  string
	restart bool
}

var rows = []row{
	{name: "direct"},
	{name: "direct, restart", restart: true},
	{name: "direct, prefix", prefix: "/jenkins"},
	{name: "gateway", gateway: true, format: "crumbgate"},
	{name: "gateway, token in Jenkins' format", gateway: true, format: "jenkins"},
	{name: "gateway, restart", gateway: true, format: "crumbgate", restart: true},
	{name: "gateway, prefix", gateway: true, format: "crumbgate", prefix: "/jenkins"},
}

// TestMain lets more clients run at once than there are processors, unless -parallel is given: they mostly wait, for
// builds that take two seconds so that there is a console to follow.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	m.Run()
}

func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			setup(t, c.setup)
			for _, r := range rows {
				if c.noBasic && !r.gateway {
					continue
				}
				t.Run(r.name, func(t *testing.T) {
					t.Parallel()
					testClient(t, c, r)
				})
			}
		})
	}
}

func testClient(t *testing.T, c client, r row) {
	jenkins := jenkinstest.New(jenkinstest.Config{
		Prefix: r.prefix,
		Users:  map[string]jenkinstest.User{user: {Tokens: []string{jenkinsToken}}},
	})
	upstream := &upstream{jenkins: jenkins, restart: r.restart}
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	t.Cleanup(jenkins.Close)
	t.Cleanup(func() {
		if t.Failed() {
			logRequests(t, jenkins.Requests())
		}
	})

	base, token := server.URL, jenkinsToken
	if r.gateway {
		base, token = startGateway(t, server.URL, r.prefix, r.format)
		jenkins.ResetRequests()
	}
	runScenario(t, c, base+r.prefix, token)

	if r.restart && !upstream.restarted.Load() {
		t.Error("Jenkins was not restarted half way")
	}
	if r.gateway {
		checkThroughGateway(t, jenkins.Requests(), token, r.restart)
	} else {
		checkDirect(t, jenkins.Requests())
	}
	checkEffects(t, jenkins.Requests())
}

// upstream is the stand-in, restarted when the first build is asked for: the session and the crumb that this request
// brings were good a moment ago. No client has to take part in that.
type upstream struct {
	jenkins   *jenkinstest.Jenkins
	restart   bool
	restarted atomic.Bool
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if u.restart && strings.HasSuffix(r.URL.Path, "/buildWithParameters") && u.restarted.CompareAndSwap(false, true) {
		u.jenkins.Restart()
	}
	u.jenkins.ServeHTTP(w, r)
}

// runScenario runs a client, and fails the test unless it gets to the end.
func runScenario(t *testing.T, c client, url, token string) {
	t.Helper()
	if ran := run(t, c, url, token); ran.err != nil || !slices.Equal(ran.done, steps) {
		t.Fatalf("%s: %v, after the steps %q of %q\n%s", c.name, ran.err, ran.done, steps, ran.output)
	}
}

// A ran is what has come of a client.
type ran struct {
	err    error // nil: it took itself for successful
	done   []string
	output string // all of it
}

func run(t *testing.T, c client, url, token string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"HOME=" + t.TempDir(), // no .netrc, .curlrc or the like of whoever runs this
		"JENKINS_URL=" + url, "JENKINS_USER=" + user, "JENKINS_TOKEN=" + token,
		"JENKINS_JOB=client-test", "JENKINS_JOB_XML=job.xml",
	}, c.env...)
	if c.noBasic {
		cmd.Env = append(cmd.Env, "JENKINS_BEARER=1", "JENKINS_API_EXTRA_HEADERS=Authorization: Bearer "+token)
	}
	output, err := cmd.CombinedOutput()
	ran := ran{err: err, output: string(output)}
	for line := range strings.Lines(ran.output) {
		if step, ok := strings.CutPrefix(strings.TrimSpace(line), "done: "); ok {
			ran.done = append(ran.done, step)
		}
	}
	return ran
}

// checkThroughGateway checks what Jenkins got from the gateway: the token's owner as the user of every request, the token
// itself nowhere, no cookie of the client's, and a valid crumb on every POST.
func checkThroughGateway(t *testing.T, requests []jenkinstest.Request, token string, restart bool) {
	t.Helper()
	refused := 0
	for _, r := range requests {
		if r.User != user {
			t.Errorf("%s %s reached Jenkins as user %q, want %q", r.Method, r.RequestURI, r.User, user)
		}
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s reached Jenkins with Authorization", r.Method, r.RequestURI)
		}
		for name, values := range r.Header {
			// The npm client sends its base URL, userinfo and all, as Referer.
			if strings.Contains(strings.Join(values, "\n"), token) {
				t.Errorf("%s %s reached Jenkins with the token in %s", r.Method, r.RequestURI, name)
			}
		}
		for _, cookie := range r.Header.Values("Cookie") {
			// curl/scenario.sh sends cookies of its own.
			if strings.Contains(cookie, "of-the-client") || !strings.HasPrefix(cookie, "JSESSIONID.") {
				t.Errorf("%s %s reached Jenkins with Cookie %q", r.Method, r.RequestURI, cookie)
			}
		}
		switch {
		case r.Method != http.MethodPost || r.Crumb == jenkinstest.CrumbValid:
		case restart && refused == 0 && r.Crumb == jenkinstest.CrumbInvalid:
			refused++ // the one that found Jenkins restarted
		default:
			t.Errorf("POST %s reached Jenkins with a crumb that is %q", r.RequestURI, r.Crumb)
		}
	}
	if restart && refused == 0 {
		t.Error("no POST met the restarted Jenkins, so nothing was recovered from")
	}
}

func checkDirect(t *testing.T, requests []jenkinstest.Request) {
	t.Helper()
	for _, r := range requests {
		if r.User != user {
			t.Errorf("%s %s has user %q, want %q", r.Method, r.RequestURI, r.User, user)
		}
		if r.Method == http.MethodPost && r.Crumb != jenkinstest.CrumbExempt {
			t.Errorf("POST %s with an API token of Jenkins' own has a crumb that is %q", r.RequestURI, r.Crumb)
		}
	}
}

// checkEffects checks that Jenkins did each thing as often as it was asked to: a request that the gateway replays must
// not act twice.
func checkEffects(t *testing.T, requests []jenkinstest.Request) {
	t.Helper()
	want := map[string]int{
		"/createItem":                          1,
		"/job/client-test/config.xml":          1,
		"/job/client-test/buildWithParameters": 2,
		"/job/client-test/2/stop":              1,
		"/job/client-test/doDelete":            1,
	}
	got := map[string]int{}
	for _, r := range requests {
		if r.Method == http.MethodPost && r.Status < 400 && want[r.Path] > 0 {
			got[r.Path]++
		}
	}
	for path, n := range want {
		if got[path] != n {
			t.Errorf("Jenkins accepted POST %s %d times, want %d", path, got[path], n)
		}
	}
}

func logRequests(t *testing.T, requests []jenkinstest.Request) {
	t.Helper()
	var list strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&list, "%s %s %d user %q crumb %q\n", r.Method, r.RequestURI, r.Status, r.User, r.Crumb)
	}
	t.Logf("what Jenkins received:\n%s", &list)
}

// setup installs a client. Where its toolchain is missing the test is skipped, or fails under
// CRUMBGATE_REQUIRE_CLIENTS=1, as in CI.
func setup(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "setup", name)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	const missing = 3
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == missing {
		message := strings.TrimSpace(stdout.String())
		if os.Getenv("CRUMBGATE_REQUIRE_CLIENTS") == "1" {
			t.Fatal(message)
		}
		t.Skipf("SKIP: %s: %s", t.Name(), message)
	}
	if err != nil {
		t.Fatalf("setup %s: %v\n%s", name, err, &stderr)
	}
}

// installed returns the path of something that setup makes.
func installed(path string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "build", "clients", filepath.FromSlash(path))
}
