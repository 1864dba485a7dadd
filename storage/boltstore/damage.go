package boltstore

import (
	"errors"
	"fmt"
	"runtime/debug"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/crumbgate/crumbgate/storage"
)

var (
	// errDamaged is wrapped by every error that comes from the content of the file.
	errDamaged = errors.New("the file is damaged, restore it from a backup")

	// errPanicked is wrapped as well where bbolt has met the damage, by a panic.
	errPanicked = errors.New("bbolt can't go on")
)

// damage wraps what was found wrong with the file.
func damage(found error) error {
	return fmt.Errorf("%w: %w", errDamaged, found)
}

// readFile calls f, which reads the file through bbolt, and turns what bbolt does
// about a damaged one into an error: it panics, or follows an offset out of the
// mapping or behind the end of the file, which by default ends the process.
// A damaged store must not take down a gateway that serves from memory.
//
// No code of a caller may run inside of f: its panics are its own.
func readFile(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damage(fmt.Errorf("%w: %v", errPanicked, r))
		}
	}()
	return f()
}

// use is readFile for an open store, and names it in the errors that the interface
// does not promise. After a panic bbolt may still hold its locks, so that the next
// call could wait for ever: from then on every call gets the same error.
func (s *Store) use(f func() error) error {
	if out := s.out.Load(); out != nil {
		return *out
	}
	err := readFile(f)
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return storage.ErrClosed
	case errors.Is(err, errDamaged):
		err = fmt.Errorf("store %q: %w", s.path, err)
	}
	if errors.Is(err, errPanicked) {
		s.out.CompareAndSwap(nil, &err)
	}
	return err
}
