package live_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/live"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds everything that a test waits for.
const patience = 10 * time.Second

// A world is a directory of tokens and a registry, whose clock a test may set forward.
type world struct {
	*live.Registry
	tokens *token.Directory
	ahead  atomic.Int64
	ended  atomic.Int32
	log    *bytes.Buffer
	close  func() // of the registry, once
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func newWorld(t testing.TB) *world {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{log: new(bytes.Buffer)}
	w.tokens, err = token.Open(t.Context(), store, token.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Registry = live.New(w.now, slog.New(slog.NewTextHandler(w.log, nil)), func() { w.ended.Add(1) })
	w.close = sync.OnceFunc(w.Registry.Close)
	t.Cleanup(func() {
		w.close()
		if err := w.tokens.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) create(t testing.TB, name, expires string) *token.Token {
	t.Helper()
	made, _, err := w.tokens.Create(t.Context(), token.Request{User: "alice", Name: name, Expires: expires, Actor: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A gate is a server that registers each request under the token that it names, and
// passes it on to an upstream.
type gate struct {
	*world
	plain, secure *httptest.Server
	upstream      *httptest.Server
	gone          chan string // of the upstream, by path: its handler has returned
	reached       chan string
	tokens        map[string]*token.Token
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{world: newWorld(t), gone: make(chan string, 100), reached: make(chan string, 100), tokens: make(map[string]*token.Token)}
	g.upstream = httptest.NewServer(g)
	t.Cleanup(g.upstream.Close)
	target, err := url.Parse(g.upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1,
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q live.Request
		r = g.Begin(&q, g.tokens[r.Header.Get("Token")], token.Access{}, w, r, time.Now())
		defer func() {
			if q.End() {
				panic(http.ErrAbortHandler)
			}
		}()
		proxy.ServeHTTP(&writer{w, &q}, r)
	})
	serve := func() *httptest.Server {
		s := httptest.NewUnstartedServer(handler)
		s.Config.ConnContext = live.ConnContext
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetHTTP2(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		t.Cleanup(s.Close)
		return s
	}
	g.plain, g.secure = serve(), serve()
	g.plain.Start()
	g.secure.EnableHTTP2 = true
	g.secure.StartTLS()
	return g
}

// writer tells of a connection that is hijacked, as the gate's does.
type writer struct {
	http.ResponseWriter
	q *live.Request
}

func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.q.Hijacked(conn)
	}
	return conn, buffered, err
}

// ServeHTTP is the upstream.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("Token") + r.URL.Path
	defer func() { g.gone <- name }()
	switch r.URL.Path {
	case "/idle": // says something once
		fmt.Fprintln(w, "begun")
		http.NewResponseController(w).Flush()
		g.reached <- name
		<-r.Context().Done()
	case "/mute": // not even a header
		g.reached <- name
		<-r.Context().Done()
	case "/upload":
		r.Body.Read(make([]byte, 1))
		g.reached <- name
		io.Copy(io.Discard, r.Body)
	case "/stuck": // does not read what comes; the end of a connection it learns all the same
		r.Body.Read(make([]byte, 1))
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		g.reached <- name
		closed(conn)
	case "/download":
		g.reached <- name
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 1<<16))
		}
	case "/socket":
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		g.reached <- name
		io.Copy(conn, buffered)
	}
}

// closed waits until the peer of a connection has left, which shows in that it can't be
// written to.
func closed(conn net.Conn) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return
		}
	}
}

// endless is a body that goes on for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// slow is a body that stops after its first byte, until it is closed.
type slow struct {
	began  atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (s *slow) Read(p []byte) (int, error) {
	if s.began.CompareAndSwap(false, true) {
		return copy(p, "x"), nil
	}
	<-s.closed
	return 0, io.ErrUnexpectedEOF
}

func (s *slow) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

func await(t *testing.T, what string, c <-chan string) string {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
		return ""
	}
}

// TestEndsBothSides: over each version, whatever is open of a token that was revoked.
func TestEndsBothSides(t *testing.T) {
	g := newGate(t)
	client := func(set func(*http.Protocols, bool)) *http.Transport {
		protocols := new(http.Protocols)
		set(protocols, true)
		transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		t.Cleanup(transport.CloseIdleConnections)
		return transport
	}
	other := g.create(t, "other", "1d")
	for _, v := range []struct {
		name, url string
		transport *http.Transport
	}{
		{"h1", g.plain.URL, client((*http.Protocols).SetHTTP1)},
		{"h1 TLS", g.secure.URL, client((*http.Protocols).SetHTTP1)},
		{"h2c", g.plain.URL, client((*http.Protocols).SetUnencryptedHTTP2)},
		{"h2", g.secure.URL, client((*http.Protocols).SetHTTP2)},
	} {
		for _, tt := range []struct{ method, path string }{
			{"GET", "/idle"}, {"GET", "/mute"}, {"GET", "/download"},
			{"POST", "/upload"}, {"POST", "/stuck"},
		} {
			t.Run(v.name+" "+tt.method+tt.path, func(t *testing.T) {
				doomed := g.create(t, strings.ReplaceAll(v.name+tt.method+tt.path, "/", " "), "1d")
				g.tokens["doomed"], g.tokens["other"] = doomed, other
				before := g.ended.Load()
				left, bodies := make(map[string]chan error), make(map[string]*slow)
				ctx, cancel := context.WithCancel(t.Context())
				for _, name := range []string{"doomed", "other"} {
					var body io.Reader
					switch {
					case tt.path == "/stuck":
						body = endless{}
					case tt.method == "POST":
						s := &slow{closed: make(chan struct{})}
						t.Cleanup(func() { s.Close() })
						body, bodies[name] = s, s
					}
					req, err := http.NewRequestWithContext(ctx, tt.method, v.url+tt.path, body)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Token", name)
					done := make(chan error, 1)
					left[name] = done
					go func() {
						resp, err := v.transport.RoundTrip(req)
						if err != nil {
							done <- err
							return
						}
						defer resp.Body.Close()
						if tt.path == "/download" { // does not read on
							<-ctx.Done()
						}
						_, err = io.Copy(io.Discard, resp.Body)
						done <- err
					}()
					await(t, "the upstream", g.reached)
				}
				if _, err := g.world.tokens.Revoke(t.Context(), doomed.Record().ID, "test"); err != nil {
					t.Fatal(err)
				}
				g.Look()
				if got := await(t, "the upstream's end", g.gone); got != "doomed"+tt.path {
					t.Errorf("%s has ended, want that of doomed", got)
				}
				if s := bodies["doomed"]; s != nil {
					s.Close() // the transport waits for its read
				}
				if tt.path != "/download" {
					select {
					case err := <-left["doomed"]:
						if err == nil {
							t.Error("the answer looks whole")
						}
					case <-time.After(patience):
						t.Error("the client's side is open")
					}
				}
				select {
				case err := <-left["other"]:
					t.Errorf("what another token has open has ended: %v", err)
				default:
				}
				if n := g.ended.Load() - before; n != 1 {
					t.Errorf("%d ended, want 1", n)
				}
				cancel()
				if s := bodies["other"]; s != nil {
					s.Close()
				}
				await(t, "the other's end", g.gone)
				<-left["other"]
			})
		}
	}
}

// TestEndsWhatIsNotRead: a client that sends more than its request, after which the
// server does not read its connection any more, keeps nothing open by that.
func TestEndsWhatIsNotRead(t *testing.T) {
	g := newGate(t)
	for _, tt := range []struct{ name, head, more string }{
		{"a pipelined request", "GET /idle HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"a WebSocket", "GET /socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", "hello"},
		{"an upload that goes slowly", "PUT /upload HTTP/1.1\r\nContent-Length: 1000\r\n", "some of it"},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", tt.name, secure), func(t *testing.T) {
				doomed := g.create(t, tt.name+fmt.Sprint(secure), "1d")
				g.tokens["doomed"] = doomed
				var conn net.Conn
				var err error
				if secure {
					conn, err = tls.Dial("tcp", g.secure.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
				} else {
					conn, err = net.Dial("tcp", g.plain.Listener.Addr().String())
				}
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				io.WriteString(conn, tt.head+"Host: x\r\nToken: doomed\r\n\r\n")
				answer := bufio.NewReader(conn)
				if strings.HasPrefix(tt.head, "GET") {
					if _, err := answer.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				io.WriteString(conn, tt.more)
				await(t, "the upstream", g.reached)
				if _, err := g.world.tokens.Revoke(t.Context(), doomed.Record().ID, "test"); err != nil {
					t.Fatal(err)
				}
				g.Look()
				await(t, "the upstream's end", g.gone)
				if _, err := io.Copy(io.Discard, answer); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
					t.Errorf("the client's side is open: %v", err)
				}
			})
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// access is what the requests of these tests ask of their tokens.
var access = token.Access{Method: "POST", Path: "/job/team-a/build", Addr: "10.0.0.1"}

// TestReasons: a token that is no longer valid for a request ends it, and that is logged
// once. What only bounds new requests does not.
func TestReasons(t *testing.T) {
	limit := func(limits token.Limits) func(*testing.T, *world, *token.Token) {
		return func(t *testing.T, w *world, tok *token.Token) {
			t.Helper()
			if _, err := w.tokens.SetLimits(t.Context(), tok.Record().ID, &limits, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	use := func(t *testing.T, w *world, tok *token.Token, times int) {
		t.Helper()
		for range times {
			if refusal := tok.Use(usage.Use{Time: w.now(), Addr: access.Addr}); refusal != "" {
				t.Fatalf("Use = %q", refusal)
			}
		}
	}
	for _, tt := range []struct {
		name, reason string
		end          func(t *testing.T, w *world, tok *token.Token)
	}{
		{"nothing", "", func(*testing.T, *world, *token.Token) {}},
		{"revoked", "revoked", func(t *testing.T, w *world, tok *token.Token) {
			if _, err := w.tokens.Revoke(t.Context(), tok.Record().ID, "test"); err != nil {
				t.Fatal(err)
			}
		}},
		{"suspended", "suspended", func(t *testing.T, w *world, tok *token.Token) {
			if _, err := w.tokens.SuspendAll(t.Context(), []*token.Token{tok}, token.ByAdmin, "", "test"); err != nil {
				t.Fatal(err)
			}
		}},
		{"the owner is disabled", "owner disabled", func(t *testing.T, w *world, _ *token.Token) {
			if _, err := w.tokens.SetDisabled(t.Context(), "alice", true, "test"); err != nil {
				t.Fatal(err)
			}
		}},
		{"expired", "expired", func(_ *testing.T, w *world, _ *token.Token) { w.ahead.Store(int64(25 * time.Hour)) }},
		{"the overlap of a rotation has ended", "superseded", func(t *testing.T, w *world, tok *token.Token) {
			if _, _, _, err := w.tokens.Rotate(t.Context(), tok.Record().ID, token.Rotation{Overlap: "0"}); err != nil {
				t.Fatal(err)
			}
		}},
		{"sources that don't include the address", "source", limit(token.Limits{Sources: []string{"192.0.2.0/24"}})},
		{"sources that include the address", "", limit(token.Limits{Sources: []string{"10.0.0.0/8"}})},
		{"scopes that don't cover the request", "scope", limit(token.Limits{Scopes: []string{"read"}})},
		{"scopes that don't cover the request of an observed token", "", limit(token.Limits{Scopes: []string{"read"}, Observe: true})},
		{"scopes that cover the request", "", limit(token.Limits{Scopes: []string{"build:team-a"}})},
		{"all uses are spent", "", func(t *testing.T, w *world, tok *token.Token) {
			limit(token.Limits{Uses: 2})(t, w, tok)
			use(t, w, tok, 2)
		}},
		{"the rate is reached", "", func(t *testing.T, w *world, tok *token.Token) {
			limit(token.Limits{Rate: 1})(t, w, tok)
			use(t, w, tok, 1)
		}},
		{"no other request for longer than max_idle", "", func(t *testing.T, w *world, tok *token.Token) {
			w.tokens.SetRules(token.Rules{MaxIdle: time.Hour})
			use(t, w, tok, 1)
			w.ahead.Store(int64(2 * time.Hour))
		}},
		{"the registry is closed", "the token store is closed", func(_ *testing.T, w *world, _ *token.Token) { w.close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tok := w.create(t, "ci", "1d")
			var q live.Request
			if q.Begun() {
				t.Error("Begun before Begin")
			}
			r := httptest.NewRequestWithContext(live.ConnContext(t.Context(), nil), "GET", "/", nil)
			r = w.Begin(&q, tok, access, httptest.NewRecorder(), r, time.Now())
			tt.end(t, w, tok)
			w.Look()
			w.Look()
			if got := r.Context().Err() != nil; got != (tt.reason != "") {
				t.Errorf("cancelled: %v", got)
			}
			if got := q.End(); got != (tt.reason != "") {
				t.Errorf("End() = %v", got)
			}
			w.close()
			log := w.log.String()
			if tt.reason == "" {
				if log != "" || w.ended.Load() != 0 {
					t.Errorf("%d ended: %s", w.ended.Load(), log)
				}
				return
			}
			if w.ended.Load() != 1 || strings.Count(log, "\n") != 1 {
				t.Errorf("%d ended, want 1, logged once: %s", w.ended.Load(), log)
			}
			for _, want := range []string{"token_id=" + tok.Record().ID.String(), "owner=alice", "name=ci", tt.reason} {
				if !strings.Contains(log, want) {
					t.Errorf("the log does not have %s: %s", want, log)
				}
			}
		})
	}
}

// TestOpenRequestIsUse: a token with an open request is not idle, and its idleness counts
// from the end of that request.
func TestOpenRequestIsUse(t *testing.T) {
	w := newWorld(t)
	w.tokens.SetRules(token.Rules{MaxIdle: time.Hour})
	tok := w.create(t, "agent", "30d")
	if refusal := tok.Use(usage.Use{Time: w.now(), Addr: access.Addr}); refusal != "" {
		t.Fatal(refusal)
	}
	var q live.Request
	w.Begin(&q, tok, access, httptest.NewRecorder(), httptest.NewRequestWithContext(live.ConnContext(t.Context(), nil), "GET", "/", nil), w.now())
	for _, ahead := range []time.Duration{2 * time.Hour, 4 * time.Hour, 6 * time.Hour} {
		w.ahead.Store(int64(ahead))
		w.Look()
		if refusal := tok.Admit(w.now()); refusal != "" {
			t.Errorf("after %v with an open request Admit = %q", ahead, refusal)
		}
	}
	if q.End() {
		t.Error("the request was ended")
	}
	w.close()
	for _, step := range []struct {
		ahead time.Duration
		want  token.Refusal
	}{{6*time.Hour + 50*time.Minute, ""}, {7*time.Hour + time.Minute, token.RefusedIdle}} {
		w.ahead.Store(int64(step.ahead))
		if refusal := tok.Admit(w.now()); refusal != step.want {
			t.Errorf("%v ahead: Admit = %q, want %q", step.ahead, refusal, step.want)
		}
	}
}

// TestLooksByItself: nobody has to call Look.
func TestLooksByItself(t *testing.T) {
	w := newWorld(t)
	tok := w.create(t, "ci", "1d")
	var q live.Request
	r := w.Begin(&q, tok, access, httptest.NewRecorder(), httptest.NewRequestWithContext(live.ConnContext(t.Context(), nil), "GET", "/", nil), time.Now())
	defer q.End()
	w.ahead.Store(int64(25 * time.Hour))
	select {
	case <-r.Context().Done():
	case <-time.After(patience):
		t.Error("not ended")
	}
}

// TestConcurrent is for the race detector: requests come and go while all are looked
// through and some are ended.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	good, bad := w.create(t, "good", "1d"), w.create(t, "bad", "1d")
	if _, err := w.tokens.Revoke(t.Context(), bad.Record().ID, "test"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 500 {
				tok := good
				if i%2 == 1 {
					tok = bad
				}
				r := httptest.NewRequestWithContext(live.ConnContext(t.Context(), nil), "GET", "/", nil)
				r.ProtoMajor = 1 + n%2
				var q live.Request
				w.Begin(&q, tok, access, httptest.NewRecorder(), r, time.Now())
				if n%50 == 0 {
					w.Look()
				}
				if ended := q.End(); ended && tok == good {
					t.Error("a good token's request was ended")
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkRegister is what a request that is quick pays.
func BenchmarkRegister(b *testing.B) {
	for name, major := range map[string]int{"HTTP 1": 1, "HTTP 2": 2} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			tok, rec := w.create(b, "ci", "1d"), httptest.NewRecorder()
			now := time.Now()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := httptest.NewRequestWithContext(live.ConnContext(b.Context(), nil), "GET", "/", nil)
				r.ProtoMajor = major
				q := new(live.Request)
				for pb.Next() {
					*q = live.Request{}
					w.Begin(q, tok, access, rec, r, now)
					q.End()
				}
			})
		})
	}
}
