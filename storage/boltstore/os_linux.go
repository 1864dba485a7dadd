package boltstore

import (
	"os"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// dropResident takes the pages of the file that were read out of the resident
// memory of the process; the kernel's page cache keeps them. A process that has
// read the whole store, or written here and there for long, would otherwise count
// as large as the file for good. For a shared mapping of a file MADV_DONTNEED loses
// nothing: the next access maps the page again (madvise(2)).
//
// It must be called before tx ends: an open transaction keeps bbolt from moving
// the mapping, which always spans more than tx.Size.
func dropResident(tx *bolt.Tx) {
	// Advice that is refused only costs memory, so the error is of no use.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
}

// unlock undoes the flock of bbolt.
func unlock(file *os.File) { _ = unix.Flock(int(file.Fd()), unix.LOCK_UN) }
