package admin

import (
	"cmp"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A Filter says which tokens are wanted, by the names of token.FilterFields. What
// is left out asks for nothing.
type Filter struct {
	User          Text `json:"user,omitempty"`
	Name          Text `json:"name,omitempty"` // with * for any characters and ? for one
	Search        Text `json:"q,omitempty"`    // in id, user, name or scopes
	State         Text `json:"state,omitempty"`
	UnusedFor     Text `json:"unused_for,omitempty"`     // as in 90d
	CreatedBefore Text `json:"created_before,omitempty"` // a date
	ExpiresWithin Text `json:"expires_within,omitempty"` // as in 7d
	Legacy        bool `json:"legacy,omitempty"`
	NeverUsed     bool `json:"never_used,omitempty"`
	Unending      bool `json:"unending,omitempty"`
	Unlimited     bool `json:"unlimited,omitempty"`
	DisabledUser  bool `json:"disabled_user,omitempty"`
	Category      Text `json:"category,omitempty"` // of the report
	// All wants revoked ones too. A change of tokens needs it if nothing else is asked
	// for, so that nobody means a few and gets all.
	All bool `json:"all,omitempty"`
}

// A Text of a filter is not empty. What is empty in JSON was to be something else,
// such as the variable of a script, and would quietly ask for more tokens.
type Text string

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Text) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("a field of the filter is empty: leave it out")
	}
	*t = Text(text)
	return nil
}

// Texts returns the filter as the parameters of a query.
func (f *Filter) Texts() url.Values {
	values := make(url.Values)
	for name, text := range map[string]Text{
		"user": f.User, "name": f.Name, "q": f.Search, "state": f.State,
		"unused_for": f.UnusedFor, "created_before": f.CreatedBefore, "expires_within": f.ExpiresWithin, "category": f.Category,
	} {
		if text != "" {
			values.Set(name, string(text))
		}
	}
	for name, yes := range map[string]bool{
		"legacy": f.Legacy, "never_used": f.NeverUsed, "unending": f.Unending,
		"unlimited": f.Unlimited, "disabled_user": f.DisabledUser, "all": f.All,
	} {
		if yes {
			values.Set(name, "true")
		}
	}
	return values
}

// A Query is a filter with the order of the answer.
type Query struct {
	Filter
	Sort  string // one of SortKeys, with - in front for the reverse; "": user
	Limit int    // of tokens; 0: all
}

// SortKeys are what tokens can be sorted by. Tokens that are the same in that come
// by user, name and age.
var SortKeys = []string{"user", "name", "created", "expires", "last_used", "uses"}

// parseQuery reads the parameters of a list, and returns the filter and what puts
// the tokens that it wants into order and cuts them off at the limit.
func parseQuery(params url.Values, now time.Time) (filter token.Filter, arrange func([]*token.Token) []*token.Token, err error) {
	invalid := func(format string, args ...any) (token.Filter, func([]*token.Token) []*token.Token, error) {
		return token.Filter{}, nil, errorf(token.ErrInvalid, format, args...)
	}
	for name := range params {
		if params.Get(name) == "" {
			return invalid("the %s is empty: leave it out", name)
		}
	}
	if filter, err = token.ParseFilter(params.Get, now); err != nil {
		return invalid("%v", err)
	}
	key, reverse := strings.CutPrefix(params.Get("sort"), "-")
	if key == "" {
		key = "user"
	}
	if !slices.Contains(SortKeys, key) {
		return invalid("sort=%q is none of %s, with or without a - in front", params.Get("sort"), strings.Join(SortKeys, ", "))
	}
	limit := math.MaxInt
	if params.Has("limit") {
		if limit, err = strconv.Atoi(params.Get("limit")); err != nil || limit < 1 {
			return invalid("limit=%q is no number of tokens: give 1 or more", params.Get("limit"))
		}
	}
	return filter, func(tokens []*token.Token) []*token.Token {
		arrangeBy(tokens, key, reverse)
		return tokens[:min(limit, len(tokens))]
	}, nil
}

// arrangeBy sorts tokens that come by user, name and age.
func arrangeBy(tokens []*token.Token, key string, reverse bool) {
	if key == "user" {
		if reverse {
			slices.Reverse(tokens)
		}
		return
	}
	// What each is sorted by is looked up once: uses change meanwhile.
	type ranked struct {
		name   string
		number int64
		token  *token.Token
	}
	list := make([]ranked, len(tokens))
	for i, t := range tokens {
		list[i] = ranked{token: t}
		switch r := t.Record(); key {
		case "name":
			list[i].name = r.Name
		case "created":
			list[i].number = r.Created
		case "expires":
			list[i].number = cmp.Or(r.Expires, math.MaxInt64) // never comes last
		case "last_used":
			list[i].number = t.Uses().Last
		case "uses":
			list[i].number = int64(min(t.Uses().Count, math.MaxInt64))
		}
	}
	slices.SortStableFunc(list, func(a, b ranked) int {
		if reverse {
			a, b = b, a
		}
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.number, b.number))
	})
	for i := range list {
		tokens[i] = list[i].token
	}
}
