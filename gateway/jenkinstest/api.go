package jenkinstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/antchfx/xmlquery"
	"github.com/antchfx/xpath"
)

// bean is an @ExportedBean: what /api shows of an object.
type bean struct {
	class string
	props []prop
}

// prop is an @Exported property. Visibility 1 shows it on the requested object only, 2 one level below as well, and so
// on; depth= adds to that, and a negative one leaves it to tree=. The value is a string, bool, int, int64, nil,
// bean, []bean, []string, or a func() any that makes one of these on demand.
type prop struct {
	name       string
	visibility int
	value      any
}

// pruner decides which properties appear (org.kohsuke.stapler.export.TreePruner).
type pruner interface {
	accept(p prop) (child pruner, ok bool)
}

type byDepth int

func (n byDepth) accept(p prop) (pruner, bool) {
	child := n + 1
	if _, ok := p.value.(inlined); ok {
		child = n
	}
	return child, p.visibility >= int(n)
}

// inlined is a list that doesn't count as a level (@Exported(inline=true)).
type inlined []bean

// tree is a parsed tree= expression: names with their children, "*" for all. A range limits lists.
type tree struct {
	children map[string]*tree
	from, to int // to < 0: no limit
}

func (t *tree) accept(p prop) (pruner, bool) {
	if child, ok := t.children[p.name]; ok {
		return child, true
	}
	if child, ok := t.children["*"]; ok {
		return child, true
	}
	return nil, false
}

var errTree = errors.New("malformed tree expression")

// parseTree reads "a,b[c,d]{0,10},*".
func parseTree(s string) (*tree, error) {
	root, rest, err := parseTreeList(s, 0)
	if err == nil && rest != "" {
		err = errTree
	}
	return root, err
}

func parseTreeList(s string, depth int) (t *tree, rest string, err error) {
	if depth > 50 {
		return nil, "", errTree
	}
	t = &tree{children: make(map[string]*tree), to: -1}
	for {
		end := strings.IndexAny(s, ",[]{}")
		if end < 0 {
			end = len(s)
		}
		name := s[:end]
		s = s[end:]
		child := &tree{children: map[string]*tree{}, to: -1}
		if strings.HasPrefix(s, "[") {
			if child, s, err = parseTreeList(s[1:], depth+1); err != nil {
				return nil, "", err
			}
			if !strings.HasPrefix(s, "]") {
				return nil, "", errTree
			}
			s = s[1:]
		}
		if strings.HasPrefix(s, "{") {
			bounds, after, ok := strings.Cut(s[1:], "}")
			if !ok {
				return nil, "", errTree
			}
			if child.from, child.to, err = parseRange(bounds); err != nil {
				return nil, "", err
			}
			s = after
		}
		if name != "" {
			t.children[name] = child
		}
		if !strings.HasPrefix(s, ",") {
			return t, s, nil
		}
		s = s[1:]
	}
}

func parseRange(s string) (from, to int, err error) {
	low, high, isRange := strings.Cut(s, ",")
	number := func(s string, otherwise int) int {
		if s == "" {
			return otherwise
		}
		n, e := strconv.Atoi(s)
		if e != nil || n < 0 {
			err = errTree
		}
		return n
	}
	if from = number(low, 0); !isRange {
		return from, from + 1, err
	}
	return from, number(high, -1), err
}

func limit[T any](list []T, by pruner) []T {
	t, ok := by.(*tree)
	if !ok {
		return list
	}
	if t.to >= 0 && t.to < len(list) {
		list = list[:t.to]
	}
	return list[min(t.from, len(list)):]
}

// flavor is a way to write beans.
type flavor struct {
	contentType      string
	yes, no, nothing string
}

// Jetty normalises the charset's case and drops the blank.
var (
	asJSON   = flavor{"application/json;charset=utf-8", "true", "false", "null"}
	asPython = flavor{"text/x-python;charset=utf-8", "True", "False", "None"}
)

func (f flavor) write(b *bytes.Buffer, value any, by pruner) {
	switch v := value.(type) {
	case nil:
		b.WriteString(f.nothing)
	case bool:
		if v {
			b.WriteString(f.yes)
		} else {
			b.WriteString(f.no)
		}
	case int, int64:
		fmt.Fprint(b, v)
	case string:
		quoted, _ := json.Marshal(v)
		b.Write(quoted)
	case func() any:
		f.write(b, v(), by)
	case []string:
		b.WriteByte('[')
		for i, s := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			f.write(b, s, by)
		}
		b.WriteByte(']')
	case inlined:
		f.write(b, []bean(v), by)
	case []bean:
		b.WriteByte('[')
		for i, item := range limit(v, by) {
			if i > 0 {
				b.WriteByte(',')
			}
			f.write(b, item, by)
		}
		b.WriteByte(']')
	case bean:
		comma := ""
		b.WriteByte('{')
		if v.class != "" {
			fmt.Fprintf(b, `"_class":%q`, v.class)
			comma = ","
		}
		for _, p := range v.props {
			if child, ok := by.accept(p); ok {
				fmt.Fprintf(b, "%s%q:", comma, p.name)
				f.write(b, p.value, child)
				comma = ","
			}
		}
		b.WriteByte('}')
	default:
		panic(fmt.Sprintf("jenkinstest: can't export %T", value))
	}
}

// writeXML writes the XML flavour, in which lists repeat an element named in the singular and nil is left out.
func writeXML(b *bytes.Buffer, name string, value any, by pruner) {
	switch v := value.(type) {
	case nil:
	case func() any:
		writeXML(b, name, v(), by)
	case []string:
		for _, s := range v {
			writeXML(b, singular(name), s, by)
		}
	case inlined:
		writeXML(b, name, []bean(v), by)
	case []bean:
		for _, item := range limit(v, by) {
			writeXML(b, singular(name), item, by)
		}
	case bean:
		b.WriteString("<" + name)
		if v.class != "" {
			b.WriteString(" _class='" + v.class + "'")
		}
		b.WriteByte('>')
		for _, p := range v.props {
			if child, ok := by.accept(p); ok {
				writeXML(b, p.name, p.value, child)
			}
		}
		b.WriteString("</" + name + ">")
	default:
		fmt.Fprintf(b, "<%s>%s</%s>", name, html.EscapeString(fmt.Sprint(v)), name)
	}
}

func singular(name string) string {
	if stem, ok := strings.CutSuffix(name, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(name, "s")
}

// rootElement is the simple class name with a small first letter.
func rootElement(class string) string {
	simple := class[strings.LastIndexAny(class, ".$")+1:]
	return strings.ToLower(simple[:1]) + simple[1:]
}

// serveAPI is hudson.model.Api. What follows the flavour is ignored: web methods don't look at their tail.
func (x *exchange) serveAPI(root bean, rest []string) {
	if len(rest) == 0 {
		if x.needSlash() {
			x.page(http.StatusOK, "Remote API", "<h1>REST API</h1>")
		}
		return
	}
	depth, err := strconv.Atoi(x.param("depth"))
	if err != nil && x.param("depth") != "" {
		x.oops()
		return
	}
	var by pruner = byDepth(1 - depth)
	if expression, ok := x.lookup("tree"); ok {
		parsed, err := parseTree(expression)
		if err != nil {
			x.sendError(http.StatusBadRequest, "Malformed tree expression: "+expression)
			return
		}
		by = parsed
	}
	var b bytes.Buffer
	switch rest[0] {
	case "json":
		if _, ok := x.lookup("jsonp"); ok {
			x.sendError(http.StatusForbidden, "jsonp forbidden; implement jenkins.security.SecureRequester")
			return
		}
		x.apiHeaders()
		asJSON.write(&b, root, by)
		x.text(http.StatusOK, asJSON.contentType, b.String())
	case "python":
		x.apiHeaders()
		asPython.write(&b, root, by)
		x.text(http.StatusOK, asPython.contentType, b.String())
	case "xml":
		x.apiHeaders()
		writeXML(&b, rootElement(root.class), root, by)
		contentType := xmlType
		if root.class == x.j.issuerClass() {
			contentType = crumbXML
		}
		x.xml(b.String(), contentType)
	default:
		x.notFound()
	}
}

func (x *exchange) apiHeaders() {
	x.Header().Set("X-Jenkins", x.j.cfg.Version)
	x.Header().Set("X-Jenkins-Session", x.run.hash)
	x.Header().Set("X-Frame-Options", "deny")
}

const (
	xmlType = "application/xml;charset=utf-8"
	// crumbXML is what the API of the crumb issuer sends, which sets the type itself.
	crumbXML       = "application/xml;charset=UTF-8"
	xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>`
)

var validWrapper = regexp.MustCompile(`^[a-zA-Z_][\w\-.]*$`)

// xml is Api.doXml from the point where the document exists.
func (x *exchange) xml(document, contentType string) {
	expression, selects := x.lookup("xpath")
	var excludes []string
	for _, p := range x.params {
		if p.name == "exclude" {
			excludes = append(excludes, p.value)
		}
	}
	if !selects && excludes == nil {
		x.text(http.StatusOK, contentType, document)
		return
	}
	doc, err := xmlquery.Parse(strings.NewReader(document))
	if err != nil {
		x.oops()
		return
	}
	for _, exclude := range excludes {
		nodes, err := xmlquery.QueryAll(doc, exclude)
		if err != nil {
			x.oops()
			return
		}
		for _, n := range nodes {
			xmlquery.RemoveFromTree(n)
		}
	}
	if !selects {
		root := "" // without the declaration that the parser has made up
		if element := xmlquery.FindOne(doc, "/*"); element != nil {
			root = element.OutputXML(true)
		}
		x.text(http.StatusOK, contentType, xmlDeclaration+"\n"+root)
		return
	}
	compiled, err := xpath.Compile(expression)
	if err != nil {
		x.oops()
		return
	}
	var found []string // as XML
	primitive := false
	switch result := compiled.Evaluate(xmlquery.CreateXPathNavigator(doc)).(type) {
	case *xpath.NodeIterator:
		for result.MoveNext() {
			node := result.Current().(*xmlquery.NodeNavigator)
			switch node.NodeType() {
			case xpath.TextNode, xpath.CommentNode:
				primitive = true
				found = append(found, html.EscapeString(node.Value()))
			case xpath.AttributeNode:
				found = append(found, fmt.Sprintf("%s=%q", node.LocalName(), node.Value()))
			default:
				found = append(found, node.Current().OutputXML(true))
			}
		}
	default:
		primitive = true
		found = []string{html.EscapeString(fmt.Sprint(result))}
	}

	wrapper, wraps := x.lookup("wrapper")
	switch {
	case wraps && !validWrapper.MatchString(wrapper):
		x.text(http.StatusBadRequest, "", "The wrapper parameter can only contain alphanumeric characters or dash/dot/underscore. The first character has to be a letter or underscore.")
	case wraps && len(found) == 0:
		x.text(http.StatusOK, contentType, "<"+wrapper+"/>")
	case wraps:
		x.text(http.StatusOK, contentType, "<"+wrapper+">"+strings.Join(found, "")+"</"+wrapper+">")
	case len(found) == 0:
		x.text(http.StatusNotFound, "", "XPath "+expression+" didn’t match")
	case len(found) > 1:
		x.text(http.StatusInternalServerError, "", fmt.Sprintf("XPath %q matched %d nodes. Create XPath that only matches one, "+
			"or use the \"wrapper\" query parameter to wrap them all under a root element.", expression, len(found)))
	case primitive:
		x.sendError(http.StatusForbidden, "primitive XPath result sets forbidden; implement jenkins.security.SecureRequester")
	default:
		x.text(http.StatusOK, contentType, found[0])
	}
}

// crumbIssuer serves /crumbIssuer (CrumbIssuer.RestrictedApi): these very XPath strings may be answered as text.
func (x *exchange) crumbIssuer(rest []string) {
	if !x.j.csrf.Load() || len(rest) > 0 && rest[0] != "api" {
		x.notFound()
		return
	}
	if len(rest) == 0 {
		if x.needSlash() {
			x.notFound() // no index view
		}
		return
	}
	if len(rest) > 1 && rest[1] == "schema" {
		x.apiHeaders()
		x.text(http.StatusOK, crumbXML, xmlDeclaration+"<xsd:schema xmlns:xsd='http://www.w3.org/2001/XMLSchema'/>")
		return
	}
	if len(rest) == 1 || rest[1] != "json" && rest[1] != "xml" && rest[1] != "python" {
		x.serveAPI(bean{}, rest[1:])
		return
	}
	field := x.j.cfg.CrumbField
	crumb := func() any {
		x.j.crumbs.Add(1)
		return x.issueCrumb()
	}
	if rest[1] == "xml" {
		var text func() string
		switch x.param("xpath") {
		case "/*/crumbRequestField/text()":
			text = func() string { return field }
		case "/*/crumb/text()":
			text = func() string { return crumb().(string) }
		case `concat(//crumbRequestField,":",//crumb)`:
			text = func() string { return field + ":" + crumb().(string) }
		case "concat(//crumbRequestField,'=',//crumb)":
			if strings.HasPrefix(field, ".") || strings.Contains(field, "-") {
				text = func() string { return field + "=" + crumb().(string) }
			}
		}
		if text != nil {
			x.apiHeaders()
			x.text(http.StatusOK, "text/plain;charset=utf-8", text())
			return
		}
	}
	x.serveAPI(bean{x.j.issuerClass(), []prop{{"crumb", 1, crumb}, {"crumbRequestField", 1, field}}}, rest[1:])
}
