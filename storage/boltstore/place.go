package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
)

// Check returns an error if the next batch could not be acknowledged: the store is closed,
// damaged or out of use, or its file is no longer the one at its path or holds something else.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if out := s.out.Load(); out != nil {
		return *out
	}
	if refused := s.refused.Load(); refused != nil {
		return *refused
	}
	return s.inPlace()
}

// sessionLen is the length of the random name of an opening, in bytes.
const sessionLen = 16

// A content says what a file holds: the last batch, and how long the file is at least.
type content struct {
	session  [sessionLen]byte // that wrote the batch; zeros if that was an older crumbgate
	revision storage.Revision
	size     int64 // of all pages in use
}

// content returns what the file holds.
func (s *Store) content() (c content, err error) {
	err = s.use(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			meta := tx.Bucket(metaBucket)
			st, err := readState(meta)
			if err != nil {
				return err
			}
			copy(c.session[:], meta.Get(sessionKey))
			c.revision, c.size = st.revision, tx.Size()
			return nil
		})
	})
	return c, err
}

// wrote notes what the file holds after batches, and returns an error if it does not hold
// them. Only the caller that has writer calls it.
func (s *Store) wrote(batches []*batch) error {
	want := *s.last.Load()
	want.session = s.session
	for _, b := range batches {
		want.revision = max(want.revision, b.revision)
	}
	s.last.Store(&want)
	if err := s.inPlace(); err != nil {
		return err
	}
	found, err := s.content()
	if err != nil {
		return err
	}
	want.size = found.size
	s.last.Store(&want)
	return nil
}

// inPlace returns an error unless the file at the path is the one that is open, and holds
// what was written into it. A batch that is written into a file that was moved or removed
// would be lost with the next start. One that is written into an older copy would hide from
// the next start what the copy lacks.
func (s *Store) inPlace() error {
	there, err := os.Stat(s.path)
	var found string
	switch {
	case err == nil && os.SameFile(there, s.opened):
		return s.sameContent(there.Size())
	case err == nil:
		found = "another file has replaced the store while it is open: stop the gateway, put the right file there, and start it again"
	case errors.Is(err, fs.ErrNotExist):
		found = "the file was moved or removed while it is open: move it back, or stop the gateway and restore a backup"
	default:
		return fmt.Errorf("store %q: the file can't be reached at its path: %w", s.path, err)
	}
	if runtime.GOOS == "linux" {
		found += fmt.Sprintf("; until the gateway ends, /proc/%d/fd/%d can be copied and is the store so far", os.Getpid(), s.file.Fd())
	}
	return fmt.Errorf("store %q: %s", s.path, found)
}

// sameContent returns an error unless the open file, of a size, holds the last batch. A copy
// that was written over it is the same file for the system.
func (s *Store) sameContent(size int64) error {
	const remedy = "stop the gateway, put the right file there, and start it again"
	want := *s.last.Load() // before the file is read: it may get a batch meanwhile
	if size < want.size {  // what is gone must not be read
		return fmt.Errorf("store %q: the file was cut short or overwritten while it is open, and has %d bytes of %d: %s", s.path, size, want.size, remedy)
	}
	found, err := s.content()
	if err != nil {
		return err
	}
	same := found.session == want.session && found.revision == want.revision
	if newer := found.session == s.session && found.revision > want.revision; !same && !newer {
		return fmt.Errorf("store %q: another copy was written over the file while it is open; the last change there is %d, and here %d: %s", s.path, found.revision, want.revision, remedy)
	}
	return nil
}
