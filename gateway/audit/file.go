package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Open opens the log whose newest file is path, creates it and its directory
// (0700) unless they exist, and goes on with its chain. A last line that a crash
// has left incomplete is put into a file path.torn-SEQ, and the log says so.
//
// The lock is on the file path.lock, which stays: path itself is renamed when it
// is full. The files are for their owner alone (0600).
func Open(path string, o Options) (*Log, error) {
	l, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("audit log %q: %w", path, err)
	}
	return l, nil
}

func open(path string, o Options) (_ *Log, err error) {
	if o.Sizes, err = o.defaulted(); err != nil {
		return nil, err
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = 5 * time.Second
	}
	l := &Log{path: path, o: o, notes: make(chan Event, queued), appends: make(chan pending, 128),
		sizes: make(chan Sizes), stop: make(chan struct{}), done: make(chan struct{})}
	if l.mac, err = newMAC(o.Key); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("creating its directory: %w", err)
	}
	if l.lock, err = lock(path, o.LockTimeout); err != nil {
		return nil, err
	}
	err = l.resume()
	if err == nil {
		err = l.recall()
	}
	if err == nil {
		err = l.findUnsettled()
	}
	if err != nil {
		_ = l.lock.Close()
		if l.file != nil {
			_ = l.file.Close()
		}
		return nil, err
	}
	head := l.head
	l.synced.Store(&head)
	l.own = append(l.own, Event{Time: time.Now(), Kind: LogOpened, Via: ViaGateway})
	go l.run()
	return l, nil
}

// lock returns the locked file path.lock, with the number of this process in it.
func lock(path string, timeout time.Duration) (*os.File, error) {
	file, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("its lock: %w", err)
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		free, err := tryLock(file)
		if free {
			break
		}
		if err == nil && time.Now().Before(deadline) {
			continue
		}
		if err == nil {
			holder := "another process"
			number, _ := io.ReadAll(io.LimitReader(file, 20))
			if _, numberErr := strconv.Atoi(string(number)); numberErr == nil {
				holder = "process " + string(number)
			}
			err = fmt.Errorf("is in use by %s, which did not let go of it within %v: stop it, or name another file",
				holder, max(timeout, 0))
		}
		_ = file.Close()
		return nil, err
	}
	// It is for the error above alone, so it may fail on a full disk.
	if file.Truncate(0) == nil {
		_, _ = file.WriteString(strconv.Itoa(os.Getpid()))
	}
	return file, nil
}

// resume opens the newest file, and finds where the chain goes on.
func (l *Log) resume() error {
	l.head = genesis
	info, err := os.Lstat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file, name another")
	default:
		if err := l.reopen(info.Mode().Perm()); err != nil {
			return err
		}
	}
	if l.size == 0 {
		// The process may have been killed while it began a new file: then the one
		// before has the end.
		if err := l.resumeAside(); err != nil {
			return err
		}
	}
	if l.file == nil {
		return l.ready()
	}
	if info.Size() > l.size {
		if err := l.repair(info.Size() - l.size); err != nil {
			return fmt.Errorf("repairing its incomplete last line: %w", err)
		}
	}
	// What a process wrote before it was killed need not be on disk yet.
	return l.file.Sync()
}

// resumeAside finds the end of the chain in the newest file put aside, if any.
func (l *Log) resumeAside() error {
	old, err := l.putAside()
	if err != nil || len(old) == 0 {
		return err
	}
	path := asideName(l.path, old[len(old)-1])
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	whole, last, err := findEnd(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != whole || whole == 0 {
		return fmt.Errorf("%s does not end with a whole line; %s", path, moveAway)
	}
	return l.follow(path, last)
}

const moveAway = "look at it with verify, and move all files of the log away to begin a new one"

// follow makes line the one after which the chain goes on.
func (l *Log) follow(path string, line []byte) error {
	f, err := parseFrame(line)
	if err == nil {
		err = f.check(l.mac)
	}
	if err == nil && l.mac == nil && f.mac != nil {
		err = errors.New("has a MAC: open the log with its key")
	}
	if err != nil {
		return fmt.Errorf("the last line of %s %w; %s", path, err, moveAway)
	}
	l.head = f.head()
	return nil
}

// reopen opens the existing newest file, and finds its end.
func (l *Log) reopen(mode fs.FileMode) (err error) {
	if l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND, 0); err != nil {
		return err
	}
	if mode&0o077 != 0 {
		if err := l.file.Chmod(0o600); err != nil {
			return fmt.Errorf("its mode %#o lets others in and can't be changed, make it 0600: %w", mode, err)
		}
	}
	whole, last, err := findEnd(l.file)
	if err != nil {
		return err
	}
	if l.size = whole; whole == 0 {
		return nil
	}
	if err := l.follow(l.path, last); err != nil {
		return err
	}
	start := make([]byte, min(whole, maxLine))
	if _, err := l.file.ReadAt(start, 0); err != nil {
		return err
	}
	line, _, _ := bytes.Cut(start, []byte("\n"))
	f, err := parseFrame(line)
	if err != nil {
		return fmt.Errorf("its first line %w; %s", err, moveAway)
	}
	l.first = f.seq
	return nil
}

// findEnd returns the length of the whole lines of file, and the last of them
// without its end.
func findEnd(file *os.File) (whole int64, last []byte, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, nil, err
	}
	// A crash of the machine can leave any length of zeros behind the last line.
	chunk := make([]byte, maxLine)
	for end := info.Size(); end > 0; {
		start := max(end-maxLine, 0)
		if _, err := file.ReadAt(chunk[:end-start], start); err != nil {
			return 0, nil, err
		}
		if at := bytes.LastIndexByte(chunk[:end-start], '\n'); at >= 0 {
			whole = start + int64(at) + 1
			break
		}
		end = start
	}
	if whole == 0 {
		return 0, nil, nil
	}
	start := max(whole-1-maxLine, 0)
	last = chunk[:whole-1-start]
	if _, err := file.ReadAt(last, start); err != nil {
		return 0, nil, err
	}
	return whole, last[bytes.LastIndexByte(last, '\n')+1:], nil
}

// repair puts the torn bytes behind the whole lines into a file of their own.
func (l *Log) repair(torn int64) error {
	aside := fmt.Sprintf("%s.torn-%d", l.path, l.head.Seq+1)
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	kept := "are now in " + filepath.Base(aside)
	_, err = io.Copy(io.MultiWriter(file, sum), io.NewSectionReader(l.file, l.size, torn))
	if errors.Is(err, syscall.ENOSPC) {
		// A full disk must not stop the gateway from starting.
		sum.Reset()
		_, err = io.Copy(sum, io.NewSectionReader(l.file, l.size, torn))
		kept = "were cut off, as the disk was too full to keep them"
	}
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(l.path)); err != nil {
		return err
	}
	if err := l.cut(); err != nil {
		return err
	}
	l.own = append(l.own, Event{Time: time.Now(), Kind: LogRepaired, Via: ViaGateway,
		Reason: fmt.Sprintf("%d bytes of an incomplete line, SHA-256 %x, %s", torn, sum.Sum(nil), kept)})
	return nil
}

// cut removes what is behind the whole lines.
func (l *Log) cut() error {
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.dirty, l.room = false, 0
	return nil
}

// ready makes sure that the next line goes behind the last one, in the file that
// has the name.
func (l *Log) ready() error {
	if l.file == nil {
		file, err := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(l.path)); err != nil {
			_ = file.Close()
			_ = os.Remove(l.path) // it is empty
			return err
		}
		l.file, l.size, l.room, l.dirty = file, 0, 0, false
		return nil
	}
	if l.dirty {
		if err := l.cut(); err != nil {
			return fmt.Errorf("cutting off half a line: %w", err)
		}
	}
	have, err := l.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(l.path)
	if err != nil || !os.SameFile(have, named) {
		return errors.New("another program has moved or removed the file: put it back, or restart the gateway;" +
			" the log is rotated by the gateway, so keep logrotate away from it")
	}
	if have.Size() != l.size {
		return fmt.Errorf("another program has changed the file: it has %d bytes instead of %d", have.Size(), l.size)
	}
	return nil
}

// sync makes all lines durable, also those that nobody waits for.
func (l *Log) sync() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	head := l.head
	l.synced.Store(&head)
	return nil
}

// rotate puts the file aside under the seq of its first line. The next write
// begins a new one.
func (l *Log) rotate() error {
	if err := l.sync(); err != nil {
		return err
	}
	aside := asideName(l.path, l.first)
	if _, err := os.Lstat(aside); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("putting the full file aside: there is a file %s already", aside)
	}
	if err := os.Rename(l.path, aside); err != nil {
		return fmt.Errorf("putting the full file aside: %w", err)
	}
	_ = l.file.Truncate(l.size) // gives back what was allocated ahead
	_ = l.file.Close()          // synced
	l.file, l.size = nil, 0
	if err := l.removeOld(); err != nil {
		l.warn(slog.LevelError, "old files of the audit log were not removed", "error", err)
	}
	return nil
}

// removeOld removes the files that are not to be kept, once the log says so.
func (l *Log) removeOld() error {
	old, err := l.putAside()
	if err != nil {
		return err
	}
	doomed := 0
	if l.o.Keep > 0 {
		doomed = max(0, len(old)-l.o.Keep)
	}
	for l.o.KeepFor > 0 && doomed < len(old)-1 {
		// The time of its last line, unless a copy was put back, which is kept for longer.
		info, err := os.Stat(asideName(l.path, old[doomed]))
		if err != nil || time.Since(info.ModTime()) < l.o.KeepFor {
			break
		}
		doomed++
	}
	if doomed == 0 {
		return nil
	}
	through := old[doomed] - 1
	e := Event{Time: time.Now(), Kind: LogRemoved, Via: ViaGateway, Through: through,
		Reason: fmt.Sprintf("lines up to %d, %d files: %d are kept", through, doomed, len(old)-doomed)}
	if _, err := l.write([]pending{{events: one(e), own: true}}); err != nil {
		return err
	}
	for _, first := range old[:doomed] {
		err = errors.Join(err, os.Remove(asideName(l.path, first)))
	}
	return err
}

// putAside returns the seqs of the first lines of the files put aside, rising.
func (l *Log) putAside() ([]uint64, error) {
	return listAside(os.DirFS(filepath.Dir(l.path)), filepath.Base(l.path))
}

// asideName returns the name of the file put aside whose first line is first:
// audit-00000000000000000001.log for audit.log. Such names sort by themselves.
func asideName(path string, first uint64) string {
	stem, ext := splitName(path)
	return fmt.Sprintf("%s-%020d%s", stem, first, ext)
}

func splitName(path string) (stem, ext string) {
	ext = filepath.Ext(path)
	return strings.TrimSuffix(path, ext), ext
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
