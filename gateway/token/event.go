package token

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// A Kind is what an Event is about.
type Kind string

// The kinds of events. The first are changes, which are audited before they are
// made; the last are what happens to tokens.
const (
	KindCreated   Kind = "token.created"
	KindImported  Kind = "token.imported"
	KindExported  Kind = "token.exported"
	KindRenamed   Kind = "token.renamed"
	KindLimited   Kind = "token.limited"
	KindRotated   Kind = "token.rotated"
	KindSuspended Kind = "token.suspended"
	KindResumed   Kind = "token.resumed"
	KindRevoked   Kind = "token.revoked"
	KindUser      Kind = "user.changed"
	KindDisabled  Kind = "user.disabled"
	KindEnabled   Kind = "user.enabled"

	// KindCrumbKeyRotated is a new key for crumbs, and KindCrumbKeysDropped one that takes
	// the place of all others. See Directory.Store.
	KindCrumbKeyRotated  Kind = "crumb_key.rotated"
	KindCrumbKeysDropped Kind = "crumb_key.dropped"
	// KindStoreAccepted says that an operator accepts a store which lacks changes of the
	// audit log.
	KindStoreAccepted Kind = "store.accepted"

	// KindReused is the use of a token after another has replaced it: somebody still
	// has the old secret.
	KindReused Kind = "token.reused"
	// KindNewAddress is the first use of a token from an address.
	KindNewAddress Kind = "token.new_address"
	// KindExpiring is that a token ends within a week.
	KindExpiring Kind = "token.expiring"
)

// Kinds are all of them.
var Kinds = []Kind{
	KindCreated, KindImported, KindExported, KindRenamed, KindLimited, KindRotated,
	KindSuspended, KindResumed, KindRevoked, KindUser, KindDisabled, KindEnabled,
	KindCrumbKeyRotated, KindCrumbKeysDropped, KindStoreAccepted, KindReused, KindNewAddress, KindExpiring,
}

// An Event is a change, or something that has happened to a token. It holds no
// secret.
type Event struct {
	// ID identifies a change: its events, and those that say that it failed, share it. The
	// directory sets ID and Time.
	ID    uuid.UUID
	Time  time.Time
	Kind  Kind
	Actor Actor
	Token *Record // as it becomes; nil if it is about a user
	User  user.ID // whose tokens it is about
	// Detail says, for people, what has changed.
	Detail string
	// Err is why an announced change was not made in the end.
	Err error
}

// An Actor is who makes a change, taken on trust from the caller of the directory.
type Actor struct {
	Name string
	Via  string // the way, such as "admin api"
	Addr string // where from, if known
}

type originKey struct{}

// From returns a context whose changes are noted as having come by a way, such as
// "admin api", and from a network address, which may be unknown.
func From(ctx context.Context, via, addr string) context.Context {
	return context.WithValue(ctx, originKey{}, Actor{Via: via, Addr: addr})
}

func actorOf(ctx context.Context, name string) Actor {
	a, _ := ctx.Value(originKey{}).(Actor)
	a.Name = name
	return a
}

// Removes reports whether a change of kind k only takes rights away. Such a change never
// waits for the audit log: see Directory.apply.
func (k Kind) Removes() bool {
	return k == KindRevoked || k == KindSuspended || k == KindDisabled || k == KindCrumbKeysDropped
}

// Happened tells whether an event is no change, but something that was seen.
func (k Kind) Happened() bool {
	return k == KindReused || k == KindNewAddress || k == KindExpiring
}
