package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxLine bounds a line, in bytes with its end: the texts of an Event, each with
// every character escaped, and what is around them.
const maxLine = 16 << 10

// timeLayout is RFC 3339 in UTC with milliseconds, always of the same length.
const timeLayout = "2006-01-02T15:04:05.000Z"

// hashLen is the length of a SHA-256 in hexadecimal.
const hashLen = 2 * sha256.Size

// A lineJSON is a line but for its hash and MAC, which are behind all else. The
// order of the fields is part of the format.
type lineJSON struct {
	Time      string    `json:"time"`
	Seq       uint64    `json:"seq"`
	Kind      Kind      `json:"kind"`
	Failed    bool      `json:"failed,omitempty"`
	Actor     string    `json:"actor,omitempty"`
	Via       Via       `json:"via,omitempty"`
	Client    string    `json:"client_addr,omitempty"`
	TokenID   uuid.UUID `json:"token_id,omitzero"`
	Owner     string    `json:"owner,omitempty"`
	TokenName string    `json:"token_name,omitempty"`
	Before    string    `json:"before,omitempty"`
	After     string    `json:"after,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	PathClass string    `json:"path_class,omitempty"`
	Method    string    `json:"method,omitempty"`
	Through   uint64    `json:"through,omitempty"`
	Missing   uint64    `json:"missing,omitempty"`
	Count     uint64    `json:"count,omitempty"`
	Change    uuid.UUID `json:"change,omitzero"`
	Prev      string    `json:"prev"`
}

// A Head is the last line of a log: its number and its hash. Kept elsewhere, it
// tells later whether lines were cut off at the end, or everything was written anew.
type Head struct {
	Seq  uint64 // 0: the log has no line
	Hash string // hexadecimal SHA-256; of no line 64 zeros
}

// String returns the head as ParseHead reads it.
func (h Head) String() string { return strconv.FormatUint(h.Seq, 10) + ":" + h.Hash }

// ParseHead reads what Head.String has written.
func ParseHead(text string) (Head, error) {
	number, sum, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	h := Head{Seq: seq, Hash: sum}
	if raw, hexErr := hex.DecodeString(sum); err != nil || hexErr != nil || len(raw) != sha256.Size || h.String() != text {
		return Head{}, fmt.Errorf("%q is not the head of an audit log: give the number of a line, a colon, and its hash", text)
	}
	return h, nil
}

// genesis is what the first line has as the hash of the line before.
var genesis = Head{Hash: strings.Repeat("0", hashLen)}

// An encoder writes lines. It is for one goroutine.
type encoder struct {
	mac hash.Hash // nil: without a key
	buf bytes.Buffer
}

// newMAC returns nil for no key.
func newMAC(key []byte) (hash.Hash, error) {
	if key == nil {
		return nil, nil
	}
	if len(key) < sha256.Size {
		return nil, fmt.Errorf("the key has %d bytes: make one of at least %d random bytes", len(key), sha256.Size)
	}
	return hmac.New(sha256.New, key), nil
}

// append adds the line of e after prev to b, and returns its head.
func (c *encoder) append(b []byte, prev Head, e Event, missing uint64) ([]byte, Head) {
	for _, s := range e.texts() {
		*s = clean(*s)
	}
	at := e.Time.UTC().Format(timeLayout)
	if len(at) != len(timeLayout) { // a year that the format has no room for
		at = time.Now().UTC().Format(timeLayout)
	}
	c.buf.Reset()
	j := json.NewEncoder(&c.buf)
	j.SetEscapeHTML(false)
	err := j.Encode(lineJSON{
		Time: at, Seq: prev.Seq + 1, Kind: e.Kind, Failed: e.Failed, Actor: e.Actor, Via: e.Via,
		Client: e.Client, TokenID: e.TokenID, Owner: e.Owner, TokenName: e.TokenName, Before: e.Before, After: e.After,
		Reason: e.Reason, PathClass: e.PathClass, Method: e.Method, Through: e.Through, Missing: missing, Count: e.Count, Change: e.Change, Prev: prev.Hash,
	})
	if err != nil {
		panic(err) // texts and numbers always encode
	}
	body := bytes.TrimSuffix(c.buf.Bytes(), []byte("}\n"))
	sum := sha256.Sum256(body)
	head := Head{Seq: prev.Seq + 1, Hash: hex.EncodeToString(sum[:])}
	b = append(b, body...)
	b = append(b, hashField...)
	b = append(b, head.Hash...)
	if c.mac != nil {
		b = append(b, macField...)
		b = hex.AppendEncode(b, authenticate(c.mac, []byte(head.Hash)))
	}
	return append(b, "\"}\n"...), head
}

// authenticate returns the MAC of a line by its hash in hexadecimal.
func authenticate(mac hash.Hash, sum []byte) []byte {
	mac.Reset()
	mac.Write(sum)
	return mac.Sum(nil)
}

const (
	timeField = `{"time":"`
	seqField  = `","seq":`
	kindField = `,"kind":"`
	prevField = `,"prev":"`
	hashField = `,"hash":"`
	macField  = `","mac":"`
)

// A frame is what of a line makes the chain, found by its place: no JSON is parsed.
// It points into the line.
type frame struct {
	time []byte
	seq  uint64
	own  bool // the kind is one of the log's own
	prev []byte
	hash []byte
	mac  []byte // nil: the line has none
	body []byte // what the hash is of
}

var errFrame = errors.New("is not a line of an audit log")

// parseFrame reads a line without its end.
func parseFrame(line []byte) (f frame, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(timeField))
	if !ok || len(rest) < len(timeLayout) {
		return f, errFrame
	}
	f.time, rest = rest[:len(timeLayout)], rest[len(timeLayout):]
	rest, ok = bytes.CutPrefix(rest, []byte(seqField))
	number, rest, found := bytes.Cut(rest, []byte(kindField))
	if !ok || !found || len(number) > 20 {
		return f, errFrame
	}
	if f.seq, err = strconv.ParseUint(string(number), 10, 64); err != nil {
		return f, errFrame
	}
	f.own = bytes.HasPrefix(rest, []byte(ownKinds))

	line, ok = bytes.CutSuffix(line, []byte(`"}`))
	if !ok {
		return f, errFrame
	}
	if f.mac, f.body, ok = cutField(line, macField); !ok {
		f.mac, f.body = nil, line
	}
	if f.hash, f.body, ok = cutField(f.body, hashField); !ok {
		return f, errFrame
	}
	quoted, ok := bytes.CutSuffix(f.body, []byte(`"`))
	if f.prev, _, found = cutField(quoted, prevField); !ok || !found {
		return f, errFrame
	}
	return f, nil
}

// cutField takes a last field with a hash as its value off a line.
func cutField(line []byte, field string) (value, rest []byte, ok bool) {
	at := len(line) - hashLen
	if at < len(field) || string(line[at-len(field):at]) != field {
		return nil, line, false
	}
	return line[at:], line[:at-len(field)], true
}

// check tells what is wrong with the hash of the line, or with its MAC if mac is
// not nil. Comparing in constant time would hide nothing: both are in the file.
func (f *frame) check(mac hash.Hash) error {
	sum := sha256.Sum256(f.body)
	var digits [hashLen]byte
	hex.Encode(digits[:], sum[:])
	if !bytes.Equal(digits[:], f.hash) {
		return errors.New("was changed: its hash is not the one of its text")
	}
	switch {
	case mac == nil:
		return nil
	case f.mac == nil:
		return errors.New("has no MAC: it was written without the key")
	}
	hex.Encode(digits[:], authenticate(mac, f.hash))
	if !bytes.Equal(digits[:], f.mac) {
		return errors.New("has a MAC that is not of this key: the line was forged, or the key is another one")
	}
	return nil
}

// head returns a copy of what a next line refers to.
func (f *frame) head() Head { return Head{Seq: f.seq, Hash: string(f.hash)} }

// A Record is a line that was read.
type Record struct {
	Event
	Seq uint64
	// Missing is how many events before this one could not be written.
	Missing uint64
	// Line is the line as it stands in the file, without its end.
	Line string
}

// Head returns the number and the hash of the line.
func (r *Record) Head() Head {
	f, err := parseFrame([]byte(r.Line))
	if err != nil {
		return Head{}
	}
	return f.head()
}

// parseRecord reads a line without its end. It does not look at the chain.
func parseRecord(line []byte) (Record, error) {
	var j lineJSON
	if err := json.Unmarshal(line, &j); err != nil {
		return Record{}, fmt.Errorf("%w: %v", errFrame, err)
	}
	at, err := time.Parse(timeLayout, j.Time)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %v", errFrame, err)
	}
	return Record{Seq: j.Seq, Missing: j.Missing, Line: string(line), Event: Event{
		Time: at, Kind: j.Kind, Failed: j.Failed, Actor: j.Actor, Via: j.Via, Client: j.Client, TokenID: j.TokenID, Owner: j.Owner,
		TokenName: j.TokenName, Before: j.Before, After: j.After, Reason: j.Reason, PathClass: j.PathClass, Method: j.Method,
		Through: j.Through, Count: j.Count, Change: j.Change,
	}}, nil
}
