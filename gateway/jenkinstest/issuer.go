package jenkinstest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
	"time"
)

// StrictIssuer is the Strict Crumb Issuer plugin (org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer). The zero
// value checks nothing but the user name; see DefaultStrictIssuer.
type StrictIssuer struct {
	HoursValid        int  // up to 24; 0 means no limit of time
	XORMasking        bool // 128 digits that differ at each request
	CheckSessionMatch bool
	CheckClientIP     bool             // by X-Forwarded-For
	CheckSameSource   bool             // Referer must be the URL that issued the crumb
	Now               func() time.Time // default time.Now
}

// DefaultStrictIssuer returns the plugin's defaults: two hours, masked, bound to the session.
func DefaultStrictIssuer() *StrictIssuer {
	return &StrictIssuer{HoursValid: 2, XORMasking: true, CheckSessionMatch: true}
}

const stepsPerHour = 12 // a crumb's age is measured in steps of five minutes

func (s *StrictIssuer) step() int64 {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UnixMilli() / (time.Hour / stepsPerHour).Milliseconds()
}

func (s *StrictIssuer) hours() int { return max(0, min(s.HoursValid, 24)) }

func (s *StrictIssuer) issue(x *exchange) string {
	source := x.origin() + x.j.cfg.Prefix + x.raw
	if x.query != "" {
		source += "?" + x.query
	}
	sum := s.crumb(x, s.step(), source)
	if !s.XORMasking {
		return hex.EncodeToString(sum)
	}
	seed := make([]byte, len(sum))
	rand.Read(seed)
	subtle.XORBytes(sum, sum, seed)
	return hex.EncodeToString(seed) + hex.EncodeToString(sum)
}

func (s *StrictIssuer) valid(x *exchange, encoded string) bool {
	crumb := s.unmask(encoded)
	now, steps := s.step(), int64(s.hours()*stepsPerHour)
	for age := int64(0); age <= steps; age++ {
		// Also for a malformed crumb: the plugin makes the session before it compares.
		want := hex.EncodeToString(s.crumb(x, now-age, x.r.Header.Get("Referer")))
		if subtle.ConstantTimeCompare([]byte(want), []byte(crumb)) == 1 {
			return true
		}
	}
	return false
}

// unmask returns "" for what can't have been masked.
func (s *StrictIssuer) unmask(encoded string) string {
	if !s.XORMasking {
		return encoded
	}
	masked, err := hex.DecodeString(encoded)
	if err != nil || len(masked) != 2*sha256.Size {
		return ""
	}
	seed, sum := masked[:sha256.Size], masked[sha256.Size:]
	subtle.XORBytes(sum, sum, seed)
	return hex.EncodeToString(sum)
}

func (s *StrictIssuer) crumb(x *exchange, step int64, source string) []byte {
	hashed := x.user + ";"
	if s.CheckClientIP {
		hashed += x.clientIP() + ";"
	}
	if s.CheckSameSource && source != "" {
		hashed += source + ";"
	}
	if s.CheckSessionMatch {
		hashed += x.getSession() + ";"
	}
	if s.hours() == 0 {
		step = 0
	}
	sum := sha256.Sum256([]byte(hashed + strconv.FormatInt(step, 10) + x.j.salt))
	return sum[:]
}
