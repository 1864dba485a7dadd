package boltstore_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// TestDiskFull fills a disk, played by a limit on the size of files, for which the
// process must be one of its own and need not be root. The kernel's error is EFBIG
// and not ENOSPC, but it comes from the same calls.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	c := startChild(t, "fill the disk", path)
	c.end(t)

	s := open(t, path)
	defer s.Close()
	if err := expectFilled(s, 3*fullRound); err != nil {
		t.Error(err)
	}
}

// TestReserve: on a full disk each kind of batch has its part of the room that is kept, and
// can't use that of a more important one. A start on the full disk keeps what is left.
func TestReserve(t *testing.T) {
	startChild(t, "spend the reserve", filepath.Join(t.TempDir(), "tokens.db")).end(t)
}

func spendReserve(path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if _, err := limitFileSize(info.Size()); err != nil {
		return err
	}
	written := 0
	// spend stores batches of a room until they are refused, or an amount of them is stored.
	spend := func(room storage.Room, most int) (stored int) {
		for stored < most {
			written++
			c := storage.Change{Key: fmt.Sprint("key/", written), Value: make([]byte, 30_000), Room: room}
			if _, err = s.Apply(context.Background(), c); err != nil {
				return stored
			}
			stored += len(c.Value)
		}
		return stored
	}
	restart := func() error {
		if err := s.Close(); err != nil {
			return err
		}
		s, err = boltstore.Open(path, boltstore.Options{})
		return err
	}
	const all = 100 << 20
	for _, step := range []struct {
		room        storage.Room
		most        int
		least, upTo int // that are stored
	}{
		{storage.NoRoom, all, 100_000, 1 << 20}, // what was allocated ahead
		{storage.HalfRoom, 500_000, 500_000, 600_000},
		{storage.NoRoom, all, 0, 0},
		{storage.HalfRoom, all, 1_000_000, 2 << 20},
		{storage.AllRoom, 500_000, 500_000, 600_000},
		{storage.HalfRoom, all, 0, 0},
		{storage.AllRoom, all, 1_000_000, 2 << 20},
	} {
		if got := spend(step.room, step.most); got < step.least || got > step.upTo {
			return fmt.Errorf("room %d: %d bytes were stored (%w), want %d to %d", step.room, got, err, step.least, step.upTo)
		}
		if err := restart(); err != nil {
			return err
		}
	}
	return s.Close()
}

// fullRound is the number of batches in each round of fillDisk.
const fullRound = 5

// fillDisk stores a round of batches, meets the limit, stores a round with the
// limit raised, meets a limit below the size that the file has, and stores a last
// round.
func fillDisk(path string) error {
	// Go ends the process on SIGXFSZ unless it is ignored.
	signal.Ignore(syscall.SIGXFSZ)
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	for round, below := range []int64{0, 16 << 10} {
		if err := fillRound(s, round); err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		unlimited, err := limitFileSize(info.Size() - below)
		if err != nil {
			return err
		}
		var full error
		for n := 0; n < 100 && full == nil; n++ {
			_, full = s.Apply(context.Background(), storage.Change{Key: "too much", Value: make([]byte, storage.MaxValueLen), Expect: storage.Any},
				storage.Change{Key: fmt.Sprint("more", n), Value: make([]byte, storage.MaxValueLen), Expect: storage.Any})
		}
		const want = "the batch was not stored, nothing of it: "
		if full == nil || !strings.Contains(full.Error(), want) || !strings.Contains(full.Error(), "file too large") {
			return fmt.Errorf("round %d: Apply on a full disk: %w, want %q", round, full, want)
		}
		if err := expectFilled(s, (round+1)*fullRound); err != nil {
			return fmt.Errorf("on a full disk: %w", err)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
			return err
		}
	}
	if err := fillRound(s, 2); err != nil {
		return err
	}
	return s.Close()
}

// limitFileSize returns the limit from before.
func limitFileSize(size int64) (syscall.Rlimit, error) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return old, err
	}
	return old, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size), Max: old.Max})
}

func fillRound(s storage.Store, round int) error {
	for n := round * fullRound; n < (round+1)*fullRound; n++ {
		if _, err := s.Apply(context.Background(), storage.Change{Key: fmt.Sprintf("key/%02d", n), Value: make([]byte, 10_000)}); err != nil {
			return fmt.Errorf("with room on the disk: %w", err)
		}
	}
	return nil
}

func expectFilled(s storage.Store, want int) error {
	n := 0
	for e, err := range s.List(context.Background(), "key/") {
		if err != nil {
			return err
		}
		if e.Key != fmt.Sprintf("key/%02d", n) {
			return fmt.Errorf("entry %d is %q", n, e.Key)
		}
		n++
	}
	if n != want {
		return fmt.Errorf("the store has %d entries, want %d", n, want)
	}
	return nil
}
