package jenkinshome

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// Want is what XStream 1.4.21 reads on OpenJDK 17.0.15; but CEST, which it knows.
func TestParseDate(t *testing.T) {
	for _, c := range []struct{ text, want string }{ // want is "" for what is not understood
		{"2019-10-23 15:27:12.108 UTC", "2019-10-23T15:27:12.108Z"},
		{"2019-10-23 15:27:12.5 UTC", "2019-10-23T15:27:12.005Z"},
		{"2019-10-23 15:27:12.50 UTC", "2019-10-23T15:27:12.05Z"},
		{"2019-10-23 15:27:12.0 UTC", "2019-10-23T15:27:12Z"},
		{"2019-10-23 15:27:12 UTC", "2019-10-23T15:27:12Z"},
		{"2019-10-23 15:27:12UTC", "2019-10-23T15:27:12Z"},
		{"2019-10-23 15:27:12.5 PM", "2019-10-23T15:27:12.005Z"},
		{"2019-10-23 15:27:12.0 GMT", "2019-10-23T15:27:12Z"},
		{"2019-10-23 15:27:12.0 GMT+02:00", "2019-10-23T13:27:12Z"},
		{"2019-10-23 15:27:12.0 -0530", "2019-10-23T20:57:12Z"},
		{"2019-10-23 15:27:12.0 -0030", "2019-10-23T15:57:12Z"},
		{"2019-10-23 15:27:12.1000 UTC", ""},
		{"2019-10-23 15:27:12.108", ""},
		{"2019-10-23 24:00:00.0 UTC", ""},
		{"2019-02-29 00:00:00.0 UTC", ""},
		{"2019-10-23 15:27:12.0 +99:00", ""},
		{"2019-10-23 15:27:12.0 CEST", ""},
		{"2019-10-23 15:27:12.0 Z", ""},
		{"2019-10-23T15:27:12Z", ""},
		{" 2019-10-23 15:27:12.0 UTC", ""},
		{"", ""},
	} {
		got, ok := parseDate(c.text)
		if c.want == "" {
			if ok {
				t.Errorf("parseDate(%q) = %v, want it refused", c.text, got)
			}
		} else if !ok || got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("parseDate(%q) = %v, %t, want %s", c.text, got, ok, c.want)
		}
	}
}

// What is read of the secret is wiped, and so is what it was read from.
func TestLegacySecretIsWiped(t *testing.T) {
	const secret = "a legacy secret in plain text"
	data := []byte("<user><properties><jenkins.security.ApiTokenProperty><apiToken>" + secret + "</apiToken></jenkins.security.ApiTokenProperty></properties></user>")
	h := openHome(fstest.MapFS{"a": {Data: data}, "b": {Data: []byte("x")}}, Options{})
	read, err := h.read("a", maxConfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig(read, time.UTC)
	if err != nil || string(c.secret) != secret {
		t.Fatalf("secret = %q, %v", c.secret, err)
	}
	kept := c.secret
	c.wipe()
	if strings.Contains(string(kept), "legacy") {
		t.Errorf("the secret is still %q", kept)
	}
	if _, err := h.read("b", maxConfig); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(read[:cap(read)]), "legacy") {
		t.Error("the file is still in the buffer")
	}
	h.close()
}

// The keys of the time before 1.498 are secret.key, of which nothing but the hash of
// its text is used (Jenkins.getSecretKeyAsAES128). The text was encrypted with OpenSSL.
func TestOldestKey(t *testing.T) {
	k := keys{old: keyOf([]byte("0123456789abcdef\n"))}
	got, err := k.decrypt([]byte("vVpQ8CG/El8pmMYoETnksl1hEZ97IzbP3MJyAS1ptv0="))
	if err != nil || string(got) != "theSecret" {
		t.Errorf("decrypt = %q, %v", got, err)
	}
	other := keys{old: keyOf([]byte("other")), secret: keyOf([]byte("other"))}
	if got, err := other.decrypt([]byte("vVpQ8CG/El8pmMYoETnksl1hEZ97IzbP3MJyAS1ptv0=")); !errors.Is(err, errNotDecrypted) {
		t.Errorf("with another key = %q, %v", got, err)
	}
	var none keys
	if got, err := none.decrypt([]byte("vVpQ8CG/El8pmMYoETnksl1hEZ97IzbP3MJyAS1ptv0=")); !errors.Is(err, errNoSecretKey) {
		t.Errorf("without key = %q, %v", got, err)
	}
}

func TestLegacyDigestOfNothing(t *testing.T) {
	// MD5 and SHA-256 by md5sum and sha256sum.
	const want = "f215faf9d88b7f0a881632ee22459ee452a296c808d261b6cc993d3a1fd0600e"
	if got := hex.EncodeToString(emptyLegacy[:]); got != want {
		t.Errorf("the digest of an empty secret = %s, want %s", got, want)
	}
}
