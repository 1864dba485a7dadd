// Package headerrealm encodes a user's identity for the headers in which Jenkins'
// reverse-proxy-auth plugin reads it (ReverseProxySecurityRealm).
//
// Jenkins runs on Jetty, and Jetty reads header values as ISO-8859-1. So "jörg" is
// sent as the bytes "j\xf6rg". Sent as UTF-8, Jenkins would open the account "jÃ¶rg".
//
// The user ID alone decides whether a request can go on. Everything else is sent as
// far as Jenkins can read it, and left out otherwise.
package headerrealm

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// GroupDelimiter separates the groups in their header
// (ReverseProxySecurityRealm.headerGroupsDelimiter).
const GroupDelimiter = "|"

const (
	// DefaultMaxGroupsBytes bounds the groups header. Jenkins refuses a request head
	// over 8192 bytes, and cookies, path and the other headers need room as well.
	DefaultMaxGroupsBytes = 4096
	// MaxText bounds, in bytes, a mail address or a display name.
	MaxText = 255
)

// ID returns the header value for a user ID, or an error that says why Jenkins
// could not read it. It never changes an ID into another one.
func ID(id user.ID) (string, error) {
	value, err := encode("user ID", string(id))
	if err != nil {
		return "", err
	}
	return value, nil
}

// Mail returns the header value for a mail address, or an error that says why it is
// left out. It never changes an address into another one.
func Mail(mail string) (string, error) {
	if len(mail) > MaxText {
		return "", fmt.Errorf("the mail address has %d bytes, at most %d are allowed", len(mail), MaxText)
	}
	if strings.TrimSpace(mail) != mail {
		return "", fmt.Errorf("the mail address %q begins or ends with a blank", mail)
	}
	return encode("mail address", mail)
}

// Group returns the header value for one group, or an error that says why it is left
// out. It never changes a name into another one.
func Group(name string) (string, error) {
	switch {
	case strings.Contains(name, GroupDelimiter):
		return "", fmt.Errorf("the group %q holds %q, which separates groups", name, GroupDelimiter)
	case strings.Trim(name, " ") != name || name == "":
		// The plugin trims names, and fails on an empty one.
		return "", fmt.Errorf("the group %q is empty, or begins or ends with a blank", name)
	}
	return encode("group", name)
}

// OmittedGroups counts the groups that a header leaves out.
type OmittedGroups struct {
	Unreadable int   // Jenkins could not read them
	Why        error // for the first of them
	NoRoom     int   // the header is full
}

// Groups returns the header value for groups, in their order. It leaves out groups
// that Jenkins could not read, and those that would make the value longer than
// maxBytes.
func Groups(groups []string, maxBytes int) (value string, omitted OmittedGroups) {
	if fits(groups, maxBytes) {
		return strings.Join(groups, GroupDelimiter), omitted
	}

	var b strings.Builder
	for _, g := range groups {
		encoded, err := Group(g)
		switch {
		case err != nil:
			if omitted.Unreadable++; omitted.Why == nil {
				omitted.Why = err
			}
		case b.Len() == 0 && len(encoded) <= maxBytes:
			b.WriteString(encoded)
		case b.Len() > 0 && b.Len()+len(GroupDelimiter)+len(encoded) <= maxBytes:
			b.WriteString(GroupDelimiter)
			b.WriteString(encoded)
		default:
			omitted.NoRoom++
		}
	}
	return b.String(), omitted
}

// fits reports whether all groups can be sent as they are, which is nearly always so.
func fits(groups []string, maxBytes int) bool {
	size := 0
	for _, g := range groups {
		if g == "" || g[0] == ' ' || g[len(g)-1] == ' ' || !plain(g) || strings.Contains(g, GroupDelimiter) {
			return false
		}
		size += len(GroupDelimiter) + len(g)
	}
	return size-len(GroupDelimiter) <= maxBytes
}

// encode returns s in ISO-8859-1, or an error that names what of it Jenkins could not
// read.
func encode(what, s string) (string, error) {
	if plain(s) {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("the %s %q is not valid UTF-8", what, s)
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > unicode.MaxLatin1 {
			return "", fmt.Errorf("the %s %q holds %q (%U): Jenkins reads headers as ISO-8859-1, which has no such character", what, s, r, r)
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return "", fmt.Errorf("the %s %q holds a control or invisible character (%U)", what, s, r)
		}
		b = append(b, byte(r))
	}
	return string(b), nil
}

// plain reports whether s is printable ASCII, and so the same in UTF-8 and
// ISO-8859-1.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// errNoName is returned for a display name of which too little could be sent.
var errNoName = errors.New("the display name has letters that ISO-8859-1 lacks, as which Jenkins reads headers")

// DisplayName returns the header value for a display name. With an error, the value
// is a cleaned name, or "" if the name is left out, and the error says why. A
// display name decides nothing, so it may be changed.
func DisplayName(name string) (value string, err error) {
	if plain(name) && strings.TrimSpace(name) == name && len(name) <= MaxText {
		return name, nil
	}
	if !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError) {
		return "", fmt.Errorf("the display name %q is not valid UTF-8", name)
	}
	composed := norm.NFC.String(name)
	b := make([]byte, 0, len(composed))
	changed := false
	for _, r := range composed {
		switch {
		case r <= unicode.MaxLatin1 && !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r):
			b = append(b, byte(r))
			continue
		case unicode.IsSpace(r) || unicode.IsControl(r):
			b = append(b, ' ')
		case transliterated[r] != "":
			b = append(b, transliterated[r]...)
		default:
			base, _ := utf8.DecodeRuneInString(norm.NFKD.String(string(r)))
			switch {
			case base <= unicode.MaxLatin1 && unicode.IsPrint(base):
				b = append(b, byte(base))
			case unicode.IsLetter(r) || unicode.IsNumber(r):
				return "", errNoName // half a name is worse than none
			}
			// Marks, invisible characters, emoji and other symbols are dropped.
		}
		changed = true
	}
	// Blanks beside a dropped character would stand alone.
	words := strings.FieldsFunc(string(b), func(r rune) bool { return r == ' ' })
	value = strings.Join(words, " ")
	switch {
	case value == "":
		return "", errNoName
	case len(value) > MaxText:
		return strings.TrimRight(value[:MaxText], " "), fmt.Errorf("the display name has %d bytes, at most %d are sent", len(value), MaxText)
	case changed || len(value) != len(b):
		return value, fmt.Errorf("the display name %q holds characters that Jenkins can't read from a header: ISO-8859-1 lacks them, or they are invisible", name)
	}
	return value, nil
}

// transliterated maps letters and signs that don't decompose, by Unicode's rules, to
// what their writers use in their place.
var transliterated = map[rune]string{
	'Ł': "L", 'ł': "l", 'Đ': "D", 'đ': "d", 'ı': "i", 'Œ': "OE", 'œ': "oe", 'ẞ': "SS",
	'Ħ': "H", 'ħ': "h", 'Ŧ': "T", 'ŧ': "t", 'Ŋ': "N", 'ŋ': "n", 'ĸ': "k", 'Ə': "E", 'ə': "e",
	'‘': "'", '’': "'", 'ʼ': "'", '“': "\"", '”': "\"", '–': "-", '—': "-", '‐': "-", '‑': "-", '…': "...",
}

// Warnings returns a sentence for each part of an identity that Jenkins could not
// read as it stands.
func Warnings(id user.ID, groups []string, mail, displayName string) (warnings []string) {
	if _, err := ID(id); err != nil {
		warnings = append(warnings, fmt.Sprintf("The gateway refuses requests of this user: %v.", err))
	}
	for _, g := range groups {
		if _, err := Group(g); err != nil {
			warnings = append(warnings, fmt.Sprintf("Jenkins is not sent one of the groups: %v.", err))
		}
	}
	if _, err := Mail(mail); err != nil {
		warnings = append(warnings, fmt.Sprintf("Jenkins is not sent the mail address: %v.", err))
	}
	switch value, err := DisplayName(displayName); {
	case err != nil && value == "":
		warnings = append(warnings, fmt.Sprintf("Jenkins is not sent the display name: %v.", err))
	case err != nil:
		warnings = append(warnings, fmt.Sprintf("Jenkins is sent another display name: %v.", err))
	}
	return warnings
}
