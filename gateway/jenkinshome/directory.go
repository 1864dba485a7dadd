package jenkinshome

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// A source is what says whose a user directory is.
type source int

const (
	mapped   source = iota // users.xml, 2.154 to 2.523: its key
	hashed                 // since 2.524: <id>, and the name is a MAC of it
	named                  // before 2.154, or put there by somebody: <id>, or else the name
	unmapped               // users.xml can't be read: <id>
)

// A directory is one that may be a user's.
type directory struct {
	path string
	from source
	id   string // by users.xml or by its name
}

const users = "users"

// maxNesting bounds how deep the directories are looked for that users with slashes in
// their ids had until 1.566.
const maxNesting = 8

var hashedName = regexp.MustCompile(`^[a-z0-9]{0,14}_[a-f0-9]{64}$`) // User.HASHED_DIRNAMES

// directories returns all directories that may be users', in the order in which they
// win over others of the same user.
func (h *home) directories() ([]directory, []Problem) {
	entries, err := fs.ReadDir(h.fs, users)
	if err != nil {
		return nil, []Problem{problem(users, "%v: name a JENKINS_HOME, which has a directory users", plain(err))}
	}
	var dirs []directory
	var problems []Problem
	mapping, from, fail := h.mapping()
	problems = append(problems, fail...)
	if from == mapped {
		dirs = mapping
	}
	known := make(map[string]bool, len(mapping))
	for _, d := range mapping {
		known[d.path] = true
	}
	// Before 2.154 a user's directory could be in another one, or be users itself.
	old := from == named && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return hashedName.MatchString(e.Name()) })
	for _, entry := range entries {
		dir := path.Join(users, entry.Name())
		if entry.Name() == "config.xml" && old {
			// Of the user with an empty id (UserIdMigrator.addEmptyUsernameIfExists), unless it
			// names another.
			dirs = append(dirs, directory{users, named, ""})
			continue
		}
		if !entry.IsDir() && entry.Type()&fs.ModeSymlink == 0 || known[dir] {
			continue
		}
		switch {
		case from == mapped:
			if ok, _ := h.exists(configOf(dir)); ok {
				problems = append(problems, problem(dir, "not in users.xml, by which Jenkins before 2.524 finds users: it is not read"))
			}
		case from == unmapped:
			dirs = append(dirs, directory{dir, unmapped, ""})
		case hashedName.MatchString(entry.Name()):
			dirs = append(dirs, directory{dir, hashed, ""})
		default:
			found, fail := h.named(dir, h.idFromName(entry.Name()), old && entry.IsDir())
			dirs = append(dirs, found...)
			problems = append(problems, fail...)
		}
	}
	// Where Jenkins finds an old directory beside a hashed one of the same user, it leaves
	// the old one alone (UserIdMapper.migrate).
	slices.SortStableFunc(dirs, func(a, b directory) int { return int(a.from) - int(b.from) })
	for _, d := range dirs {
		if d.from == hashed && h.keys.dirnames == nil {
			problems = append(problems, problem(dirnamesFile, "%v: whether user directories are those of their users was not checked", h.keys.dirnamesErr))
			break
		}
	}
	return dirs, problems
}

// exists tells whether there is something of a name, even what can't be read.
func (h *home) exists(name string) (bool, error) {
	_, err := fs.Stat(h.fs, name)
	return !errors.Is(err, fs.ErrNotExist), err
}

// named returns the directory of the user id and, if deep, those in it.
func (h *home) named(dir, id string, deep bool) ([]directory, []Problem) {
	var dirs []directory
	has, _ := h.exists(configOf(dir))
	if has {
		dirs = append(dirs, directory{dir, named, id})
	}
	// No links are followed here, which might lead in circles.
	if deep && strings.Count(dir, "/") < maxNesting {
		entries, err := fs.ReadDir(h.fs, dir)
		if err != nil {
			return dirs, []Problem{problem(dir, "%v", plain(err))}
		}
		for _, entry := range entries {
			if entry.IsDir() {
				// Of the time before names were encoded.
				inside, problems := h.named(path.Join(dir, entry.Name()), id+"/"+h.folded(entry.Name()), true)
				dirs = append(dirs, inside...)
				if len(problems) > 0 {
					return dirs, problems
				}
			}
		}
	}
	if len(dirs) == 0 && strings.Count(dir, "/") == 1 {
		return nil, []Problem{problem(dir, "has no config.xml: Jenkins knows no such user")}
	}
	return dirs, nil
}

var (
	encodedChar    = regexp.MustCompile(`\$[a-f0-9]{4}`)
	encodedCapital = regexp.MustCompile(`~[a-z]`)
)

// idFromName decodes the name of a directory of before 2.154
// (IdStrategy.idFromFilename).
func (h *home) idFromName(name string) string {
	if h.opts.UserIDs != user.CaseInsensitive {
		name = encodedCapital.ReplaceAllStringFunc(name, func(s string) string { return strings.ToUpper(s[1:]) })
	}
	// Characters are Java's, of which two may be one of ours.
	var chars []uint16
	end := 0
	for _, at := range encodedChar.FindAllStringIndex(name, -1) {
		chars = append(chars, utf16.Encode([]rune(name[end:at[0]]))...)
		char, _ := strconv.ParseUint(name[at[0]+1:at[1]], 16, 16) // four hexadecimal digits
		chars = append(chars, uint16(char))
		end = at[1]
	}
	chars = append(chars, utf16.Encode([]rune(name[end:]))...)
	return h.folded(string(utf16.Decode(chars)))
}

func (h *home) folded(id string) string {
	if h.opts.UserIDs == user.CaseInsensitive {
		return user.CaseInsensitive.Key(user.ID(id))
	}
	return id
}

// mapping reads users.xml. The source is that of the directories of this home.
func (h *home) mapping() ([]directory, source, []Problem) {
	const file = users + "/users.xml"
	data, err := h.read(file, maxUsersXML)
	if missing(err) {
		return nil, named, nil
	}
	var entries []mapEntry
	if err == nil {
		entries, err = parseUsersXML(data)
	}
	if err != nil {
		return nil, unmapped, []Problem{problem(file, "%v; users are told by the <id> in their config.xml instead", err)}
	}
	var problems []Problem
	left := func(id, format string, args ...any) {
		problems = append(problems, Problem{Path: file, User: user.ID(id), Reason: fmt.Sprintf(format, args...)})
	}
	last := make(map[string]int, len(entries)) // of a key, as in a Java map
	owner := make(map[string]string, len(entries))
	for i, e := range entries {
		last[e.key] = i
	}
	var dirs []directory
	for i, e := range entries {
		switch {
		case !fs.ValidPath(e.dir) || strings.Contains(e.dir, "/") || strings.Contains(e.dir, `\`) || e.dir == ".":
			left(e.key, "the directory %q is not one in users", e.dir)
		case last[e.key] != i:
			left(e.key, "the user is there twice: the directory %q is not read, Jenkins takes the last", e.dir)
		default:
			if other, ok := owner[e.dir]; ok {
				left(e.key, "the directory %q is that of %q already: it is read for that user only", e.dir, other)
				continue
			}
			owner[e.dir] = e.key
			dirs = append(dirs, directory{path.Join(users, e.dir), mapped, e.key})
		}
	}
	return dirs, mapped, problems
}

// A mapEntry is a key (IdStrategy.keyFor) and its directory.
type mapEntry struct{ key, dir string }

func parseUsersXML(data []byte) ([]mapEntry, error) {
	var entries []mapEntry
	var texts []string
	err := scan(data, "hudson.model.UserIdMapper", &element{inside: map[string]*element{"idToDirectoryNameMap": {inside: map[string]*element{"entry": {
		open: func(span) { texts = nil },
		inside: map[string]*element{"string": {text: func(text []byte) error {
			if len(text) > maxID || len(texts) == 2 {
				return errors.New("has an entry that is not an id and a directory: it is damaged")
			}
			texts = append(texts, string(text))
			return nil
		}}},
		close: func(span) error {
			if len(texts) != 2 {
				return errors.New("has an entry that is not an id and a directory: it is damaged")
			}
			entries = append(entries, mapEntry{texts[0], texts[1]})
			return nil
		},
	}}}}})
	return entries, err
}

// identify returns whose a directory is.
func (h *home) identify(d directory, c *config) (user.ID, error) {
	id := d.id
	switch d.from {
	case mapped:
		// The key is folded; <id> has the spelling, but says nothing else: the map wins.
		if ids := h.opts.UserIDs; c.id != "" && ids.Key(user.ID(c.id)) == ids.Key(user.ID(id)) {
			id = c.id
		}
	case hashed, unmapped:
		if c.id == "" {
			return "", errors.New("has no <id>: Jenkins ignores it, or does not know whose it is")
		}
		id = c.id
		if d.from == hashed && h.keys.dirnames != nil {
			if want := h.keys.directoryName(user.ID(id), h.opts.UserIDs); path.Base(d.path) != want {
				return "", fmt.Errorf("says that it is user %q, whose directory is users/%s: Jenkins ignores it", id, want)
			}
		}
	case named:
		if c.id != "" {
			id = c.id
		}
	}
	if strings.TrimSpace(id) == "" {
		return "", errors.New("is of a user with an empty id, which Jenkins no longer saves and no client can sign in with: it is not read")
	}
	return user.ParseID(id)
}
