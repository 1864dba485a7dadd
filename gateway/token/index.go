package token

import (
	"crypto/subtle"
	"encoding/binary"
	"iter"
	"sync/atomic"
)

// An index finds tokens by their digest. It is a table of pointers in which a
// token stands in the first free place from where its digest points; a digest is
// as good a hash as there is. Readers take no lock; there is one writer at a time.
// Tokens are never removed, since a revoked one is still to be recognised.
//
// At eight to sixteen bytes a token it takes a seventh of the memory of a general
// concurrent map, which at a million tokens is more than all else in a gateway.
type index struct {
	places atomic.Pointer[[]atomic.Pointer[Token]] // a power of two, at most half of them taken
	size   atomic.Int64
}

func newIndex() *index {
	x := new(index)
	places := make([]atomic.Pointer[Token], 64)
	x.places.Store(&places)
	return x
}

// place returns where the token of a digest stands or, if there is none, would.
func place(places []atomic.Pointer[Token], digest *Digest) *atomic.Pointer[Token] {
	mask := uint64(len(places) - 1)
	for i := binary.LittleEndian.Uint64(digest[:8]); ; i++ {
		p := &places[i&mask]
		token := p.Load()
		if token == nil {
			return p
		}
		// In constant time. Where the search begins and how long it is do depend on
		// the digest, but that is the hash of a guess, and knowing more about it brings
		// nobody nearer to a secret.
		if found := &token.Record().Digest; subtle.ConstantTimeCompare(found[:], digest[:]) == 1 {
			return p
		}
	}
}

// find returns the token of a digest, or nil.
func (x *index) find(digest Digest) *Token {
	return place(*x.places.Load(), &digest).Load()
}

// insert adds a token whose digest is not in the index yet.
func (x *index) insert(token *Token) {
	places := *x.places.Load()
	if size := x.size.Add(1); 2*size > int64(len(places)) {
		wider := make([]atomic.Pointer[Token], 2*len(places))
		for t := range x.all() {
			place(wider, &t.Record().Digest).Store(t)
		}
		// Who still reads the old table finds what was there when they began.
		x.places.Store(&wider)
		places = wider
	}
	place(places, &token.Record().Digest).Store(token)
}

// all yields the tokens, in no order.
func (x *index) all() iter.Seq[*Token] {
	return func(yield func(*Token) bool) {
		places := *x.places.Load()
		for i := range places {
			if t := places[i].Load(); t != nil && !yield(t) {
				return
			}
		}
	}
}
