package caddymodule

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A logEntry is what Caddy logs: under which name, and at most at which level.
type logEntry struct {
	name  string
	level zapcore.Level
}

// upstreamEntry has the headers that reverse_proxy sends: crumbs, and in a handler before the
// gate what the client has sent.
var upstreamEntry = logEntry{"http.handlers.reverse_proxy", zapcore.DebugLevel}

// checkLogs refuses a configuration whose logs would show tokens, and warns of what else
// would show secrets. Caddy copies a request for its logs before the first handler runs, so
// the gate can't take anything out of that.
func (h *Handler) checkLogs(ctx caddy.Context) error {
	core := ctx.Logger(new(caddyhttp.App)).Core()
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if h.TokenHeader != "" && server != nil {
		for _, entry := range append(requestEntries(server), upstreamEntry) {
			if showsSecrets(core, entry) {
				return fmt.Errorf("token_header %q: what Caddy logs as %s would show the tokens in it: add \"log { format crumbgate }\" to the global options, and \"format crumbgate\" to each log of the site",
					h.TokenHeader, entry.name)
			}
		}
	}
	if showsSecrets(core, upstreamEntry) {
		ctx.Logger().Warn("the debug log shows Jenkins crumbs: add \"log { format crumbgate }\" to the global options")
	}
	return nil
}

// showsSecrets reports whether a log that takes an entry has no format that hides secrets.
func showsSecrets(core zapcore.Core, entry logEntry) bool {
	if logs := reflect.ValueOf(core); logs.Kind() == reflect.Slice { // zap's tee of several logs
		for i := range logs.Len() {
			if showsSecrets(logs.Index(i).Interface().(zapcore.Core), entry) {
				return true
			}
		}
		return false
	}
	if core.Check(zapcore.Entry{LoggerName: entry.name, Level: entry.level}, nil) == nil {
		return false
	}
	probe := new(logProbe)
	core.With([]zap.Field{zap.Reflect("crumbgate", probe)})
	return probe.shown || !probe.hidden
}

// A logProbe is a field that finds out what a log does with secrets. It is added to a copy of
// the log, to which nothing is written.
type logProbe struct {
	hidden bool // by a RedactEncoder
	shown  bool // by a format that is wrapped in none
}

// MarshalJSON is called by a format that encodes the field.
func (p *logProbe) MarshalJSON() ([]byte, error) {
	p.shown = true
	return []byte("null"), nil
}

// requestEntries returns the entries that have the headers of requests for the sites with a
// token_header of a server.
func requestEntries(server *caddyhttp.Server) (entries []logEntry) {
	add := func(kind string, names []string) {
		for _, name := range names {
			entry := logEntry{strings.TrimSuffix("http.log."+kind+"."+name, "."), zapcore.ErrorLevel}
			if !slices.Contains(entries, entry) {
				entries = append(entries, entry)
			}
		}
	}
	logs := server.Logs
	if logs == nil {
		add("error", []string{""})
		return entries
	}
	for i := range server.Routes {
		route := &server.Routes[i]
		if !hasTokenHeader(caddyhttp.RouteList{*route}) {
			continue
		}
		for _, host := range hostsOf(route) {
			names, exact := logs.LoggerNames[host]
			if !exact {
				for other, more := range logs.LoggerNames {
					if overlap(host, other) {
						names = append(slices.Clip(names), more...)
					}
				}
			}
			add("access", names)
			add("error", names)
			if !exact {
				add("error", []string{logs.DefaultLoggerName})
				if !logs.SkipUnmappedHosts && !slices.Contains(logs.SkipHosts, host) {
					add("access", []string{logs.DefaultLoggerName})
				}
			}
		}
	}
	return entries
}

// hasTokenHeader reports whether there is a crumbgate with a token_header among routes.
// Named routes count, wherever they are invoked.
func hasTokenHeader(list caddyhttp.RouteList) bool {
	for i := range list {
		for _, s := range stepsOf(&list[i]) {
			if s.tokens || s.invokes != "" || slices.ContainsFunc(s.lists, hasTokenHeader) {
				return true
			}
		}
	}
	return false
}

// anyHost stands for the hosts of a route that has no matcher for them.
const anyHost = "*"

// hostsOf returns the hosts that a route of a server is for, in lower case.
func hostsOf(route *caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		found := []string{anyHost}
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchHost:
				found = *m
			case caddyhttp.MatchHost:
				found = m
			}
		}
		hosts = append(hosts, found...)
	}
	if len(hosts) == 0 {
		return []string{anyHost}
	}
	for i, host := range hosts {
		hosts[i] = strings.ToLower(host)
	}
	return hosts
}

// overlap reports whether there can be a host that two patterns match.
func overlap(a, b string) bool {
	if a == anyHost || b == anyHost || strings.Contains(a+b, "{") {
		return true
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	return slices.EqualFunc(x, y, func(x, y string) bool { return x == "*" || y == "*" || x == y })
}
