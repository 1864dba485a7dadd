package gateway

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// A Redactor hides secrets in finished log lines, in JSON or with JSON in them. It
// looks at the line and not at fields, because a secret can stand anywhere: in a
// URI, a Referer, an error that quotes one.
//
// It runs on each line of an access log, so most of it is written by hand: the
// same in regular expressions takes fifty times as long.
type Redactor struct {
	fields     names
	parameters names
}

// secretFields are hidden under their names, in any header or as a parameter.
// Caddy itself hides Cookie, Set-Cookie, Authorization and Proxy-Authorization,
// unless told not to.
var secretFields = []string{"Jenkins-Crumb", ".crumb", "Secret-Key", "Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization"}

// secretParameters travel in URLs: the trigger token of a job, and the crumb of a
// multipart form.
var secretParameters = []string{"token", "Jenkins-Crumb", ".crumb"}

// NewRedactor returns a redactor that also hides the headers and parameters of
// the names hide.
func NewRedactor(hide []string) (*Redactor, error) {
	for _, name := range hide {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("%q is not a name of a header or parameter that could be hidden", name)
		}
	}
	r := &Redactor{fields: make(names), parameters: make(names)}
	r.fields.add(secretFields)
	r.fields.add(hide)
	r.parameters.add(secretParameters)
	r.parameters.add(hide)
	return r, nil
}

// Line returns a line with its secrets hidden, and whether there were any. If not,
// it is line itself. JSON stays JSON.
func (r *Redactor) Line(line []byte) (_ []byte, changed bool) {
	for _, hide := range []func([]byte) []byte{hideNative, hideJenkins, r.hideFields, r.hideParameters} {
		if hidden := hide(line); hidden != nil {
			line, changed = hidden, true
		}
	}
	return line, changed
}

const redacted = "REDACTED"

// Native tokens, cut and escaped ones included.
var (
	nativePattern  = regexp.MustCompile(`(?:c|%63)(?:g|%67)(?:_|%5[Ff])(?:[0-9A-Za-z]|%[3-7][0-9A-Fa-f]){16,}`)
	nativeLiterals = [][]byte{[]byte("cg_"), []byte("cg%5"), []byte("%63"), []byte("%67")} // nearly no line has one
)

func hideNative(line []byte) []byte {
	for _, literal := range nativeLiterals {
		if bytes.Contains(line, literal) {
			if nativePattern.Match(line) {
				return nativePattern.ReplaceAll(line, []byte(redacted))
			}
			return nil
		}
	}
	return nil
}

// hideJenkins hides tokens in Jenkins' format. A longer run of hex digits is
// something else, unless what comes before is an escape: user%3A11…
func hideJenkins(line []byte) []byte {
	const length = 2 + 32
	var out []byte
	done := 0
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte("11"))
		if i < 0 || len(line)-at-i < length {
			break
		}
		start := at + i
		end := start + 2
		for end < len(line) && isLowerHex(line[end]) {
			end++
		}
		if end-start != length || end < len(line) && isAlnum(line[end]) || start > 0 && isAlnum(line[start-1]) && !endsEscape(line[:start]) {
			at = start + 1
			continue
		}
		out = append(append(out, line[done:start]...), redacted...)
		done, at = end, end
	}
	return finish(out, line, done)
}

// endsEscape tells whether b ends in a percent-escape, or in one of JSON such as
// \n.
func endsEscape(b []byte) bool {
	n := len(b)
	return n > 2 && b[n-3] == '%' && isHex(b[n-2]) && isHex(b[n-1]) || n > 1 && b[n-2] == '\\' && b[n-1] != 'u'
}

// hideFields hides the values of secret names in JSON.
func (r *Redactor) hideFields(line []byte) []byte {
	const by = `["` + redacted + `"]`
	var out []byte
	done := 0
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(`":`))
		if i < 0 {
			break
		}
		quote := at + i
		at = quote + len(`":`)
		if !r.fields.has(line[bytes.LastIndexByte(line[done:quote], '"')+done+1 : quote]) {
			continue
		}
		end := valueEnd(line, at)
		if string(bytes.TrimSpace(line[at:end])) != by {
			out = append(append(out, line[done:at]...), by...)
			done = end
		}
		at = end
	}
	return finish(out, line, done)
}

// valueEnd returns where the JSON value ends that begins at at, or the line if it
// is cut off before.
func valueEnd(line []byte, at int) int {
	depth, begun := 0, false
	for i := at; i < len(line); i++ {
		switch line[i] {
		case ' ', '\t', '\r', '\n':
			if begun && depth == 0 {
				return i
			}
			continue
		case ',':
			if depth == 0 {
				return i
			}
		case '"':
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return min(i+1, len(line))
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		}
		begun = true
	}
	return len(bytes.TrimRight(line, "\r\n"))
}

// equalsSigns are = as it stands in a URL, and in a URL inside of one: Jenkins'
// log-in page is told in that way where to go on.
var equalsSigns = [][]byte{[]byte("="), []byte("%3D"), []byte("%3d")}

// hideParameters hides the values of secret parameters, and of cookies that were
// quoted somewhere.
func (r *Redactor) hideParameters(line []byte) []byte {
	changed := false
	for _, sign := range equalsSigns {
		var out []byte
		done := 0
		for at := 0; ; {
			i := bytes.Index(line[at:], sign)
			if i < 0 {
				break
			}
			equals := at + i
			at = equals + len(sign)
			start := equals
			for start > done && isNameByte(line[start-1]) {
				start--
			}
			name, end := line[start:equals], at
			switch {
			case bytes.HasPrefix(name, []byte("JSESSIONID")) || string(name) == "remember-me":
				end += untilAny(line[at:], ";,\"\\ \t\r\n")
			case r.isParameter(line[:start], name):
				end += parameterEnd(line[at:])
			}
			if end > at && string(line[at:end]) != redacted {
				out = append(append(out, line[done:at]...), redacted...)
				done = end
			}
			at = end
		}
		if out != nil {
			line, changed = finish(out, line, done), true
		}
	}
	if !changed {
		return nil
	}
	return line
}

// isParameter tells whether name, which follows before, is that of a secret
// parameter. The separator can be escaped by a URL around it, or by a JSON encoder
// that is careful with HTML; then its digits are taken for a part of the name.
func (r *Redactor) isParameter(before, name []byte) bool {
	if len(before) == 0 {
		return false
	}
	switch before[len(before)-1] {
	case '?', '&':
		return r.parameters.has(name)
	case '%':
		return len(name) > 2 && (strings.EqualFold(string(name[:2]), "3F") || string(name[:2]) == "26") && r.parameters.has(name[2:])
	case '\\':
		return bytes.HasPrefix(name, []byte("u0026")) && r.parameters.has(name[len("u0026"):])
	}
	return false
}

// parameterEnd returns where the value of a parameter ends, with which b begins.
func parameterEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '&' || c == '#' || c == '"' || c <= ' ':
			return i
		case c == '%' && (bytes.HasPrefix(b[i:], []byte("%26")) || bytes.HasPrefix(b[i:], []byte("%23"))):
			return i
		case c == '\\' && bytes.HasPrefix(b[i:], []byte(`\u0026`)):
			return i
		case c == '\\': // \" and its like are one character
			i++
		}
	}
	return len(b)
}

func untilAny(b []byte, chars string) int {
	if i := bytes.IndexAny(b, chars); i >= 0 {
		return i
	}
	return len(b)
}

// finish returns out with what of line is left from done on, or nil if out is.
func finish(out, line []byte, done int) []byte {
	if out == nil {
		return nil
	}
	return append(out, line[done:]...)
}

func isLowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }
func isHex(c byte) bool      { return isLowerHex(c) || 'A' <= c && c <= 'F' }
func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
func isNameByte(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' }

// names is a set of names that are the same in any case.
type names map[string]bool

const maxName = 128

func (n names) add(list []string) {
	for _, name := range list {
		n[strings.ToLower(name)] = true
	}
}

func (n names) has(name []byte) bool {
	var lower [maxName]byte
	if len(name) > maxName {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return n[string(lower[:len(name)])]
}
