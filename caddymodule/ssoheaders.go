package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/crumbgate/crumbgate/gateway"
)

func init() {
	caddy.RegisterModule(new(SSOHeaders))
	httpcaddyfile.RegisterHandlerDirective("crumbgate_sso_headers", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		handler := new(SSOHeaders)
		return handler, handler.UnmarshalCaddyfile(h.Dispenser)
	})
	// Before everything that could set one of the headers.
	httpcaddyfile.RegisterDirectiveOrder("crumbgate_sso_headers", httpcaddyfile.Before, "tracing")
}

// guardedVar is where the handler notes for the request which headers it has
// removed: what is in them later, a handler of ours has put there.
const guardedVar = "crumbgate.guarded_headers"

// SSOHeaders removes headers from what clients send, in every spelling, so that a
// single sign-on behind it is the only one to set them. It goes before everything
// else; the session of the handler crumbgate takes a header for an identity only if
// this has been done.
type SSOHeaders struct {
	// The names of the headers, such as Remote-User.
	Names []string `json:"names"`

	guarded *gateway.HeaderNames
}

// CaddyModule returns the Caddy module information.
func (*SSOHeaders) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.crumbgate_sso_headers", New: func() caddy.Module { return new(SSOHeaders) }}
}

// Provision checks the names.
func (s *SSOHeaders) Provision(caddy.Context) error {
	if len(s.Names) == 0 {
		return fmt.Errorf("crumbgate_sso_headers names no header: name those in which the single sign-on says who has signed in")
	}
	for i, name := range s.Names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%q is not a name for a header (RFC 9110, section 5.1)", name)
		}
		s.Names[i] = http.CanonicalHeaderKey(name)
	}
	s.guarded = gateway.NewHeaderNames(s.Names)
	return nil
}

func (s *SSOHeaders) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	s.guarded.Remove(r.Header)
	guarded, _ := caddyhttp.GetVar(r.Context(), guardedVar).([]string)
	caddyhttp.SetVar(r.Context(), guardedVar, append(guarded[:len(guarded):len(guarded)], s.Names...))
	return next.ServeHTTP(w, r)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens:
//
//	crumbgate_sso_headers [<matcher>] <names…>
func (s *SSOHeaders) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // crumbgate_sso_headers
	s.Names = d.RemainingArgs()
	if len(s.Names) == 0 || d.NextBlock(0) {
		return d.ArgErr()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SSOHeaders)(nil)
	_ caddyhttp.MiddlewareHandler = (*SSOHeaders)(nil)
	_ caddyfile.Unmarshaler       = (*SSOHeaders)(nil)
)
