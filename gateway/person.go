package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// ErrUntrusted is returned by Config.Session for an identity that the client
// could have claimed itself.
var ErrUntrusted = errors.New("the client could have claimed this identity itself")

// NewPerson returns who has signed in, or an error that says what of it can't be
// told to Jenkins.
func NewPerson(id string, groups []string, mail, displayName string) (*token.Profile, error) {
	who, err := user.ParseID(id)
	if err != nil {
		return nil, err
	}
	p := &token.Profile{User: who, Groups: groups, Mail: mail, DisplayName: displayName}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("user %s: %w", who, err)
	}
	return p, nil
}

// identify puts a user into the headers in which Jenkins reads who a request is
// from (ReverseProxySecurityRealm). An unknown field is left out: the plugin takes
// an empty header for a value.
func (g *Gate) identify(h http.Header, id user.ID, p *token.Profile) {
	h[g.UserHeader] = []string{string(id)}
	if len(p.Groups) > 0 {
		h[g.GroupsHeader] = []string{strings.Join(p.Groups, token.GroupDelimiter)}
	}
	if p.Mail != "" {
		h[g.MailHeader] = []string{p.Mail}
	}
	if p.DisplayName != "" {
		h[g.DisplayNameHeader] = []string{p.DisplayName}
	}
}

// shed removes what a client knows of credentials.
func (g *Gate) shed(h http.Header) {
	delete(h, "Authorization")
	g.scrubber.token.Remove(h)
}

// groupPrefix tells a group from a user in Config.Admins.
const groupPrefix = "group:"

// IsAdmin reports whether a user may manage the tokens of all users. A disabled user
// may not. The profile that a sign-in gives doesn't say so: the caller looks that up.
func (c *Config) IsAdmin(p *token.Profile) bool {
	return p.Disabled == 0 && slices.ContainsFunc(c.Admins, func(admin string) bool {
		if group, isGroup := strings.CutPrefix(admin, groupPrefix); isGroup {
			return slices.Contains(p.Groups, group)
		}
		return c.UserIDs.Equal(user.ID(admin), p.User)
	})
}
