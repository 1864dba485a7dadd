package boltstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Options are the settings of a store. The zero value is good.
type Options struct {
	// LockTimeout is how long to wait for another process to let go of the file.
	// 0 means 5 seconds; if negative Open does not wait.
	LockTimeout time.Duration

	// ReadOnly opens a store to look at it: the file must exist, and neither it nor
	// its mode is changed. Readers share the file with each other, but not with a
	// process that has it open for writing. Apply returns an error.
	ReadOnly bool

	// Known are the prefixes of all keys that the store may hold. A store with any other
	// key is not opened, and Apply refuses it. nil: all keys are allowed.
	Known []string
}

// Open opens the store in the file path, and creates it, with the directories that
// are missing (0700), unless it exists. The error says what is wrong with which
// file, and what to do where that is known.
//
// A file that others than its owner may read or write is set to 0600 rather than
// refused. The digests in it are of no use to a reader, and such modes come
// about by themselves: by restoring a backup with cp, and on each start of a pod
// under Kubernetes' fsGroup, which makes every file of the volume 0660. A refusal
// would turn these into outages.
func Open(path string, o Options) (*Store, error) {
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", path, err)
	}
	return s, nil
}

func open(path string, o Options) (*Store, error) {
	if o.LockTimeout == 0 {
		o.LockTimeout = 5 * time.Second
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !o.ReadOnly:
		if target, err := os.Readlink(path); err == nil {
			return nil, fmt.Errorf("is a link to %s, which does not exist", target)
		}
		if err := create(path); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("is a directory, name a file in it, such as %s", filepath.Join(path, "tokens.db"))
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() == 0 && o.ReadOnly:
		return nil, errors.New("the file is empty")
	}

	// Pages are checked before bbolt follows them, and before it reads the list of free
	// pages, which it does if it is to write.
	if o.ReadOnly {
		db, file, version, err := openChecked(path, o)
		if err == nil && version != schema {
			err = fmt.Errorf("has schema %d: start this crumbgate with it once, which upgrades it to schema %d", version, schema)
			discard(db, file, err)
		}
		if err != nil {
			return nil, err
		}
		return newStore(path, o, db, file)
	}
	if info == nil || info.Size() > 0 {
		look := o
		look.ReadOnly = true
		db, _, _, err := openChecked(path, look)
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	db, file, err := openFile(path, o)
	if err != nil {
		return nil, err
	}
	if err := prepare(db, path); err != nil {
		discard(db, file, err)
		return nil, err
	}
	s, err := newStore(path, o, db, file)
	if err == nil {
		_ = s.makeRoom(reserve) // else the first batch says that the disk is full
	}
	return s, err
}

func newStore(path string, o Options, db *bolt.DB, file *os.File) (*Store, error) {
	info, err := file.Stat()
	if err != nil {
		_ = db.Close() // nothing was written
		return nil, err
	}
	s := &Store{path: path, known: o.Known, db: db, file: file, opened: info, update: db.Update, writer: make(chan struct{}, 1)}
	_, _ = rand.Read(s.session[:]) // it never fails
	found, err := s.content()
	if err != nil {
		discard(db, file, err)
		return nil, err
	}
	s.last.Store(&found)
	return s, nil
}

// discard closes a database for the error found, which counts more than that of closing:
// nothing was written.
func discard(db *bolt.DB, file *os.File, found error) {
	if errors.Is(found, errPanicked) {
		_ = abandon(file)
	} else {
		_ = db.Close()
	}
}

// openChecked opens a file for reading and checks all that is in it. It returns the
// schema, 0 for a file without content.
func openChecked(path string, o Options) (db *bolt.DB, file *os.File, version uint32, err error) {
	if db, file, err = openFile(path, o); err != nil {
		return nil, nil, 0, err
	}
	err = readFile(func() error {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		readAhead(context.Background(), path)
		version, err = inspectFile(file, info.Size(), int64(db.Info().PageSize), o.Known)
		return err
	})
	if err != nil {
		discard(db, file, err)
		return nil, nil, 0, err
	}
	return db, file, version, nil
}

// openFile opens the existing file with bbolt.
//
// The free pages are kept in a map, which stays fast in a large and fragmented
// file, and are written with every commit: it costs a page, and without it the
// next start would have to find them in the whole file.
func openFile(path string, o Options) (db *bolt.DB, file *os.File, err error) {
	err = readFile(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      o.LockTimeout,
			ReadOnly:     o.ReadOnly,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(path string, flag int, mode fs.FileMode) (_ *os.File, err error) {
				// Not created here: bbolt would do it in steps, see create.
				if file, err = os.OpenFile(path, flag&^os.O_CREATE, mode); err != nil || o.ReadOnly {
					return file, err
				}
				return file, tighten(file)
			},
		})
		return err
	})
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, errPanicked):
		_ = abandon(file)
		return nil, nil, err
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, locked(path, o.LockTimeout)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, nil, fmt.Errorf("is not a bbolt file (%w): name another file; or it is damaged, restore it from a backup", err)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(syscall.Errno)):
		return nil, nil, err
	default:
		return nil, nil, damage(err) // it is too short for bbolt
	}
}

// tighten takes from file all access of others than its owner.
func tighten(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		if err := file.Chmod(0o600); err != nil {
			return fmt.Errorf("its mode %#o lets others in and can't be changed, make it 0600: %w", mode, err) // a *fs.PathError
		}
	}
	return nil
}

// prepare makes a new store of an empty database, and one of the present schema of an
// older one.
func prepare(db *bolt.DB, path string) error {
	err := readFile(func() error {
		return db.Update(func(tx *bolt.Tx) error {
			meta := tx.Bucket(metaBucket)
			if meta == nil {
				return initialise(tx)
			}
			// Another process may have written since the file was checked.
			switch version, err := readSchema(meta.Get(schemaKey), meta.Get(stateKey)); {
			case err != nil:
				return err
			case version < schema:
				return upgrade(tx)
			}
			return errNothing
		})
	})
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	// The process that created the file may have died before it got here. Where
	// the directory can't be read this process has not created it.
	if err := syncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// create makes an empty store at path. It is made whole under another name, so
// that no crash leaves half a store behind, and then linked, which unlike a rename
// can't replace the store of another process that does the same. A crash can leave
// a file path.new-… behind, which is of no use to anyone.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("creating its directory: %w", err)
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("creating it: %w", err)
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("creating it: %w", err)
	}
	db, err := bolt.Open(tmp.Name(), 0o600, nil)
	if err != nil {
		return fmt.Errorf("creating it: %w", err)
	}
	err = db.Update(initialise)
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating it: %w", err)
	}
	return nil
}

// makeDir creates dir and its missing parents, durably.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return fmt.Errorf("%s does not exist", dir)
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
				return nil // made by another process just now
			}
		}
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in dir durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// locked is the error for a file whose lock was not given up in time.
func locked(path string, waited time.Duration) error {
	holder := lockHolder(path)
	if holder == "" {
		holder = "another crumbgate or Caddy process"
	}
	return fmt.Errorf("is in use by %s, which did not let go of it within %v: stop it, or name another file: %w",
		holder, max(waited, 0), berrors.ErrTimeout)
}
