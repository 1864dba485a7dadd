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
	const origin = "Unexpected request origin (check your reverse proxy settings)"
	for _, who := range s.clients {
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
			before := len(s.jenkins.Requests())
			_, resp, err := s.tryDial(t, s.URL+tt.path, tt.credential, tt.origin)
			if err == nil || resp == nil || resp.StatusCode != tt.status || resp.Header.Get("X-CLI-Error") != tt.reason {
				t.Errorf("%s: %v, want %d with the reason %q", tt.name, err, tt.status, tt.reason)
			}
			if after := len(s.jenkins.Requests()); tt.status == 401 && after != before {
				t.Errorf("%s: Jenkins has received it", tt.name)
			}
		}
	}
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
				s.Configure(t, strings.Replace(tt.config, "\tcrumbgate\n", fmt.Sprintf("\tcrumbgate {\n\t\tmax_sessions %d\n\t}\n", 500+i), 1))
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
