package storage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
)

func TestCheckBatch(t *testing.T) {
	keys := func(n int) (changes []storage.Change) {
		for i := range n {
			changes = append(changes, storage.Change{Key: fmt.Sprint(i)})
		}
		return changes
	}
	key := func(n int) string { return strings.Repeat("k", n) }
	for _, test := range []struct {
		name    string
		changes []storage.Change
		want    string // in the error, none if empty
	}{
		{"one", keys(1), ""},
		{"as many as allowed", keys(storage.MaxBatch), ""},
		{"none", nil, "0 changes, allowed are 1 to 128"},
		{"too many", keys(storage.MaxBatch + 1), "129 changes, allowed are 1 to 128"},
		{"the longest key", []storage.Change{{Key: key(storage.MaxKeyLen)}}, ""},
		{"a too long key", []storage.Change{{Key: key(storage.MaxKeyLen + 1)}}, "a key of 1025 bytes, allowed are 1 to 1024"},
		{"an empty key", []storage.Change{{Key: "a"}, {Delete: true}}, "a key of 0 bytes, allowed are 1 to 1024"},
		{"the longest value", []storage.Change{{Key: "a", Value: make([]byte, storage.MaxValueLen)}}, ""},
		{"a too long value", []storage.Change{{Key: "a", Value: make([]byte, storage.MaxValueLen+1)}}, `the value of "a" has 65537 bytes, allowed are 65536`},
		{"a key twice", []storage.Change{{Key: "a"}, {Key: "b"}, {Key: "a", Delete: true}}, `key "a" twice`},
		{"keys that differ in case", []storage.Change{{Key: "a"}, {Key: "A"}}, ""},
	} {
		err := storage.CheckBatch(test.changes)
		if (test.want == "") != (err == nil) || err != nil && (!errors.Is(err, storage.ErrBatch) || !strings.HasSuffix(err.Error(), test.want)) {
			t.Errorf("%s: CheckBatch: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestConflictError(t *testing.T) {
	for _, test := range []struct {
		err  storage.ConflictError
		want string
	}{
		{storage.ConflictError{Key: "token/1", Expect: 3, Actual: 5}, `key "token/1" is at revision 5, expected 3`},
		{storage.ConflictError{Key: "token/1", Expect: storage.Absent, Actual: 5}, `key "token/1" exists, at revision 5`},
		{storage.ConflictError{Key: "token/1", Expect: 3, Actual: storage.Absent}, `key "token/1" does not exist, expected at revision 3`},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q, want %q", got, test.want)
		}
	}
}
