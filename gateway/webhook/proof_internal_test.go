package webhook

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
)

// What is read prints back the same: there is one spelling of each signature and
// time, and ids can't be mistaken for something else that is signed.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
		"sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17",
		"sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
		"v1,8AInA13DYgyp51h+kRqs0+PapCVUkSntD3ED4Fr978E=",
		"v1,8AInA13DYgyp51h+kRqs0+PapCVUkSntD3ED4Fr978EA",
		"v1,8AInA13DYgyp51h+kRqs0+PapCVUkSntD3ED4Fr978F=",
		"v1,8AInA13DYgyp51h+kRqs0+PapCVUkSntD3ED4Fr\n\n\n\n=",
		"946684800", "-1", "+1", "00", "0", "99999999999", "100000000000", "9223372036854775808",
		"f5e5f430-f57b-4e6e-9fac-d9128cd7232f", "a.b", "", strings.Repeat("a", 129), "\x7f",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if signature, ok := parseHub(text); ok && "sha256="+hex.EncodeToString(signature[:]) != text {
			t.Errorf("parseHub(%q) = %x", text, signature)
		}
		if signature, ok := parseStandard(text); ok && "v1,"+base64.StdEncoding.EncodeToString(signature[:]) != text {
			t.Errorf("parseStandard(%q) = %x", text, signature)
		}
		if seconds, ok := parseTimestamp(text); ok && (strconv.FormatInt(seconds, 10) != text || seconds < 0 || len(text) > 11) {
			t.Errorf("parseTimestamp(%q) = %d", text, seconds)
		}
		if validID(text) && (text == "" || len(text) > 128 || strings.ContainsAny(text, ". \t\r\n\x00\x7f")) {
			t.Errorf("validID(%q)", text)
		}
	})
}
