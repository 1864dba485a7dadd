package gateway

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// A Redactor hides secrets in finished log lines, in JSON or with JSON in them. It
// looks at the line and not at fields, because a secret can stand anywhere: in a
// URI, a Referer, an error that quotes one.
//
// A secret can also be escaped: by a URL around it, by the JSON encoder, in HTML. So
// the line is searched as it is, and then with its escapes resolved, as often as there
// are any. Each view knows which byte of the line it has from where.
//
// It runs on each line of an access log, so it is written by hand: the same in regular
// expressions takes fifty times as long.
type Redactor struct {
	names      names // of JSON fields and parameters
	parameters names // of parameters only

	// Secrets returns what running gateways say beyond that, or nil. It is called for
	// each line, and may be nil.
	Secrets func() *Secrets
}

// SecretNames returns the headers and parameters that hold secrets in this
// configuration, beside those that do in all (endpoint.SecretNames).
func (c *Config) SecretNames() []string {
	return slices.DeleteFunc([]string{c.TokenHeader, c.CrumbField}, func(name string) bool { return name == "" })
}

// Secrets are what running gateways add to a Redactor. It does not change.
type Secrets struct {
	names names
	known func(token.Digest) bool
}

// NewSecrets returns the secrets of further header and parameter names. Known reports
// whether a digest is that of a legacy token; such a token looks like any MD5 sum.
func NewSecrets(more []string, known func(token.Digest) bool) *Secrets {
	s := &Secrets{names: make(names), known: known}
	s.names.add(more)
	return s
}

// NewRedactor returns a redactor that also hides the headers and parameters of
// the names hide.
func NewRedactor(hide []string) (*Redactor, error) {
	for _, name := range hide {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("hide: %q is not a name of a header or parameter: use letters, digits and -", name)
		}
	}
	r := &Redactor{names: make(names), parameters: make(names)}
	r.names.add(endpoint.SecretNames())
	r.names.add(hide)
	r.parameters.add(endpoint.SecretParameters())
	return r, nil
}

// What stands in the place of a secret, and of the value of a field in JSON.
const (
	redacted      = "REDACTED"
	redactedField = `["` + redacted + `"]`
)

// maxViews bounds how often the escapes of a line are resolved.
const maxViews = 5

// Line returns a line with its secrets hidden, and whether there were any. If not,
// it is line itself. JSON stays JSON.
func (r *Redactor) Line(line []byte) (_ []byte, changed bool) {
	s := search{Redactor: r, view: view{text: line}}
	if r.Secrets != nil {
		s.secrets = r.Secrets()
	}
	s.fields()
	for range maxViews {
		s.text()
		if !s.view.resolve() {
			break
		}
	}
	if len(s.found) == 0 {
		return line, false
	}
	return s.hide(line)
}

// A span is a secret in a line, and what to write in its place.
type span struct {
	start, end int
	by         string
}

// A search looks for secrets in one line.
type search struct {
	*Redactor
	secrets *Secrets
	view    view
	decoded bool   // from Base64: it is not decoded again
	found   []span // of the line
}

func (s *search) add(start, end int) {
	s.found = append(s.found, span{s.view.origin(start), s.view.origin(end), redacted})
}

func (s *search) isSecret(name []byte) bool {
	return s.names.has(name) || s.secrets != nil && s.secrets.names.has(name)
}

// hide writes the line anew. Spans that overlap become one.
func (s *search) hide(line []byte) (_ []byte, changed bool) {
	slices.SortFunc(s.found, func(a, b span) int { return a.start - b.start })
	out := make([]byte, 0, len(line)+len(redacted))
	done := 0
	for i := 0; i < len(s.found); {
		whole := s.found[i]
		for i++; i < len(s.found) && s.found[i].start < whole.end; i++ {
			whole.end = max(whole.end, s.found[i].end)
			if len(s.found[i].by) > len(whole.by) { // that of a field
				whole.by = s.found[i].by
			}
		}
		if string(line[whole.start:whole.end]) == whole.by {
			continue
		}
		out = append(append(out, line[done:whole.start]...), whole.by...)
		done, changed = whole.end, true
	}
	if !changed {
		return line, false
	}
	return append(out, line[done:]...), true
}

// text looks for all secrets but those of fields of the line itself.
func (s *search) text() {
	s.native()
	s.runs()
	s.schemes()
	s.userinfo()
	s.parameterValues()
	s.pathSegments()
	if s.view.depth > 0 {
		s.quotedFields()
	}
}

// native looks for tokens in our format, cut ones included.
func (s *search) native() {
	const prefix = "cg_"
	b := s.view.text
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(prefix))
		if i < 0 {
			return
		}
		start := at + i
		if at = start + len(prefix) + countAlnum(b[start+len(prefix):]); at-start >= len(prefix)+minNativeCut {
			s.add(start, at)
		}
	}
}

// minNativeCut is how many letters and digits after cg_ are taken for a token.
const minNativeCut = 16

// Lengths of what is looked for in runs of letters and digits.
const (
	legacyLen  = 32
	jenkinsLen = 2 + 32
	// minEncoded is of the shortest token in Base64. As a token has ASCII letters,
	// digits and _ only, its encoding has neither + nor /.
	minEncoded = legacyLen * 8 / 6
)

// runs looks for tokens in Jenkins' format, for legacy tokens that exist, and for
// tokens in Base64, as Basic has them, in headers of other names. A longer run of
// letters and digits is something else.
func (s *search) runs() {
	b := s.view.text
	for i := 0; i < len(b); {
		if !isAlnum(b[i]) {
			i++
			continue
		}
		n := countAlnum(b[i:])
		switch run := b[i : i+n]; {
		case n < legacyLen:
		case n == jenkinsLen && run[0] == '1' && run[1] == '1' && isLowerHexRun(run), n == legacyLen && s.isLegacy(run):
			s.add(i, i+n)
		case n >= minEncoded && !s.decoded && s.holdsEncoded(run):
			end := i + n
			for end < len(b) && b[end] == '=' {
				end++
			}
			s.add(i, end)
		}
		i += n
	}
}

func (s *search) isLegacy(run []byte) bool {
	if s.secrets == nil || s.secrets.known == nil {
		return false
	}
	digest, err := token.ParseLegacy(run)
	return err == nil && s.secrets.known(digest)
}

// holdsEncoded reports whether a run of Base64 holds a token. What lies before it in
// the encoding can be of any length, so all alignments are tried.
func (s *search) holdsEncoded(run []byte) bool {
	decoded := make([]byte, base64.RawStdEncoding.DecodedLen(len(run)))
	for offset := range 4 {
		piece := run[offset:]
		if len(piece)%4 == 1 { // which no encoding leaves over
			piece = piece[:len(piece)-1]
		}
		n, _ := base64.RawStdEncoding.Decode(decoded, piece)
		inner := search{Redactor: s.Redactor, secrets: s.secrets, view: view{text: decoded[:n]}, decoded: true}
		inner.native()
		inner.runs()
		if len(inner.found) > 0 {
			return true
		}
	}
	return false
}

// schemes looks for credentials behind the name of their scheme, in headers and texts
// of any name. A single word after it is prose.
func (s *search) schemes() {
	b := s.view.text
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], ' ')
		if i < 0 {
			return
		}
		at += i + 1
		end := at
		for end < len(b) && (isBase64(b[end]) || b[end] == '.' || b[end] == '~') {
			end++
		}
		secret := false
		switch before, value := bytes.TrimRight(b[:at-1], " "), b[at:end]; {
		case endsWithFold(before, "basic"):
			decoded, err := base64.RawStdEncoding.DecodeString(string(value))
			secret = err == nil && bytes.IndexByte(decoded, ':') >= 0
		case endsWithFold(before, "bearer"):
			secret = len(value) >= minNativeCut
		}
		if !secret {
			continue
		}
		for end < len(b) && b[end] == '=' {
			end++
		}
		s.add(at, end)
		at = end
	}
}

// maxShownUser is how many bytes of a user before a password are shown: a longer one
// can be a token itself.
const maxShownUser = 20

// userinfo looks for user and password in URLs. A name before a password stays.
func (s *search) userinfo() {
	b := s.view.text
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("//"))
		if i < 0 {
			return
		}
		at += i
		begins := at == 0 || bytes.IndexByte([]byte("\"'=( \x00:"), b[at-1]) >= 0
		for at += 2; at < len(b) && b[at] == '/'; at++ {
		}
		if !begins {
			continue
		}
		end := at
		for end < len(b) && b[end] > ' ' && bytes.IndexByte([]byte("/?#\"\\<>"), b[end]) < 0 {
			end++
		}
		sign := bytes.LastIndexByte(b[at:end], '@')
		if sign <= 0 {
			continue
		}
		start, info := at, b[at:at+sign]
		if colon := bytes.IndexByte(info, ':'); colon > 0 && colon <= maxShownUser && colon < len(info)-1 {
			start += colon + 1
		}
		s.add(start, at+sign)
		at += sign
	}
}

// parameterValues looks for the values of secret parameters, and of cookies that were
// quoted somewhere.
func (s *search) parameterValues() {
	b := s.view.text
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '=')
		if i < 0 {
			return
		}
		equals := at + i
		start := equals
		for start > at && isNameByte(b[start-1]) {
			start--
		}
		at = equals + 1
		end := at
		switch name := b[start:equals]; {
		case isSessionCookie(name):
			for end < len(b) && b[end] > ' ' && bytes.IndexByte([]byte(";,?&#\"\\"), b[end]) < 0 {
				end++
			}
		case separates(b[:start]) && (s.isSecret(name) || s.parameters.has(name)):
			end += s.parameterEnd(b[at:])
		}
		if end > at {
			s.add(at, end)
			at = end
		}
	}
}

// secretPaths are those of the endpoints.
var secretPaths = endpoint.SecretPaths()

// pathSegments looks for the segments of paths that are secret.
func (s *search) pathSegments() {
	b := s.view.text
	for i := range secretPaths {
		before := secretPaths[i].Before
		for at := 0; ; {
			found := bytes.Index(b[at:], []byte(before))
			if found < 0 {
				break
			}
			begin := at + found
			start := begin + len(before)
			at = start - 1 // the slash can begin the next one
			end := start
			for end < len(b) && b[end] > ' ' && bytes.IndexByte([]byte("/?#&;\"\\<>"), b[end]) < 0 {
				end++
			}
			if end > start && !slices.Contains(secretPaths[i].Known, string(b[start:end])) && !namesWhatFollows(b[:begin]) {
				s.add(start, end)
			}
		}
	}
}

// maxKeyword is longer than any segment that takes a name.
const maxKeyword = 16

func namesWhatFollows(path []byte) bool {
	return endpoint.NamesWhatFollows(string(path[max(0, len(path)-maxKeyword):]))
}

// isSessionCookie reports whether name is that of a cookie with which Jenkins knows a
// session, or of the parameter with which containers replace it (;jsessionid=).
func isSessionCookie(name []byte) bool {
	return len(name) >= len("JSESSIONID") && bytes.EqualFold(name[:len("JSESSIONID")], []byte("JSESSIONID")) || string(name) == "remember-me"
}

// separates reports whether a parameter can begin behind b.
func separates(b []byte) bool {
	return len(b) == 0 || bytes.IndexByte([]byte("?&;\"\x00"), b[len(b)-1]) >= 0
}

// parameterEnd returns where the value of a parameter ends, with which b begins. An escaped & or #
// is a part of the value, though in a URL within a URL it ends a parameter: too much is hidden there.
func (s *search) parameterEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '&' || c == '#' || c <= ' ' || c == '"' && s.view.depth == 0:
			return i
		case c == '\\' && s.view.depth == 0:
			if bytes.HasPrefix(b[i:], []byte(`\u0026`)) {
				return i
			}
			i++ // \" and its like are one character
		}
	}
	return len(b)
}

// fields looks for the values of secret names in the JSON of the line.
func (s *search) fields() {
	b := s.view.text
	done := 0
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(`":`))
		if i < 0 {
			return
		}
		quote := at + i
		at = quote + len(`":`)
		if !s.isSecret(b[bytes.LastIndexByte(b[done:quote], '"')+done+1 : quote]) {
			continue
		}
		done = valueEnd(b, at)
		if string(bytes.TrimSpace(b[at:done])) != redactedField {
			s.found = append(s.found, span{at, done, redactedField})
		}
		at = done
	}
}

// quotedFields looks for them in JSON that a string of the line quotes.
func (s *search) quotedFields() {
	b := s.view.text
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte(`":`))
		if i < 0 {
			return
		}
		quote := at + i
		at = quote + len(`":`)
		start := bytes.LastIndexAny(b[:quote], "\"\x00") + 1
		if !s.isSecret(b[start:quote]) {
			continue
		}
		for at < len(b) && b[at] == ' ' {
			at++
		}
		end := at
		if end < len(b) && bytes.IndexByte([]byte(`"[{`), b[end]) >= 0 {
			closing := map[byte]byte{'"': '"', '[': ']', '{': '}'}[b[end]]
			for end++; end < len(b) && b[end] != closing && b[end] != 0; end++ {
			}
			if end < len(b) && b[end] == closing {
				end++
			}
		} else {
			for end < len(b) && bytes.IndexByte([]byte(",}] \x00"), b[end]) < 0 {
				end++
			}
		}
		if end > at {
			s.add(at, end)
		}
		at = end
	}
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

// A view is a line with some of its escapes resolved.
type view struct {
	text []byte
	// origins are the offsets in the line of each byte of text, and of its end; nil: text
	// is the line. Escapes are never cut.
	origins []int32
	depth   int // how often escapes were resolved
}

func (v *view) origin(at int) int {
	if v.origins == nil {
		return at
	}
	return int(v.origins[at])
}

// resolve resolves one layer of escapes, and reports whether there were any. A quote
// that is one of the line's own becomes a NUL, behind which no value goes on.
func (v *view) resolve() bool {
	b := v.text
	if !hasEscape(b) {
		return false
	}
	text := make([]byte, 0, len(b))
	origins := make([]int32, 0, len(b)+1)
	for i := 0; i < len(b); {
		c, n := unescapeOne(b[i:])
		switch {
		case n > 1 && c == 0:
			c = 1
		case c == '"' && n == 1 && v.depth == 0:
			c = 0
		}
		text = append(text, c)
		origins = append(origins, int32(v.origin(i)))
		i += n
	}
	v.text, v.origins, v.depth = text, append(origins, int32(v.origin(len(b)))), v.depth+1
	return true
}

func hasEscape(b []byte) bool {
	for _, begin := range []byte(`\%&`) {
		for at := 0; ; at++ {
			i := bytes.IndexByte(b[at:], begin)
			if i < 0 {
				break
			}
			at += i
			if _, n := unescapeOne(b[at:]); n > 1 {
				return true
			}
		}
	}
	return false
}

// htmlEscapes are those that encoders write; numbers are read apart.
var htmlEscapes = []struct {
	text string
	char byte
}{{"&amp;", '&'}, {"&quot;", '"'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&apos;", '\''}, {"&colon;", ':'}, {"&equals;", '='}, {"&sol;", '/'}, {"&quest;", '?'}, {"&lowbar;", '_'}, {"&commat;", '@'}}

// unescapeOne returns the character with which b begins, escaped or not, and of how
// many bytes it is. One that is not ASCII is 0x80.
func unescapeOne(b []byte) (c byte, n int) {
	switch b[0] {
	case '%':
		if len(b) > 2 && isHex(b[1]) && isHex(b[2]) {
			return unhex(b[1])<<4 | unhex(b[2]), 3
		}
	case '\\':
		if len(b) < 2 {
			break
		}
		switch b[1] {
		case 'n', 'r', 't', 'b', 'f':
			return ' ', 2
		case 'u':
			if len(b) < 6 {
				break
			}
			value := 0
			for _, digit := range b[2:6] {
				if !isHex(digit) {
					return b[0], 1
				}
				value = value<<4 | int(unhex(digit))
			}
			if value >= 0x80 {
				value = 0x80
			}
			return byte(value), 6
		case '"', '\\', '/', '\'':
			return b[1], 2
		}
	case '&':
		if len(b) > 3 && b[1] == '#' {
			return numericEscape(b)
		}
		for _, e := range htmlEscapes {
			if bytes.HasPrefix(b, []byte(e.text)) {
				return e.char, len(e.text)
			}
		}
	}
	return b[0], 1
}

// numericEscape reads &#95; and &#x5f;.
func numericEscape(b []byte) (c byte, n int) {
	i, base := 2, 10
	if b[i] == 'x' || b[i] == 'X' {
		i, base = 3, 16
	}
	value, digits := 0, 0
	for ; i < len(b) && digits < 8; i++ {
		digit := int(unhex(b[i]))
		if !isHex(b[i]) || digit >= base {
			break
		}
		value = min(value*base+digit, 0x80)
		digits++
	}
	if digits == 0 || i >= len(b) || b[i] != ';' {
		return b[0], 1
	}
	return byte(value), i + 1
}

func countAlnum(b []byte) int {
	n := 0
	for n < len(b) && isAlnum(b[n]) {
		n++
	}
	return n
}

func endsWithFold(b []byte, word string) bool {
	n := len(b) - len(word)
	return n >= 0 && bytes.EqualFold(b[n:], []byte(word)) && (n == 0 || !isAlnum(b[n-1]))
}

func isLowerHexRun(b []byte) bool {
	for _, c := range b {
		if !isLowerHex(c) {
			return false
		}
	}
	return true
}

// alnum tells of ASCII letters and digits; a table is faster than comparisons.
var alnum = func() (table [256]bool) {
	for c := range table {
		table[c] = '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	}
	return table
}()

func isLowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }
func isHex(c byte) bool      { return isLowerHex(c) || 'A' <= c && c <= 'F' }
func isAlnum(c byte) bool    { return alnum[c] }
func isBase64(c byte) bool   { return isAlnum(c) || c == '+' || c == '/' || c == '-' || c == '_' }
func isNameByte(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' }

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// names is a set of names that are the same in any case, and with _ for -.
type names map[string]bool

const maxName = 128

func (n names) add(list []string) {
	for _, name := range list {
		n[strings.ReplaceAll(strings.ToLower(name), "_", "-")] = true
	}
}

func (n names) has(name []byte) bool {
	var lower [maxName]byte
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	for i, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		lower[i] = c
	}
	return n[string(lower[:len(name)])]
}
