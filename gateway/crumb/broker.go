// Package crumb deals in Jenkins' protection against cross-site request forgery.
//
// Jenkins checks a crumb on every POST, bound to a user and to an HTTP session,
// and exempts only what its own Basic authenticator let in
// (hudson.security.csrf.CrumbFilter, jenkins.security.ApiCrumbExclusion). Whoever
// comes with a token of ours is known to Jenkins by header, and so is not exempt.
// The Broker therefore holds a Jenkins session and its crumb for each user, which
// no client ever sees.
package crumb

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// A Session is a session that Jenkins opened for a user, and the crumb bound to
// it. It is not changed once it is made.
type Session struct {
	Cookie string // the value of the Cookie header, "" if Jenkins set none
	Field  string // the header that carries the crumb
	Crumb  string // "" if CSRF protection is off in Jenkins
	Class  string // the class of the crumb issuer

	// Fetched is when Jenkins was asked for the crumb.
	Fetched time.Time

	// replaces has the session cookies that were presented, and that Jenkins did not go
	// on with when it opened this session; "" if it opened none in the place of another.
	replaces string

	// SetCookie are the lines with which Jenkins opened the session, for a client that
	// is to hold it; none if it is the one that was presented.
	SetCookie []string

	// Version and Started are X-Jenkins and X-Jenkins-Session of the answer, which
	// clients read.
	Version, Started string
}

// A Key is for whom a session is: one session for two users would be a breach.
type Key struct {
	User user.ID
	// Addr is the client's address where the crumb is bound to that as well
	// (Jenkins before 2.543), else "".
	Addr string
	// Cookie is the session that the client holds itself, "" if the broker does.
	Cookie string
}

// Fetch asks Jenkins for the crumb. It presents the session old, if there is
// one, so that Jenkins opens a new one only where that is gone.
type Fetch func(ctx context.Context, old *Session) (*Session, error)

// A Broker holds sessions, at most as many as it was made for; the ones that
// were used least go first. Its methods are safe for concurrent use.
type Broker struct {
	sessions *otter.Cache[Key, *Session]
	fetching singleflight.Group
	timeout  time.Duration
}

// NewBroker returns a broker for at most max sessions, which waits for Jenkins no
// longer than timeout.
func NewBroker(max int, timeout time.Duration) (*Broker, error) {
	sessions, err := otter.New(&otter.Options[Key, *Session]{MaximumSize: max})
	if err != nil {
		return nil, fmt.Errorf("making the cache of Jenkins sessions: %w", err)
	}
	return &Broker{sessions: sessions, timeout: timeout}, nil
}

// Cached returns the session of a key, or nil. It never asks Jenkins.
func (b *Broker) Cached(key Key) *Session {
	s, _ := b.sessions.GetIfPresent(key)
	return s
}

// Forget drops a session that Jenkins has refused, unless there is another one for
// its key by now.
func (b *Broker) Forget(key Key, refused *Session) {
	if b.Cached(key) == refused {
		b.sessions.Invalidate(key)
	}
}

// Session returns the session of a key, from Jenkins if there is none yet, or if
// the one there is has been refused: a caller whom Jenkins refused passes that
// session as refused. Concurrent needs of one key share one fetch, which goes on
// when a caller leaves.
func (b *Broker) Session(ctx context.Context, key Key, refused *Session, fetch Fetch) (*Session, error) {
	usable := func() *Session {
		if s := b.Cached(key); s != refused {
			return s
		}
		return nil
	}
	if s := usable(); s != nil {
		return s, nil
	}
	return b.share(ctx, "any", key, func(ctx context.Context, old *Session) (*Session, error) {
		// A fetch that came to its end since we looked would be no flight to join.
		if s := usable(); s != nil {
			return s, nil
		}
		if old == nil {
			old = refused // the cache has dropped it
		}
		return fetch(ctx, old)
	})
}

// Fresh returns a session that Jenkins has confirmed just now. It shares a fetch with
// others who need that, and with nobody whom an older session would do.
func (b *Broker) Fresh(ctx context.Context, key Key, fetch Fetch) (*Session, error) {
	return b.share(ctx, "fresh", key, fetch)
}

// share makes a fetch for all who ask for the same kind of session of a key meanwhile.
func (b *Broker) share(ctx context.Context, kind string, key Key, fetch Fetch) (*Session, error) {
	flight := b.fetching.DoChan(kind+"\x00"+string(key.User)+"\x00"+key.Addr+"\x00"+key.Cookie, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.timeout)
		defer cancel()
		s, err := fetch(ctx, b.Cached(key))
		if err != nil {
			return nil, err
		}
		b.sessions.Set(key, s)
		return s, nil
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*Session), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
