package crumb

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/antchfx/xpath"
)

const (
	// maxExpr bounds the bytes of all XPath expressions of one request. Clients send some fifty.
	maxExpr = 1 << 10

	// maxSteps bounds the work of all XPath expressions of one request, in moves over the document. An honest expression
	// needs some tens; a nest of predicates like //*[//*[//*[...]]] grows without end.
	maxSteps = 20_000
)

// Content types as Jetty writes them: it spells the ones that it knows its own way.
const (
	typeJSON   = "application/json;charset=utf-8"
	typeXML    = "application/xml;charset=UTF-8"
	typePython = "text/x-python;charset=UTF-8"
	typeText   = "text/plain;charset=utf-8"
	typeHTML   = "text/html;charset=utf-8"
)

// Issued is what a client is told: the crumb, and the names under which Jenkins presents its issuer.
type Issued struct {
	Class string // _class, such as hudson.security.csrf.DefaultCrumbIssuer
	Field string // crumbRequestField: the header or parameter that carries the crumb
	Crumb string
}

// ServeAPI answers a GET or HEAD of crumbIssuer/api/<tail> in the shape of Jenkins' own answer. The tail is decoded; what
// follows the flavour in it is ignored, since Stapler ignores it too and gojenkins asks for json/api/json. Headers that
// tell the Jenkins at hand (X-Jenkins, X-Jenkins-Session) are the caller's to set.
//
// It follows hudson.security.csrf.CrumbIssuer.RestrictedApi, hudson.model.Api and the exporters of
// org.kohsuke.stapler.export. Errors that Jenkins renders as HTML pages are told in one line of plain text, with the same
// status and message. The schema, in which no crumb is, is the caller's.
func (i Issued) ServeAPI(w http.ResponseWriter, r *http.Request, tail []string) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "deny")

	// A semicolon is an ordinary character in a query to Jetty, and an error to net/url.
	q, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	if err != nil {
		reply(w, r, http.StatusBadRequest, typeText, "malformed query")
		return
	}
	flavour := ""
	if len(tail) > 0 {
		flavour = tail[0]
	}
	switch flavour {
	case "xml":
		i.serveXML(w, r, q)
		return
	case "json":
		if q.Has("jsonp") {
			forbid(w, r, "jsonp forbidden; implement jenkins.security.SecureRequester")
			return
		}
	case "python":
	case "":
		reply(w, r, http.StatusOK, typeHTML, indexPage)
		return
	default:
		reply(w, r, http.StatusNotFound, typeText, "Not Found")
		return
	}

	props, err := i.properties(q)
	if err != nil {
		reply(w, r, http.StatusInternalServerError, typeText, err.Error())
		return
	}
	contentType := typeJSON
	if flavour == "python" {
		contentType = typePython // a map of strings is the same literal in both languages
	}
	props = slices.Insert(props, 0, property{"_class", i.Class})
	reply(w, r, http.StatusOK, contentType, jsonObject(props, q.Has("pretty")))
}

func (i Issued) serveXML(w http.ResponseWriter, r *http.Request, q url.Values) {
	expr := q.Get("xpath")
	if text, ok := i.wellKnown(expr); ok {
		reply(w, r, http.StatusOK, typeText, text)
		return
	}
	excludes := q["exclude"]
	if !q.Has("xpath") && excludes == nil {
		props, err := i.properties(q)
		if err != nil {
			reply(w, r, http.StatusInternalServerError, typeText, err.Error())
			return
		}
		reply(w, r, http.StatusOK, typeXML, i.xmlDocument(props))
		return
	}
	size := len(expr)
	for _, exclude := range excludes {
		size += len(exclude)
	}
	if size > maxExpr {
		reply(w, r, http.StatusBadRequest, typeText, fmt.Sprintf("XPath expressions of more than %d bytes are not supported", maxExpr))
		return
	}
	if q.Has("depth") && !q.Has("tree") {
		if _, err := parseDepth(q.Get("depth")); err != nil {
			q.Del("depth") // here Jenkins takes what is no number as 0
		}
	}
	props, err := i.properties(q)
	if err != nil {
		reply(w, r, http.StatusInternalServerError, typeText, err.Error())
		return
	}
	a := i.selectXML(q, props)
	reply(w, r, a.status, a.contentType, a.body)
}

// wellKnown answers the expressions which Jenkins compares as strings, and the only ones that yield bare text.
func (i Issued) wellKnown(expr string) (text string, ok bool) {
	switch expr {
	case "/*/crumbRequestField/text()":
		return i.Field, true
	case "/*/crumb/text()":
		return i.Crumb, true
	case `concat(//crumbRequestField,":",//crumb)`:
		return i.Field + ":" + i.Crumb, true
	case "concat(//crumbRequestField,'=',//crumb)":
		// Refused where a browser could read the text as a script that assigns a variable.
		return i.Field + "=" + i.Crumb, strings.HasPrefix(i.Field, ".") || strings.Contains(i.Field, "-")
	}
	return "", false
}

type answer struct {
	status            int
	contentType, body string
}

var (
	validWrapper = regexp.MustCompile(`^[a-zA-Z_][\w.-]*$`)

	errPrimitive = answer{http.StatusForbidden, typeText, "primitive XPath result sets forbidden; implement jenkins.security.SecureRequester"}
)

// selectXML applies exclude, xpath and wrapper in the order of hudson.model.Api.doXml.
func (i Issued) selectXML(q url.Values, props []property) answer {
	doc := i.document(props)
	steps := maxSteps
	for _, exclude := range q["exclude"] {
		nodes, _, err := doc.query(exclude, &steps)
		if err != nil {
			return xpathFailure(exclude, err)
		}
		for _, n := range nodes {
			if n.parent != doc { // dom4j: the root element has no parent
				n.detach()
			}
		}
	}
	if !q.Has("xpath") {
		return answer{http.StatusOK, typeXML, string(doc.appendXML(nil))}
	}

	expr := q.Get("xpath")
	nodes, primitive, err := doc.query(expr, &steps)
	if err != nil && !errors.Is(err, errNotNodes) {
		return xpathFailure(expr, err)
	}
	if q.Has("wrapper") {
		name := q.Get("wrapper")
		if !validWrapper.MatchString(name) {
			return answer{http.StatusBadRequest, typeText, "The wrapper parameter can only contain alphanumeric characters or dash/dot/underscore. " +
				"The first character has to be a letter or underscore."}
		}
		wrapper := &node{kind: xpath.ElementNode, name: name}
		if err != nil {
			text, ok := primitive.(string)
			if !ok {
				return xpathFailure(expr, err)
			}
			wrapper.add(&node{kind: xpath.TextNode, text: text})
		}
		for _, n := range nodes {
			if n == doc {
				return xpathFailure(expr, errors.New("a document can't be wrapped"))
			}
			n.detach()
			wrapper.add(n)
		}
		return answer{http.StatusOK, typeXML, string(wrapper.appendXML(nil))}
	}
	switch {
	case err != nil:
		return errPrimitive
	case len(nodes) == 0:
		return answer{http.StatusNotFound, typeText, "XPath " + expr + " didn’t match"}
	case len(nodes) > 1:
		return answer{http.StatusInternalServerError, typeText, fmt.Sprintf("XPath \"%s\" matched %d nodes. "+
			"Create XPath that only matches one, or use the \"wrapper\" query parameter to wrap them all under a root element.", expr, len(nodes))}
	case nodes[0].kind == xpath.TextNode:
		return errPrimitive
	}
	return answer{http.StatusOK, typeXML, string(nodes[0].appendXML(nil))}
}

func xpathFailure(expr string, err error) answer {
	return answer{http.StatusInternalServerError, typeText, fmt.Sprintf("XPath %q: %v", expr, err)}
}

// indexPage is what api/ shows. The page of Jenkins has its real crumb in it.
const indexPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Remote API</title></head>
<body><h1>REST API</h1><ul><li><a href="xml">XML API</a></li><li><a href="json">JSON API</a></li><li><a href="python">Python API</a></li><li><a href="schema">Schema</a></li></ul></body></html>
`

// forbid answers 403 as Jenkins' container does: in HTML, JSON or plain text, as the client
// accepts it.
func forbid(w http.ResponseWriter, r *http.Request, message string) {
	w.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	switch accept := r.Header.Get("Accept"); {
	case accept == "" || strings.Contains(accept, "html") || strings.Contains(accept, "*/*"):
		reply(w, r, http.StatusForbidden, "text/html;charset=iso-8859-1", "<html>\n<head>\n<title>Error 403 "+message+"</title>\n</head>\n<body><h2>HTTP ERROR 403 "+message+"</h2></body>\n</html>\n")
	case strings.Contains(accept, "json"):
		reply(w, r, http.StatusForbidden, "application/json", `{"servlet":"Stapler","message":"`+message+`","status":"403"}`)
	default:
		reply(w, r, http.StatusForbidden, "text/plain;charset=iso-8859-1", "HTTP ERROR 403 "+message+"\n")
	}
}

func reply(w http.ResponseWriter, r *http.Request, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		// A client that is gone is no one to tell about it.
		_, _ = w.Write([]byte(body))
	}
}

// property is one exported property of the issuer.
type property struct{ name, value string }

// properties returns what tree or depth leave of the issuer's properties, in Jenkins' order: by name.
func (i Issued) properties(q url.Values) ([]property, error) {
	props := []property{{"crumb", i.Crumb}, {"crumbRequestField", i.Field}}
	if q.Has("tree") {
		names, err := parseTree(q.Get("tree"))
		if err != nil {
			return nil, fmt.Errorf("malformed tree expression: %w", err)
		}
		return slices.DeleteFunc(props, func(p property) bool {
			return !slices.Contains(names, p.name) && !slices.Contains(names, "*")
		}), nil
	}
	if q.Has("depth") {
		depth, err := parseDepth(q.Get("depth"))
		if err != nil {
			return nil, err
		}
		// TreePruner.ByDepth, with the overflow of a Java int.
		if least := 1 - depth; least > 1 {
			return nil, nil
		}
	}
	return props, nil
}

func parseDepth(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, errors.New("depth parameter must be a number")
	}
	return int32(n), nil
}

// parseTree checks the syntax of a tree parameter and returns its names of the first level. See
// org.kohsuke.stapler.export.NamedPathPruner: name, or name[list], or name{range}, separated by commas.
func parseTree(s string) ([]string, error) {
	const delimiters = ",[]{}"
	var names []string
	pos, depth := 0, 0
	word := func() string {
		end := strings.IndexAny(s[pos:], delimiters)
		if end < 0 {
			end = len(s) - pos
		}
		w := s[pos : pos+end]
		pos += end
		return w
	}
	accept := func(c byte) bool {
		if pos < len(s) && s[pos] == c {
			pos++
			return true
		}
		return false
	}
	for {
		name := word()
		if name == "" {
			return nil, fmt.Errorf("expected name at %d", pos)
		}
		if depth == 0 {
			names = append(names, name)
		}
		if accept('[') {
			depth++
			continue
		}
		for closed := true; closed; {
			if accept('{') {
				if !validRange(word(), accept(','), word()) || !accept('}') {
					return nil, fmt.Errorf("expected range at %d", pos)
				}
			}
			if closed = depth > 0 && accept(']'); closed {
				depth--
			}
		}
		if accept(',') {
			continue
		}
		if depth > 0 || pos < len(s) {
			return nil, fmt.Errorf("expected end at %d", pos)
		}
		return names, nil
	}
}

// validRange tells whether {min,max} is {N}, {N,}, {,M} or {N,M}.
func validRange(low string, comma bool, high string) bool {
	number := func(s string) bool {
		_, err := strconv.ParseUint(s, 10, 31)
		return err == nil
	}
	switch {
	case !comma:
		return number(low) && high == ""
	case low == "":
		return number(high)
	}
	return number(low) && (high == "" || number(high))
}

// jsonObject writes as org.kohsuke.stapler.export.JSONDataWriter does.
func jsonObject(props []property, pretty bool) string {
	open, colon, comma, end := "{", ":", ",", "}"
	if pretty {
		open, colon, comma, end = "{\n  ", " : ", ",\n  ", "\n}"
	}
	b := []byte(open)
	for n, p := range props {
		if n > 0 {
			b = append(b, comma...)
		}
		b = append(b, `"`+p.name+`"`+colon...)
		b = appendJSON(b, p.value)
	}
	return string(append(b, end...))
}

// appendJSON quotes s with the escapes of JSONDataWriter: all control characters, and what lies beyond U+FFFF as
// surrogates. HTML characters stay as they are, so encoding/json doesn't fit.
func appendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case unicode.IsControl(c):
			b = fmt.Appendf(b, `\u%04x`, c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		default:
			b = append(b, string(c)...)
		}
	}
	return append(b, '"')
}

// xmlDocument writes as org.kohsuke.stapler.export.XMLDataWriter does: no declaration, single quotes.
func (i Issued) xmlDocument(props []property) string {
	root := xmlName(i.Class)
	var b strings.Builder
	b.WriteString("<" + root + " _class='" + strings.ReplaceAll(escapeXML(i.Class), "'", "&apos;") + "'>")
	for _, p := range props {
		b.WriteString("<" + p.name + ">" + escapeXML(p.value) + "</" + p.name + ">")
	}
	b.WriteString("</" + root + ">")
	return b.String()
}

var xmlEscaper = strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;")

func escapeXML(s string) string { return xmlEscaper.Replace(s) }

// xmlName makes the name of the root element: the simple name of the class as java.beans.Introspector.decapitalize leaves
// it (URLIssuer stays as it is), less what no name may hold.
func xmlName(class string) string {
	name := class[strings.LastIndexAny(class, ".$")+1:]
	name = strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || unicode.IsLetter(c) || unicode.IsDigit(c) {
			return c
		}
		return -1
	}, name)
	runes := []rune(name)
	if len(runes) == 0 || runes[0] == '-' || unicode.IsDigit(runes[0]) {
		return "_" + name
	}
	if len(runes) < 2 || !unicode.IsUpper(runes[0]) || !unicode.IsUpper(runes[1]) {
		runes[0] = unicode.ToLower(runes[0])
	}
	return string(runes)
}
