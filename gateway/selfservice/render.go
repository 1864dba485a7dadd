package selfservice

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/token"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/style.css assets/page.js assets/icon.svg
var assetFiles embed.FS

const assetPath = "assets/"

// A look is what all pages share: the templates, and the files that they load.
type look struct {
	templates           map[string]*template.Template // by name
	assets              map[string]asset              // by name, which holds the digest of the content
	Style, Script, Icon string                        // URLs
}

type asset struct {
	contentType string
	content     []byte
}

// newLook panics only for mistakes in the embedded files, which any test finds.
func newLook(prefix string) *look {
	l := &look{templates: make(map[string]*template.Template), assets: make(map[string]asset)}
	for name, file := range map[string]struct {
		contentType string
		url         *string
	}{
		"style.css": {"text/css; charset=utf-8", &l.Style},
		"page.js":   {"text/javascript; charset=utf-8", &l.Script},
		"icon.svg":  {"image/svg+xml", &l.Icon},
	} {
		content, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		hashed := hex.EncodeToString(sum[:8]) + "-" + name
		l.assets[hashed] = asset{file.contentType, content}
		*file.url = prefix + assetPath + hashed
	}
	shared := template.Must(template.New("layout.html").ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file.Name(), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		l.templates[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, path.Join("templates", file.Name())))
	}
	return l
}

// setHeaders sets what all answers have. With Referrer-Policy no-referrer browsers
// would send the Origin of a form as null (Fetch, "append a request Origin header"),
// which the gate refuses; with same-origin they tell this site, and no other.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin") // see fromScript
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// asset answers with a file that pages load.
func (v *visit) asset(name string) error {
	file, ok := v.look.assets[name]
	if !ok {
		return errNotFound
	}
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return v.notAllowed("GET, HEAD")
	}
	h := v.w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Content-Length", strconv.Itoa(len(file.content)))
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	_, _ = v.w.Write(file.content) // net/http leaves it out for HEAD; an error means that the client has gone
	return nil
}

// A base is what the layout shows on each page.
type base struct {
	Title    string
	Here     string // which entry of the navigation this page is
	Look     *look
	Prefix   string
	Jenkins  string // path of Jenkins
	Person   string
	SignOut  bool
	Admin    bool
	Audit    bool
	Disabled moment // since when the person is disabled
	Crumb    string // for the forms of the page
	Notice   string // what was done before
	Faults   []fault
}

// A fault is what is wrong with a field of a form, or with a form if Field is empty.
type fault struct{ Field, Text string }

// Fault returns what is wrong with a field.
func (b base) Fault(field string) string {
	for _, f := range b.Faults {
		if f.Field == field {
			return f.Text
		}
	}
	return ""
}

func (v *visit) base(title, here string) base {
	b := base{
		Title: title, Here: here, Look: v.look, Prefix: v.Prefix, Jenkins: v.JenkinsPrefix + "/", SignOut: v.Config.SignOut,
		Admin: v.admin, Audit: v.admin && v.Config.Audit != nil,
	}
	if v.person != nil {
		if b.Person = v.person.DisplayName; b.Person == "" {
			b.Person = string(v.person.User)
		}
	}
	if v.keys != nil {
		b.Crumb = v.crumb(false)
	}
	if v.directory != nil {
		if known, err := v.directory.Profile(string(v.person.User)); err == nil {
			b.Disabled = v.moment(known.Disabled)
		}
	}
	if v.r.Method != http.MethodPost {
		b.Notice = notices[v.form.Get("done")]
	}
	return b
}

// notices are what a page can tell of the change that led to it.
var notices = map[string]string{
	"renamed":   "The token has a new name.",
	"limited":   "The limits of the token are changed.",
	"suspended": "The token is suspended. Nothing can use it until it is resumed.",
	"resumed":   "The token can be used again.",
	"revoked":   "The token is revoked, for good.",
	"disabled":  "The user is disabled. None of the user's tokens is let in.",
	"enabled":   "The user is enabled. The user's tokens are let in again.",

	"all-suspended": "The tokens are suspended.",
	"all-resumed":   "The tokens can be used again.",
	"all-revoked":   "The tokens are revoked.",
}

// render answers with a page.
func (v *visit) render(status int, name string, data any) error {
	var page bytes.Buffer
	if err := v.look.templates[name].ExecuteTemplate(&page, "layout.html", data); err != nil {
		v.Log.Error("a page could not be made", "page", name, "error", err)
		http.Error(v.w, "The page could not be made.", http.StatusInternalServerError)
		return nil
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write(page.Bytes()) // an error means that the client has gone
	}
	return nil
}

// A problem is a page that says why there is no other.
type problem struct {
	status      int
	title, text string
}

func (p *problem) Error() string { return p.title + ": " + p.text }

var (
	errNotFound = &problem{http.StatusNotFound, "Nothing is here", "There is no such page, or no such token of yours."}
	errTooLarge = &problem{http.StatusRequestEntityTooLarge, "Too much", "What was sent is larger than any form here."}
)

func badRequest(text string) error {
	return &problem{http.StatusBadRequest, "Not understood", text}
}

// statuses is how errors of the directory are answered, and whether their text is
// for people: that of a failing store is for the log.
var statuses = []struct {
	kind   error
	status int
	tell   bool
}{
	{token.ErrInvalid, http.StatusBadRequest, true},
	{token.ErrDuplicate, http.StatusConflict, true},
	{token.ErrConflict, http.StatusConflict, true},
	{token.ErrStore, http.StatusServiceUnavailable, false},
	{token.ErrAudit, http.StatusServiceUnavailable, false},
}

// fail answers with what is wrong.
func (v *visit) fail(err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = v.problemOf(err)
	}
	_ = v.render(p.status, "problem", struct {
		base
		Text string
	}{v.base(p.title, ""), p.text})
}

func (v *visit) problemOf(err error) *problem {
	if errors.Is(err, token.ErrNotFound) {
		return errNotFound
	}
	for _, s := range statuses {
		switch {
		case !errors.Is(err, s.kind):
		case s.tell:
			return &problem{s.status, "Not possible", sentence(err)}
		default:
			v.Log.Error("a change by the pages failed", "user", string(v.person.User), "error", err)
			return &problem{s.status, "Nothing was changed", "The gateway could not store or record the change. Try again, and tell your administrators if it fails again."}
		}
	}
	v.Log.Error("a page failed", "error", err)
	return &problem{http.StatusInternalServerError, "Something went wrong", "The gateway's log says what."}
}

// sentence makes of an error what can stand alone.
func sentence(err error) string {
	text := capitalized(err.Error())
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

func capitalized(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// asFault returns what of an error of the directory is to be told at a form, or
// the error itself if it has a page of its own.
func asFault(field string, err error) (fault, int, error) {
	for _, s := range statuses {
		if errors.Is(err, s.kind) && s.tell {
			return fault{field, sentence(err)}, s.status, nil
		}
	}
	return fault{}, 0, err
}
