// Package secretfile reads files with secrets and opens directories for them. It checks
// which other users have access.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// MaxSize bounds a file with a secret, in bytes.
const MaxSize = 64 << 10

// Read returns the content of a file with a secret. A file that its group or all users may
// write is an error, since they could replace the secret. One that all users may read is a
// warning, "" if there is none: files that an orchestrator mounts are often so, and only the
// processes of one container see them.
func Read(path string) (secret []byte, warning string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", err
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, "", fmt.Errorf("%q is not a regular file: name the file that holds the secret", path)
	case runtime.GOOS == "windows": // whose modes say nothing of others
	case mode&0o022 != 0:
		return nil, "", fmt.Errorf("%q can be written by others than its owner (mode %#o), who could replace the secret: run chmod go-w", path, mode.Perm())
	case mode&0o004 != 0:
		warning = fmt.Sprintf("%q can be read by all users (mode %#o): run chmod o-r, unless it is mounted into a container", path, mode.Perm())
	}
	secret, err = io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, "", err
	}
	if len(secret) > MaxSize {
		return nil, "", fmt.Errorf("%q has more than %d bytes: name the file that holds the secret", path, MaxSize)
	}
	return secret, warning, nil
}

// OpenDir opens a directory for files with secrets. It creates a missing one, with its
// parents, with the mode 0700. One that exists is an error unless it belongs to the user of
// this process, only that user may enter it, and it is empty.
func OpenDir(path string) (*os.Root, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if err := checkDir(root, named, path); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// checkDir checks the open directory, which no other process can exchange any more.
func checkDir(root *os.Root, named fs.FileInfo, path string) error {
	const remedy = "name a directory that does not exist"
	opened, err := root.Stat(".")
	if err != nil {
		return err
	}
	switch {
	case !os.SameFile(named, opened):
		return fmt.Errorf("%q is a link: %s", path, remedy)
	case !isOurs(opened):
		return fmt.Errorf("%q belongs to another user, who could read and change what is written there: %s", path, remedy)
	case runtime.GOOS != "windows" && opened.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%q is open to other users (mode %#o): %s, or run chmod 700", path, opened.Mode().Perm(), remedy)
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%q is not empty: %s", path, remedy)
	}
	return nil
}
