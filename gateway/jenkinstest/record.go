package jenkinstest

import (
	"net/http"
	"slices"
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
	Status     int    // 0: the connection was cut without an answer
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
		BodySHA256: x.bodySHA256(), Status: x.status,
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
