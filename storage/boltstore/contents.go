package boltstore

import (
	"errors"
	"fmt"
	"io"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
)

// schema is the version of the layout that this package writes. It reads the one before
// as well, and upgrades it when a store is opened.
//
// In schema 1 the bucket "data" held, for each key, the revision and the value without a
// checksum, and "meta" held "revision" in place of "state".
const schema = 2

// inspectFile checks all pages of a file of a size, and all entries in them. It returns
// the schema, 0 for a database without any content.
func inspectFile(file io.ReaderAt, size, pageSize int64, known []string) (version uint32, err error) {
	in, err := inspect(file, size, pageSize)
	if err != nil {
		return 0, damage(err)
	}
	buckets, err := in.buckets()
	if err != nil {
		return 0, damage(err)
	}
	if len(buckets) == 0 {
		// bbolt creates a database with the transactions 0 and 1, and ours puts in buckets.
		if in.meta.txid > 1 {
			return 0, damage(errors.New("all of its content is missing"))
		}
		return 0, nil
	}
	head, isThere := buckets[string(metaBucket)]
	if !isThere && !hasAny(buckets, string(dataBucket), string(dataBucketV1)) {
		return 0, errors.New("is a bbolt file of another program, name another file")
	}
	if !isThere {
		return 0, damage(fmt.Errorf("there is no bucket %q", metaBucket))
	}
	meta := make(map[string][]byte)
	err = in.entries(head, func(key, value []byte) error {
		meta[string(key)] = slices.Clone(value)
		return nil
	})
	if err != nil {
		return 0, damage(err)
	}
	version, err = readSchema(meta[string(schemaKey)], meta[string(stateKey)])
	if err != nil {
		return 0, err
	}
	name, data := layout(version)
	bucket, isThere := buckets[string(name)]
	if !isThere {
		return 0, damage(fmt.Errorf("schema %d, but no bucket %q", version, name))
	}
	return version, data(in, bucket, meta, known)
}

func hasAny(buckets map[string]bucket, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, isThere := buckets[name]; return isThere })
}

// readSchema decodes the schema version and refuses one that this package does not know.
// state is what the file says of its entries, if anything.
func readSchema(version, state []byte) (uint32, error) {
	v, err := decodeSchema(version)
	if err != nil {
		return 0, damage(err)
	}
	if _, err := decodeState(state); err == nil && v != schema {
		// The checksum of the state covers the schema, so the version is wrong.
		return 0, damage(fmt.Errorf("schema %d, with the entries of schema %d", v, schema))
	}
	switch {
	case v > schema:
		return 0, fmt.Errorf("has schema %d, this crumbgate knows schemas up to %d: run the newer crumbgate that wrote it,"+
			" or restore the backup from before the upgrade", v, schema)
	case v == 0:
		return 0, damage(errors.New("schema 0"))
	}
	return v, nil
}

// layout returns the bucket of a schema's entries, and what checks them.
func layout(version uint32) (name []byte, check func(*inspector, bucket, map[string][]byte, []string) error) {
	if version == 1 {
		return dataBucketV1, checkEntriesV1
	}
	return dataBucket, checkEntries
}

// checkEntries compares the entries with their checksums and all of them with the state.
func checkEntries(in *inspector, data bucket, meta map[string][]byte, known []string) error {
	want, err := decodeState(meta[string(stateKey)])
	if err != nil {
		return damage(err)
	}
	found := newState()
	unknown := ""
	err = in.entries(data, func(key, entry []byte) error {
		r, _, err := decodeEntry(key, entry)
		if err != nil {
			return err
		}
		if r > want.revision {
			return fmt.Errorf("key %q is of revision %d, after the last one, %d", key, r, want.revision)
		}
		if unknown == "" && !isKnown(key, known) {
			unknown = string(key)
		}
		found.add(key, entry)
		return nil
	})
	if err == nil {
		err = want.compare(found)
	}
	if err != nil {
		return damage(err)
	}
	if unknown != "" {
		// All checksums are right, so the key is what was written.
		return fmt.Errorf("has the key %q, which this crumbgate does not know: run the newer crumbgate that wrote it,"+
			" or restore the backup from before the upgrade", unknown)
	}
	return nil
}

// checkEntriesV1 is checkEntries for schema 1, which has no checksums.
func checkEntriesV1(in *inspector, data bucket, meta map[string][]byte, known []string) error {
	if r := meta[string(revisionKeyV1)]; r != nil {
		if _, err := decodeRevision(r); err != nil {
			return damage(err)
		}
	}
	err := in.entries(data, func(key, entry []byte) error {
		if !isKnown(key, known) {
			return fmt.Errorf("the key %q is unknown", key)
		}
		_, _, err := decodeEntryV1(key, entry)
		return err
	})
	if err != nil {
		return damage(err)
	}
	return nil
}

// isKnown reports whether key begins with a known prefix. Without prefixes all are known.
func isKnown(key []byte, known []string) bool {
	return known == nil || slices.ContainsFunc(known, func(prefix string) bool {
		return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix
	})
}

// initialise makes an empty store of an empty database.
func initialise(tx *bolt.Tx) error {
	if _, err := tx.CreateBucket(dataBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	return putState(meta, newState())
}

func putState(meta *bolt.Bucket, s *state) error {
	if err := meta.Put(schemaKey, encodeSchema(schema)); err != nil {
		return err
	}
	return meta.Put(stateKey, s.encode())
}

// readState returns the state, from the bucket "meta".
func readState(meta *bolt.Bucket) (*state, error) {
	s, err := decodeState(meta.Get(stateKey))
	if err != nil {
		return nil, damage(err)
	}
	return s, nil
}

// upgrade turns a store of schema 1 into one of the present schema. It is one
// transaction, so a crash leaves the store as it was. It holds all entries in memory.
func upgrade(tx *bolt.Tx) error {
	meta, old := tx.Bucket(metaBucket), tx.Bucket(dataBucketV1)
	data, err := tx.CreateBucket(dataBucket)
	if err != nil {
		return err
	}
	data.FillPercent = 0.9 // keys come in order, and most never change again
	s := newState()
	if r := meta.Get(revisionKeyV1); r != nil {
		if s.revision, err = decodeRevision(r); err != nil {
			return damage(err)
		}
	}
	err = old.ForEach(func(key, entry []byte) error {
		r, value, err := decodeEntryV1(key, entry)
		if err != nil {
			return damage(err)
		}
		s.revision = max(s.revision, r)
		entry = encodeEntry(key, r, value)
		s.add(key, entry)
		return data.Put(key, entry)
	})
	if err != nil {
		return err
	}
	if err := tx.DeleteBucket(dataBucketV1); err != nil {
		return err
	}
	if err := meta.Delete(revisionKeyV1); err != nil {
		return err
	}
	return putState(meta, s)
}

// decodeEntryV1 splits an entry of schema 1.
func decodeEntryV1(key, b []byte) (storage.Revision, []byte, error) {
	if len(b) < revisionLen || len(b) > revisionLen+storage.MaxValueLen {
		return 0, nil, fmt.Errorf("key %q: an entry of %d bytes, expected %d to %d", key, len(b), revisionLen, revisionLen+storage.MaxValueLen)
	}
	r, err := decodeRevision(b[:revisionLen])
	if err != nil {
		return 0, nil, fmt.Errorf("key %q: %w", key, err)
	}
	return r, b[revisionLen:], nil
}
