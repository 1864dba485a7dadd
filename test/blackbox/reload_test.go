package blackbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestReloadUnderLoad: while the configuration changes 50 times, 32 clients see
// every request answered as it should be, and every one of them is counted, once.
//
// A client sends a request again whose connection closed before there was any
// answer. Caddy, with crumbgate or without, shuts down a server for each reload,
// and then net/http closes connections that wait for a request, one that it has
// just read included; and connections that Linux has queued for the old socket
// (SO_REUSEPORT) are reset. None of these requests has reached a handler, which
// the use counts show.
func TestReloadUnderLoad(t *testing.T) {
	const reloads, clients = 50, 32
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	jenkins.SetRecording(false)
	// Connections to Jenkins that wait for their next use have goroutines too.
	plain := strings.Replace(gatewaytest.Smallest, "{$JENKINS}\n", "{$JENKINS} {\n\t\ttransport http {\n\t\t\tkeepalive 1s\n\t\t}\n\t}\n", 1)
	configs := []string{plain, strings.Replace(plain, "\tcrumbgate\n", "\tcrumbgate {\n\t\tmax_sessions 500\n\t}\n", 1)}
	g := gatewaytest.Start(t, url, configs[0])
	secrets := []string{g.CreateToken(t, "alice", "ci"), g.CreateToken(t, "bob", "ci")}
	owners := []string{"alice", "bob"}
	// One of each before the count begins, so that what is made once is there.
	for i, secret := range secrets {
		call{method: "POST", path: "/quietDown", user: owners[i], secret: secret}.want(t, g.URL, 302)
	}
	before, _ := goroutines(t, g)

	var answered [2]atomic.Uint64
	var unanswered atomic.Uint64
	for i := range answered {
		answered[i].Store(1)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for n := range clients {
		running.Go(func() {
			which := n % 2
			client := &http.Client{
				Timeout:       gatewaytest.Patience,
				CheckRedirect: gatewaytest.Client.CheckRedirect,
				Transport:     &http.Transport{MaxConnsPerHost: 1, DisableKeepAlives: n%4 < 2},
			}
			defer client.CloseIdleConnections()
			for i := n; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				request, want := call{user: owners[which], secret: secrets[which], client: client}, 200
				if i%3 == 0 {
					request.method, request.path, want = "POST", "/quietDown", 302
					request.body = strings.Repeat("x", i%4096)
				}
				r, err := request.try(g.URL)
				if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
					unanswered.Add(1)
					continue
				}
				if err != nil || r.status != want {
					t.Errorf("%s: %d %.200s %v, want status %d", request.method, r.status, r.body, err, want)
					return
				}
				answered[which].Add(1)
			}
		})
	}
	for i := range reloads {
		config := configs[(i+1)%2]
		if i%10 == 0 {
			g.Configure(t, config)
			if r := g.Run(t, "reload", "--config", g.Config, "--address", g.Admin); r.Status != 0 {
				t.Errorf("reload: status %d: %s", r.Status, r.Stderr)
			}
		} else {
			load(t, g, config)
		}
		// The clients go on under each configuration.
		seen := answered[0].Load()
		gatewaytest.Eventually(t, "requests are answered", func() error {
			if t.Failed() || answered[0].Load() > seen+20 {
				return nil
			}
			return fmt.Errorf("%d", answered[0].Load()-seen)
		})
		if t.Failed() {
			break
		}
	}
	close(stop)
	running.Wait()

	checkCounts := func(when string) {
		t.Helper()
		for i, owner := range owners {
			r := g.Token(t, "show", "--user", owner, "--name", "ci", "--json")
			var shown struct{ Uses struct{ Count uint64 } }
			if err := json.Unmarshal([]byte(r.Stdout), &shown); err != nil {
				t.Fatalf("token show: %v: %+v", err, r)
			}
			if want := answered[i].Load(); shown.Uses.Count != want {
				t.Errorf("%s %d uses are known of %s's token, there were %d", when, shown.Uses.Count, owner, want)
			}
		}
	}
	checkCounts("after the reloads")
	// The same configuration as at the beginning, and no connection of a client, so
	// the same goroutines, once the servers of old configurations have closed and the
	// last connections to Jenkins have waited a second for their next use. Ten more
	// are left to whatever Caddy does in the background; a leak of one in each reload
	// would be 50.
	gatewaytest.Client.CloseIdleConnections()
	gatewaytest.Eventually(t, "the goroutines of old configurations end", func() error {
		if after, profile := goroutines(t, g); after > before+10 {
			return fmt.Errorf("there were %d, there are %d:\n%s", before, after, profile)
		}
		return nil
	})
	g.Stop(t)
	log := g.Log()
	opened := strings.Count(log, `"msg":"token store open"`)
	if shared := strings.Count(log, `"shared":true`); opened-shared != 1 {
		t.Errorf("the store was opened %d times", opened-shared)
	}
	t.Logf("%d requests, and %d sent again", answered[0].Load()+answered[1].Load(), unanswered.Load())
	g.Start(t)
	checkCounts("after a new start")
}

// load gives the gateway another configuration over its admin endpoint.
func load(t *testing.T, g *gatewaytest.Gateway, caddyfile string) {
	t.Helper()
	names := []string{}
	for _, variable := range g.Env {
		name, value, _ := strings.Cut(variable, "=")
		names = append(names, "{$"+name+"}", value)
	}
	resp, err := gatewaytest.Client.Post("http://"+g.Admin+"/load", "text/caddyfile", strings.NewReader(strings.NewReplacer(names...).Replace(caddyfile)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Errorf("POST /load: %s: %s", resp.Status, body)
	}
	// Caddy closes what is idle, and net/http sends no POST a second time.
	gatewaytest.Client.CloseIdleConnections()
	// The former listener shares the port until it is closed, and then resets the connections
	// that the kernel has given to it.
	site := ":" + hexPort(t, g.URL) + " "
	gatewaytest.Eventually(t, "the former listener closes", func() error {
		listeners := 0
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			text, err := os.ReadFile(table)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for line := range strings.Lines(string(text)) {
				fields := strings.Fields(line)
				if len(fields) > 3 && strings.HasSuffix(fields[1]+" ", site) && fields[3] == "0A" {
					listeners++
				}
			}
		}
		if listeners > 1 {
			return fmt.Errorf("%d listeners share the port", listeners)
		}
		return nil
	})
}

// hexPort returns the port of a URL as /proc/net/tcp has it.
func hexPort(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%04X", port)
}

// goroutines counts those of the gateway.
func goroutines(t *testing.T, g *gatewaytest.Gateway) (n int, profile string) {
	t.Helper()
	resp, err := gatewaytest.Client.Get("http://" + g.Admin + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(body), "\n")
	n, err = strconv.Atoi(strings.TrimPrefix(first, "goroutine profile: total "))
	if err != nil {
		t.Fatalf("goroutine profile: %.200s", body)
	}
	return n, string(body)
}
