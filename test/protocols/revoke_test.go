package protocols_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// promptly is how soon both sides of what is open have ended, once a change of the
// token has been acknowledged.
const promptly = time.Second

// watched are pages of Jenkins that tell when a client of theirs has come, and gone.
type watched struct {
	mu    sync.Mutex
	names map[string]*visit
}

// A visit is by its client's name, the parameter name.
type visit struct {
	come, gone chan struct{}
	say        chan string
}

func (p *watched) visit(name string) *visit {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.names == nil {
		p.names = make(map[string]*visit)
	}
	if p.names[name] == nil {
		p.names[name] = &visit{make(chan struct{}), make(chan struct{}), make(chan string)}
	}
	return p.names[name]
}

func (p *watched) page(serve func(w http.ResponseWriter, r *http.Request, v *visit)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := p.visit(r.URL.Query().Get("name"))
		defer close(v.gone)
		serve(w, r, v)
	})
}

// tail is a log of which a line comes, and then what it is told to.
func tail(w http.ResponseWriter, r *http.Request, v *visit) {
	fmt.Fprintln(w, "begun")
	flush(w)
	close(v.come)
	for {
		select {
		case line := <-v.say:
			fmt.Fprintln(w, line)
			flush(w)
		case <-r.Context().Done():
			return
		}
	}
}

// upload takes what comes.
func upload(_ http.ResponseWriter, r *http.Request, v *visit) {
	io.ReadFull(r.Body, make([]byte, 1))
	close(v.come)
	io.Copy(io.Discard, r.Body)
}

// download is larger than all buffers on its way.
func download(w http.ResponseWriter, _ *http.Request, v *visit) {
	close(v.come)
	for err := error(nil); err == nil; {
		_, err = w.Write(make([]byte, 1<<16))
	}
}

// startWatched starts a site with these pages, at /tail, /upload and /download.
func startWatched(t *testing.T) (*site, *watched) {
	t.Helper()
	s, pages := start(t, caddyfile), new(watched)
	s.jenkins.Handle("/tail", pages.page(tail))
	s.jenkins.Handle("/upload", pages.page(upload))
	s.jenkins.Handle("/download", pages.page(download))
	return s, pages
}

// An openEnd is something that is open: its end at Jenkins, nil if that can't be seen,
// and at the client.
type openEnd struct {
	name         string
	gone         <-chan struct{}
	broken       <-chan error
	letTransport func() // go on: it waits for the read of a body
}

// open opens a page, and returns when Jenkins has begun to serve it.
func (p *watched) open(t *testing.T, c caller, method, page, name string) openEnd {
	t.Helper()
	v := p.visit(name)
	broken := make(chan error, 1)
	o := openEnd{name: name, gone: v.gone, broken: broken, letTransport: func() {}}
	var body io.Reader
	if method == http.MethodPost {
		reader, input := io.Pipe()
		body, o.letTransport = reader, func() { input.CloseWithError(io.ErrUnexpectedEOF) }
		t.Cleanup(o.letTransport)
		go io.WriteString(input, "some of it")
	}
	req := c.request(t, method, page+"?name="+name, body)
	go func() {
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			broken <- err
			return
		}
		defer resp.Body.Close()
		if page == "/download" {
			select { // a client that does not read on notices nothing
			case <-v.gone:
			case <-req.Context().Done():
			}
		}
		_, err = io.Copy(io.Discard, resp.Body)
		broken <- err
	}()
	select {
	case <-v.come:
	case err := <-broken:
		t.Fatalf("%s: %v", name, err)
	case <-time.After(gatewaytest.Patience):
		t.Fatalf("%s has not come", name)
	}
	return o
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
	return openEnd{"socket", nil, broken, func() {}}
}

// command starts a command of the CLI over plain HTTP: both of its requests.
func (c caller) command(t *testing.T, id int) []openEnd {
	t.Helper()
	side := func(side string, body io.Reader) *http.Request {
		req := c.request(t, "POST", "/cli?remoting=false", body)
		req.Header.Set("Session", fmt.Sprintf("f81d4fae-7dec-11d0-a765-%012d", id))
		req.Header.Set("Side", side)
		return req
	}
	down := c.open(t, side("download", nil))
	reader, input := io.Pipe()
	letTransport := func() { input.CloseWithError(io.ErrUnexpectedEOF) }
	t.Cleanup(letTransport)
	uploaded, downloaded := make(chan error, 1), make(chan error, 1)
	go func() {
		resp, err := c.transport.RoundTrip(side("upload", reader))
		if err == nil {
			resp.Body.Close()
		}
		uploaded <- err
	}()
	go io.WriteString(input, "hi")
	if _, err := io.ReadFull(down.Body, make([]byte, len("\x00hi"))); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(io.Discard, down.Body)
		downloaded <- err
	}()
	return []openEnd{{"download of the CLI", nil, downloaded, func() {}}, {"upload of the CLI", nil, uploaded, letTransport}}
}

// pipelined opens the tail by HTTP/1.1, and sends something after the request: the
// server does not read from the connection any more then.
func (p *watched) pipelined(t *testing.T, c caller, name string) openEnd {
	t.Helper()
	conn, answer := c.connect(t)
	io.WriteString(conn, "GET /tail?name="+name+" HTTP/1.1\r\nHost: "+strings.TrimPrefix(c.URL, "http://")+
		"\r\nAuthorization: "+c.header.Get("Authorization")+"\r\n\r\n")
	if _, err := answer.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET / HTTP/1.1\r\n")
	broken := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, answer)
		broken <- err
	}()
	return openEnd{name, p.visit(name).gone, broken, func() {}}
}

// ends waits until both sides have noticed, which has to be soon.
func (o openEnd) ends(t *testing.T, since time.Time) {
	t.Helper()
	limit := time.After(gatewaytest.Patience)
	if o.gone != nil {
		select {
		case <-o.gone:
		case <-limit:
			t.Fatalf("%s: Jenkins' end is still open", o.name)
		}
	}
	took := time.Since(since)
	o.letTransport()
	select {
	case err := <-o.broken:
		if err == nil {
			t.Errorf("%s: the answer looks whole", o.name)
		}
	case <-limit:
		t.Fatalf("%s: the client's end is still open", o.name)
	}
	took = max(took, time.Since(since))
	t.Logf("%s ended after %v", o.name, took.Round(time.Millisecond))
	if took > promptly {
		t.Errorf("%s ended after %v, want %v", o.name, took, promptly)
	}
}

func (o openEnd) isOpen(t *testing.T) {
	t.Helper()
	select {
	case err := <-o.broken:
		t.Errorf("%s has ended: %v", o.name, err)
	default:
	}
}

// extended opens a WebSocket of the CLI by extended CONNECT on HTTP/3 (RFC 9220).
func (s *site) extended(t *testing.T, who client) openEnd {
	t.Helper()
	address := strings.TrimPrefix(s.secure, "https://")
	conn, err := quic.DialAddr(t.Context(), address, &tls.Config{RootCAs: s.roots, NextProtos: []string{http3.NextProtoH3}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	stream, err := new(http3.Transport).NewClientConn(conn).OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := who.header.Clone()
	header.Set("Origin", s.URL)
	header.Set("Sec-WebSocket-Version", "13")
	err = stream.SendRequestHeader(&http.Request{
		Method: http.MethodConnect, Proto: "websocket", Host: address, URL: &url.URL{Scheme: "https", Host: address, Path: "/cli/ws"}, Header: header,
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.ReadResponse()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	if _, err := stream.Write([]byte("\x82\x85\x00\x00\x00\x00hello")); err != nil { // RFC 6455, section 5.2
		t.Fatal(err)
	}
	var got []byte // with Jenkins' ping before it
	for piece := make([]byte, 64); !strings.HasSuffix(string(got), "\x82\x05hello"); {
		n, err := stream.Read(piece)
		if got = append(got, piece[:n]...); err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	broken := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, stream)
		broken <- err
	}()
	return openEnd{"extended CONNECT", nil, broken, func() {}}
}

// by is a client with a new token.
func (s *site) by(t *testing.T, v version, request admin.CreateRequest) (caller, admin.CreatedToken) {
	t.Helper()
	made, err := s.API().CreateToken(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return caller{s, client{"token", http.Header{"Authorization": {"Bearer " + made.Secret}}}, v}, made
}

// TestWhatIsOpenEndsWithItsToken: streams, up- and downloads, WebSockets and commands
// of a token that is revoked end on both sides, while those of another go on. It
// measures time, so nothing runs beside it.
func TestWhatIsOpenEndsWithItsToken(t *testing.T) {
	s, pages := startWatched(t)
	for i, v := range s.versions(t) {
		t.Run(v.name, func(t *testing.T) {
			doomed, made := s.by(t, v, admin.CreateRequest{User: "alice", Name: fmt.Sprintf("doomed-%d", i)})
			other := caller{s, s.clients[0], v}
			open := func(c caller, whose string, id int) []openEnd {
				name := func(what string) string { return fmt.Sprintf("%s-%s-%d", whose, what, i) }
				all := append(c.command(t, id),
					pages.open(t, c, "GET", "/tail", name("tail")),
					pages.open(t, c, "GET", "/download", name("download")),
					pages.open(t, c, "POST", "/upload", name("upload")))
				if v.major == 1 {
					all = append(all, s.socket(t, v.url, c.client))
				}
				if v.major == 3 {
					all = append(all, s.extended(t, c.client))
				}
				if v.url == s.URL && v.major == 1 {
					all = append(all, pages.pipelined(t, c, name("pipelined")))
				}
				return all
			}
			ends, kept := open(doomed, "doomed", 2*i), open(other, "other", 2*i+1)
			if _, err := s.API().RevokeToken(t.Context(), made.ID, "test"); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			for _, o := range ends {
				o.ends(t, since)
			}
			for _, o := range kept {
				o.isOpen(t)
			}
			select {
			case pages.visit(fmt.Sprintf("other-tail-%d", i)).say <- "still here":
			case <-time.After(gatewaytest.Patience):
				t.Error("Jenkins has lost the stream of another token")
			}
			told := 0
			for line := range strings.Lines(s.Log()) {
				if strings.Contains(line, "in-flight request ended") && strings.Contains(line, made.ID) {
					told++
				}
			}
			if told != len(ends) {
				t.Errorf("the log tells of %d ends, want each of %d once", told, len(ends))
			}
		})
	}
}

// TestEachEndOfAToken: suspension, expiry, a disabled owner, the end of an overlap, and
// scopes or sources that no longer cover the request end it as a revocation does.
func TestEachEndOfAToken(t *testing.T) {
	s, pages := startWatched(t)
	api := s.API()
	for _, tt := range []struct {
		name, user string
		life       time.Duration
		end        func(id string) error
	}{
		{"suspended", "alice", 0, func(id string) error {
			_, err := api.SuspendToken(t.Context(), id, admin.StateRequest{Actor: "test"})
			return err
		}},
		{"rotated", "alice", 0, func(id string) error {
			_, err := api.RotateToken(t.Context(), id, admin.Rotation{Overlap: "0", Actor: "test"})
			return err
		}},
		{"disabled", "leaver", 0, func(string) error {
			_, err := api.DisableUser(t.Context(), "leaver", true, "test")
			return err
		}},
		{"expired", "alice", 2 * time.Second, func(string) error { return nil }},
		{"narrower scopes", "alice", 0, func(id string) error {
			_, err := api.LimitToken(t.Context(), id, admin.LimitsUpdate{Scopes: &[]string{"build:team-a"}, Actor: "test"})
			return err
		}},
		{"other sources", "alice", 0, func(id string) error {
			_, err := api.LimitToken(t.Context(), id, admin.LimitsUpdate{Sources: &[]string{"192.0.2.0/24"}, Actor: "test"})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := admin.CreateRequest{User: tt.user, Name: tt.name}
			if tt.life != 0 {
				request.Expires = time.Now().Add(tt.life).UTC().Format(time.RFC3339)
			}
			c, made := s.by(t, s.versions(t)[0], request)
			open := pages.open(t, c, "GET", "/tail", strings.ReplaceAll(tt.name, " ", "-"))
			if err := tt.end(made.ID); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			if tt.life != 0 {
				since = time.Unix(int64(made.Expires), 0)
			}
			open.ends(t, since)
		})
	}
}

// TestOpenRequestsOutliveTheLastUse: the last uses of a token get their whole answers,
// also when the token has no use left while they are open.
func TestOpenRequestsOutliveTheLastUse(t *testing.T) {
	s, pages := startWatched(t)
	v := s.versions(t)[0]
	const uses = 5
	bounded, _ := s.by(t, v, admin.CreateRequest{User: "alice", Name: "bounded", Limits: admin.Limits{MaxUses: uses, Rate: uses}})
	var open []openEnd
	for i := range uses {
		open = append(open, pages.open(t, bounded, "POST", "/upload", "use-"+strconv.Itoa(i)))
	}
	if resp, _ := bounded.send(t, bounded.request(t, "GET", "/api/json", nil)); resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("status %d after the last use", resp.StatusCode)
	}
	// The end of another token shows that the gateway has looked at all open requests.
	doomed, made := s.by(t, v, admin.CreateRequest{User: "alice", Name: "doomed"})
	control := pages.open(t, doomed, "GET", "/tail", "control")
	if _, err := s.API().RevokeToken(t.Context(), made.ID, "test"); err != nil {
		t.Fatal(err)
	}
	control.ends(t, time.Now())
	for _, o := range open {
		o.isOpen(t)
	}
}

// TestStreamOutlivesAReloadAndNotItsToken: what a configuration has let in is ended
// under the next one, which counts it.
func TestStreamOutlivesAReloadAndNotItsToken(t *testing.T) {
	for _, tt := range []struct {
		name string
		open func(*testing.T, *site, *watched, client) []openEnd
	}{
		// Not together: with WebSockets a reload writes to what Caddy's reverse_proxy reads
		// for other answers, which the race detector sees.
		{"WebSockets", func(t *testing.T, s *site, _ *watched, who client) []openEnd {
			return []openEnd{s.socket(t, s.URL, who), s.socket(t, s.secure, who)}
		}},
		{"answers", func(t *testing.T, s *site, pages *watched, who client) (open []openEnd) {
			for i, v := range s.versions(t) {
				open = append(open, pages.open(t, caller{s, who, v}, "GET", "/tail", "tail-"+strconv.Itoa(i)))
			}
			return open
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, pages := startWatched(t)
			c, made := s.by(t, s.versions(t)[0], admin.CreateRequest{User: "alice", Name: "doomed"})
			open := tt.open(t, s, pages, c.client)
			for range 2 {
				if r := s.Run(t, "reload", "--force", "--config", s.Config, "--address", s.Admin); r.Status != 0 {
					t.Fatalf("reload: status %d: %s", r.Status, r.Stderr)
				}
			}
			for _, o := range open {
				o.isOpen(t)
			}
			if _, err := s.API().RevokeToken(t.Context(), made.ID, "test"); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			for _, o := range open {
				o.ends(t, since)
			}
			resp, err := gatewaytest.Client.Get("http://" + s.Admin + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			counted := "\ncaddy_crumbgate_ended_total " + strconv.Itoa(len(open)) + "\n"
			if metrics, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(metrics), counted) {
				t.Errorf("the metrics (%v) don't count each as ended", err)
			}
		})
	}
}
