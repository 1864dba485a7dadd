package gateway

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// A replayBody is a request body that can be read again from the start, as long
// as no more than limit bytes of it have been read. It streams: nothing is read
// before somebody asks for it.
type replayBody struct {
	src   io.Reader // nil if there is no body
	limit int64
	// mayOutgrow is set if the body has more than limit bytes, or nobody knows.
	mayOutgrow bool
	// current is the only reader that may begin to read src: what others took would
	// be lost to it. A proxy that has been answered early can still be reading for the
	// first attempt when the second one starts.
	current atomic.Pointer[replayReader]

	mu      sync.Mutex // orders the readers, and guards what follows
	kept    []byte
	dropped bool // more than limit bytes were read, so kept is gone
	err     error
}

func newReplayBody(r *http.Request, limit int64) *replayBody {
	if r.Body == nil || r.Body == http.NoBody {
		return &replayBody{}
	}
	return &replayBody{src: r.Body, limit: limit, mayOutgrow: r.ContentLength < 0 || r.ContentLength > limit}
}

// open returns the body from its start, or false if too much of it has been read
// for that. Readers that were opened before get no more; a read of theirs that is
// under way is waited for, and what it brings is kept.
func (b *replayBody) open() (io.ReadCloser, bool) {
	if b.src == nil {
		return http.NoBody, true
	}
	r := &replayReader{body: b}
	b.current.Store(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	return r, !b.dropped
}

// close ends reading: a transport can outlive the handler, after which the body
// is the server's again. It does not wait for a read that is under way.
func (b *replayBody) close() { b.current.Store(nil) }

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
	switch {
	case b.dropped:
	case int64(len(b.kept)+n) > b.limit && b.current.Load() == r:
		b.dropped, b.kept = true, nil
	default:
		b.kept = append(b.kept, p[:n]...)
		r.at += n
	}
	return n, err
}
