package token

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/crumbgate/crumbgate/gateway/user"
)

func plural(n int, what string) string { return english.Plural(n, what, "") }

// maxPattern bounds, in bytes, what is searched for.
const maxPattern = 256

// A Filter says which tokens are wanted. The zero value wants all that are not
// revoked.
type Filter struct {
	Owner   user.ID // "": everybody's
	Name    string  // with * for any characters and ? for one; "": any
	Text    string  // in id, owner, name or scopes, in any case; "": any
	State   string  // as Marks.State; "": any
	Revoked bool    // revoked ones too

	UnusedFor     time.Duration // not used, and not made, for so long
	CreatedBefore int64         // Unix seconds
	ExpiresWithin time.Duration

	Legacy, NeverUsed, Unending, Unlimited, Disabled bool // only such ones

	Category string // only those of this category of a report; "": any
}

// FilterFields are the names that ParseFilter knows.
var FilterFields = []string{
	"user", "name", "q", "state", "all", "unused_for", "created_before", "expires_within",
	"legacy", "never_used", "unending", "unlimited", "disabled_user", "category",
}

// ParseFilter reads a filter from texts by the names in FilterFields; get returns
// "" for what is not given.
func ParseFilter(get func(string) string, now time.Time) (Filter, error) {
	f := Filter{Name: get("name"), Text: get("q"), State: get("state"), Category: get("category")}
	var err error
	fail := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf(format, args...)
		}
	}
	yes := func(name string) bool {
		text := get(name)
		if text == "" {
			return false
		}
		value, wrong := strconv.ParseBool(text)
		if wrong != nil {
			fail("%s=%q is neither true nor false", name, text)
		}
		return value
	}
	life := func(name string) time.Duration {
		text := get(name)
		if text == "" {
			return 0
		}
		value, wrong := ParseLife(text)
		if wrong != nil {
			fail("%s: %w", name, wrong)
		}
		return value
	}
	if text := get("user"); text != "" {
		var wrong error
		if f.Owner, wrong = user.ParseID(text); wrong != nil {
			fail("%w", wrong)
		}
	}
	for _, text := range []string{f.Name, f.Text} {
		if len(text) > maxPattern {
			fail("what is searched for has %d bytes, at most %d are allowed", len(text), maxPattern)
		}
	}
	f.Revoked = yes("all") || f.State == "revoked"
	f.UnusedFor, f.ExpiresWithin = life("unused_for"), life("expires_within")
	if text := get("created_before"); text != "" {
		day, wrong := time.ParseInLocation(time.DateOnly, text, now.Location())
		if wrong != nil {
			if day, wrong = time.Parse(time.RFC3339, text); wrong != nil {
				fail("created_before %q is neither a date such as 2026-01-31 nor a moment (RFC 3339)", text)
			}
		}
		if f.CreatedBefore = day.Unix(); f.CreatedBefore <= 0 {
			fail("created_before %q is before there were tokens", text)
		}
	}
	f.Legacy, f.NeverUsed, f.Unending = yes("legacy"), yes("never_used"), yes("unending")
	f.Unlimited, f.Disabled = yes("unlimited"), yes("disabled_user")
	states := []string{
		"", active, string(RefusedRevoked), string(RefusedSuspended), string(RefusedExpired), string(RefusedSuperseded),
		string(RefusedOwner), string(RefusedLegacy), string(RefusedParent), string(RefusedIdle), string(RefusedUses),
	}
	if f.Category != "" && category(f.Category) == nil {
		names := make([]string, len(Categories))
		for i, c := range Categories {
			names[i] = c.Name
		}
		fail("category %q is none of %s", f.Category, english.WordSeries(names, "or"))
	}
	if !slices.Contains(states, f.State) {
		fail("state %q is none of %s", f.State, english.WordSeries(states[1:], "or"))
	}
	return f, err
}

// Wide tells whether a filter wants all tokens, or all that can be used, so that a
// mistake would be expensive.
func (f Filter) Wide() bool {
	f.Revoked = false
	if f.State == active {
		f.State = ""
	}
	if strings.Trim(f.Name, "*?") == "" {
		f.Name = ""
	}
	return f == Filter{}
}

// What path.Match is given for a name and a pattern. A name is no path, so that * stands for slashes too, and in a pattern only * and ? are special.
var (
	globName    = strings.NewReplacer("/", "\x00")
	globPattern = strings.NewReplacer("/", "\x00", `\`, `\\`, "[", `\[`)
)

// isOfID tells whether a text is the beginning of an id or, as lists on pages have it,
// the last part of its last group.
func isOfID(id, text string) bool {
	end := strings.TrimPrefix(text, "…")
	return strings.HasPrefix(id, text) || len(end) == 8 && strings.HasSuffix(id, end)
}

// Select returns the tokens that a filter wants, by owner, name and age. Where uses
// are not counted none is unused.
func (d *Directory) Select(f Filter) []*Token {
	now, text, pattern := d.config.Now(), strings.ToLower(f.Text), globPattern.Replace(f.Name)
	only := category(f.Category)
	uncounted := d.Rules().UsageOff
	d.mu.Lock()
	ids := d.owners.ids
	d.mu.Unlock()
	return d.List(func(t *Token) bool {
		r := t.Record()
		switch {
		case r.State == Revoked && !f.Revoked,
			f.Owner != "" && !ids.Equal(f.Owner, r.Owner),
			f.Legacy && r.Origin != Legacy,
			f.CreatedBefore != 0 && (r.Created == 0 || r.Created >= f.CreatedBefore),
			f.Unending && r.Expires != 0,
			f.Disabled && t.Profile().Disabled == 0:
			return false
		}
		if pattern != "" {
			if matched, _ := path.Match(pattern, globName.Replace(r.Name)); !matched {
				return false
			}
		}
		if text != "" && !strings.Contains(strings.ToLower(string(r.Owner)), text) && !strings.Contains(strings.ToLower(r.Name), text) &&
			!isOfID(r.ID.String(), text) && (r.Limits == nil || !strings.Contains(strings.ToLower(strings.Join(r.Limits.Scopes, " ")), text)) {
			return false
		}
		if f.UnusedFor != 0 && (uncounted || max(r.Created, t.Uses().Last) > now.Add(-f.UnusedFor).Unix()) {
			return false
		}
		if f.ExpiresWithin != 0 && (r.Expires == 0 || r.Expires <= now.Unix() || r.Expires > now.Add(f.ExpiresWithin).Unix()) {
			return false
		}
		if f.State == "" && !f.NeverUsed && !f.Unlimited && only == nil {
			return true
		}
		m := t.Marks(now)
		return (only == nil || only.Has(t, m)) && (f.State == "" || m.State == f.State) && (!f.NeverUsed || m.NeverUsed) && (!f.Unlimited || m.Unlimited)
	})
}
