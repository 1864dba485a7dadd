package token

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// DefaultLife is how long a token lives whose request does not say.
const DefaultLife = "90d"

// maxLife bounds a life given as a duration: what is longer is a typing error.
const maxLife = 100 * 366 * 24 * time.Hour

var lifePattern = regexp.MustCompile(`^([0-9]{1,6})([hdw])$`)

// ParseExpiry returns the Unix second from which on a token is refused, 0 for
// never. It takes a life ("12h", "90d", "8w"), a date ("2027-01-31", a token that
// works through that whole day in the gateway's time zone, as in Jenkins since
// 2.548), a moment (RFC 3339) or "never"; the empty text is DefaultLife.
func ParseExpiry(text string, now time.Time) (int64, error) {
	if text == "" {
		text = DefaultLife
	}
	if text == "never" {
		return 0, nil
	}
	if lifePattern.MatchString(text) {
		life, err := ParseLife(text)
		if err != nil {
			return 0, fmt.Errorf("expiry %q is not between 1h and 100 years: use never for a token without end", text)
		}
		return now.Add(life).Unix(), nil
	}
	var expires time.Time
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		expires = EndOfDay(day, now.Location())
	} else if expires, err = time.Parse(time.RFC3339, text); err != nil {
		return 0, fmt.Errorf("expiry %q is not understood: use a life such as 90d, a date such as 2027-01-31, or never", text)
	}
	if expires.Unix() <= now.Unix() {
		return 0, fmt.Errorf("expiry %q is in the past: it is %s now", text, now.Format("2006-01-02 15:04 MST"))
	}
	if expires.Sub(now) > maxLife {
		return 0, fmt.Errorf("expiry %q is more than 100 years ahead: use never for a token without end", text)
	}
	return expires.Unix(), nil
}

// ParseLife returns a span of time as people write it: "12h", "90d", "8w".
func ParseLife(text string) (time.Duration, error) {
	m := lifePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time such as 12h, 90d or 8w", text)
	}
	n, _ := strconv.Atoi(m[1]) // six digits always fit
	hours := n * map[string]int{"h": 1, "d": 24, "w": 7 * 24}[m[2]]
	// Compared as hours: a Duration ends at 292 years, and would wrap.
	if hours == 0 || hours > int(maxLife/time.Hour) {
		return 0, fmt.Errorf("%q is not between 1h and 100 years", text)
	}
	return time.Duration(hours) * time.Hour, nil
}

// EndOfDay returns the first moment of the day after the date of day.
func EndOfDay(day time.Time, zone *time.Location) time.Time {
	next := time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, zone)
	if next.Day() == day.Day() {
		// Clocks are put forward at this midnight, which therefore is not on any clock,
		// and time.Date has gone back to 23:00. The day ends with the change.
		_, next = next.ZoneBounds()
	}
	return next
}

func expiryText(unix int64) string {
	if unix == 0 {
		return "never"
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// parseName returns the name for a token. An empty one is made up as Jenkins does
// (ApiTokenProperty.DescriptorImpl.doGenerateNewToken).
func parseName(name string, now time.Time) (string, error) {
	switch {
	case name == "":
		return "Token created on " + now.Format("2006-01-02T15:04:05.000Z07:00"), nil
	case ContainsSecret(name): // first, because the other errors quote the name
		return "", errors.New("the name holds a token: names are not secret, and that token should be revoked")
	case len(name) > MaxNameLen:
		return "", fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), MaxNameLen)
	case name != strings.TrimSpace(name):
		return "", fmt.Errorf("the name %q begins or ends with a blank: leave it out", name)
	}
	if err := user.CheckText("name", name); err != nil {
		return "", err
	}
	return name, nil
}
