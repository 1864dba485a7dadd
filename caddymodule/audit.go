package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/secretfile"
	"github.com/crumbgate/crumbgate/storage"
)

// Audit is where changes of tokens, and denials of requests, are noted. A change
// that can't be noted is refused.
type Audit struct {
	// The file, or off. It is created with the mode 0600. Default: audit.log beside the
	// token store.
	File string `json:"file,omitempty"`
	// The size in bytes at which a file is put aside and a new one begun. Default: 64
	// MiB.
	MaxSize int64 `json:"max_size,omitempty"`
	// How many files that were put aside are kept. Default: all.
	Keep int `json:"keep,omitempty"`
	// For how long files that were put aside are kept. Default: for ever.
	KeepFor caddy.Duration `json:"keep_for,omitempty"`
	// How much is kept of denials, which have files of their own.
	Denials AuditDenials `json:"denials,omitzero"`
	// A file with a key of at least 32 bytes, with which each line is signed. Default:
	// none, and lines are bound to each other only.
	KeyFile string `json:"key_file,omitempty"`

	name string // of File, seen from the store, which may be moved with it
}

// AuditDenials is how much is kept of denied requests. Their files lie beside those of
// changes: audit.denials.log beside audit.log.
type AuditDenials struct {
	// The size in bytes at which a file is put aside and a new one begun. Default: 16
	// MiB.
	MaxSize int64 `json:"max_size,omitempty"`
	// How many files that were put aside are kept. Default: 4.
	Keep int `json:"keep,omitempty"`
}

// auditOff is the File of an Audit that notes nothing.
const auditOff = "off"

// provision fills in the defaults. Beside is the directory of the token store.
func (a *Audit) provision(beside string) error {
	repl := caddy.NewReplacer()
	for _, text := range []*string{&a.File, &a.KeyFile} {
		var err error
		if *text, err = repl.ReplaceOrErr(*text, true, true); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if a.MaxSize < 0 || a.Keep < 0 || a.KeepFor < 0 || a.Denials.MaxSize < 0 || a.Denials.Keep < 0 {
		return errors.New("audit: max_size, keep and keep_for can't be negative: leave them out for the defaults")
	}
	if a.File == auditOff {
		return nil
	}
	if a.File == "" {
		a.File = filepath.Join(beside, "audit.log")
	}
	var err error
	if a.File, err = filepath.Abs(a.File); err != nil {
		return err
	}
	if a.name, err = filepath.Rel(beside, a.File); err != nil || !filepath.IsLocal(a.name) {
		a.name = a.File
	}
	return nil
}

// auditReserve is the room in bytes that the log of changes has ahead, for some hundred lines
// on a full disk. More of them wait in the store. That of denials is for the log's own lines.
const (
	auditReserve   = 256 << 10
	denialsReserve = 64 << 10
)

// auditLogs are the files of an Audit, which are open.
type auditLogs struct {
	changes *audit.Log
	denials *audit.Denials
}

// Close implements io.Closer.
func (l *auditLogs) Close() error {
	return errors.Join(l.denials.Close(), l.changes.Close())
}

// open opens the logs; nil if there are none. The store keeps their heads.
func (a *Audit) open(ctx caddy.Context, store storage.Store) (*auditLogs, error) {
	if a.File == auditOff {
		return nil, nil
	}
	var key []byte
	if a.KeyFile != "" {
		var warning string
		var err error
		if key, warning, err = secretfile.Read(a.KeyFile); err != nil {
			return nil, fmt.Errorf("audit: reading the key: %w", err)
		}
		if warning != "" {
			ctx.Slogger().Warn("the key of the audit log can be read by all users", "detail", warning)
		}
	}
	options := audit.Options{Sizes: a.sizes(), Key: key, Reserve: auditReserve, Store: store, Name: a.name, Log: ctx.Slogger()}
	changes, err := audit.Open(a.File, options)
	if err != nil {
		return nil, err
	}
	options.Reserve = denialsReserve
	options.Sizes, options.Name = a.Denials.sizes(), audit.DenialsName(a.name)
	denials, err := audit.Open(audit.DenialsName(a.File), options)
	if err != nil {
		return nil, errors.Join(err, changes.Close())
	}
	return &auditLogs{changes, audit.NewDenials(denials)}, nil
}

func (a *Audit) sizes() audit.Sizes {
	return audit.Sizes{MaxSize: a.MaxSize, Keep: a.Keep, KeepFor: time.Duration(a.KeepFor)}
}

func (d *AuditDenials) sizes() audit.Sizes {
	return audit.Sizes{MaxSize: cmp.Or(d.MaxSize, 16<<20), Keep: cmp.Or(d.Keep, 4)}
}

// UnmarshalCaddyfile sets up the audit log from Caddyfile tokens:
//
//	audit [<file>|off] {
//		max_size <size>
//		keep     <number>
//		keep_for <duration>
//		key_file <file>
//		denials {
//			max_size <size>
//			keep     <number>
//		}
//	}
func (a *Audit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		a.File = d.Val()
		if a.File == "" {
			return d.Err("the file of the audit log is empty: leave it out for the default")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "max_size":
			a.MaxSize, err = sizeArg(d)
		case "keep":
			a.Keep, err = countArg(d)
		case "keep_for":
			a.KeepFor, err = durationArg(d)
		case "key_file":
			a.KeyFile, err = stringArg(d)
		case "denials":
			err = a.Denials.unmarshal(d)
		default:
			return d.Errf("unknown option %q of audit", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *AuditDenials) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "max_size":
			a.MaxSize, err = sizeArg(d)
		case "keep":
			a.Keep, err = countArg(d)
		default:
			return d.Errf("unknown option %q of denials", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openAudit opens the logs of a configuration; nil if there are none, or if they are in use
// already. The caller holds applying.
func (s *sharedDirectory) openAudit(ctx caddy.Context, a Audit) (*auditLogs, error) {
	if !s.audits(a) {
		return a.open(ctx, s.store)
	}
	if s.auditAs.KeyFile != a.KeyFile {
		return nil, fmt.Errorf("audit: %q has its key from its first line on: for another key_file name another file, or stop the gateway and move all files of the log away", a.File)
	}
	return nil, nil
}

// audits reports whether the logs of a configuration are in use.
func (s *sharedDirectory) audits(a Audit) bool {
	return s.audit.Load() != nil && s.auditAs.File == a.File
}

// useAudit has the log of a configuration written from now on, as openAudit has opened it.
// The one before is closed, unless it has the same file. The caller holds applying.
func (s *sharedDirectory) useAudit(ctx context.Context, a Audit, opened *auditLogs) error {
	if s.audits(a) {
		log := s.audit.Load()
		s.auditAs = a
		return errors.Join(log.changes.Resize(a.sizes()), log.denials.Log().Resize(a.Denials.sizes()))
	}
	if opened == nil && s.audit.Load() == nil && s.ready.Load() {
		return nil
	}
	old, ready := s.audit.Load(), s.ready.Load()
	err := s.Reconcile(ctx, func() token.Recorded {
		s.ready.Store(true)
		s.audit.Store(opened)
		if opened == nil {
			return token.Recorded{}
		}
		return announced(opened.changes)
	})
	if err != nil {
		if stale, is := errors.AsType[*token.StaleError](err); is {
			stale.Store = s.key
		}
		s.ready.Store(ready)
		s.audit.Store(old)
		if opened != nil {
			err = errors.Join(err, opened.Close())
		}
		return err
	}
	s.auditAs = a
	if old != nil {
		return old.Close()
	}
	return nil
}

var errAuditNotOpen = errors.New("the audit log is not open yet")

// record records events. The change that it returns is for the store.
func (s *sharedDirectory) record(ctx context.Context, events ...token.Event) (storage.Change, error) {
	if !s.ready.Load() {
		return storage.Change{}, errAuditNotOpen
	}
	log := s.audit.Load()
	if log == nil {
		return storage.Change{}, nil
	}
	lines := make([]audit.Event, len(events))
	for i, e := range events {
		lines[i] = auditEvent(e)
	}
	head, err := log.changes.Append(ctx, lines...)
	if err != nil {
		return storage.Change{}, err
	}
	return log.changes.Settled(head), nil
}

// announced returns what a log has announced behind the last line that the store knows.
func announced(log *audit.Log) token.Recorded {
	u := log.Unsettled()
	r := token.Recorded{Interrupted: u.Interrupted, Settled: log.Settled(u.End)}
	for _, line := range u.Records {
		e := token.Event{ID: line.Change, Time: line.Time, Kind: token.Kind(line.Kind), User: user.ID(line.Owner), Detail: line.After}
		if line.TokenID != uuid.Nil {
			e.Token = &token.Record{ID: line.TokenID, Name: line.TokenName, Owner: e.User}
		}
		if line.Failed {
			e.Err = errors.New(line.Reason)
		}
		r.Events = append(r.Events, token.RecordedEvent{Event: e, Line: line.Head().String()})
	}
	return r
}

// told notes what has happened to a token, and has events made of it. New addresses are as
// many as a client likes, so they are noted with the denials.
func (s *sharedDirectory) told(e token.Event) {
	s.emitter.add(e)
	log := s.audit.Load()
	switch {
	case log == nil || !e.Kind.Happened():
	case e.Kind == token.KindNewAddress:
		log.denials.Note(auditEvent(e))
	default:
		log.changes.Note(auditEvent(e))
	}
}

func auditEvent(e token.Event) audit.Event {
	noted := audit.Event{
		Time: e.Time, Change: e.ID, Kind: audit.Kind(e.Kind), Actor: e.Actor.Name, Via: audit.Via(e.Actor.Via), Client: e.Actor.Addr,
		Owner: string(e.User), After: e.Detail,
	}
	if e.Token != nil {
		noted.TokenID, noted.TokenName = e.Token.ID, e.Token.Name
	}
	if e.Err != nil {
		noted.Failed, noted.Reason = true, e.Err.Error()
	}
	return noted
}

// noteRequest notes something of a request that was refused, or should have been.
func (a *App) noteRequest(kind audit.Kind, r *http.Request, d gateway.Decision, reason, addr string) {
	shared := a.open.Load()
	if shared == nil {
		return // nothing can be noted before the store is open, and nothing is let in
	}
	log := shared.audit.Load()
	if log == nil {
		return
	}
	noted := audit.Event{Kind: kind, Via: audit.ViaGateway, Client: addr, Reason: reason, PathClass: d.PathClass(r), Method: r.Method}
	switch {
	case d.Token != nil:
		record := d.Token.Record()
		noted.TokenID, noted.TokenName, noted.Owner = record.ID, record.Name, string(record.Owner)
	case d.Person != nil:
		noted.Owner = string(d.Person.User)
	}
	log.denials.Note(noted)
}

// auditStatus tells where changes and denials are noted.
func (s *sharedDirectory) auditStatus() admin.AuditStatus {
	s.applying.Lock()
	defer s.applying.Unlock()
	log := s.audit.Load()
	if log == nil {
		return admin.AuditStatus{}
	}
	denials := log.denials.Log()
	status := admin.AuditStatus{
		File: s.auditAs.File, Head: log.changes.Head().String(), Dropped: log.changes.Dropped() + denials.Dropped(),
		Denials: audit.DenialsName(s.auditAs.File), DenialsHead: denials.Head().String(),
	}
	status.Waiting, _ = s.Waiting()
	for _, err := range []error{log.changes.Failing(), denials.Failing()} {
		if err != nil && status.Error == "" {
			status.Error = err.Error()
		}
	}
	return status
}

// registerAuditMetrics registers what the metrics tell of the audit log.
func (a *App) registerAuditMetrics(registry prometheus.Registerer) error {
	status := func(of func(admin.AuditStatus) float64) func() float64 {
		return func() float64 {
			shared := a.open.Load()
			if shared == nil {
				return 0
			}
			return of(shared.auditStatus())
		}
	}
	for _, gauge := range []struct {
		name, help string
		of         func(admin.AuditStatus) float64
	}{
		{"audit_writable", "1 if the last line of the audit log could be written, 0 if not or if there is no log.", func(s admin.AuditStatus) float64 {
			if s.File == "" || s.Error != "" {
				return 0
			}
			return 1
		}},
		{"audit_waiting", "Lines of stored changes that wait until the audit log can be written.", func(s admin.AuditStatus) float64 { return float64(s.Waiting) }},
		{"audit_dropped", "Lines of denials that could not be written since the start.", func(s admin.AuditStatus) float64 { return float64(s.Dropped) }},
	} {
		err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "caddy", Subsystem: "crumbgate", Name: gauge.name, Help: gauge.help,
		}, status(gauge.of)))
		if err != nil {
			return err
		}
	}
	return nil
}

// auditReader returns what reads the log for the pages; nil if there is none.
func (a *App) auditReader() func(context.Context, selfservice.AuditQuery) ([]selfservice.AuditEntry, error) {
	if a.Audit.File == auditOff {
		return nil
	}
	name := filepath.Base(a.Audit.File)
	return selfservice.AuditFiles(audit.Set{FS: os.DirFS(filepath.Dir(a.Audit.File)), Names: []string{name, audit.DenialsName(name)}})
}
