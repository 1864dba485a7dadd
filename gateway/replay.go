package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// errNoMemory is returned by a replayBody that is searched if there is no memory left to keep
// what has been read.
var errNoMemory = errors.New("too many request bodies are kept at once")

// A budget bounds the bytes of all request bodies that a gate keeps.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take reports whether n bytes more may be kept, and counts them if so.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// A replayBody is a request body that can be read again from the start. It streams:
// nothing is read before a reader asks for it.
//
// A body that is known to fit into the limit is kept as it passes, if the memory of all bodies has room for
// it. Of any other body only what was searched is kept, until it has been read again.
type replayBody struct {
	src    io.Reader // nil if there is no body
	limit  int64
	memory *budget
	// mayOutgrow is set if the body can't be kept as a whole: it is too large, or of
	// unknown size, or there is no memory.
	mayOutgrow bool
	// current is the only reader that may begin to read src: what others took would
	// be lost to it. A proxy that has been answered early can still be reading for the
	// first attempt when the second one starts.
	current atomic.Pointer[replayReader]
	// reserved is what is counted in memory for this body, in bytes.
	reserved atomic.Int64
	closed   atomic.Bool

	mu        sync.Mutex // orders the readers, and guards what follows
	kept      []byte
	searching bool // all that is read is kept, or the read fails
	dropped   bool // something was read that is not kept
	err       error
}

func (g *Gate) newReplayBody(r *http.Request, limit int64) *replayBody {
	if r.Body == nil || r.Body == http.NoBody {
		return &replayBody{}
	}
	b := &replayBody{src: r.Body, limit: limit, memory: &g.bodies}
	b.mayOutgrow = r.ContentLength < 0 || r.ContentLength > limit || !b.reserve(r.ContentLength)
	if !b.mayOutgrow {
		b.limit = r.ContentLength
	}
	return b
}

// reserve counts n bytes more for this body, if there is room.
func (b *replayBody) reserve(n int64) bool {
	if !b.memory.take(n) {
		return false
	}
	b.reserved.Add(n)
	if b.closed.Load() { // meanwhile: close has missed these
		b.release()
	}
	return true
}

func (b *replayBody) release() { b.memory.give(b.reserved.Swap(0)) }

// open returns the body from its start, or false if that is not all kept. Readers that
// were opened before get no more; a read of theirs that is under way is waited for, and what
// it brings is kept.
func (b *replayBody) open() (io.ReadCloser, bool) {
	if b.src == nil {
		return http.NoBody, true
	}
	r := &replayReader{body: b}
	b.current.Store(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.searching = false
	return r, !b.dropped
}

// search returns the body from its start. Until the next open all that is read is kept.
func (b *replayBody) search() io.Reader {
	r, _ := b.open()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.searching = true
	return r
}

// close ends reading: a transport can outlive the handler, after which the body
// is the server's again. It does not wait for a read that is under way.
func (b *replayBody) close() {
	if b.src == nil {
		return
	}
	b.current.Store(nil)
	b.closed.Store(true)
	b.release()
}

type replayReader struct {
	body *replayBody
	at   int // of kept
}

// Close does nothing: the server closes the request's own body.
func (r *replayReader) Close() error { return nil }

func (r *replayReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current.Load() != r {
		return 0, http.ErrBodyReadAfterClose
	}
	if r.at < len(b.kept) {
		n := copy(p, b.kept[r.at:])
		r.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.err = err
	switch passes := b.current.Load() == r; {
	case b.searching || !b.mayOutgrow:
		if !b.keep(p[:n]) {
			b.err = errNoMemory // what was read is lost
			return 0, errNoMemory
		}
		r.at += n
	case !passes: // the reader that came after this one has yet to read it
		b.kept = append(b.kept, p[:n]...)
	case n > 0 && !b.dropped:
		b.dropped, b.kept, r.at = true, nil, 0
		b.release()
	}
	return n, err
}

// keep adds to what is kept, which takes no more than twice its size and no more than
// the limit. The caller holds mu.
func (b *replayBody) keep(p []byte) bool {
	need := len(b.kept) + len(p)
	if need > cap(b.kept) {
		size := max(need, min(2*cap(b.kept), int(b.limit)))
		if b.mayOutgrow && !b.reserve(int64(size-cap(b.kept))) {
			return false
		}
		b.kept = append(make([]byte, 0, size), b.kept...)
	}
	b.kept = append(b.kept, p...)
	return true
}
