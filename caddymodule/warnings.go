package caddymodule

import (
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/crumbgate/crumbgate/internal/secretfile"
)

// A warning tells of settings that are valid and do not what an operator may expect.
type warning struct {
	holds   bool
	message string
}

func warn(ctx caddy.Context, warnings []warning) {
	for _, w := range warnings {
		if w.holds {
			ctx.Logger().Warn(w.message)
		}
	}
}

// warn warns of settings of a site that have no effect, or more than they seem to.
func (h *Handler) warn(ctx caddy.Context) {
	signIn, groups := h.Session != nil, h.Session != nil && h.Session.Groups != ""
	byToken := h.TokenAPI == "answer" // owners of tokens are admins there
	ofGroup := func(admin string) bool { return strings.HasPrefix(admin, "group:") }
	warn(ctx, []warning{
		{groups, "session sets groups: Jenkins' reverse-proxy-auth plugin can mix up the groups of parallel requests, so don't grant permissions by them; docs/jenkins.md has the ways out"},
		{len(h.Admins) > 0 && !signIn && !byToken, "admins has no effect without session: no user can sign in to the pages"},
		{slices.ContainsFunc(h.Admins, ofGroup) && signIn && !groups && !byToken, "admins names a group, but session sets no groups: no user is an administrator by a group"},
		{len(h.Admins) > 0 && signIn && h.Pages == "off" && !byToken, "admins has no effect with pages off"},
		{h.SignOut != "" && !signIn && h.Anonymous != "pass", "sign_out has no effect without session: no user is signed in"},
		{slices.Contains(h.PassCookies, "*"), "pass_cookies * sends all cookies to Jenkins, those of the sign-in too: name the cookies that Jenkins needs"},
	})
	for kind, w := range h.Webhooks {
		if slices.ContainsFunc(w.Secrets, func(secret string) bool { return !strings.Contains(secret, "{") }) {
			ctx.Logger().Warn("a webhook secret stands in the configuration, which the admin endpoint shows: write {env.NAME} or {file.PATH}",
				zap.String("webhook", kind))
		}
	}
}

// warn warns of settings of the app that have no effect, or that keep it from starting.
func (a *App) warn(ctx caddy.Context) {
	if t := a.Tokens; t != nil {
		warn(ctx, []warning{
			{a.rules.LegacyUntil != 0 && a.rules.LegacyUntil <= time.Now().Unix(), "the last day of legacy is over: tokens from before Jenkins 2.129 are refused"},
			{t.Unending == allow && t.MaxLife != 0, "unending allow has no effect with max_life: each new token expires"},
		})
	}
	if a.Audit.KeyFile != "" && a.Audit.File != auditOff {
		if _, _, err := secretfile.Read(a.Audit.KeyFile); err != nil {
			ctx.Logger().Warn("the key of the audit log can't be read: without it the gateway does not start", zap.Error(err))
		}
	}
	warn(ctx, []warning{{a.Audit.KeyFile != "" && a.Audit.File == auditOff, "key_file has no effect with audit off"}})
}
