package jenkinshome

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// keys are those of a home with which Jenkins encrypts what it keeps. Each may be
// missing.
type keys struct {
	secret     []byte // of hudson.util.Secret, AES-128
	historical []byte // of before 1.498, from secret.key
	dirs       []byte // of hudson.model.User.DIRNAMES
}

// magic ends what is encrypted without more of a check
// (jenkins.security.DefaultConfidentialStore).
var magic = []byte("::::MAGIC::::")

const keySize = 16

// readKeys reads the keys of a home. Without them a home can be read but for its
// legacy tokens.
func readKeys(fsys fs.FS) *keys {
	k := new(keys)
	if text, err := readFile(fsys, "secret.key"); err == nil {
		k.historical = aesKey(text)
	}
	master, err := readFile(fsys, "secrets/master.key")
	if err != nil {
		return k
	}
	confidential := func(name string) []byte {
		sealed, err := readFile(fsys, "secrets/"+name)
		if err != nil {
			return nil
		}
		payload, err := openMagic(aesKey(master), sealed)
		if err != nil {
			return nil
		}
		return payload
	}
	if payload := confidential("hudson.util.Secret"); len(payload) >= keySize {
		k.secret = payload[:keySize]
	}
	k.dirs = confidential("hudson.model.User.DIRNAMES")
	return k
}

// aesKey makes a key of a text (hudson.Util.toAes128Key).
func aesKey(text []byte) []byte {
	sum := sha256.Sum256(bytes.TrimSpace(text))
	return sum[:keySize]
}

// names tells whether a directory of 2.524 or later is the one for the key of a user
// id. Without the key of the home it is taken to be.
func (k *keys) names(dir, id string) bool {
	if k.dirs == nil {
		return true
	}
	_, sum, _ := strings.Cut(dir, "_")
	mac := hmac.New(sha256.New, k.dirs)
	mac.Write([]byte(id))
	return subtle.ConstantTimeCompare([]byte(sum), []byte(hex.EncodeToString(mac.Sum(nil)))) == 1
}

var (
	errNoKeys   = errors.New("the home has no secrets/master.key and secrets/hudson.util.Secret with which it was encrypted; import from the home itself, or make the user a new token")
	errOtherKey = errors.New("the keys of this home are not the ones with which it was encrypted; make the user a new token")
)

// legacyDigest returns the digest of a legacy token from its encrypted secret: what
// people have is the MD5 of that (ApiTokenProperty.getApiTokenInsecure).
func (k *keys) legacyDigest(sealed string) (token.Digest, error) {
	secret, err := k.open(sealed)
	if err != nil {
		return token.Digest{}, err
	}
	sum := md5.Sum(secret)
	text := []byte(hex.EncodeToString(sum[:]))
	digest, err := token.ParseLegacy(text)
	clear(secret)
	clear(text)
	return digest, err
}

// open decrypts a hudson.util.Secret, of whichever age.
func (k *keys) open(sealed string) ([]byte, error) {
	if k.secret == nil && k.historical == nil {
		return nil, errNoKeys
	}
	inner, braced := strings.CutPrefix(sealed, "{")
	if inner, braces := strings.CutSuffix(inner, "}"); braced && braces {
		payload, err := base64.StdEncoding.DecodeString(inner)
		if err != nil {
			return nil, errors.New("it is damaged")
		}
		return openV1(k.secret, payload)
	}
	payload, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, errors.New("it is not encrypted as Jenkins does")
	}
	for _, key := range [][]byte{k.secret, k.historical} {
		if key == nil {
			continue
		}
		if plain, err := openMagic(key, payload); err == nil {
			return plain, nil
		}
	}
	return nil, errOtherKey
}

// openV1 decrypts AES-CBC with the IV before it (Secret.PAYLOAD_V1).
func openV1(key, payload []byte) ([]byte, error) {
	if key == nil {
		return nil, errNoKeys
	}
	const head = 1 + 4 + 4
	if len(payload) < head || payload[0] != 1 {
		return nil, errors.New("it is damaged")
	}
	iv, data := binary.BigEndian.Uint32(payload[1:]), binary.BigEndian.Uint32(payload[5:])
	if iv != aes.BlockSize || uint64(len(payload)) != head+uint64(iv)+uint64(data) || data == 0 || data%aes.BlockSize != 0 {
		return nil, errors.New("it is damaged")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, data)
	cipher.NewCBCDecrypter(block, payload[head:head+aes.BlockSize]).CryptBlocks(plain, payload[head+aes.BlockSize:])
	return unpad(plain)
}

// openMagic decrypts AES-ECB, whose plain text ends with magic.
func openMagic(key, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errOtherKey
	}
	plain := make([]byte, len(sealed))
	for i := 0; i < len(sealed); i += aes.BlockSize {
		block.Decrypt(plain[i:], sealed[i:])
	}
	if plain, err = unpad(plain); err != nil {
		return nil, err
	}
	text, found := bytes.CutSuffix(plain, magic)
	if !found {
		return nil, errOtherKey
	}
	return text, nil
}

// unpad removes padding (PKCS #7). Nobody can try many: the files are the caller's.
func unpad(plain []byte) ([]byte, error) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize || n > len(plain) {
		return nil, errOtherKey
	}
	for _, b := range plain[len(plain)-n:] {
		if int(b) != n {
			return nil, errOtherKey
		}
	}
	return plain[:len(plain)-n], nil
}
