// Package admin is the management interface of the gateway: an HTTP API, and the
// client of it that the command line uses.
//
// The handler authenticates nobody. It is made to be mounted in Caddy's admin
// endpoint and trusts whoever gets that far: they could as well replace the whole
// configuration. It answers a secret only to the one request that made it, and
// digests only to an export, which is audited.
package admin

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Prefix begins the paths of the API:
//
//	POST   /crumbgate/tokens               CreateRequest → 201 CreatedToken
//	GET    /crumbgate/tokens               ?user=ID ?name=ci-* … (Query) → TokenList
//	POST   /crumbgate/tokens/revoke        BulkRequest → BulkResult
//	POST   /crumbgate/tokens/suspend       BulkRequest → BulkResult
//	POST   /crumbgate/tokens/resume        BulkRequest → BulkResult
//	GET    /crumbgate/tokens/{id}          → Token
//	DELETE /crumbgate/tokens/{id}          ?actor=NAME ?why=TEXT revokes → Token
//	POST   /crumbgate/tokens/{id}/rename   RenameRequest → Token
//	POST   /crumbgate/tokens/{id}/rotate   Rotation → 201 RotatedToken
//	POST   /crumbgate/tokens/{id}/suspend  StateRequest → Token
//	POST   /crumbgate/tokens/{id}/resume   StateRequest → Token
//	PATCH  /crumbgate/tokens/{id}/limits   LimitsUpdate → Token
//	GET    /crumbgate/tokens/{id}/suggest  ?folders=true → Suggestion
//	GET    /crumbgate/users                → UserList
//	GET    /crumbgate/users?id=ID          → User
//	PATCH  /crumbgate/users?id=ID          UserChange → User
//	GET    /crumbgate/report               ?limit=N → Report
//	POST   /crumbgate/import               ImportRequest → ImportResult
//	GET    /crumbgate/export               ?user=ID ?gone=true ?actor=NAME → ExportList
//	GET    /crumbgate/crumb-keys           → CrumbKeys
//	POST   /crumbgate/crumb-keys           RotateRequest → CrumbKeys
//	GET    /crumbgate/audit                → AuditStatus
//	GET    /crumbgate/health               → Health
//
// Digests of tokens travel by import and export, and by nothing else.
//
// A user id is a query parameter because it may hold "/" or be "..", which
// servers and clients change in a path. What fails is answered with
// {"error":"…"}, the shape of Caddy's own admin errors: 409 for what a token or
// user is in no state for, 503 if the store can't keep a change or the change
// can't be audited.
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
	ID         string `json:"id"`
	User       string `json:"user"`
	Name       string `json:"name"`
	State      string `json:"state"`  // active, or why it is refused, when it was asked for
	Origin     string `json:"origin"` // issued, imported or legacy
	Created    Time   `json:"created"`
	Expires    Time   `json:"expires"`
	Suspended  Time   `json:"suspended,omitzero"`
	Revoked    Time   `json:"revoked,omitzero"`
	Why        string `json:"why,omitempty"` // it is suspended or revoked
	CreatedBy  string `json:"created_by"`
	Family     string `json:"family,omitempty"`      // the id of the token that it descends from by rotation
	ReplacedBy string `json:"replaced_by,omitempty"` // the id of the token that has replaced it
	Parent     string `json:"parent,omitempty"`      // the id of the token that created it, which bounds it
	Limits
	Marks Marks `json:"marks"`
	Uses  Uses  `json:"uses"`
}

// Limits are those of token.Limits.
type Limits struct {
	Scopes  []string `json:"scopes,omitempty"`
	Observe bool     `json:"observe,omitempty"`
	Sources []string `json:"sources,omitempty"`
	Rate    uint32   `json:"rate,omitempty"` // requests a minute
	MaxUses uint64   `json:"max_uses,omitempty"`
}

func (l *Limits) limits() *token.Limits {
	return &token.Limits{Scopes: l.Scopes, Observe: l.Observe, Sources: l.Sources, Rate: l.Rate, Uses: l.MaxUses}
}

func limitsOf(l *token.Limits) Limits {
	if l == nil {
		return Limits{}
	}
	return Limits{Scopes: l.Scopes, Observe: l.Observe, Sources: l.Sources, Rate: l.Rate, MaxUses: l.Uses}
}

// Marks are what people should notice of a token: those of token.Marks.
type Marks struct {
	Age       string `json:"age"`      // ok, warning (over 180 days) or error (over 360 days)
	LastUse   string `json:"last_use"` // the same of the last use
	NeverUsed bool   `json:"never_used,omitempty"`
	Expiring  bool   `json:"expiring,omitempty"`
	Unending  bool   `json:"unending,omitempty"`
	Legacy    bool   `json:"legacy,omitempty"`
	Unlimited bool   `json:"unlimited,omitempty"`
	Replaced  bool   `json:"replaced,omitempty"`
}

// Uses tells how often a token has been used.
type Uses struct {
	Count       uint64 `json:"count"`
	First       Time   `json:"first"`
	Last        Time   `json:"last"`
	LastAddress string `json:"last_address,omitempty"`
	Agent       string `json:"agent,omitempty"` // the last client's program
}

func tokenOf(t *token.Token, now time.Time) Token {
	record, uses, marks := t.Record(), t.Uses(), t.Marks(now)
	return Token{
		ID:         record.ID.String(),
		User:       string(record.Owner),
		Name:       record.Name,
		State:      marks.State,
		Origin:     record.Origin.String(),
		Created:    Time(record.Created),
		Expires:    Time(t.Expires()),
		Suspended:  Time(record.Suspended),
		Revoked:    Time(record.Revoked),
		Why:        record.Why,
		CreatedBy:  record.Actor,
		Family:     idText(record.Family),
		ReplacedBy: idText(record.Successor),
		Parent:     idText(record.Parent),
		Limits:     limitsOf(record.Limits),
		Marks: Marks{
			Age: marks.Age.String(), LastUse: marks.LastUse.String(),
			NeverUsed: marks.NeverUsed, Expiring: marks.Expiring, Unending: marks.Unending,
			Legacy: marks.Legacy, Unlimited: marks.Unlimited, Replaced: marks.Replaced,
		},
		Uses: Uses{
			Count:       uses.Count,
			First:       Time(uses.First),
			Last:        Time(uses.Last),
			LastAddress: uses.LastAddr,
			Agent:       uses.Agent,
		},
	}
}

// idText is "" for no id.
func idText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// A TokenList is the answer to a Query. It comes token by token.
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
	Limits
	UserUpdate
}

// A CreatedToken is the answer to a CreateRequest and part of that to a Rotation,
// the only messages that hold a secret. It is a plain string here because it has
// to be encoded.
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

// A UserChange is a UserUpdate, or disables or enables a user; not both at once.
type UserChange struct {
	UserUpdate
	Disabled *bool `json:"disabled,omitempty"`
	// Unknown lets a user be disabled of whom the gateway knows nothing. Without it that is
	// an error, since a misspelt id would leave the tokens of the user meant.
	Unknown bool `json:"unknown,omitempty"`
}

// A UserList lists all users that have tokens or of whom something is set.
type UserList struct {
	Users []ListedUser `json:"users"`
}

// A ListedUser is a User with the number of tokens that are not revoked.
type ListedUser struct {
	User
	Tokens int `json:"tokens"`
}

// A User is what the API tells of a user.
type User struct {
	ID          string   `json:"id"`
	Groups      []string `json:"groups"`
	Mail        string   `json:"mail"`
	DisplayName string   `json:"display_name"`
	Disabled    Time     `json:"disabled,omitzero"` // since when, if so
}

func userOf(p *token.Profile) User {
	groups := p.Groups
	if groups == nil {
		groups = []string{} // [] and not null
	}
	return User{ID: string(p.User), Groups: groups, Mail: p.Mail, DisplayName: p.DisplayName, Disabled: Time(p.Disabled)}
}

// A RenameRequest gives a token another name.
type RenameRequest struct {
	Name  string `json:"name"`
	Actor string `json:"actor,omitempty"`
}

// A Rotation asks for a token in place of another. The rules of each field are
// those of token.Rotation.
type Rotation struct {
	Overlap string `json:"overlap,omitempty"`
	Expires string `json:"expires,omitempty"`
	Actor   string `json:"actor,omitempty"`
}

// A RotatedToken is the new token with its secret, and the one that it replaces.
type RotatedToken struct {
	CreatedToken
	Old Token `json:"old"`
}

// A StateRequest suspends or resumes a token. What is so already stays as it is.
type StateRequest struct {
	Why   string `json:"why,omitempty"` // for people; of a suspension only
	Actor string `json:"actor,omitempty"`
}

// A LimitsUpdate says what of a token's limits is to change. A field that is
// missing or null stays; an empty one, or 0, is removed. Without scopes there is
// nothing to observe, so that removing them ends that too.
type LimitsUpdate struct {
	Scopes  *[]string `json:"scopes,omitempty"`
	Observe *bool     `json:"observe,omitempty"`
	Sources *[]string `json:"sources,omitempty"`
	Rate    *uint32   `json:"rate,omitempty"`
	MaxUses *uint64   `json:"max_uses,omitempty"`
	Actor   string    `json:"actor,omitempty"`
}

// Empty tells whether the update changes nothing.
func (u *LimitsUpdate) Empty() bool {
	return u.Scopes == nil && u.Observe == nil && u.Sources == nil && u.Rate == nil && u.MaxUses == nil
}

// Limits returns those of a token that had none before.
func (u *LimitsUpdate) Limits() Limits { return u.apply(Limits{}) }

// apply returns what becomes of limits.
func (u *LimitsUpdate) apply(l Limits) Limits {
	if u.Scopes != nil {
		l.Scopes = *u.Scopes
		l.Observe = l.Observe && len(l.Scopes) > 0
	}
	if u.Observe != nil {
		l.Observe = *u.Observe
	}
	if u.Sources != nil {
		l.Sources = *u.Sources
	}
	if u.Rate != nil {
		l.Rate = *u.Rate
	}
	if u.MaxUses != nil {
		l.MaxUses = *u.MaxUses
	}
	return l
}

// A Suggestion is what scopes a token needs for what it has been seen to do. It names
// items one by one; with folders=true it has folder/* for four or more in one folder,
// which covers items there that the token was not seen to use.
type Suggestion struct {
	Scopes  []string `json:"scopes"`
	Seen    []Seen   `json:"seen"`    // how often each of these would have been needed
	Now     []string `json:"now"`     // the scopes that it has
	Observe bool     `json:"observe"` // whether it is still observed
	Needs   int      `json:"needs"`   // how many different things it has been seen to do
}

// Seen is how many requests a scope would have covered.
type Seen struct {
	Scope    string `json:"scope"`
	Requests uint64 `json:"requests"`
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

// AuditStatus tells where changes and denials are noted.
type AuditStatus struct {
	File string `json:"file"` // "" if nothing is
	// Head is the last line that is on disk, as number and hash. Kept elsewhere, it lets
	// lines that are cut off at the end be missed.
	Head    string `json:"head,omitempty"`
	Dropped uint64 `json:"dropped"` // events that could not be written since the start
	// Denials is the file in which denials are noted, and DenialsHead its last line.
	Denials     string `json:"denials,omitempty"`
	DenialsHead string `json:"denials_head,omitempty"`
	Waiting     int    `json:"waiting"`         // lines of changes that are stored and that the log does not have yet
	Error       string `json:"error,omitempty"` // why the log can't be written now
}

// Health is the answer of a gateway that can look up tokens.
type Health struct {
	Status string `json:"status"` // "ok"
	Tokens int    `json:"tokens"` // the expired and the revoked included
	// AuditError says why the audit log can't be written now, so that changes are refused
	// that don't take rights away. AuditWaiting counts the lines that wait for it.
	AuditError   string `json:"audit_error,omitempty"`
	AuditWaiting int    `json:"audit_waiting,omitempty"`
	// StoreError says why the store can't keep changes now.
	StoreError string `json:"store_error,omitempty"`
}

// An Error is the answer to a request that failed.
type Error struct {
	Status int    `json:"-"` // of the HTTP answer
	Text   string `json:"error"`
}

func (e *Error) Error() string { return e.Text }
