package boltstore

import (
	"bytes"
	"strings"
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
		{"first", 1, "value", "\x12\x93\x8f\x7f\x00\x00\x00\x00\x00\x00\x00\x01value"},
		{"no value", 0x0102030405060708, "", "\xcd\xe1O\xf2\x01\x02\x03\x04\x05\x06\x07\x08"},
	} {
		if got := encodeEntry([]byte("key"), test.revision, []byte(test.value)); string(got) != test.want {
			t.Errorf("%s: encodeEntry(key, %d, %q) = %q, want %q", test.name, test.revision, test.value, got, test.want)
		}
	}
	if got := encodeSchema(1); string(got) != "\x00\x00\x00\x01" {
		t.Errorf("encodeSchema(1) = %q", got)
	}
}

func TestDecodingRefuses(t *testing.T) {
	key := []byte("token/1")
	whole := encodeEntry(key, 7, []byte("value"))
	for _, test := range []struct {
		name  string
		bytes []byte
	}{
		{"nothing", nil},
		{"half a head", whole[:headLen-1]},
		{"cut by one", whole[:len(whole)-1]},
		{"one more", append(bytes.Clone(whole), 0)},
		{"of another key", encodeEntry([]byte("token/2"), 7, []byte("value"))},
		{"a key that takes the first byte of the revision", encodeEntry(append(bytes.Clone(key), 0), 7, []byte("value"))},
		{"revision Absent", encodeEntry(key, storage.Absent, nil)},
		{"revision Any", encodeEntry(key, storage.Any, nil)},
		{"too long", encodeEntry(key, 7, make([]byte, storage.MaxValueLen+1))},
	} {
		if r, value, err := decodeEntry(key, test.bytes); err == nil {
			t.Errorf("%s: decodeEntry = %d, %.20q, want an error", test.name, r, value)
		}
	}
	for bit := range 8 * len(whole) {
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, _, err := decodeEntry(key, flipped); err == nil {
			t.Errorf("an entry with bit %d flipped is taken", bit)
		}
	}
	for bit := range 8 * len(key) {
		flipped := bytes.Clone(key)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, _, err := decodeEntry(flipped, whole); err == nil {
			t.Errorf("an entry with bit %d of its key flipped is taken", bit)
		}
	}
}

// TestStateFindsWhatChecksumsMiss compares a state with entries that have right
// checksums of their own.
func TestStateFindsWhatChecksumsMiss(t *testing.T) {
	entry := func(key string, r storage.Revision) []byte { return encodeEntry([]byte(key), r, []byte("value")) }
	want := newState()
	want.add([]byte("token/1"), entry("token/1", 3))
	want.add([]byte("token/2"), entry("token/2", 2))
	for _, test := range []struct {
		name  string
		found map[string]storage.Revision
		want  string // in the error, none if empty
	}{
		{"the same", map[string]storage.Revision{"token/1": 3, "token/2": 2}, ""},
		{"one missing", map[string]storage.Revision{"token/2": 2}, `1 of 2 entries "token/"`},
		{"all missing", nil, `0 of 2 entries "token/"`},
		{"one older", map[string]storage.Revision{"token/1": 1, "token/2": 2}, `some of the 2 entries "token/" are older`},
		{"one more", map[string]storage.Revision{"token/1": 3, "token/2": 2, "token/3": 1}, `3 of 2 entries "token/"`},
		{"one of another kind", map[string]storage.Revision{"token/1": 3, "token/2": 2, "uoken/3": 1}, "entries that were not counted"},
	} {
		found := newState()
		for key, r := range test.found {
			found.add([]byte(key), entry(key, r))
		}
		err := want.compare(found)
		if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for _, gone := range []string{"token/1", "token/2"} {
		r := map[string]storage.Revision{"token/1": 3, "token/2": 2}[gone]
		if err := want.remove([]byte(gone), entry(gone, r)); err != nil {
			t.Error(err)
		}
	}
	if err := want.compare(newState()); err != nil {
		t.Errorf("after all was removed: %v", err)
	}
	if err := want.remove([]byte("token/1"), entry("token/1", 3)); err == nil {
		t.Error("an entry that was not counted is removed")
	}
}

// FuzzDecode feeds each reader of bytes from the file: what it takes is written
// back as the same bytes.
func FuzzDecode(f *testing.F) {
	key := []byte("key")
	full := newState()
	full.revision = 1
	full.add(key, encodeEntry(key, 1, nil))
	for _, seed := range [][]byte{nil, encodeSchema(schema), encodeEntry(key, 1<<40, []byte("value")),
		make([]byte, revisionLen), bytes.Repeat([]byte{255}, revisionLen), newState().encode(), full.encode()} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, value, err := decodeEntry(key, b); err == nil {
			if r == storage.Absent || r == storage.Any || len(value) > storage.MaxValueLen {
				t.Errorf("decodeEntry(%q) = %d and %d bytes", b, r, len(value))
			}
			if got := encodeEntry(key, r, value); !bytes.Equal(got, b) {
				t.Errorf("decodeEntry(%q) is written back as %q", b, got)
			}
		}
		if s, err := decodeState(b); err == nil {
			if again, err := decodeState(s.encode()); err != nil || again.compare(s) != nil || again.revision != s.revision {
				t.Errorf("decodeState(%q) is written back as %q (%v)", b, s.encode(), err)
			}
		}
		if v, err := decodeSchema(b); err == nil {
			if got := encodeSchema(v); !bytes.Equal(got, b) {
				t.Errorf("decodeSchema(%q) = %d is written back as %q", b, v, got)
			}
		}
	})
}
