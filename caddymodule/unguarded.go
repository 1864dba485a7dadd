package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// checkUnguarded returns an error if an upstream behind a gate can also be reached
// without one, in any server of the configuration: Jenkins believes the identity header
// of a client that gets there. It looks at the routes as they are while a gate is being
// provisioned: some are modules already, others still JSON.
func checkUnguarded(ctx caddy.Context) error {
	w := &routeWalk{open: make(map[string]string), guarded: make(map[string]bool), unsure: make(map[string]string), gates: make(map[string]bool), unknown: make(map[string]string)}
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			for name, server := range app.Servers {
				w.server(name, server)
			}
		}
	}
	for _, gate := range slices.Sorted(maps.Keys(w.gates)) {
		if !w.gates[gate] {
			return fmt.Errorf("no request reaches crumbgate (%s): a handler before it answers all of them; put crumbgate first", gate)
		}
	}
	for _, upstream := range slices.Sorted(maps.Keys(w.open)) {
		if w.guarded[upstream] {
			return fmt.Errorf("upstream %q can be reached without crumbgate (%s), though crumbgate guards it elsewhere: put crumbgate before each way to it, "+
				"or set \"insecure_unguarded_upstreams allow\" if clients may reach Jenkins as any user", upstream, w.open[upstream])
		}
	}
	if len(w.guarded) > 0 {
		for upstream, where := range w.unknown {
			ctx.Logger().Warn("can't tell whether an upstream outside of crumbgate is Jenkins", zap.String("upstream", upstream), zap.String("where", where))
		}
	}
	if len(w.open) > 0 {
		for upstream, where := range w.unsure {
			ctx.Logger().Warn("can't tell whether an upstream behind crumbgate can be reached without it: write its address into the configuration",
				zap.String("upstream", upstream), zap.String("where", where), zap.Strings("without", slices.Sorted(maps.Keys(w.open))))
		}
	}
	return nil
}

// A routeWalk follows requests through routes.
type routeWalk struct {
	named map[string]*caddyhttp.Route // of the server
	// open are the upstreams that are reached without a gate, and where; guarded those
	// that are reached through one; unknown the open ones whose address is not known
	// before a request.
	open    map[string]string
	guarded map[string]bool
	unknown map[string]string
	// unsure are the guarded ones whose address is not known before a request, and where.
	unsure map[string]string
	// gates tells of each gate whether a request reaches it.
	gates   map[string]bool
	invoked []string // the named routes that are being followed
}

// An arrival says which requests reach a place: some that have passed a gate, some that
// have not.
type arrival struct{ open, guarded bool }

func (a arrival) or(b arrival) arrival { return arrival{a.open || b.open, a.guarded || b.guarded} }

func (w *routeWalk) server(name string, server *caddyhttp.Server) {
	w.named = server.NamedRoutes
	where := "server " + name
	w.routes(server.Routes, arrival{open: true}, where)
	if server.Errors != nil {
		w.routes(server.Errors.Routes, arrival{open: true}, where+", error routes")
	}
}

// routes follows requests through a list, and returns which come out at its end.
func (w *routeWalk) routes(list caddyhttp.RouteList, in arrival, where string) arrival {
	var (
		taken   arrival // have been through a route of the group, whose others they skip
		group   string
		matched arrival // have been through the route before, which matched
	)
	for i := range list {
		route := &list[i]
		if route.Group == "" || route.Group != group {
			in, taken, group = in.or(taken), arrival{}, route.Group
		}
		matchers := len(route.MatcherSets)+len(route.MatcherSetsRaw) > 0
		into := in
		if i > 0 && matchers && route.Group == "" && sameMatchers(route, &list[i-1]) { //nolint:gosec // G602: i is above 0
			into = matched // it matches the requests that the route before has matched, and no others
		}
		out := w.handlers(route, into, fmt.Sprintf("%s, route %d", where, i))
		if route.Terminal {
			out = arrival{}
		}
		matched = out
		switch {
		case route.Group != "":
			taken = taken.or(out)
			if !matchers {
				in = arrival{}
			}
		case matchers:
			in = in.or(out)
		default:
			in = out
		}
	}
	return in.or(taken)
}

func sameMatchers(a, b *caddyhttp.Route) bool {
	return b.Group == "" && reflect.DeepEqual(a.MatcherSets, b.MatcherSets) && reflect.DeepEqual(a.MatcherSetsRaw, b.MatcherSetsRaw)
}

// handlers follows requests through the handlers of a route.
func (w *routeWalk) handlers(route *caddyhttp.Route, in arrival, where string) arrival {
	for i, s := range stepsOf(route) {
		at := fmt.Sprintf("%s, handler %d", where, i)
		for _, upstream := range s.upstreams {
			w.reach(upstream, in, at)
		}
		out := arrival{}
		switch {
		case s.gate && s.allows:
			// What is behind it may be reached in other ways.
		case s.gate:
			w.gates[at] = w.gates[at] || in != arrival{}
			out = arrival{guarded: in != arrival{}}
		case s.subroute:
			out = w.routes(s.lists[0], in, at)
			for _, errors := range s.lists[1:] {
				out = out.or(w.routes(errors, in, at+", error routes"))
			}
		case s.invokes != "":
			out = w.invoke(s.invokes, in)
		default:
			for _, list := range s.lists {
				out = out.or(w.routes(list, in, at))
			}
			if !s.ends {
				out = out.or(in)
			}
		}
		in = out
	}
	return in
}

func (w *routeWalk) invoke(name string, in arrival) arrival {
	route := w.named[name]
	if route == nil || slices.Contains(w.invoked, name) {
		return arrival{}
	}
	w.invoked = append(w.invoked, name)
	out := w.routes(caddyhttp.RouteList{*route}, in, "named route "+name)
	w.invoked = w.invoked[:len(w.invoked)-1]
	return out
}

// reach notes that requests reach an upstream.
func (w *routeWalk) reach(upstream string, in arrival, where string) {
	known := upstream != dynamicUpstream
	if known {
		upstream = upstreamAddress(upstream)
	}
	if in.guarded {
		w.guarded[upstream] = true
	}
	if in.open && known {
		w.open[upstream] = where
	}
	if known && !strings.Contains(upstream, "{") {
		return
	}
	if in.open {
		w.unknown[upstream] = where
	}
	if in.guarded {
		w.unsure[upstream] = where
	}
}

// dynamicUpstream stands for the upstreams that are found out with each request.
const dynamicUpstream = "dynamic"

// upstreamAddress returns an address in a form that is the same for all addresses which
// are known to lead to the same upstream. No name is looked up.
func upstreamAddress(dial string) string {
	dial = caddy.NewReplacer().ReplaceKnown(dial, "")
	address, err := caddy.ParseNetworkAddressWithDefaults(dial, "tcp", 0)
	switch {
	case err != nil:
		return dial
	case address.IsUnixNetwork() && strings.Contains(dial, "{"):
		return "unix/" + address.Host
	case address.IsUnixNetwork():
		return "unix/" + socketPath(address.Host)
	}
	host := strings.ToLower(strings.TrimRight(address.Host, "."))
	ip, isIP := parseIP(host)
	switch {
	case host == "", host == "localhost", strings.HasSuffix(host, ".localhost"), isIP && (ip.IsLoopback() || ip.IsUnspecified()):
		host = "localhost"
	case isIP:
		host = ip.String()
	}
	address.Network, address.Host = "tcp", host
	return strings.TrimPrefix(address.String(), "tcp/")
}

// socketPath returns the path of a Unix socket, without symbolic links and "..". The last
// directories of the path need not be there yet.
func socketPath(path string) string {
	if strings.HasPrefix(path, "@") {
		return path // of no file: an abstract socket
	}
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return filepath.Clean(path)
		}
		path = dir + "/" + path // unlike Join, which would drop a link before ".."
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir, name := filepath.Split(strings.TrimRight(path, "/"))
	if dir == "" {
		return filepath.Clean(path)
	}
	return filepath.Join(socketPath(dir), name)
}

// parseIP reads an IP address as resolvers do, also in the forms of inet_aton(3), such as
// 127.1 and 0x7f000001. It drops the zone.
func parseIP(host string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone(""), true
	}
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var bits uint32
	for i, part := range parts {
		width := 8
		if i == len(parts)-1 {
			width = 8 * (4 - i)
		}
		n, err := strconv.ParseUint(part, 0, width)
		if err != nil {
			return netip.Addr{}, false
		}
		bits = bits<<width | uint32(n)
	}
	return netip.AddrFrom4([4]byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}), true
}

// A step is what a handler does with requests, as far as it decides where they go.
type step struct {
	// gate is a crumbgate, and allows that one with insecure_unguarded_upstreams.
	gate, allows bool
	tokens       bool // the gate has a token_header
	upstreams    []string
	// lists are the routes within the handler; of a subroute the second is for errors.
	lists    []caddyhttp.RouteList
	subroute bool
	invokes  string // the name of a route
	// ends: no request gets past the handler but through lists.
	ends bool
}

// ending are the handlers of Caddy that answer each request.
var ending = []string{"static_response", "error"}

// stepsOf describes the handlers of a route.
func stepsOf(route *caddyhttp.Route) (steps []step) {
	for _, handler := range route.Handlers {
		steps = append(steps, stepOf(handler))
	}
	if route.Handlers == nil {
		for _, raw := range route.HandlersRaw {
			steps = append(steps, stepOfJSON(raw))
		}
	}
	return steps
}

// stepOf describes a module.
func stepOf(handler any) (s step) {
	switch h := handler.(type) {
	case *Handler:
		return step{gate: true, allows: h.InsecureUnguardedUpstreams == allow, tokens: h.TokenHeader != ""}
	case *caddyhttp.Subroute:
		s = step{subroute: true, lists: []caddyhttp.RouteList{h.Routes}}
		if h.Errors != nil {
			s.lists = append(s.lists, h.Errors.Routes)
		}
	case *caddyhttp.Invoke:
		s.invokes = h.Name
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		s.ends = true
	case *fileserver.FileServer:
		s.ends = !h.PassThru
	case *intercept.Intercept:
		s.lists = responseRoutes(h.HandleResponse)
	case *reverseproxy.Handler:
		s.ends = true
		s.lists = responseRoutes(h.HandleResponse)
		for _, upstream := range h.Upstreams {
			s.upstreams = append(s.upstreams, upstream.Dial)
		}
		if h.DynamicUpstreams != nil || h.DynamicUpstreamsRaw != nil {
			s.upstreams = append(s.upstreams, dynamicAddress(h))
		}
	default:
		// A handler of another module that has routes in it names them as Caddy's do.
		if v := reflect.Indirect(reflect.ValueOf(handler)); v.Kind() == reflect.Struct {
			if field := v.FieldByName("Routes"); field.IsValid() {
				if list, ok := field.Interface().(caddyhttp.RouteList); ok {
					s.lists = []caddyhttp.RouteList{list}
				}
			}
		}
	}
	return s
}

// dynamicAddress returns where a handler finds its upstreams with each request, as far as
// that is one host and port.
func dynamicAddress(h *reverseproxy.Handler) string {
	found, isA := h.DynamicUpstreams.(*reverseproxy.AUpstreams)
	if !isA {
		var source struct {
			Source string `json:"source"`
			reverseproxy.AUpstreams
		}
		if json.Unmarshal(h.DynamicUpstreamsRaw, &source) != nil || source.Source != "a" {
			return dynamicUpstream
		}
		found = &source.AUpstreams
	}
	return net.JoinHostPort(found.Name, cmp.Or(found.Port, "80"))
}

func responseRoutes(handlers []caddyhttp.ResponseHandler) (lists []caddyhttp.RouteList) {
	for _, h := range handlers {
		lists = append(lists, h.Routes)
	}
	return lists
}

// stepOfJSON describes a handler that is no module yet. JSON that is no such handler
// is described as one that passes requests on: Caddy refuses it when it loads it.
func stepOfJSON(raw json.RawMessage) step {
	var kind struct {
		Handler string `json:"handler"`
	}
	if json.Unmarshal(raw, &kind) != nil {
		return step{}
	}
	var h any
	switch kind.Handler {
	case "crumbgate":
		h = new(Handler)
	case "subroute":
		h = new(caddyhttp.Subroute)
	case "invoke":
		h = new(caddyhttp.Invoke)
	case "intercept":
		h = new(intercept.Intercept)
	case "file_server":
		h = new(fileserver.FileServer)
	case "reverse_proxy":
		h = new(reverseproxy.Handler)
	default:
		h = new(struct {
			Routes caddyhttp.RouteList `json:"routes"`
		})
	}
	if json.Unmarshal(raw, h) != nil {
		return step{}
	}
	s := stepOf(h)
	s.ends = s.ends || slices.Contains(ending, kind.Handler)
	return s
}
