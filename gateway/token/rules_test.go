package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestParseExpiry(t *testing.T) {
	const hour, day, year = 3600, 24 * 3600, 366 * 24 * 3600
	berlin := zone(t, "Europe/Berlin")
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, berlin)
	unix := func(y int, m time.Month, d, h int) int64 { return time.Date(y, m, d, h, 0, 0, 0, berlin).Unix() }
	for _, c := range []struct {
		name, text string
		want       int64
		err        string // a part of it; "" if there is none
	}{
		{"default", "", now.Unix() + 90*day, ""},
		{"never", "never", 0, ""},
		{"an hour", "1h", now.Unix() + hour, ""},
		{"days are of 24 hours", "90d", now.Unix() + 90*day, ""},
		{"weeks", "8w", now.Unix() + 56*day, ""},
		{"leading zeros", "000001h", now.Unix() + hour, ""},
		{"longest", "36600d", now.Unix() + 100*year, ""},
		{"one day longer", "36601d", 0, "100 years"},
		{"no time", "0d", 0, "between 1h"},
		{"weeks that would overflow 64 bits of nanoseconds", "999999w", 0, "100 years"},
		{"days that would", "999999d", 0, "100 years"},
		{"weeks that would wrap to something allowed", "61002w", 0, "100 years"},
		{"hours", "999999h", 0, "100 years"},
		{"seven digits", "1000000h", 0, "not understood"},
		{"20 digits", "99999999999999999999d", 0, "not understood"},
		{"negative", "-1d", 0, "not understood"},
		{"sign", "+1d", 0, "not understood"},
		{"fraction", "1.5d", 0, "not understood"},
		{"no unit", "90", 0, "not understood"},
		{"minutes", "90m", 0, "not understood"},
		{"unit in capitals", "90D", 0, "not understood"},
		{"two units", "1d12h", 0, "not understood"},
		{"blank", "90 d", 0, "not understood"},
		{"newline", "90d\n", 0, "not understood"},
		{"Arabic digits", "٩٠d", 0, "not understood"},
		{"date, through that whole day", "2027-01-31", unix(2027, 2, 1, 0), ""},
		{"today", "2026-10-01", unix(2026, 10, 2, 0), ""},
		{"the 25 hours of the last Sunday of October", "2026-10-25", unix(2026, 10, 25, 0) + 25*hour, ""},
		{"the 23 hours of the last Sunday of March", "2027-03-28", unix(2027, 3, 28, 0) + 23*hour, ""},
		{"leap day", "2028-02-29", unix(2028, 3, 1, 0), ""},
		{"last of December", "2026-12-31", unix(2027, 1, 1, 0), ""},
		{"yesterday", "2026-09-30", 0, "in the past"},
		{"long ago", "0001-01-01", 0, "in the past"},
		{"100 years ahead", "2126-10-02", unix(2126, 10, 3, 0), ""},
		{"a year more", "2127-01-01", 0, "100 years"},
		{"the last date there is", "9999-12-31", 0, "100 years"},
		{"no leap day", "2027-02-29", 0, "not understood"},
		{"month 13", "2027-13-01", 0, "not understood"},
		{"short month", "2027-1-31", 0, "not understood"},
		{"German date", "31.01.2027", 0, "not understood"},
		{"moment", "2027-01-31T10:00:00Z", time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC).Unix(), ""},
		{"moment in another zone", "2027-01-31T10:00:00-05:00", time.Date(2027, 1, 31, 15, 0, 0, 0, time.UTC).Unix(), ""},
		{"moment with a fraction", "2026-10-01T12:00:01.9+02:00", now.Unix() + 1, ""},
		{"now", "2026-10-01T12:00:00+02:00", 0, "in the past"},
		{"less than a second from now", "2026-10-01T12:00:00.9+02:00", 0, "in the past"},
		{"moment without zone", "2027-01-31T10:00:00", 0, "not understood"},
		{"Never", "Never", 0, "not understood"},
		{"words", "tomorrow", 0, "not understood"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := token.ParseExpiry(c.text, now)
			switch {
			case c.err == "" && (err != nil || got != c.want):
				t.Errorf("ParseExpiry(%q) = %d, %v, want %d", c.text, got, err, c.want)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("ParseExpiry(%q) = %d, %v, want an error with %q", c.text, got, err, c.err)
			}
		})
	}
}

// A token works through the whole of its last day and not a second longer, also
// where clocks skip or repeat midnight.
func TestParseExpiryEndsWithTheDay(t *testing.T) {
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "Australia/Lord_Howe",
		"America/Santiago", "America/Havana", "America/Asuncion", "Africa/Cairo", "Asia/Beirut", "Atlantic/Azores", "America/Scoresbysund",
	} {
		t.Run(name, func(t *testing.T) {
			z := zone(t, name)
			now := time.Date(2023, 12, 15, 0, 0, 0, 0, z)
			for day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2028; day = day.AddDate(0, 0, 1) {
				text := day.Format(time.DateOnly)
				unix, err := token.ParseExpiry(text, now)
				if err != nil {
					t.Fatal(err)
				}
				last, end := time.Unix(unix-1, 0).In(z), time.Unix(unix, 0).In(z)
				if last.Format(time.DateOnly) != text || end.Format(time.DateOnly) == text {
					t.Errorf("ParseExpiry(%q) = %v, want the end of the day", text, end)
				}
			}
		})
	}
}

func FuzzParseExpiry(f *testing.F) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, zone(f, "America/Santiago"))
	for _, seed := range []string{"", "never", "90d", "999999w", "2027-01-31", "2027-01-31T10:00:00Z", "9999-12-31", "0001-01-01T00:00:00Z", "-1d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		unix, err := token.ParseExpiry(text, now)
		switch {
		case err != nil && unix != 0:
			t.Errorf("ParseExpiry(%q) = %d with the error %v", text, unix, err)
		case err == nil && unix == 0 && text != "never":
			t.Errorf("ParseExpiry(%q) is a token without end", text)
		case err == nil && text != "never" && (unix <= now.Unix() || unix > now.AddDate(101, 0, 0).Unix()):
			t.Errorf("ParseExpiry(%q) = %v, want it from now to 100 years ahead", text, time.Unix(unix, 0))
		}
	})
}

func TestAdmit(t *testing.T) {
	const expires = 1_800_000_000
	for _, c := range []struct {
		name   string
		record token.Record
		now    time.Time
		want   token.Refusal
	}{
		{"active without end", token.Record{State: token.Active}, time.Unix(1<<40, 0), ""},
		{"a second before the end", token.Record{State: token.Active, Expires: expires}, time.Unix(expires-1, 0), ""},
		{"a nanosecond before the end", token.Record{State: token.Active, Expires: expires}, time.Unix(expires, -1), ""},
		{"at the end", token.Record{State: token.Active, Expires: expires}, time.Unix(expires, 0), token.RefusedExpired},
		{"after the end", token.Record{State: token.Active, Expires: expires}, time.Unix(expires+1, 0), token.RefusedExpired},
		{"damaged: an end before 1970", token.Record{State: token.Active, Expires: -1}, time.Unix(expires, 0), token.RefusedExpired},
		{"revoked", token.Record{State: token.Revoked}, time.Unix(0, 0), token.RefusedRevoked},
		{"revoked and expired", token.Record{State: token.Revoked, Expires: expires}, time.Unix(expires, 0), token.RefusedRevoked},
		{"damaged: no state", token.Record{}, time.Unix(0, 0), token.RefusedRevoked},
		{"damaged: unknown state", token.Record{State: 99}, time.Unix(0, 0), token.RefusedRevoked},
	} {
		if got := c.record.Admit(c.now); got != c.want {
			t.Errorf("%s: Admit(%v) = %q, want %q", c.name, c.now, got, c.want)
		}
	}
}

func TestStateString(t *testing.T) {
	for state, want := range map[token.State]string{token.Active: "active", token.Revoked: "revoked", 0: "state(0)", 9: "state(9)"} {
		if got := state.String(); got != want {
			t.Errorf("State(%d).String() = %q, want %q", uint8(state), got, want)
		}
	}
}
