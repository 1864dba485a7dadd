// Package storage is the small interface behind which crumbgate keeps what
// must survive a crash: keys and bytes, changed in atomic batches with expected
// revisions.
//
// The package knows nothing of tokens. A backend is trusted to keep what it has
// acknowledged and to tell the truth about revisions, and with nothing else: no
// token reaches it, only digests; the keys of crumbs do. It is never on the request path; what answers
// requests is an index in memory, for which the store is the log.
//
// Every backend passes the suite in storage/storagetest.
package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// MaxBatch is the largest number of changes that one Apply takes. It is etcd's
// default limit of operations in a transaction, so that what passes on one
// backend passes on all.
const MaxBatch = 128

// MaxKeyLen and MaxValueLen bound, in bytes, what a store accepts.
const (
	MaxKeyLen   = 1024
	MaxValueLen = 64 << 10
)

// A Revision numbers the batch in which an entry was last written. Revisions
// rise from batch to batch of a store, not always by one, and are never reused,
// not even when what had them is deleted. Only a batch that changes nothing, since
// it removes keys that do not exist, may return the revision of the one before.
type Revision uint64

const (
	// Absent, as the expectation of a change, means that the key must not exist.
	// It is the zero value, so that forgetting the expectation can't overwrite.
	Absent Revision = 0
	// Any, as the expectation of a change, means that the last writer wins.
	Any Revision = 1<<64 - 1
)

// An Entry is a key with its value and the revision of its last write.
type Entry struct {
	Key      string
	Value    []byte
	Revision Revision
}

// A Change writes one key, or removes it when Delete is set (removing a key that
// does not exist is no error under Any).
type Change struct {
	Key    string
	Value  []byte
	Delete bool
	// Expect is the revision that the key must have for the batch to be applied.
	Expect Revision
	// Room says how much of the room that a store keeps for a full disk the batch of the
	// change may use: that of the change with the most.
	Room Room
}

// A Room is a part of the room that a store keeps for what must be stored on a full disk.
type Room int

const (
	// NoRoom is for what can wait until the disk has room.
	NoRoom Room = iota
	// HalfRoom is for what requests need that are allowed. They can't use up what is
	// kept for revocations.
	HalfRoom
	// AllRoom is for what takes rights away.
	AllRoom
)

// A Store keeps entries. All methods are safe for concurrent use.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound. The value is the caller's.
	Get(ctx context.Context, key string) (Entry, error)

	// List yields the entries whose keys begin with prefix, in the order of their
	// keys (by bytes), as they stood at one moment. After an error nothing more is
	// yielded. The value is only valid until the next step, and may be overwritten. The caller must not change the
	// store, or call it at all, inside the loop.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]

	// Apply makes all of the changes or none. It returns the revision of the
	// batch once it is durable: what it acknowledged survives the death of the
	// process and of the machine. An expectation that does not hold is a
	// *ConflictError, for the first such change; a batch over the limits is ErrBatch;
	// the error of ctx means that nothing was applied. After any other error the
	// batch may or may not have been made: only the store can tell, by Get.
	// The caller may reuse the values afterwards.
	Apply(ctx context.Context, changes ...Change) (Revision, error)

	// Check returns an error if the next Apply could not be acknowledged, as far as that
	// can be told without a change. It says how to mend that.
	Check(ctx context.Context) error

	// Close releases the store, after the calls under way. Afterwards every other
	// method returns ErrClosed, and Close does nothing.
	Close() error
}

var (
	// ErrNotFound is returned by Get for a key that does not exist.
	ErrNotFound = errors.New("no such key")
	// ErrClosed is returned by every other method after Close.
	ErrClosed = errors.New("the store is closed")
	// ErrBatch is returned by Apply, wrapped with the detail, for an empty batch,
	// more than MaxBatch changes, one key twice, an empty or too long key, or a too
	// long value.
	ErrBatch = errors.New("invalid batch")
)

// A ConflictError tells which key of a batch was not at its expected revision.
// Nothing of the batch has been applied.
type ConflictError struct {
	Key    string
	Expect Revision
	Actual Revision // Absent if the key does not exist
}

func (e *ConflictError) Error() string {
	if e.Expect == Absent {
		return fmt.Sprintf("key %q exists, at revision %d", e.Key, e.Actual)
	}
	if e.Actual == Absent {
		return fmt.Sprintf("key %q does not exist, expected at revision %d", e.Key, e.Expect)
	}
	return fmt.Sprintf("key %q is at revision %d, expected %d", e.Key, e.Actual, e.Expect)
}

// CheckBatch returns ErrBatch, wrapped with the detail, if changes break a limit
// that all backends share.
func CheckBatch(changes []Change) error {
	if len(changes) == 0 || len(changes) > MaxBatch {
		return fmt.Errorf("%w: %d changes, allowed are 1 to %d", ErrBatch, len(changes), MaxBatch)
	}
	seen := make(map[string]struct{}, len(changes))
	for _, c := range changes {
		if c.Key == "" || len(c.Key) > MaxKeyLen {
			return fmt.Errorf("%w: a key of %d bytes, allowed are 1 to %d", ErrBatch, len(c.Key), MaxKeyLen)
		}
		if len(c.Value) > MaxValueLen {
			return fmt.Errorf("%w: the value of %q has %d bytes, allowed are %d", ErrBatch, c.Key, len(c.Value), MaxValueLen)
		}
		if _, twice := seen[c.Key]; twice {
			return fmt.Errorf("%w: key %q twice", ErrBatch, c.Key)
		}
		seen[c.Key] = struct{}{}
	}
	return nil
}
