// Package live ends what a token has open when the token is not admitted any more:
// WebSockets, CLI sessions, log streams, up- and downloads.
//
// A Registry knows the requests in flight. It looks through them twice a second,
// and ends those of tokens that were revoked or suspended, have expired, or whose
// owner was disabled: whatever Token.Admit refuses, so that nothing has to tell it.
// A request that is over before pays for two locks that hardly anybody else takes,
// and for no memory.
package live

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Interval is how often requests in flight are looked through. What has to end does
// so within it, and the time that closing takes.
const Interval = 500 * time.Millisecond

// shards is how many locks share the requests, so that few meet at one.
const shards = 64

// A Registry knows the requests in flight. Close it when there are none any more.
type Registry struct {
	now   func() time.Time
	log   *slog.Logger
	lists [shards]list
	turn  atomic.Uint32 // of the list for the next request

	stop, done chan struct{}
}

// A list is a ring of requests, with a head of its own.
type list struct {
	mu   sync.Mutex // guards the ring, and Request.told
	head Request
	_    [64]byte // a line of the cache for each lock
}

// A Request is one in flight. The zero value is ready for Begin; it is a part of what
// the gate keeps of a request anyway.
type Request struct {
	next, prev *Request
	list       *list
	token      *token.Token
	w          http.ResponseWriter
	began      int64 // Unix seconds
	cancel     context.CancelFunc
	conn       atomic.Pointer[net.Conn] // once it is hijacked
	told       bool
	ended      func()
	ending     sync.WaitGroup // of those that use w beside the handler
}

// New returns a registry that looks at the clock now, and logs what it ends.
func New(now func() time.Time, log *slog.Logger) *Registry {
	r := &Registry{now: now, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	for i := range r.lists {
		head := &r.lists[i].head
		head.next, head.prev = head, head
	}
	go r.run()
	return r
}

// Close stops the looking through.
func (r *Registry) Close() {
	close(r.stop)
	<-r.done
}

// Begin adds a request of a token, and returns the request to go on with. End has to
// be called before its handler returns. Ended is called if it has to be ended, once.
func (r *Registry) Begin(q *Request, t *token.Token, w http.ResponseWriter, req *http.Request, now time.Time, ended func()) *http.Request {
	q.token, q.w, q.began, q.ended = t, w, now.Unix(), ended
	if req.ProtoMajor != 1 {
		// A stream of HTTP/2 or 3 is only a part of a connection, to whose reading
		// nothing can be done.
		var ctx context.Context
		ctx, q.cancel = context.WithCancel(req.Context())
		req = req.WithContext(ctx)
	}
	q.list = &r.lists[r.turn.Add(1)%shards]
	q.list.mu.Lock()
	head := &q.list.head
	q.next, q.prev = head, head.prev
	q.prev.next, q.next.prev = q, q
	q.list.mu.Unlock()
	return req
}

// Begun tells whether Begin was called.
func (q *Request) Begun() bool { return q.list != nil }

// End takes a request out. It waits if the request is being ended.
func (q *Request) End() {
	q.list.mu.Lock()
	q.prev.next, q.next.prev = q.next, q.prev
	q.list.mu.Unlock()
	q.ending.Wait()
	if q.cancel != nil {
		q.cancel()
	}
}

// Hijacked tells that the request's connection is the handler's from now on.
func (q *Request) Hijacked(conn net.Conn) { q.conn.Store(&conn) }

func (r *Registry) run() {
	defer close(r.done)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.Look()
		case <-r.stop:
			return
		}
	}
}

// Look ends what has to end. It is called each Interval.
func (r *Registry) Look() {
	now := r.now()
	var doomed []*Request
	for i := range r.lists {
		l := &r.lists[i]
		l.mu.Lock()
		for q := l.head.next; q != &l.head; q = q.next {
			why := q.token.Admit(now)
			if why == "" {
				continue
			}
			// It stays in the list: what reads its body may set another deadline at this
			// very moment, and is ended the next time.
			q.ending.Add(1)
			doomed = append(doomed, q)
			if !q.told {
				q.told = true
				q.ended()
				r.tell(q, why, now)
			}
		}
		l.mu.Unlock()
	}
	for _, q := range doomed {
		q.end()
		q.ending.Done()
	}
}

func (r *Registry) tell(q *Request, why token.Refusal, now time.Time) {
	record := q.token.Record()
	r.log.Info("a request that was under way is ended, because its token is not admitted any more",
		"token_id", record.ID, "owner", string(record.Owner), "name", record.Name, "reason", string(why), "after_seconds", now.Unix()-q.began)
}

// past is a deadline that nothing meets.
var past = time.Unix(1, 0)

// end breaks a request off on both sides. Of HTTP/1 the server notices that it can't
// read from the client any more, and cancels the request, upon which the proxy closes
// the connection to Jenkins.
func (q *Request) end() {
	if conn := q.conn.Load(); conn != nil {
		_ = (*conn).Close() // whoever uses it learns of it
		return
	}
	// Errors are those of writers that know no deadlines; for them there is cancel.
	c := http.NewResponseController(q.w)
	_ = c.SetReadDeadline(past)
	_ = c.SetWriteDeadline(past)
	if q.cancel != nil {
		q.cancel()
	}
}
