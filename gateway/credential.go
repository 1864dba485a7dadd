package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
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

// LooksLikeToken tells whether a request is for Check to decide on as that of a
// token client, whether or not the token is any good: all that is not clearly
// without one is.
func LooksLikeToken(r *http.Request, tokenHeader string) bool {
	none := func(token.Digest) bool { return false }
	_, reason := presented(r.Header, http.CanonicalHeaderKey(tokenHeader))
	return reason != ReasonNone && reason != ReasonForeign || tokenInQuery(r.URL.RawQuery, none)
}

func parseAuthorization(value string) (credential, Reason) {
	scheme, rest, _ := strings.Cut(value, " ")
	basic, bearer := strings.EqualFold(scheme, "Basic"), strings.EqualFold(scheme, "Bearer")
	switch {
	case !basic && !bearer:
		return credential{}, ReasonForeign
	case strings.Contains(rest, ","):
		// Some clients join two headers into one (Spinnaker, with both a password and a
		// token set). Neither Base64 nor a token holds a comma.
		return credential{}, ReasonAmbiguous
	case len(value) > maxAuthorization, strings.ContainsAny(rest, "\r\n"): // which package base64 skips, and Jenkins does not
		return credential{}, ReasonMalformed
	case bearer:
		digest, err := token.Parse(rest)
		if errors.Is(err, token.ErrShape) {
			return credential{}, ReasonForeign
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
		return credential{}, ReasonForeign
	}
	if err != nil {
		return credential{}, ReasonMalformed
	}
	return credential{digest: digest, user: user.ID(who), named: true, legacy: legacy}, ""
}

// tokenInQuery tells whether a token travels in the URL, where it ends up in the
// logs of everything on the way. A native token is certain by its checksum; of
// the Jenkins format only one that exists counts, as any hex number could look
// like it.
func tokenInQuery(rawQuery string, known func(token.Digest) bool) bool {
	if len(rawQuery) < 32 { // no token is shorter
		return false
	}
	text := unescape(rawQuery)
	if token.ContainsSecret(text) {
		return true
	}
	notInToken := func(r rune) bool { return !('0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') }
	for piece := range strings.FieldsFuncSeq(text, notInToken) {
		if digest, err := token.Parse(piece); err == nil && known(digest) {
			return true
		}
		if digest, err := token.ParseLegacy(piece); err == nil && known(digest) {
			return true
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
