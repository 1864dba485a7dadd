// Package attack_test attacks the program as people run it, with bytes that no
// client library would send. An attack is a row of a table: what is written, how
// the gateway may answer, and what Jenkins may have received. Of whatever reaches
// Jenkins holds, in all rows, that it is the caller's: see caller.owns.
package attack_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// tally counts the attacks of this run.
var tally struct {
	tried   atomic.Int64
	refused atomic.Int64 // Jenkins got nothing
	tamed   atomic.Int64 // Jenkins got a request, which was the caller's
}

func TestMain(m *testing.M) {
	status := m.Run()
	fmt.Printf("attacks tried: %d; refused, so that Jenkins got nothing: %d; passed on as nothing but the caller's own request: %d\n",
		tally.tried.Load(), tally.refused.Load(), tally.tamed.Load())
	os.Exit(status)
}

// An attack is what one connection is used for. The words of world.words are
// replaced in what is sent.
type attack struct {
	name string

	// h1 is written byte for byte, but for crlf, to the plain site. Empty: h2 is sent.
	h1 string
	// half: h1 is not a whole request, and all that is ever sent.
	half bool
	// h2 is sent to the site with TLS.
	h2 *stream

	// status has the allowed ones of the first answer; 0: hung up, or reset, without one.
	status []int
	// seen is the method and URI that Jenkins may receive, "" for nothing. Where the
	// status is below 400, it must have.
	seen string
	// times says how often, once if it is 0.
	times int
	// optional: the gateway may have answered itself.
	optional bool
	// check looks at what Jenkins received.
	check func(*testing.T, jenkinstest.Request)
}

// A caller is who attacks, and what that one may do.
type caller struct {
	user string
	// identity is all that Jenkins may be told of the caller, in the headers for it.
	identity http.Header
}

// crlf makes lines of a template those of HTTP/1.1. What has to stay a bare LF is
// written as {LF}.
var crlf = strings.NewReplacer("\n", "\r\n")

// outcomes that many rows share.
var (
	ok           = []int{200}
	found        = []int{302}
	unauthorized = []int{401}
	bad          = []int{400}
	hungUp       = []int{0}
	badOrHungUp  = []int{0, 400}
)

// A world is a gateway between the attacker and a Jenkins.
type world struct {
	*gatewaytest.Gateway
	jenkins *jenkinstest.Jenkins
	wire    *wire
	tls     *authority
	tlsHost string
	h2      *h2conn // nil if the last one is no longer good
	words   map[string]string
	// people: clients hold sessions of Jenkins themselves.
	people         bool
	caddyfile, sso string
	visits         int
	// late counts what rows that were cut off may have sent to Jenkins, by method and
	// URI, and what it has not yet recorded of that.
	late map[string]int
}

// site is the Caddyfile of a world: directive stands for the site's, the same with
// and without TLS.
func site(directive string) string {
	return `{
	admin {$ADMIN}
	persist_config off
	auto_https disable_redirects
	servers {
		timeouts {
			read_header 60s
		}
	}
	log {
		format crumbgate
	}
	crumbgate {
		storage bbolt {$STORE}
	}
}
(jenkins) {
` + directive + `
	reverse_proxy {$JENKINS}
}
http://{$SITE} {
	import jenkins
}
https://{$TLSSITE} {
	tls {$DIR}/cert.pem {$DIR}/key.pem
	import jenkins
}
`
}

func newWorld(t *testing.T, config jenkinstest.Config, caddyfile string) *world {
	t.Helper()
	return newWorldWith(t, config, caddyfile, func(*world) {})
}

// newWorldWith lets prepare add to the gateway before it starts.
func newWorldWith(t *testing.T, config jenkinstest.Config, caddyfile string, prepare func(*world)) *world {
	t.Helper()
	config.RecordLimit = 100_000
	jenkins, url := jenkinstest.Start(t, config)
	wire := tap(t, strings.TrimPrefix(strings.TrimSuffix(url, config.Prefix), "http://"))
	w := &world{caddyfile: caddyfile, jenkins: jenkins, wire: wire, tls: newAuthority(t), tlsHost: gatewaytest.FreeAddress(t), late: make(map[string]int)}
	w.Gateway = gatewaytest.New(t, "http://"+wire.address, caddyfile)
	w.Env = append(w.Env, "TLSSITE="+w.tlsHost)
	w.tls.write(t, w.Dir)
	prepare(w)
	w.Start(t)
	w.words = map[string]string{
		"{HOST}": w.host(), "{LF}": "\n", "{CR}": "\r", "{NUL}": "\x00",
		"{ADMIN}": basic("admin", "secret"),
	}
	return w
}

func (w *world) host() string { return strings.TrimPrefix(w.URL, "http://") }

// token issues a token and makes words of it: {TOKEN}, and {BASIC} with its user.
func (w *world) token(t *testing.T, user string, args ...string) string {
	t.Helper()
	secret := w.CreateToken(t, user, "ci", args...)
	for word, value := range map[string]string{
		"{TOKEN}": secret, "{TAIL}": strings.TrimPrefix(secret, "cg_"), "{BASIC}": basic(user, secret), "{FLIPPED}": flip(secret), "{FLIPPEDBASIC}": basic("admin", flip(secret)),
		"{BOB}": basic("bob", secret), "{NULUSER}": basic(user+"\x00admin", secret), "{NULTOKEN}": basic(user, secret+"\x00"),
	} {
		w.words[word] = value
	}
	return secret
}

func (w *world) replace(s string) string {
	var pairs []string
	for word, value := range w.words {
		pairs = append(pairs, word, value)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// flip changes the last character of a secret.
func flip(secret string) string {
	last := secret[len(secret)-1]
	if last == 'A' {
		return secret[:len(secret)-1] + "B"
	}
	return secret[:len(secret)-1] + "A"
}

func basic(user, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
}

// run attacks as a caller, one row after the other.
func (w *world) run(t *testing.T, who caller, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { w.attack(t, who, a) })
	}
}

func (w *world) attack(t *testing.T, who caller, a attack) {
	t.Helper()
	tally.tried.Add(1)
	w.jenkins.ResetRequests()
	var status int
	if a.h1 != "" {
		status = w.sendH1(t, w.replace(crlf.Replace(a.h1)), a.half)
	} else {
		status = w.sendH2(t, a.h2)
	}
	if !slices.Contains(a.status, status) {
		t.Errorf("status %d, want one of %d", status, a.status)
	}
	want := w.replace(a.seen)
	count := 0
	for _, seen := range w.jenkins.Requests() {
		who.owns(t, seen)
		got := seen.Method + " " + seen.RequestURI
		switch {
		case got == want && count < max(a.times, 1):
			count++
			if a.check != nil {
				a.check(t, seen)
			}
		case w.late[got] > 0:
			w.late[got]--
		case got != "GET /crumbIssuer/api/json" && got != "GET /jenkins/crumbIssuer/api/json": // that is the gateway's own
			t.Errorf("Jenkins got %s (%d times before), and may get %q", got, count, want)
		}
	}
	w.wire.check(t)
	switch {
	case count > 0:
		tally.tamed.Add(1)
	case want != "" && 0 < status && status < 400 && !a.optional:
		t.Errorf("Jenkins did not get %s", want)
	case want != "" && (status == 0 || a.half):
		w.late[want]++
		tally.refused.Add(1)
	default:
		tally.refused.Add(1)
	}
}

// plain folds the spellings of a header's name that some server may take for one.
func plain(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
}

// identities are the headers in which Jenkins may read who the user is, folded.
var identities = []string{"x-forwarded-user", "x-forwarded-groups", "x-forwarded-mail", "x-forwarded-displayname", "x-remote-id", "x-remote-teams"}

// owns checks what has to hold of each request that Jenkins gets.
func (c caller) owns(t *testing.T, seen jenkinstest.Request) {
	t.Helper()
	if seen.User != c.user && seen.Status != http.StatusRequestHeaderFieldsTooLarge { // which is before Jenkins looks
		t.Errorf("Jenkins got %s %s as %q, want %q", seen.Method, seen.RequestURI, seen.User, c.user)
	}
	if strings.Contains(seen.RequestURI, "smuggled") {
		t.Errorf("Jenkins got %s %s", seen.Method, seen.RequestURI)
	}
	for name, values := range seen.Header {
		folded := plain(name)
		if slices.Contains(identities, folded) && !slices.Equal(values, c.identity[name]) {
			t.Errorf("Jenkins got %s: %q, want %q", name, values, c.identity[name])
		}
		for _, value := range values {
			if strings.Contains(value, "smuggled") || strings.Contains(value, "cg_") {
				t.Errorf("Jenkins got %s: %q", name, value)
			}
		}
		switch folded {
		case "authorization", "proxy-authorization", "http2-settings", "trailer", "te", "keep-alive", "proxy-connection", "transfer-encoding",
			"forwarded", "x-forwarded-port", "x-forwarded-server", "x-proxied-https":
			t.Errorf("Jenkins got %s: %q", name, values)
		case "upgrade":
			if !slices.Equal(values, []string{"websocket"}) {
				t.Errorf("Jenkins got %s: %q", name, values)
			}
		case "connection":
			if !slices.Equal(values, []string{"Upgrade"}) {
				t.Errorf("Jenkins got %s: %q", name, values)
			}
		}
	}
	for name, values := range c.identity {
		if !slices.Equal(seen.Header[name], values) {
			t.Errorf("Jenkins got %s: %q, want %q", name, seen.Header[name], values)
		}
	}
}
