package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"log/slog"
	"strings"
)

// A Format is the shape of a secret.
type Format int

const (
	// Native is "cg_", 30 random base62 characters (178 bits), and the CRC-32 (IEEE)
	// of all that as 6 base62 characters: 39 bytes, one block of SHA-256. Scanners
	// find it by its prefix, and a typing error is told from a wrong token without a
	// look-up.
	Native Format = iota
	// Jenkins is "11" and 32 lower-case hex digits (128 bits), as Jenkins has issued
	// since 2.129, for tools that insist on the shape
	// (jenkins.security.apitoken.ApiTokenStore).
	Jenkins
)

const (
	nativePrefix = "cg_"
	nativeRandom = 30
	nativeLen    = len(nativePrefix) + nativeRandom + 6
	jenkinsLen   = 2 + 32

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ParseFormat returns the format of a name as people write it; the empty name is
// Native.
func ParseFormat(name string) (Format, error) {
	switch name {
	case "", "native":
		return Native, nil
	case "jenkins":
		return Jenkins, nil
	}
	return 0, fmt.Errorf("unknown token format %q: use native or jenkins", name)
}

// A Secret is a token as its holder has it. However it is printed, logged or
// encoded, it does not show; only Reveal gives it away.
//
// It is a pointer because fmt asks no method of a value in an unexported field,
// nor under %p, and prints what it finds: there it is an address.
type Secret struct{ s *string }

const redacted = "REDACTED"

// NewSecret makes a secret of format f.
func NewSecret(f Format) Secret {
	if f == Jenkins {
		var b [16]byte
		rand.Read(b[:])
		s := "11" + hex.EncodeToString(b[:])
		return Secret{&s}
	}
	b := make([]byte, 0, nativeLen)
	b = append(b, nativePrefix...)
	for len(b) < len(nativePrefix)+nativeRandom {
		var r [32]byte
		rand.Read(r[:])
		for _, c := range r {
			// 248 is the largest multiple of 62 in a byte: what lies above would make
			// some characters more likely than others.
			if c < 248 && len(b) < len(nativePrefix)+nativeRandom {
				b = append(b, base62[c%62])
			}
		}
	}
	sum := checksum(b)
	s := string(append(b, sum[:]...))
	return Secret{&s}
}

// Reveal returns the secret itself, for the one moment at which its holder is
// told. The zero Secret is empty.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// Digest returns what is stored in place of the secret.
func (s Secret) Digest() Digest {
	d, err := Parse(s.Reveal())
	if err != nil {
		panic("token: a secret was made in a shape that does not parse")
	}
	return d
}

// String returns "REDACTED".
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb shows the secret.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON and zap use.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// A Digest is the SHA-256 of a secret, which is all that is ever stored of it. A
// slow hash would add nothing: the secret has at least 128 random bits.
type Digest [sha256.Size]byte

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Without it a digest that
// was cut short in the store would be filled with zeros, and be nobody's.
func (d *Digest) UnmarshalBinary(b []byte) error {
	if len(b) != len(d) {
		return fmt.Errorf("a digest of %d bytes, expected %d", len(b), len(d))
	}
	copy(d[:], b)
	return nil
}

// ErrShape is returned by Parse for what no secret looks like.
var ErrShape = errors.New("not in the shape of a token")

// ErrChecksum is returned by Parse for what looks like a native secret but has
// been mistyped, cut or made up.
var ErrChecksum = errors.New("the checksum of the token is wrong")

// Parse returns the digest of a presented secret. Shape and checksum are tested
// before anything is hashed. The digest of the Jenkins format is over the 32
// characters after "11", as Jenkins stores it, so that digests can be taken over;
// unlike Jenkins, Parse insists on the "11".
func Parse[T string | []byte](presented T) (Digest, error) {
	switch len(presented) {
	case nativeLen:
		var p [nativeLen]byte // copied, as a conversion to []byte would allocate
		copy(p[:], presented)
		return parseNative(p)
	case jenkinsLen:
		var p [jenkinsLen]byte
		copy(p[:], presented)
		return parseJenkins(p)
	}
	return Digest{}, ErrShape
}

func parseNative(p [nativeLen]byte) (Digest, error) {
	if string(p[:len(nativePrefix)]) != nativePrefix {
		return Digest{}, ErrShape
	}
	for _, c := range p[len(nativePrefix):] {
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return Digest{}, ErrShape
		}
	}
	const body = len(nativePrefix) + nativeRandom
	// The checksum is no secret: anybody can compute it. An early exit tells nothing.
	if checksum(p[:body]) != [6]byte(p[body:]) {
		return Digest{}, ErrChecksum
	}
	return sha256.Sum256(p[:]), nil
}

func parseJenkins(p [jenkinsLen]byte) (Digest, error) {
	if p[0] != '1' || p[1] != '1' {
		return Digest{}, ErrShape
	}
	for _, c := range p[2:] {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return Digest{}, ErrShape
		}
	}
	return sha256.Sum256(p[2:]), nil
}

// ParseLegacy returns the digest of a secret from before Jenkins 2.129, which is 32
// hex digits, or ErrShape. So is half of a token in the Jenkins format, and has the
// same digest: what is found by it has to be of the origin Legacy.
func ParseLegacy[T string | []byte](presented T) (Digest, error) {
	if len(presented) != jenkinsLen-2 {
		return Digest{}, ErrShape
	}
	var p [jenkinsLen]byte
	p[0], p[1] = '1', '1'
	copy(p[2:], presented)
	return parseJenkins(p)
}

// ParseFixed returns a secret that somebody else has chosen, in the Jenkins format
// (ApiTokenStore.addFixedNewToken, which takes capitals as well and lowers them).
func ParseFixed(value string) (Secret, error) {
	value = strings.ToLower(value)
	if _, err := Parse(value); err != nil || len(value) != jenkinsLen {
		return Secret{}, errors.New("a token is 11 and 32 hex digits")
	}
	return Secret{&value}, nil
}

// checksum returns the CRC-32 of b in base62. crc32.ChecksumIEEE would make b
// escape to the heap, on every request.
func checksum(b []byte) [6]byte {
	var out [6]byte
	sum := ^uint32(0)
	for _, c := range b {
		sum = crc32.IEEETable[byte(sum)^c] ^ sum>>8
	}
	sum = ^sum
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return out
}

// ContainsSecret tells whether text holds something that is, without any doubt,
// a secret of the Native format. It is for what must never be passed on or
// logged; the Jenkins format has no checksum to be certain by.
func ContainsSecret(text string) bool {
	for {
		at := strings.Index(text, nativePrefix)
		if at < 0 || len(text)-at < nativeLen {
			return false
		}
		if _, err := Parse(text[at : at+nativeLen]); err == nil {
			return true
		}
		text = text[at+len(nativePrefix):]
	}
}

// ContainsAny reports whether text holds a secret of either format, known to the
// gateway or not. A run of "11" and 32 lower-case hex digits is taken for one: MD5,
// SHA-1 and SHA-256 in hex have 32, 40 and 64 digits, so no common value has 34.
func ContainsAny(text string) bool {
	for range Digests(text) {
		return true
	}
	return false
}

// Digests yields the digests of the secrets of either format in a text, known to the
// gateway or not.
func Digests(text string) iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		for rest := text; ; rest = rest[len(nativePrefix):] {
			at := strings.Index(rest, nativePrefix)
			if at < 0 || len(rest)-at < nativeLen {
				break
			}
			rest = rest[at:]
			if digest, err := Parse(rest[:nativeLen]); err == nil && !yield(digest) {
				return
			}
		}
		for run := range alnumRuns(text) {
			if len(run) != jenkinsLen {
				continue
			}
			if digest, err := Parse(run); err == nil && !yield(digest) {
				return
			}
		}
	}
}

// LegacyDigests yields the digests of what could be tokens from before Jenkins
// 2.129 in a text: all runs of 32 lower-case hex digits.
func LegacyDigests(text string) iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		for run := range alnumRuns(text) {
			if digest, err := ParseLegacy(run); err == nil && !yield(digest) {
				return
			}
		}
	}
}

// alnumRuns yields the longest runs of ASCII letters and digits that can hold a
// token.
func alnumRuns(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(text); i++ {
			if i < len(text) && isAlnum(text[i]) {
				continue
			}
			if i-start >= jenkinsLen-2 && !yield(text[start:i]) {
				return
			}
			start = i + 1
		}
	}
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// minNativeCut is how many letters and digits must follow "cg_" in the middle of a
// text for it to be a damaged token, and not a word.
const minNativeCut = 16

// Resembles reports whether text is, or holds, a secret that was cut, quoted,
// mistyped or copied with something around it. Such a credential must be refused as
// a token's: its holder meant no other. All that begins with "cg_" resembles one,
// and so do 33 to 35 hex digits that begin with "11".
func Resembles(text string) bool {
	around := func(r rune) bool { return r >= 0x80 || !isAlnum(byte(r)) }
	begins := strings.ToLower(strings.TrimLeftFunc(text, around))
	if strings.HasPrefix(begins, nativePrefix) || strings.HasPrefix(begins, "cg%5f") {
		return true
	}
	inner := strings.TrimFunc(text, around)
	if n := len(inner); n >= jenkinsLen-1 && n <= jenkinsLen+1 && strings.HasPrefix(inner, "11") && isHex(inner) {
		return true
	}
	for rest := text; ; {
		at := strings.Index(rest, nativePrefix)
		if at < 0 {
			break
		}
		rest = rest[at+len(nativePrefix):]
		n := 0
		for n < len(rest) && isAlnum(rest[n]) {
			n++
		}
		if n >= minNativeCut {
			return true
		}
	}
	return ContainsAny(text)
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}
