package endpoint

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// A pattern is one path of an entry, cut at its slashes.
type pattern struct {
	entry    *Entry
	segments []string // a * is any one segment
	below    bool     // the path ended in /*
}

// match looks at the decoded segments, the first of which is known to match.
func (p pattern) match(rest string) bool {
	for _, want := range p.segments[1:] {
		if rest == "" {
			return false
		}
		var segment string
		if segment, rest = cutSegment(rest); want != "*" && segment != want {
			return false
		}
	}
	return p.below || rest == ""
}

// cutSegment splits a canonical path after its first segment, which it decodes.
func cutSegment(path string) (segment, rest string) {
	segment, rest = rawSegment(path)
	return decode(segment), rest
}

func rawSegment(path string) (segment, rest string) {
	path = path[1:]
	if slash := strings.IndexByte(path, '/'); slash >= 0 {
		path, rest = path[:slash], path[slash:]
	}
	return path, rest
}

func decode(segment string) string {
	if !strings.Contains(segment, "%") {
		return segment
	}
	name, err := url.PathUnescape(segment)
	if err != nil {
		return segment // Jenkins gets no such path
	}
	return name
}

// patterns are found by their first segment, so that a path of none costs one look-up.
type patterns map[string][]pattern

func (ps patterns) add(e *Entry) {
	for _, path := range e.Paths {
		p := compile(path)
		p.entry = e
		ps[p.segments[0]] = append(ps[p.segments[0]], p)
	}
}

// addPrefixes adds the paths of an entry, each with all that lies below it.
func (ps patterns) addPrefixes(e *Entry) {
	for _, path := range e.Paths {
		p := compile(path)
		p.entry, p.below = e, true
		ps[p.segments[0]] = append(ps[p.segments[0]], p)
	}
}

func (ps patterns) find(path string) *Entry {
	if path == "" {
		return nil
	}
	first, rest := cutSegment(path)
	for _, p := range ps[first] {
		if p.match(rest) {
			return p.entry
		}
	}
	return nil
}

func compile(path string) pattern {
	path, below := strings.CutSuffix(path, "/*")
	return pattern{segments: strings.Split(path[1:], "/"), below: below}
}

// overlaps reports whether some path matches both patterns.
func (p pattern) overlaps(q pattern) bool {
	shared := min(len(p.segments), len(q.segments))
	for i := range shared {
		a, b := p.segments[i], q.segments[i]
		if a != b && a != "*" && b != "*" {
			return false
		}
	}
	return (len(p.segments) == shared || q.below) && (len(q.segments) == shared || p.below)
}

// reachesSigned returns the forge whose endpoint some path of the pattern reaches; "" if there is none.
func (p pattern) reachesSigned() webhook.Kind {
	for _, e := range Catalogue {
		if e.Signed == "" {
			continue
		}
		for _, path := range e.Paths {
			signed := compile(path)
			signed.below = true
			if p.overlaps(signed) {
				return e.Signed
			}
		}
	}
	return ""
}

// Openings are the catalogue with the settings applied. They don't change. Paths are as Stapler walks them, still
// escaped: a slash before each segment, none at the end.
type Openings struct {
	publics, exempts patterns
	// signed are the endpoints of all forges that have a secret, and all below them: a web method ignores what follows it,
	// and doIndex is also called index. Webhooks are the paths of those of them that are open to requests without a user.
	signed, webhooks patterns
	// unchecked are the paths on which Jenkins checks no crumb, and all below them: it compares some by prefix.
	unchecked patterns
}

// Open applies the settings public and crumb_exempt to the catalogue, and the kinds of webhook that have a secret. In the
// settings a name opens an entry, -name closes it, and /path or /path/* adds a path of one's own; the first two may name
// any entry, except that one which needs a signature is opened by its kind alone.
func Open(public, exempt []string, signed []webhook.Kind) (*Openings, error) {
	opened, ownPublic, err := choose(public, "public")
	if err != nil {
		return nil, err
	}
	exempted, ownExempt, err := choose(exempt, "crumb_exempt")
	if err != nil {
		return nil, err
	}
	for _, kind := range signed {
		if !slices.ContainsFunc(Catalogue, func(e Entry) bool { return kind != "" && e.Signed == kind }) {
			return nil, fmt.Errorf("no webhook is called %q", kind)
		}
	}
	o := &Openings{publics: patterns{}, exempts: patterns{}, signed: patterns{}, webhooks: patterns{}, unchecked: patterns{}}
	for i := range Catalogue {
		e := &Catalogue[i]
		if e.CrumbExempt || e.ExemptWhenOpen {
			o.unchecked.addPrefixes(e)
		}
		open, set := opened[e.Name]
		switch {
		case e.Signed != "":
			open = false
			if slices.Contains(signed, e.Signed) {
				o.signed.addPrefixes(e)
				// -name closes one plugin's endpoint while the kind's others stay open.
				if open = !set; open {
					o.webhooks.add(e)
				}
			}
		case !set:
			open = e.Public
		}
		if open && e.Signed == "" {
			o.publics.add(e)
		}
		free, set := exempted[e.Name]
		if !set {
			free = e.CrumbExempt || open && e.ExemptWhenOpen
		}
		if free {
			o.exempts.add(e)
		}
	}
	for _, e := range ownPublic {
		o.publics.add(e)
	}
	for _, e := range ownExempt {
		o.exempts.add(e)
		o.unchecked.addPrefixes(e)
	}
	return o, nil
}

// choose reads the list of a setting: which entries it opens (true) or closes (false),
// and entries made for paths of one's own.
func choose(list []string, setting string) (chosen map[string]bool, own []*Entry, err error) {
	chosen = map[string]bool{}
	for _, item := range list {
		name, closes := strings.CutPrefix(item, "-")
		if strings.HasPrefix(name, "/") {
			if closes {
				return nil, nil, fmt.Errorf("%s %q: only an entry of the catalogue can be closed, by its name", setting, item)
			}
			e, err := ownEntry(name, setting)
			if err != nil {
				return nil, nil, fmt.Errorf("%s %q: %w", setting, item, err)
			}
			own = append(own, e)
			continue
		}
		at := slices.IndexFunc(Catalogue, func(e Entry) bool { return e.Name == name })
		if at < 0 {
			return nil, nil, fmt.Errorf("%s %q: no such entry; there are %s, and paths that start with /", setting, item, strings.Join(entryNames(), ", "))
		}
		if kind := Catalogue[at].Signed; kind != "" && !closes {
			return nil, nil, fmt.Errorf("%s %q: %w", setting, item, needsWebhook(kind))
		}
		if before, set := chosen[name]; set && before == closes {
			return nil, nil, fmt.Errorf("%s %q: both opened and closed", setting, name)
		}
		chosen[name] = !closes
	}
	return chosen, own, nil
}

func needsWebhook(kind webhook.Kind) error {
	return fmt.Errorf("opened only with a signature or token: use webhook %s { secret … }", kind)
}

func entryNames() []string {
	var names []string
	for _, e := range Catalogue {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// ownEntry makes an entry of a path in the settings. It refuses what would open more
// than it seems to, or what no route could match.
func ownEntry(path, setting string) (*Entry, error) {
	if path == "/" || path == "/*" {
		return nil, errors.New("all of Jenkins is no single path")
	}
	p := compile(path)
	for _, segment := range p.segments {
		switch {
		case segment == "":
			return nil, errors.New("a path must name something, have no empty segment and no slash at its end")
		case segment == "." || segment == "..":
			return nil, errors.New("a path must have no dot segments")
		case strings.ContainsAny(segment, `*%;\?#`) || strings.ContainsFunc(segment, unicode.IsControl):
			return nil, errors.New("a path is written decoded, without query, and has no * but as its last segment")
		}
	}
	switch {
	case p.segments[0] == "static":
		return nil, errors.New("/static/x is cut off before anything is decided: name the path behind it")
	case p.segments[0] == "manage" && p.below:
		return nil, errors.New("everything in Jenkins lies below /manage too: name what is meant")
	}
	for w := (Walk{Path: strings.TrimSuffix(path, "/*")}); w.Next(); {
		if !w.Root {
			continue
		}
		here := compile(w.Here)
		here.below = p.below
		if kind := here.reachesSigned(); kind != "" {
			return nil, needsWebhook(kind)
		}
	}
	return &Entry{Name: path, Paths: []string{path}, Why: "named in the setting " + setting, Guard: "unknown to the gateway"}, nil
}

// Public returns the entry that opens a path to requests without a user; nil if none does. A path of the settings has an
// Entry made for it.
func (o *Openings) Public(path, rawQuery string) *Entry {
	e := o.publics.find(path)
	if e == nil || e.Query != "" && !hasQuery(rawQuery, e.Query) {
		return nil
	}
	return e
}

// CrumbExempt returns the entry that frees a path from crumbs; nil if none does.
func (o *Openings) CrumbExempt(path string) *Entry { return o.exempts.find(path) }

// CheckedByJenkins reports whether Jenkins checks the crumb of a POST to a path, as far as is known: plugins that are not
// in the catalogue can exempt further paths.
func (o *Openings) CheckedByJenkins(path string) bool { return o.unchecked.find(path) == nil }

// Signed returns the entry of a path that takes only requests whose signature or token of a forge is valid, whoever sends
// them; nil if it is none. It looks wherever Stapler may be back at the root, since the plugin answers there as well. Open
// reports whether such a request needs no user, which holds for the path itself alone.
func (o *Openings) Signed(path string) (e *Entry, open bool) {
	if len(o.signed) == 0 {
		return nil, false
	}
	for w := (Walk{Path: path}); w.Next(); {
		if !w.Root {
			continue
		}
		if e := o.signed.find(w.Here); e != nil {
			return e, w.Here == path && o.webhooks.find(path) != nil
		}
	}
	return nil, false
}

// CheckSignedQuery returns an error for a query that a forge would not send. No signature covers the query, and plugins read
// from it what they should read from the body, such as the parameter payload.
func (e *Entry) CheckSignedQuery(rawQuery string) error {
	if rawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err == nil && e.SignedQuery != "" && len(query) == 1 && len(query[e.SignedQuery]) == 1 {
		return nil
	}
	if e.SignedQuery != "" {
		return fmt.Errorf("the request has a query, which no signature covers: only %s may be in it, once", e.SignedQuery)
	}
	return errors.New("the request has a query, which no signature covers")
}

// hasQuery reports whether a query holds a parameter, name=value, once and no other of
// that name: which of two counts is for the server to choose.
func hasQuery(rawQuery, want string) bool {
	name, value, _ := strings.Cut(want, "=")
	query, err := url.ParseQuery(rawQuery)
	return err == nil && slices.Equal(query[name], []string{value})
}
