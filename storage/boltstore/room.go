package boltstore

import (
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/internal/diskroom"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	// reserve is the room that is kept for batches with a Change.Room: blocks that the file
	// has, behind its last page. It takes thousands of revocations with their audit lines.
	reserve = 4 << 20
	// ahead is how much more is allocated at once, if there is so much.
	ahead = 1 << 20
	// perBatch is what a transaction writes at most beside its entries: pages of the tree and
	// the list of free pages, of a store with few of these.
	perBatch = 64 << 10
)

// kept is how much of the reserve must be left behind batches that may use a part of it.
var kept = map[storage.Room]int64{storage.NoRoom: reserve, storage.HalfRoom: reserve / 2}

// withRoom returns the batches for which there is room. The others get an error: on a full
// disk those that would use more of the reserve than they may. Only the caller that has
// writer calls it.
func (s *Store) withRoom(batches []*batch) []*batch {
	if s.db.IsReadOnly() {
		return batches
	}
	for _, room := range []storage.Room{storage.NoRoom, storage.HalfRoom} {
		err := s.makeRoom(kept[room] + needOf(batches))
		if err == nil {
			break
		}
		batches = slices.DeleteFunc(batches, func(b *batch) bool {
			if b.room() > room {
				return false
			}
			b.err = fmt.Errorf("store %q: the batch was not stored, nothing of it: the disk has no room but what is kept for revocations: %w", s.path, err)
			close(b.done)
			return true
		})
	}
	return batches
}

// needOf returns how many bytes a transaction of batches writes at most.
func needOf(batches []*batch) int64 {
	need := int64(perBatch)
	for _, b := range batches {
		for _, c := range b.changes {
			need += 2 * int64(len(c.Key)+len(c.Value))
		}
	}
	return need
}

// room returns the most of the reserve that a change lets the batch use.
func (b *batch) room() (most storage.Room) {
	for _, c := range b.changes {
		most = max(most, c.Room)
	}
	return most
}

// makeRoom makes sure that the file has the blocks of n bytes behind its last page.
func (s *Store) makeRoom(n int64) error {
	var end int64
	err := s.use(func() error {
		return s.db.View(func(tx *bolt.Tx) error { end = tx.Size(); return nil })
	})
	if err != nil {
		return nil //nolint:nilerr // the write itself meets the error
	}
	// Another program may have cut off what is behind the last page.
	if info, err := s.file.Stat(); err == nil && info.Size() < s.room {
		s.room = 0
	}
	if end+n <= s.room {
		return nil
	}
	// From the start on: a copy that was put back may have holes. A disk that is nearly full
	// may have the room itself, above all in the file, which a run before has extended.
	for _, size := range []int64{end + n + ahead, end + n} {
		if err = diskroom.Extend(s.file, size); err == nil {
			s.room = size
			return nil
		}
	}
	return err
}
