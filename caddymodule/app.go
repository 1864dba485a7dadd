// Package caddymodule makes crumbgate a part of Caddy: the app that owns the token
// store, the handler that guards a site, the admin endpoint and the commands. It
// translates between Caddy and package gateway, and decides nothing.
package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App holds the tokens for all sites that crumbgate guards. It need not be
// configured: without it, the tokens are kept in the file crumbgate/tokens.db in
// Caddy's data directory.
type App struct {
	// Where tokens are kept.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=crumbgate.storage inline_key=backend"`
	// What holds for all tokens. Default: tokens live for 90 days unless their requests
	// say otherwise, and legacy ones are refused.
	Tokens *Tokens `json:"tokens,omitempty"`
	// Where changes of tokens and denials of requests are noted. Default: in audit.log
	// beside the token store.
	Audit Audit `json:"audit,omitzero"`

	storage Storage
	rules   token.Rules
	events  *caddyevents.App
	ctx     caddy.Context
	ids     *user.Strategy // of the sites, nil if there are none
	metrics *gateway.Metrics
	servers []*caddyhttp.Server // with guarded sites

	open   atomic.Pointer[sharedDirectory]
	mu     sync.Mutex // guards opening and closing
	closed bool
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "crumbgate", New: func() caddy.Module { return new(App) }}
}

// Provision loads the storage module. It does not open the store: Caddy
// provisions a configuration also to validate it, and while an older one is still
// running.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	var err error
	if a.metrics, err = gateway.NewMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if err = a.registerAuditMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if a.events, err = eventsApp(ctx); err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	if err := a.events.On("stopping", storeUses{a}); err != nil {
		return fmt.Errorf("subscribing to the stop: %w", err)
	}
	if err := a.events.On("started", takeEffect{a}); err != nil {
		return fmt.Errorf("subscribing to the start: %w", err)
	}
	if !listenersChecked.Load() {
		if err := a.events.On("started", lookAgain{ctx}); err != nil {
			return fmt.Errorf("subscribing to the start: %w", err)
		}
	}
	if a.Tokens != nil {
		if a.rules, err = a.Tokens.rules(); err != nil {
			return fmt.Errorf("tokens: %w", err)
		}
	}
	if a.StorageRaw == nil {
		bolt := new(BoltStorage)
		if err := bolt.Provision(ctx); err != nil {
			return err
		}
		a.storage = bolt
	} else {
		module, err := ctx.LoadModule(a, "StorageRaw")
		if err != nil {
			return fmt.Errorf("loading the storage module: %w", err)
		}
		a.storage = module.(Storage)
	}
	if err := a.Audit.provision(a.storage.Dir()); err != nil {
		return err
	}
	a.warn(ctx)
	return nil
}

// useUserIDs is told by each site which spellings of a user id are the same. As
// they share the tokens, they have to agree.
func (a *App) useUserIDs(s user.Strategy) error {
	if a.ids != nil && *a.ids != s {
		return errors.New("two sites have different user_ids, but share one token store: set the same for both")
	}
	a.ids = &s
	return nil
}

// Start opens the store, so that a configuration whose store can't be opened is
// not taken on. Before that, a process's first start makes sure that no other process
// listens on the same addresses.
func (a *App) Start() error {
	if err := a.checkListeners(); err != nil {
		return err
	}
	shared, err := a.acquire(func() (caddy.Destructor, error) { return openDirectory(a) })
	if err != nil {
		return err
	}
	return shared.prepare(a)
}

// takeEffect has the settings of a configuration take effect when all of it has started.
type takeEffect struct{ app *App }

// Handle implements caddyevents.Handler.
func (t takeEffect) Handle(_ context.Context, e caddy.Event) error {
	shared := t.app.open.Load()
	if e.Origin() != nil || shared == nil {
		return nil // it is an event of a module that has the same name
	}
	if err := shared.begin(t.app); err != nil {
		t.app.ctx.Logger().Error("the audit log of the new configuration can't be used, the one before goes on", zap.Error(err))
	}
	return nil
}

// storeUses stores the use counts when a configuration is about to stop: its servers may
// wait for open requests until a supervisor kills the process.
type storeUses struct{ app *App }

// Handle implements caddyevents.Handler.
func (s storeUses) Handle(context.Context, caddy.Event) error {
	shared := s.app.open.Load()
	if shared == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxHandling)
	defer cancel()
	if err := shared.StoreUses(ctx); err != nil {
		s.app.ctx.Logger().Error("use counts can't be stored before the stop", zap.Error(err))
	}
	return nil
}

// Stop does nothing: the servers of the other apps may still be answering
// requests. Cleanup comes after all of them.
func (*App) Stop() error { return nil }

// Cleanup lets go of the store, which is closed when no configuration uses it any
// more.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	shared := a.open.Load()
	if shared == nil {
		return nil
	}
	err := shared.leave(a)
	_, wrong := directories.Delete(a.storage.Key())
	return errors.Join(err, wrong)
}

// directory returns the token directory.
func (a *App) directory() (*token.Directory, error) {
	shared, err := a.shared()
	if err != nil {
		return nil, err
	}
	return shared.Directory, nil
}

// crumbKeys returns the keys of the gateway's crumbs, from the same store.
func (a *App) crumbKeys() (*crumb.Keys, error) {
	shared, err := a.shared()
	if err != nil {
		return nil, err
	}
	return shared.keys, nil
}

// errNotOpen is the error for requests that come before Start has opened the store.
var errNotOpen = errors.New("the token store is not open yet")

// shared returns the open directory. It never waits for the file: Caddy starts apps in no
// order, so requests can come before Start, and after a reload they find the store open
// already. Only Start opens it.
func (a *App) shared() (*sharedDirectory, error) {
	if d := a.open.Load(); d != nil {
		return d, nil
	}
	if _, isOpen := openDirectories.Load(a.storage.Key()); !isOpen {
		return nil, errNotOpen
	}
	return a.acquire(func() (caddy.Destructor, error) { return nil, errNotOpen })
}

// acquire returns the directory of the store, which construct makes unless another
// configuration has it open.
func (a *App) acquire(construct caddy.Constructor) (*sharedDirectory, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d := a.open.Load(); d != nil {
		return d, nil
	}
	if a.closed {
		return nil, errors.New("the configuration has been replaced")
	}
	// Every configuration that names the same store shares one directory, the old
	// and the new one of a reload included: a second one could not open the file.
	shared, reused, err := directories.LoadOrNew(a.storage.Key(), construct)
	if err != nil {
		return nil, err
	}
	d := shared.(*sharedDirectory)
	a.open.Store(d)
	runningSecrets.addDirectory(d.Directory)
	a.ctx.Logger().Info("token store open", zap.String("store", a.storage.Key()), zap.Int("tokens", d.Len()), zap.Bool("shared", reused))
	return d, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
