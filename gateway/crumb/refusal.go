package crumb

import (
	"bytes"
	"net/http"
)

// MaxRefusal bounds, in bytes, the answers that are held back to see whether
// they refuse a crumb. The container's page has some 800.
const MaxRefusal = 16 << 10

// phrase is what Jenkins says in every form of the refusal
// (hudson.security.csrf.CrumbFilter).
var phrase = []byte("No valid crumb was included in the request")

// A Verdict is what an answer says of the crumb.
type Verdict int

const (
	// NotRefused means that the answer is about something else.
	NotRefused Verdict = iota
	// Refused means that the crumb was refused, and nothing was done.
	Refused
	// Unclear is a refusal without a text that could be read: the container sends an
	// empty one for a crumb if the client accepts neither HTML, JSON nor text, and
	// what lies between may compress it.
	Unclear
)

// MayRefuse tells from status and header whether an answer can be the refusal of
// a crumb. It comes from the container, and so without the headers that Jenkins
// sets; a missing permission names itself.
func MayRefuse(status int, h http.Header) bool {
	return status == http.StatusForbidden && h.Get("X-Required-Permission") == "" && h.Get("X-Jenkins") == ""
}

// Judge reads header and body of an answer for which MayRefuse holds.
func Judge(h http.Header, body []byte) Verdict {
	switch {
	case bytes.Contains(body, phrase):
		return Refused
	case len(body) == 0, h.Get("Content-Encoding") != "":
		return Unclear
	}
	return NotRefused
}
