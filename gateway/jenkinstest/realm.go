package jenkinstest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// identity is who Jenkins takes the caller for.
type identity struct {
	user      string // the header's spelling
	anonymous bool
	groups    []string // authorities, "authenticated" first
	apiToken  bool     // came with a valid token of Jenkins' own: needs no crumb (ApiCrumbExclusion)
}

// authenticate finds the caller's identity as core and the reverse-proxy-auth plugin do one after the other
// (ReverseProxySecurityRealm.createFilter): core's Basic check comes first and may refuse, then the plugin replaces
// whatever identity there was. It reports whether to go on.
func (x *exchange) authenticate() bool {
	tokenUser, status := x.basic()
	if status != 0 {
		x.Header().Set("WWW-Authenticate", `Basic realm="Jenkins", charset="UTF-8"`)
		x.setCookie("remember-me=", "Path="+x.j.cookiePath(), "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Max-Age=0")
		x.Header().Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
		x.sendError(status, "Unauthorized")
		return false
	}
	x.apiToken = tokenUser != ""

	// Only the first line counts, and an empty value is a value.
	values := x.r.Header.Values(x.j.cfg.UserHeader)
	switch {
	case len(values) > 0:
		x.user = latin1(values[0])
	case tokenUser != "":
		x.user = tokenUser
	default:
		// Sessions and form logins have no say in this realm, nor has a right password.
		x.user, x.anonymous, x.groups = "anonymous", true, []string{"anonymous"}
		return true
	}
	x.restricted = x.j.readers[fold(x.user)]
	x.j.see(x.user)
	x.groups = []string{"authenticated"}
	separates := func(c rune) bool { return strings.ContainsRune(x.j.cfg.GroupsDelimiter, c) }
	listed := latin1(x.r.Header.Get(x.j.cfg.GroupsHeader))
	if x.j.cfg.MixGroups {
		own := listed
		x.j.shared.Store(&own)
		time.Sleep(time.Millisecond) // the plugin looks the user up in between
		listed = *x.j.shared.Load()
	}
	for group := range strings.FieldsFuncSeq(listed, separates) {
		group = strings.TrimFunc(group, unicode.IsSpace)
		if group == "" { // Spring's SimpleGrantedAuthority wants text
			x.oops()
			return false
		}
		x.groups = append(x.groups, group)
	}
	return true
}

// latin1 reads a header as Jetty does, as ISO-8859-1: each byte is a character.
func latin1(value string) string {
	for i := range len(value) {
		if value[i] >= utf8.RuneSelf {
			characters := make([]rune, len(value))
			for i := range len(value) {
				characters[i] = rune(value[i])
			}
			return string(characters)
		}
	}
	return value
}

// maxSeen bounds how many users are remembered.
const maxSeen = 100_000

// see remembers a user, who has a page from then on.
func (j *Jenkins) see(name string) {
	key := fold(name)
	if _, known := j.users.Load(key); known || j.seen.Load() >= maxSeen {
		return
	}
	if _, known := j.users.LoadOrStore(key, nil); !known {
		j.seen.Add(1)
	}
}

// basic is core's BasicHeaderProcessor. It returns the owner of a valid API token, or the status of the refusal.
// Other schemes are ignored.
func (x *exchange) basic() (tokenUser string, refused int) {
	authorization := x.r.Header.Get("Authorization")
	const scheme = "basic "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", 0
	}
	encoding := base64.RawStdEncoding // as in Java, padding is optional
	if strings.HasSuffix(authorization, "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(authorization[len(scheme):])
	if err != nil {
		return "", http.StatusUnauthorized
	}
	name, secret, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return "", http.StatusUnauthorized
	}
	for id, user := range x.j.cfg.Users {
		if fold(id) != fold(name) {
			continue
		}
		for _, token := range user.Tokens {
			if secret != "" && sameSecret(tokenCore(token), tokenCore(secret)) {
				return id, 0
			}
		}
		if user.Password != "" && sameSecret(user.Password, secret) {
			return "", 0 // right, but the plugin's filter doesn't care
		}
	}
	return "", http.StatusUnauthorized
}

// tokenCore is the part of a token that ApiTokenStore hashes: 34 characters lose the first two, unseen.
func tokenCore(token string) string {
	if len(token) == 34 {
		return token[2:]
	}
	return token
}

// sameSecret compares digests in constant time.
func sameSecret(a, b string) bool {
	da, db := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(da[:], db[:]) == 1
}

// fold maps a name so that equal results are equal names under Java's String.CASE_INSENSITIVE_ORDER, by which Jenkins
// keeps its items: upper case, then lower case, one character at a time.
func fold(s string) string {
	return strings.Map(func(c rune) rune { return unicode.ToLower(unicode.ToUpper(c)) }, s)
}
