package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tolerance is how far the signed time may be from ours, as Standard Webhooks'
// libraries have it.
const tolerance = 5 * time.Minute

// A proof is what the headers of a request offer.
type proof struct {
	// signed is false if there is no signature to be checked against the body: a
	// secret token has matched, and says nothing about it.
	signed    bool
	prefix    string // is signed before the body
	signature [sha256.Size]byte
}

// refuse names the reason for the log. It is never given what was sent.
func refuse(reason string) error { return fmt.Errorf("%w: %s", ErrSignature, reason) }

// proof decides by method and headers alone, so that what can't be right costs no
// reading.
func (v *Verifier) proof(r *http.Request) (proof, error) {
	if r.Method != http.MethodPost {
		return proof{}, refuse("the method is not POST")
	}
	if err := checkEvent(r.Header); err != nil {
		return proof{}, err
	}
	// None of the forges documents one, and Jenkins could make of the body something
	// else than what is signed.
	if _, encoded := r.Header["Content-Encoding"]; encoded {
		return proof{}, refuse("the body has a Content-Encoding")
	}
	switch v.kind {
	case GitHub:
		return hubProof(r.Header, "X-Hub-Signature-256")
	case Bitbucket:
		return hubProof(r.Header, "X-Hub-Signature")
	default:
		return v.secrets().gitlabProof(r.Header, time.Now())
	}
}

// events are the headers in which a plugin finds the kind of an event. No signature
// covers them.
var events = []string{"X-Github-Event", "X-Gitlab-Event", "X-Event-Key"}

func checkEvent(h http.Header) error {
	for _, name := range events {
		if len(h[name]) > 1 {
			return refuse(name + " is there more than once")
		}
	}
	return nil
}

// A content is what a Content-Type says of a body.
type content int

const (
	jsonContent content = iota
	formContent         // payload=, and the escaped JSON
)

// formStart begins each form that a forge sends.
const formStart = "payload="

// contentOf reads the Content-Type, which no signature covers: of another one, a plugin
// could read something else from the body than the forge has written.
func (v *Verifier) contentOf(h http.Header) (content, error) {
	value, err := single(h, "Content-Type")
	if err != nil {
		return 0, err
	}
	media, parameters, err := mime.ParseMediaType(value)
	if err != nil || len(parameters) > 1 || len(parameters) == 1 && !strings.EqualFold(parameters["charset"], "utf-8") {
		return 0, refuse("the Content-Type can't be read, or has another parameter than charset=utf-8")
	}
	switch {
	case media == "application/json":
		return jsonContent, nil
	case media == "application/x-www-form-urlencoded" && v.kind == GitHub: // the others have no forms
		return formContent, nil
	}
	return 0, refuse("the Content-Type is none that the forge sends")
}

// matches reports whether a body is as the Content-Type says.
func (c content) matches(data [][]byte) bool {
	start := make([]byte, 0, len(formStart))
	for _, chunk := range data {
		start = append(start, chunk[:min(len(chunk), cap(start)-len(start))]...)
	}
	return (string(start) == formStart) == (c == formContent)
}

func hubProof(h http.Header, name string) (proof, error) {
	value, err := single(h, name)
	if err != nil {
		return proof{}, err
	}
	signature, ok := parseHub(value)
	if !ok {
		return proof{}, refuse(name + " is not sha256= and 64 lower-case hex digits")
	}
	return proof{signed: true, signature: signature}, nil
}

// gitlabProof checks the token right away and the signature's time; the rest of
// the signature has to wait for the body.
//
// A request can carry both, as GitLab's do while a webhook moves from one to the
// other. Whatever of the two there are secrets for must be right: a wrong
// signature is not made good by a right token, nor the other way round. What there
// are no secrets for counts as nothing; the token may be one that the Jenkins
// plugin is to see.
func (s *secrets) gitlabProof(h http.Header, now time.Time) (proof, error) {
	const token, signature = "X-Gitlab-Token", "Webhook-Signature"
	proved, p := false, proof{}
	if _, sent := h[token]; sent {
		value, err := single(h, token)
		if err != nil {
			return proof{}, err
		}
		if len(s.tokens) > 0 {
			if !s.hasToken(value) {
				return proof{}, refuse(token + " is wrong")
			}
			proved = true
		}
	}
	if _, sent := h[signature]; sent {
		value, err := single(h, signature)
		if err != nil {
			return proof{}, err
		}
		if len(s.keys) > 0 {
			if p, err = standardProof(h, value, now); err != nil {
				return proof{}, err
			}
			proved = true
		}
	}
	if !proved {
		return proof{}, refuse("neither an " + token + " nor a " + signature + " that there is a secret for")
	}
	return p, nil
}

// standardProof reads the headers of Standard Webhooks 1.0.0. Its list of
// signatures has one element: GitLab sends no more.
func standardProof(h http.Header, signature string, now time.Time) (proof, error) {
	id, err := single(h, "Webhook-Id")
	if err != nil {
		return proof{}, err
	}
	if !validID(id) {
		return proof{}, refuse("Webhook-Id is not 1 to 128 visible ASCII characters without a full stop")
	}
	timestamp, err := single(h, "Webhook-Timestamp")
	if err != nil {
		return proof{}, err
	}
	seconds, ok := parseTimestamp(timestamp)
	if !ok {
		return proof{}, refuse("Webhook-Timestamp is not a time in seconds")
	}
	if off := now.Sub(time.Unix(seconds, 0)).Abs(); off > tolerance {
		return proof{}, refuse(fmt.Sprintf("Webhook-Timestamp is more than %v from now; are both clocks right?", tolerance))
	}
	p := proof{signed: true, prefix: id + "." + timestamp + "."}
	if p.signature, ok = parseStandard(signature); !ok {
		return proof{}, refuse("Webhook-Signature is not v1, and the Base64 of 32 bytes")
	}
	return p, nil
}

// single returns the value of a header that must be there once. Of two, Jenkins
// might go by the other.
func single(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", refuse(name + " is missing")
	case 1:
		return values[0], nil
	default:
		return "", refuse(name + " is there more than once")
	}
}

// parseHub reads one spelling only: sha256= and 64 lower-case hex digits.
func parseHub(value string) (signature [sha256.Size]byte, ok bool) {
	digits, ok := strings.CutPrefix(value, "sha256=")
	if !ok || len(digits) != hex.EncodedLen(len(signature)) || digits != strings.ToLower(digits) {
		return signature, false
	}
	_, err := hex.Decode(signature[:], []byte(digits))
	return signature, err == nil
}

// parseStandard reads one spelling only: "v1," and padded Base64 of 32 bytes.
func parseStandard(value string) (signature [sha256.Size]byte, ok bool) {
	encoded, ok := strings.CutPrefix(value, "v1,")
	if !ok || len(encoded) != base64.StdEncoding.EncodedLen(len(signature)) {
		return signature, false
	}
	// One byte of room more, since a Base64 of this length can also hold 33.
	var decoded [sha256.Size + 1]byte
	n, err := base64.StdEncoding.Strict().Decode(decoded[:], []byte(encoded))
	return [sha256.Size]byte(decoded[:sha256.Size]), err == nil && n == len(signature)
}

// validID keeps out the full stop above all, which separates what is signed: with
// it, an id and a time could be read in two ways.
func validID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' || id[i] == '.' {
			return false
		}
	}
	return 0 < len(id) && len(id) <= 128
}

// parseTimestamp reads one spelling only of a time since 1970, with at most 11
// digits.
func parseTimestamp(text string) (seconds int64, ok bool) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	return seconds, err == nil && 0 <= seconds && seconds < 1e11 && strconv.FormatInt(seconds, 10) == text
}

// hasToken compares digests, in constant time and with all tokens, so that neither
// length nor content of one, nor which it was, shows in how long it takes.
func (s *secrets) hasToken(presented string) bool {
	digest := sha256.Sum256([]byte(presented))
	found := 0
	for i := range s.tokens {
		found |= subtle.ConstantTimeCompare(digest[:], s.tokens[i][:])
	}
	return found == 1
}

// check compares the signature in constant time and with all keys, so that which
// of them it was does not show in how long it takes.
func (s *secrets) check(p proof, data [][]byte) error {
	if !p.signed {
		return nil
	}
	found := 0
	for _, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(p.prefix))
		for _, chunk := range data {
			mac.Write(chunk)
		}
		found |= subtle.ConstantTimeCompare(mac.Sum(nil), p.signature[:])
	}
	if found == 0 {
		return refuse("the signature is not that of the body under any secret")
	}
	return nil
}
