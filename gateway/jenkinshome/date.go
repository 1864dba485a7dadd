package jenkinshome

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// The formats that XStream's DateConverter reads: "yyyy-MM-dd HH:mm:ss.S z", which it
// writes, then the same with "a" (AM or PM, which says nothing beside HH), and without
// a fraction. Of the zones that Java knows by a name only UTC is read, which is what
// XStream writes.
var datePattern = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})(?:\.(\d{1,3}))? ?(UTC|GMT|AM|PM|(?:GMT)?([+-]\d{2}):?(\d{2}))$`)

// parseDate reads a date as XStream writes it. What looks like a fraction is the
// number of milliseconds: .5 is 5 ms.
func parseDate(text string) (time.Time, bool) {
	m := datePattern.FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, false
	}
	date, err := time.Parse(time.DateTime, m[1])
	if err != nil {
		return time.Time{}, false
	}
	millis, _ := strconv.Atoi(m[2]) // none is 0
	date = date.Add(time.Duration(millis) * time.Millisecond)
	if m[4] != "" {
		hours, _ := strconv.Atoi(m[4])
		minutes, _ := strconv.Atoi(m[5])
		if hours < -23 || hours > 23 || minutes > 59 {
			return time.Time{}, false
		}
		if m[4][0] == '-' {
			minutes = -minutes
		}
		date = date.Add(-time.Duration(hours)*time.Hour - time.Duration(minutes)*time.Minute)
	}
	return date, true
}

// formatDate writes a moment as XStream does.
func formatDate(unix int64) string {
	return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05") + ".0 UTC"
}

var errDay = errors.New("has a date of expiry that is not like 2027-01-31: Jenkins would let it live for ever, the gateway does not take it")

// parseDay returns the first second after a day in the server's time zone, through
// which a token works (ApiTokenStore.HashedToken.isExpired).
func parseDay(text string, zone *time.Location) (int64, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil || day.Year() == 0 {
		return 0, errDay
	}
	// The rule for the end of a day is the gateway's own. It takes days to come, so it is
	// asked on the day before.
	expires, err := token.ParseExpiry(text, time.Date(day.Year(), day.Month(), day.Day()-1, 0, 0, 0, 0, zone))
	if err != nil {
		return 0, errDay
	}
	return expires, nil
}

// formatDay returns the last day that is over when a token expires. A token that the
// gateway ends within a day ends in Jenkins with the day before: never later.
func formatDay(expires int64, zone *time.Location) (string, error) {
	at := time.Unix(expires, 0).In(zone)
	day := time.Date(at.Year(), at.Month(), at.Day()-1, 0, 0, 0, 0, time.UTC)
	if day.Year() < 1 || day.Year() > 9999 {
		return "", fmt.Errorf("expires in the year %d, which Jenkins can't be told", day.Year())
	}
	return day.Format(time.DateOnly), nil
}

// maxUnix is the end of the year 9999, beyond which dates have another form.
const maxUnix = 253402300799

// javaInt returns a count as Jenkins can hold it, in a Java Integer.
func javaInt(n uint64) uint64 { return min(n, math.MaxInt32) }
