package boltstore

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// FuzzInspect feeds whole files: none may make the check panic or go on for ever.
func FuzzInspect(f *testing.F) {
	const pageSize = 1024
	path := filepath.Join(f.TempDir(), "small.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize})
	if err != nil {
		f.Fatal(err)
	}
	for _, change := range []func(*bolt.Tx) error{initialise, func(tx *bolt.Tx) error {
		s := newState()
		s.revision = 1
		for i := range byte(9) {
			key := []byte{'k', '/', i}
			entry := encodeEntry(key, 1, bytes.Repeat([]byte{i}, 100))
			s.add(key, entry)
			if err := tx.Bucket(dataBucket).Put(key, entry); err != nil {
				return err
			}
		}
		return putState(tx.Bucket(metaBucket), s)
	}} {
		if err := db.Update(change); err != nil {
			f.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := inspectFile(bytes.NewReader(whole), int64(len(whole)), pageSize, nil); err != nil {
		f.Fatal(err)
	}
	// The fuzzer changes the trees, at one place each; heads have checksums, which it can't
	// compute.
	for at := 2 * pageSize; at < len(whole); at += pageSize / 2 {
		f.Add(uint16(at), []byte{1})
	}
	f.Add(uint16(0), []byte{})
	f.Fuzz(func(t *testing.T, at uint16, change []byte) {
		file := bytes.Clone(whole)
		copy(file[min(int(at), len(file)):], change)
		version, err := inspectFile(bytes.NewReader(file), int64(len(file)), pageSize, nil)
		if (version == schema) != (err == nil) && err == nil {
			t.Errorf("inspectFile = %d, %v", version, err)
		}
	})
}
