package crumb

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
)

const (
	// maxFormValue bounds the value of a crumb's field, in bytes. Masked crumbs of the
	// Strict Crumb Issuer have 128 bytes, and the gateway's 155.
	maxFormValue = 1 << 10

	// maxParts bounds the parts of a multipart body.
	maxParts = 1000

	// maxPartHeader bounds, in bytes, what is read for the header of a part, or for what
	// stands before the first one. mime/multipart by itself would keep up to 10 MiB.
	// Browsers send some 150 bytes beside the name of a file.
	maxPartHeader = 4 << 10

	// maxChunk bounds, in bytes, a single read of a multipart body, and by that what is
	// read of the next header before its bound holds.
	maxChunk = 1 << 10
)

// Errors of FindInForm. None quotes anything of the body, which may hold passwords.
var (
	// ErrLimit means that the field was not found in as much of the body as may be read.
	ErrLimit = errors.New("the field of the crumb is not within the part of the body that is searched")
	// ErrTooLong means that the value of the field, or the header of a part, is too long.
	ErrTooLong = errors.New("the field of the crumb, or the header of a part, is too long")
	// ErrTooMany means that a multipart body has too many parts.
	ErrTooMany = errors.New("the body has too many parts")
	// ErrMalformed means that a multipart body, or the Content-Type of a form, does not
	// follow the rules, so that another reader might find another value.
	ErrMalformed = errors.New("malformed form")
)

// FindInForm returns the first value in a form that has one of the names in fields. It is
// found false, and not an error, if the body is no form or is read to its end without one.
//
// Of an urlencoded form the names are compared after decoding, as a servlet container does;
// a pair with a broken escape is passed over. In multipart/form-data a part counts if it
// has no file name; its value is taken as it is, without any transfer encoding.
//
// It reads from body only what it needs, rounded up to a buffer of a few KiB, and never
// more than limit bytes. If a body may go on after these, the error is ErrLimit, since a
// value that was cut short would be another one. It keeps some KiB whatever the body's size. An
// error of body, other than io.EOF, is returned as it is.
func FindInForm(contentType string, body io.Reader, limit int64, fields []string) (value string, found bool, err error) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	if mediaType != "application/x-www-form-urlencoded" && mediaType != "multipart/form-data" {
		return "", false, nil
	}
	// ParseMediaType takes a parameter that stands twice with the same value, and one that
	// is put together of pieces (RFC 2231). Nobody sends either but to be read in two ways.
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(contentType, "*") || strings.Count(contentType, ";") != len(params) {
		return "", false, ErrMalformed
	}
	b := &boundedBody{body: body, left: limit, budget: limit}
	if mediaType == "multipart/form-data" {
		return findInMultipart(b, params["boundary"], fields)
	}
	return findInURLEncoded(b, fields)
}

// A boundedBody reads no more than it may. The end, whether it is an error or io.EOF, comes
// by itself and not with the last bytes, so that who has not seen it has not needed it.
type boundedBody struct {
	body   io.Reader
	left   int64 // bytes that may be read altogether; beyond is ErrLimit
	budget int64 // bytes that may be read until it is set again; beyond is ErrTooLong
	end    error
	held   error // came with the last bytes
}

func (b *boundedBody) Read(p []byte) (int, error) {
	switch {
	case b.end != nil:
	case b.held != nil:
		b.end = b.held
	case b.left <= 0:
		b.end = ErrLimit
	case b.budget <= 0:
		b.end = ErrTooLong
	default:
		n, err := b.body.Read(p[:min(int64(len(p)), b.left, b.budget, maxChunk)])
		b.left -= int64(n)
		b.budget -= int64(n)
		if n > 0 || err == nil {
			b.held = err
			return n, nil
		}
		b.end = err
	}
	return 0, b.end
}

func findInMultipart(b *boundedBody, boundary string, fields []string) (value string, found bool, err error) {
	if !validBoundary(boundary) {
		return "", false, ErrMalformed
	}
	// Errors of multipart quote the body. Where the body came to an end it is the reason.
	failure := func() error {
		if b.end != nil && b.end != io.EOF { //nolint:errorlint // a wrapped io.EOF is a failure of the body
			return b.end
		}
		return ErrMalformed
	}
	r := multipart.NewReader(b, boundary)
	for n := 0; ; n++ {
		b.budget = maxPartHeader
		part, err := r.NextRawPart()
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped io.EOF is a body cut short
			return "", false, nil
		case err != nil:
			return "", false, failure()
		case n == maxParts:
			return "", false, ErrTooMany
		}
		b.budget = b.left
		if !isField(part, fields) {
			// NextRawPart would do it too, but within the budget of a header.
			if _, err := io.Copy(io.Discard, part); err != nil {
				return "", false, failure()
			}
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(part, maxFormValue+1))
		switch {
		case len(raw) > maxFormValue:
			return "", false, ErrTooLong
		case err != nil || b.end != nil:
			// At the end of the body, multipart takes the beginning of a boundary for one.
			return "", false, failure()
		}
		return string(raw), true, nil
	}
}

// validBoundary follows RFC 2046, section 5.1.1.
func validBoundary(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || strings.IndexByte("'()+_,-./:=? ", c) >= 0) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 70 && !strings.HasSuffix(s, " ")
}

// isField tells whether a part is one of the fields and no file. A part that could be read
// in two ways isn't: two dispositions, a parameter with two values, or anything in the
// form of RFC 2231, which not all readers know.
func isField(part *multipart.Part, fields []string) bool {
	dispositions := part.Header["Content-Disposition"]
	if len(dispositions) != 1 || strings.Contains(dispositions[0], "*") {
		return false
	}
	kind, params, err := mime.ParseMediaType(dispositions[0])
	if _, isFile := params["filename"]; err != nil || kind != "form-data" || isFile {
		return false
	}
	name, named := params["name"]
	return named && slices.Contains(fields, name)
}

func findInURLEncoded(b *boundedBody, fields []string) (value string, found bool, err error) {
	r := bufio.NewReader(b)
	p := piece{text: make([]byte, 0, maxFormValue)}
	for {
		stop, err := p.read(r, true)
		if err != nil {
			return "", false, err
		}
		ours := !p.broken && !p.tooLong && slices.Contains(fields, string(p.text))
		if stop == '=' {
			if stop, err = p.read(r, false); err != nil {
				return "", false, err
			}
		} else {
			p.text = p.text[:0] // a name without "=" has the empty value
		}
		switch {
		case ours && !p.broken && p.tooLong:
			return "", false, ErrTooLong
		case ours && !p.broken:
			return string(p.text), true, nil
		case stop == 0:
			return "", false, nil
		}
	}
}

// A piece is a decoded name or value of an urlencoded form.
type piece struct {
	text    []byte // as much of it as fits in
	tooLong bool   // for text
	broken  bool   // by a % without two hexadecimal digits
}

// read reads the next piece, over and done with at any length, and returns what it ends
// with: '&', '=' if it is a name, or 0 at the end of the body.
func (p *piece) read(r *bufio.Reader, isName bool) (stop byte, err error) {
	*p = piece{text: p.text[:0]}
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return 0, nil
		case err != nil:
			return 0, err
		case c == '&', c == '=' && isName:
			return c, nil
		case c == '+':
			c = ' '
		case c == '%':
			// Where there are no two bytes any more, the next ReadByte says why.
			digits, _ := r.Peek(2)
			var decoded [1]byte
			if n, err := hex.Decode(decoded[:], digits); n != 1 || err != nil {
				p.broken = true
				continue
			}
			c = decoded[0]
			if _, err := r.Discard(2); err != nil {
				return 0, err
			}
		}
		if len(p.text) == cap(p.text) {
			p.tooLong = true
			continue
		}
		p.text = append(p.text, c)
	}
}
