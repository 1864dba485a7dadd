// Package hometest makes JENKINS_HOMEs with users and tokens, for tests and
// benchmarks. The same Home always makes the same files and tokens.
package hometest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what legacy tokens of Jenkins are
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
)

// A Layout is how a version of Jenkins arranges user directories.
type Layout int

const (
	// Hashed is that of Jenkins 2.524 and later.
	Hashed Layout = iota
	// Mapped is that of 2.154 to 2.523, with users.xml.
	Mapped
	// Named is that of before: directories are named like users.
	Named
)

func (l Layout) String() string { return [...]string{"hashed", "mapped", "named"}[l] }

// A Home says what is in a JENKINS_HOME.
type Home struct {
	Layout Layout
	Users  int
	Tokens int  // of each user
	Legacy bool // each user has a legacy <apiToken> besides
	Seed   uint64
}

// ID returns the id of a user, from 0 on.
func (h Home) ID(user int) string { return fmt.Sprintf("user-%05d", user) }

// Secret returns the value of a user's token, as its user presents it.
func (h Home) Secret(user, token int) string {
	var b [16]byte
	h.random(user, token, "secret", b[:])
	return "11" + hex.EncodeToString(b[:])
}

// LegacySecret returns the value of a user's legacy token: 32 hexadecimal digits.
func (h Home) LegacySecret(user int) string {
	sum := md5.Sum([]byte(h.legacy(user))) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

func (h Home) legacy(user int) string {
	var b [16]byte
	h.random(user, 0, "legacy", b[:])
	return hex.EncodeToString(b[:])
}

// UUID returns that of a user's token.
func (h Home) UUID(user, token int) uuid.UUID {
	var id uuid.UUID
	h.random(user, token, "uuid", id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

func (h Home) random(user, token int, what string, b []byte) {
	seed := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %s", h.Seed, user, token, what))
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
}

const masterKey = "0123456789abcdef"

// Files yields the files by their name in the home.
func (h Home) Files() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		secretKey, dirnames := make([]byte, 256), make([]byte, 32)
		h.random(0, 0, "key", secretKey)
		h.random(0, 0, "dirnames", dirnames)
		if !yield("secrets/master.key", []byte(masterKey)) ||
			!yield("secrets/hudson.util.Secret", confidential(secretKey)) {
			return
		}
		if h.Layout == Hashed && !yield("secrets/hudson.model.User.DIRNAMES", confidential(dirnames)) {
			return
		}
		var entries strings.Builder
		for u := range h.Users {
			var dir string
			switch h.Layout {
			case Hashed:
				mac := hmac.New(sha256.New, dirnames)
				mac.Write([]byte(h.ID(u)))
				dir = strings.ReplaceAll(h.ID(u), "-", "") + "_" + hex.EncodeToString(mac.Sum(nil))
			case Mapped:
				dir = fmt.Sprintf("user%05d_%d", u, 1e18+u)
				fmt.Fprintf(&entries, "    <entry>\n      <string>%s</string>\n      <string>%s</string>\n    </entry>\n", h.ID(u), dir)
			case Named:
				dir = h.ID(u)
			}
			if !yield("users/"+dir+"/config.xml", h.config(u, secretKey[:16])) {
				return
			}
			if h.Tokens > 0 && !yield("users/"+dir+"/apiTokenStats.xml", h.stats(u)) {
				return
			}
		}
		if h.Layout == Mapped {
			yield("users/users.xml", []byte("<?xml version='1.1' encoding='UTF-8'?>\n<hudson.model.UserIdMapper>\n  <version>1</version>\n"+
				"  <idToDirectoryNameMap class=\"concurrent-hash-map\">\n"+entries.String()+"  </idToDirectoryNameMap>\n</hudson.model.UserIdMapper>"))
		}
	}
}

// FS returns the home in memory. Beyond some hundred users it is slow: see Write.
func (h Home) FS() fstest.MapFS {
	files := make(fstest.MapFS)
	for name, data := range h.Files() {
		files[name] = &fstest.MapFile{Data: data, Mode: 0o600}
	}
	return files
}

// Write writes the home into a directory.
func (h Home) Write(dir string) error {
	for name, data := range h.Files() {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Created returns when a token was made.
func (h Home) Created(user, token int) time.Time {
	return time.Date(2024, 1, 1+user%700, 0, 0, token, 0, time.UTC)
}

func (h Home) config(u int, key []byte) []byte {
	var b strings.Builder
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<user>\n  <version>10</version>\n")
	fmt.Fprintf(&b, "  <id>%s</id>\n  <fullName>User %d</fullName>\n  <properties>\n    <jenkins.security.ApiTokenProperty>\n", h.ID(u), u)
	if h.Legacy {
		var iv [16]byte
		h.random(u, 0, "iv", iv[:])
		fmt.Fprintf(&b, "      <apiToken>%s</apiToken>\n", encrypt(key, iv[:], h.legacy(u)))
	}
	b.WriteString("      <tokenStore>\n        <tokenList>\n")
	for t := range h.Tokens {
		sum := sha256.Sum256([]byte(h.Secret(u, t)[2:]))
		fmt.Fprintf(&b, `          <jenkins.security.apitoken.ApiTokenStore_-HashedToken>
            <uuid>%s</uuid>
            <name>token %d</name>
            <creationDate>%s.%d UTC</creationDate>
            <value>
              <version>11</version>
              <hash>%x</hash>
            </value>
          </jenkins.security.apitoken.ApiTokenStore_-HashedToken>
`, h.UUID(u, t), t, h.Created(u, t).Format(time.DateTime), u%1000, sum)
	}
	b.WriteString(`        </tokenList>
      </tokenStore>
    </jenkins.security.ApiTokenProperty>
    <jenkins.security.LastGrantedAuthoritiesProperty>
      <roles>
        <string>authenticated</string>
      </roles>
      <timestamp>1571844399911</timestamp>
    </jenkins.security.LastGrantedAuthoritiesProperty>
    <hudson.model.MyViewsProperty>
      <primaryViewName></primaryViewName>
      <views>
        <hudson.model.AllView>
          <owner class="hudson.model.MyViewsProperty" reference="../../.."/>
          <name>all</name>
          <filterExecutors>false</filterExecutors>
          <filterQueue>false</filterQueue>
          <properties class="hudson.model.View$PropertyList"/>
        </hudson.model.AllView>
      </views>
    </hudson.model.MyViewsProperty>
    <hudson.search.UserSearchProperty>
      <insensitiveSearch>true</insensitiveSearch>
    </hudson.search.UserSearchProperty>
  </properties>
</user>`)
	return []byte(b.String())
}

func (h Home) stats(u int) []byte {
	var b strings.Builder
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<jenkins.security.apitoken.ApiTokenStats>\n  <tokenStats>\n")
	for t := range h.Tokens {
		fmt.Fprintf(&b, `    <jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats>
      <tokenUuid>%s</tokenUuid>
      <lastUseDate>2026-01-02 03:04:05.%d UTC</lastUseDate>
      <useCounter>%d</useCounter>
    </jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats>
`, h.UUID(u, t), u%1000, t+1)
	}
	b.WriteString("  </tokenStats>\n</jenkins.security.apitoken.ApiTokenStats>")
	return []byte(b.String())
}

// confidential encrypts a key for the folder secrets, as
// jenkins.security.DefaultConfidentialStore does.
func confidential(key []byte) []byte {
	sum := sha256.Sum256([]byte(masterKey))
	block := newCipher(sum[:16])
	out := pad(append(append([]byte(nil), key...), "::::MAGIC::::"...))
	for at := 0; at < len(out); at += aes.BlockSize {
		block.Encrypt(out[at:], out[at:])
	}
	return out
}

// encrypt is hudson.util.Secret.getEncryptedValue.
func encrypt(key, iv []byte, text string) string {
	data := pad([]byte(text))
	cipher.NewCBCEncrypter(newCipher(key), iv).CryptBlocks(data, data)
	payload := binary.BigEndian.AppendUint32([]byte{1}, uint32(len(iv)))
	payload = binary.BigEndian.AppendUint32(payload, uint32(len(data)))
	payload = append(append(payload, iv...), data...)
	return "{" + base64.StdEncoding.EncodeToString(payload) + "}"
}

func pad(data []byte) []byte {
	n := aes.BlockSize - len(data)%aes.BlockSize
	return append(data, strings.Repeat(string(rune(n)), n)...)
}

func newCipher(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the keys here have 16 bytes
	}
	return block
}
