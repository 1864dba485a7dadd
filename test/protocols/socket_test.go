package protocols_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// dial opens the CLI's WebSocket. It lives until the test ends.
func (s *site) dial(t *testing.T, url string, who client, origin string) *websocket.Conn {
	t.Helper()
	conn, resp, err := s.tryDial(t, url+"/cli/ws", who.header, origin)
	if err != nil {
		t.Fatalf("%v: %+v", err, resp)
	}
	return conn
}

func (s *site) tryDial(t *testing.T, url string, credential http.Header, origin string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	header := credential.Clone()
	if origin != "" {
		header.Set("Origin", origin)
	}
	transport := s.versions(t)[0].transport
	if strings.HasPrefix(url, "https:") {
		transport = s.versions(t)[1].transport
	}
	conn, resp, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header})
	if err == nil {
		conn.SetReadLimit(1 << 24)
		t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, resp, err
}

// echo sends a message, which must come back.
func echo(ctx context.Context, conn *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(ctx, gatewaytest.Patience)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageBinary, []byte(text)); err != nil {
		return err
	}
	kind, got, err := conn.Read(ctx)
	if err == nil && (kind != websocket.MessageBinary || !bytes.Equal(got, []byte(text))) {
		err = fmt.Errorf("got %v of %d bytes, want %d", kind, len(got), len(text))
	}
	return err
}

// TestCLIOverWebSocket: what jenkins-cli.jar speaks by default.
func TestCLIOverWebSocket(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	for _, who := range s.clients {
		for _, url := range []string{s.URL, s.secure} {
			t.Run(who.name+" at "+url[:strings.Index(url, ":")], func(t *testing.T) {
				credential := who.header.Clone()
				credential.Set("X-Forwarded-User", "admin")
				conn, resp, err := s.tryDial(t, url+"/cli/ws", credential, s.URL)
				if err != nil {
					t.Fatalf("%v: %+v", err, resp)
				}
				if last := s.last(t); last.User != "alice" || last.Status != http.StatusSwitchingProtocols || last.Header.Get("Authorization") != "" {
					t.Errorf("Jenkins switched protocols for %q with %d and the header %q", last.User, last.Status, last.Header)
				}
				for _, size := range []int{0, 1, 125, 126, 65535, 65536, 5 << 20} { // the lengths that a frame's header has
					if err := echo(t.Context(), conn, strings.Repeat("x", size)); err != nil {
						t.Fatalf("%d bytes: %v", size, err)
					}
				}
				ctx := conn.CloseRead(t.Context()) // reads the pong
				if err := conn.Ping(ctx); err != nil {
					t.Errorf("ping: %v", err)
				}
			})
		}
	}
}

// TestRefusedWebSocket: the client prints no body, so the headers have to arrive
// that say why.
func TestRefusedWebSocket(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	for _, who := range s.clients {
		origin := "Unexpected request origin (check your reverse proxy settings)"
		if who.name == "session" {
			origin = "" // the gateway refuses it
		}
		tests := []struct {
			name, path, origin string
			credential         http.Header
			status             int
			reason             string
		}{
			{"a foreign origin", "/cli/ws", "https://evil.example", who.header, 403, origin},
			{"no origin", "/cli/ws", "", who.header, 403, origin},
			{"another path", "/cli/other", s.URL, who.header, 404, ""},
			{"a wrong token", "/cli/ws", s.URL, http.Header{"Authorization": {"Bearer wrong"}}, 401, ""},
			{"a token of another user", "/cli/ws", s.URL, http.Header{"Authorization": {"Bearer x"}, "X-Forwarded-User": {"alice"}}, 401, ""},
			{"no credential", "/cli/ws", s.URL, http.Header{}, 401, ""},
		}
		for _, tt := range tests {
			before := s.received("/cli/")
			_, resp, err := s.tryDial(t, s.URL+tt.path, tt.credential, tt.origin)
			if err == nil || resp == nil || resp.StatusCode != tt.status || resp.Header.Get("X-CLI-Error") != tt.reason {
				t.Errorf("%s: %v, want %d with the reason %q", tt.name, err, tt.status, tt.reason)
			}
			byGateway := tt.status == 401 || tt.status == 403 && origin == ""
			if byGateway && s.received("/cli/") != before {
				t.Errorf("%s: Jenkins has received it", tt.name)
			}
		}
	}
}

// received counts what Jenkins has received below a path: the gateway asks it for crumbs at any time.
func (s *site) received(below string) (n int) {
	for _, r := range s.jenkins.Requests() {
		if strings.HasPrefix(r.Path, below) {
			n++
		}
	}
	return n
}

// TestWebSocketsOutliveReloads: with stream_close_delay; without it Caddy closes
// them, as 1001, "going away".
func TestWebSocketsOutliveReloads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		outlives     bool
	}{
		{"with stream_close_delay", caddyfile, true},
		{"without", strings.Replace(caddyfile, "stream_close_delay 24h", "", 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.config)
			var conns []*websocket.Conn
			for _, who := range s.clients {
				for _, url := range []string{s.URL, s.secure} {
					conn := s.dial(t, url, who, s.URL)
					if err := echo(t.Context(), conn, "before"); err != nil {
						t.Fatal(err)
					}
					conns = append(conns, conn)
				}
			}
			for i := range 3 {
				s.Configure(t, strings.Replace(tt.config, "\t\tsession {\n", fmt.Sprintf("\t\tmax_sessions %d\n\t\tsession {\n", 500+i), 1))
				if r := s.Run(t, "reload", "--config", s.Config, "--address", s.Admin); r.Status != 0 {
					t.Fatalf("reload: status %d: %s", r.Status, r.Stderr)
				}
				for n, conn := range conns {
					err := echo(t.Context(), conn, fmt.Sprintf("after reload %d", i))
					switch {
					case tt.outlives && err != nil:
						t.Fatalf("connection %d after reload %d: %v", n, i, err)
					case !tt.outlives && err == nil:
						t.Fatalf("connection %d after reload %d is open: then the documentation is wrong", n, i)
					case !tt.outlives && errors.Is(err, context.DeadlineExceeded):
						t.Errorf("connection %d after reload %d: %v", n, i, err)
					}
				}
			}
		})
	}
}

// TestPublicName: Jenkins, which is configured with one URL, gets its own origin
// for what the gateway has let through under any of its names.
func TestPublicName(t *testing.T) {
	t.Parallel()
	s := start(t, strings.Replace(caddyfile, "trusted_origins", "jenkins_url", 1))
	const foreign = "https://evil.example"
	for _, who := range s.clients {
		for _, url := range []string{s.URL, s.secure} {
			for _, tt := range []struct {
				name, origin string
				page         bool // whether a browser's own
			}{
				{"own origin", url, true},
				{"a foreign origin", foreign, false},
				{"no origin", "", false},
			} {
				t.Run(who.name+" at "+url[:strings.Index(url, ":")]+" with "+tt.name, func(t *testing.T) {
					before := len(s.jenkins.Requests())
					conn, resp, err := s.tryDial(t, url+"/cli/ws", who.header, tt.origin)
					if who.name == "session" && !tt.page {
						if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
							t.Fatalf("%v, want 403", err)
						}
						if after := len(s.jenkins.Requests()); after != before {
							t.Error("Jenkins has received it")
						}
						return
					}
					if err != nil {
						t.Fatalf("%v: %+v", err, resp)
					}
					if last := s.last(t); last.User != "alice" || last.Header.Get("Origin") != s.URL {
						t.Errorf("Jenkins switched protocols for %q from %q, want alice from %q", last.User, last.Header.Get("Origin"), s.URL)
					}
					if err := echo(t.Context(), conn, "hello"); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// TestAgents: agents connect without a credential of the gateway's. Their secret is
// for Jenkins to check, and what else they claim does not reach it.
func TestAgents(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.jenkins.AddAgent("linux-1", "0123456789abcdef")
	for _, url := range []string{s.URL, s.secure} {
		for _, tt := range []struct {
			name, secret string
			status       int
		}{
			{"its secret", "0123456789abcdef", http.StatusSwitchingProtocols},
			{"a wrong secret", "0123456789abcdee", http.StatusForbidden},
		} {
			t.Run(tt.name+" at "+url[:strings.Index(url, ":")], func(t *testing.T) {
				conn, resp, err := s.tryDial(t, url+"/wsagents/", http.Header{
					"Node-Name": {"linux-1"}, "Secret-Key": {tt.secret}, "X-Remoting-Capability": {"cap"}, "X-Forwarded-User": {"admin"},
				}, "")
				if resp == nil || resp.StatusCode != tt.status {
					t.Fatalf("%v: %+v, want %d", err, resp, tt.status)
				}
				if last := s.last(t); last.Header["X-Forwarded-User"] != nil {
					t.Errorf("Jenkins got the agent as %q", last.Header["X-Forwarded-User"])
				}
				if err == nil {
					err = echo(t.Context(), conn, strings.Repeat("x", 100_000))
				}
				if connected := err == nil; connected != (tt.status == http.StatusSwitchingProtocols) {
					t.Errorf("the connection: %v", err)
				}
			})
		}
	}
}
