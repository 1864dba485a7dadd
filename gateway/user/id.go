// Package user knows how Jenkins names people: which user ids are the same, and
// which can't be anybody's.
package user

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// MaxIDLen is the largest length of a user id, in bytes.
const MaxIDLen = 255

// An ID is a Jenkins user id, in the spelling that Jenkins is to see.
type ID string

// A Strategy tells which spellings of an id are the same user. Its values are
// those of jenkins.model.IdStrategy.
type Strategy int

const (
	// CaseInsensitive is the default of every Jenkins security realm.
	CaseInsensitive Strategy = iota
	// CaseSensitive takes ids as they are.
	CaseSensitive
	// CaseSensitiveEmail ignores case only in what follows the last @.
	CaseSensitiveEmail
)

// ParseStrategy returns the strategy of a name as it stands in a configuration;
// the empty name is the default.
func ParseStrategy(name string) (Strategy, error) {
	switch name {
	case "", "case_insensitive":
		return CaseInsensitive, nil
	case "case_sensitive":
		return CaseSensitive, nil
	case "case_sensitive_email":
		return CaseSensitiveEmail, nil
	}
	return 0, fmt.Errorf("unknown user id strategy %q: use case_insensitive, case_sensitive or case_sensitive_email", name)
}

// Equal tells whether a and b are the same user.
func (s Strategy) Equal(a, b ID) bool {
	if a == b {
		return true
	}
	if s == CaseSensitive {
		return false
	}
	if s == CaseInsensitive && isASCII(a) && isASCII(b) {
		return len(a) == len(b) && strings.EqualFold(string(a), string(b))
	}
	return s.Key(a) == s.Key(b)
}

// Key returns the same string for all spellings of one user
// (IdStrategy.keyFor).
func (s Strategy) Key(id ID) string {
	switch s {
	case CaseSensitive:
		return string(id)
	case CaseSensitiveEmail:
		at := strings.LastIndexByte(string(id), '@')
		if at < 0 {
			return string(id)
		}
		return string(id[:at]) + lower(string(id[at:]))
	default:
		return lower(string(id))
	}
}

// lower is Java's String.toLowerCase(Locale.ENGLISH), which follows Unicode's
// SpecialCasing where Go's strings.ToLower does not: İ becomes two characters, a
// final Σ becomes ς. Under Go's rule two Jenkins users could be taken for one.
//
// What is final Java asks its java.text.BreakIterator, whose words end elsewhere
// than Unicode's. Beside anything but plain letters a Σ is therefore left as it
// is, which no lower case in Java has: such an id is its own user in capitals.
func lower(s string) string {
	if isASCII(ID(s)) {
		return strings.ToLower(s)
	}
	lower := cases.Lower(language.English)
	if strings.Contains(s, "Σ") && strings.ContainsFunc(s, notPlainLetter) {
		parts := strings.Split(s, "Σ")
		for i, part := range parts {
			parts[i] = lower.String(part)
		}
		return strings.Join(parts, "Σ")
	}
	return lower.String(s)
}

// notPlainLetter also names the letters beyond 16 bits, which Java's words end at.
func notPlainLetter(r rune) bool {
	return !unicode.IsUpper(r) && !unicode.IsLower(r) || r > 0xFFFF
}

func isASCII(id ID) bool {
	for i := range len(id) {
		if id[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// FitsBasic reports whether Basic authentication can carry an id: it ends the user at
// the first colon (RFC 7617). OpenShift has ids such as kube:admin, whose tokens are
// sent as Bearer tokens.
func FitsBasic(id ID) bool { return !strings.Contains(string(id), ":") }

// ParseID returns s as the id of a user who can hold tokens, or an error that
// says what is wrong with it. The ids that Jenkins never saves
// (User.ILLEGAL_PERSISTED_USERNAMES) are nobody's.
func ParseID(s string) (ID, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", fmt.Errorf("the user is empty: name the Jenkins user id that the token is for")
	case s != strings.TrimSpace(s):
		return "", fmt.Errorf("user %q begins or ends with a blank: leave it out", s)
	case len(s) > MaxIDLen:
		return "", fmt.Errorf("the user has %d bytes, at most %d are allowed", len(s), MaxIDLen)
	}
	if err := CheckText("user", s); err != nil {
		return "", err
	}
	for _, nobody := range []string{"anonymous", "SYSTEM", "unknown"} {
		if strings.EqualFold(s, nobody) {
			return "", fmt.Errorf("user %q is a name that Jenkins keeps for itself: use the id of a person or a service account", s)
		}
	}
	return ID(s), nil
}

// CheckText returns an error if a text that is to travel in a header, named what
// in the error, is not UTF-8 or holds control or invisible characters.
func CheckText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("the %s is not valid UTF-8", what)
	}
	for _, r := range s {
		// What decoders put in place of bytes that they can't read, such as Go's
		// encoding/json: two broken texts would be the same.
		if r == utf8.RuneError {
			return fmt.Errorf("the %s %q holds U+FFFD, which stands for text that got broken: write it again, in UTF-8", what, s)
		}
		// Format characters (Cf) are invisible: two names that look alike would differ.
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return fmt.Errorf("the %s %q holds a control or invisible character (%U): leave it out", what, s, r)
		}
	}
	return nil
}
