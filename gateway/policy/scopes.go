package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/internal/spelling"
)

// Bounds of what ParseScopes takes. A name in Jenkins is a directory's, so it has at most 255 bytes.
const (
	// MaxScopes is how many scopes a token has at most.
	MaxScopes = 32
	// MaxScopeBytes is for one scope.
	MaxScopeBytes = 512
	// MaxBytes is for all scopes of a token together.
	MaxBytes = 4096
)

// Scopes are what a token may do. They don't change and can be used by many goroutines. Nil and the zero value allow
// nothing at all.
type Scopes struct{ list []scope }

type scope struct {
	text       string
	permission Permission
	names      []string // of folders and the item, none for the whole controller
	tail       tail
}

type tail uint8

const (
	exactly  tail = iota
	oneLevel      // /* after names
	allBelow      // /** after names
)

// ParseScopes reads scopes as docs/scopes.md has them: build, build:team-a/app, build:team-a/*, build:team-a/**. Its errors
// are for the person who wrote them. A token without any limit has no Scopes, or the scope admin; so that a list lost on
// the way doesn't become that, an empty list is an error.
func ParseScopes(texts []string) (*Scopes, error) {
	if len(texts) == 0 {
		return nil, errors.New("no scopes: give at least one, such as read or build:team-a/**; admin allows everything")
	}
	if len(texts) > MaxScopes {
		return nil, fmt.Errorf("%d scopes: use at most %d, with folder/** for all of a folder", len(texts), MaxScopes)
	}
	s, total := new(Scopes), 0
	for _, text := range texts {
		if total += len(text); total > MaxBytes {
			return nil, fmt.Errorf("the scopes have more than %d bytes together: use fewer, with folder/** for all of a folder", MaxBytes)
		}
		parsed, err := parseScope(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(s.list, func(other scope) bool { return other.text == text }) {
			return nil, fmt.Errorf("scope %q is there twice: leave one out", text)
		}
		s.list = append(s.list, parsed)
	}
	return s, nil
}

func parseScope(text string) (scope, error) {
	if len(text) > MaxScopeBytes {
		return scope{}, fmt.Errorf("scope %.40q… has %d bytes: use at most %d", text, len(text), MaxScopeBytes)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return scope{}, fmt.Errorf("scope %q holds control characters or is not UTF-8: write names as Jenkins shows them", text)
	}
	text = strings.Clone(text) // names are pieces of it
	name, pattern, limited := strings.Cut(text, ":")
	at := slices.IndexFunc(endpoint.Grants, func(g endpoint.Grant) bool { return g.Name == name })
	if at < 0 {
		names := permissionNames()
		hint := ""
		if meant := spelling.Closest(name, names); meant != "" {
			hint = fmt.Sprintf("; did you mean %q?", meant+text[len(name):])
		}
		return scope{}, fmt.Errorf("unknown scope %q: use one of %s, alone or as in build:folder/job%s", text, strings.Join(names, ", "), hint)
	}
	s := scope{text: text, permission: endpoint.Grants[at].Permission}
	if !limited {
		return s, nil
	}
	if !s.permission.HasItems() {
		return scope{}, fmt.Errorf("scope %q: %s can't be limited to items: write %[2]s alone", text, name)
	}
	if pattern == "**" {
		return scope{}, fmt.Errorf("scope %q means everything: leave the pattern out and write %s", text, name)
	}
	s.names = strings.Split(pattern, "/")
	switch last := s.names[len(s.names)-1]; last {
	case "**":
		s.tail = allBelow
	case "*":
		s.tail = oneLevel
	}
	if s.tail != exactly {
		s.names = s.names[:len(s.names)-1]
	}
	for _, segment := range s.names {
		if err := checkName(segment); err != nil {
			return scope{}, fmt.Errorf("scope %q: %w", text, err)
		}
	}
	return s, nil
}

func permissionNames() (names []string) {
	for _, g := range endpoint.Grants {
		names = append(names, g.Name)
	}
	return names
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("an empty name: write folder/job, without a slash at either end")
	case name == "." || name == "..":
		return fmt.Errorf("%q is no name: write the full name of the item, from the top", name)
	case strings.Contains(name, "*"):
		return errors.New("a star can only be all of the last segment: /* is one level, /** all below")
	case strings.Contains(name, `\`):
		return errors.New("a backslash is in no name: folders are separated by /")
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return fmt.Errorf("the name %q begins or ends with a space: leave that out", name)
	case strings.Contains(name, "%2f"):
		return errors.New("a slash within a name is written %2F, with a capital F")
	}
	return nil
}

// Strings returns the scopes as they were written.
func (s *Scopes) Strings() []string {
	if s == nil {
		return nil
	}
	texts := make([]string, len(s.list))
	for i := range s.list {
		texts[i] = s.list[i].text
	}
	return texts
}

// Cautions returns, for each permission among scopes that reaches further than its name says, how far: for whoever chooses
// the scopes. What is no scope has none.
func Cautions(texts []string) []string {
	var cautions []string
	for _, g := range endpoint.Grants {
		named := func(text string) bool {
			name, _, _ := strings.Cut(text, ":")
			return name == g.Name
		}
		if g.Reach != "" && slices.ContainsFunc(texts, named) {
			cautions = append(cautions, g.Name+" "+g.Reach)
		}
	}
	return cautions
}

// Allows reports whether the scopes cover a need. It allocates nothing.
func (s *Scopes) Allows(n Need) bool {
	if s == nil {
		return false
	}
	for i := range s.list {
		if s.list[i].covers(n) {
			return true
		}
	}
	return false
}

func (s *scope) covers(n Need) bool {
	switch {
	case s.permission == Admin, n.Permission == free:
		return true
	case n.Reach == Somewhere:
		return s.permission == Read || s.permission == Build
	case !s.permission.Includes(n.Permission):
		return false
	case s.whole():
		return true
	case n.Item == Item{}:
		return false
	}
	rest := n.Item.text
	for _, want := range s.names {
		var name string
		if name, rest = n.Item.next(rest); name == "" || !n.Item.is(name, want) {
			return false
		}
	}
	if s.tail == allBelow {
		return true
	}
	if n.Reach == Below {
		return false
	}
	if s.tail == oneLevel {
		var name string
		if name, rest = n.Item.next(rest); name == "" {
			return false
		}
	}
	name, _ := n.Item.next(rest)
	return name == ""
}

// whole tells whether the scope is for the controller and all items.
func (s *scope) whole() bool { return len(s.names) == 0 && s.tail == exactly }
