//go:build !linux

package boltstore

import (
	"os"

	bolt "go.etcd.io/bbolt"
)

// dropResident does nothing where madvise does not promise to drop pages.
func dropResident(*bolt.Tx) {}

// unlock leaves a lock to the end of the process.
func unlock(*os.File) {}

// lockHolder can't be told where there is no /proc/locks.
func lockHolder(string) string { return "" }
