package blackbox_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestDrippingSendersStopNoWebhook: strangers who send the bodies of webhooks slowly, from
// one address and from several behind a trusted proxy, stop no webhook of the forge,
// small or large.
func TestDrippingSendersStopNoWebhook(t *testing.T) {
	const secret = "a secret of the forge"
	type delivery struct {
		path string
		sum  [sha256.Size]byte
		size int
	}
	received := make(chan delivery, 100)
	jenkins := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("Jenkins reads a body: %v", err)
		}
		received <- delivery{r.URL.Path, sha256.Sum256(body), len(body)}
	}))
	defer jenkins.Close()
	caddyfile := withSettings("webhook github {\n\t\t\tsecret {env.WEBHOOK_SECRET}\n\t\t}\n\t\tfailed_credentials off")
	caddyfile = strings.Replace(caddyfile, "{\n", "{\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1\n\t}\n", 1)
	g := gatewaytest.New(t, jenkins.URL, caddyfile)
	g.Env = append(g.Env, "WEBHOOK_SECRET="+secret)
	g.Start(t)

	host := strings.TrimPrefix(g.URL, "http://")

	// drip sends a part of a body at once, and then a byte now and then, again and again.
	// The peer is 127.0.0.2, or the proxy at 127.0.0.1 if the address of a client is given.
	ctx, stop := context.WithCancel(t.Context())
	var dripping sync.WaitGroup
	defer dripping.Wait()
	defer stop()
	var held, cutOff atomic.Int64 // bodies under way, and those that were
	drip := func(client string, first int) error {
		peer, forwarded := "127.0.0.2", ""
		if client != "" {
			peer, forwarded = "127.0.0.1", "X-Forwarded-For: "+client+"\r\n"
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(peer)}}
		conn, err := dialer.DialContext(ctx, "tcp", host)
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		head := "POST /github-webhook/ HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" + forwarded +
			"X-Hub-Signature-256: sha256=" + strings.Repeat("00", sha256.Size) + "\r\nContent-Length: 20000000\r\n\r\n"
		if _, err := conn.Write(append([]byte(head), make([]byte, first)...)); err != nil {
			return nil // refused early
		}
		held.Add(1)
		defer func() { held.Add(-1); cutOff.Add(1) }()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && resp.StatusCode < 400 {
				t.Errorf("a body that was not signed is answered with %s", resp.Status)
			}
		}()
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-answered:
				return nil
			case <-tick.C:
				if _, err := conn.Write([]byte{' '}); err != nil {
					<-answered
					return nil
				}
			}
		}
	}
	senders := 0
	sender := func(client string, first int) {
		senders++
		dripping.Go(func() {
			for ctx.Err() == nil {
				if err := drip(client, first); err != nil && ctx.Err() == nil {
					t.Errorf("dripping: %v", err)
					return
				}
			}
		})
	}
	for n := range 12 {
		sender("", []int{1, 60_000, 3_000_000}[n%3])
	}
	for n := range 6 {
		sender(fmt.Sprintf("198.51.100.%d", n+1), []int{1, 60_000, 3_000_000}[n%3])
	}
	for n := range 4 {
		sender(fmt.Sprintf("2001:db8:1:1::%d", n+1), 100_000) // of one /64
	}

	mac := func(body []byte) string {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(body)
		return "sha256=" + hex.EncodeToString(h.Sum(nil))
	}
	for round := range 2 {
		gatewaytest.Eventually(t, "most bodies are under way", func() error {
			if n := held.Load(); n < int64(senders)/2 {
				return fmt.Errorf("%d of %d", n, senders)
			}
			return nil
		})
		for n, size := range []int{2, 100_000, 9_000_000, 2, 100_000, 9_000_000} {
			from := []string{"203.0.113.7", "198.51.100.3"}[n/3] // an address of its own, and one of those that drip
			body := append(bytes.Repeat([]byte(" "), size-2), "{}"...)
			began := time.Now()
			call{method: "POST", path: "/github-webhook/", body: string(body), header: http.Header{
				"Content-Type": {"application/json"}, "X-Hub-Signature-256": {mac(body)}, "X-Forwarded-For": {from},
			}}.want(t, g.URL, http.StatusOK)
			t.Logf("round %d: %d bytes from %s are answered after %v, with %d bodies under way", round, size, from, time.Since(began), held.Load())
			if got, want := <-received, (delivery{"/github-webhook/", sha256.Sum256(body), size}); got != want {
				t.Errorf("Jenkins got %s with %d bytes, want %s with %d, or the bytes differ", got.path, got.size, want.path, want.size)
			}
		}
		if round == 0 {
			gatewaytest.Eventually(t, "senders are cut off, and come back", func() error {
				if n := cutOff.Load(); n < int64(senders) {
					return fmt.Errorf("%d of %d", n, senders)
				}
				return nil
			})
		}
	}
	stop()
	dripping.Wait()
	if n := len(received); n != 0 {
		t.Errorf("Jenkins got %d webhooks that no forge has signed", n)
	}
}
