package crumb

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"testing"
)

// mask masks a crumb as the Strict Crumb Issuer does.
func mask(crumb [32]byte) string {
	var seed [32]byte
	rand.Read(seed[:])
	subtle.XORBytes(crumb[:], crumb[:], seed[:])
	return hex.EncodeToString(seed[:]) + hex.EncodeToString(crumb[:])
}

func TestMaskedCrumbs(t *testing.T) {
	crumb := [32]byte{0, 0, 7, 1}
	strict := &Session{Class: strictIssuer, Crumb: mask(crumb)}
	for name, text := range map[string]string{
		"the same text": strict.Crumb, "another mask": mask(crumb), "capitals": strings.ToUpper(mask(crumb)),
		"no mask at all": strings.Repeat("0", 64) + hex.EncodeToString(crumb[:]),
	} {
		if !strict.Matches(text) {
			t.Errorf("%s does not match", name)
		}
	}
	masked := mask(crumb)
	for name, text := range map[string]string{
		"empty": "", "junk": "junk", "another crumb": mask([32]byte{1}), "not masked": hex.EncodeToString(crumb[:]), "cut": masked[1:], "longer": masked + "0",
		"no hexadecimal digit": "g" + masked[1:], "a sign": "-" + masked[1:], "zeros": strings.Repeat("0", 128), "halves swapped and one digit changed": masked[64:] + "g" + masked[1:64],
	} {
		if strict.Matches(text) {
			t.Errorf("%s matches", name)
		}
	}
	// Of another issuer the text itself counts.
	for _, class := range []string{defaultIssuer, "com.example.OtherIssuer"} {
		s := &Session{Class: class, Crumb: mask(crumb)}
		if s.Matches(mask(crumb)) || !s.Matches(s.Crumb) {
			t.Errorf("%s: the crumb is taken for a masked one", class)
		}
	}
}

// FuzzUnmask: whatever a client sends, what is unmasked can be masked again, and matches
// only what the issuer takes for the same.
func FuzzUnmask(f *testing.F) {
	f.Add("", "")
	f.Add(strings.Repeat("0", 128), "seed")
	f.Add(mask([32]byte{1, 2, 3}), mask([32]byte{1, 2, 3}))
	f.Fuzz(func(t *testing.T, text, other string) {
		s := &Session{Class: strictIssuer, Crumb: text}
		crumb, ok := unmask(text)
		if ok && (len(text) != maskedSize || !s.Matches(mask(crumb))) {
			t.Errorf("%q is unmasked to %x", text, crumb)
		}
		otherCrumb, otherOK := unmask(other)
		same := text == other || ok && otherOK && crumb == otherCrumb
		if text != "" && s.Matches(other) != same {
			t.Errorf("%q and %q match: %v, want %v", text, other, !same, same)
		}
	})
}
