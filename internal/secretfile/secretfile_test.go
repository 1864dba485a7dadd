//go:build unix

package secretfile_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/internal/secretfile"
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		mode         fs.FileMode
		size         int
		warning, err string
	}{
		{0o600, 32, "", ""},
		{0o400, 32, "", ""},
		{0o440, 32, "", ""},
		{0o640, 32, "", ""},
		{0o644, 32, "can be read by all users (mode 0644)", ""},
		{0o444, 32, "can be read by all users (mode 0444)", ""},
		{0o660, 32, "", "can be written by others than its owner (mode 0660)"},
		{0o602, 32, "", "can be written by others than its owner (mode 0602)"},
		{0o666, 32, "", "can be written by others than its owner (mode 0666)"},
		{0o600, secretfile.MaxSize, "", ""},
		{0o600, secretfile.MaxSize + 1, "", "has more than 65536 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		want := bytes.Repeat([]byte("k"), test.size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		link := path + ".link" // as in a mounted secret
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		got, warning, err := secretfile.Read(link)
		if (test.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("mode %#o, %d bytes: %v, want %q", test.mode, test.size, err, test.err)
		}
		if (test.warning == "") != (warning == "") || !strings.Contains(warning, test.warning) {
			t.Errorf("mode %#o: warning %q, want %q", test.mode, warning, test.warning)
		}
		if test.err == "" && !bytes.Equal(got, want) {
			t.Errorf("mode %#o: Read returns %d bytes", test.mode, len(got))
		}
	}
	if _, _, err := secretfile.Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("Read of a directory: %v", err)
	}
	if _, _, err := secretfile.Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("Read of no file has succeeded")
	}
}

func TestOpenDir(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		want string // in the error, none if empty
	}{
		{"none", func(*testing.T, string) {}, ""},
		{"an own empty one", func(t *testing.T, path string) { mkdir(t, path, 0o700) }, ""},
		{"one that others may enter", func(t *testing.T, path string) { mkdir(t, path, 0o711) }, "is open to other users (mode 0711)"},
		{"one that the group may read", func(t *testing.T, path string) { mkdir(t, path, 0o750) }, "is open to other users (mode 0750)"},
		{"one that all may write", func(t *testing.T, path string) { mkdir(t, path, 0o777) }, "is open to other users (mode 0777)"},
		{"one with a file", func(t *testing.T, path string) {
			mkdir(t, path, 0o700)
			if err := os.WriteFile(filepath.Join(path, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not empty"},
		{"a link to an own one", func(t *testing.T, path string) {
			mkdir(t, path+".real", 0o700)
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, "is a link"},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
		{"another user's", func(t *testing.T, path string) {
			mkdir(t, path, 0o700)
			if os.Getuid() == 0 {
				if err := os.Chown(path, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			} else { // only root can give it away, so that it is the next best
				if err := os.Chmod(path, 0o707); err != nil {
					t.Fatal(err)
				}
			}
		}, ": name a directory that does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "above", "out")
			mkdir(t, filepath.Dir(path), 0o700)
			test.make(t, path)
			root, err := secretfile.OpenDir(path)
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("OpenDir: %v, want %q", err, test.want)
			}
			if err != nil {
				return
			}
			defer root.Close()
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory is %v, %v, want the mode 0700", info.Mode(), err)
			}
		})
	}
}

func mkdir(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}
