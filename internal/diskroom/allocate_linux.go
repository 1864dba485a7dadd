package diskroom

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func allocate(file *os.File, offset, n int64, keepSize bool) error {
	mode := uint32(0)
	if keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	for {
		switch err := unix.Fallocate(int(file.Fd()), mode, offset, n); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return ErrUnsupported
		case err != nil:
			return fmt.Errorf("allocating room: %w", err)
		default:
			return nil
		}
	}
}
