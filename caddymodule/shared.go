package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	app     atomic.Pointer[App] // of the configuration that is in effect
	emitter *emitter

	audit    atomic.Pointer[auditLogs] // nil if nothing is audited
	ready    atomic.Bool               // audit is what the configuration says
	applying sync.Mutex                // guards what follows, and the change of app and audit
	auditAs  Audit
	// started are the configurations with the directory that have started and not ended yet,
	// the newest last.
	started []*App
	// prepared is the audit log of a configuration that has not started yet; nil if it is the
	// one in use.
	prepared    *auditLogs
	preparedFor *App
}

// prepare returns an error if the settings of a configuration can't take effect. They do so
// when all of the configuration has started: until then Caddy may refuse it.
func (s *sharedDirectory) prepare(a *App) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.app.Load() == a {
		return nil
	}
	log, err := s.openAudit(a.ctx, a.Audit)
	if err != nil {
		return err
	}
	if log != nil {
		if err := s.CheckRecorded(a.ctx, announced(log.changes)); err != nil {
			return errors.Join(err, log.Close())
		}
	}
	s.prepared, s.preparedFor = log, a
	return nil
}

// begin has the settings of a configuration take effect, which has started.
func (s *sharedDirectory) begin(a *App) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.started = append(s.started, a)
	if s.app.Load() == a {
		return nil
	}
	log := s.prepared
	s.prepared, s.preparedFor = nil, nil
	return s.apply(a, log)
}

// leave forgets a configuration that has ended. If it was in effect, Caddy has refused it
// after all, and the one before takes effect again.
func (s *sharedDirectory) leave(a *App) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	var err error
	if s.preparedFor == a && s.prepared != nil {
		err = s.prepared.Close()
		s.prepared, s.preparedFor = nil, nil
	}
	s.started = slices.DeleteFunc(s.started, func(other *App) bool { return other == a })
	if s.app.Load() != a || len(s.started) == 0 {
		return err
	}
	before := s.started[len(s.started)-1]
	log, wrong := s.openAudit(before.ctx, before.Audit)
	if wrong == nil {
		wrong = s.apply(before, log)
	}
	return errors.Join(err, wrong)
}

// apply has the settings of a configuration hold. If the audit log can't be used, the one
// before goes on. The caller holds applying.
func (s *sharedDirectory) apply(a *App, log *auditLogs) error {
	err := s.useAudit(a.ctx, a.Audit, log)
	if a.ids != nil {
		s.SetUserIDs(*a.ids)
	}
	s.SetRules(a.rules)
	s.app.Store(a)
	return err
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

// openDirectory opens the directory of a configuration, whose settings take effect at once:
// there are no others, and requests may come before all of it has started.
func openDirectory(a *App) (caddy.Destructor, error) {
	ctx := a.ctx
	store, err := a.storage.Open()
	if err != nil {
		return nil, err
	}
	loading, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	s := &sharedDirectory{key: a.storage.Key(), store: store, log: ctx.Slogger()}
	s.emitter = newEmitter(s.app.Load)
	s.Directory, err = token.Open(loading, auditedStore{store, &s.audit}, token.Config{Log: ctx.Slogger(), Now: clock, Audit: s.record, Told: s.told})
	if err != nil {
		s.emitter.close(0)
		return nil, err
	}
	log, err := s.openAudit(ctx, a.Audit)
	if err == nil {
		err = s.apply(a, log)
	}
	if err != nil {
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
