// Package boltstore keeps a storage.Store in one file, with bbolt.
//
// It trusts the file's directory: who can write there can replace the store. It
// keeps the file to its owner (0600) and locks it, so that one process at a time
// has it open for writing. What Apply acknowledges has been through fdatasync
// twice, the data first and then the page that makes it count; none of bbolt's
// options that trade this away is used. A file that is damaged, cut short or full
// is an error and never a panic.
//
// The file is a bbolt database with two buckets. "entries" holds each key with a
// checksum and the revision of its last write before its value. "meta" holds "schema"
// (4 bytes), "state": the revision of the last batch, and how many entries of each
// kind there are, and "session": which opening of the store has written that batch. Open
// checks all of it.
package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
)

var (
	dataBucket = []byte("entries")
	metaBucket = []byte("meta")
	schemaKey  = []byte("schema")
	stateKey   = []byte("state")
	sessionKey = []byte("session")

	dataBucketV1  = []byte("data")
	revisionKeyV1 = []byte("revision")

	errClosed = storage.ErrClosed // for its address
)

// A Store is a storage.Store in a file. Open makes one.
type Store struct {
	path  string
	known []string // as in Options
	db    *bolt.DB
	file  *os.File // that of db

	opened os.FileInfo // of file, which tells whether it is still at path
	// session is written with each batch. With the revision it names the content of the file:
	// two copies of a store that have gone on apart can have the same revision.
	session [sessionLen]byte
	// last is the content after the last batch.
	last atomic.Pointer[content]

	// out is the error of all calls once the store is closed or out of use.
	out atomic.Pointer[error]

	// update is db.Update. A test replaces it to play a disk that fails its fsync.
	update func(func(*bolt.Tx) error) error

	// writer has one place, taken by the Apply that commits for all who wait.
	writer chan struct{}
	// refused is why no more batches are taken, nil if they are.
	refused atomic.Pointer[error]
	// room is up to where the file has its blocks. Only the caller in writer touches it.
	room int64

	mu      sync.Mutex
	waiting []*batch // guarded by mu
}

var _ storage.Store = (*Store)(nil)

// Get returns the entry of a key, or storage.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (storage.Entry, error) {
	if err := ctx.Err(); err != nil {
		return storage.Entry{}, err
	}
	entry := storage.Entry{Key: key}
	err := s.use(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			b := tx.Bucket(dataBucket).Get([]byte(key))
			if b == nil {
				return storage.ErrNotFound
			}
			revision, value, err := decodeEntry([]byte(key), b)
			if err != nil {
				return damage(err)
			}
			entry.Revision, entry.Value = revision, bytes.Clone(value)
			return nil
		})
	})
	if err != nil {
		return storage.Entry{}, err
	}
	return entry, nil
}

// List yields the entries whose keys begin with prefix.
//
// A loop that takes long holds up other callers: pages that are freed meanwhile
// are not used again, and an Apply that has to enlarge the file waits for its end.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		var tx *bolt.Tx
		err := s.use(func() (err error) {
			tx, err = s.db.Begin(false)
			return err
		})
		if err != nil {
			yield(storage.Entry{}, err)
			return
		}
		// Nothing was written, and the end of a read has no other errors.
		defer func() { _ = tx.Rollback() }()
		defer dropResident(tx)

		l := listing{tx: tx, prefix: []byte(prefix)}
		for n := 1; ; n++ {
			err := ctx.Err()
			if err == nil {
				err = s.use(l.next)
			}
			if err != nil {
				yield(storage.Entry{}, err)
				return
			}
			if l.entry.Key == "" || !yield(l.entry, nil) {
				return
			}
			if n == listLong {
				readAhead(ctx, s.path)
			}
			if n%listLong == 0 {
				dropResident(tx)
			}
		}
	}
}

// listLong is the number of entries after which a listing counts as long. From
// then on the file is read ahead; and each time that many more were yielded the
// pages they stood in are dropped from resident memory, so that its peak does not
// grow with the store.
const listLong = 4096

// readAhead has the kernel read the whole file into its cache. The keys of one
// bucket lie scattered, and bbolt tells the kernel not to read ahead on its own, so
// that a long listing of a file that is not cached would else wait for each page:
// with a million entries 7 s rather than 1 s on a fast disk, minutes on a slow one.
func readAhead(ctx context.Context, path string) {
	file, err := os.Open(path)
	if err != nil {
		return // and the listing is only slower
	}
	defer file.Close()
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		if _, err := file.Read(buf); err != nil {
			return
		}
	}
}

// A listing is the state of one List.
type listing struct {
	tx     *bolt.Tx
	cursor *bolt.Cursor
	prefix []byte
	entry  storage.Entry // the current one; no key at the end
}

// next steps to the next entry. The value is copied, so that a damaged length is
// met here, where it is an error, and not in the code of the caller.
func (l *listing) next() error {
	var k, v []byte
	if l.cursor == nil {
		l.cursor = l.tx.Bucket(dataBucket).Cursor()
		k, v = l.cursor.Seek(l.prefix)
	} else {
		k, v = l.cursor.Next()
	}
	if !bytes.HasPrefix(k, l.prefix) || k == nil {
		l.entry = storage.Entry{}
		return nil
	}
	revision, value, err := decodeEntry(k, v)
	if err != nil {
		return damage(err)
	}
	// A tree of pages that is damaged can lead in a circle, without an end.
	if string(k) <= l.entry.Key {
		return damage(fmt.Errorf("key %q stands after %q", k, l.entry.Key))
	}
	l.entry.Key = string(k)
	l.entry.Revision = revision
	l.entry.Value = append(l.entry.Value[:0], value...)
	return nil
}

// Close waits for the calls under way, then closes the file and gives up its
// lock. A second Close does nothing.
func (s *Store) Close() error {
	out := s.out.Swap(&errClosed)
	if out == &errClosed {
		return nil
	}
	if out != nil {
		// bbolt has panicked, and its own Close could wait for a lock for ever.
		return abandon(s.file)
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("store %q: %w", s.path, err)
	}
	return nil
}

// abandon closes the file of a database that has panicked. The mapping stays, as
// nothing knows where it is, and would keep a lock that is not given up here.
func abandon(file *os.File) error {
	unlock(file)
	return file.Close()
}
