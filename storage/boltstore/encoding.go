package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/crumbgate/crumbgate/storage"
)

// An entry of the bucket "data" has, before its value, the checksum of all of it and
// the revision of its last write, both big-endian.
const (
	checksumLen = 4
	revisionLen = 8
	headLen     = checksumLen + revisionLen
)

// castagnoli is the polynomial of CRC-32C, for which processors have an instruction.
// In an entry of up to 600 bytes it finds every change of up to 5 bits; in any entry
// every change of up to 3 bits, of an odd number of bits, and of up to 32 bits in a row.
// It misses one in 2^32 of all others.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC-32C of a key and of what follows the checksum in the entry. It
// begins with the length of the key, so that no byte can pass from one to the other.
func checksum(key, rest []byte) uint32 {
	sum := crc32.Update(uint32(len(key)), castagnoli, key)
	return crc32.Update(sum, castagnoli, rest)
}

// encodeEntry returns what the file holds for a key written in batch r.
func encodeEntry(key []byte, r storage.Revision, value []byte) []byte {
	b := make([]byte, headLen, headLen+len(value))
	binary.BigEndian.PutUint64(b[checksumLen:], uint64(r))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b, checksum(key, b[checksumLen:]))
	return b
}

// decodeEntry splits what encodeEntry joined. The value shares memory with b.
func decodeEntry(key, b []byte) (storage.Revision, []byte, error) {
	if len(b) < headLen || len(b) > headLen+storage.MaxValueLen {
		return 0, nil, fmt.Errorf("key %q: an entry of %d bytes, expected %d to %d", key, len(b), headLen, headLen+storage.MaxValueLen)
	}
	if entryChecksum(b) != checksum(key, b[checksumLen:]) {
		return 0, nil, fmt.Errorf("key %q: the checksum is wrong", key)
	}
	r, err := decodeRevision(b[checksumLen:headLen])
	if err != nil {
		return 0, nil, fmt.Errorf("key %q: %w", key, err)
	}
	return r, b[headLen:], nil
}

// entryChecksum returns the checksum that an entry, at least headLen long, names.
func entryChecksum(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// decodeRevision reads the revision of a batch, so neither Absent nor Any.
func decodeRevision(b []byte) (storage.Revision, error) {
	if len(b) != revisionLen {
		return 0, fmt.Errorf("a revision of %d bytes, expected %d", len(b), revisionLen)
	}
	r := storage.Revision(binary.BigEndian.Uint64(b))
	if r == storage.Absent || r == storage.Any {
		return 0, fmt.Errorf("revision %d, which no batch has", r)
	}
	return r, nil
}

// A state says what the bucket "data" holds. It is written with each batch and
// compared with all entries when the store is opened: entries that are missing, or that
// are there from before a lost write, have right checksums of their own.
type state struct {
	revision storage.Revision // of the last batch, 0 before the first
	kinds    map[string]*tally
}

// A tally sums up the entries of one kind.
type tally struct {
	count uint64
	sum   uint64 // of the entries' checksums, modulo 2^64
}

func newState() *state { return &state{kinds: make(map[string]*tally)} }

// kindOf returns the part of a key up to its first slash, by which entries are counted.
func kindOf(key []byte) []byte {
	return key[:bytes.IndexByte(key, '/')+1]
}

// add counts an entry.
func (s *state) add(key, entry []byte) {
	t := s.kinds[string(kindOf(key))]
	if t == nil {
		t = new(tally)
		s.kinds[string(kindOf(key))] = t
	}
	t.count++
	t.sum += uint64(entryChecksum(entry))
}

// remove takes an entry away. One that was never counted is an error.
func (s *state) remove(key, entry []byte) error {
	kind := kindOf(key)
	t := s.kinds[string(kind)]
	if t == nil || t.count == 0 {
		return fmt.Errorf("there are more entries %q than were counted", kind)
	}
	t.count--
	t.sum -= uint64(entryChecksum(entry))
	if *t == (tally{}) {
		delete(s.kinds, string(kind))
	}
	return nil
}

// compare returns an error that says how what was found differs from the state.
func (s *state) compare(found *state) error {
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		want, got := s.kinds[kind], found.kinds[kind]
		if got == nil {
			got = new(tally)
		}
		switch {
		case got.count != want.count:
			return fmt.Errorf("it holds %d of %d entries %q", got.count, want.count, kind)
		case got.sum != want.sum:
			return fmt.Errorf("some of the %d entries %q are older than the rest", want.count, kind)
		}
	}
	if len(found.kinds) != len(s.kinds) {
		return errors.New("it holds entries that were not counted")
	}
	return nil
}

// encode returns the state with a checksum at its end, which covers the schema as well.
func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.revision))
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(kind)))
		b = append(b, kind...)
		b = binary.BigEndian.AppendUint64(b, s.kinds[kind].count)
		b = binary.BigEndian.AppendUint64(b, s.kinds[kind].sum)
	}
	return binary.BigEndian.AppendUint32(b, checksum(encodeSchema(schema), b))
}

func decodeState(b []byte) (*state, error) {
	errState := errors.New("what it says of its entries is damaged")
	end := len(b) - checksumLen
	if end < revisionLen || binary.BigEndian.Uint32(b[end:]) != checksum(encodeSchema(schema), b[:end]) {
		return nil, errState
	}
	s := newState()
	s.revision = storage.Revision(binary.BigEndian.Uint64(b))
	for b = b[revisionLen:end]; len(b) > 0; {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b))+16 {
			return nil, errState
		}
		kind := string(b[2:][:binary.BigEndian.Uint16(b)])
		b = b[2+len(kind):]
		s.kinds[kind] = &tally{count: binary.BigEndian.Uint64(b), sum: binary.BigEndian.Uint64(b[8:])}
		b = b[16:]
	}
	return s, nil
}

// encodeSchema and decodeSchema convert the schema version, which is kept as its
// four bytes so that no later schema has to read it differently.
func encodeSchema(v uint32) []byte {
	return binary.BigEndian.AppendUint32(nil, v)
}

func decodeSchema(b []byte) (uint32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("a schema version of %d bytes, expected 4", len(b))
	}
	return binary.BigEndian.Uint32(b), nil
}
