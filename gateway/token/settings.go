package token

import (
	"errors"
	"fmt"
	"time"
)

// A LegacyRule says what becomes of tokens from before Jenkins 2.129.
type LegacyRule int

// The rules for legacy tokens.
const (
	// LegacyRefused is the default: nobody can be sure who has seen such a token.
	LegacyRefused LegacyRule = iota
	// LegacyWarned lets them in, and warns in the log of each that is used, once for
	// each start of the gateway.
	LegacyWarned
	// LegacyAllowed lets them in.
	LegacyAllowed
)

// Rules hold for all tokens. The zero value has no bounds and refuses legacy
// tokens.
type Rules struct {
	// DefaultLife is how long a token lives whose request does not say; 0: 90 days, or
	// MaxLife if that is shorter.
	DefaultLife time.Duration
	// MaxLife bounds the life of new tokens; 0: no bound.
	MaxLife time.Duration
	// NoNever refuses new tokens without an end. MaxLife does so too.
	NoNever bool
	// MaxIdle is after how long without a use a token is refused; 0: never.
	MaxIdle time.Duration
	// NamesRequired refuses new tokens without a name of their own.
	NamesRequired bool
	// Legacy says what becomes of tokens from before Jenkins 2.129, and LegacyUntil
	// until when they are let in at all, in Unix seconds; 0: without end.
	Legacy      LegacyRule
	LegacyUntil int64
	// ReuseSuspends suspends all tokens of a family when one that was replaced is used
	// after its end.
	ReuseSuspends bool
	// UsageOff counts no uses, but for tokens with a bound on them.
	UsageOff bool
}

// Check returns an error that says which rules contradict each other.
func (r *Rules) Check() error {
	switch {
	case r.DefaultLife < 0 || r.MaxLife < 0 || r.MaxIdle < 0:
		return errors.New("a life is negative: leave it out for the default")
	case max(r.DefaultLife, r.MaxLife, r.MaxIdle) > maxLife:
		return errors.New("a life is longer than 100 years: leave it out")
	case r.MaxLife != 0 && r.DefaultLife > r.MaxLife:
		return fmt.Errorf("default_life is longer than max_life (%v)", r.MaxLife)
	case r.MaxIdle != 0 && r.UsageOff:
		return errors.New("max_idle can't be watched with usage off: leave one of them out")
	case r.Legacy == LegacyRefused && r.LegacyUntil != 0:
		return errors.New("legacy tokens are refused already: a last day needs warn or allow")
	}
	return nil
}

// allowsLegacy tells whether tokens from before Jenkins 2.129 are let in at now.
func (r *Rules) allowsLegacy(now time.Time) bool {
	return r.Legacy != LegacyRefused && (r.LegacyUntil == 0 || now.Unix() < r.LegacyUntil)
}

// expiry returns the end of a new token, in Unix seconds, from a text as
// ParseExpiry takes it.
func (r *Rules) expiry(text string, now time.Time) (int64, error) {
	if text == "" && (r.DefaultLife != 0 || r.MaxLife != 0) {
		life := r.DefaultLife
		if life == 0 {
			life = min(r.MaxLife, 90*24*time.Hour)
		}
		return now.Add(life).Unix(), nil
	}
	expires, err := ParseExpiry(text, now)
	switch {
	case err != nil:
		return 0, err
	case expires == 0 && (r.NoNever || r.MaxLife != 0):
		return 0, fmt.Errorf("tokens without an end are not allowed here: give a life%s, as in 30d", r.longest())
	case r.MaxLife != 0 && expires > EndOfDay(now.Add(r.MaxLife), now.Location()).Unix():
		return 0, fmt.Errorf("expiry %q is further away than is allowed here: give a life%s, as in 30d", text, r.longest())
	}
	return expires, nil
}

// successorExpiry returns the end of a token that replaces another, in Unix seconds,
// from a text as Rotation has it.
func (r *Rules) successorExpiry(old *Record, text string, now time.Time) (int64, error) {
	if text != "" || old.Expires == 0 || old.Created == 0 {
		return r.expiry(text, now)
	}
	expires := now.Unix() + old.Expires - old.Created
	if r.MaxLife != 0 {
		expires = min(expires, now.Add(r.MaxLife).Unix())
	}
	return expires, nil
}

func (r *Rules) longest() string {
	if r.MaxLife == 0 {
		return ""
	}
	if r.MaxLife < 48*time.Hour {
		return fmt.Sprintf(" of at most %d hours", r.MaxLife/time.Hour)
	}
	return fmt.Sprintf(" of at most %d days", r.MaxLife/(24*time.Hour))
}

// Rules returns the rules that hold now.
func (d *Directory) Rules() *Rules { return d.rules.Load() }

// SetRules replaces the rules, of which Check finds no fault.
func (d *Directory) SetRules(rules Rules) {
	d.setCounting(!rules.UsageOff)
	d.rules.Store(&rules)
}
