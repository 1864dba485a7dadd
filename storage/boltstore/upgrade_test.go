package boltstore_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// writeV1 makes a store of schema 1, in which n entries were written one by one, and then
// a newer one that was removed again.
func writeV1(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.db")
	edit(t, path, func(tx *bolt.Tx) error {
		data, err := tx.CreateBucket([]byte("data"))
		if err != nil {
			return err
		}
		for i := range n {
			entry := append(binary.BigEndian.AppendUint64(nil, uint64(i+1)), fmt.Sprint("value ", i)...)
			if err := data.Put(fmt.Appendf(nil, "token/%06d", i), entry); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		return errors.Join(meta.Put([]byte("schema"), []byte{0, 0, 0, 1}), meta.Put([]byte("revision"), binary.BigEndian.AppendUint64(nil, uint64(n+1))))
	})
	return path
}

func TestUpgradeFromSchema1(t *testing.T) {
	const n = 3000
	path := writeV1(t, n)
	if _, err := boltstore.Open(path, boltstore.Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "has schema 1: start this crumbgate with it once") {
		t.Errorf("read-only: %v", err)
	}
	for start := range storage.Revision(2) { // the second one finds it upgraded
		s := open(t, path)
		i := 0
		for e, err := range s.List(t.Context(), "token/") {
			if err != nil {
				t.Fatal(err)
			}
			if e.Key != fmt.Sprintf("token/%06d", i) || string(e.Value) != fmt.Sprint("value ", i) || e.Revision != storage.Revision(i+1) {
				t.Fatalf("start %d: entry %d is %q = %q of revision %d", start, i, e.Key, e.Value, e.Revision)
			}
			i++
		}
		if i != n {
			t.Errorf("start %d: %d entries, want %d", start, i, n)
		}
		// Revisions are never used twice, not even that of a removed entry.
		r, err := s.Apply(t.Context(), storage.Change{Key: fmt.Sprint("new/", start)})
		if err != nil || r != n+2+start {
			t.Errorf("start %d: Apply returned %d, %v, want revision %d", start, r, err, n+2+start)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUpgradeRefuses: what schema 1 can tell of a damage stops the upgrade, and leaves
// the file as it is.
func TestUpgradeRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(tx *bolt.Tx) error
		want   string
	}{
		{"an unknown key", func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("data")).Put([]byte("uoken/1"), []byte("\x00\x00\x00\x00\x00\x00\x00\x01value"))
		}, `the file is damaged, restore it from a backup: the key "uoken/1" is unknown`},
		{"half an entry", func(tx *bolt.Tx) error { return tx.Bucket([]byte("data")).Put([]byte("token/1"), []byte("\x00")) },
			`the file is damaged, restore it from a backup: key "token/1": an entry of 1 bytes`},
		{"a malformed revision", func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("revision"), []byte("12")) },
			"the file is damaged, restore it from a backup: a revision of 2 bytes"},
	} {
		path := writeV1(t, 10)
		edit(t, path, test.damage)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o := impatient
		o.Known = []string{"token/"}
		if _, err := boltstore.Open(path, o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("%s: the file was changed (%v)", test.name, err)
		}
	}
}

func TestApplyRefusesUnknownKeys(t *testing.T) {
	o := impatient
	o.Known = []string{"token/", "meta/one"}
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key, known := range map[string]bool{"token/1": true, "meta/one": true, "meta/two": false, "uoken/1": false, "token": false} {
		_, err := s.Apply(t.Context(), storage.Change{Key: key})
		if known != (err == nil) || err != nil && !errors.Is(err, storage.ErrBatch) {
			t.Errorf("Apply of %q: %v, want success: %t", key, err, known)
		}
	}
}
