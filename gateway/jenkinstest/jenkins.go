// Package jenkinstest is a stand-in for a Jenkins controller: an [http.Handler] for tests, the demo and benchmarks.
//
// It behaves as Jenkins 2.578 with the reverse-proxy-auth plugin does wherever a proxy or a client could notice:
// sessions, crumbs, the order of authentication and crumb check, the shape of refusals, path handling, redirects, and
// enough of jobs, queue and builds for client libraries. Where Jenkins is vague it is stricter, never kinder, so that
// what passes here isn't surprised by a real controller. It trusts its identity headers as blindly as the plugin does.
//
// Nothing runs in the background: builds are computed from the time that went by whenever somebody looks. Nothing is
// kept on disk.
package jenkinstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config describes the Jenkins to imitate. The zero value is a Jenkins 2.578 at the root path with CSRF protection.
type Config struct {
	// Prefix is the context path, such as "/jenkins"; empty for none.
	Prefix string
	// Version is what X-Jenkins says; default "2.578". Below 2.543 the default crumb contains the client's address;
	// below 2.472 (Jetty 10) the Location of a 302 is absolute. Versions below 2.192 are treated as 2.192.
	Version string
	// CrumbField is the name of the crumb's header and parameter; default "Jenkins-Crumb".
	CrumbField string
	// Strict replaces the default crumb issuer by the Strict Crumb Issuer plugin's.
	Strict *StrictIssuer
	// RootURL is the configured Jenkins URL; JSON url fields and the CLI's origin check use it. Empty: not configured.
	RootURL string
	// Users have credentials of their own in Jenkins, for Basic authentication. Any other Basic value is a 401.
	Users map[string]User
	// Readers may read everything and change nothing; all other signed-in users may do everything.
	Readers []string
	// UserHeader and the others name the identity headers; defaults X-Forwarded-User, -Groups, -Mail, -DisplayName.
	UserHeader, GroupsHeader, MailHeader, DisplayNameHeader string
	// MixGroups makes parallel requests exchange their groups, as the plugin does: its realm keeps the groups of a
	// request in a field that all requests share (ReverseProxySecurityRealm.authorities).
	MixGroups bool
	// GroupsDelimiter separates groups, each of its characters by itself; default "|".
	GroupsDelimiter string
	// QuietPeriod is how long a build waits in the queue; default 20 ms. The delay parameter of a build overrides it.
	QuietPeriod time.Duration
	// BuildTime is how long a build runs; default 50 ms. A build parameter named DURATION overrides it.
	BuildTime time.Duration
	// RecordLimit is how many requests are remembered; default 10000.
	RecordLimit int
}

// User is somebody whom Jenkins itself can authenticate.
type User struct {
	Tokens   []string // API tokens, as the user types them; a request with one needs no crumb
	Password string   // empty: none
}

// Jenkins is the stand-in. Its methods may be called at any time from any goroutine.
type Jenkins struct {
	cfg       Config
	minor     int    // 578 for 2.578
	salt      string // of crumbs; survives Restart, as $JENKINS_HOME/secrets does
	csrf      atomic.Bool
	run       atomic.Pointer[run]
	faults    faults
	record    record
	jobs      jobs
	duplex    duplex
	pages     pages
	agents    agents
	listeners listeners
	crumbs    atomic.Int64 // issued through /crumbIssuer
	readers   map[string]bool
	users     sync.Map               // folded names of the users that were seen; they have a page
	seen      atomic.Int64           // how many these are
	booting   atomic.Bool            // see SetBooting
	shared    atomic.Pointer[string] // groups of the latest request, with MixGroups
	done      chan struct{}          // closed by Close
	closing   sync.Once
}

// New returns a running stand-in. Call Close when it may hold hanging requests.
func New(cfg Config) *Jenkins {
	setDefault(&cfg.Version, "2.578")
	setDefault(&cfg.CrumbField, "Jenkins-Crumb")
	setDefault(&cfg.UserHeader, "X-Forwarded-User")
	setDefault(&cfg.GroupsHeader, "X-Forwarded-Groups")
	setDefault(&cfg.MailHeader, "X-Forwarded-Mail")
	setDefault(&cfg.DisplayNameHeader, "X-Forwarded-DisplayName")
	setDefault(&cfg.GroupsDelimiter, "|")
	setDefault(&cfg.QuietPeriod, 20*time.Millisecond)
	setDefault(&cfg.BuildTime, 50*time.Millisecond)
	setDefault(&cfg.RecordLimit, 10000)
	cfg.Prefix = strings.TrimRight(cfg.Prefix, "/")
	if cfg.RootURL != "" && !strings.HasSuffix(cfg.RootURL, "/") {
		cfg.RootURL += "/"
	}

	j := &Jenkins{cfg: cfg, minor: minorVersion(cfg.Version), salt: randomHex(16), done: make(chan struct{})}
	for id := range cfg.Users {
		j.see(id)
	}
	j.readers = make(map[string]bool)
	for _, name := range cfg.Readers {
		j.readers[fold(name)] = true
	}
	j.csrf.Store(true)
	j.record.on.Store(true)
	j.record.limit = cfg.RecordLimit
	j.jobs.init(cfg)
	j.Restart()
	return j
}

// Restart makes Jenkins forget every session. The session cookie gets another name and X-Jenkins-Session another
// value; jobs, builds and the crumbs' salt stay.
func (j *Jenkins) Restart() { j.run.Store(newRun()) }

// SetCSRF turns the crumb check on or off. When it is off there is no crumb issuer: /crumbIssuer answers 404.
func (j *Jenkins) SetCSRF(on bool) { j.csrf.Store(on) }

// SetBooting makes Jenkins start, or be ready. While it starts, the crumb filter refuses each POST that needs a crumb, as
// no session exists. Every other request gets 503 with Retry-After.
func (j *Jenkins) SetBooting(on bool) { j.booting.Store(on) }

// CrumbFetches counts the crumbs that /crumbIssuer has handed out.
func (j *Jenkins) CrumbFetches() int { return int(j.crumbs.Load()) }

// Close ends requests that hang or drip because of a Fault. It doesn't wait for them: the server does.
func (j *Jenkins) Close() { j.closing.Do(func() { close(j.done) }) }

// TB is what Start needs of a [testing.TB]; this package stays free of package testing, as the demo links it.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Start serves a new stand-in on loopback until the test ends. The URL includes the prefix and has no trailing slash.
func Start(tb TB, cfg Config) (j *Jenkins, url string) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start Jenkins stand-in: %v", err)
	}
	j = New(cfg)
	server := &http.Server{Handler: j, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		j.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close() // a client that never hangs up
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Fatalf("serve Jenkins stand-in: %v", err)
		}
	})
	return j, "http://" + listener.Addr().String() + j.cfg.Prefix
}

// ServeHTTP passes a request through what Jenkins puts in its way, in the order of Jenkins' web-fragment.xml:
// container, suspicious-request filter, authentication, crumb filter, Stapler.
func (j *Jenkins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := j.newExchange(w, r)
	x.Header().Set("Server", "Jetty("+j.jetty()+")")
	x.Header().Set("X-Content-Type-Options", "nosniff")

	if headSize(r) > maxHead {
		x.badMessage(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large")
		return
	}
	if x.badURI {
		x.badMessage(http.StatusBadRequest, "Ambiguous or illegal URI")
		return
	}
	if x.fault() {
		return
	}
	if r.Method == http.MethodTrace {
		x.sendError(http.StatusForbidden, "Forbidden")
		return
	}
	if !x.inContext {
		x.sendError(http.StatusNotFound, "Not Found") // no context, so no Jenkins to draw its page
		return
	}
	if x.raw == "" {
		x.redirect(j.cfg.Prefix + "/") // by the container
		return
	}
	if strings.Contains(x.raw, ";") {
		x.sendError(http.StatusBadRequest, "Semicolons are not allowed in the request URI")
		return
	}
	if !x.authenticate() {
		return
	}
	if r.Method == http.MethodPost && canonicalPath(x.raw) == "/j_spring_security_check" {
		x.redirect(j.cfg.Prefix + "/loginError") // a filter of its own, before the crumb's; this realm has no passwords
		return
	}
	if !x.checkCrumb() {
		return
	}
	if j.booting.Load() {
		x.starting()
		return
	}
	x.dispatch()
}

// maxHead is Winstone's default request header size in bytes, request line included.
const maxHead = 8192

func headSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(" HTTP/1.1\r\n") + 1 + len("Host: \r\n") + len(r.Host) + len("\r\n")
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// jetty121 is a minor version of Jenkins that runs on Jetty 12.1. The exact first one is not known; 2.578 is known to.
const jetty121 = 570

// jetty is the version that the container reports.
func (j *Jenkins) jetty() string {
	switch {
	case j.minor >= jetty121:
		return "12.1.5"
	case j.minor >= 472:
		return "12.0.25"
	}
	return "10.0.20"
}

func minorVersion(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if err != nil {
		panic("jenkinstest: invalid version " + strconv.Quote(version) + ": want such as 2.578")
	}
	return n
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// randomHex returns n hex digits.
func randomHex(n int) string {
	b := make([]byte, n/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
