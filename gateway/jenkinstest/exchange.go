package jenkinstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody bounds in bytes what is kept of a request body for Jenkins to act on; longer ones are only counted and hashed.
const maxBody = 8 << 20

// exchange is one request on its way through the stand-in, and its answer.
type exchange struct {
	http.ResponseWriter
	j   *Jenkins
	r   *http.Request
	run *run // the run of Jenkins that answers; a Restart meanwhile doesn't change it

	inContext bool   // the path lies under the context path
	badURI    bool   // the container refuses the path
	raw       string // path as sent, cut by the length of the context path
	query     string
	identity
	session string // id, without the node's suffix; empty while there is none
	crumb   CrumbState

	params     []param // query and form parameters, once parsed
	parsed     bool
	body       bytes.Buffer // first maxBody bytes
	bodyLen    int64
	bodyHash   hash.Hash
	bodyDone   bool
	parts      []Part
	status     int
	drip       Drip
	restricted bool          // user may only read
	taken      chan struct{} // closed once a CLI upload was read
}

type param struct{ name, value string }

func (j *Jenkins) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{ResponseWriter: w, j: j, r: r, run: j.run.Load(), bodyHash: sha256.New()}
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") { // absolute form
		if u, err := url.Parse(uri); err == nil {
			uri = u.EscapedPath()
			if u.RawQuery != "" {
				uri += "?" + u.RawQuery
			}
		}
	}
	path, query, _ := strings.Cut(uri, "?")
	x.query = query
	x.raw, x.inContext, x.badURI = locate(path, j.cfg.Prefix)
	x.session = x.run.find(r)
	return x
}

// WriteHeader records the request before the client can see the answer, so that a test that has the answer finds
// the request recorded.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
		x.j.record.add(x)
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.drip.Bytes > 0 {
		return x.writeDrip(b)
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the server's writer.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// abort cuts the connection without an answer. The request is recorded with status 0.
func (x *exchange) abort() {
	if x.status == 0 {
		x.j.record.add(x)
	}
	panic(http.ErrAbortHandler)
}

// flush sends what was written so far.
func (x *exchange) flush() error { return http.NewResponseController(x.ResponseWriter).Flush() }

// wait pauses and reports whether to go on: not when the client has gone or Close was called.
func (x *exchange) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.r.Context().Done():
	case <-x.j.done:
	}
	return false
}

// readBody takes in the whole request body, once.
func (x *exchange) readBody() {
	if x.bodyDone || x.r.Body == nil {
		return
	}
	x.bodyDone = true
	sink := io.MultiWriter(x.bodyHash, &limitedBuffer{&x.body, maxBody})
	counted := &countingReader{r: io.TeeReader(x.r.Body, sink)}
	x.parts = readParts(counted, x.r.Header.Get("Content-Type"))
	_, _ = io.Copy(io.Discard, counted) // a body cut short is recorded as what arrived
	x.bodyLen = counted.n
}

func (x *exchange) bodySHA256() string { return hex.EncodeToString(x.bodyHash.Sum(nil)) }

type limitedBuffer struct {
	buf  *bytes.Buffer
	left int
}

func (l *limitedBuffer) Write(b []byte) (int, error) {
	n := len(b)
	if len(b) > l.left {
		b = b[:l.left]
	}
	l.left -= len(b)
	l.buf.Write(b)
	return n, nil
}

// lookup returns the first parameter of that name, as HttpServletRequest.getParameter does: the query first, then an
// urlencoded body. A multipart body isn't looked into.
func (x *exchange) lookup(name string) (string, bool) {
	if !x.parsed {
		x.parsed = true
		x.params = appendParams(nil, x.query)
		mediaType, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
		form := strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
		if form && (x.r.Method == http.MethodPost || x.r.Method == http.MethodPut) {
			x.readBody()
			x.params = appendParams(x.params, x.body.String())
		}
	}
	for _, p := range x.params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

func (x *exchange) param(name string) string {
	value, _ := x.lookup(name)
	return value
}

// appendParams parses leniently: what can't be decoded is taken as it is. Only & separates.
func appendParams(params []param, encoded string) []param {
	for pair := range strings.SplitSeq(encoded, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		params = append(params, param{unescapeParam(name), unescapeParam(value)})
	}
	return params
}

func unescapeParam(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// remoteAddr is the client's address as ServletRequest.getRemoteAddr gives it.
func (x *exchange) remoteAddr() string {
	if host, _, err := net.SplitHostPort(x.r.RemoteAddr); err == nil {
		return host
	}
	return x.r.RemoteAddr
}

// clientIP is what old default crumbs and strict ones with CheckClientIP contain.
func (x *exchange) clientIP() string {
	if forwarded := x.r.Header.Get("X-Forwarded-For"); forwarded != "" {
		first, _, _ := strings.Cut(forwarded, ",")
		return first
	}
	return x.remoteAddr()
}

// origin is scheme and host as Jenkins sees them from the request, after Jetty's ForwardedRequestCustomizer.
func (x *exchange) origin() string {
	first := func(header string) string {
		v, _, _ := strings.Cut(x.r.Header.Get(header), ",")
		return strings.TrimSpace(v)
	}
	scheme := first("X-Forwarded-Proto")
	if scheme == "" {
		scheme = "http"
		if x.r.TLS != nil {
			scheme = "https"
		}
	}
	host := first("X-Forwarded-Host")
	if host == "" {
		host = x.r.Host
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	if p := first("X-Forwarded-Port"); p != "" {
		port = p
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	switch {
	case port != "":
		host = net.JoinHostPort(name, port)
	case strings.Contains(name, ":"):
		host = "[" + name + "]"
	default:
		host = name
	}
	return scheme + "://" + host
}

// rootURL ends in a slash: the configured URL, else the one that the request implies.
func (x *exchange) rootURL() string {
	if x.j.cfg.RootURL != "" {
		return x.j.cfg.RootURL
	}
	return x.origin() + x.j.cfg.Prefix + "/"
}
