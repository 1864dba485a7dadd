package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// FuzzEvent encodes an event, reads it, and encodes what was read: it is one line
// that the chain accepts, of bounded length, without a secret, and stays the same.
func FuzzEvent(f *testing.F) {
	f.Add("token.created", "deploy", "GET", true, int64(0))
	f.Add("x", "\x00\xff\u2028<>&\"\\", strings.Repeat("é", 400), false, int64(1<<40))
	f.Add("token.renamed", strings.Repeat("\\", 600), "11"+strings.Repeat("0", 600), false, int64(-1<<60))
	f.Fuzz(func(t *testing.T, kind, text, other string, failed bool, at int64) {
		mac, err := newMAC(bytes.Repeat([]byte{7}, 32))
		if err != nil {
			t.Fatal(err)
		}
		c := encoder{mac: mac}
		e := Event{Time: time.Unix(at, 0), Kind: Kind(kind), Failed: failed, Actor: text, Via: Via(other), Client: text,
			Owner: other, TokenName: text, Before: other, After: text, Reason: other, PathClass: text, Method: other}
		line, head := c.append(nil, genesis, e, 1)
		if len(line) > maxLine || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%d bytes in %d lines", len(line), bytes.Count(line, []byte("\n")))
		}
		line = line[:len(line)-1]
		frame, err := parseFrame(line)
		if err == nil {
			err = frame.check(mac)
		}
		if err != nil || frame.head() != head || string(frame.prev) != genesis.Hash || frame.own != e.Kind.own() {
			t.Fatalf("%q: %+v, %v", line, frame, err)
		}
		r, err := parseRecord(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.texts() {
			if holdsSecret(*s) {
				t.Errorf("%q holds a secret", *s)
			}
		}
		again, _ := c.append(nil, genesis, r.Event, 1)
		if string(again) != r.Line+"\n" {
			t.Errorf("%q is written again as %q", r.Line, again)
		}
	})
}
