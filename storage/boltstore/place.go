package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

// Check returns an error if the next batch could not be acknowledged: the store is closed,
// damaged or out of use, or its file is no longer the one at its path.
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

// inPlace returns an error unless the file at the path is the one that is open. A batch
// that is written into a file that was moved or removed would be lost with the next start.
func (s *Store) inPlace() error {
	there, err := os.Stat(s.path)
	var found string
	switch {
	case err == nil && os.SameFile(there, s.opened):
		return nil
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
