package jenkinstest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxRecordedBody is how many bytes of a body a Request holds.
const maxRecordedBody = 64 << 10

// Request is what Jenkins received and how it answered.
type Request struct {
	Time       time.Time
	Method     string
	RequestURI string      // as sent
	Path       string      // canonical, less the context path, percent-escapes untouched
	Header     http.Header // a copy
	Host       string
	RemoteAddr string
	User       string // "anonymous" if nobody; empty when refused before that was known
	Crumb      CrumbState
	SessionID  string // that the request ran in, sent or made; without the node's suffix
	Body       []byte // the first 64 KiB
	BodyLen    int64  // bytes that Jenkins had read when it answered: none of a refused body
	BodySHA256 string // of those, in hex
	Parts      []Part // of a multipart body, the first 100
	Status     int    // 0: the connection was cut without an answer
}

// CookieNames are the names of the cookies that came along, in their order.
func (r Request) CookieNames() []string {
	var names []string
	for _, c := range (&http.Request{Header: r.Header}).Cookies() {
		names = append(names, c.Name)
	}
	return names
}

// Part is a part of a multipart body: a field, or a file if it has a file name.
type Part struct {
	Name     string
	FileName string
	Size     int64  // bytes
	SHA256   string // in hex
}

const maxParts = 100

// readParts reads the parts of a multipart body as far as it is well formed. Other bodies it leaves alone.
func readParts(body io.Reader, contentType string) []Part {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.HasPrefix(mediaType, "multipart/") || parameters["boundary"] == "" {
		return nil
	}
	var parts []Part
	for form := multipart.NewReader(body, parameters["boundary"]); len(parts) < maxParts; {
		p, err := form.NextRawPart()
		if err != nil {
			break
		}
		sum := sha256.New()
		size, err := io.Copy(sum, p)
		if err != nil {
			break
		}
		parts = append(parts, Part{p.FormName(), p.FileName(), size, hex.EncodeToString(sum.Sum(nil))})
	}
	return parts
}

// countingReader counts in n the bytes read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// record is a ring of the latest requests.
type record struct {
	on    atomic.Bool
	limit int

	mu   sync.Mutex // guards ring and next
	ring []Request
	next int // place of the oldest, once the ring is full
}

func (r *record) add(x *exchange) {
	if !r.on.Load() {
		return
	}
	body := x.body.Bytes()
	req := Request{
		Time: time.Now(), Method: x.r.Method, RequestURI: x.r.RequestURI, Path: canonicalPath(x.raw),
		Header: x.r.Header.Clone(), Host: x.r.Host, RemoteAddr: x.r.RemoteAddr, User: x.user, Crumb: x.crumb,
		SessionID: x.session, Body: slices.Clone(body[:min(len(body), maxRecordedBody)]), BodyLen: x.bodyLen,
		BodySHA256: x.bodySHA256(), Parts: x.parts, Status: x.status,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, req)
		return
	}
	r.ring[r.next] = req
	r.next = (r.next + 1) % r.limit
}

// Requests returns the remembered requests, oldest first. A request is remembered when its answer begins.
func (j *Jenkins) Requests() []Request {
	r := &j.record
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.ring[r.next:], r.ring[:r.next])
}

// ResetRequests forgets the remembered requests and the count of crumbs.
func (j *Jenkins) ResetRequests() {
	r := &j.record
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring, r.next = nil, 0
	j.crumbs.Store(0)
}

// SetRecording turns remembering on or off. Benchmarks turn it off.
func (j *Jenkins) SetRecording(on bool) { j.record.on.Store(on) }
