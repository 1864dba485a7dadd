package token_test

import (
	"github.com/google/uuid"

	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
)

var errFull = errors.New("no space left on device")

// many makes n tokens of one user.
func (w *world) many(n int) []*token.Token {
	w.t.Helper()
	made := make([]*token.Token, n)
	for i := range made {
		made[i], _ = w.create(token.Request{User: "alice", Name: fmt.Sprintf("%04d", i), Expires: "never"})
	}
	return made
}

// A list of tokens may hold one twice: whoever made it named one id twice.
func TestOneTokenTwiceInAList(t *testing.T) {
	w := newWorld(t)
	a, _ := w.create(token.Request{User: "alice", Name: "a"})
	b, _ := w.create(token.Request{User: "alice", Name: "b"})
	done, err := w.RevokeAll(t.Context(), []*token.Token{a, b, a}, "", "admin")
	if err != nil || !slices.Equal(done, []*token.Token{a, b}) {
		t.Errorf("RevokeAll = %d tokens, %v, want both once", len(done), err)
	}
	if got := w.audited.take(token.KindRevoked); len(got) != 2 {
		t.Errorf("%d revocations were audited, want 2", len(got))
	}
}

func tokenIDs(tokens ...*token.Token) []uuid.UUID {
	ids := make([]uuid.UUID, len(tokens))
	for i, t := range tokens {
		ids[i] = t.Record().ID
	}
	return ids
}
