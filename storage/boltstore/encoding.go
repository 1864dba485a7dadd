package boltstore

import (
	"encoding/binary"
	"fmt"

	"github.com/crumbgate/crumbgate/storage"
)

// revisionLen is the length in bytes of a revision in the file, big-endian. It
// stands before each value.
const revisionLen = 8

func appendRevision(b []byte, r storage.Revision) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(r))
}

// encodeEntry returns what the file holds for a key written in batch r.
func encodeEntry(r storage.Revision, value []byte) []byte {
	return append(appendRevision(make([]byte, 0, revisionLen+len(value)), r), value...)
}

// decodeEntry splits what encodeEntry joined. The value shares memory with b.
func decodeEntry(b []byte) (storage.Revision, []byte, error) {
	if len(b) < revisionLen || len(b) > revisionLen+storage.MaxValueLen {
		return 0, nil, fmt.Errorf("an entry of %d bytes, expected %d to %d", len(b), revisionLen, revisionLen+storage.MaxValueLen)
	}
	r, err := decodeRevision(b[:revisionLen])
	return r, b[revisionLen:], err
}

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
