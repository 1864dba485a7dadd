package admin

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// Bounds of how many tokens a report lists in each category.
const (
	defaultListed = 100
	maxListed     = 1000
)

// A Report tells what should be done about tokens.
type Report struct {
	Tokens   int `json:"tokens"`   // that are not revoked
	Warnings int `json:"warnings"` // sum of the counts of categories that warn
	// Legacy says what is to be done about tokens from before Jenkins 2.129, if anything
	// is.
	Legacy     string     `json:"legacy,omitempty"`
	Categories []Category `json:"categories"` // all, the most urgent first
}

// A Category is tokens that have something in common. One token can be in several.
type Category struct {
	Name string `json:"name"`
	// Warns is that something is to be done. The other categories are for people to
	// know of: they may be so on purpose.
	Warns bool   `json:"warns"`
	Text  string `json:"text"` // for people: what it means, and what to do
	Count int    `json:"count"`
	// Tokens are the first of them, by user, name and age.
	Tokens []Token `json:"tokens"`
}

// categories are those of a report. A token that is refused already is only in
// those that say so.
var categories = []struct {
	name  string
	warns bool
	text  string
	has   func(*token.Token, token.Marks) bool
}{
	{"legacy", true, "from before Jenkins 2.129, so that others may know it; replace and revoke", func(_ *token.Token, m token.Marks) bool {
		return m.Legacy
	}},
	{"old", true, "more than 360 days old; rotate", func(_ *token.Token, m token.Marks) bool {
		return usable(m) && m.Age == token.LevelError
	}},
	{"ageing", true, "more than 180 days old; rotate", func(_ *token.Token, m token.Marks) bool {
		return usable(m) && m.Age == token.LevelWarning
	}},
	{"never_used", true, "made more than a week ago and not used since; revoke", func(_ *token.Token, m token.Marks) bool {
		return usable(m) && m.NeverUsed
	}},
	{"expiring", true, "ends within a week; rotate, or let it end", func(_ *token.Token, m token.Marks) bool {
		return usable(m) && m.Expiring && !m.Replaced
	}},
	{"over_privileged", true, "observed, or with other scopes than it was seen to need; take what token suggest says", func(t *token.Token, m token.Marks) bool {
		return usable(m) && overPrivileged(t)
	}},
	{"unending", false, "without an end", func(_ *token.Token, m token.Marks) bool {
		return usable(m) && m.Unending
	}},
	{"unlimited", false, "without scopes, so that it may do all that its user may", func(t *token.Token, m token.Marks) bool {
		return usable(m) && !t.Record().Scoped()
	}},
	{"disabled_users", false, "of a disabled user, and refused; revoke once the user is gone for good", func(t *token.Token, _ token.Marks) bool {
		return t.Profile().Disabled != 0
	}},
	{"suspended", false, "suspended, or refused because it was idle; resume or revoke", func(t *token.Token, m token.Marks) bool {
		return t.Record().State == token.Suspended || m.State == string(token.RefusedIdle)
	}},
}

func usable(m token.Marks) bool { return m.State == "active" }

// overPrivileged tells whether scopes are not what a token was seen to need. One
// without scopes is unlimited, which is another category.
func overPrivileged(t *token.Token) bool {
	r := t.Record()
	if !r.Scoped() || r.Observed() {
		return r.Scoped()
	}
	needs := t.Needs()
	if len(needs) == 0 {
		return false // nobody knows
	}
	return !slices.Equal(policy.Suggest(needs), slices.Sorted(slices.Values(r.Limits.Scopes)))
}

func reportOf(d *token.Directory, now time.Time, listed int) Report {
	tokens := d.Select(token.Filter{})
	report := Report{Tokens: len(tokens), Legacy: d.LegacyWarning(), Categories: make([]Category, len(categories))}
	for i, c := range categories {
		report.Categories[i] = Category{Name: c.name, Warns: c.warns, Text: c.text, Tokens: []Token{}}
	}
	for _, t := range tokens {
		marks := t.Marks(now)
		for i, c := range categories {
			if !c.has(t, marks) {
				continue
			}
			into := &report.Categories[i]
			if into.Count++; into.Count <= listed {
				into.Tokens = append(into.Tokens, tokenOf(t, now))
			}
			if c.warns {
				report.Warnings++
			}
		}
	}
	return report
}

func (h *handler) report(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "limit")
	if err != nil {
		return err
	}
	listed := defaultListed
	if params.Has("limit") {
		if listed, err = strconv.Atoi(params.Get("limit")); err != nil || listed < 0 || listed > maxListed {
			return errorf(token.ErrInvalid, "limit=%q is no number of tokens from 0 to %d", params.Get("limit"), maxListed)
		}
	}
	answer(w, http.StatusOK, reportOf(d, h.now(), listed))
	return nil
}
