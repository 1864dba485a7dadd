package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/storage"
)

// Settled returns the change by which a store records that it has all changes which the
// log has announced up to head. It belongs into the transaction of the last of them.
func (l *Log) Settled(head Head) storage.Change {
	return storage.Change{Key: storekey.AuditSettled + l.nameHash(), Value: []byte(head.String()), Expect: storage.Any}
}

// Unsettled is what a log holds behind the last line that the store knows.
type Unsettled struct {
	// Records are the lines of changes, in their order.
	Records []Record
	// Interrupted is the change that was announced last, if its process ended without
	// closing the log: it may have been killed before it stored the change.
	Interrupted uuid.UUID
	// End is the last line of all when the log was opened.
	End Head
}

// Unsettled returns what the log held at Open behind the last line that the store knows.
func (l *Log) Unsettled() Unsettled { return l.unsettled }

// findUnsettled reads what Unsettled returns. A log that does not have the line which the
// store names is not comparable: recall says so.
func (l *Log) findUnsettled() error {
	l.unsettled.End = l.head
	if l.o.Store == nil || l.head == genesis {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
	defer cancel()
	mark, err := l.settledMark(ctx)
	if err != nil {
		return err
	}
	if what, err := l.misses(mark); mark != (Head{}) && (what != "" || err != nil) {
		return err // recall has said what is missing
	}
	after, err := l.fileBefore(mark.Seq + 1)
	if err != nil {
		return err
	}
	var interrupted uuid.UUID
	read(context.Background(), os.DirFS(filepath.Dir(l.path)), filepath.Base(l.path), after, false, func(line []byte) bool {
		f, err := parseFrame(line)
		return err == nil && f.seq > mark.Seq && f.check(l.mac) == nil
	}, func(r Record, readErr error) bool {
		switch {
		case errors.Is(readErr, fs.ErrNotExist):
		case readErr != nil:
			err = readErr
			return false
		case r.Kind == LogClosed:
			interrupted = uuid.Nil
		case r.Kind == LogOpened:
			// A clean stop that follows is another process's.
			if interrupted != uuid.Nil {
				l.unsettled.Interrupted = interrupted
			}
			interrupted = uuid.Nil
		case r.Change != uuid.Nil:
			l.unsettled.Records = append(l.unsettled.Records, r)
			l.unsettled.Interrupted = uuid.Nil
			interrupted = r.Change
		}
		return true
	})
	if interrupted != uuid.Nil {
		l.unsettled.Interrupted = interrupted
	}
	return err
}

// settledMark returns the last line that the store knows: of this log by its name, else
// of a log that has been given this name. The zero Head: none, so that all changes of the
// log are missing from the store.
func (l *Log) settledMark(ctx context.Context) (Head, error) {
	if mark, err := l.settledByName(ctx); err != nil || mark != (Head{}) {
		return mark, err
	}
	var marks []Head
	for entry, err := range l.o.Store.List(ctx, storekey.AuditSettled) {
		if err != nil {
			return Head{}, err
		}
		mark, err := ParseHead(string(entry.Value))
		if err != nil {
			return Head{}, err
		}
		marks = append(marks, mark)
	}
	var best Head
	for _, mark := range marks {
		what, err := l.misses(mark)
		if err != nil {
			return Head{}, err
		}
		if what == "" && mark.Seq > best.Seq {
			best = mark
		}
	}
	return best, nil
}

// settledByName returns the last line that the store knows of the log of this name; the
// zero Head: none.
func (l *Log) settledByName(ctx context.Context) (Head, error) {
	entry, err := l.o.Store.Get(ctx, storekey.AuditSettled+l.nameHash())
	if errors.Is(err, storage.ErrNotFound) {
		return Head{}, nil
	}
	if err != nil {
		return Head{}, fmt.Errorf("reading from the token store which changes it has: %w", err)
	}
	mark, err := ParseHead(string(entry.Value))
	if err != nil {
		return Head{}, fmt.Errorf("record %q: %w", entry.Key, err)
	}
	return mark, nil
}

// fileBefore returns behind which file put aside the file with the line seq comes; 0: it is
// the first.
func (l *Log) fileBefore(seq uint64) (after uint64, _ error) {
	old, err := l.putAside()
	if err != nil {
		return 0, err
	}
	for i, first := range old {
		if first > seq {
			break
		}
		after = 0
		if i > 0 {
			after = old[i-1]
		}
	}
	if n := len(old); n > 0 && l.size > 0 && l.first <= seq {
		after = old[n-1]
	}
	return after, nil
}
