package jenkinshome

import (
	"fmt"
	"io/fs"
	"iter"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Read yields the users of a home, one directory after the other, with the problems
// of each beside. Expired tokens are among the tokens: who takes them over compares.
//
// It holds one file at a time in memory, and of all users before it what tells
// duplicates: some 100 bytes a token.
func Read(fsys fs.FS, opts Options) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		h := openHome(fsys, opts)
		defer h.close()
		dirs, problems := h.directories()
		for i := range problems {
			if !yield(Result{Problem: &problems[i]}) {
				return
			}
		}
		r := reader{
			home:    h,
			users:   make(map[string]string),
			digests: make(map[token.Digest]user.ID),
			uuids:   make(map[uuid.UUID]struct{}),
		}
		opts.progress(0, len(dirs))
		for i, d := range dirs {
			u, problems := r.user(d)
			if u != nil && !yield(Result{User: u}) {
				return
			}
			for i := range problems {
				if !yield(Result{Problem: &problems[i]}) {
					return
				}
			}
			opts.progress(i+1, len(dirs))
		}
	}
}

// A reader knows what has been read of a home.
type reader struct {
	*home
	users   map[string]string // by key, the directory
	digests map[token.Digest]user.ID
	uuids   map[uuid.UUID]struct{}
}

// user reads a directory. The user is nil if it is nobody's.
func (r *reader) user(d directory) (*User, []Problem) {
	file := configOf(d.path)
	data, err := r.read(file, maxConfig)
	if missing(err) {
		return nil, []Problem{{Path: file, User: user.ID(d.id), Reason: "doesn't exist: Jenkins knows the user, who has no tokens"}}
	}
	if err != nil {
		return nil, []Problem{{Path: file, User: user.ID(d.id), Reason: err.Error()}}
	}
	c, err := parseConfig(data, r.opts.zone())
	if err != nil {
		return nil, []Problem{{Path: file, User: user.ID(d.id), Reason: err.Error()}}
	}
	defer c.wipe()
	id, err := r.identify(d, c)
	if err != nil {
		return nil, []Problem{{Path: file, Reason: err.Error() + count(len(c.tokens))}}
	}
	key := r.opts.UserIDs.Key(id)
	if other, ok := r.users[key]; ok {
		return nil, []Problem{{Path: file, User: id, Reason: fmt.Sprintf("the same user as in %q: it is not read%s", other, count(len(c.tokens)))}}
	}
	r.users[key] = d.path

	u := &User{ID: id, Directory: d.path}
	var problems []Problem
	left := func(name, reason string) {
		if token.ContainsSecret(name) {
			name = "(a token as a name)"
		}
		problems = append(problems, Problem{Path: file, User: id, Token: name, Reason: reason})
	}
	if c.second {
		left("", "has two "+propertyName+": Jenkins takes the first, and so does the gateway")
	}
	for _, bad := range c.bad {
		left(bad.Name, bad.reason.Error())
	}
	if c.secret != nil && !c.hasLegacy() {
		if digest, err := r.keys.legacy(c.secret); err != nil {
			left(legacyName, err.Error())
		} else {
			c.tokens = append(c.tokens, stored{Token: Token{Name: legacyName, Digest: digest, Legacy: true}})
		}
	}
	if len(c.tokens) == 0 {
		return u, problems
	}
	uses, err := r.stats(d.path)
	if err != nil {
		problems = append(problems, Problem{Path: statsOf(d.path), User: id, Reason: err.Error() + "; uses are counted from 0"})
	}
	for _, t := range c.tokens {
		if owner, ok := r.digests[t.Digest]; ok {
			left(t.Name, fmt.Sprintf("is a token that %q has already: a token can be only one user's, so this one is left", owner))
			continue
		}
		r.digests[t.Digest] = id
		if t.UUID != uuid.Nil {
			if _, ok := r.uuids[t.UUID]; ok {
				t.UUID = uuid.Nil
			} else {
				r.uuids[t.UUID] = struct{}{}
			}
		}
		one := uses[t.key]
		t.Uses, t.LastUse = one.count, one.last
		u.Tokens = append(u.Tokens, t.Token)
	}
	return u, problems
}

// legacyName is what Jenkins calls a token that it has made of an <apiToken>
// (Messages.ApiTokenProperty_LegacyTokenName).
const legacyName = "Legacy Token"

// stats returns what has been counted in a directory, by uuid.
func (h *home) stats(dir string) (map[string]use, error) {
	data, err := h.read(statsOf(dir), maxStats)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	uses, err := parseStats(data)
	if err != nil {
		return nil, err
	}
	return uses, nil
}

// count says how many tokens are left with a user.
func count(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "; 1 token is left"
	}
	return fmt.Sprintf("; %d tokens are left", n)
}
