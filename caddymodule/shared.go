package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/live"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/storage"
)

// directories are the open token directories by the key of their storage. They
// are state of the process because they have to outlive a configuration: while
// Caddy reloads, the old and the new one both serve requests.
var directories = caddy.NewUsagePool()

// openDirectories has the keys of those in directories that can be used without waiting.
var openDirectories sync.Map

// loadTimeout bounds how long the reading of a store may take.
const loadTimeout = 5 * time.Minute

type sharedDirectory struct {
	*token.Directory
	key     string
	store   storage.Store
	keys    *crumb.Keys
	log     *slog.Logger
	live    *live.Registry      // of all configurations: streams can outlive one
	app     atomic.Pointer[App] // of the newest configuration
	emitter *emitter

	audit    atomic.Pointer[auditLogs] // nil if nothing is audited
	ready    atomic.Bool               // audit is what the configuration says
	auditing sync.Mutex                // guards auditAs, and the change of audit
	auditAs  Audit
}

// Destruct implements caddy.Destructor.
func (s *sharedDirectory) Destruct() error {
	openDirectories.Delete(s.key)
	runningSecrets.removeDirectory(s.Directory)
	if s.live != nil {
		s.live.Close()
	}
	err := s.Close()
	if left := s.emitter.close(maxHandling); left > 0 {
		err = errors.Join(err, fmt.Errorf("the handlers of %d events have not ended within %v", left, maxHandling))
	}
	return err
}

// auditedStore closes the audit log before the store, which keeps its head, and after
// all that the directory still has to tell.
type auditedStore struct {
	storage.Store
	log *atomic.Pointer[auditLogs]
}

func (s auditedStore) Close() error {
	var err error
	if log := s.log.Load(); log != nil {
		err = log.Close()
	}
	return errors.Join(err, s.Store.Close())
}

// ended counts for the newest configuration, as the metrics of older ones are not
// shown any more.
func (s *sharedDirectory) ended() {
	if app := s.app.Load(); app != nil {
		app.metrics.Ended()
	}
}

func openDirectory(ctx caddy.Context, storage Storage, audited Audit) (caddy.Destructor, error) {
	store, err := storage.Open()
	if err != nil {
		return nil, err
	}
	loading, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	s := &sharedDirectory{key: storage.Key(), store: store, log: ctx.Slogger()}
	s.emitter = newEmitter(s.app.Load)
	s.Directory, err = token.Open(loading, auditedStore{store, &s.audit}, token.Config{Log: ctx.Slogger(), Now: clock, Audit: s.record, Told: s.told})
	if err != nil {
		s.emitter.close(0)
		return nil, err
	}
	if err := s.useAudit(ctx, audited); err != nil {
		_ = s.Destruct() // what went wrong before says more
		return nil, err
	}
	if s.keys, err = crumb.OpenKeys(loading, store, clock); err != nil {
		_ = s.Destruct() // what went wrong before says more
		return nil, err
	}
	s.live = live.New(clock, ctx.Slogger(), s.ended)
	openDirectories.Store(s.key, nil)
	return s, nil
}
