package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

// flushEach is after how many rows they are printed. Somebody who pages through a
// hundred thousand tokens sees the first at once.
const flushEach = 100

// A table prints rows in columns, a few at a time. A column is as wide as what has
// been in it so far, so that up to flushEach rows come out as if all were known.
type table struct {
	out    io.Writer
	indent string
	widths []int
	rows   [][]string
}

func (t *table) row(cells ...string) error {
	t.rows = append(t.rows, cells)
	if len(t.rows) < flushEach {
		return nil
	}
	return t.flush()
}

func (t *table) flush() error {
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text bytes.Buffer
	for _, row := range t.rows {
		text.WriteString(t.indent)
		for i, cell := range row {
			text.WriteString(cell)
			if i < len(row)-1 {
				text.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		text.WriteByte('\n')
	}
	t.rows = t.rows[:0]
	_, err := t.out.Write(text.Bytes())
	return err
}

const legend = "! is for what expires soon, was not used within a week of its creation, or is over 180 days old or unused; !! for over 360 days."

// printTokens prints tokens as they come, and returns how many there were.
func (e *Env) printTokens(tokens iter.Seq2[admin.Token, error], indent string) (n int, err error) {
	list := &table{out: e.Stdout, indent: indent}
	marked := false
	for t, err := range tokens {
		if err != nil {
			return n, errors.Join(err, list.flush())
		}
		if n++; n == 1 {
			if err := list.row("USER", "NAME", "STATE", "EXPIRES", "LAST USED", "AGE", "NOTES", "ID"); err != nil {
				return n, err
			}
		}
		row := e.tokenRow(&t)
		marked = marked || strings.Contains(strings.Join(row[3:6], ""), "!")
		if err := list.row(row...); err != nil {
			return n, err
		}
	}
	if err := list.flush(); err != nil {
		return n, err
	}
	if marked && indent == "" {
		fmt.Fprintln(e.Stderr, legend)
	}
	return n, nil
}

func (e *Env) tokenRow(t *admin.Token) []string {
	expires, used := e.since(t.Expires), e.since(t.Uses.Last)+bangs(t.Marks.LastUse)
	if t.Marks.Expiring && !t.Marks.Replaced {
		expires += " !"
	}
	if t.Marks.NeverUsed {
		used += " !"
	}
	notes := strings.Join(notesOf(t), ", ")
	if notes == "" {
		notes = "-"
	}
	return []string{t.User, t.Name, t.State, expires, used, e.age(t.Created) + bangs(t.Marks.Age), notes, t.ID}
}

func bangs(level string) string {
	return map[string]string{"warning": " !", "error": " !!"}[level]
}

// notesOf returns in words what is to be noticed of a token beside its times.
func notesOf(t *admin.Token) (notes []string) {
	if t.Marks.Legacy {
		notes = append(notes, "legacy")
	}
	switch {
	case t.Observe:
		notes = append(notes, "observed")
	case t.Marks.Unlimited:
		notes = append(notes, "no scopes")
	}
	if t.Marks.Replaced {
		notes = append(notes, "replaced")
	}
	return notes
}

// age tells how old something is.
func (e *Env) age(created admin.Time) string {
	switch {
	case created == 0:
		return "unknown"
	case e.Now().Unix()-int64(created) < int64(day/time.Second):
		return "today"
	}
	return strings.TrimSuffix(e.since(created), " ago")
}

// printTokensJSON prints tokens as they come, as one JSON object of which rest are
// further fields.
func (e *Env) printTokensJSON(tokens iter.Seq2[admin.Token, error], rest string) error {
	out := bufio.NewWriter(e.Stdout)
	n := 0
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("    ", "  ")
	encoder.SetEscapeHTML(false)
	for t, err := range tokens {
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		before := ",\n    "
		if n == 0 {
			before = "{\n  \"tokens\": [\n    "
		}
		text.Reset()
		if err := encoder.Encode(t); err != nil {
			return err
		}
		_, _ = out.WriteString(before)
		_, _ = out.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
		if n++; n%flushEach == 1 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		_, _ = out.WriteString("{\n  \"tokens\": []")
	} else {
		_, _ = out.WriteString("\n  ]")
	}
	_, _ = out.WriteString(rest + "\n}\n")
	return out.Flush()
}

// printTokensCSV prints tokens as they come, for a spreadsheet.
func (e *Env) printTokensCSV(tokens iter.Seq2[admin.Token, error]) error {
	out := csv.NewWriter(e.Stdout)
	head := []string{
		"user", "name", "state", "origin", "created", "expires", "last_used", "uses", "last_address", "agent",
		"scopes", "observe", "sources", "rate", "max_uses", "marks", "why", "replaced_by", "id",
	}
	if err := out.Write(head); err != nil {
		return err
	}
	n := 0
	for t, err := range tokens {
		if err != nil {
			out.Flush()
			return errors.Join(err, out.Error())
		}
		row := []string{
			t.User, t.Name, t.State, t.Origin, moment(t.Created), moment(t.Expires), moment(t.Uses.Last),
			strconv.FormatUint(t.Uses.Count, 10), t.Uses.LastAddress, t.Uses.Agent,
			strings.Join(t.Scopes, " "), strconv.FormatBool(t.Observe), strings.Join(t.Sources, " "),
			strconv.FormatUint(uint64(t.Rate), 10), strconv.FormatUint(t.MaxUses, 10),
			strings.Join(marksOf(&t), " "), t.Why, t.ReplacedBy, t.ID,
		}
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
		if n++; n%flushEach == 1 {
			out.Flush()
		}
	}
	out.Flush()
	return out.Error()
}

// cell returns a text that a spreadsheet does not take for a formula, which could
// send away what else is in the sheet: users choose the names of their tokens.
// What begins like one gets a ' in front, which also tells it from a text that
// begins with ' itself. The wide signs are those of East Asian keyboards.
func cell(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	if strings.ContainsRune("=+-@'\t\r\n＝＋－＠", first) && text != "" {
		return "'" + text
	}
	return text
}

func moment(t admin.Time) string {
	text, _ := t.MarshalText() // never an error
	return string(text)
}

// marksOf returns the marks of a token as words for a program.
func marksOf(t *admin.Token) (marks []string) {
	m := t.Marks
	for _, mark := range []struct {
		name string
		has  bool
	}{
		{"age_warning", m.Age == "warning"}, {"age_error", m.Age == "error"},
		{"last_use_warning", m.LastUse == "warning"}, {"last_use_error", m.LastUse == "error"},
		{"never_used", m.NeverUsed}, {"expiring", m.Expiring}, {"unending", m.Unending},
		{"legacy", m.Legacy}, {"unlimited", m.Unlimited}, {"replaced", m.Replaced},
	} {
		if mark.has {
			marks = append(marks, mark.name)
		}
	}
	return marks
}
