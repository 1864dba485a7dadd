package audit

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A Kind says what has happened. Kinds that begin with "log." are the log's own.
type Kind string

// The kinds of changes, and of what happens to tokens, are those of token.Event. These are
// the kinds of what is seen at requests, for Note.
const (
	RequestDenied   Kind = "request.denied"
	RequestObserved Kind = "request.observed" // a scope in observe mode would have refused it
	RequestShadowed Kind = "request.shadowed" // Jenkins and the gateway decide differently
)

// The kinds that a Log writes by itself.
const (
	LogOpened   Kind = "log.opened"
	LogClosed   Kind = "log.closed"
	LogRepaired Kind = "log.repaired" // an incomplete last line was put aside
	LogRemoved  Kind = "log.removed"  // old files are removed
	LogCut      Kind = "log.cut"      // lines that had been written were missing at the start
)

// Kinds are all kinds beside those of token.Event.
var Kinds = []Kind{
	RequestDenied, RequestObserved, RequestShadowed, LogOpened, LogClosed, LogRepaired,
	LogRemoved, LogCut,
}

// own tells whether k is kept for the log itself.
func (k Kind) own() bool { return strings.HasPrefix(string(k), ownKinds) }

const ownKinds = "log."

// A Via says on which way a change has come.
type Via string

// The ways of changes.
const (
	ViaAdmin   Via = "admin api"
	ViaPage    Via = "page"
	ViaJenkins Via = "jenkins endpoint"
	ViaGateway Via = "gateway"
)

// An Event is what one line of the log tells. Only Kind must be set.
//
// No field may hold a secret. Should a text hold one all the same, "[redacted]" is
// written in its place. Texts longer than 512 bytes are cut, and say so; characters
// that do not print are written as U+FFFD, so that a line is safe on a terminal.
type Event struct {
	Time time.Time // written in UTC, to the millisecond; zero: when it is handed over
	Kind Kind

	// Failed marks a change that the log has announced and that could then not be
	// stored. All else is as in the announcement, and Reason says what went wrong.
	Failed bool

	Actor     string // who did it, as they were known to Via
	Via       Via
	Client    string // the network address it came from
	TokenID   uuid.UUID
	Owner     string // the user whose token, profile or request it is
	TokenName string
	Before    string // what a change has replaced, in short
	After     string
	Reason    string
	PathClass string // never the path, which may hold anything
	Method    string

	// Change identifies a change, so that its lines are recognised: all lines of one
	// announcement and their Failed lines share it. uuid.Nil: the event changes nothing in
	// the store.
	Change uuid.UUID

	// Count is how many events the line stands for, which are not written singly. 0: one.
	Count uint64

	// Through is of LogRemoved: the highest seq that was removed.
	Through uint64
}

// maxText bounds each text of an Event, in bytes.
const maxText = 512

// texts returns the fields that hold what comes from outside.
func (e *Event) texts() [11]*string {
	return [...]*string{(*string)(&e.Kind), (*string)(&e.Via), &e.Actor, &e.Client, &e.Owner, &e.TokenName,
		&e.Before, &e.After, &e.Reason, &e.PathClass, &e.Method}
}

// keep makes e independent of the memory of its caller: a method may be a piece of
// a whole request head. It allocates once.
func (e *Event) keep() {
	texts := e.texts()
	size := 0
	for _, s := range texts {
		if len(*s) > maxText {
			*s = clean(*s)
		}
		size += len(*s)
	}
	var b strings.Builder
	b.Grow(size)
	for _, s := range texts {
		b.WriteString(*s)
	}
	all := b.String()
	for _, s := range texts {
		*s, all = all[:len(*s)], all[len(*s):]
	}
}

const redacted = "[redacted]"

// clean returns text as it is written. What clean returns it leaves as it is.
func clean(text string) string {
	// A secret that begins within the limit ends within this.
	const enough = maxText + 64
	full := len(text)
	text = text[:min(full, enough)]
	if holdsSecret(text) {
		return redacted
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
		text = strings.Map(func(r rune) rune {
			if unprintable(r) {
				return utf8.RuneError
			}
			return r // for a byte that is no UTF-8 it is utf8.RuneError already
		}, text)
	}
	if full <= maxText && len(text) <= maxText {
		return text
	}
	const mark = "…[cut]"
	text = text[:min(len(text), maxText-len(mark))]
	for !utf8.ValidString(text) { // not within a character
		text = text[:len(text)-1]
	}
	if text += mark; holdsSecret(text) { // the end of a word has made it one
		return redacted
	}
	return text
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// holdsSecret errs towards yes. The Jenkins format has no checksum to be certain
// by, and in a log a word that merely looks like a token is no loss.
func holdsSecret(text string) bool {
	if token.ContainsSecret(text) {
		return true
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if _, err := token.Parse(word); err == nil {
			return true
		}
	}
	return false
}
