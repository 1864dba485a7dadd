package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// listAside returns the seqs of the first lines of the files of log name that were
// put aside, rising, as their names tell.
func listAside(fsys fs.FS, name string) ([]uint64, error) {
	entries, err := fs.ReadDir(fsys, path.Dir(name))
	if err != nil {
		return nil, err
	}
	stem, ext := splitName(path.Base(name))
	var firsts []uint64
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stem+"-")
		digits, isLog := strings.CutSuffix(digits, ext)
		if first, err := strconv.ParseUint(digits, 10, 64); err == nil && ok && isLog && len(digits) == 20 {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// A walker goes through the files of a log from the oldest to the newest, while it
// is written.
type walker struct {
	fsys  fs.FS
	name  string
	after uint64 // files put aside whose first line is up to this one have been read
}

// next opens the next file. The newest is the last one, and the error is
// fs.ErrNotExist if there is none.
func (w *walker) next() (file fs.File, name string, newest bool, err error) {
	for {
		// The newest is opened before the others are listed: should it be put aside
		// meanwhile, it is listed.
		newestFile, newestErr := w.fsys.Open(w.name)
		firsts, err := listAside(w.fsys, w.name)
		if err != nil {
			if newestErr == nil {
				_ = newestFile.Close()
			}
			return nil, w.name, true, err
		}
		at, found := slices.BinarySearch(firsts, w.after)
		if found {
			at++
		}
		if at == len(firsts) {
			return newestFile, w.name, true, newestErr
		}
		if newestErr == nil {
			_ = newestFile.Close()
		}
		w.after = firsts[at]
		name := asideName(w.name, firsts[at])
		file, err := w.fsys.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just removed, as it was too old
		}
		return file, name, false, err
	}
}

var errLong = fmt.Errorf("is longer than %d bytes, which no line of an audit log is", maxLine)

// A lineReader reads lines of bounded length. At the end of the file it keeps what
// there is of an incomplete line, and can go on when the file has grown.
type lineReader struct {
	r    *bufio.Reader
	torn []byte
	long bool
	line int // the number of the line read last, from 1
}

func newLineReader(file io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(file, 64<<10)}
}

// next returns the next line without its end, which is good until the next call,
// errLong, or io.EOF.
func (r *lineReader) next() ([]byte, error) {
	for {
		piece, err := r.r.ReadSlice('\n')
		if len(r.torn)+len(piece) > maxLine {
			r.long = true
			piece, r.torn = piece[:0], r.torn[:0]
		}
		switch {
		case err == nil:
			r.line++
			torn, long := r.torn, r.long
			r.torn, r.long = r.torn[:0], false
			if long {
				return nil, errLong
			}
			if len(torn) > 0 {
				piece = append(torn, piece...)
			}
			return piece[:len(piece)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			r.torn = append(r.torn, piece...)
		default:
			r.torn = append(r.torn, piece...)
			return nil, err
		}
	}
}

// incomplete tells whether there is part of a line at the end.
func (r *lineReader) incomplete() bool { return r.long || len(r.torn) > 0 }

// A Filter says which events Find looks for. What is not set matches all.
type Filter struct {
	TokenID uuid.UUID
	Owner   string
	Kind    Kind // one that ends with a dot is for all that begin so: "token."
	Since   time.Time
	Until   time.Time // the first moment that is not meant
	Text    string    // within any text of the event, in this very case
}

func (f *Filter) match(r *Record) bool {
	group := strings.HasSuffix(string(f.Kind), ".") && strings.HasPrefix(string(r.Kind), string(f.Kind))
	switch {
	case f.TokenID != uuid.Nil && r.TokenID != f.TokenID,
		f.Owner != "" && r.Owner != f.Owner,
		f.Kind != "" && r.Kind != f.Kind && !group,
		!f.Since.IsZero() && r.Time.Before(f.Since),
		!f.Until.IsZero() && !r.Time.Before(f.Until):
		return false
	}
	if f.Text == "" {
		return true
	}
	for _, s := range r.texts() {
		if strings.Contains(*s, f.Text) {
			return true
		}
	}
	return false
}

// Find yields the events that a filter matches, from the oldest to the newest, of
// the log whose newest file is name in fsys (a path with slashes). The log may be
// written meanwhile. A line that can't be read is yielded as an error that names
// it, after which Find goes on; whether the lines are genuine is for Verify.
func Find(ctx context.Context, fsys fs.FS, name string, filter Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		id := ""
		if filter.TokenID != uuid.Nil {
			id = filter.TokenID.String()
		}
		read(ctx, fsys, name, 0, false, func(line []byte) bool {
			return id == "" || bytes.Contains(line, []byte(id))
		}, func(r Record, err error) bool {
			return err == nil && !filter.match(&r) || yield(r, err)
		})
	}
}

// A Set is the logs of one gateway, to be read as one. Changes come first, then denials.
type Set struct {
	FS    fs.FS
	Names []string // the newest file of each log, paths with slashes
}

// DenialsName returns the name of the log of denials that belongs to a log.
func DenialsName(name string) string {
	stem, ext := splitName(name)
	return stem + ".denials" + ext
}

// SetOf returns the log with the newest file name and its log of denials, if there is one.
func SetOf(fsys fs.FS, name string) Set {
	s := Set{fsys, []string{name}}
	if _, err := fs.Stat(fsys, DenialsName(name)); err == nil {
		s.Names = append(s.Names, DenialsName(name))
	}
	return s
}

// Find yields the events of all logs that a filter matches, in the order of their times.
func (s Set) Find(ctx context.Context, filter Filter) iter.Seq2[Record, error] {
	all := make([]iter.Seq2[Record, error], len(s.Names))
	for i, name := range s.Names {
		all[i] = Find(ctx, s.FS, name, filter)
	}
	return merge(all)
}

// Tail yields the last n events of all logs. If it is to follow, it then waits for new ones,
// until ctx ends.
func (s Set) Tail(ctx context.Context, n int, follow bool) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var last []recordOrError
		all := make([]iter.Seq2[Record, error], len(s.Names))
		back := n
		if follow { // also with none to show, and behind broken lines, it has to be known what was there
			back = max(n, followBack)
		}
		for i, name := range s.Names {
			all[i] = Tail(ctx, s.FS, name, back, false)
		}
		seen := make(map[string]uint64, len(s.Names)) // the last line that was read, by log
		broken := make(map[string]bool)               // lines that can't be read, by their errors
		for i, name := range s.Names {
			tail := all[i]
			all[i] = func(yield func(Record, error) bool) {
				for r, err := range tail {
					seen[name] = max(seen[name], r.Seq)
					if errors.As(err, new(*badLine)) {
						broken[err.Error()] = true
					}
					if !yield(r, err) {
						return
					}
				}
			}
		}
		for r, err := range merge(all) {
			last = append(last, recordOrError{r, err})
		}
		for _, r := range last[max(0, len(last)-n):] {
			if !yield(r.Record, r.error) {
				return
			}
		}
		if !follow {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		come := make(chan recordOrError)
		var following sync.WaitGroup
		defer following.Wait()
		defer cancel()
		for _, name := range s.Names {
			following.Go(func() {
				// Some lines before the ones to come, as more may have come since.
				for r, err := range Tail(ctx, s.FS, name, back, true) {
					if err == nil && r.Seq <= seen[name] || err != nil && broken[err.Error()] {
						continue
					}
					select {
					case come <- recordOrError{r, err}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		for {
			select {
			case r := <-come:
				if !yield(r.Record, r.error) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// followBack is how many lines Tail reads again when it begins to follow.
const followBack = 1000

type recordOrError struct {
	Record
	error
}

// merge yields the records of several logs in the order of their times.
func merge(all []iter.Seq2[Record, error]) iter.Seq2[Record, error] {
	if len(all) == 1 {
		return all[0]
	}
	return func(yield func(Record, error) bool) {
		type source struct {
			next func() (Record, error, bool)
			head recordOrError
		}
		var sources []*source
		advance := func(s *source) bool {
			r, err, ok := s.next()
			s.head = recordOrError{r, err}
			return ok
		}
		for _, seq := range all {
			next, stop := iter.Pull2(seq)
			defer stop()
			if s := (&source{next: next}); advance(s) {
				sources = append(sources, s)
			}
		}
		for len(sources) > 0 {
			// An error has no time and so comes first.
			first := slices.MinFunc(sources, func(a, b *source) int { return a.head.Time.Compare(b.head.Time) })
			if !yield(first.head.Record, first.head.error) {
				return
			}
			if !advance(first) {
				sources = slices.DeleteFunc(sources, func(s *source) bool { return s == first })
			}
		}
	}
}

// pollEvery is how often Tail looks for new lines.
const pollEvery = 200 * time.Millisecond

// Tail yields the last n events. If it is to follow, it then waits for new ones,
// until ctx ends; they come at most a fifth of a second after they are in the file.
// Errors are as in Find.
func Tail(ctx context.Context, fsys fs.FS, name string, n int, follow bool) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		after, skip, err := findTail(ctx, fsys, name, n)
		if err != nil {
			yield(Record{}, err)
			return
		}
		read(ctx, fsys, name, after, follow, func([]byte) bool {
			skip--
			return skip < 0
		}, yield)
	}
}

// findTail returns behind which file put aside the last n lines begin, and how many
// lines come before them.
func findTail(ctx context.Context, fsys fs.FS, name string, n int) (after uint64, skip int, err error) {
	firsts, err := listAside(fsys, name)
	if err != nil {
		return 0, 0, logError(name, err)
	}
	names := []string{name}
	for _, first := range slices.Backward(firsts) {
		names = append(names, asideName(name, first))
	}
	total := 0
	for i, file := range names {
		lines, err := countLines(ctx, fsys, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, 0, logError(file, err)
		}
		if total += lines; total >= n || i == len(names)-1 {
			if before := len(firsts) - 1 - i; before >= 0 {
				after = firsts[before]
			}
			break
		}
	}
	return after, max(total-n, 0), nil
}

func countLines(ctx context.Context, fsys fs.FS, name string) (lines int, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	chunk := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := file.Read(chunk)
		lines += bytes.Count(chunk[:n], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

// read yields the lines that are wanted of the files behind the one put aside under
// after.
func read(ctx context.Context, fsys fs.FS, name string, after uint64, follow bool, want func(line []byte) bool, yield func(Record, error) bool) {
	w := &walker{fsys: fsys, name: name, after: after}
	for {
		file, fileName, newest, err := w.next()
		if errors.Is(err, fs.ErrNotExist) && newest && (w.after > 0 || follow) {
			// The log has just been rotated, or is yet to come.
			if !follow || !sleep(ctx, pollEvery) {
				return
			}
			continue
		}
		if err != nil {
			yield(Record{}, logError(fileName, err))
			return
		}
		goOn := readFile(ctx, w, file, fileName, newest && follow, want, yield)
		_ = file.Close()
		if !goOn || newest && !follow {
			return
		}
	}
}

// readFile yields the lines of one file, and tells whether to go on with the next.
// The newest is followed until it has been put aside.
func readFile(ctx context.Context, w *walker, file io.Reader, name string, follow bool, want func([]byte) bool, yield func(Record, error) bool) bool {
	r := newLineReader(file)
	var last uint64 // the seq of the line read last
	for ctx.Err() == nil {
		line, err := r.next()
		switch {
		case errors.Is(err, io.EOF) && follow:
			firsts, err := listAside(w.fsys, w.name)
			if err != nil {
				yield(Record{}, logError(name, err))
				return false
			}
			// Nothing is added to what has been put aside: it is read to its end once more.
			follow = len(firsts) == 0 || firsts[len(firsts)-1] <= w.after
			if follow && !sleep(ctx, pollEvery) {
				return false
			}
			continue
		case errors.Is(err, io.EOF):
			w.after = max(w.after, last) // the file may have got a name by now
			return true
		case errors.Is(err, errLong):
			if !yield(Record{}, lineError(name, r.line, err)) {
				return false
			}
			continue
		case err != nil:
			yield(Record{}, logError(name, err))
			return false
		}
		if last > 0 || follow {
			if f, err := parseFrame(line); err == nil {
				last = f.seq
			}
		}
		if !want(line) {
			continue
		}
		record, err := parseRecord(line)
		if err != nil {
			err = lineError(name, r.line, err)
		}
		if !yield(record, err) {
			return false
		}
	}
	yield(Record{}, ctx.Err())
	return false
}

// sleep tells whether it has slept all the while.
func sleep(ctx context.Context, while time.Duration) bool {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func logError(name string, err error) error { return fmt.Errorf("audit log %q: %w", name, err) }

func lineError(name string, line int, err error) error { return &badLine{name, line, err} }

// A badLine is a line that can't be read.
type badLine struct {
	name string
	line int
	err  error
}

func (b *badLine) Error() string {
	return fmt.Sprintf("audit log %q, line %d %v", b.name, b.line, b.err)
}

func (b *badLine) Unwrap() error { return b.err }
