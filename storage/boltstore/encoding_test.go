package boltstore

import (
	"bytes"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
)

func TestEncoding(t *testing.T) {
	for _, test := range []struct {
		name     string
		revision storage.Revision
		value    string
		want     string
	}{
		{"first", 1, "value", "\x00\x00\x00\x00\x00\x00\x00\x01value"},
		{"no value", 0x0102030405060708, "", "\x01\x02\x03\x04\x05\x06\x07\x08"},
	} {
		if got := encodeEntry(test.revision, []byte(test.value)); string(got) != test.want {
			t.Errorf("%s: encodeEntry(%d, %q) = %q, want %q", test.name, test.revision, test.value, got, test.want)
		}
	}
	if got := encodeSchema(1); string(got) != "\x00\x00\x00\x01" {
		t.Errorf("encodeSchema(1) = %q", got)
	}
}

func TestDecodingRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		bytes []byte
	}{
		{"nothing", nil},
		{"half a revision", []byte("\x00\x00\x00\x01")},
		{"revision Absent", make([]byte, 8)},
		{"revision Any", bytes.Repeat([]byte{255}, 8)},
		{"too long", append([]byte("\x00\x00\x00\x00\x00\x00\x00\x01"), make([]byte, storage.MaxValueLen+1)...)},
	} {
		if r, value, err := decodeEntry(test.bytes); err == nil {
			t.Errorf("%s: decodeEntry = %d, %.20q, want an error", test.name, r, value)
		}
	}
}

// FuzzDecode feeds each reader of bytes from the file: what it takes is written
// back as the same bytes.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(encodeSchema(schema))
	f.Add(appendRevision(nil, 1))
	f.Add(encodeEntry(1<<40, []byte("value")))
	f.Add(make([]byte, revisionLen))
	f.Add(bytes.Repeat([]byte{255}, revisionLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, value, err := decodeEntry(b); err == nil {
			if r == storage.Absent || r == storage.Any || len(value) > storage.MaxValueLen {
				t.Errorf("decodeEntry(%q) = %d and %d bytes", b, r, len(value))
			}
			if got := encodeEntry(r, value); !bytes.Equal(got, b) {
				t.Errorf("decodeEntry(%q) is written back as %q", b, got)
			}
		}
		if r, err := decodeRevision(b); err == nil {
			if got := appendRevision(nil, r); !bytes.Equal(got, b) {
				t.Errorf("decodeRevision(%q) = %d is written back as %q", b, r, got)
			}
		}
		if v, err := decodeSchema(b); err == nil {
			if got := encodeSchema(v); !bytes.Equal(got, b) {
				t.Errorf("decodeSchema(%q) = %d is written back as %q", b, v, got)
			}
		}
	})
}
