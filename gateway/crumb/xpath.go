package crumb

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/antchfx/xpath"
)

// node is a node of the issuer's little document: the document itself (xpath.RootNode), an element, an attribute or a text.
type node struct {
	kind     xpath.NodeType
	name     string
	text     string // of a text or an attribute
	parent   *node
	attrs    []*node
	children []*node
	order    int // place in the document, attributes before children
}

// document builds the tree of xmlDocument.
func (i Issued) document(props []property) *node {
	doc := &node{kind: xpath.RootNode}
	order := 0
	add := func(parent, n *node) *node {
		order++
		n.order = order
		parent.add(n)
		return n
	}
	root := add(doc, &node{kind: xpath.ElementNode, name: xmlName(i.Class)})
	add(root, &node{kind: xpath.AttributeNode, name: "_class", text: i.Class})
	for _, p := range props {
		element := add(root, &node{kind: xpath.ElementNode, name: p.name})
		if p.value != "" {
			add(element, &node{kind: xpath.TextNode, text: p.value})
		}
	}
	return doc
}

func (n *node) add(child *node) {
	child.parent = n
	if child.kind == xpath.AttributeNode {
		n.attrs = append(n.attrs, child)
	} else {
		n.children = append(n.children, child)
	}
}

func (n *node) detach() {
	if n.parent == nil {
		return
	}
	is := func(m *node) bool { return m == n }
	n.parent.attrs = slices.DeleteFunc(n.parent.attrs, is)
	n.parent.children = slices.DeleteFunc(n.parent.children, is)
	n.parent = nil
}

// value is the string-value of XPath 1.0, section 5.
func (n *node) value() string {
	s := n.text
	for _, child := range n.children {
		s += child.value()
	}
	return s
}

// appendXML writes as org.dom4j.io.XMLWriter does with its default format: double quotes, empty elements closed at once,
// a declaration before a document only, and a blank before an attribute on its own.
func (n *node) appendXML(b []byte) []byte {
	switch n.kind {
	case xpath.RootNode:
		b = append(b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"...)
		for _, child := range n.children {
			b = child.appendXML(b)
		}
	case xpath.ElementNode:
		b = append(b, "<"+n.name...)
		for _, attr := range n.attrs {
			b = attr.appendXML(b)
		}
		if len(n.children) == 0 {
			return append(b, "/>"...)
		}
		b = append(b, '>')
		for _, child := range n.children {
			b = child.appendXML(b)
		}
		b = append(b, "</"+n.name+">"...)
	case xpath.AttributeNode:
		b = append(b, " "+n.name+`="`+strings.ReplaceAll(escapeXML(n.text), `"`, "&quot;")+`"`...)
	default:
		b = append(b, escapeXML(n.text)...)
	}
	return b
}

var (
	errNotNodes = errors.New("the result is not a node-set")
	errTooMuch  = errors.New("the expression takes too many steps")
)

// functions are the names that may stand before a parenthesis: node tests, operators, and the functions that Jenkins'
// engine (Jaxen) shares with ours. Others fail in Jenkins; some that ours would accept, such as replace() and string-join(),
// multiply the length of a string at each level of nesting.
var functions = []string{
	"comment", "node", "processing-instruction", "text",
	"and", "div", "mod", "or",
	"boolean", "ceiling", "concat", "contains", "count", "false", "floor", "last", "local-name", "name", "namespace-uri",
	"normalize-space", "not", "number", "position", "round", "starts-with", "string", "string-length", "substring",
	"substring-after", "substring-before", "sum", "translate", "true",
	"ends-with", "lower-case",
}

// query evaluates an expression at the document. It returns the nodes in document order, or with errNotNodes the string,
// float64 or bool that the expression yields. Each move over the document takes one of steps; when none is left the
// evaluation ends with errTooMuch. The engine panics on some bad expressions and has no limits of its own.
func (n *node) query(expr string, steps *int) (nodes []*node, primitive any, err error) {
	defer func() {
		if r := recover(); r != nil {
			nodes, primitive = nil, nil
			if err, _ = r.(error); !errors.Is(err, errTooMuch) {
				err = fmt.Errorf("evaluation failed: %v", r)
			}
		}
	}()
	if name := foreignFunction(expr); name != "" {
		return nil, nil, fmt.Errorf("unknown function %s", name)
	}
	compiled, err := xpath.Compile(expr)
	if err != nil {
		return nil, nil, err
	}
	result := compiled.Evaluate(&cursor{n, steps})
	found, ok := result.(*xpath.NodeIterator)
	if !ok {
		return nil, result, errNotNodes
	}
	for found.MoveNext() {
		c := found.Current().(*cursor)
		c.step()
		nodes = append(nodes, c.node)
	}
	// The engine may find a node twice, and in the order of an axis.
	slices.SortFunc(nodes, func(a, b *node) int { return a.order - b.order })
	return slices.Compact(nodes), nil, nil
}

// foreignFunction returns the first name before a parenthesis that is none of functions.
func foreignFunction(expr string) string {
	name := ""
	for rest := expr; rest != ""; {
		c := rest[0]
		switch {
		case c == '"' || c == '\'':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				return "" // unclosed: the engine says so
			}
			rest, name = rest[end+2:], ""
			continue
		case c == '(':
			if name != "" && !slices.Contains(functions, name) {
				return name
			}
			name = ""
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			// A blank ends a name, but may stand before its parenthesis.
			trimmed := strings.TrimLeft(rest, " \t\r\n")
			if !strings.HasPrefix(trimmed, "(") {
				name = ""
			}
			rest = trimmed
			continue
		case strings.IndexByte("/@[]),|+=!<>*$", c) >= 0:
			name = ""
		case c == ':' && strings.HasSuffix(name, ":"):
			name = "" // it was the name of an axis
		default:
			name += string(c)
		}
		rest = rest[1:]
	}
	return ""
}

// cursor walks the document for the engine and counts its steps.
type cursor struct {
	node  *node
	steps *int
}

func (c *cursor) step() {
	if *c.steps--; *c.steps < 0 {
		panic(errTooMuch)
	}
}

func (c *cursor) move(to *node) bool {
	c.step()
	if to == nil {
		return false
	}
	c.node = to
	return true
}

// sibling returns the child of the same parent that lies by places further on, or nil.
func (c *cursor) sibling(among []*node, by int) *node {
	if at := slices.Index(among, c.node); at >= 0 && at+by >= 0 && at+by < len(among) {
		return among[at+by]
	}
	return nil
}

func (c *cursor) siblings() []*node {
	if c.node.parent == nil {
		return nil
	}
	return c.node.parent.children // an attribute isn't among them, so it has no siblings
}

func (c *cursor) NodeType() xpath.NodeType { return c.node.kind }
func (c *cursor) LocalName() string        { return c.node.name }
func (c *cursor) Prefix() string           { return "" }

func (c *cursor) Value() string {
	c.step()
	return c.node.value()
}

func (c *cursor) Copy() xpath.NodeNavigator {
	c.step()
	return &cursor{c.node, c.steps}
}

func (c *cursor) MoveToRoot() {
	c.step()
	for c.node.parent != nil {
		c.node = c.node.parent
	}
}

func (c *cursor) MoveToParent() bool { return c.move(c.node.parent) }

func (c *cursor) MoveToNextAttribute() bool {
	if c.node.kind == xpath.AttributeNode {
		return c.move(c.sibling(c.node.parent.attrs, 1))
	}
	return c.move(first(c.node.attrs))
}

func (c *cursor) MoveToChild() bool { return c.move(first(c.node.children)) }

func (c *cursor) MoveToFirst() bool {
	if c.sibling(c.siblings(), -1) == nil {
		return c.move(nil)
	}
	return c.move(c.siblings()[0])
}

func (c *cursor) MoveToNext() bool     { return c.move(c.sibling(c.siblings(), 1)) }
func (c *cursor) MoveToPrevious() bool { return c.move(c.sibling(c.siblings(), -1)) }

func (c *cursor) MoveTo(other xpath.NodeNavigator) bool { return c.move(other.(*cursor).node) }

func first(nodes []*node) *node {
	if len(nodes) == 0 {
		return nil
	}
	return nodes[0]
}
