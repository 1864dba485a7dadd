package diskroom_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/crumbgate/crumbgate/internal/diskroom"
)

// A file keeps what it holds, gets zeros behind it, and is longer only if it is extended.
func TestRoom(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	content := func(want []byte) {
		t.Helper()
		if got, err := os.ReadFile(file.Name()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the file has %d bytes (%v), want %d", len(got), err, len(want))
		}
	}
	if err := diskroom.Ahead(file, 7, 100_000); err != nil && !errors.Is(err, diskroom.ErrUnsupported) {
		t.Fatal(err)
	}
	content([]byte("content"))
	for _, size := range []int{200_000, 100} {
		if err := diskroom.Extend(file, int64(size)); err != nil {
			t.Fatal(err)
		}
		content(append([]byte("content"), make([]byte, 200_000-7)...))
	}
}
