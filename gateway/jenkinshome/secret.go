package jenkinshome

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what legacy tokens of Jenkins are
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Files of jenkins.security.DefaultConfidentialStore, and of the time before it.
const (
	masterKeyFile = "secrets/master.key"
	secretFile    = "secrets/hudson.util.Secret"
	dirnamesFile  = "secrets/hudson.model.User.DIRNAMES"
	oldKeyFile    = "secret.key"
)

var magic = []byte("::::MAGIC::::")

// keys are those of a home as far as they can be read.
type keys struct {
	secret []byte // of encrypted texts, nil if it can't be had
	old    []byte // the same before 1.498
	// dirnames is that of the names of user directories since 2.524.
	dirnames    []byte
	dirnamesErr error // why dirnames is nil
}

func loadKeys(h *home) keys {
	var k keys
	if text, err := h.read(oldKeyFile, maxKey); err == nil {
		k.old = keyOf(text)
	}
	text, err := h.read(masterKeyFile, maxKey)
	if err != nil {
		k.dirnamesErr = errors.New(masterKeyFile + ", with which it is encrypted, " + err.Error())
		return k
	}
	master := keyOf(text)
	defer clear(master)
	if key, err := confidential(h, secretFile, master); err == nil && len(key) >= aes.BlockSize {
		k.secret = key[:aes.BlockSize]
	}
	if k.dirnames, k.dirnamesErr = confidential(h, dirnamesFile, master); len(k.dirnames) == 0 {
		k.dirnames = nil
	}
	return k
}

func (k *keys) wipe() {
	clear(k.secret)
	clear(k.old)
	clear(k.dirnames)
}

// keyOf is hudson.Util.toAes128Key of a file's text.
func keyOf(text []byte) []byte {
	// TextFile.readTrim, for which all up to the blank is one.
	text = bytes.TrimFunc(text, func(r rune) bool { return r <= ' ' })
	sum := sha256.Sum256(text)
	return sum[:aes.BlockSize:aes.BlockSize]
}

var errKey = errors.New("can't be decrypted with " + masterKeyFile)

// confidential reads a key of DefaultConfidentialStore.
func confidential(h *home, name string, master []byte) ([]byte, error) {
	data, err := h.read(name, maxKey)
	if err != nil {
		return nil, err
	}
	key, ok := decryptECB(master, data)
	if !ok || len(key) == 0 {
		return nil, errKey
	}
	return key, nil
}

// decryptECB decrypts what ends in the magic, which it takes off.
func decryptECB(key, data []byte) ([]byte, bool) {
	block, err := aes.NewCipher(key)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, false
	}
	text := make([]byte, len(data))
	for at := 0; at < len(data); at += aes.BlockSize {
		block.Decrypt(text[at:], data[at:])
	}
	if text, ok := unpad(text); ok {
		if text, ok := bytes.CutSuffix(text, magic); ok {
			return text, true
		}
	}
	clear(text)
	return nil, false
}

// unpad takes off the padding of PKCS #5. There is nobody to learn anything from the
// time that it takes: no answer goes to whoever wrote the file.
func unpad(text []byte) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n == 0 || n > aes.BlockSize || n > len(text) {
		return nil, false
	}
	for _, c := range text[len(text)-n:] {
		if int(c) != n {
			return nil, false
		}
	}
	return text[:len(text)-n], true
}

// emptyLegacy is the digest of the legacy token of an empty secret, which everybody
// can compute.
var emptyLegacy = legacyDigest(nil)

var (
	errNoSecretKey = errors.New("legacy token, value not recoverable: " + masterKeyFile + " or " + secretFile +
		" can't be read; save the user once in Jenkins 2.129 or later, which stores the hash, or have the user make a new token")
	errNotDecrypted = errors.New("legacy token, value not recoverable: it is not encrypted with the keys of this home; " +
		"bring secrets/ of the Jenkins that it is from, or have the user make a new token")
	errEmptyLegacy = errors.New("legacy token of an empty secret, which everybody can know: revoke it in Jenkins too")
)

// legacy returns the digest that Jenkins stores of a legacy <apiToken>
// (ApiTokenStore.addLegacyToken).
func (k *keys) legacy(secret []byte) (token.Digest, error) {
	text, err := k.decrypt(secret)
	defer clear(text)
	if err != nil {
		return token.Digest{}, err
	}
	// A wrong key leaves the padding right once in 256 times.
	if !utf8.Valid(text) {
		return token.Digest{}, errNotDecrypted
	}
	d := legacyDigest(text)
	if d == emptyLegacy {
		return token.Digest{}, errEmptyLegacy
	}
	return d, nil
}

// legacyDigest is the SHA-256 of the token as its user has it, which is the MD5 of the
// secret in hexadecimal digits.
func legacyDigest(text []byte) token.Digest {
	sum := md5.Sum(text) //nolint:gosec // see the import
	var presented [2 * md5.Size]byte
	hex.Encode(presented[:], sum[:])
	clear(sum[:])
	defer clear(presented[:])
	return sha256.Sum256(presented[:])
}

// decrypt is hudson.util.Secret.fromString. The caller wipes what it returns.
func (k *keys) decrypt(secret []byte) ([]byte, error) {
	if inner, ok := bytes.CutPrefix(secret, []byte("{")); ok && bytes.HasSuffix(inner, []byte("}")) {
		payload, ok := fromBase64(inner[:len(inner)-1])
		if !ok || len(payload) < 9 || payload[0] != 1 {
			return nil, errNotDecrypted
		}
		iv, size := binary.BigEndian.Uint32(payload[1:]), binary.BigEndian.Uint32(payload[5:])
		payload = payload[9:]
		if iv != aes.BlockSize || uint64(len(payload)) != uint64(iv)+uint64(size) || size == 0 || size%aes.BlockSize != 0 {
			return nil, errNotDecrypted
		}
		if k.secret == nil {
			return nil, errNoSecretKey
		}
		block, err := aes.NewCipher(k.secret)
		if err != nil {
			return nil, errNotDecrypted
		}
		text := payload[iv:]
		cipher.NewCBCDecrypter(block, payload[:iv]).CryptBlocks(text, text)
		if text, ok := unpad(text); ok {
			return text, nil
		}
		clear(text)
		return nil, errNotDecrypted
	}
	data, ok := fromBase64(secret)
	if !ok || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		// Nothing that has ever been encrypted: Jenkins takes it as the secret itself.
		clear(data)
		return bytes.Clone(secret), nil
	}
	for _, key := range [][]byte{k.secret, k.old} {
		if key == nil {
			continue
		}
		if text, ok := decryptECB(key, data); ok {
			return text, nil
		}
	}
	if k.secret == nil {
		return nil, errNoSecretKey
	}
	return nil, errNotDecrypted
}

// fromBase64 takes padding or none, like java.util.Base64.
func fromBase64(text []byte) ([]byte, bool) {
	if bytes.ContainsAny(text, "\r\n") { // which Go skips
		return nil, false
	}
	text = bytes.TrimRight(text, "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(out, text)
	if err != nil {
		clear(out)
		return nil, false
	}
	return out[:n], true
}

// directoryName is User.getUserFolderNameFor.
func (k *keys) directoryName(id user.ID, ids user.Strategy) string {
	var prefix strings.Builder
	for _, c := range []byte(id) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if ('a' <= c && c <= 'z' || '0' <= c && c <= '9') && prefix.Len() < 14 {
			prefix.WriteByte(c)
		}
	}
	mac := hmac.New(sha256.New, k.dirnames)
	mac.Write([]byte(ids.Key(id)))
	return prefix.String() + "_" + hex.EncodeToString(mac.Sum(nil))
}

// missing tells whether an error of home.read means that there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
