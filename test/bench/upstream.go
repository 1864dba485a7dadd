package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// What the upstream answers and expects. The shapes are those of Jenkins: a
// session cookie with a random part in its name, and a crumb of 64 hex digits.
const (
	user       = "alice"
	getBody    = `{"_class":"hudson.model.FreeStyleProject","name":"bench","url":"http://jenkins.example/job/bench/","buildable":true,"color":"blue","inQueue":false,"nextBuildNumber":43,"lastBuild":{"number":42,"url":"http://jenkins.example/job/bench/42/"}}`
	crumb      = "6b23c1f0a4de5e8b97f20c3d1846afb2c59e70d3b8114f6a92ec07d5a3f8b61e"
	cookie     = "JSESSIONID.5f2a91c7=node01k8x2vq9w3e4r5t6y7u8i9o0p1.node0"
	crumbBody  = `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"` + crumb + `","crumbRequestField":"Jenkins-Crumb"}`
	crumbError = "No valid crumb was included in the request"
)

// An upstream is the address of each listener of the upstream process.
type upstream struct {
	Direct string // Jenkins, for whoever comes straight through the proxy
	Gated  string // Jenkins, believing X-Forwarded-User and nothing else
	Yes    string // the service that forward_auth asks, and that always agrees
}

// counts are what the upstream process has seen since it started.
type counts struct {
	Crumbs  int64 `json:"crumbs"`  // crumbs issued
	Refused int64 `json:"refused"` // requests without the identity or the crumb they need
}

// startUpstream starts this program again as the upstream, so that its CPU time
// and its garbage collector are not those of the load generator or of Caddy. It
// ends with ctx, or when this process dies and with it the pipe.
func startUpstream(ctx context.Context) (upstream, error) {
	self, err := os.Executable()
	if err != nil {
		return upstream{}, err
	}
	cmd := exec.CommandContext(ctx, self, "upstream")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return upstream{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return upstream{}, err
	}
	if err := cmd.Start(); err != nil {
		return upstream{}, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return upstream{}, fmt.Errorf("the upstream did not name its addresses: %w", err)
	}
	go func() { _ = cmd.Wait() }() // its death shows in the requests that follow
	var up upstream
	return up, json.Unmarshal(line, &up)
}

// counts asks the upstream process what it has seen.
func (up upstream) counts(ctx context.Context) (c counts, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+up.Direct+"/counts", nil)
	if err != nil {
		return c, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer res.Body.Close()
	return c, json.NewDecoder(res.Body).Decode(&c)
}

// serveUpstream is the upstream process: it prints its addresses as a line of
// JSON and serves until stdin is closed.
func serveUpstream(stdin io.Reader, stdout io.Writer) error {
	j := new(jenkins)
	yes := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	var up upstream
	failed := make(chan error, 3)
	for _, s := range []struct {
		addr    *string
		handler http.HandlerFunc
	}{
		{&up.Direct, j.serve},
		{&up.Gated, j.serveGated},
		{&up.Yes, yes},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*s.addr = l.Addr().String()
		go func() { failed <- http.Serve(l, s.handler) }()
	}
	if err := json.NewEncoder(stdout).Encode(up); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, stdin)
		failed <- err
	}()
	return <-failed
}

// jenkins is as little of Jenkins as the measured requests need, so that nearly
// all of the time is Caddy's; it is strict in what the broker is there for. The
// stand-in that the tests use is gateway/jenkinstest.
type jenkins struct {
	crumbs, refused atomic.Int64
}

// serveGated refuses what did not come with the identity alone: a gateway that
// lets requests through untouched would be the fastest of all.
func (j *jenkins) serveGated(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Forwarded-User") != user || r.Header.Get("Authorization") != "" {
		j.refuse(w, http.StatusUnauthorized, "no identity")
		return
	}
	j.serve(w, r)
}

func (j *jenkins) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/counts" {
		c, _ := json.Marshal(counts{Crumbs: j.crumbs.Load(), Refused: j.refused.Load()})
		answer(w, string(c))
		return
	}
	w.Header().Set("X-Jenkins", "2.568.2")
	switch {
	case r.Method == http.MethodPost:
		if r.Header.Get("Cookie") != cookie || r.Header.Get("Jenkins-Crumb") != crumb {
			j.refuse(w, http.StatusForbidden, crumbError)
			return
		}
		w.Header().Set("Location", "http://jenkins.example/queue/item/42/")
		w.WriteHeader(http.StatusCreated)
	case r.URL.Path == "/crumbIssuer/api/json":
		j.crumbs.Add(1)
		if r.Header.Get("Cookie") != cookie {
			w.Header().Set("Set-Cookie", cookie+"; Path=/; HttpOnly; SameSite=Lax")
		}
		answer(w, crumbBody)
	default:
		answer(w, getBody)
	}
}

func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	_, _ = io.WriteString(w, body)
}

func (j *jenkins) refuse(w http.ResponseWriter, status int, reason string) {
	j.refused.Add(1)
	http.Error(w, reason, status)
}
