package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
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
	// A file with a key of at least 32 bytes, with which each line is signed. Default:
	// none, and lines are bound to each other only.
	KeyFile string `json:"key_file,omitempty"`

	name string // of File, seen from the store, which may be moved with it
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
	if a.MaxSize < 0 || a.Keep < 0 {
		return errors.New("audit: max_size and keep can't be negative: leave them out for the defaults")
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

// open opens the log; nil if there is none. The store keeps its head.
func (a *Audit) open(ctx caddy.Context, store storage.Store) (*audit.Log, error) {
	if a.File == auditOff {
		return nil, nil
	}
	var key []byte
	if a.KeyFile != "" {
		var err error
		if key, err = os.ReadFile(a.KeyFile); err != nil {
			return nil, fmt.Errorf("audit: reading the key: %w", err)
		}
	}
	return audit.Open(a.File, audit.Options{Sizes: a.sizes(), Key: key, Store: store, Name: a.name, Log: ctx.Slogger()})
}

func (a *Audit) sizes() audit.Sizes { return audit.Sizes{MaxSize: a.MaxSize, Keep: a.Keep} }

// UnmarshalCaddyfile sets up the audit log from Caddyfile tokens:
//
//	audit [<file>|off] {
//		max_size <size>
//		keep     <number>
//		key_file <file>
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
		case "key_file":
			a.KeyFile, err = stringArg(d)
		default:
			return d.Errf("unknown option %q of audit", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// useAudit has the log of a configuration written from now on. The one before is
// closed, unless it has the same file.
func (s *sharedDirectory) useAudit(ctx caddy.Context, a Audit) error {
	s.auditing.Lock()
	defer s.auditing.Unlock()
	if log := s.audit.Load(); log != nil && s.auditAs.File == a.File {
		if s.auditAs.KeyFile != a.KeyFile {
			return fmt.Errorf("audit: %q has its key from its first line on: for another key_file name another file, or stop the gateway and move all files of the log away", a.File)
		}
		s.auditAs = a
		return log.Resize(a.sizes())
	}
	log, err := a.open(ctx, s.store)
	if err != nil {
		return err
	}
	if log == nil && s.audit.Load() == nil && s.ready.Load() {
		return nil
	}
	var old *audit.Log
	err = s.Reconcile(ctx, func() token.Recorded {
		s.ready.Store(true)
		old = s.audit.Swap(log)
		return announced(log)
	})
	if err != nil {
		s.ready.Store(old != nil)
		s.audit.Store(old)
		if log != nil {
			err = errors.Join(err, log.Close())
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
	head, err := log.Append(ctx, lines...)
	if err != nil {
		return storage.Change{}, err
	}
	return log.Settled(head), nil
}

// announced returns what a log has announced behind the last line that the store knows.
func announced(log *audit.Log) token.Recorded {
	if log == nil {
		return token.Recorded{}
	}
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

// told notes what has happened to a token, and has events made of it.
func (s *sharedDirectory) told(e token.Event) {
	s.emitter.add(e)
	if log := s.audit.Load(); log != nil && e.Kind.Happened() {
		log.Note(auditEvent(e))
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
	log.Note(noted)
}

// auditStatus tells where changes and denials are noted.
func (s *sharedDirectory) auditStatus() admin.AuditStatus {
	s.auditing.Lock()
	defer s.auditing.Unlock()
	log := s.audit.Load()
	if log == nil {
		return admin.AuditStatus{}
	}
	status := admin.AuditStatus{File: s.auditAs.File, Head: log.Head().String(), Dropped: log.Dropped()}
	err := log.Failing()
	if status.Waiting, _ = s.Waiting(); err != nil {
		status.Error = err.Error()
	}
	return status
}

// auditReader returns what reads the log for the pages; nil if there is none.
func (a *App) auditReader() func(context.Context, selfservice.AuditQuery) ([]selfservice.AuditEntry, error) {
	if a.Audit.File == auditOff {
		return nil
	}
	return selfservice.AuditFiles(os.DirFS(filepath.Dir(a.Audit.File)), filepath.Base(a.Audit.File))
}
