package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

// maxRate bounds the requests a minute that a limit can be set to; what is more is
// a typing error.
const maxRate = 1_000_000

// Limits say what a token may be used for, other than by its owner's rights.
type Limits struct {
	// Scopes are what it may do in Jenkins, as policy.ParseScopes takes them; none:
	// all that its owner may.
	Scopes []string `cbor:"1,keyasint,omitempty" json:"scopes,omitempty"`
	// Observe lets pass what the scopes don't cover, and records it.
	Observe bool `cbor:"2,keyasint,omitempty" json:"observe,omitempty"`
	// Sources are the networks that it may be used from, as policy.ParseSources takes
	// them; none: from everywhere.
	Sources []string `cbor:"3,keyasint,omitempty" json:"sources,omitempty"`
	// Rate is how many requests it may make in any RateWindow seconds, also all at once;
	// 0: any number.
	Rate uint32 `cbor:"4,keyasint,omitempty" json:"rate,omitempty"`
	// Uses is how often it may be used in all, also by tokens that it has created; 0: any
	// number.
	Uses uint64 `cbor:"5,keyasint,omitempty" json:"uses,omitempty"`

	scopes  *policy.Scopes  // nil if there are none
	sources *policy.Sources // nil if there are none
}

// compile checks the limits, brings them into their usual form, and makes ready
// what requests are compared with.
func (l *Limits) compile() (err error) {
	l.scopes, l.sources = nil, nil
	if len(l.Scopes) > 0 {
		if l.scopes, err = policy.ParseScopes(l.Scopes); err != nil {
			return err
		}
		l.Scopes = l.scopes.Strings()
	}
	if len(l.Sources) > 0 {
		if l.sources, err = policy.ParseSources(l.Sources); err != nil {
			return err
		}
		l.Sources = l.sources.Strings()
	}
	switch {
	case l.Observe && l.scopes == nil:
		return errors.New("there is nothing to observe without scopes: give scopes too (read is a good start)")
	case l.Rate > maxRate:
		return fmt.Errorf("a rate of %d requests a minute is more than %d: leave it out for no limit", l.Rate, maxRate)
	}
	return nil
}

// compiled returns a copy of l that is ready for use, nil if l limits nothing.
func (l *Limits) compiled() (*Limits, error) {
	if l == nil {
		return nil, nil
	}
	c := &Limits{Scopes: slices.Clone(l.Scopes), Observe: l.Observe, Sources: slices.Clone(l.Sources), Rate: l.Rate, Uses: l.Uses}
	if err := c.compile(); err != nil {
		return nil, err
	}
	if c.scopes == nil && c.sources == nil && c.Rate == 0 && c.Uses == 0 {
		return nil, nil
	}
	return c, nil
}

// Covers tells whether the scopes of a token cover what a request needs.
func (r *Record) Covers(need policy.Need) bool {
	return r.Limits == nil || r.Limits.scopes == nil || r.Limits.scopes.Allows(need)
}

// bound returns how often a token may be used in all; 0: any number.
func (t *Token) bound() uint64 {
	if l := t.Record().Limits; l != nil {
		return l.Uses
	}
	return 0
}

// perMinute returns how many requests a minute the token may make; 0: any number.
func (r *Record) perMinute() uint32 {
	if r.Limits == nil {
		return 0
	}
	return r.Limits.Rate
}

// Scoped tells whether a token has scopes at all.
func (r *Record) Scoped() bool { return r.Limits != nil && r.Limits.scopes != nil }

// Observed tells whether a token is let pass where its scopes don't cover a
// request.
func (r *Record) Observed() bool { return r.Limits != nil && r.Limits.Observe }

// AllowsSource tells whether a token may be used from an address.
func (r *Record) AllowsSource(addr string) bool {
	return r.Limits == nil || r.Limits.sources == nil || r.Limits.sources.Allow(addr)
}

// String tells, for people, what a token is limited to.
func (l *Limits) String() string {
	if l == nil {
		return "no limits"
	}
	var parts []string
	if len(l.Scopes) > 0 {
		parts = append(parts, "scopes="+strings.Join(l.Scopes, ","))
	}
	if l.Observe {
		parts = append(parts, "observe")
	}
	if len(l.Sources) > 0 {
		parts = append(parts, "sources="+strings.Join(l.Sources, ","))
	}
	if l.Rate != 0 {
		parts = append(parts, fmt.Sprintf("rate=%d/min", l.Rate))
	}
	if l.Uses != 0 {
		parts = append(parts, fmt.Sprintf("uses=%d", l.Uses))
	}
	return strings.Join(parts, " ")
}
