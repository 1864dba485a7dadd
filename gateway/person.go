package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

var (
	// ErrUntrusted is returned by Config.Session for an identity that the client
	// could have claimed itself.
	ErrUntrusted = errors.New("the client could have claimed this identity itself")
	// ErrNoUser is returned by Config.Session if the sign-in let the request in, but
	// did not say for which user.
	ErrNoUser = errors.New("the sign-in let the request in, but named no user")
)

// NewPerson returns a signed-in user, or an error that says what is wrong with the
// user ID. The ID alone decides: of the rest, identify sends what Jenkins can read.
func NewPerson(id string, groups []string, mail, displayName string) (*token.Profile, error) {
	parsed, err := user.ParseID(id)
	if err != nil {
		return nil, err
	}
	return &token.Profile{User: parsed, Groups: groups, Mail: mail, DisplayName: displayName}, nil
}

// person returns the signed-in user of a request, nil if there is none, or the reason
// for which its identity can't be used.
func (g *Gate) person(r *http.Request) (*token.Profile, Reason, error) {
	person, err := g.Session(r)
	switch {
	case errors.Is(err, ErrUntrusted):
		return nil, ReasonUntrusted, err
	case errors.Is(err, ErrNoUser):
		return nil, ReasonNoUser, err
	case err != nil:
		return nil, ReasonIdentity, err
	case person == nil:
		return nil, "", nil
	}
	if _, err := headerrealm.ID(person.User); err != nil {
		return nil, ReasonCharset, err
	}
	return person, "", nil
}

// identify writes the user of a request into the headers in which Jenkins reads it
// (ReverseProxySecurityRealm). A field that is unknown or can't be sent is left out:
// the plugin takes an empty header for a value.
func (f *forward) identify(h http.Header) {
	g, p := f.gate, f.Person
	var groups []string
	if f.Class == ClassToken {
		p = f.Token.Profile()
		groups = p.Groups
	} else {
		groups = g.Groups.selected(p.Groups)
	}
	id, err := headerrealm.ID(f.User())
	if err != nil {
		return // not after Check; without an identity Jenkins takes the request for anonymous
	}
	h[g.UserHeader] = []string{id}
	if len(groups) > 0 {
		value, omitted := headerrealm.Groups(groups, g.Groups.MaxBytes)
		if value != "" {
			h[g.GroupsHeader] = []string{value}
			g.warnOfGroups()
		}
		if omitted.Unreadable > 0 {
			g.reportOmitted(f.User(), "groups that Jenkins can't read", slog.Int("omitted", omitted.Unreadable), slog.String("error", omitted.Why.Error()))
		}
		if omitted.NoRoom > 0 {
			g.reportOmitted(f.User(), "groups beyond max_bytes", slog.Int("omitted", omitted.NoRoom), slog.Int("max_bytes", g.Groups.MaxBytes))
		}
	}
	if p.Mail != "" {
		if mail, err := headerrealm.Mail(p.Mail); err == nil {
			h[g.MailHeader] = []string{mail}
		} else {
			g.reportOmitted(f.User(), "mail", slog.String("error", err.Error()))
		}
	}
	if p.DisplayName != "" {
		name, err := headerrealm.DisplayName(p.DisplayName)
		if name != "" {
			h[g.DisplayNameHeader] = []string{name}
		}
		if err != nil {
			g.reportOmitted(f.User(), "display name", slog.Bool("cleaned", name != ""), slog.String("error", err.Error()))
		}
	}
}

// reportOmitted logs, once a day for each user, a part of an identity that Jenkins is
// not sent as it stands.
func (g *Gate) reportOmitted(id user.ID, part string, attrs ...slog.Attr) {
	if !g.omitted.first(g.Now(), notice{string(id), part}) {
		return
	}
	attrs = append([]slog.Attr{slog.String("user", string(id)), slog.String("part", part)}, attrs...)
	g.Log.LogAttrs(context.Background(), slog.LevelWarn, "part of a user's identity not sent to Jenkins", attrs...)
}

// warnOfGroups logs, once, what sending groups means.
func (g *Gate) warnOfGroups() {
	if g.groupsSent.Load() || g.groupsSent.Swap(true) {
		return
	}
	g.Log.Warn("groups are sent to Jenkins in a header; its reverse-proxy-auth plugin can mix up the groups of parallel requests, " +
		"so don't grant permissions by them: see docs/jenkins.md")
}

// A GroupFilter selects the groups that Jenkins is sent for signed-in users. It does
// not change which groups count for Config.Admins.
type GroupFilter struct {
	// Names are expressions of which one must match the whole name of a group. Without
	// any, all groups are selected.
	Names []*regexp.Regexp
	// MaxBytes bounds the header of the groups, for token clients as well. Groups go
	// first as they are listed; one that does not fit is left out.
	MaxBytes int
}

// NewGroupFilter returns a filter that selects the groups with one of the prefixes, and
// those that one of the patterns or of the regular expressions matches as a whole. In
// a pattern, * stands for any text and ? for one character.
func NewGroupFilter(prefixes, patterns, regexps []string, maxBytes int) (GroupFilter, error) {
	f := GroupFilter{MaxBytes: maxBytes}
	expressions := make([]string, 0, len(prefixes)+len(patterns)+len(regexps))
	for _, prefix := range prefixes {
		expressions = append(expressions, regexp.QuoteMeta(prefix)+".*")
	}
	wild := strings.NewReplacer(`\*`, ".*", `\?`, ".")
	for _, pattern := range patterns {
		expressions = append(expressions, wild.Replace(regexp.QuoteMeta(pattern)))
	}
	for _, expression := range append(expressions, regexps...) {
		compiled, err := regexp.Compile(expression)
		if err == nil {
			compiled, err = regexp.Compile(`(?s)\A(?:` + expression + `)\z`)
		}
		if err != nil {
			return f, fmt.Errorf("groups: regexp %q: %w", expression, err)
		}
		f.Names = append(f.Names, compiled)
	}
	return f, nil
}

// selected returns the groups that the filter lets through, in their order.
func (f *GroupFilter) selected(groups []string) []string {
	if len(f.Names) == 0 {
		return groups
	}
	var kept []string
	for _, group := range groups {
		if slices.ContainsFunc(f.Names, func(name *regexp.Regexp) bool { return name.MatchString(group) }) {
			kept = append(kept, group)
		}
	}
	return kept
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
