package token

import (
	"slices"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

// A Category is tokens that have something in common which people should know of. One
// token can be in several.
type Category struct {
	Name string
	// Level says how urgent it is. LevelOK is for what may be so on purpose.
	Level Level
	Text  string // what it means
	To    string // what is to be done; "": nothing
	has   func(*Token, Marks) bool
}

// Has tells whether a token with these marks is in the category.
func (c *Category) Has(t *Token, m Marks) bool { return c.has(t, m) }

// Categories are those of a report, the most urgent first. A token that is refused
// already is only in those that say so.
var Categories = []Category{
	{"legacy", LevelError, "from before Jenkins 2.129, so that others may know it", "replace and revoke", func(_ *Token, m Marks) bool {
		return m.Legacy
	}},
	{"old", LevelError, "more than 360 days old", "rotate", func(_ *Token, m Marks) bool {
		return m.usable() && m.Age == LevelError
	}},
	{"ageing", LevelWarning, "more than 180 days old", "rotate", func(_ *Token, m Marks) bool {
		return m.usable() && m.Age == LevelWarning
	}},
	{"never_used", LevelWarning, "made more than a week ago and not used since", "revoke", func(_ *Token, m Marks) bool {
		return m.usable() && m.NeverUsed
	}},
	{"expiring", LevelWarning, "expires soon: in the last tenth of its life, at most the last 7 days", "rotate, or let it end", func(_ *Token, m Marks) bool {
		return m.usable() && m.Expiring && !m.Replaced
	}},
	{"over_privileged", LevelWarning, "observed, or with other scopes than it was seen to need", "take what token suggest says", func(t *Token, m Marks) bool {
		return m.usable() && t.overPrivileged()
	}},
	{"unending", LevelOK, "without an end", "", func(_ *Token, m Marks) bool {
		return m.usable() && m.Unending
	}},
	{"unlimited", LevelOK, "without scopes, so that it may do all that its user may", "", func(t *Token, m Marks) bool {
		return m.usable() && !t.Scoped()
	}},
	{"disabled_users", LevelOK, "of a disabled user, and refused", "revoke once the user is gone for good", func(t *Token, _ Marks) bool {
		return t.Profile().Disabled != 0
	}},
	{"suspended", LevelOK, "suspended, or refused because it is idle", "resume or revoke", func(t *Token, m Marks) bool {
		return t.Record().State == Suspended || m.State == string(RefusedIdle)
	}},
}

// category returns the category of a name, nil if there is none.
func category(name string) *Category {
	if i := slices.IndexFunc(Categories, func(c Category) bool { return c.Name == name }); i >= 0 {
		return &Categories[i]
	}
	return nil
}

func (m Marks) usable() bool { return m.State == active }

// overPrivileged tells whether scopes are not what a token was seen to need. One
// without scopes is unlimited, which is another category.
func (t *Token) overPrivileged() bool {
	r := t.Record()
	if !r.Scoped() || r.Observed() {
		return r.Scoped()
	}
	needs := t.Needs()
	if len(needs) == 0 {
		return false // nobody knows
	}
	scopes := slices.Sorted(slices.Values(r.Limits.Scopes))
	return !slices.Equal(policy.Suggest(needs), scopes) && !slices.Equal(policy.SuggestFolders(needs), scopes)
}
