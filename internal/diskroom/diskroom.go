// Package diskroom has a file system give a file its blocks before they are written, so that
// a full disk can't stop a write to them.
package diskroom

import (
	"errors"
	"os"
)

// ErrUnsupported is returned where the system or the file system can't allocate ahead.
var ErrUnsupported = errors.New("this file system can't allocate room ahead")

// Extend gives file the blocks of its first size bytes, and makes it that long unless it is
// longer. What it holds stays; what is new reads as zeros. Where the file system can't
// allocate ahead, Extend writes zeros behind the end. A file system that writes each block to
// a new place, such as ZFS, needs room later all the same.
func Extend(file *os.File, size int64) error {
	err := allocate(file, 0, size, false)
	if !errors.Is(err, ErrUnsupported) {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for at := info.Size(); at < size; {
		n, err := file.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// Ahead gives file the blocks of n bytes from offset on, without making it longer. Where that
// is not possible the error is ErrUnsupported.
func Ahead(file *os.File, offset, n int64) error { return allocate(file, offset, n, true) }
