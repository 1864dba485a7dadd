package blackbox_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// peak returns by how many bytes the gateway's memory grew, at most, while run ran.
func peak(t *testing.T, g *gatewaytest.Gateway, run func()) int64 {
	t.Helper()
	g.ResetPeak(t)
	before := g.Memory(t, "VmRSS")
	run()
	grown := g.Memory(t, "VmHWM") - before
	t.Logf("the gateway's memory grew by %d MiB", grown>>20)
	return grown
}

// However many bodies are kept to be sent again, body_memory bounds them: the sessions of all
// POSTs are gone, and Jenkins gives no crumb for new ones.
func TestKeptBodiesShareOneBudget(t *testing.T) {
	const posts, size = 300, 1 << 20
	hangs := make(chan struct{})
	var hanging atomic.Bool
	s, g := startSink(t, jenkinstest.Config{}, strings.Replace(gatewaytest.Smallest, "\tcrumbgate\n", "\tcrumbgate {\n\t\tbody_memory 16MiB\n\t\tcrumb_timeout 20s\n\t}\n", 1))
	g.Stop(t)
	g.UseRelease(t)
	g.Start(t)
	var arrived sync.WaitGroup
	s.post = func(w http.ResponseWriter, r *http.Request) bool {
		if !hanging.Load() {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, jenkinstest.NoValidCrumb)
		return true
	}
	s.get = func(r *http.Request) {
		if hanging.Load() {
			select {
			case <-hangs:
			case <-r.Context().Done():
			}
		}
	}
	post := call{method: "POST", path: "/quietDown", user: "alice", secret: g.CreateToken(t, "alice", "ci")}
	post.want(t, g.URL, 302)
	hanging.Store(true)
	body := bytes.Repeat([]byte("x"), size)
	grown := peak(t, g, func() {
		for range posts {
			arrived.Go(func() {
				r, err := post.request(g.URL)
				if err != nil {
					t.Error(err)
					return
				}
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), size
				resp, err := gatewaytest.Client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body)
			})
		}
		arrived.Wait()
	})
	close(hangs)
	if limit := int64(120 << 20); grown > limit {
		t.Errorf("%d POSTs of %d MiB made the gateway grow by %d MiB, want at most %d", posts, size>>20, grown>>20, limit>>20)
	}
	hanging.Store(false)
	post.want(t, g.URL, 302)
}

// Of bodies without an end nothing is kept.
func TestEndlessBodiesTakeNoMemory(t *testing.T) {
	const posts, each = 120, 2 << 20
	s, g := startSink(t, jenkinstest.Config{}, gatewaytest.Smallest)
	g.Stop(t)
	g.UseRelease(t)
	g.Start(t)
	if err := s.jenkins.AddJob("x", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	var received atomic.Int64
	done := make(chan struct{})
	var once sync.Once
	s.post = func(_ http.ResponseWriter, r *http.Request) bool {
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(buf)
			if received.Add(int64(n)) >= posts*(each-(64<<10)) { // the rest is in the buffers of the proxy
				once.Do(func() { close(done) })
			}
			if err != nil {
				return true
			}
		}
	}
	secret := g.CreateToken(t, "alice", "narrow", "--scope", "build:x")
	request, err := call{method: "POST", path: "/job/x/build", user: "alice", secret: secret}.request(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(g.URL, "http://")
	head := fmt.Sprintf("POST /job/x/build HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n", host, request.Header.Get("Authorization"))
	chunk := append([]byte("8000\r\n"), append(bytes.Repeat([]byte("x"), 32<<10), "\r\n"...)...)
	var senders sync.WaitGroup
	grown := peak(t, g, func() {
		for range posts {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			senders.Go(func() {
				if _, err := io.WriteString(conn, head); err != nil {
					t.Error(err)
					return
				}
				for range each / (32 << 10) {
					if _, err := conn.Write(chunk); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		senders.Wait()
		<-done
	})
	if limit := int64(60 << 20); grown > limit {
		t.Errorf("%d endless POSTs made the gateway grow by %d MiB, want at most %d", posts, grown>>20, limit>>20)
	}
}
