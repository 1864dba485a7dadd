package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/storage"
)

// headInterval is how often the head is kept in the store: what was written since can
// be cut off unnoticed if the gateway is killed. Tests shorten it.
var headInterval = 10 * time.Second

// headTimeout bounds each call of the store, for which lines wait.
const headTimeout = 5 * time.Second

// headKey is where the store keeps the head.
func (l *Log) headKey() string { return storekey.AuditHead + l.nameHash() }

// nameHash names the log in a key, which is short; a path need not be.
func (l *Log) nameHash() string {
	sum := sha256.Sum256([]byte(l.o.Name))
	return hex.EncodeToString(sum[:8])
}

// rememberHead keeps the head, and says so once if it can't.
func (l *Log) rememberHead() {
	err := l.keepHead()
	if err != nil && l.unkept == nil {
		l.warn(slog.LevelError, "lines that are cut off from the audit log may not be missed", "error", err)
	}
	l.unkept = err
}

// keepHead keeps the head in the store. It is one that is on disk for certain, so that
// no crash makes it seem to have been cut off.
func (l *Log) keepHead() error {
	if l.o.Store == nil {
		return nil
	}
	if l.file != nil && l.head != l.Head() {
		if err := l.sync(); err != nil {
			return fmt.Errorf("writing its last lines to the disk: %w", err)
		}
	}
	head := l.Head()
	if head == l.kept {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
	defer cancel()
	changes := []storage.Change{{Key: l.headKey(), Value: []byte(head.String()), Expect: storage.Any}}
	if l.cutOff {
		changes = append(changes, l.Settled(head)) // the one that the store has is gone
	}
	if _, err := l.o.Store.Apply(ctx, changes...); err != nil {
		return fmt.Errorf("keeping its last line in the token store: %w", err)
	}
	l.kept, l.cutOff = head, false
	return nil
}

// recall compares the log, which is open at its end, with the head in the store. What
// is missing the log itself says from then on: nothing is refused for it, since what is
// lost does not come back by that.
func (l *Log) recall() error {
	if l.o.Store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
	defer cancel()
	entry, err := l.o.Store.Get(ctx, l.headKey())
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading its last line from the token store: %w", err)
	}
	if l.kept, err = ParseHead(string(entry.Value)); err != nil {
		return fmt.Errorf("its last line in the token store: %w", err)
	}
	// After a kill, the line of the last change is often a later one.
	settled, err := l.settledByName(ctx)
	if err != nil {
		return err
	}
	if settled.Seq > l.kept.Seq {
		l.kept = settled
	}
	what, err := l.misses(l.kept)
	if what == "" || err != nil {
		return err
	}
	l.warn(slog.LevelError, "lines of the audit log are gone: they were cut off, or the log was replaced", "what", what, "last_line", l.kept.String())
	l.cutOff = true
	l.own = append(l.own, Event{Time: time.Now(), Kind: LogCut, Via: ViaGateway, Before: l.kept.String(), Reason: what})
	return nil
}

// misses says what is missing of a log that has had the line of head; "" if it is there.
func (l *Log) misses(head Head) (what string, _ error) {
	if head.Seq > l.head.Seq {
		return fmt.Sprintf("lines %d to %d are missing at the end", l.head.Seq+1, head.Seq), nil
	}
	path := l.path
	if l.size == 0 || head.Seq < l.first {
		old, err := l.putAside()
		if err != nil {
			return "", err
		}
		path = ""
		for _, first := range old {
			if first <= head.Seq {
				path = asideName(l.path, first)
			}
		}
		if path == "" { // its file is not kept any more; the log says so, which is for Verify to look at
			return "", nil
		}
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("line %d is missing", head.Seq), nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	for r := newLineReader(file); ; {
		line, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Sprintf("line %d is missing", head.Seq), nil
		case errors.Is(err, errLong):
			continue // for Verify to find
		case err != nil:
			return "", err
		}
		f, err := parseFrame(line)
		if err != nil || f.seq != head.Seq {
			continue
		}
		if f.check(l.mac) != nil || f.head() != head {
			return fmt.Sprintf("line %d is not the one that was written", head.Seq), nil
		}
		return "", nil
	}
}
