// Package live ends in-flight requests of a token that is no longer valid for them:
// WebSockets, CLI sessions, log streams, up- and downloads.
//
// A Registry knows the in-flight requests. It polls them twice a second, and ends those
// that Token.Continue refuses, so that no change of a token has to notify it. For all
// others it notes that their token is in use. A request that ends within an interval
// costs two locks that few other requests take, and by HTTP/1 no memory.
//
// The server has to know ConnContext.
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

// again is how soon those are looked at that had to be ended: a handler may have set
// another deadline at that very moment.
const again = Interval / 10

// shards is how many locks share the requests, so that few meet at one.
const shards = 64

// A Registry knows the requests in flight. Close it when there are none any more.
type Registry struct {
	now   func() time.Time
	log   *slog.Logger
	ended func()
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
	access     token.Access // guarded by list.mu once the request has begun
	w          http.ResponseWriter
	ctx        context.Context
	began      int64                    // Unix seconds
	cancel     context.CancelFunc       // nil for HTTP/1, where the connection has it
	conn       atomic.Pointer[net.Conn] // once it is hijacked
	told       bool
	ending     sync.WaitGroup // of those that use w beside the handler
}

// New returns a registry that looks at the clock now, logs what it ends, and calls
// ended for each.
func New(now func() time.Time, log *slog.Logger, ended func()) *Registry {
	r := &Registry{now: now, log: log, ended: ended, stop: make(chan struct{}), done: make(chan struct{})}
	for i := range r.lists {
		head := &r.lists[i].head
		head.next, head.prev = head, head
	}
	go r.run()
	return r
}

// Close stops the looking through, and ends what is still in flight: nobody could
// end it any more.
func (r *Registry) Close() {
	close(r.stop)
	<-r.done
	r.endAll(func(*Request) string { return "the token store is closed" })
}

// connKey is for the context.CancelFunc of a connection.
type connKey struct{}

// ConnContext is for http.Server.ConnContext: it lets a connection of HTTP/1 be
// cancelled, and with it the request that is under way on it. The server does so only
// if it reads an error, and there are times when it doesn't read: when the client has
// sent a byte too many, and when it is Jenkins that does not take the body. To have it
// per connection is free for its requests.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	if ctx.Value(connKey{}) != nil {
		return ctx // of another site on the same server
	}
	ctx, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, connKey{}, cancel)
}

// Begin adds a request of a token that asks for access, and returns the request to go on
// with. End has to be called before its handler returns.
func (r *Registry) Begin(q *Request, t *token.Token, access token.Access, w http.ResponseWriter, req *http.Request, now time.Time) *http.Request {
	if req.ProtoMajor != 1 {
		// A reset says the same to the server, but has to wait behind what the client does
		// not take from the connection.
		var ctx context.Context
		ctx, q.cancel = context.WithCancel(req.Context())
		req = req.WithContext(ctx)
	}
	q.token, q.access, q.w, q.ctx, q.began = t, access, w, req.Context(), now.Unix()
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

// End takes a request out, and tells whether it was ended: then its answer is not
// whole, whatever the handler makes of it. It waits if that is just being done.
func (q *Request) End() (ended bool) {
	q.list.mu.Lock()
	q.prev.next, q.next.prev = q.next, q.prev
	ended = q.told
	q.list.mu.Unlock()
	q.ending.Wait()
	if q.cancel != nil {
		q.cancel()
	}
	return ended
}

// Hijacked tells that the request's connection is the handler's from now on.
func (q *Request) Hijacked(conn net.Conn) { q.conn.Store(&conn) }

func (r *Registry) run() {
	defer close(r.done)
	tick := time.NewTimer(Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if r.Look() == 0 {
				tick.Reset(Interval)
			} else {
				tick.Reset(again)
			}
		case <-r.stop:
			return
		}
	}
}

// Look ends what has to end, and returns how many that are. It is called each Interval.
func (r *Registry) Look() int {
	now := r.now()
	return r.endAll(func(q *Request) string {
		refusal := q.token.Continue(now, &q.access)
		if refusal == "" {
			q.token.InUse(now)
		}
		return string(refusal)
	})
}

// endAll ends the requests for which there is a reason.
func (r *Registry) endAll(reason func(*Request) string) int {
	var doomed []*Request
	for i := range r.lists {
		l := &r.lists[i]
		l.mu.Lock()
		for q := l.head.next; q != &l.head; q = q.next {
			why := reason(q)
			if why == "" {
				continue
			}
			// It stays in the list, to be ended again if need be.
			q.ending.Add(1)
			doomed = append(doomed, q)
			if !q.told {
				q.told = true
				r.ended()
				r.tell(q, why)
			}
		}
		l.mu.Unlock()
	}
	for _, q := range doomed {
		q.end()
		q.ending.Done()
	}
	return len(doomed)
}

func (r *Registry) tell(q *Request, why string) {
	record := q.token.Record()
	r.log.Info("in-flight request ended, because its token is no longer valid for it",
		"token_id", record.ID, "owner", string(record.Owner), "name", record.Name, "reason", why, "after_seconds", r.now().Unix()-q.began)
}

// past is a deadline that nothing meets.
var past = time.Unix(1, 0)

// end breaks a request off on both sides: by its context the proxy closes the
// connection to Jenkins, and by the deadlines nobody stays in a read from the client
// or a write to it. It does not wait for a client, as others are to be ended, too;
// closing a connection of TLS might.
func (q *Request) end() {
	if q.cancel != nil {
		q.cancel()
	} else if cancel, ok := q.ctx.Value(connKey{}).(context.CancelFunc); ok {
		cancel()
	}
	if conn := q.conn.Load(); conn != nil {
		_ = (*conn).SetDeadline(past) // whoever copies from it closes it
		return
	}
	// Errors are those of writers that know no deadlines; for them there is the context.
	_ = http.NewResponseController(q.w).SetReadDeadline(past)
	_ = http.NewResponseController(innermost(q.w)).SetWriteDeadline(past)
}

// innermost returns the server's own writer. Servers let a deadline be set while their
// handler writes; what middleware makes of it need not (Caddy's IdleTimeoutWriter does
// not).
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
