package gateway_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// start is when the clock of a site stands.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// A site is a gate in front of a Jenkins, with a proxy between them, all over
// loopback.
type site struct {
	t         testing.TB
	jenkins   *jenkinstest.Jenkins
	gate      *gateway.Gate
	directory *token.Directory
	log       *logBuffer
	client    *http.Client // follows no redirects
	url       string       // of the gate, with Jenkins' prefix
}

// options of a site; the zero value is a plain one.
type options struct {
	jenkins jenkinstest.Config
	gate    func(*gateway.Config)
	// between wraps the proxy, as a handler behind the gate does.
	between func(http.Handler) http.Handler
}

func newSite(t testing.TB, o options) *site {
	t.Helper()
	s := &site{t: t, log: new(logBuffer)}
	logger := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.directory, err = token.Open(t.Context(), store, token.Config{Log: logger, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.directory.Close(); err != nil {
			t.Error(err)
		}
	})

	var jenkinsURL string
	s.jenkins, jenkinsURL = jenkinstest.Start(t, o.jenkins)
	if err := s.jenkins.AddJob("a", jenkinstest.FreestyleXML); err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(t, jenkinsURL)
	if o.between != nil {
		proxy = o.between(proxy)
	}

	config := gateway.Config{
		Lookup: func(d token.Digest) (*token.Token, error) { return s.directory.Find(d), nil },
		Log:    logger,
		Now:    func() time.Time { return start.Add(2 * time.Hour) }, // an hour after "1h" tokens have expired
		Prefix: o.jenkins.Prefix,
	}
	if o.gate != nil {
		o.gate(&config)
	}
	if s.gate, err = gateway.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.gate.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.gate.ServeHTTP(w, r, passTo(proxy)); err != nil {
			t.Errorf("ServeHTTP: %v", err)
		}
	}))
	t.Cleanup(front.Close)
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.url = front.URL + o.jenkins.Prefix
	return s
}

func passTo(h http.Handler) gateway.Next {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// newProxy returns a reverse proxy that appends its peer to X-Forwarded-For, as Caddy
// does for a trusted one, streams and waits for nothing.
func newProxy(t testing.TB, target string) http.Handler {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = u.Scheme, u.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // without what net/url can't read it would be another
			p.Out.Host = p.In.Host
			if peer, _, err := net.SplitHostPort(p.In.RemoteAddr); err == nil {
				p.Out.Header["X-Forwarded-For"] = append(p.In.Header["X-Forwarded-For"], peer)
			}
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
}

// token makes a token and returns its secret.
func (s *site) token(user string) string {
	s.t.Helper()
	return s.tokenAs(token.Request{User: user, Expires: "never"})
}

func (s *site) tokenAs(req token.Request) string {
	s.t.Helper()
	if req.Name == "" {
		req.Name = fmt.Sprintf("t%d", s.directory.Len())
	}
	req.Actor = "test"
	_, secret, err := s.directory.Create(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return secret.Reveal()
}

func basicAuth(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

// An answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

// send makes a request with headers as "Name: value" lines. A name is sent as it
// is written.
func (s *site) send(method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.sendBody(method, path, strings.NewReader(body), headers...)
}

func (s *site) sendBody(method, path string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	a, err := s.try(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is send for other goroutines than the test's.
func (s *site) try(method, path string, body io.Reader, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		return answer{}, err
	}
	if body, ok := body.(sized); ok {
		r.ContentLength = body.size
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return answer{resp, string(read)}, err
}

// dump is all of an answer that may tell one from another.
func (a answer) dump() string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Status)
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		if name != "Date" {
			fmt.Fprintf(&b, "%s: %q\n", name, a.Header[name])
		}
	}
	return b.String() + "\n" + a.body
}

// received returns what Jenkins got by a method and has not refused for its crumb.
func (s *site) received(method string) []jenkinstest.Request {
	var got []jenkinstest.Request
	for _, r := range s.jenkins.Requests() {
		if r.Method == method && r.Crumb != jenkinstest.CrumbInvalid && r.Crumb != jenkinstest.CrumbMissing && r.Path != "/crumbIssuer/api/json" {
			got = append(got, r)
		}
	}
	return got
}

// only returns the one request that Jenkins got by a method.
func (s *site) only(method string) jenkinstest.Request {
	s.t.Helper()
	got := s.received(method)
	if len(got) != 1 {
		s.t.Fatalf("Jenkins accepted %d %s requests, want 1", len(got), method)
	}
	return got[0]
}

// untouched fails the test if anything has reached Jenkins.
func (s *site) untouched() {
	s.t.Helper()
	for _, r := range s.jenkins.Requests() {
		s.t.Errorf("Jenkins got %s %s as %q", r.Method, r.RequestURI, r.User)
	}
}

// hides fails the test if the log has a secret, plain or in Base64.
func (s *site) hides(user, secret string) {
	s.t.Helper()
	text := s.log.String()
	pair := base64.RawStdEncoding.EncodeToString([]byte(user + ":" + secret))
	for _, shown := range []string{secret, secret[3:20], base64.RawStdEncoding.EncodeToString([]byte(secret)), pair, pair[:24]} {
		if strings.Contains(text, shown) {
			s.t.Errorf("the log shows %q:\n%s", shown, text)
		}
	}
}

// A logBuffer takes log lines from any goroutine.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// last returns the last line, but for what the directory says in the background.
func (l *logBuffer) last() string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "token new address") })
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// raw sends bytes as they are and returns the whole answer up to the end of the
// connection.
func (s *site) raw(request string) string {
	s.t.Helper()
	conn := s.dial(request)
	defer conn.Close()
	all, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(all)
}

// dial opens a connection and sends bytes as they are.
func (s *site) dial(request string) net.Conn {
	s.t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	return conn
}
