package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

func init() {
	caddy.RegisterModule(new(MatchToken))
	caddy.RegisterModule(new(MatchPublic))
}

// MatchToken matches requests that the handler crumbgate takes for those of a token
// client, whether or not the token is any good: single sign-on is not for them. A
// request that only looks so gets past the sign-in, and then no further.
type MatchToken struct {
	// The second header in which clients may send a token: token_header of the handler.
	// Default: none.
	TokenHeader string `json:"token_header,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*MatchToken) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.crumbgate_token", New: func() caddy.Module { return new(MatchToken) }}
}

// MatchWithError reports whether the request looks like that of a token client.
func (m *MatchToken) MatchWithError(r *http.Request) (bool, error) {
	return gateway.LooksLikeToken(r, m.TokenHeader), nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens:
//
//	crumbgate_token [<token_header>]
func (m *MatchToken) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			m.TokenHeader = d.Val()
		}
		if d.NextArg() || d.NextBlock(0) {
			return d.ArgErr()
		}
	}
	return nil
}

// MatchPublic matches requests for endpoints that the handler crumbgate lets in
// without a user, for agents, probes and webhooks: nobody can sign in there. It has
// to be told what the handler is told.
type MatchPublic struct {
	// Jenkins' context path: prefix of the handler. Default: none.
	Prefix string `json:"prefix,omitempty"`
	// What is open: public of the handler. Default: what is open by default.
	Public []string `json:"public,omitempty"`
	// The forges whose webhooks are open: webhook of the handler. Default: none.
	Webhooks []string `json:"webhooks,omitempty"`

	opens func(*http.Request) bool
}

// CaddyModule returns the Caddy module information.
func (*MatchPublic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.crumbgate_public", New: func() caddy.Module { return new(MatchPublic) }}
}

// Provision reads the settings.
func (m *MatchPublic) Provision(caddy.Context) error {
	kinds := make([]webhook.Kind, len(m.Webhooks))
	for i, text := range m.Webhooks {
		var err error
		if kinds[i], err = webhook.ParseKind(text); err != nil {
			return err
		}
	}
	var err error
	m.opens, err = gateway.Opens(m.Prefix, m.Public, kinds)
	return err
}

// MatchWithError reports whether the request is for an open endpoint, or is a browser's
// question about one from another site, which carries no credential.
func (m *MatchPublic) MatchWithError(r *http.Request) (bool, error) {
	return m.opens(r) || gateway.IsPreflight(r), nil
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens:
//
//	crumbgate_public [<entries…>] {
//		prefix  <path>
//		webhook <kinds…>
//	}
func (m *MatchPublic) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		m.Public = append(m.Public, d.RemainingArgs()...)
		for d.NextBlock(0) {
			var err error
			switch name := d.Val(); name {
			case "prefix":
				m.Prefix, err = stringArg(d)
			case "webhook":
				m.Webhooks, err = listArg(d)
			default:
				return d.Errf("unknown option %q of crumbgate_public", name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Interface guards
var (
	_ caddyhttp.RequestMatcherWithError = (*MatchToken)(nil)
	_ caddyfile.Unmarshaler             = (*MatchToken)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchPublic)(nil)
	_ caddyfile.Unmarshaler             = (*MatchPublic)(nil)
	_ caddy.Provisioner                 = (*MatchPublic)(nil)
)
