package boltstore

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/internal/diskroom"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	// reserve is the room that is kept for batches with Change.Reserved: blocks that the file
	// has, behind its last page. It takes thousands of revocations with their audit lines.
	reserve = 4 << 20
	// ahead is how much more is allocated at once.
	ahead = 1 << 20
	// perBatch is what a transaction writes at most beside its entries: pages of the tree and
	// the list of free pages, of a store with few of these.
	perBatch = 64 << 10
)

// withRoom returns the batches for which there is room. The others get an error: those that
// must not use the reserve, if the disk is full. Only the caller that has writer calls it.
func (s *Store) withRoom(batches []*batch) []*batch {
	if s.db.IsReadOnly() {
		return batches
	}
	need := int64(perBatch)
	for _, b := range batches {
		for _, c := range b.changes {
			need += 2 * int64(len(c.Key)+len(c.Value))
		}
	}
	err := s.makeRoom(reserve + need)
	if err == nil {
		return batches
	}
	return slices.DeleteFunc(batches, func(b *batch) bool {
		if slices.ContainsFunc(b.changes, func(c storage.Change) bool { return c.Reserved }) {
			return false
		}
		b.err = fmt.Errorf("store %q: the batch was not stored, nothing of it: the disk has no room but what is kept for revocations: %w", s.path, err)
		close(b.done)
		return true
	})
}

// makeRoom makes sure that the file has the blocks of n bytes behind its last page.
func (s *Store) makeRoom(n int64) error {
	var end int64
	err := s.use(func() error {
		return s.db.View(func(tx *bolt.Tx) error { end = tx.Size(); return nil })
	})
	if err != nil || end+n <= s.room {
		return nil //nolint:nilerr // the write itself meets the error
	}
	// From the start on: a copy that was put back may have holes.
	if err := diskroom.Extend(s.file, end+n+ahead); err != nil {
		return err
	}
	s.room = end + n + ahead
	return nil
}
