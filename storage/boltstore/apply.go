package boltstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/crumbgate/crumbgate/storage"
)

// maxCombined bounds the changes of one transaction, and so its memory and how
// long those wait who come after it.
const maxCombined = 8 * storage.MaxBatch

// A batch is one call of Apply.
type batch struct {
	changes  []storage.Change
	done     chan struct{} // closed when revision and err are final
	revision storage.Revision
	err      error
}

// errNothing rolls back a transaction in which no batch was left to commit.
var errNothing = errors.New("nothing to commit")

// Apply makes all of the changes or none.
//
// Calls that come while another is being written wait for it and then share one
// transaction, which costs the disk no more than one of them; each is still
// checked against the ones before it, conflicts alone and has a revision of its
// own. A context that ends while waiting withdraws the batch; once the batch is
// being written Apply returns what became of it.
//
// On a full disk only batches with a Change.Room are stored, in room that the file has
// already. An error of the disk, such as that it is full, leaves the store as it was and
// open for reads and for the next batch. Only if the disk fails at the very last
// step can't it be known what it holds; the error says so, and the store refuses
// further batches until it is opened again.
func (s *Store) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	if err := storage.CheckBatch(changes); err != nil {
		return 0, err
	}
	for _, c := range changes {
		if !isKnown([]byte(c.Key), s.known) {
			return 0, fmt.Errorf("%w: the key %q is of no known kind, and the next start would refuse it", storage.ErrBatch, c.Key)
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b := &batch{changes: changes, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, b)
	s.mu.Unlock()
	for {
		select {
		case <-b.done:
			return b.revision, b.err
		case s.writer <- struct{}{}:
			s.commit(s.take())
			<-s.writer
		case <-ctx.Done():
			if s.withdraw(b) {
				return 0, ctx.Err()
			}
			<-b.done
			return b.revision, b.err
		}
	}
}

// take removes from the queue what the next transaction is to hold.
func (s *Store) take() []*batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, changes := 0, 0
	for n < len(s.waiting) && changes+len(s.waiting[n].changes) <= maxCombined {
		changes += len(s.waiting[n].changes)
		n++
	}
	batches := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	return batches
}

// withdraw removes b from the queue and reports whether it was still there.
func (s *Store) withdraw(b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, b)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// commit writes batches in one transaction and tells each what became of it.
func (s *Store) commit(batches []*batch) {
	var err error
	if refused := s.refused.Load(); refused != nil {
		err = *refused
	} else if err = s.inPlace(); err != nil { // before there is more room, which would hide that the file was cut short
		s.room = 0 // once it is mended, by a copy that may have holes
		err = fmt.Errorf("the batch was not stored: %w", err)
	} else {
		if batches = s.withRoom(batches); len(batches) == 0 {
			return
		}
		err = s.write(batches)
	}
	for _, b := range batches {
		// Conflicts too: one may be with a batch that was not stored either.
		if err != nil {
			b.revision, b.err = 0, err
		}
		close(b.done)
	}
}

func (s *Store) write(batches []*batch) error {
	txid := 0
	err := s.use(func() error {
		return s.update(func(tx *bolt.Tx) error {
			txid = tx.ID()
			if err := applyAll(tx, batches); err != nil {
				return err
			}
			return tx.Bucket(metaBucket).Put(sessionKey, s.session[:])
		})
	})
	switch {
	case err == nil:
		if err := s.wrote(batches); err != nil {
			return fmt.Errorf("the batch was stored in a file that is gone: %w", err)
		}
		return nil
	case errors.Is(err, errNothing):
		return nil
	case errors.Is(err, errDamaged), errors.Is(err, storage.ErrClosed):
		return err
	case errors.Is(err, berrors.ErrDatabaseReadOnly):
		return fmt.Errorf("store %q: opened read-only", s.path)
	case s.shows(txid):
		err = fmt.Errorf("store %q: the disk failed at the end of a batch, and whether that is stored can't be known;"+
			" no more are taken until the store is opened again: %w", s.path, err)
		s.refused.Store(&err)
		return err
	default:
		return fmt.Errorf("store %q: the batch was not stored, nothing of it: %w", s.path, err)
	}
}

// shows reports whether reads see the transaction txid, although its commit has
// failed. bbolt maps the file, so what it wrote is seen before it is durable.
func (s *Store) shows(txid int) bool {
	seen := false
	err := s.use(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			seen = tx.ID() >= txid
			return nil
		})
	})
	return seen || err != nil
}

// applyAll makes the changes of each batch whose expectations hold, and sets the
// error of those whose do not.
func applyAll(tx *bolt.Tx, batches []*batch) error {
	data, meta := tx.Bucket(dataBucket), tx.Bucket(metaBucket)
	s, err := readState(meta)
	if err != nil {
		return err
	}
	first := s.revision
	for _, b := range batches {
		if b.err, err = conflict(data, b.changes); err != nil {
			return err
		}
		if b.err != nil {
			continue
		}
		s.revision++
		b.revision = s.revision
		for _, c := range b.changes {
			if err := s.change(data, c); err != nil {
				return err
			}
		}
	}
	dropResident(tx)
	if s.revision == first {
		return errNothing
	}
	return putState(meta, s)
}

// change makes one change, of the batch s.revision, and counts it.
func (s *state) change(data *bolt.Bucket, c storage.Change) error {
	key := []byte(c.Key)
	if old := data.Get(key); old != nil {
		// Of a damaged entry it is not known what was counted.
		if _, _, err := decodeEntry(key, old); err != nil {
			return damage(err)
		}
		if err := s.remove(key, old); err != nil {
			return damage(err)
		}
	}
	if c.Delete {
		return data.Delete(key)
	}
	entry := encodeEntry(key, s.revision, c.Value)
	s.add(key, entry)
	return data.Put(key, entry)
}

// conflict returns as its first result the *storage.ConflictError of the first
// change whose expectation does not hold.
func conflict(data *bolt.Bucket, changes []storage.Change) (conflict, err error) {
	for _, c := range changes {
		if c.Expect == storage.Any {
			continue
		}
		actual := storage.Absent
		if b := data.Get([]byte(c.Key)); b != nil {
			if actual, _, err = decodeEntry([]byte(c.Key), b); err != nil {
				return nil, damage(err)
			}
		}
		if actual != c.Expect {
			return &storage.ConflictError{Key: c.Key, Expect: c.Expect, Actual: actual}, nil
		}
	}
	return nil, nil
}
