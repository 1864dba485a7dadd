package crumb

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"time"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// DefaultLifetime is how long a crumb of the gateway holds unless told otherwise.
const DefaultLifetime = 24 * time.Hour

// maxAhead is how far in the future a crumb may have been issued: clocks are set
// back by a little now and then, and differ between gateways of one store.
const maxAhead = time.Minute

// A Standing is what a crumb that a client presents is worth.
type Standing int

const (
	// Foreign is whatever is not a crumb that this gateway made for this user:
	// Jenkins' own, a forged or damaged one, another user's, or one by a key that is
	// gone. Nothing tells these apart.
	Foreign Standing = iota
	// Expired crumbs are this user's, but too old, or from the future by more than a
	// minute. The session may be any.
	Expired
	// OtherSession crumbs are this user's and in time, but for another session.
	OtherSession
	// Valid crumbs are this user's, in time, and for this session.
	Valid
)

func (s Standing) String() string {
	switch s {
	case Expired:
		return "expired"
	case OtherSession:
		return "other session"
	case Valid:
		return "valid"
	}
	return "foreign"
}

// A crumb of the gateway is, before it is masked:
//
//	version | key | issued (8 bytes, Unix seconds) | tag of the session | MAC
//
// The MAC is over what stands before it and the user. The tag is there to tell a
// crumb for another session from a forged one without telling the session.
const (
	crumbVersion = 1

	tagStart  = 1 + 1 + 8
	tagSize   = 16
	macStart  = tagStart + tagSize
	crumbSize = macStart + sha256.Size
	textSize  = (2*crumbSize*8 + 5) / 6
)

// What the two MACs of a crumb are over begins with one of these, so that neither
// can stand for the other. None is the beginning of another.
const (
	tagDomain   = "crumbgate session tag\x00"
	crumbDomain = "crumbgate crumb\x00"
)

var text64 = base64.RawURLEncoding.Strict()

// Issue makes a crumb for a user in a session, by the current key. It has 155
// characters of A-Z, a-z, 0-9, - and _, so that it fits into headers, queries, forms
// and HTML without any escape, and is another text each time: pages carry it next to
// what an attacker may choose, and are compressed, which would give away a text that
// stays the same bit by bit (BREACH).
//
// As with every mask that travels along, whoever has a crumb can mask it anew. That
// gives them nothing: it is the same crumb, and no more is ever done with the text
// than to verify it.
func (k *Keys) Issue(user user.ID, session string, now time.Time) string {
	key := k.ring.Load().current()
	var masked [2 * crumbSize]byte
	pad, crumb := masked[:crumbSize], masked[crumbSize:]
	crumb[0] = crumbVersion
	crumb[1] = byte(key.number)
	binary.BigEndian.PutUint64(crumb[2:tagStart], uint64(now.Unix()))

	s := key.signers.Get().(*signer)
	tag := s.tag(session)
	copy(crumb[tagStart:macStart], tag[:])
	mac := s.sign([macStart]byte(crumb), user)
	copy(crumb[macStart:], mac[:])
	key.signers.Put(s)

	rand.Read(pad)
	subtle.XORBytes(crumb, crumb, pad)
	var text [textSize]byte
	text64.Encode(text[:], masked[:])
	return string(text[:])
}

// Verify tells what a crumb is worth to a user in a session at now. It holds for
// lifetime from when it was issued. The user is compared byte by byte: two spellings
// are two users. No crumb is Valid without a session.
func (k *Keys) Verify(text string, user user.ID, session string, now time.Time, lifetime time.Duration) Standing {
	if len(text) != textSize {
		return Foreign
	}
	// Copied, as a conversion to []byte would allocate.
	var raw [textSize]byte
	copy(raw[:], text)
	var masked [2 * crumbSize]byte
	// The decoder passes over line breaks, so that the text may have held less.
	if n, err := text64.Decode(masked[:], raw[:]); err != nil || n != len(masked) {
		return Foreign
	}
	pad, crumb := masked[:crumbSize], masked[crumbSize:]
	subtle.XORBytes(crumb, crumb, pad)

	// Version and number of the key are no secret; whoever has a crumb can read them.
	key := k.ring.Load().find(crumb[1])
	if crumb[0] != crumbVersion || key == nil {
		return Foreign
	}
	s := key.signers.Get().(*signer)
	tag := s.tag(session)
	mac := s.sign([macStart]byte(crumb), user)
	key.signers.Put(s)

	// In constant time, as how much of a MAC is right would help to find the rest.
	if subtle.ConstantTimeCompare(mac[:], crumb[macStart:]) != 1 {
		return Foreign
	}
	sameSession := subtle.ConstantTimeCompare(tag[:], crumb[tagStart:macStart]) == 1
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(crumb[2:tagStart])), 0))
	switch {
	case age >= lifetime, age < -maxAhead:
		return Expired
	case !sameSession, session == "":
		return OtherSession
	}
	return Valid
}

// A signer computes MACs by one key. What goes into a hash.Hash escapes to the heap, so the
// signer holds a buffer for it, and is used again.
type signer struct {
	mac hash.Hash
	buf [128]byte
}

func newSigner(secret []byte) *signer { return &signer{mac: hmac.New(sha256.New, secret)} }

func (s *signer) tag(session string) (tag [tagSize]byte) {
	s.mac.Reset()
	s.write(tagDomain)
	s.write(session)
	return [tagSize]byte(s.mac.Sum(s.buf[:0]))
}

func (s *signer) sign(head [macStart]byte, user user.ID) [sha256.Size]byte {
	s.mac.Reset()
	s.write(crumbDomain)
	n := copy(s.buf[:], head[:])
	binary.BigEndian.PutUint64(s.buf[n:], uint64(len(user)))
	s.mac.Write(s.buf[:n+8])
	s.write(string(user))
	return [sha256.Size]byte(s.mac.Sum(s.buf[:0]))
}

func (s *signer) write(text string) {
	for len(text) > 0 {
		n := copy(s.buf[:], text)
		s.mac.Write(s.buf[:n])
		text = text[n:]
	}
}
