package protocols_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// watched is a page of Jenkins that tells when a client of it has gone.
type watched struct {
	mu     sync.Mutex
	open   map[string]chan string // by the name of the client: what to write
	closed map[string]chan struct{}
}

func newWatched() *watched {
	return &watched{open: make(map[string]chan string), closed: make(map[string]chan struct{})}
}

func (p *watched) client(name string) (write chan string, gone chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[name] == nil {
		p.open[name], p.closed[name] = make(chan string), make(chan struct{})
	}
	return p.open[name], p.closed[name]
}

// ServeHTTP answers with a line, and then with what it is told to, while it reads what
// comes.
func (p *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	write, gone := p.client(r.URL.Query().Get("name"))
	defer close(gone)
	lost := make(chan struct{})
	if r.Method == http.MethodPost {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 has it without asking
		go func() {
			defer close(lost)
			_, _ = io.Copy(io.Discard, r.Body) // ends when the client has gone
		}()
	}
	fmt.Fprintln(w, "begun")
	flush(w)
	for {
		select {
		case line := <-write:
			fmt.Fprintln(w, line)
			flush(w)
		case <-r.Context().Done():
			return
		case <-lost:
			return
		}
	}
}

// An openEnd is the client's side of something that is open.
type openEnd struct {
	name   string
	gone   chan struct{} // as Jenkins sees it
	broken chan error    // as the client does
}

// stream opens a request that stays open.
func (c caller) stream(t *testing.T, page *watched, method, name string) openEnd {
	t.Helper()
	_, gone := page.client(name)
	var body io.Reader
	if method == http.MethodPost {
		reader, input := io.Pipe()
		t.Cleanup(func() { input.Close() })
		go func() { _, _ = io.WriteString(input, "x=1") }() // fails when the request ends before
		body = reader
	}
	resp := c.open(t, c.request(t, method, "/watched?name="+name, body))
	var first [6]byte
	if _, err := io.ReadFull(resp.Body, first[:]); err != nil || string(first[:]) != "begun\n" {
		t.Fatalf("%s: got %q, %v (%s)", name, first, err, resp.Status)
	}
	broken := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		broken <- err
	}()
	return openEnd{name, gone, broken}
}

// socket opens a WebSocket of the CLI.
func (s *site) socket(t *testing.T, url string, who client) openEnd {
	t.Helper()
	conn := s.dial(t, url, who, s.URL)
	if err := echo(t.Context(), conn, "hello"); err != nil {
		t.Fatal(err)
	}
	broken := make(chan error, 1)
	go func() {
		_, _, err := conn.Read(t.Context())
		broken <- err
	}()
	return openEnd{"socket", nil, broken}
}

// ends waits until both sides have noticed, and returns how long that took.
func (o openEnd) ends(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	limit := time.After(gatewaytest.Patience)
	select {
	case <-o.broken:
	case <-limit:
		t.Fatalf("%s: the client's end is still open", o.name)
	}
	if o.gone != nil {
		select {
		case <-o.gone:
		case <-limit:
			t.Fatalf("%s: Jenkins' end is still open", o.name)
		}
	}
	return time.Since(since)
}

func (o openEnd) isOpen(t *testing.T) {
	t.Helper()
	select {
	case err := <-o.broken:
		t.Errorf("%s, of another token, has ended: %v", o.name, err)
	default:
	}
}

// TestWhatIsOpenEndsWithItsToken: streams, uploads and WebSockets of a token that is
// revoked end on both sides, while those of another go on.
func TestWhatIsOpenEndsWithItsToken(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	page := newWatched()
	s.jenkins.Handle("/watched", page)
	api := s.API()
	for i, v := range s.versions(t) {
		t.Run(v.name, func(t *testing.T) {
			made, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: fmt.Sprintf("doomed-%d", i)})
			if err != nil {
				t.Fatal(err)
			}
			doomed := caller{s, client{"token", http.Header{"Authorization": {"Bearer " + made.Secret}}}, v}
			other := caller{s, s.clients[0], v}
			name := func(what string) string { return fmt.Sprintf("%s-%d", what, i) }
			ends := []openEnd{
				doomed.stream(t, page, "GET", name("idle")),
				doomed.stream(t, page, "POST", name("upload")),
			}
			kept := []openEnd{other.stream(t, page, "GET", name("kept"))}
			if v.major == 1 {
				ends = append(ends, s.socket(t, v.url, doomed.client))
				kept = append(kept, s.socket(t, v.url, other.client))
			}
			if _, err := api.RevokeToken(t.Context(), made.ID, "test"); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			for _, o := range ends {
				t.Logf("%s ended after %v", o.name, o.ends(t, since).Round(time.Millisecond))
			}
			for _, o := range kept {
				o.isOpen(t)
			}
			write, _ := page.client(name("kept"))
			select {
			case write <- "still here":
			case <-time.After(gatewaytest.Patience):
				t.Error("Jenkins has lost the stream of another token")
			}
		})
	}
	if log := s.Log(); strings.Count(log, "is ended, because its token is not admitted") < 12 {
		t.Errorf("the log does not tell of what was ended: %s", log)
	}
}

// TestEachEndOfAToken: suspension, expiry, a disabled owner and the end of an overlap
// end what is open as a revocation does.
func TestEachEndOfAToken(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	page := newWatched()
	s.jenkins.Handle("/watched", page)
	api := s.API()
	soon := func() string { return time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339) }
	for _, tt := range []struct {
		name, user, expires string
		end                 func(id string) error
	}{
		{"suspended", "alice", "", func(id string) error {
			_, err := api.SuspendToken(t.Context(), id, admin.StateRequest{Actor: "test"})
			return err
		}},
		{"rotated", "alice", "", func(id string) error {
			_, err := api.RotateToken(t.Context(), id, admin.Rotation{Overlap: "0", Actor: "test"})
			return err
		}},
		{"expired", "alice", soon(), func(string) error { return nil }},
		{"disabled", "leaver", "", func(string) error {
			_, err := api.DisableUser(t.Context(), "leaver", true, "test")
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			made, err := api.CreateToken(t.Context(), admin.CreateRequest{User: tt.user, Name: tt.name, Expires: tt.expires})
			if err != nil {
				t.Fatal(err)
			}
			c := caller{s, client{"token", http.Header{"Authorization": {"Bearer " + made.Secret}}}, s.versions(t)[0]}
			open := c.stream(t, page, "GET", tt.name)
			if err := tt.end(made.ID); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			if tt.expires != "" {
				since = time.Unix(int64(made.Expires), 0)
			}
			t.Logf("ended after %v", open.ends(t, since).Round(time.Millisecond))
		})
	}
}

// TestStreamOutlivesAReloadAndNotItsToken: what a configuration has let in is ended
// under the next one.
func TestStreamOutlivesAReloadAndNotItsToken(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	page := newWatched()
	s.jenkins.Handle("/watched", page)
	made, err := s.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "doomed"})
	if err != nil {
		t.Fatal(err)
	}
	c := caller{s, client{"token", http.Header{"Authorization": {"Bearer " + made.Secret}}}, s.versions(t)[0]}
	socket := s.socket(t, s.URL, c.client)
	if r := s.Run(t, "reload", "--force", "--config", s.Config, "--address", s.Admin); r.Status != 0 {
		t.Fatalf("reload: status %d: %s", r.Status, r.Stderr)
	}
	socket.isOpen(t)
	if _, err := s.API().RevokeToken(t.Context(), made.ID, "test"); err != nil {
		t.Fatal(err)
	}
	t.Logf("ended after %v", socket.ends(t, time.Now()).Round(time.Millisecond))
}
