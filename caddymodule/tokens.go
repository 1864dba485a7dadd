package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize/english"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Tokens are the rules for all tokens.
type Tokens struct {
	// How long a token lives whose request does not say. Default: 90d, or max_life if
	// that is shorter.
	DefaultLife caddy.Duration `json:"default_life,omitempty"`
	// The longest life of a new token. Default: there is none.
	MaxLife caddy.Duration `json:"max_life,omitempty"`
	// For how long a token may go unused before it is suspended. Default: for ever.
	MaxIdle caddy.Duration `json:"max_idle,omitempty"`
	// Whether new tokens may have no end: allow or refuse. Default: allow.
	Unending string `json:"unending,omitempty"`
	// Whether new tokens need a name: optional or required. Default: optional.
	Names string `json:"names,omitempty"`
	// What becomes of tokens from before Jenkins 2.129: refuse, warn or allow. Default:
	// refuse.
	Legacy string `json:"legacy,omitempty"`
	// The last day on which such tokens are let in, such as 2027-01-31. Default: there
	// is none.
	LegacyUntil string `json:"legacy_until,omitempty"`
	// What follows when a token is used that another has replaced: alarm, or suspend,
	// which suspends all tokens that descend from the same one too. Default: alarm.
	Reuse string `json:"reuse,omitempty"`
	// Whether uses are counted: on or off. Default: on.
	Usage string `json:"usage,omitempty"`
}

// rules returns the settings as package token takes them.
func (t *Tokens) rules() (token.Rules, error) {
	r := token.Rules{DefaultLife: time.Duration(t.DefaultLife), MaxLife: time.Duration(t.MaxLife), MaxIdle: time.Duration(t.MaxIdle)}
	choose := chooser{}
	r.NoNever = choose.bool("unending", t.Unending, "allow", "refuse")
	r.NamesRequired = choose.bool("names", t.Names, "optional", "required")
	r.ReuseSuspends = choose.bool("reuse", t.Reuse, "alarm", "suspend")
	r.UsageOff = choose.bool("usage", t.Usage, "on", "off")
	r.Legacy = token.LegacyRule(choose.index("legacy", t.Legacy, "refuse", "warn", "allow"))
	if choose.err != nil {
		return r, choose.err
	}
	if t.LegacyUntil != "" {
		day, err := time.ParseInLocation(time.DateOnly, t.LegacyUntil, time.Local)
		if err != nil {
			return r, fmt.Errorf("legacy until %q is not a day such as 2027-01-31", t.LegacyUntil)
		}
		r.LegacyUntil = day.AddDate(0, 0, 1).Unix()
	}
	return r, r.Check()
}

// A chooser reads settings that have a few values each, of which the first is the
// default, and keeps the first error.
type chooser struct{ err error }

func (c *chooser) index(setting, value string, values ...string) int {
	if value == "" {
		return 0
	}
	for i, v := range values {
		if v == value {
			return i
		}
	}
	switch {
	case c.err != nil:
	case len(values) == 2:
		c.err = fmt.Errorf("%s %q is neither %s nor %s", setting, value, values[0], values[1])
	default:
		c.err = fmt.Errorf("%s %q is none of %s", setting, value, english.WordSeries(values, "and"))
	}
	return 0
}

func (c *chooser) bool(setting, value, off, on string) bool {
	return c.index(setting, value, off, on) == 1
}

// UnmarshalCaddyfile sets up the rules from Caddyfile tokens:
//
//	tokens {
//		default_life <duration>
//		max_life     <duration>
//		max_idle     <duration>
//		unending     allow|refuse
//		names        optional|required
//		legacy       refuse|warn|allow [<last day>]
//		reuse        alarm|suspend
//		usage        on|off
//	}
func (t *Tokens) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	set := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if set[name] {
			return d.Errf("%s is set twice", name)
		}
		set[name] = true
		var err error
		switch name {
		case "default_life":
			t.DefaultLife, err = durationArg(d)
		case "max_life":
			t.MaxLife, err = durationArg(d)
		case "max_idle":
			t.MaxIdle, err = durationArg(d)
		case "unending":
			t.Unending, err = stringArg(d)
		case "names":
			t.Names, err = stringArg(d)
		case "legacy":
			if !d.Args(&t.Legacy) {
				return d.ArgErr()
			}
			d.Args(&t.LegacyUntil)
			if d.NextArg() {
				return d.ArgErr()
			}
		case "reuse":
			t.Reuse, err = stringArg(d)
		case "usage":
			t.Usage, err = stringArg(d)
		default:
			return d.Errf("unknown option %q of tokens", name)
		}
		if err != nil {
			return err
		}
		if _, err := t.rules(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}
