package caddymodule

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// runningSecrets are what the log format has to know of the running gateways. Caddy
// sets up logs before everything else and ties them to no handler, so this is state of
// the process. While one configuration replaces another, it has what both say.
var runningSecrets secretRegistry

type secretRegistry struct {
	current atomic.Pointer[gateway.Secrets] // nil if there is no gateway

	mu          sync.Mutex // guards what follows
	handlers    map[*Handler][]string
	directories map[*token.Directory]struct{}
}

// addNames takes on the headers and parameters that hold secrets for a handler.
func (s *secretRegistry) addNames(h *Handler, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlers == nil {
		s.handlers = make(map[*Handler][]string)
	}
	s.handlers[h] = names
	s.publishLocked()
}

func (s *secretRegistry) removeNames(h *Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handlers, h)
	s.publishLocked()
}

// addDirectory has legacy tokens of an open directory hidden.
func (s *secretRegistry) addDirectory(d *token.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.directories == nil {
		s.directories = make(map[*token.Directory]struct{})
	}
	s.directories[d] = struct{}{}
	s.publishLocked()
}

func (s *secretRegistry) removeDirectory(d *token.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.directories, d)
	s.publishLocked()
}

func (s *secretRegistry) publishLocked() {
	names := slices.Concat(slices.Collect(maps.Values(s.handlers))...)
	directories := slices.Collect(maps.Keys(s.directories))
	s.current.Store(gateway.NewSecrets(names, func(digest token.Digest) bool {
		return slices.ContainsFunc(directories, func(d *token.Directory) bool {
			t := d.Find(digest)
			return t != nil && t.Record().Origin == token.Legacy
		})
	}))
}
