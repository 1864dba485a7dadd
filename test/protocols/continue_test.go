package protocols_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// askingCaddyfile leaves it to Jenkins whether a client shall send its body.
var askingCaddyfile = strings.Replace(patientCaddyfile, "stream_close_delay 24h", "transport http {\n\t\t\texpect_continue_timeout 60s\n\t\t}", 1)

// TestExpectContinue: a client that asks before it sends a body is told to go on,
// or not. curl asks so for uploads.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const body = jenkinstest.FreestyleXML // comes later
	for _, tt := range []struct {
		name, config string
		jenkinsAsked bool // before the client is
	}{
		{"as Caddy is set", caddyfile, false},
		{"without read_body_idle", patientCaddyfile, false},
		{"with expect_continue_timeout", askingCaddyfile, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.config)
			s.jenkins.Handle("/see", http.HandlerFunc(see))
			s.jenkins.Handle("/refuse", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			}))
			for _, who := range s.clients {
				for _, step := range []struct {
					name, path    string
					credential    http.Header
					interim, last int
				}{
					{"accepted", "/see", who.header, 100, 200},
					{"accepted, of what makes a job", "/createItem?name=" + strings.ReplaceAll(who.name+tt.name, " ", "-"), who.header, 100, 200},
					{"refused by the gateway", "/see", http.Header{"Authorization": {"Bearer wrong"}}, 0, 401},
					{"refused by Jenkins", "/refuse", who.header, 0, 413},
				} {
					if step.last == 413 && !tt.jenkinsAsked {
						continue
					}
					before := len(s.jenkins.Requests())
					conn, answers := s.connect(t)
					head := "POST " + step.path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.URL, "http://") +
						fmt.Sprintf("\r\nContent-Type: application/xml\r\nExpect: 100-continue\r\nContent-Length: %d\r\n", len(body))
					for name, values := range step.credential {
						head += name + ": " + values[0] + "\r\n"
					}
					io.WriteString(conn, head+"\r\n")
					interim := 0
					resp, err := http.ReadResponse(answers, &http.Request{Method: "POST"})
					for err == nil && resp.StatusCode == http.StatusContinue {
						if interim == 0 { // Caddy passes on Jenkins' as well as its own
							io.WriteString(conn, body)
						}
						interim = resp.StatusCode
						resp, err = http.ReadResponse(answers, &http.Request{Method: "POST"})
					}
					if err != nil {
						t.Fatalf("%s: %v", step.name, err)
					}
					text, err := io.ReadAll(resp.Body)
					if err != nil || interim != step.interim || resp.StatusCode != step.last {
						t.Errorf("%s: %d and %d (%v), want %d and %d: %.200s", step.name, interim, resp.StatusCode, err, step.interim, step.last, text)
					}
					if step.path == "/see" && step.last == 200 && !strings.Contains(string(text), sum(body)) {
						t.Errorf("%s: Jenkins has seen %s", step.name, text)
					}
					if after := len(s.jenkins.Requests()); step.last == 401 && after != before {
						t.Errorf("%s: Jenkins has received it", step.name)
					}
				}
			}
		})
	}
}

// connect opens a bare connection to the site.
func (s *site) connect(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// TestEarlyRefusal: what Jenkins answers before it has read a body arrives, and the
// rest of the body is not waited for.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.jenkins.Handle("/refuse", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "too large")
	}))
	s.each(t, func(t *testing.T, c caller) {
		for _, path := range []string{"/refuse", "/job/none/build"} {
			for name, length := range map[string]int64{"with a length": 1 << 40, "of unknown length": -1} {
				req := c.request(t, "POST", path, endless{})
				req.ContentLength = length
				if path == "/refuse" {
					resp := c.open(t, req)
					if text, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(text) != "too large" || err != nil {
						t.Errorf("%s: %s %q (%v)", name, resp.Status, text, err)
					}
					resp.Body.Close()
					continue
				}
				// A refusal of the gateway's own.
				req.Header.Set("Authorization", "Bearer wrong")
				before := len(s.jenkins.Requests())
				if resp := c.open(t, req); resp.StatusCode != 401 {
					t.Errorf("%s with a wrong token: %s", name, resp.Status)
				}
				if after := len(s.jenkins.Requests()); after != before {
					t.Errorf("%s with a wrong token: Jenkins has received %+v", name, s.last(t))
				}
			}
		}
	})
}

// endless is a body that goes on for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestInterrupted: when a client leaves, Jenkins learns it, in the middle of an
// upload and of an answer.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	s.jenkins.Handle("/upload", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			err = errors.New("the body looks whole")
		} else {
			err = nil
		}
		ended <- err
	}))
	s.jenkins.Handle("/download", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first")
		flush(w)
		began <- struct{}{}
		<-r.Context().Done()
		ended <- nil
	}))
	s.each(t, func(t *testing.T, c caller) {
		for _, path := range []string{"/upload", "/download"} {
			method := map[string]string{"/upload": "POST", "/download": "GET"}[path]
			var body io.Reader
			reader, input := io.Pipe()
			if method == "POST" {
				go io.WriteString(input, "first")
				body = reader
			}
			req, leave := c.cancellable(t, method, path, body)
			done := make(chan struct{})
			go func() {
				defer close(done)
				resp, err := c.transport.RoundTrip(req)
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			patience := time.After(gatewaytest.Patience)
			select {
			case <-began:
			case <-patience:
				t.Fatalf("%s has not begun", path)
			}
			leave()
			input.CloseWithError(context.Canceled) // the transport waits for its read
			<-done
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
			case <-patience:
				t.Fatalf("%s: Jenkins does not learn that the client has left", path)
			}
		}
	})
	if last := s.last(t); last.User != "alice" || last.Crumb != jenkinstest.CrumbUnchecked {
		t.Errorf("the last request is of %q with a crumb that is %q", last.User, last.Crumb)
	}
}
