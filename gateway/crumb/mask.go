package crumb

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// strictIssuer is the class of the Strict Crumb Issuer plugin. By default it masks its crumbs.
const strictIssuer = "org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer"

// maskedSize is the length of a masked crumb in bytes: a seed of 64 hexadecimal digits,
// and the crumb XOR the seed.
const maskedSize = 2 * hexSize

const hexSize = 2 * sha256.Size

// unmask returns the crumb in a masked one of the Strict Crumb Issuer, and false for a
// text that is none.
func unmask(text string) (crumb [sha256.Size]byte, ok bool) {
	if len(text) != maskedSize {
		return crumb, false
	}
	var seed [sha256.Size]byte
	if _, err := hex.Decode(seed[:], []byte(text[:hexSize])); err != nil {
		return crumb, false
	}
	if _, err := hex.Decode(crumb[:], []byte(text[hexSize:])); err != nil {
		return crumb, false
	}
	subtle.XORBytes(crumb[:], crumb[:], seed[:])
	return crumb, true
}

// Sum returns what two texts have in common if the issuer of s takes them for the same crumb:
// the mask does not count.
func (s *Session) Sum(text string) [sha256.Size]byte {
	if s.Class == strictIssuer {
		if crumb, ok := unmask(text); ok {
			return sha256.Sum256(crumb[:])
		}
	}
	return sha256.Sum256([]byte(text))
}

// Matches reports whether a text is the crumb of s, whatever its mask.
func (s *Session) Matches(text string) bool {
	if !s.Masks() {
		return subtle.ConstantTimeCompare([]byte(s.Crumb), []byte(text)) == 1
	}
	want, got := s.Sum(s.Crumb), s.Sum(text)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
