// Package jenkinshome reads the users and API tokens of a JENKINS_HOME, and writes
// tokens back in the form in which Jenkins keeps them.
//
// Jenkins stores of a token what the gateway stores: the SHA-256 of its value
// (jenkins.security.apitoken.ApiTokenStore). So tokens move in both directions and
// keep working, and nobody has to tell their value.
//
// Nothing in a home is trusted. Files are read up to a size, elements down to a depth;
// document types and entities are refused; what is no plain file is not opened. A bad
// file is named, with the reason, and the rest is read. A home is only ever read: what
// goes back is handed to the caller, who writes it elsewhere.
//
// The file system should be that of an os.Root (its FS method), which follows no
// symbolic link out of the home; os.DirFS does.
package jenkinshome

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Sizes up to which files are read, in bytes. A user of Jenkins has views in
// config.xml, so it can be large; users.xml has some 150 bytes a user.
const (
	maxConfig   = 16 << 20
	maxUsersXML = 64 << 20
	maxStats    = 4 << 20
	maxKey      = 4 << 10
)

// Options say what a home itself does not.
type Options struct {
	// UserIDs is the strategy of Jenkins' security realm.
	UserIDs user.Strategy
	// Zone is the time zone of the Jenkins server, in which the days of expiry are;
	// time.Local if nil.
	Zone *time.Location
	// Progress, if not nil, is called at the start and after each user directory, with
	// how many are done and how many there are in all.
	Progress func(done, total int)
}

func (o Options) zone() *time.Location {
	if o.Zone == nil {
		return time.Local
	}
	return o.Zone
}

func (o Options) progress(done, total int) {
	if o.Progress != nil {
		o.Progress(done, total)
	}
}

// A Result is a user or a problem; the other is nil.
type Result struct {
	User    *User
	Problem *Problem
}

// A User is somebody whom Jenkins knows, with or without tokens.
type User struct {
	ID        user.ID
	Directory string // in the home, such as "users/alice_1072549610582667998"
	Tokens    []Token
}

// A Token is an API token as Jenkins stores it.
type Token struct {
	// UUID is uuid.Nil if Jenkins has none, or one that another token has, too: then
	// it would make up a new one at each start.
	UUID uuid.UUID
	// Name is as its user has typed it, at most maxName bytes of UTF-8. It need not be
	// unique, and may be nothing that the gateway takes as a name.
	Name   string
	Digest token.Digest
	// Legacy tokens (version 10) are presented as 32 hexadecimal digits.
	Legacy  bool
	Created int64 // Unix seconds; 0: unknown
	Expires int64 // Unix seconds, the first at which the token is refused; 0: never

	Uses    uint64 // as far as Jenkins has counted
	LastUse int64  // Unix seconds; 0: never or unknown
}

// A Problem is something that was left, or that Jenkins would not take as it seems.
type Problem struct {
	Path   string  // in the home, as the file system has it: quote it for a terminal
	User   user.ID // whose it is; empty if that is not known
	Token  string  // the name of the token; empty if it is not about one
	Reason string  // one line of plain text, which says what to do if something can be done
}

func problem(path, format string, args ...any) Problem {
	return Problem{Path: path, Reason: fmt.Sprintf(format, args...)}
}

// A home is a JENKINS_HOME that is being read.
type home struct {
	fs   fs.FS
	opts Options
	keys keys
	buf  []byte // of the file that was read last, used again for the next
}

func openHome(fsys fs.FS, opts Options) *home {
	h := &home{fs: fsys, opts: opts}
	h.keys = loadKeys(h)
	return h
}

// close wipes what was read of keys and files.
func (h *home) close() {
	h.keys.wipe()
	clear(h.buf)
}

var errIrregular = errors.New("is not a plain file: it is not read")

// read returns the content of a file, which the next call overwrites.
func (h *home) read(name string, limit int64) ([]byte, error) {
	// Asked before it is opened, because opening a named pipe waits for a writer.
	info, err := fs.Stat(h.fs, name)
	if err != nil {
		return nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	file, err := h.fs.Open(name)
	if err != nil {
		return nil, plain(err)
	}
	defer file.Close()
	// What was read before is wiped: it may have held a token in plain text.
	clear(h.buf)
	if need := min(info.Size(), limit) + 1; int64(cap(h.buf)) < need {
		h.buf = make([]byte, need)
	}
	// A file may grow while it is read, so its size is not relied upon.
	h.buf = h.buf[:0]
	for {
		if len(h.buf) == cap(h.buf) {
			grown := make([]byte, len(h.buf), 2*cap(h.buf))
			copy(grown, h.buf)
			clear(h.buf)
			h.buf = grown
		}
		n, err := file.Read(h.buf[len(h.buf):cap(h.buf)])
		h.buf = h.buf[:len(h.buf)+n]
		if int64(len(h.buf)) > limit {
			return nil, fmt.Errorf("is larger than %d bytes: it is not read", limit)
		}
		if errors.Is(err, io.EOF) {
			return h.buf, nil
		}
		if err != nil {
			return nil, plain(err)
		}
	}
}

// plain takes the operation and the path off an error of a file system: a Problem
// has a path already.
func plain(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err
	}
	return fmt.Errorf("can't be read: %w", err)
}

func configOf(dir string) string { return path.Join(dir, "config.xml") }
func statsOf(dir string) string  { return path.Join(dir, "apiTokenStats.xml") }
