// Package hometest makes Jenkins homes of any size, for tests and benchmarks.
package hometest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Layout is how a version of Jenkins lays out its users.
type Layout int

// The layouts.
const (
	Named  Layout = iota // before 2.154: a directory is named after its user
	Mapped               // 2.154 to 2.523: users.xml
	Hashed               // since 2.524: the name is an HMAC of the id
)

// Secret returns token number n of user number u in a home, as its holder has it.
func Secret(u, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "token %d of user %d", n, u))
	return "11" + hex.EncodeToString(sum[:16])
}

// UserID returns the id of user number u.
func UserID(u int) string { return fmt.Sprintf("user-%05d", u) }

// LegacySecret returns the legacy token of user number u.
func LegacySecret(u int) string {
	sum := md5.Sum([]byte(legacyPlain(u)))
	return hex.EncodeToString(sum[:])
}

func legacyPlain(u int) string { return fmt.Sprintf("legacy secret of user %d", u) }

// A Home says what to make.
type Home struct {
	Users, Tokens int // tokens of each user
	Layout        Layout
	// Legacy gives each user a legacy token as well, encrypted and in no list.
	Legacy bool
}

const (
	masterKey = "0123456789abcdef"
	magic     = "::::MAGIC::::"
)

// Write makes a home in a directory.
func (h Home) Write(dir string) error {
	secret, dirs := make([]byte, 256), make([]byte, 64)
	rand.Read(secret)
	rand.Read(dirs)
	files := map[string]string{
		"secrets/master.key":                 masterKey + "\n",
		"secrets/hudson.util.Secret":         string(seal(secret)),
		"secrets/hudson.model.User.DIRNAMES": string(seal(dirs)),
	}
	if h.Layout == Named {
		delete(files, "secrets/hudson.model.User.DIRNAMES")
	}
	var mapping strings.Builder
	for u := range h.Users {
		id := UserID(u)
		name := id
		switch h.Layout {
		case Mapped:
			name = fmt.Sprintf("user%05d_%d", u, 1_000_000_000+u)
			fmt.Fprintf(&mapping, "    <entry>\n      <string>%s</string>\n      <string>%s</string>\n    </entry>\n", id, name)
		case Hashed:
			mac := hmac.New(sha256.New, dirs)
			mac.Write([]byte(id))
			name = fmt.Sprintf("user%05d_%x", u, mac.Sum(nil))
		}
		config, stats := h.user(u, secret[:16])
		files["users/"+name+"/config.xml"] = config
		if h.Tokens > 0 {
			files["users/"+name+"/apiTokenStats.xml"] = stats
		}
	}
	if h.Layout == Mapped {
		files["users/users.xml"] = "<?xml version='1.1' encoding='UTF-8'?>\n<hudson.model.UserIdMapper>\n  <version>1</version>\n" +
			"  <idToDirectoryNameMap class=\"concurrent-hash-map\">\n" + mapping.String() + "  </idToDirectoryNameMap>\n</hudson.model.UserIdMapper>\n"
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (h Home) user(u int, key []byte) (config, stats string) {
	var c, s strings.Builder
	fmt.Fprintf(&c, "<?xml version='1.1' encoding='UTF-8'?>\n<user>\n  <version>10</version>\n  <id>%s</id>\n  <fullName>User &amp; number %d</fullName>\n  <properties>\n    <jenkins.security.ApiTokenProperty>\n", UserID(u), u)
	if h.Legacy {
		fmt.Fprintf(&c, "      <apiToken>%s</apiToken>\n", SealV1(key, legacyPlain(u)))
	}
	c.WriteString("      <tokenStore>\n        <tokenList>\n")
	s.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<jenkins.security.apitoken.ApiTokenStats>\n  <tokenStats>\n")
	for n := range h.Tokens {
		id := uuidOf(u, n)
		hash := sha256.Sum256([]byte(Secret(u, n)[2:]))
		fmt.Fprintf(&c, "          <jenkins.security.apitoken.ApiTokenStore_-HashedToken>\n            <uuid>%s</uuid>\n            <name>token %d</name>\n            <creationDate>2026-01-%02d 10:20:30.5 UTC</creationDate>\n            <value>\n              <version>11</version>\n              <hash>%x</hash>\n            </value>\n          </jenkins.security.apitoken.ApiTokenStore_-HashedToken>\n", id, n, 1+n%28, hash)
		fmt.Fprintf(&s, "    <jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats>\n      <tokenUuid>%s</tokenUuid>\n      <lastUseDate>2026-10-01 00:00:00.0 UTC</lastUseDate>\n      <useCounter>%d</useCounter>\n    </jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats>\n", id, 1+n)
	}
	c.WriteString("        </tokenList>\n      </tokenStore>\n    </jenkins.security.ApiTokenProperty>\n  </properties>\n</user>\n")
	s.WriteString("  </tokenStats>\n</jenkins.security.apitoken.ApiTokenStats>\n")
	return c.String(), s.String()
}

func uuidOf(u, n int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", u, n)
}

// seal encrypts as the confidential store of a home does
// (jenkins.security.DefaultConfidentialStore).
func seal(payload []byte) []byte {
	sum := sha256.Sum256([]byte(masterKey))
	return SealMagic(sum[:16], payload)
}

// SealMagic is AES-ECB of a payload and a mark at its end.
func SealMagic(key, payload []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have 16 bytes
	}
	text := pad(append(append([]byte(nil), payload...), magic...))
	for i := 0; i < len(text); i += aes.BlockSize {
		block.Encrypt(text[i:], text[i:])
	}
	return text
}

// SealV1 encrypts a text as hudson.util.Secret does.
func SealV1(key []byte, plain string) string {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have 16 bytes
	}
	iv := make([]byte, aes.BlockSize)
	rand.Read(iv)
	text := pad([]byte(plain))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	payload := binary.BigEndian.AppendUint32([]byte{1}, uint32(len(iv)))
	payload = binary.BigEndian.AppendUint32(payload, uint32(len(text)))
	return "{" + base64.StdEncoding.EncodeToString(append(append(payload, iv...), text...)) + "}"
}

func pad(text []byte) []byte {
	n := aes.BlockSize - len(text)%aes.BlockSize
	for range n {
		text = append(text, byte(n))
	}
	return text
}
