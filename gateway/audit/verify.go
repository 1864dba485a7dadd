package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// VerifyOptions are the settings of Verify. The zero value is good.
type VerifyOptions struct {
	// Key is the key that the log is written with. nil: the MACs are not looked at,
	// and a log that somebody has written anew as a whole passes.
	Key []byte

	// Head is a head that was kept elsewhere: its line must be there. Without it
	// lines that were cut off at the end are not missed. The zero Head: none.
	Head Head

	// Lost are the last lines of what is known to be gone: a log that says so is not
	// broken for that.
	Lost []Head

	// Wait is how long to wait for the rest of an incomplete last line, which a
	// running gateway may just be writing.
	Wait time.Duration
}

// A Report is what Verify has found up to the end, or to what is wrong.
type Report struct {
	Files    int
	Lines    uint64
	FirstSeq uint64 // of the oldest line that is kept; 1 if none was removed
	First    time.Time
	Last     time.Time
	Head     Head   // the last line
	Missing  uint64 // events that could not be written, as the lines say

	Failed   uint64 // lines of changes that were announced and could not be made
	Accepted int    // older token stores that an operator has accepted

	// Unclean counts the starts with no clean stop before: the gateway was killed,
	// or the end was cut off and the gateway started again.
	Unclean int
	// Closed tells whether the last line is the one of a clean stop.
	Closed bool
	// MACs tells whether the lines carry MACs.
	MACs bool
	// HeadFound tells whether the line of VerifyOptions.Head was seen. If it is in a
	// file that has been removed since, it is not.
	HeadFound bool
}

// A Broken is the error of Verify for a log that is not as it was written.
type Broken struct {
	File string
	Line int    // in the file, from 1; 0: it is about the file
	What string // in plain words
}

func (b *Broken) Error() string {
	if b.Line == 0 {
		return fmt.Sprintf("the audit log is broken: %s: %s", b.File, b.What)
	}
	return fmt.Sprintf("the audit log is broken: %s, line %d: %s", b.File, b.Line, b.What)
}

// Verify reads the whole log whose newest file is name in fsys (a path with
// slashes), and returns a *Broken for the first thing that is wrong. It needs no
// lock: the log may be written meanwhile.
func Verify(ctx context.Context, fsys fs.FS, name string, o VerifyOptions) (Report, error) {
	mac, err := newMAC(o.Key)
	if err != nil {
		return Report{}, logError(name, err)
	}
	v := &verifier{o: o, mac: mac, w: walker{fsys: fsys, name: name}}
	err = v.run(ctx)
	v.report.Head = v.head
	var broken *Broken
	if err != nil && !errors.As(err, &broken) {
		err = logError(name, err)
	}
	return v.report, err
}

type verifier struct {
	o      VerifyOptions
	mac    hash.Hash
	w      walker
	report Report

	oldest  string // the file with the oldest line
	head    Head   // the line before
	removed uint64 // up to where lines were removed, as the log says
}

func (v *verifier) run(ctx context.Context) error {
	for {
		file, name, newest, err := v.w.next()
		if errors.Is(err, fs.ErrNotExist) && v.report.Files > 0 {
			// For a moment of a rotation there is no newest file.
			if v.wait(ctx) {
				continue
			}
			return &Broken{File: name, What: "the file is missing: it was removed, or the gateway was killed while it began it"}
		}
		if err != nil {
			return err
		}
		if v.report.Files++; v.report.Files == 1 {
			v.oldest = name
		}
		err = v.file(ctx, file, name, newest)
		_ = file.Close()
		if err != nil {
			return err
		}
		if newest {
			return v.end(name)
		}
	}
}

// wait tells whether it has waited, for what may be about to be written.
func (v *verifier) wait(ctx context.Context) bool {
	if v.o.Wait <= 0 {
		return false
	}
	v.o.Wait -= pollEvery
	return sleep(ctx, pollEvery)
}

func (v *verifier) file(ctx context.Context, file io.Reader, name string, newest bool) error {
	r := newLineReader(file)
	for {
		line, err := r.next()
		switch {
		case errors.Is(err, io.EOF) && newest && (r.incomplete() || r.line == 0) && v.wait(ctx):
			continue
		case errors.Is(err, io.EOF) && r.incomplete():
			return &Broken{name, r.line + 1, "the line is incomplete: the file was cut off, or the gateway was killed and has not been started since"}
		case errors.Is(err, io.EOF) && r.line == 0:
			return &Broken{name, 0, "the file has no line: it was emptied, or the gateway was killed while it began it"}
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLong):
			return &Broken{name, r.line, "the line " + err.Error()}
		case err != nil:
			return err
		}
		named := v.w.after
		if newest || r.line > 1 {
			named = 0
		}
		if what := v.line(line, named); what != "" {
			return &Broken{name, r.line, what}
		}
		if r.line%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// line says what is wrong with the next line. named is the number that it has by
// the name of its file, or 0.
func (v *verifier) line(line []byte, named uint64) (what string) {
	f, err := parseFrame(line)
	if err == nil {
		err = f.check(v.mac)
	}
	if err != nil {
		return "the line " + err.Error()
	}
	at, err := time.Parse(timeLayout, string(f.time))
	if err != nil {
		return "the line has no valid time"
	}
	if v.report.Lines == 0 {
		if f.seq == 0 || f.seq == 1 && string(f.prev) != genesis.Hash {
			return "it has the number of a first line, but was written after another"
		}
		v.report.FirstSeq, v.report.First, v.report.MACs, v.report.Closed = f.seq, at, f.mac != nil, true
		v.head = Head{Seq: f.seq - 1, Hash: string(f.prev)}
		if what := v.compareHead(); what != "" {
			return what
		}
	}
	switch {
	case f.seq > v.head.Seq+1:
		return fmt.Sprintf("lines %d to %d of the log are missing before it", v.head.Seq+1, f.seq-1)
	case f.seq <= v.head.Seq:
		return fmt.Sprintf("it is line %d of the log and comes after line %d: it is a copy, or was moved", f.seq, v.head.Seq)
	case string(f.prev) != v.head.Hash:
		return "it was written after another line than the one before it: one of the two was replaced"
	case (f.mac != nil) != v.report.MACs:
		return "of it and the line before, only one has a MAC"
	case named != 0 && f.seq != named:
		return fmt.Sprintf("it is line %d of the log, by the name of its file it should be line %d", f.seq, named)
	}
	v.head = f.head()
	v.report.Lines++
	v.report.Last = at
	if what := v.compareHead(); what != "" {
		return what
	}
	return v.content(line, f.own)
}

// compareHead compares the line at the head with the one that was kept elsewhere.
func (v *verifier) compareHead() (what string) {
	if v.o.Head.Seq == 0 || v.head.Seq != v.o.Head.Seq {
		return ""
	}
	if v.head.Hash != v.o.Head.Hash {
		return fmt.Sprintf("line %d of the log is not the one of the head that was kept: the log was written anew", v.head.Seq)
	}
	v.report.HeadFound = true
	return ""
}

const acceptedField = `,"kind":"` + string(token.KindStoreAccepted) + `"`

// content looks at what a line says about the log.
func (v *verifier) content(line []byte, own bool) (what string) {
	closed := v.report.Closed
	v.report.Closed = false
	// In a text there would be a backslash before each quote.
	if !own && !bytes.Contains(line, []byte(`,"missing":`)) && !bytes.Contains(line, []byte(`,"failed":`)) && !bytes.Contains(line, []byte(acceptedField)) {
		return ""
	}
	r, err := parseRecord(line)
	if err != nil {
		return "the line " + err.Error()
	}
	v.report.Missing += r.Missing
	if r.Failed {
		v.report.Failed++
	}
	if r.Kind == Kind(token.KindStoreAccepted) {
		v.report.Accepted++
	}
	switch r.Kind {
	case LogOpened:
		if !closed {
			v.report.Unclean++
		}
	case LogClosed:
		v.report.Closed = true
	case LogRemoved:
		v.removed = max(v.removed, r.Through)
	case LogCut:
		lost, err := ParseHead(r.Before)
		if err != nil {
			return "the line says of no line that it was cut off"
		}
		if !slices.Contains(v.o.Lost, lost) {
			return fmt.Sprintf("when the gateway was started, lines of the log were gone that had been written, up to %s: %s", lost, r.Reason)
		}
	}
	return ""
}

// end checks what only the whole log can tell.
func (v *verifier) end(newest string) error {
	if first := v.report.FirstSeq; first-1 > v.removed {
		return &Broken{v.oldest, 0, fmt.Sprintf("lines %d to %d of the log, which came before it, are missing, and the log does not say that it has removed them", v.removed+1, first-1)}
	}
	if v.o.Head.Seq > v.head.Seq {
		return &Broken{newest, 0, fmt.Sprintf("lines %d to %d of the log are missing at its end: they were cut off", v.head.Seq+1, v.o.Head.Seq)}
	}
	return nil
}
