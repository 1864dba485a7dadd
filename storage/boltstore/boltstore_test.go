package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
	"github.com/crumbgate/crumbgate/storage/storagetest"
)

func open(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t testing.TB, dir string) storage.Store {
		return open(t, filepath.Join(dir, "tokens.db"))
	})
}
