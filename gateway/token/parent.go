package token

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

// maxGenerations bounds how many tokens stand above one that a token has created.
const maxGenerations = 8

// linkParents sets the parents of tokens, which are sorted by id. A token whose parent is
// unknown is an error: without it the token could do more.
func linkParents(tokens []*Token) error {
	find := func(id uuid.UUID) *Token {
		i, found := slices.BinarySearchFunc(tokens, id, func(t *Token, id uuid.UUID) int { return bytes.Compare(t.first.ID[:], id[:]) })
		if !found {
			return nil
		}
		return tokens[i]
	}
	var children []*Token
	for _, t := range tokens {
		if t.first.Parent == uuid.Nil {
			continue
		}
		parent := find(t.first.Parent)
		for steps := 0; parent != nil && parent.first.Superseded(); steps++ {
			if steps > len(tokens) {
				return fmt.Errorf("record %s replaces itself", parent.first.ID)
			}
			parent = find(parent.first.Successor)
		}
		if parent == nil {
			return fmt.Errorf("token %s was created by token %s, which is missing or was replaced by one that is", t.first.ID, t.first.Parent)
		}
		t.parent.Store(parent)
		children = append(children, t)
	}
	for _, t := range children {
		if t.generation() > maxGenerations {
			return fmt.Errorf("more than %d tokens stand above token %s", maxGenerations, t.first.ID)
		}
	}
	return nil
}

// generation returns how many tokens stand above this one, at most one more than are
// allowed.
func (t *Token) generation() (n int) {
	for a := t.parent.Load(); a != nil && n <= maxGenerations; a = a.parent.Load() {
		n++
	}
	return n
}

// checkParent returns the token that stands above a new one of a user, or why there can
// be none. The caller holds mu.
func (d *Directory) checkParent(ctx context.Context, parent *Token, now time.Time) (*Token, error) {
	if refusal := parent.standing(now); refusal != "" {
		return nil, errorf(ErrConflict, "token %s can't create tokens: it is %s", parent.Record().ID, refusal)
	}
	for parent.Record().Superseded() {
		successor, err := d.Get(ctx, parent.Record().Successor)
		if err != nil {
			return nil, err
		}
		parent = successor
	}
	switch {
	case parent.Observed():
		return nil, errorf(ErrConflict, "token %s can't create tokens while it is observed: enforce its scopes first", parent.Record().ID)
	case parent.generation() >= maxGenerations:
		return nil, errorf(ErrConflict, "token %s can't create tokens: %d tokens stand above it already", parent.Record().ID, maxGenerations)
	}
	return parent, nil
}

// replaceParent makes a new token the parent of all tokens that an old one has created.
// The caller holds mu.
func (d *Directory) replaceParent(old, successor *Token) {
	for o := range d.owners.spellings(old.owner.id) {
		for t := o.newest; t != nil; t = t.older {
			t.parent.CompareAndSwap(old, successor)
		}
	}
}

// Expires returns the end of the token, in Unix seconds, which is not after that of any
// token above it; 0: none.
func (t *Token) Expires() int64 {
	expires := t.Record().Expires
	for a := t.parent.Load(); a != nil; a = a.parent.Load() {
		if end := a.Record().Expires; end != 0 && (expires == 0 || end < expires) {
			expires = end
		}
	}
	return expires
}

// Scoped reports whether the token, or one above it, has scopes.
func (t *Token) Scoped() bool {
	for ; t != nil; t = t.parent.Load() {
		if t.Record().Scoped() {
			return true
		}
	}
	return false
}

// Observed reports whether requests that the scopes of the token, or of one above it,
// don't cover are let pass and noted.
func (t *Token) Observed() bool {
	for ; t != nil; t = t.parent.Load() {
		if t.Record().Observed() {
			return true
		}
	}
	return false
}

// Covers reports whether the scopes of the token, and of all above it, cover what a
// request needs. Uncovered is that they don't, but only scopes that are observed.
func (t *Token) Covers(need policy.Need) (covered, uncovered bool) {
	covered = true
	for ; t != nil; t = t.parent.Load() {
		if r := t.Record(); !r.Covers(need) {
			if covered = false; !r.Observed() {
				return false, false
			}
		}
	}
	return covered, !covered
}

// AllowsSource reports whether the token, and all above it, may be used from an address.
func (t *Token) AllowsSource(addr string) bool {
	for ; t != nil; t = t.parent.Load() {
		if !t.Record().AllowsSource(addr) {
			return false
		}
	}
	return true
}
