package jenkinshome

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep elements nest. Views of views come to some twenty.
const maxDepth = 256

// An element says what is looked for in a file of XStream's: elements inside it by
// name, or its text. What is not named is skipped.
type element struct {
	inside map[string]*element
	text   func(text []byte) error // for an element without others; text is wiped after the call
	open   func(at span)
	close  func(at span) error
}

// maxText bounds the text that is looked at; longer ones are an error. The longest
// are encrypted secrets and names.
const maxText = 8 << 10

// A span is where an element stands: its start tag in [start, inside), its end tag in
// [end, after). Those two are the same and empty if it is written <a/>.
type span struct {
	start, inside, end, after int
}

func (s span) selfClosed() bool { return s.end == s.after }

var (
	version11 = regexp.MustCompile(`^<\?xml\s+version\s*=\s*["']1(\.)1["']`)
	controls  = regexp.MustCompile(`&#(?:0*(?:[1-8]|1[124-9]|2[0-9]|3[01])|x0*(?:[1-8bcefBCEF]|1[0-9a-fA-F]));`)
	bom       = []byte("\uFEFF")
)

// downgrade makes XML 1.1, which Jenkins has written since 2.105 and encoding/xml
// refuses, into 1.0, in place and at the same length. What 1.1 allows in addition are
// references to control characters; they become tabs, which no id or name that the
// gateway takes holds either.
func downgrade(data []byte) {
	at := version11.FindSubmatchIndex(data)
	if at == nil {
		return
	}
	data[at[2]+1] = '0'
	for _, ref := range controls.FindAllIndex(data, -1) {
		digits := data[ref[0]+2 : ref[1]-1]
		if digits[0] == 'x' {
			digits = digits[1:]
		}
		for i := range digits {
			digits[i] = '0'
		}
		digits[len(digits)-1] = '9'
	}
}

// scan reads an XML document whose root is called root. It changes data where it is
// XML 1.1. Errors hold nothing of the document but the names asked for.
func scan(data []byte, root string, want *element) error {
	offset := 0
	if bytes.HasPrefix(data, bom) {
		offset, data = len(bom), data[len(bom):]
	}
	downgrade(data)
	if !utf8.Valid(data) {
		return errors.New("is not valid UTF-8: save the user once in Jenkins, which writes UTF-8")
	}
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "US-ASCII") || strings.EqualFold(charset, "ASCII") {
			return r, nil
		}
		return nil, errCharset
	}
	type open struct {
		what *element // nil if it is skipped
		at   span
	}
	var stack []open
	var text []byte
	defer func() { clear(text[:cap(text)]) }()
	done := false
	for {
		start := offset + int(dec.InputOffset())
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && done {
			return nil
		}
		if err != nil {
			return xmlError(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			var what *element
			switch {
			case len(stack) == maxDepth:
				return fmt.Errorf("nests more than %d elements: it is not read", maxDepth)
			case len(stack) > 0:
				if up := stack[len(stack)-1].what; up != nil {
					if up.text != nil {
						return errors.New("has an element where a text should be")
					}
					what = up.inside[name(tok.Name)]
				}
			case done || name(tok.Name) != root:
				return fmt.Errorf("is not a file of Jenkins with a <%s>", root)
			default:
				what = want
			}
			at := span{start: start, inside: offset + int(dec.InputOffset())}
			if what != nil && what.open != nil {
				what.open(at)
			}
			stack = append(stack, open{what, at})
		case xml.EndElement:
			last := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			last.at.end, last.at.after = start, offset+int(dec.InputOffset())
			if last.what != nil {
				if last.what.text != nil {
					err = last.what.text(text)
					clear(text)
					text = text[:0]
				}
				if err == nil && last.what.close != nil {
					err = last.what.close(last.at)
				}
				if err != nil {
					return err
				}
			}
			done = len(stack) == 0
		case xml.CharData:
			if len(stack) == 0 {
				if len(bytes.TrimSpace(tok)) > 0 {
					return fmt.Errorf("is not a file of Jenkins with a <%s>", root)
				}
			} else if what := stack[len(stack)-1].what; what != nil && what.text != nil {
				if len(text)+len(tok) > maxText {
					return fmt.Errorf("has a text of more than %d bytes where an id, a name or a hash should be", maxText)
				}
				if text == nil {
					text = make([]byte, 0, maxText) // never moved, so that all of it can be wiped
				}
				text = append(text, tok...)
				clear(tok) // the decoder's own copy
			}
		case xml.Directive:
			return errors.New("has a document type (DTD): Jenkins writes none, and it is not read")
		}
	}
}

// name returns the name of an element. XStream uses no namespaces; what has one is
// something else.
func name(n xml.Name) string {
	if n.Space != "" {
		return ""
	}
	return n.Local
}

var errCharset = errors.New("is in an encoding other than UTF-8: save the user once in Jenkins, which writes UTF-8")

// xmlError makes an error of the decoder one that quotes nothing: what it stumbled
// over might be a token.
func xmlError(err error) error {
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax) && syntax.Msg == "unexpected EOF":
		return fmt.Errorf("ends in the middle, in line %d: it is damaged", syntax.Line)
	case errors.As(err, &syntax):
		return fmt.Errorf("is not well-formed XML in line %d: it is damaged", syntax.Line)
	case errors.Is(err, io.EOF):
		return errors.New("is empty: it is damaged")
	case strings.HasSuffix(err.Error(), errCharset.Error()): // the decoder does not wrap
		return errCharset
	}
	return errors.New("is not XML that can be read: it is damaged")
}

// once returns the text function of an element that may stand there only once.
func once(what string, limit int, set func(text []byte) error) func([]byte) error {
	seen := false
	return func(text []byte) error {
		if seen {
			return fmt.Errorf("has two <%s> where one should be", what)
		}
		seen = true
		if len(text) > limit {
			return fmt.Errorf("has a <%s> of more than %d bytes", what, limit)
		}
		return set(text)
	}
}
