package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// maxAuthorization bounds, in bytes, an Authorization value that is looked at. A
// user id of 255 bytes and a token make some 400 in Base64.
const maxAuthorization = 512

// A credential is what a request presents.
type credential struct {
	digest token.Digest
	// user is who the client says it is, if it says so.
	user  user.ID
	named bool
	// legacy tells that it has the shape of a token from before Jenkins 2.129.
	legacy bool
}

// presented returns the credential of a request, or why there is none. Basic is
// read as Jenkins does (jenkins.security.BasicHeaderProcessor): the scheme in any
// case, one space, padding optional, UTF-8, split at the first colon.
func presented(h http.Header, tokenHeader string) (credential, Reason) {
	authorization := h["Authorization"]
	if len(authorization) > 1 {
		return credential{}, ReasonAmbiguous
	}
	if tokenHeader != "" {
		switch own := h[tokenHeader]; {
		case len(own) > 1:
			return credential{}, ReasonAmbiguous
		case len(own) == 1 && len(authorization) == 1:
			// The second header is there so that Authorization is free for something else;
			// two tokens would leave open whose request this is.
			if _, reason := parseAuthorization(authorization[0]); reason != ReasonForeign {
				return credential{}, ReasonAmbiguous
			}
			fallthrough
		case len(own) == 1:
			digest, err := token.Parse(own[0])
			if err != nil {
				return credential{}, ReasonMalformed
			}
			return credential{digest: digest}, ""
		}
	}
	if len(authorization) == 0 {
		return credential{}, ReasonNone
	}
	return parseAuthorization(authorization[0])
}

// isBasic tells whether a request has a credential that Jenkins itself would look
// at, and answer 401 to.
func isBasic(h http.Header) bool {
	scheme, _, _ := strings.Cut(h.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Basic")
}

// LooksLikeToken reports whether a request is for Check to decide on as that of a
// token client, whether or not the token is any good: every request that presents
// something like a token is one.
func LooksLikeToken(r *http.Request, tokenHeader string) bool {
	_, reason := presented(r.Header, http.CanonicalHeaderKey(tokenHeader))
	return reason != ReasonNone && reason != ReasonForeign || urlHoldsToken(r)
}

// foreign returns the reason for a credential that is no token. One that looks like
// a damaged token is refused as such: its holder is a token client, whom a redirect
// to the sign-in would tell nothing.
func foreign(text string) Reason {
	if token.Resembles(text) {
		return ReasonMalformed
	}
	return ReasonForeign
}

func parseAuthorization(value string) (credential, Reason) {
	scheme, rest := value, ""
	separator := strings.IndexAny(value, " \t")
	if separator >= 0 {
		scheme, rest = value[:separator], value[separator+1:]
	}
	basic, bearer := strings.EqualFold(scheme, "Basic"), strings.EqualFold(scheme, "Bearer")
	switch {
	case !basic && !bearer:
		return credential{}, foreign(value)
	case separator >= 0 && value[separator] == '\t': // Jenkins looks for a space
		return credential{}, ReasonMalformed
	case strings.Contains(rest, ","):
		// Some clients join two headers into one (Spinnaker, with both a password and a
		// token set). Neither Base64 nor a token holds a comma.
		return credential{}, ReasonAmbiguous
	case len(value) > maxAuthorization, strings.ContainsAny(rest, "\r\n"): // which package base64 skips, and Jenkins does not
		return credential{}, ReasonMalformed
	case bearer:
		digest, err := token.Parse(rest)
		if errors.Is(err, token.ErrShape) {
			return credential{}, foreign(rest)
		}
		if err != nil {
			return credential{}, ReasonMalformed
		}
		return credential{digest: digest}, ""
	}

	var encoded, decoded [maxAuthorization]byte
	n := copy(encoded[:], rest)
	if n%4 == 0 && n > 0 { // padding is only right where it makes a multiple of four
		for range 2 {
			if encoded[n-1] == '=' {
				n--
			}
		}
	}
	n, err := base64.RawStdEncoding.Strict().Decode(decoded[:], encoded[:n])
	if err != nil {
		return credential{}, ReasonMalformed
	}
	who, secret, found := bytes.Cut(decoded[:n], []byte{':'})
	if !found {
		return credential{}, ReasonMalformed
	}
	digest, err := token.Parse(secret)
	legacy := false
	if errors.Is(err, token.ErrShape) {
		// Jenkins takes a legacy token by Basic only.
		digest, err = token.ParseLegacy(secret)
		legacy = true
	}
	if errors.Is(err, token.ErrShape) {
		// Some clients send a token as the user, with an empty password.
		if token.ContainsAny(string(who)) {
			return credential{}, ReasonMalformed
		}
		return credential{}, foreign(string(secret))
	}
	if err != nil {
		return credential{}, ReasonMalformed
	}
	return credential{digest: digest, user: user.ID(who), named: true, legacy: legacy}, ""
}

// presentedTexts yields all texts of a request in which a client presents a token.
func presentedTexts(r *http.Request, tokenHeader string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, text := range []string{r.URL.Path, r.URL.RawQuery, r.URL.Opaque} {
			for range maxEscapes {
				if !yield(text) {
					return
				}
				if !strings.Contains(text, "%") {
					break
				}
				text = unescape(text)
			}
		}
		if password, set := r.URL.User.Password(); set && !yield(password) || !yield(r.URL.User.Username()) {
			return
		}
		values := r.Header["Authorization"]
		if tokenHeader != "" {
			values = slices.Concat(values, r.Header[tokenHeader])
		}
		for _, value := range values {
			for part := range strings.SplitSeq(value, ",") {
				if !yield(part) {
					return
				}
				_, encoded, _ := strings.Cut(strings.TrimSpace(part), " ")
				decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
				if err == nil && !yield(string(decoded)) {
					return
				}
			}
		}
	}
}

// maxEscapes bounds how many times a URL within a URL is unescaped.
const maxEscapes = 3

// urlHoldsToken reports whether a token travels in the URL, where the logs of all
// servers on the way keep it. It asks no directory: a request with a token that
// exists and one with a token that does not get the same answer. A user or password
// before the host is refused whatever it is, since RFC 9110 (section 4.2.4) lets no
// client send one.
func urlHoldsToken(r *http.Request) bool {
	if r.URL.User != nil || strings.Contains(r.Host, "@") {
		return true
	}
	return holdsToken(r.URL.Path) || holdsToken(r.URL.RawQuery) || holdsToken(r.URL.Opaque)
}

func holdsToken(text string) bool {
	for range maxEscapes {
		if len(text) < 34 { // no token is shorter
			return false
		}
		if token.ContainsAny(text) {
			return true
		}
		if !strings.Contains(text, "%") {
			return false
		}
		text = unescape(text)
	}
	return token.ContainsAny(text)
}

// knownLegacyInURL reports whether a known token from before Jenkins 2.129 travels in
// the URL. Any MD5 sum has its shape, so only one that exists counts; Check asks for
// users only, since the answer would tell a stranger which of two tokens exists.
func (g *Gate) knownLegacyInURL(r *http.Request) bool {
	for _, text := range []string{r.URL.Path, r.URL.RawQuery} {
		for range maxEscapes {
			for digest := range token.LegacyDigests(text) {
				if t, err := g.Lookup(digest); err == nil && t != nil && t.Record().Origin == token.Legacy {
					return true
				}
			}
			if !strings.Contains(text, "%") {
				break
			}
			text = unescape(text)
		}
	}
	return false
}

// unescape resolves the percent-escapes of a query and leaves broken ones as they
// are: one broken escape must not hide all others, as it does in package url.
func unescape(query string) string {
	if !strings.Contains(query, "%") {
		return query
	}
	b := make([]byte, 0, len(query))
	for i := 0; i < len(query); i++ {
		var c [1]byte
		if query[i] == '%' && i+2 < len(query) {
			if _, err := hex.Decode(c[:], []byte(query[i+1:i+3])); err == nil {
				b = append(b, c[0])
				i += 2
				continue
			}
		}
		b = append(b, query[i])
	}
	return string(b)
}
