package token

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// State is what may be done with a token.
type State uint8

const (
	// Active tokens are admitted until they expire.
	Active State = 1
	// Revoked tokens are never admitted again. Their records stay, so that a log can
	// name the revoked token that somebody still uses.
	Revoked State = 2
)

func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Revoked:
		return "revoked"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Origin is where a token comes from.
type Origin uint8

// Issued tokens were made by crumbgate.
const Issued Origin = 1

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
	Created int64  `cbor:"8,keyasint"`            // Unix seconds
	Revoked int64  `cbor:"10,keyasint,omitempty"` // Unix seconds; 0: not revoked
}

// A Refusal is the reason for which a token that exists is not admitted. It is
// for the log; clients can't tell one from another.
type Refusal string

const (
	// RefusedRevoked and RefusedExpired are the reasons that Admit knows.
	RefusedRevoked Refusal = "revoked"
	RefusedExpired Refusal = "expired"
)

// Admit returns "" if the token may be used at now, or why not.
func (r *Record) Admit(now time.Time) Refusal {
	switch {
	case r.State != Active:
		return RefusedRevoked
	case r.Expires != 0 && now.Unix() >= r.Expires:
		return RefusedExpired
	}
	return ""
}

// A Profile is what is known of a user beside the id. It belongs to the user and
// not to a token: Jenkins saves mail and display name to the user whenever they
// change, and leaving a group has to hold for all tokens at once.
type Profile struct {
	User        user.ID  `cbor:"1,keyasint"`
	Groups      []string `cbor:"2,keyasint,omitempty"`
	Mail        string   `cbor:"3,keyasint,omitempty"`
	DisplayName string   `cbor:"4,keyasint,omitempty"`
}

var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   4,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

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
	if err := decoding.Unmarshal(value, r); err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	switch {
	case key != tokenKey(r.ID):
		return fmt.Errorf("record %q says that it is token %s", key, r.ID)
	case r.Digest == Digest{}:
		return fmt.Errorf("record %q has no digest", key)
	case r.Owner == "":
		return fmt.Errorf("record %q has no owner", key)
	case r.State != Active && r.State != Revoked:
		return fmt.Errorf("record %q has the unknown %v", key, r.State)
	}
	return nil
}
