package token

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
)

// State is what may be done with a token.
type State uint8

const (
	// Active tokens are admitted until they expire.
	Active State = 1
	// Revoked tokens are never admitted again. Their records stay, so that a log can
	// name the revoked token that somebody still uses.
	Revoked State = 2
	// Suspended tokens are not admitted until they are resumed.
	Suspended State = 3
)

func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Revoked:
		return "revoked"
	case Suspended:
		return "suspended"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Origin is where a token comes from.
type Origin uint8

const (
	// Issued tokens were made by crumbgate.
	Issued Origin = 1
	// FromJenkins are tokens that Jenkins 2.129 or later made, and kept the digests of.
	FromJenkins Origin = 2
	// Legacy tokens are from before Jenkins 2.129: one for each user, 32 hex digits
	// that Jenkins derived from a secret and could always show again.
	Legacy Origin = 3
)

func (o Origin) String() string {
	switch o {
	case Issued:
		return "issued"
	case FromJenkins:
		return "imported"
	case Legacy:
		return "legacy"
	}
	return fmt.Sprintf("origin(%d)", uint8(o))
}

// A Record is what is stored of a token: all but the secret. Records are not
// changed once they are in a Directory; a change replaces them.
//
// They are stored as CBOR (RFC 8949) under small numbers: a fifth of the time of
// JSON to read and less than half of the space, which is what lets a gateway with
// a million tokens start in seconds. A number is never used again for another
// field.
type Record struct {
	// What a request needs comes first: it is in one line of the cache with the
	// beginning of a Token.
	Digest  Digest `cbor:"2,keyasint"`
	Expires int64  `cbor:"9,keyasint,omitempty"` // Unix seconds, the first at which the token is refused; 0: never
	State   State  `cbor:"5,keyasint"`
	Origin  Origin `cbor:"6,keyasint"`

	ID    uuid.UUID `cbor:"1,keyasint"`
	Owner user.ID   `cbor:"3,keyasint"`
	Name  string    `cbor:"4,keyasint"`
	// Actor is who had the token made, as the caller of the directory named them.
	Actor   string `cbor:"7,keyasint,omitempty"`
	Created int64  `cbor:"8,keyasint"`            // Unix seconds; 0: unknown, of imported tokens
	Revoked int64  `cbor:"10,keyasint,omitempty"` // Unix seconds; 0: not revoked

	Suspended int64 `cbor:"11,keyasint,omitempty"` // Unix seconds; 0: not suspended
	// Resumed is when the token was last resumed, in Unix seconds: idleness counts from
	// there.
	Resumed int64 `cbor:"12,keyasint,omitempty"`
	// Why says, for people, why the token is suspended or revoked, if there is more to
	// say than that somebody wanted it.
	Why string `cbor:"13,keyasint,omitempty"`
	// Limits are what the token is limited to, nil for one that may do what its owner
	// may.
	Limits *Limits `cbor:"14,keyasint,omitempty"`
	// Family is the id of the token that this one descends from by rotation; the zero
	// id for one that was not made so.
	Family uuid.UUID `cbor:"15,keyasint,omitzero"`
	// Successor is the token that has replaced this one; the zero id: none.
	Successor uuid.UUID `cbor:"16,keyasint,omitzero"`
	// Parent is the token with which this one was created; the zero id: it was created
	// by a user. A token can do nothing that its parent can't do at that moment.
	Parent uuid.UUID `cbor:"17,keyasint,omitzero"`
	// SuspendedBy is the right by which the token is suspended. Records from before it
	// was kept have none.
	SuspendedBy Authority `cbor:"18,keyasint,omitempty"`
}

// An Authority is the right by which a token is suspended or resumed.
type Authority uint8

// The authorities, from the lowest. Only the same or a higher one undoes a suspension;
// administrators undo those of the gateway, too.
const (
	ByOwner   Authority = 1
	ByAdmin   Authority = 2
	ByGateway Authority = 3 // as the reuse alarm does
)

// ResumableBy reports whether an authority may undo the token's suspension.
func (r *Record) ResumableBy(by Authority) bool {
	return by == ByAdmin || by == ByGateway || by == ByOwner && r.SuspendedBy == ByOwner
}

// Root is the id that all tokens of a family share.
func (r *Record) Root() uuid.UUID {
	if r.Family == uuid.Nil {
		return r.ID
	}
	return r.Family
}

// Superseded tells whether another token has replaced this one.
func (r *Record) Superseded() bool { return r.Successor != uuid.Nil }

// A Profile is what is known of a user beside the id. It belongs to the user and
// not to a token: Jenkins saves mail and display name to the user whenever they
// change, and leaving a group has to hold for all tokens at once.
type Profile struct {
	User        user.ID  `cbor:"1,keyasint"`
	Groups      []string `cbor:"2,keyasint,omitempty"`
	Mail        string   `cbor:"3,keyasint,omitempty"`
	DisplayName string   `cbor:"4,keyasint,omitempty"`
	// Disabled is since when the user's tokens are refused, in Unix seconds; 0: they
	// are not.
	Disabled int64 `cbor:"5,keyasint,omitempty"`
}

// encoding sorts by number, whatever the order of fields in memory.
var encoding = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

func encode(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(err) // our own plain structs always encode
	}
	return b
}

// decode sets r to a stored record and checks what everything else relies on:
// a damaged record must not become a token that is always admitted.
func (r *Record) decode(key string, value []byte) error {
	if err := strictcbor.Decoding.Unmarshal(value, r); err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	switch {
	case key != tokenKey(r.ID):
		return fmt.Errorf("record %q says that it is token %s", key, r.ID)
	case r.Digest == Digest{}:
		return fmt.Errorf("record %q has no digest", key)
	case r.Owner == "":
		return fmt.Errorf("record %q has no owner", key)
	case r.State != Active && r.State != Revoked && r.State != Suspended:
		return fmt.Errorf("record %q has the unknown %v", key, r.State)
	case r.SuspendedBy > ByGateway:
		return fmt.Errorf("record %q is suspended by the unknown authority %d", key, r.SuspendedBy)
	case r.Origin != Issued && r.Origin != FromJenkins && r.Origin != Legacy:
		return fmt.Errorf("record %q has the unknown %v", key, r.Origin)
	}
	if r.Limits != nil {
		// Limits that are not understood must not become none.
		if err := r.Limits.compile(); err != nil {
			return fmt.Errorf("record %q: %w", key, err)
		}
	}
	return nil
}
