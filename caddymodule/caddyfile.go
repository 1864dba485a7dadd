package caddymodule

import (
	"math"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/crumbgate/crumbgate/gateway"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("crumbgate", parseGlobal)
	httpcaddyfile.RegisterHandlerDirective("crumbgate", parseDirective)
	// Behind all that authenticates or rewrites, so that it decides on what Jenkins
	// will get, and behind all that changes answers, so that it sees Jenkins' own; but
	// before all that answers, and before the blocks in which that can stand.
	httpcaddyfile.RegisterDirectiveOrder("crumbgate", httpcaddyfile.Before, "invoke")
}

// parseGlobal sets up the app from the global options:
//
//	crumbgate {
//		storage <backend> …
//		tokens { … }
//		audit [<file>|off] { … }
//	}
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // crumbgate
	if existing != nil {
		return nil, d.Err("the global option crumbgate is set twice")
	}
	app, audited := new(App), false
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "storage":
			if app.StorageRaw != nil {
				return nil, d.Err("storage is set twice")
			}
			if !d.NextArg() {
				return nil, d.ArgErr()
			}
			backend := d.Val()
			module, err := caddyfile.UnmarshalModule(d, "crumbgate.storage."+backend)
			if err != nil {
				return nil, err
			}
			app.StorageRaw = caddyconfig.JSONModuleObject(module, "backend", backend, nil)
		case "audit":
			if audited {
				return nil, d.Err("audit is set twice")
			}
			audited = true
			if err := app.Audit.UnmarshalCaddyfile(d); err != nil {
				return nil, err
			}
		case "tokens":
			if app.Tokens != nil {
				return nil, d.Err("tokens is set twice")
			}
			app.Tokens = new(Tokens)
			if err := app.Tokens.UnmarshalCaddyfile(d); err != nil {
				return nil, err
			}
		default:
			return nil, d.Errf("unknown option %q of crumbgate", d.Val())
		}
	}
	return httpcaddyfile.App{Name: "crumbgate", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens:
//
//	crumbgate [<matcher>] {
//		prefix              <path>
//		user_header         <name>
//		groups_header       <name>
//		mail_header         <name>
//		display_name_header <name>
//		token_header        <name>
//		crumb_field         <name>
//		user_ids            case_insensitive|case_sensitive|case_sensitive_email
//		body_limit          <size>
//		body_memory         <size>
//		crumb_timeout       <duration>
//		max_sessions        <number>
//		session {
//			user         <text>
//			groups       <text> [<delimiter>] {
//				prefix    <prefixes…>
//				pattern   <patterns…>
//				regexp    <expressions…>
//				max_bytes <size>
//			}
//			mail         <text>
//			display_name <text>
//		}
//		anonymous           refuse|pass
//		jenkins_url         <url>
//		trusted_origins     <origins…>
//		crumb_methods       unsafe|post
//		crumb_lifetime      <duration>
//		refresh_crumbs      on|off
//		public              <entries…>
//		crumb_exempt        <entries…>
//		webhook github|gitlab|bitbucket {
//			secret   <secrets…>
//			max_body <size>
//		}
//		token_api           pass|refuse|answer
//		shadow              on|off
//		pages               <prefix>|off
//		admins              <users and group:groups…>
//		proxy_sets          <headers…>|none
//		pass_cookies        <names…>
//		sign_out            <url>
//		failed_credentials  <number per minute>|off
//		insecure_unguarded_upstreams refuse|allow
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // crumbgate
	if d.NextArg() {
		return d.ArgErr()
	}
	set := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		if set[name] && name != "webhook" {
			return d.Errf("%s is set twice", name)
		}
		set[name] = true

		var err error
		switch name {
		case "session":
			h.Session, err = parseSession(d)
		case "token_api":
			h.TokenAPI, err = stringArg(d)
		case "shadow":
			h.Shadow, err = stringArg(d)
		case "pages":
			h.Pages, err = stringArg(d)
		case "admins":
			h.Admins, err = listArg(d)
		case "failed_credentials":
			h.FailedCredentials, err = failuresArg(d)
		case "insecure_unguarded_upstreams":
			h.InsecureUnguardedUpstreams, err = stringArg(d)
		case "proxy_sets":
			h.ProxySets, err = listArg(d)
		case "pass_cookies":
			h.PassCookies, err = listArg(d)
		case "sign_out":
			h.SignOut, err = stringArg(d)
		case "anonymous":
			h.Anonymous, err = stringArg(d)
		case "jenkins_url":
			h.JenkinsURL, err = stringArg(d)
		case "trusted_origins":
			h.TrustedOrigins, err = listArg(d)
		case "crumb_methods":
			h.CrumbMethods, err = stringArg(d)
		case "crumb_lifetime":
			h.CrumbLifetime, err = durationArg(d)
		case "refresh_crumbs":
			h.RefreshCrumbs, err = stringArg(d)
		case "public":
			h.Public, err = listArg(d)
		case "crumb_exempt":
			h.CrumbExempt, err = listArg(d)
		case "webhook":
			err = h.parseWebhook(d)
		case "prefix":
			h.Prefix, err = stringArg(d)
		case "user_header":
			h.UserHeader, err = stringArg(d)
		case "groups_header":
			h.GroupsHeader, err = stringArg(d)
		case "mail_header":
			h.MailHeader, err = stringArg(d)
		case "display_name_header":
			h.DisplayNameHeader, err = stringArg(d)
		case "token_header":
			h.TokenHeader, err = stringArg(d)
		case "crumb_field":
			h.CrumbField, err = stringArg(d)
		case "user_ids":
			h.UserIDs, err = stringArg(d)
		case "body_limit":
			h.BodyLimit, err = sizeArg(d)
		case "body_memory":
			h.BodyMemory, err = sizeArg(d)
		case "crumb_timeout":
			h.CrumbTimeout, err = durationArg(d)
		case "max_sessions":
			h.MaxSessions, err = countArg(d)
		default:
			return d.Errf("unknown option %q of crumbgate", name)
		}
		if err != nil {
			return err
		}
		// Here, and not only when the module is provisioned, because here the line is
		// known, of two settings that contradict each other that of the second.
		if _, err := h.config(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func parseSession(d *caddyfile.Dispenser) (*Session, error) {
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	s := new(Session)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "user":
			s.User, err = stringArg(d)
		case "groups":
			err = s.parseGroups(d)
		case "mail":
			s.Mail, err = stringArg(d)
		case "display_name":
			s.DisplayName, err = stringArg(d)
		default:
			return nil, d.Errf("unknown option %q of session", name)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Session) parseGroups(d *caddyfile.Dispenser) error {
	if s.Groups != "" {
		return d.Err("groups is set twice")
	}
	if !d.Args(&s.Groups) {
		return d.ArgErr()
	}
	d.Args(&s.GroupsDelimiter)
	if d.NextArg() {
		return d.ArgErr()
	}
	var filter GroupsFilter
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var values []string
		var err error
		switch name := d.Val(); name {
		case "prefix":
			values, err = listArg(d)
			filter.Prefixes = append(filter.Prefixes, values...)
		case "pattern":
			values, err = listArg(d)
			filter.Patterns = append(filter.Patterns, values...)
		case "regexp":
			values, err = listArg(d)
			filter.Regexps = append(filter.Regexps, values...)
		case "max_bytes":
			var size int64
			size, err = sizeArg(d)
			s.GroupsMaxBytes = int(size)
		default:
			return d.Errf("unknown option %q of groups", name)
		}
		if err != nil {
			return err
		}
	}
	if filter.Prefixes != nil || filter.Patterns != nil || filter.Regexps != nil {
		s.GroupsFilter = &filter
	}
	return nil
}

func (h *Handler) parseWebhook(d *caddyfile.Dispenser) error {
	kind, err := stringArg(d)
	if err != nil {
		return err
	}
	if h.Webhooks[kind] != nil {
		return d.Errf("webhook %s is set twice", kind)
	}
	w := new(Webhook)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "secret":
			var secrets []string
			secrets, err = listArg(d)
			w.Secrets = append(w.Secrets, secrets...)
		case "max_body":
			w.MaxBody, err = sizeArg(d)
		default:
			return d.Errf("unknown option %q of webhook", name)
		}
		if err != nil {
			return err
		}
	}
	if len(w.Secrets) == 0 {
		return d.Errf("webhook %s has no secret: set the one that the forge signs with", kind)
	}
	if h.Webhooks == nil {
		h.Webhooks = make(map[string]*Webhook)
	}
	h.Webhooks[kind] = w
	return nil
}

func listArg(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	values := d.RemainingArgs()
	if len(values) == 0 || slices.Contains(values, "") {
		return nil, d.Errf("%s takes one or several values, none of them empty", name)
	}
	return values, nil
}

func stringArg(d *caddyfile.Dispenser) (string, error) {
	name := d.Val()
	var value string
	if !d.AllArgs(&value) {
		return "", d.Errf("%s takes one value", name)
	}
	if value == "" {
		return "", d.Errf("%s is empty: leave it out for the default", name)
	}
	return value, nil
}

func durationArg(d *caddyfile.Dispenser) (caddy.Duration, error) {
	name := d.Val()
	text, err := stringArg(d)
	if err != nil {
		return 0, err
	}
	value, err := caddy.ParseDuration(text)
	if err != nil || value <= 0 {
		return 0, d.Errf("%s %q is not a duration above zero, such as 10s", name, text)
	}
	return caddy.Duration(value), nil
}

func sizeArg(d *caddyfile.Dispenser) (int64, error) {
	name := d.Val()
	text, err := stringArg(d)
	if err != nil {
		return 0, err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > math.MaxInt32 {
		return 0, d.Errf("%s %q is not a size between 1 byte and 2 GiB, such as 1MiB", name, text)
	}
	return int64(size), nil
}

func countArg(d *caddyfile.Dispenser) (int, error) {
	name := d.Val()
	text, err := stringArg(d)
	if err != nil {
		return 0, err
	}
	return count(d, name, text)
}

// failuresArg reads a number, or "off" for no limit.
func failuresArg(d *caddyfile.Dispenser) (int, error) {
	name := d.Val()
	text, err := stringArg(d)
	if err != nil {
		return 0, err
	}
	if text == "off" {
		return gateway.NoMaxFailures, nil
	}
	return count(d, name, text)
}

func count(d *caddyfile.Dispenser, name, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, d.Errf("%s %q is not a number above zero", name, text)
	}
	return n, nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
