package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/crumbgate/crumbgate/internal/listening"
)

// listenersChecked reports whether this process has looked for others on its addresses. It
// is done until a configuration has started: a reload must not fail for a process that came
// later.
var listenersChecked atomic.Bool

// useServer notes a server that has a guarded site.
func (a *App) useServer(s *caddyhttp.Server) {
	if !slices.Contains(a.servers, s) {
		a.servers = append(a.servers, s)
	}
}

// checkListeners returns an error if another process listens where this one does, or is
// about to: half of the requests would get to a gateway that may know other tokens.
func (a *App) checkListeners() error {
	if listenersChecked.Load() {
		return nil
	}
	addresses := a.addresses()
	conflict := (*listening.Conflict)(nil)
	switch err := listening.Others(addresses); {
	case errors.As(err, &conflict):
		return fmt.Errorf("%w: stop it, or let this gateway listen on another address", err)
	case err != nil:
		a.ctx.Logger().Warn("other processes on the same addresses can't be looked for", zap.Error(err))
	}
	return nil
}

// lookAgain looks for other processes when all servers are running. It finds the one that
// has started at the same moment, and which of the two is to go on only an operator knows.
type lookAgain struct{ ctx caddy.Context }

// Handle implements caddyevents.Handler.
func (l lookAgain) Handle(context.Context, caddy.Event) error {
	listenersChecked.Store(true)
	if err := listening.Others(nil); err != nil {
		l.ctx.Logger().Error("another process listens on an address of this gateway and answers some of its requests: stop one of them", zap.Error(err))
	}
	return nil
}

// addresses returns where the servers with guarded sites are going to listen. What can't
// be parsed or resolved is left to the servers, whose errors say more.
func (a *App) addresses() []listening.Address {
	var found []listening.Address
	for _, server := range a.servers {
		for _, text := range server.Listen {
			address, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", 0)
			if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() {
				continue
			}
			for port := address.StartPort; port <= address.EndPort && port != 0; port++ {
				tcp, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(address.Host, fmt.Sprint(port)))
				if err != nil {
					continue
				}
				at := listening.Address{Network: "tcp", AddrPort: tcp.AddrPort()}
				if !at.Addr().IsValid() { // no host means all addresses
					at.AddrPort = listening.All(uint16(port))
				}
				found = append(found, at)
				if len(server.TLSConnPolicies) > 0 && (len(server.Protocols) == 0 || slices.Contains(server.Protocols, "h3")) {
					found = append(found, listening.Address{Network: "udp", AddrPort: at.AddrPort})
				}
			}
		}
	}
	return found
}
