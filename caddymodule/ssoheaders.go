package caddymodule

import (
	"fmt"
	"maps"
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

// SSOHeaders removes headers from what clients send, in every spelling, so that only
// the sign-in can set them. It runs before all other handlers. The session of the
// handler crumbgate takes a header for an identity only if this handler has run.
type SSOHeaders struct {
	// The names of the headers, such as Remote-User.
	Names []string `json:"names"`
	// Where else the headers may come from: trusted_proxies, for a sign-in in a proxy in
	// front of Caddy. Such a proxy must be in the server's trusted_proxies, and must
	// replace the headers that its clients send. Default: from handlers of this Caddy only.
	From string `json:"from,omitempty"`

	guarded *gateway.HeaderNames
}

// fromProxies is the value of SSOHeaders.From for a sign-in in a proxy in front.
const fromProxies = "trusted_proxies"

// CaddyModule returns the Caddy module information.
func (*SSOHeaders) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.crumbgate_sso_headers", New: func() caddy.Module { return new(SSOHeaders) }}
}

// Provision checks the names.
func (s *SSOHeaders) Provision(caddy.Context) error {
	if s.From != "" && s.From != fromProxies {
		return fmt.Errorf("crumbgate_sso_headers: from %q is unknown: use %s, or leave it out", s.From, fromProxies)
	}
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
	fromProxy := s.fromProxy(r)
	s.guarded.Remove(r.Header)
	maps.Copy(r.Header, fromProxy)
	guarded, _ := caddyhttp.GetVar(r.Context(), guardedVar).([]string)
	caddyhttp.SetVar(r.Context(), guardedVar, append(guarded[:len(guarded):len(guarded)], s.Names...))
	return next.ServeHTTP(w, r)
}

// fromProxy returns the headers that the proxy in front has set. A header that came
// twice is not among them: the proxy has then added its value to one of the client's.
func (s *SSOHeaders) fromProxy(r *http.Request) http.Header {
	if s.From != fromProxies {
		return nil
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return nil
	}
	kept := make(http.Header, len(s.Names))
	for _, name := range s.Names {
		if values := r.Header[name]; len(values) == 1 {
			kept[name] = values
		}
	}
	return kept
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens:
//
//	crumbgate_sso_headers [<matcher>] <names…> {
//		from trusted_proxies
//	}
func (s *SSOHeaders) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // crumbgate_sso_headers
	s.Names = d.RemainingArgs()
	if len(s.Names) == 0 {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if d.Val() != "from" {
			return d.Errf("unknown option %q of crumbgate_sso_headers", d.Val())
		}
		var err error
		if s.From, err = stringArg(d); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SSOHeaders)(nil)
	_ caddyhttp.MiddlewareHandler = (*SSOHeaders)(nil)
	_ caddyfile.Unmarshaler       = (*SSOHeaders)(nil)
)
