package webhook

import (
	"context"
	"errors"
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

// smallBody is how many bytes of each body go into the room for small bodies. Most
// webhooks are smaller: what is beyond it waits for the room for large ones.
const smallBody = 64 << 10

// smallRoom is the room for small bodies in bytes, of all senders together.
const smallRoom = 16 << 20

// A room is memory for bodies. Senders that have not proved to be the forge share it:
// those of one network get half of it at most.
type room struct {
	all  *semaphore.Weighted
	half int64

	mu      sync.Mutex // guards senders
	senders map[string]*sender
}

// A sender is a network from which bodies arrive that nothing has proved yet.
type sender struct {
	unproved *semaphore.Weighted
	bodies   int // how many of them are in the room; 0: forget the sender
}

// newRoom returns a room of a size in bytes, in half of which the largest body fits.
func newRoom(size int64) *room {
	return &room{all: semaphore.NewWeighted(size), half: size / 2, senders: make(map[string]*sender)}
}

// A reservation is what one body takes of a room. The zero value takes nothing.
type reservation struct {
	room   *room
	from   string
	sender *sender // nil before the first byte, and once the body is proved
	n      int64
}

// grow reserves n more bytes. It waits only while the body has none of the room: bodies
// that wait for each other while they hold a part would all run into their time limits.
// A body that gives up instead makes room for the others, so some body always gets done.
func (p *reservation) grow(ctx context.Context, n int64) error {
	if p.sender == nil {
		p.room.mu.Lock()
		if p.sender = p.room.senders[p.from]; p.sender == nil {
			p.sender = &sender{unproved: semaphore.NewWeighted(p.room.half)}
			p.room.senders[p.from] = p.sender
		}
		p.sender.bodies++
		p.room.mu.Unlock()
	}
	if p.n > 0 {
		if !p.sender.unproved.TryAcquire(n) {
			return errors.New("the client's network has too many unproved bodies")
		}
		if !p.room.all.TryAcquire(n) {
			p.sender.unproved.Release(n)
			return errors.New("no memory is free")
		}
		p.n += n
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.sender.unproved.Acquire(ctx, n); err != nil {
		return fmt.Errorf("the client's network has too many unproved bodies: %w", err)
	}
	if err := p.room.all.Acquire(ctx, n); err != nil {
		p.sender.unproved.Release(n)
		return fmt.Errorf("no memory is free: %w", err)
	}
	p.n = n
	return nil
}

// proved takes the body out of the share of its sender: it is the forge's.
func (p *reservation) proved() {
	if p.sender == nil {
		return
	}
	p.sender.unproved.Release(p.n)
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if p.sender.bodies--; p.sender.bodies == 0 {
		delete(p.room.senders, p.from)
	}
	p.sender = nil
}

func (p *reservation) release() {
	p.proved()
	p.room.all.Release(p.n)
	p.n = 0
}

// A heldBody is a request body in memory.
type heldBody struct {
	size int64

	mu           sync.Mutex // guards what follows once the body is handed on
	data         net.Buffers
	small, large reservation
	dropped      bool
}

// hold reads the whole body of r. Before each read, wait gets the number of bytes that
// have arrived, and sets the time limit.
//
// Memory is reserved as the body arrives and not by its claimed length, or four
// connections that claim much and send nothing would keep everybody else out.
func (v *Verifier) hold(r *http.Request, from string, wait func(arrived int64) error) (_ *heldBody, err error) {
	b := &heldBody{small: reservation{room: v.small, from: from}, large: reservation{room: v.large, from: from}}
	defer func() {
		if err != nil {
			b.drop()
		}
	}()
	most := v.limit
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	for length := int64(firstChunk); b.size < most; length = min(2*length, largestChunk) {
		room, n := &b.large, min(length, most-b.size)
		if b.size < smallBody {
			room, n = &b.small, min(n, smallBody-b.size)
		}
		if err := room.grow(r.Context(), n); err != nil {
			return nil, fmt.Errorf("%w: no room for more than %d bytes of a body: %v", ErrBusy, b.size, err)
		}
		chunk := make([]byte, n)
		arrived, ended, err := fill(r.Body, chunk, func(n int) error { return wait(b.size + int64(n)) })
		b.data = append(b.data, chunk[:arrived])
		b.size += int64(arrived)
		if err != nil {
			return nil, fmt.Errorf("%w: after %d bytes: %v", ErrBody, b.size, err)
		}
		if ended {
			return b, b.checkLength(r.ContentLength)
		}
	}
	switch n, _, err := fill(r.Body, make([]byte, 1), func(int) error { return wait(b.size) }); {
	case n > 0 && r.ContentLength >= 0:
		return nil, fmt.Errorf("%w: it goes on after Content-Length, which is %d", ErrBody, r.ContentLength)
	case n > 0:
		return nil, fmt.Errorf("%w: it goes on after %d bytes", ErrTooLarge, v.limit)
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
// broke off, which net/http reports as io.ErrUnexpectedEOF. It calls wait before each
// read, with the number of bytes that have arrived.
func fill(body io.Reader, chunk []byte, wait func(int) error) (n int, ended bool, err error) {
	for n < len(chunk) {
		if err := wait(n); err != nil {
			return n, false, err
		}
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
	b.small.release()
	b.large.release()
}
