package token_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A line of the log after the last one that the store knows.
func (w *world) line(kind token.Kind, tok *token.Token, id uuid.UUID, failed bool) token.RecordedEvent {
	r := tok.Record()
	e := token.RecordedEvent{Line: "7:" + id.String(), Event: token.Event{ID: id, Time: w.now, Kind: kind, User: r.Owner, Token: &token.Record{ID: r.ID, Name: r.Name}}}
	if failed {
		e.Err = errors.New("failed")
	}
	return e
}

func TestReconcile(t *testing.T) {
	first, second := uuid.New(), uuid.New()
	for _, c := range []struct {
		name   string
		lines  func(*world, *token.Token) token.Recorded
		stale  string // in the error
		admit  token.Refusal
		failed int // lines that say so
	}{
		{"nothing is missing", func(*world, *token.Token) token.Recorded { return token.Recorded{} }, "", "", 0},
		{"a revocation is applied", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindRevoked, tok, first, false)}}
		}, "", token.RefusedRevoked, 0},
		{"a suspension is applied", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindSuspended, tok, first, false)}}
		}, "", token.RefusedSuspended, 0},
		{"a disabling is applied", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindDisabled, tok, first, false)}}
		}, "", token.RefusedOwner, 0},
		{"the interrupted change has failed", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindLimited, tok, first, false)}, Interrupted: first}
		}, "", "", 1},
		{"a change that is known to have failed", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindLimited, tok, first, false), w.line(token.KindLimited, tok, first, true)}}
		}, "", "", 0},
		{"a change of a clean run is missing", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindLimited, tok, first, false)}}
		}, "lacks 1 change: token.limited", "", 0},
		{"one before the interrupted is missing", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindLimited, tok, first, false), w.line(token.KindRenamed, tok, second, false)}, Interrupted: second}
		}, "lacks 2 changes", "", 0},
		{"an export changes nothing", func(w *world, tok *token.Token) token.Recorded {
			return token.Recorded{Events: []token.RecordedEvent{w.line(token.KindExported, tok, first, false)}}
		}, "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			tok, _ := w.create(token.Request{User: "alice", Name: "ci"})
			id := tok.Record().ID
			w.audited.take("")
			err := w.Reconcile(t.Context(), func() token.Recorded { return c.lines(w, tok) })
			var stale *token.StaleError
			if errors.As(err, &stale) != (c.stale != "") || c.stale == "" && err != nil || c.stale != "" && !strings.Contains(err.Error(), c.stale) {
				t.Fatalf("Reconcile: %v, want %q", err, c.stale)
			}
			failed := 0
			for _, e := range w.audited.take("") {
				if e.Err == nil || e.ID != first {
					t.Errorf("recorded is %+v", e)
				}
				failed++
			}
			if failed != c.failed {
				t.Errorf("%d lines say that a change has failed, want %d", failed, c.failed)
			}
			w.reopen()
			if got := w.states(id)[0]; got != c.admit {
				t.Errorf("the token is %q, want %q", got, c.admit)
			}
		})
	}
}

// A line that waited and that the log has is not written again.
func TestWaitingLineIsWrittenOnce(t *testing.T) {
	w := newWorld(t)
	tok, _ := w.create(token.Request{User: "alice", Name: "ci"})
	w.audited.take("")
	w.audited.fail(errFull)
	if _, err := w.Revoke(t.Context(), tok.Record().ID, "admin"); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	var line token.RecordedEvent
	err := w.Reconcile(t.Context(), func() token.Recorded {
		// The log has what the store could not forget: its ID is known from the store.
		for _, e := range w.WaitingEvents() {
			line = token.RecordedEvent{Event: e, Line: "7:x"}
		}
		w.audited.fail(nil)
		return token.Recorded{Events: []token.RecordedEvent{line}}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.recorded()
	w.reopen()
	w.recorded()
	if got := w.audited.take(token.KindRevoked); len(got) != 0 {
		t.Errorf("recorded again: %+v", got)
	}
}

// What takes rights away does not wait while another change waits for the log.
func TestRevocationDoesNotWaitForTheLog(t *testing.T) {
	w := newWorld(t)
	tok, _ := w.create(token.Request{User: "alice", Name: "ci"})
	other, _ := w.create(token.Request{User: "alice", Name: "other"})
	w.audited.mu.Lock() // the log hangs
	renamed := make(chan error)
	go func() {
		_, err := w.Rename(t.Context(), tok.Record().ID, "new", "admin")
		renamed <- err
	}()
	for _, id := range tokenIDs(tok, other) {
		if _, err := w.Revoke(t.Context(), id, "admin"); err != nil {
			t.Error(err)
		}
	}
	if got := w.states(tokenIDs(tok, other)...); got[0] != token.RefusedRevoked || got[1] != token.RefusedRevoked {
		t.Errorf("states are %q, want both revoked", got)
	}
	w.audited.mu.Unlock()
	// Had it been announced before, it must not bring the token back.
	if err := <-renamed; err == nil {
		t.Error("a revoked token was renamed")
	}
	w.reopen()
	if got := w.states(tokenIDs(tok)...); got[0] != token.RefusedRevoked {
		t.Errorf("the token is %q, want it revoked", got[0])
	}
}
