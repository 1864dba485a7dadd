package caddymodule

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

func init() {
	caddy.RegisterModule(new(BoltStorage))
}

// Storage is what modules in the namespace crumbgate.storage provide.
type Storage interface {
	// Key is the same for all configurations that name the same store.
	Key() string
	// Dir is a directory for what belongs to the store, such as the audit log.
	Dir() string
	// Open opens the store. It is called once for all configurations that share it.
	Open() (storage.Store, error)
}

// BoltStorage keeps tokens in one file (bbolt). One process can have it open.
type BoltStorage struct {
	// The file. It is created with the mode 0600, and its directory with 0700.
	// Default: crumbgate/tokens.db in Caddy's data directory.
	Path string `json:"path,omitempty"`
	// How long to wait for another process to let go of the file. Default: 5s.
	LockTimeout caddy.Duration `json:"lock_timeout,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*BoltStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "crumbgate.storage.bbolt", New: func() caddy.Module { return new(BoltStorage) }}
}

// Provision fills in the defaults.
func (b *BoltStorage) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(b.Path, true, true)
	if err != nil {
		return fmt.Errorf("storage path %q: %w", b.Path, err)
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "crumbgate", "tokens.db")
	}
	b.Path, err = filepath.Abs(path)
	return err
}

// Validate implements caddy.Validator.
func (b *BoltStorage) Validate() error {
	if b.LockTimeout < 0 {
		return fmt.Errorf("lock_timeout is negative: use 0 for the default of 5s")
	}
	return nil
}

// Key implements Storage.
func (b *BoltStorage) Key() string { return b.Path }

// Dir implements Storage.
func (b *BoltStorage) Dir() string { return filepath.Dir(b.Path) }

// Open implements Storage.
func (b *BoltStorage) Open() (storage.Store, error) {
	return boltstore.Open(b.Path, boltstore.Options{LockTimeout: time.Duration(b.LockTimeout), Known: storekey.Kinds()})
}

// UnmarshalCaddyfile sets up the storage from Caddyfile tokens:
//
//	storage bbolt [<path>] {
//		lock_timeout <duration>
//	}
func (b *BoltStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the backend
	if d.NextArg() {
		b.Path = d.Val()
		if b.Path == "" {
			return d.Err("the path is empty: leave it out for the default")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(d.Nesting()) {
		switch d.Val() {
		case "lock_timeout":
			if b.LockTimeout != 0 {
				return d.Err("lock_timeout is set twice")
			}
			timeout, err := durationArg(d)
			if err != nil {
				return err
			}
			b.LockTimeout = timeout
		default:
			return d.Errf("unknown option %q of storage bbolt", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ Storage               = (*BoltStorage)(nil)
	_ caddy.Provisioner     = (*BoltStorage)(nil)
	_ caddy.Validator       = (*BoltStorage)(nil)
	_ caddyfile.Unmarshaler = (*BoltStorage)(nil)
)
