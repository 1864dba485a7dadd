package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

func clientOf(t *testing.T, h http.Handler) *admin.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return admin.NewClient(admin.Dial("tcp", server.Listener.Addr().String()))
}

func TestClient(t *testing.T) {
	c, ctx := clientOf(t, newGateway(t)), t.Context()
	groups := []string{"dev"}
	made, err := c.CreateToken(ctx, admin.CreateRequest{
		User: "a/li ce", Name: "deploy", Expires: "never", Format: "jenkins",
		UserUpdate: admin.UserUpdate{Groups: &groups, Actor: "root"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.User != "a/li ce" || made.Name != "deploy" || made.Expires != 0 || made.CreatedBy != "root" || !strings.HasPrefix(made.Secret, "11") {
		t.Errorf("made %+v", made)
	}
	if got, err := c.Token(ctx, made.ID); err != nil || !reflect.DeepEqual(got, made.Token) {
		t.Errorf("Token = %+v, %v, want %+v", got, err, made.Token)
	}
	if got, err := c.Tokens(ctx, "A/LI CE", false); err != nil || len(got.Tokens) != 1 || !reflect.DeepEqual(got.Tokens[0], made.Token) {
		t.Errorf("Tokens = %+v, %v, want %+v", got, err, made.Token)
	}
	name := "Alice"
	if got, err := c.UpdateUser(ctx, "a/li ce", admin.UserUpdate{DisplayName: &name}); err != nil || got.DisplayName != name {
		t.Errorf("UpdateUser = %+v, %v", got, err)
	}
	if got, err := c.User(ctx, "a/li ce"); err != nil || got.DisplayName != name || len(got.Groups) != 1 {
		t.Errorf("User = %+v, %v", got, err)
	}
	if got, err := c.RevokeToken(ctx, made.ID, "root"); err != nil || got.State != "revoked" {
		t.Errorf("RevokeToken = %+v, %v", got, err)
	}
	if got, err := c.Tokens(ctx, "", false); err != nil || len(got.Tokens) != 0 {
		t.Errorf("Tokens = %+v, %v, want none", got, err)
	}
	if got, err := c.Tokens(ctx, "", true); err != nil || len(got.Tokens) != 1 {
		t.Errorf("all Tokens = %+v, %v, want one", got, err)
	}
	if got, err := c.Health(ctx); err != nil || got != (admin.Health{Status: "ok", Tokens: 1}) {
		t.Errorf("Health = %+v, %v", got, err)
	}
}

func TestClientPassesOnRefusals(t *testing.T) {
	_, err := clientOf(t, newGateway(t)).CreateToken(t.Context(), admin.CreateRequest{User: "anonymous"})
	var failure *admin.Error
	if !errors.As(err, &failure) || failure.Status != 400 || !strings.HasPrefix(failure.Text, `user "anonymous" is a name that Jenkins keeps`) {
		t.Errorf("error %#v, want the gateway's", err)
	}
}

// An id that is none may be a secret, and Caddy logs the paths of requests.
func TestClientSendsOnlyIDs(t *testing.T) {
	c := admin.NewClient(func(_ context.Context, method, path string, _ http.Header, _ io.Reader) (*http.Response, error) {
		t.Errorf("sent %s %s", method, path)
		return nil, errors.New("not to be called")
	})
	for _, id := range []string{"", "..", "cg_0123456789abcdefghijABCDEFGHIJ0123456789", "11000102030405060708090a0b0c0d0e0f"} {
		if _, err := c.Token(t.Context(), id); err == nil || id != "" && strings.Contains(err.Error(), id) {
			t.Errorf("Token(%q): error %v, want one without the id", id, err)
		}
		if _, err := c.RevokeToken(t.Context(), id, ""); err == nil || id != "" && strings.Contains(err.Error(), id) {
			t.Errorf("RevokeToken(%q): error %v, want one without the id", id, err)
		}
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"Caddy without the module", http.NotFound, "the admin endpoint answered 404 Not Found"},
		{"Caddy that does not like the host", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			io.WriteString(w, `{"error":"host not allowed: 127.0.0.1"}`)
		}, "host not allowed: 127.0.0.1"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "the admin endpoint answered 302 Found"},
		{"a page", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<html>")
		}, "is it of another version?"},
		{"an answer cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"status":"ok"`)
		}, "reading the gateway's answer: unexpected EOF"},
		{"an answer without end", func(w http.ResponseWriter, _ *http.Request) {
			block := make([]byte, 1<<20)
			for {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "has more than 64 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clientOf(t, tt.answer).Health(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestClientWithoutGateway(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	missing := filepath.Join(t.TempDir(), "caddy.sock")
	for _, tt := range []struct{ name, network, address string }{
		{"nobody listens", "tcp", closed.Addr().String()},
		{"nobody answers", "tcp", silent.Addr().String()},
		{"no socket", "unix", missing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := admin.NewClient(admin.Dial(tt.network, tt.address)).Health(ctx)
			want := "the gateway does not answer at " + tt.address + ": is it running (caddy run --config Caddyfile)? Another address is given with --address"
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

func TestClientOverUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "caddy.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: newGateway(t)}}
	server.Start()
	defer server.Close()
	for _, address := range []string{socket, socket + "|0222"} { // the second sets the mode in a Caddyfile
		if _, err := admin.NewClient(admin.Dial("unix", address)).Health(t.Context()); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Caddy's admin endpoint refuses other origins once enforce_origin is set.
func TestClientSendsItsOrigin(t *testing.T) {
	var got http.Header
	c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		got.Set("Host", r.Host)
		io.WriteString(w, `{}`)
	}))
	if _, err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got.Get("Origin") != "http://"+got.Get("Host") {
		t.Errorf("Origin %q of a request to %q", got.Get("Origin"), got.Get("Host"))
	}
}
