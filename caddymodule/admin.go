package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the part of Caddy's admin endpoint in which tokens are managed, below
// /crumbgate/. Who may reach that endpoint may do everything; see Caddy's own
// settings for it.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.crumbgate", New: func() caddy.Module { return new(Admin) }}
}

// Routes implements caddy.AdminRouter.
func (*Admin) Routes() []caddy.AdminRoute {
	handler := admin.NewHandler(admin.Config{
		Now:       clock,
		Directory: func() (*token.Directory, error) { return active((*App).directory) },
		CrumbKeys: func() (*crumb.Keys, error) { return active((*App).crumbKeys) },
		Audit: func() (admin.AuditStatus, error) {
			shared, err := active((*App).shared)
			if err != nil {
				return admin.AuditStatus{}, err
			}
			return shared.auditStatus(), nil
		},
	})
	return []caddy.AdminRoute{{
		Pattern: admin.Prefix,
		Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			handler.ServeHTTP(w, r)
			return nil
		}),
	}}
}

// active returns something of the running configuration. It looks for it at each
// request: Caddy sets up its admin endpoint before the apps, and an app that only
// the sites ask for is not there yet.
func active[T any](get func(*App) (T, error)) (none T, _ error) {
	ctx := caddy.ActiveContext()
	switch {
	case caddy.Exiting():
		return none, errors.New("the gateway is stopping")
	case ctx.Context == nil: // Caddy runs no configuration
		return none, errors.New("the gateway is starting, or has no configuration: try again when it has started")
	}
	module, err := ctx.AppIfConfigured("crumbgate")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return none, errors.New("this configuration has no crumbgate: add the directive crumbgate to a site")
	}
	if err != nil {
		return none, err
	}
	return get(module.(*App))
}

// Interface guard
var _ caddy.AdminRouter = (*Admin)(nil)
