package boltstore_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
)

// TestResident reads and writes all over a store and then asks the kernel how much
// of the file counts as memory of the process.
func TestResident(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := open(t, path)
	defer s.Close()
	for n := range 96 { // the last third overwrites, and the file need not grow
		var changes []storage.Change
		for i := range storage.MaxBatch {
			changes = append(changes, storage.Change{Key: fmt.Sprintf("key/%03d-%02d", i, n%64), Value: make([]byte, 2000), Expect: storage.Any})
		}
		if _, err := s.Apply(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
	}
	// The file has more than 16 MiB. What the last commit has touched remains, for
	// which the kernel maps 64 KiB around each page.
	if got := residentKiB(t, path); got > 8<<10 {
		t.Errorf("after writing, %d KiB of the file are resident", got)
	}
	entries, peak := 0, 0
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if entries++; entries%1000 == 0 {
			peak = max(peak, residentKiB(t, path))
		}
	}
	if entries != 64*storage.MaxBatch || peak < 1<<10 {
		t.Errorf("%d entries, with %d KiB resident at the most", entries, peak)
	}
	if got := residentKiB(t, path); got > 1<<10 {
		t.Errorf("after reading, %d KiB of the file are resident", got)
	}
}

// residentKiB returns the resident part of the mapping of path.
func residentKiB(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inFile, kib := false, -1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if fields := strings.Fields(line); len(fields) >= 5 && strings.Contains(fields[0], "-") {
			inFile = strings.HasSuffix(line, path)
		}
		if inFile && strings.HasPrefix(line, "Rss:") {
			if _, err := fmt.Sscanf(line, "Rss: %d kB", &kib); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kib < 0 {
		t.Fatalf("%s is not mapped", path)
	}
	return kib
}
