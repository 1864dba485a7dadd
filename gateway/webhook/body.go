package webhook

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Chunks, in bytes, grow with what has arrived: who has sent little holds little,
// whatever Content-Length says, and nothing is ever copied to a larger place.
const (
	firstChunk   = 4 << 10
	largestChunk = 1 << 20
)

// A heldBody is a request body in memory.
type heldBody struct {
	size   int64
	memory *semaphore.Weighted

	mu       sync.Mutex // guards what follows once the body is handed on
	data     net.Buffers
	reserved int64 // of memory
	dropped  bool
}

// hold reads the whole body of r.
//
// Memory is reserved as the body arrives and not by its claimed length, or four
// connections that claim much and send nothing would keep everybody else out.
func hold(r *http.Request, limit int64, memory *semaphore.Weighted) (_ *heldBody, err error) {
	b := &heldBody{memory: memory}
	defer func() {
		if err != nil {
			b.drop()
		}
	}()
	most := limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	for length := int64(firstChunk); b.size < most; length = min(2*length, largestChunk) {
		chunk, err := b.grow(r.Context(), min(length, most-b.size))
		if err != nil {
			return nil, err
		}
		n, ended, err := fill(r.Body, chunk)
		b.data = append(b.data, chunk[:n])
		b.size += int64(n)
		if err != nil {
			return nil, fmt.Errorf("%w: after %d bytes: %v", ErrBody, b.size, err)
		}
		if ended {
			return b, b.checkLength(r.ContentLength)
		}
	}
	switch n, _, err := fill(r.Body, make([]byte, 1)); {
	case n > 0 && r.ContentLength >= 0:
		return nil, fmt.Errorf("%w: it goes on after Content-Length, which is %d", ErrBody, r.ContentLength)
	case n > 0:
		return nil, fmt.Errorf("%w: it goes on after %d bytes", ErrTooLarge, limit)
	case err != nil:
		return nil, fmt.Errorf("%w: after %d bytes: %v", ErrBody, b.size, err)
	}
	return b, nil
}

// checkLength is for a body that has ended before it had to.
func (b *heldBody) checkLength(claimed int64) error {
	if claimed >= 0 && b.size < claimed {
		return fmt.Errorf("%w: it ends after %d bytes, and Content-Length is %d", ErrBody, b.size, claimed)
	}
	return nil
}

// fill is io.ReadFull, except that it tells a body that has ended from one that
// broke off, which net/http reports as io.ErrUnexpectedEOF.
func fill(body io.Reader, chunk []byte) (n int, ended bool, err error) {
	for n < len(chunk) {
		m, err := body.Read(chunk[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// grow waits for memory only as long as the body has none. Bodies that wait for
// each other while they hold a part would all run into their time-outs; one that
// gives up instead makes room for the others, so some body always gets done.
func (b *heldBody) grow(ctx context.Context, n int64) ([]byte, error) {
	if !b.memory.TryAcquire(n) {
		if b.reserved > 0 {
			return nil, fmt.Errorf("%w: no memory for more than %d bytes of a body", ErrBusy, b.size)
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := b.memory.Acquire(ctx, n); err != nil {
			return nil, fmt.Errorf("%w: no memory for a body: %v", ErrBusy, err)
		}
	}
	b.reserved += n
	return make([]byte, n), nil
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.data.Read(p)
}

// Close drops the body.
func (b *heldBody) Close() error {
	b.drop()
	return nil
}

// drop gives the memory back. It takes the bytes away too, from a transport that
// outlives its handler: what is no longer counted must not be held.
func (b *heldBody) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return
	}
	b.dropped, b.data = true, nil
	b.memory.Release(b.reserved)
}
