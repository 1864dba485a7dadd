// Package admin is the management interface of the gateway: an HTTP API, and the
// client of it that the command line uses.
//
// The handler authenticates nobody. It is made to be mounted in Caddy's admin
// endpoint and trusts whoever gets that far: they could as well replace the whole
// configuration. It never answers a digest, and a secret only to the one request
// that made it.
package admin

import (
	"fmt"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Prefix begins the paths of the API:
//
//	POST   /crumbgate/tokens         CreateRequest → 201 CreatedToken
//	GET    /crumbgate/tokens         ?user=ID ?all=true → TokenList
//	GET    /crumbgate/tokens/{id}    → Token
//	DELETE /crumbgate/tokens/{id}    ?actor=NAME revokes → Token
//	GET    /crumbgate/users?id=ID    → User
//	PATCH  /crumbgate/users?id=ID    UserUpdate → User
//	GET    /crumbgate/crumb-keys     → CrumbKeys
//	POST   /crumbgate/crumb-keys     RotateRequest → CrumbKeys
//	GET    /crumbgate/health         → Health
//
// A user id is a query parameter because it may hold "/" or be "..", which
// servers and clients change in a path. What fails is answered with
// {"error":"…"}, the shape of Caddy's own admin errors.
const Prefix = "/crumbgate/"

// A Time is a moment in Unix seconds. As JSON it is RFC 3339 in UTC, or "never"
// for 0.
type Time int64

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) {
	if t == 0 {
		return []byte("never"), nil
	}
	return []byte(time.Unix(int64(t), 0).UTC().Format(time.RFC3339)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		*t = 0
		return nil
	}
	parsed, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("%q is neither a time (RFC 3339) nor never", text)
	}
	*t = Time(parsed.Unix())
	return nil
}

// A Token is what the API tells of a token.
type Token struct {
	ID        string `json:"id"`
	User      string `json:"user"`
	Name      string `json:"name"`
	State     string `json:"state"` // active, expired or revoked, when it was asked for
	Created   Time   `json:"created"`
	Expires   Time   `json:"expires"`
	Revoked   Time   `json:"revoked,omitzero"`
	CreatedBy string `json:"created_by"`
	Uses      Uses   `json:"uses"`
}

// Uses tells how often a token has been used.
type Uses struct {
	Count       uint64 `json:"count"`
	First       Time   `json:"first"`
	Last        Time   `json:"last"`
	LastAddress string `json:"last_address,omitempty"`
}

func tokenOf(t *token.Token, now time.Time) Token {
	record, uses := t.Record(), t.Uses()
	state := t.Marks(now).State
	return Token{
		ID:        record.ID.String(),
		User:      string(record.Owner),
		Name:      record.Name,
		State:     state,
		Created:   Time(record.Created),
		Expires:   Time(record.Expires),
		Revoked:   Time(record.Revoked),
		CreatedBy: record.Actor,
		Uses: Uses{
			Count:       uses.Count,
			First:       Time(uses.First),
			Last:        Time(uses.Last),
			LastAddress: uses.LastAddr,
		},
	}
}

// A TokenList is the answer to a request for tokens, by user, name and age.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// A CreateRequest asks for a token. The rules of each field are those of
// token.Request.
type CreateRequest struct {
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Expires string `json:"expires,omitempty"`
	Format  string `json:"format,omitempty"`
	UserUpdate
}

// A CreatedToken is the answer to a CreateRequest, and the only message that
// holds a secret. It is a plain string here because it has to be encoded.
type CreatedToken struct {
	Token
	Secret string `json:"secret"`
}

// A UserUpdate says what is to become known of a user. A field that is missing
// or null leaves what is known; an empty one removes it.
type UserUpdate struct {
	Groups      *[]string `json:"groups,omitempty"`
	Mail        *string   `json:"mail,omitempty"`
	DisplayName *string   `json:"display_name,omitempty"`

	// Actor names who asks, for the records and the log: "admin api" if empty. It is
	// taken on trust.
	Actor string `json:"actor,omitempty"`
}

// Empty tells whether the update changes nothing.
func (u *UserUpdate) Empty() bool {
	return u.Groups == nil && u.Mail == nil && u.DisplayName == nil
}

func (u *UserUpdate) profile() token.ProfileUpdate {
	return token.ProfileUpdate{Groups: u.Groups, Mail: u.Mail, DisplayName: u.DisplayName}
}

// A User is what the API tells of a user.
type User struct {
	ID          string   `json:"id"`
	Groups      []string `json:"groups"`
	Mail        string   `json:"mail"`
	DisplayName string   `json:"display_name"`
}

func userOf(p *token.Profile) User {
	groups := p.Groups
	if groups == nil {
		groups = []string{} // [] and not null
	}
	return User{ID: string(p.User), Groups: groups, Mail: p.Mail, DisplayName: p.DisplayName}
}

// CrumbKeys tells of the keys with which the gateway signs crumbs for people.
type CrumbKeys struct {
	Keys []CrumbKey `json:"keys"` // the current one first
}

// A CrumbKey is what is told of a key, which is never the key.
type CrumbKey struct {
	Number  uint64 `json:"number"`
	Created Time   `json:"created"`
	Current bool   `json:"current"`
}

// A RotateRequest asks for a new key. Crumbs by the old ones hold until they
// expire, or end at once with Drop.
type RotateRequest struct {
	Drop  bool   `json:"drop,omitempty"`
	Actor string `json:"actor,omitempty"`
}

// Health is the answer of a gateway that can look up tokens.
type Health struct {
	Status string `json:"status"` // "ok"
	Tokens int    `json:"tokens"` // the expired and the revoked included
}

// An Error is the answer to a request that failed.
type Error struct {
	Status int    `json:"-"` // of the HTTP answer
	Text   string `json:"error"`
}

func (e *Error) Error() string { return e.Text }
