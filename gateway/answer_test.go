package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// behind is a site on which the handler answers all but the crumb request.
func behind(t testing.TB, h http.HandlerFunc) *site {
	return newSite(t, options{between: func(proxy http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/crumbIssuer") {
				proxy.ServeHTTP(w, r)
				return
			}
			h(w, r)
		})
	}})
}

// No answer brings a session cookie to the client, however it is written.
func TestNoCookies(t *testing.T) {
	const cookie = "JSESSIONID.1=secret"
	tests := []struct {
		name   string
		status int
		write  http.HandlerFunc
	}{
		{"200", 200, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) }},
		{"implicit 200", 200, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "x") }},
		{"nothing written", 200, func(w http.ResponseWriter, r *http.Request) {}},
		{"flush before the header", 200, func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}},
		{"302", 302, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(302) }},
		{"401", 401, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }},
		{"403, not held", 403, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Required-Permission", "x")
			w.WriteHeader(403)
		}},
		{"403, held and released", 403, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "denied")
			w.Header().Set("Set-Cookie", cookie)
		}},
		{"403, released for its size", 403, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			w.Header().Set("Set-Cookie", cookie)
			for range 20 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			}
		}},
		{"403, empty and released", 403, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }},
		{"403, flushed", 403, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, "denied")
		}},
		{"500", 500, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }},
		{"early hints", 200, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.Header().Set("Set-Cookie", cookie)
			w.WriteHeader(200)
		}},
	}
	for _, method := range []string{"GET", "POST"} {
		for _, test := range tests {
			t.Run(method+" "+test.name, func(t *testing.T) {
				s := behind(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Set-Cookie", cookie)
					w.Header().Set("X-Mine", "stays")
					test.write(w, r)
				})
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if h.Get("Set-Cookie") != "" {
						t.Errorf("%d has the cookie %q", code, h.Get("Set-Cookie"))
					}
					return nil
				}})
				r, err := http.NewRequestWithContext(ctx, method, s.url+"/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				_, auth, _ := strings.Cut(s.auth("alice"), ": ")
				r.Header.Set("Authorization", auth)
				resp, err := s.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.StatusCode != test.status || resp.Header["Set-Cookie"] != nil || resp.Header.Get("X-Mine") != "stays" {
					t.Errorf("status %d, want %d; header %v", resp.StatusCode, test.status, resp.Header)
				}
			})
		}
	}
}

// An upgrade reaches the connection through the gate's writer.
func TestHijack(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			s := behind(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Set-Cookie", "JSESSIONID.1=secret")
				w.Header().Set("Connection", "Upgrade")
				w.Header().Set("Upgrade", "websocket")
				w.WriteHeader(http.StatusSwitchingProtocols)
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				line, err := rw.ReadString('\n')
				if err != nil {
					t.Error(err)
				}
				fmt.Fprintf(rw, "echo %s", line)
				rw.Flush()
			})
			_, auth, _ := strings.Cut(s.auth("alice"), ": ")
			got := s.raw(method + " /x HTTP/1.1\r\nHost: x\r\nAuthorization: " + auth + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
			if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "\r\n\r\necho hello\n") || strings.Contains(got, "secret") {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// What is written reaches the client while the handler goes on.
func TestStreams(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		for _, status := range []int{200, 500} {
			t.Run(fmt.Sprint(method, " ", status), func(t *testing.T) {
				seen := make(chan struct{})
				s := behind(t, func(w http.ResponseWriter, r *http.Request) {
					w.WriteHeader(status)
					for i := range 5 {
						fmt.Fprintf(w, "line %d\n", i)
						if err := http.NewResponseController(w).Flush(); err != nil {
							t.Error(err)
						}
						<-seen
					}
				})
				r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				_, auth, _ := strings.Cut(s.auth("alice"), ": ")
				r.Header.Set("Authorization", auth)
				resp, err := s.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				lines := bufio.NewReader(resp.Body)
				for i := range 5 {
					line, err := lines.ReadString('\n')
					if want := fmt.Sprintf("line %d\n", i); line != want {
						t.Errorf("read %q, %v; want %q", line, err, want)
					}
					seen <- struct{}{}
				}
			})
		}
	}
}

// A request's body passes while it is being sent.
func TestUploadStreams(t *testing.T) {
	got := make(chan string)
	s := behind(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				got <- string(b[:n])
			}
			if err != nil {
				return
			}
		}
	})
	auth := s.auth("alice")
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.try("POST", "/x", pr, auth)
		done <- err
	}()
	for i := range 5 {
		want := fmt.Sprintf("piece %d", i)
		if _, err := io.WriteString(pw, want); err != nil {
			t.Fatal(err)
		}
		if piece := <-got; piece != want {
			t.Errorf("got %q, want %q", piece, want)
		}
	}
	pw.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An error of the next handler is its caller's, whatever was held back.
func TestErrorOfTheNextHandler(t *testing.T) {
	s := newSite(t, options{})
	_, auth, _ := strings.Cut(s.auth("alice"), ": ")
	broken := errors.New("broken off")
	posts := 0
	next := func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, err := io.WriteString(w, `{"crumb":"ab","crumbRequestField":"Jenkins-Crumb"}`)
			return err
		}
		posts++
		w.Header().Set("Set-Cookie", "JSESSIONID.1=secret")
		w.Header().Set("Content-Length", "900")
		w.WriteHeader(http.StatusForbidden)
		return broken
	}
	r := httptest.NewRequest("POST", "/x", nil)
	r.Header.Set("Authorization", auth)
	w := httptest.NewRecorder()
	w.Header().Set("Server", "Caddy")
	if err := s.gate.ServeHTTP(w, r, next); !errors.Is(err, broken) {
		t.Errorf("ServeHTTP = %v, want the handler's error", err)
	}
	if len(w.Header()) != 1 || w.Header().Get("Server") != "Caddy" || posts != 1 {
		t.Errorf("after %d attempts the header is %v", posts, w.Header())
	}
}

// Both attempts go through Fork and Admitted as configured, and the second one
// has the request as it came, whatever the first has made of it.
func TestSecondAttempt(t *testing.T) {
	var forks, admitted int
	s := newSite(t, options{
		gate: func(c *gateway.Config) {
			c.Fork = func(_ http.ResponseWriter, r *http.Request) *http.Request { forks++; return r }
			c.Admitted = func(*http.Request, gateway.Decision) { admitted++ }
		},
		between: func(proxy http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				proxy.ServeHTTP(w, r)
				if r.Method != http.MethodPost {
					return
				}
				r.Header["X-Mine"][0] = "changed"
				r.Header.Set("X-Forwarded-User", "admin")
				r.URL.Path, r.Host = "/changed", "changed"
			})
		},
	})
	auth := s.auth("alice")
	s.jenkins.SetCSRF(false)
	s.send("POST", "/job/a/build", "x=1", auth, "X-Mine: 1")
	s.jenkins.SetCSRF(true)
	s.jenkins.ResetRequests()
	if a := s.send("POST", "/job/a/build", "x=1", auth, "X-Mine: 1"); a.StatusCode != http.StatusCreated {
		t.Fatalf("the client got\n%s", a.dump())
	}
	got := s.only("POST")
	if got.User != "alice" || got.Path != "/job/a/build" || got.Header.Get("X-Mine") != "1" || got.Host == "changed" || got.Crumb != jenkinstest.CrumbValid {
		t.Errorf("Jenkins got %s of %q for %s with %v", got.Path, got.User, got.Host, got.Header)
	}
	if forks != 3 || admitted != 3 { // for two crumbs and a replay; for two requests and a replay
		t.Errorf("%d forks and %d admitted, want 3 and 3", forks, admitted)
	}
}
