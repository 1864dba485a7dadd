// Package jenkinshome reads the users of a Jenkins from its home directory, with
// the digests of their API tokens, and writes tokens back into such a directory.
//
// A home is read as Jenkins reads it, in each of the layouts that its versions have
// had. It is not trusted: files are bounded, entities refused, and a fault of one
// user is told and does not stop the others. Package os has os.Root for a home from
// which symbolic links must not lead out.
//
// The plain text of a legacy token is in memory only for as long as it takes to hash
// it, and never in an error.
package jenkinshome

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// A Token is one that Jenkins knows.
type Token struct {
	ID      uuid.UUID // uuid.Nil: Jenkins makes one up at each start
	Name    string
	Digest  token.Digest
	Legacy  bool   // from before Jenkins 2.129
	Created int64  // Unix seconds; 0: unknown
	Expires int64  // Unix seconds, the first at which it is refused; 0: never
	Uses    uint64 // how often it has been used, as far as that was counted
	LastUse int64  // Unix seconds; 0: never
}

// A User is somebody whom Jenkins knows.
type User struct {
	ID  string // "" if it could not be told
	Dir string // below the home, with slashes
	// Tokens are those that were understood, and Problems what was not.
	Tokens   []Token
	Problems []Problem
}

// A Problem is why something of a user could not be read. It holds no secret.
type Problem struct {
	File   string // below the home, with slashes
	Reason string // for people; what to do
}

func (p Problem) String() string { return p.File + ": " + p.Reason }

// Options are what a home can't tell.
type Options struct {
	// Zone is the time zone of the Jenkins, in which its tokens expire; nil: UTC.
	Zone *time.Location
	// UserIDs is the id strategy of the security realm.
	UserIDs user.Strategy
}

// A Home is the home directory of a Jenkins, whose users have been listed.
type Home struct {
	fsys    fs.FS
	options Options
	keys    *keys
	dirs    []userDir
}

// userDir is the directory of a user, and how the id is found.
type userDir struct {
	dir string
	// key is what users.xml calls the user, "" if there is none.
	key string
	// fallback is the id if the file says none, "" if it has to.
	fallback string
	problem  string // why it can't be read, if that is known already
}

const usersDir = "users"

// Bounds, in bytes, of what is read of a file, and of a text within.
const (
	maxFile = 16 << 20
	maxText = 64 << 10
)

// hashedDir is the name of a user's directory since 2.524 (hudson.model.User).
var hashedDir = regexp.MustCompile(`^[a-z0-9]{0,14}_[a-f0-9]{64}$`)

// Open lists the users of a home. An error means that it is no home, or that its
// list of users can't be read; what is wrong with one user Users tells.
func Open(fsys fs.FS, options Options) (*Home, error) {
	if options.Zone == nil {
		options.Zone = time.UTC
	}
	h := &Home{fsys: fsys, options: options, keys: readKeys(fsys)}
	entries, err := fs.ReadDir(fsys, usersDir)
	if err != nil {
		return nil, fmt.Errorf("this is no Jenkins home, because its directory users can't be read: %w", err)
	}
	mapping, err := h.readFile(path.Join(usersDir, "users.xml"))
	switch {
	case err == nil:
		err = h.listMapped(mapping, entries)
	case errors.Is(err, fs.ErrNotExist):
		err = h.listDirs(entries)
	}
	if err != nil {
		return nil, fmt.Errorf("users/users.xml can't be read, which says whose directory is whose: %w", err)
	}
	return h, nil
}

// Len returns how many users there are, as far as the list of directories tells.
func (h *Home) Len() int { return len(h.dirs) }

// listMapped lists the users of a home from 2.154 to 2.523, in which users.xml names
// their directories.
func (h *Home) listMapped(mapping []byte, entries []fs.DirEntry) error {
	dirs, err := parseMapping(mapping)
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, m := range dirs {
		d := userDir{dir: path.Join(usersDir, m.dir), key: m.key}
		if m.dir == "" || m.dir == "." || m.dir == ".." || strings.ContainsAny(m.dir, `/\`) {
			d.dir, d.problem = path.Join(usersDir, "users.xml"), fmt.Sprintf("user %q has the directory %q, which is no name of one", m.key, m.dir)
		}
		known[m.dir] = true
		h.dirs = append(h.dirs, d)
	}
	for _, e := range entries {
		if name := e.Name(); !known[name] && e.IsDir() && h.hasConfig(path.Join(usersDir, name)) {
			h.dirs = append(h.dirs, userDir{dir: path.Join(usersDir, name), problem: "users.xml does not name this directory, so Jenkins ignores it"})
		}
	}
	return nil
}

// maxDepth bounds how far directories of users are nested in one another.
const maxDepth = 8

// listDirs lists the users of a home without users.xml: from before 2.154, or from
// 2.524 on.
func (h *Home) listDirs(entries []fs.DirEntry) error {
	if h.exists(path.Join(usersDir, "config.xml")) {
		h.dirs = append(h.dirs, userDir{dir: usersDir, fallback: "/"})
	}
	var walk func(dir, id string, entries []fs.DirEntry, depth int)
	walk = func(dir, id string, entries []fs.DirEntry, depth int) {
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			at := path.Join(dir, e.Name())
			d := userDir{dir: at}
			if hashedDir.MatchString(e.Name()) && depth == 0 {
				if h.hasConfig(at) {
					h.dirs = append(h.dirs, d) // the id is in the file, or Jenkins ignores it
				}
				continue
			}
			d.fallback = id + idOfDir(e.Name(), h.options.UserIDs)
			if h.hasConfig(at) {
				h.dirs = append(h.dirs, d)
			}
			// Ids with a slash once were directories within one another.
			if below, err := fs.ReadDir(h.fsys, at); err == nil && depth < maxDepth {
				walk(at, d.fallback+"/", below, depth+1)
			}
		}
	}
	walk(usersDir, "", entries, 0)
	return nil
}

func (h *Home) hasConfig(dir string) bool { return h.exists(path.Join(dir, "config.xml")) }

func (h *Home) exists(name string) bool {
	_, err := fs.Stat(h.fsys, name)
	return err == nil
}

var escapedChar = regexp.MustCompile(`\$[0-9a-fA-F]{4}`)
var capital = regexp.MustCompile(`~[a-z]`)

// idOfDir returns the id for the name of a directory of before 2.154
// (jenkins.model.IdStrategy.idFromFilename).
func idOfDir(name string, ids user.Strategy) string {
	if ids == user.CaseSensitive {
		name = capital.ReplaceAllStringFunc(name, func(s string) string { return strings.ToUpper(s[1:]) })
	}
	name = escapedChar.ReplaceAllStringFunc(name, func(s string) string {
		var r rune
		if _, err := fmt.Sscanf(s[1:], "%04x", &r); err != nil {
			return s
		}
		return string(r)
	})
	return ids.Key(user.ID(name))
}

// Users yields the users, in the order of the list. What they have is read as they
// are asked for.
func (h *Home) Users() iter.Seq[User] {
	return func(yield func(User) bool) {
		seen := make(map[string]string) // directories by the key of their users
		for _, d := range h.dirs {
			u := h.user(d)
			if u.ID != "" {
				key := h.options.UserIDs.Key(user.ID(u.ID))
				if other, twice := seen[key]; twice {
					u.problem(path.Join(u.Dir, "config.xml"), "user %q has another directory too, %s, whose tokens are taken", u.ID, other)
					u.Tokens = nil
				} else {
					seen[key] = u.Dir
				}
			}
			if !yield(u) {
				return
			}
		}
	}
}

func (u *User) problem(file, format string, args ...any) {
	u.Problems = append(u.Problems, Problem{file, fmt.Sprintf(format, args...)})
}

// user reads what there is of a user.
func (h *Home) user(d userDir) User {
	u := User{Dir: d.dir, ID: d.key}
	if d.problem != "" {
		u.problem(d.dir, "%s", d.problem)
		return u
	}
	file := path.Join(d.dir, "config.xml")
	text, err := h.readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		u.problem(file, "it does not exist, so the user has no tokens")
		return u
	}
	if err != nil {
		u.problem(file, "%v", reason(err))
		return u
	}
	if d.fallback != "" && len(strings.TrimSpace(string(text))) == 0 {
		u.ID = d.fallback // nothing is known of the user but the name
		return u
	}
	c, err := parseConfig(text)
	if err != nil {
		u.problem(file, "%v", err)
		return u
	}
	switch {
	case d.key == "" && c.id == "" && d.fallback == "":
		u.problem(file, "it has no id, so Jenkins ignores it")
		return u
	case d.key == "" && d.fallback == "" && !h.keys.names(path.Base(d.dir), h.options.UserIDs.Key(user.ID(c.id))):
		u.problem(file, "the directory is not the one that Jenkins has for the id %q, so Jenkins ignores it", c.id)
		return u
	case d.key == "" && c.id != "":
		u.ID = c.id
	case d.key == "":
		u.ID = d.fallback
	case h.options.UserIDs.Key(user.ID(c.id)) == h.options.UserIDs.Key(user.ID(d.key)):
		u.ID = c.id // the same user, in the spelling that people know
	}
	h.tokens(&u, file, c)
	h.stats(&u)
	return u
}

// tokens takes what a config.xml says of tokens.
func (h *Home) tokens(u *User, file string, c *config) {
	digests, ids := make(map[token.Digest]bool), make(map[uuid.UUID]bool)
	for i := range c.tokens {
		t, err := c.tokens[i].token(h.options.Zone)
		what := fmt.Sprintf("token %d", i+1)
		if name := c.tokens[i].name; name != "" && !token.ContainsSecret(name) {
			what = fmt.Sprintf("token %.80q", name)
		}
		switch {
		case err != nil:
			u.problem(file, "%s: %v", what, err)
			continue
		case digests[t.Digest]:
			u.problem(file, "%s: another one has the same hash", what)
			continue
		case t.ID != uuid.Nil && ids[t.ID]:
			u.problem(file, "%s: another one has the same uuid; it gets a new one", what)
			t.ID = uuid.Nil
		}
		digests[t.Digest], ids[t.ID] = true, true
		u.Tokens = append(u.Tokens, t)
	}
	if c.legacy == "" {
		return
	}
	digest, err := h.keys.legacyDigest(c.legacy)
	switch {
	case err != nil && slices.ContainsFunc(u.Tokens, func(t Token) bool { return t.Legacy }):
		// Its digest is in the list, and more is not needed.
	case err != nil:
		u.problem(file, "legacy token, value not recoverable: %v", err)
	case !digests[digest]:
		u.Tokens = append(u.Tokens, Token{Name: "Legacy Token", Digest: digest, Legacy: true})
	}
}

// stats adds what apiTokenStats.xml says of uses.
func (h *Home) stats(u *User) {
	file := path.Join(u.Dir, "apiTokenStats.xml")
	text, err := h.readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		u.problem(file, "%v: the tokens are taken without their uses", reason(err))
		return
	}
	stats, err := parseStats(text)
	if err != nil {
		u.problem(file, "%v: the tokens are taken without their uses", err)
		return
	}
	for i := range u.Tokens {
		t := &u.Tokens[i]
		if s, found := stats[t.ID]; found && t.ID != uuid.Nil {
			t.Uses, t.LastUse = s.uses, s.last
		}
	}
}

// errNotRegular is for what is no file, such as a pipe, which would be waited for.
var errNotRegular = errors.New("it is not a regular file")

// readFile reads a file of a bounded size.
func (h *Home) readFile(name string) ([]byte, error) { return readFile(h.fsys, name) }

func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return text, nil
}

// reason is an error without the name of the file, which stands beside it.
func reason(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
