package caddymodule

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// Session tells where the handlers that come before, such as basic_auth or
// forward_auth, leave who has signed in. Each field is a text with placeholders.
//
// A placeholder that the client fills in is no source: those beginning with
// http.request. are refused, but for http.request.tls.client., which counts only if the
// certificate is verified by an authority in the trust_pool of client_auth, and
// http.request.header.NAME, which counts only if the handler
// crumbgate_sso_headers has removed that header from what the client sent.
type Session struct {
	// The user's id, such as {http.auth.user.id}. Nobody has signed in while one of
	// its placeholders is empty.
	User string `json:"user"`
	// The user's groups. Default: none.
	Groups string `json:"groups,omitempty"`
	// What separates the groups. Default: a comma.
	GroupsDelimiter string `json:"groups_delimiter,omitempty"`
	// Which groups Jenkins is sent. Default: all.
	GroupsFilter *GroupsFilter `json:"groups_filter,omitempty"`
	// How many bytes of groups Jenkins is sent, of token clients as well. Groups go first
	// as the sign-in lists them; one that does not fit is left out. Default: 4096.
	GroupsMaxBytes int `json:"groups_max_bytes,omitempty"`
	// The user's mail address. Default: none.
	Mail string `json:"mail,omitempty"`
	// The user's display name. Default: none.
	DisplayName string `json:"display_name,omitempty"`

	needed  []string // the placeholders of User, without braces
	given   []string // all that only a sign-in can have set
	headers []string // of the request, that placeholders name, in canonical form
	// certificate reports whether a placeholder takes something of the client's certificate.
	certificate bool
	log         *zap.Logger
	unverified  sync.Once // has warned of certificates that are not verified
}

// GroupsFilter selects groups by name. A group that one of the entries matches is sent.
type GroupsFilter struct {
	// Beginnings of names, such as jenkins-.
	Prefixes []string `json:"prefixes,omitempty"`
	// Patterns for whole names, such as team-*-admins. A * stands for any text, a ? for
	// one character.
	Patterns []string `json:"patterns,omitempty"`
	// Regular expressions (RE2) for whole names.
	Regexps []string `json:"regexps,omitempty"`
}

// groupFilter returns the filter as package gateway takes it.
func (s *Session) groupFilter() (gateway.GroupFilter, error) {
	f := s.GroupsFilter
	if f == nil {
		f = new(GroupsFilter)
	}
	return gateway.NewGroupFilter(f.Prefixes, f.Patterns, f.Regexps, s.GroupsMaxBytes)
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// provision checks where the identity comes from.
func (s *Session) provision() error {
	s.needed, s.given, s.headers, s.certificate = nil, nil, nil, false
	for _, field := range []struct{ name, text string }{
		{"user", s.User}, {"groups", s.Groups}, {"mail", s.Mail}, {"display_name", s.DisplayName},
	} {
		for _, match := range placeholder.FindAllStringSubmatch(field.text, -1) {
			name := match[1]
			if field.name == "user" {
				s.needed = append(s.needed, name)
			}
			if header, found := strings.CutPrefix(name, "http.request.header."); found {
				s.headers = append(s.headers, http.CanonicalHeaderKey(header))
				continue // a client can have sent it
			}
			s.given = append(s.given, name)
			s.certificate = s.certificate || strings.HasPrefix(name, ofCertificate)
			if !tellsPerson(name) {
				return fmt.Errorf("session: %s takes {%s}, which the client fills in or is the same for all: take what a handler that authenticates sets, such as {http.auth.user.id}, or a header that crumbgate_sso_headers guards", field.name, name)
			}
		}
	}
	if len(s.needed) == 0 {
		return fmt.Errorf("session: user %q has no placeholder, so everybody would be the same person: set it to where the sign-in leaves the user's id, such as {http.auth.user.id}", s.User)
	}
	return nil
}

// ofCertificate begins the names of placeholders that the client's certificate fills in.
const ofCertificate = "http.request.tls.client."

// noSignIn begin the names of placeholders that don't come from a sign-in: the
// client fills them in, or they are the same for everybody.
var noSignIn = []string{
	"http.request.", "http.regexp.", "http.matchers.", "http.error.", "http.vars.client_ip",
	"env.", "system.", "time.", "file.",
}

// tellsPerson tells whether a placeholder can be where a sign-in leaves something.
func tellsPerson(name string) bool {
	return strings.HasPrefix(name, ofCertificate) ||
		!slices.ContainsFunc(noSignIn, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// letIn returns an error that names the empty placeholder if a sign-in has let the
// request in all the same, and nil if no sign-in is known to have.
func (s *Session) letIn(r *http.Request, repl *caddy.Replacer, empty string) error {
	why := ""
	for _, name := range append([]string{"http.auth.user.id"}, s.given...) {
		if value, _ := repl.GetString(name); value != "" && name != empty {
			why = "{" + name + "} is set"
			break
		}
	}
	if status, _ := repl.GetString("http.reverse_proxy.status_code"); why == "" && len(status) == 3 && status[0] == '2' {
		why = "it answered " + status // what forward_auth asked before
	}
	if why == "" && strings.HasPrefix(empty, ofCertificate) && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		why = "the client's certificate is verified"
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: %s, but the placeholder {%s} is empty; set user in session to an attribute that the sign-in gives for each user", gateway.ErrNoUser, why, empty)
}

// person returns who has signed in, nil if nobody has.
func (s *Session) person(r *http.Request) (*token.Profile, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if s.certificate && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && len(r.TLS.VerifiedChains) == 0 {
		// Any client can make such a certificate, with any name in it.
		s.unverified.Do(func() {
			s.log.Warn("a client certificate that no authority has verified names no user: set mode verify_if_given or require_and_verify in client_auth, and a trust_pool")
		})
		return nil, nil
	}
	for _, name := range s.needed {
		if value, _ := repl.GetString(name); value == "" {
			return nil, s.letIn(r, repl, name)
		}
	}
	if len(s.headers) > 0 {
		guarded, _ := caddyhttp.GetVar(r.Context(), guardedVar).([]string)
		for _, name := range s.headers {
			if _, set := r.Header[name]; set && !slices.Contains(guarded, name) {
				return nil, fmt.Errorf("%w: the header %s is not guarded: put \"crumbgate_sso_headers %s\" into the site, with \"from trusted_proxies\" in its block if a proxy in front of Caddy sets the header", gateway.ErrUntrusted, name, name)
			}
		}
	}
	var groups []string
	if s.Groups != "" {
		delimiter := s.GroupsDelimiter
		if delimiter == "" {
			delimiter = ","
		}
		for group := range strings.SplitSeq(repl.ReplaceAll(s.Groups, ""), delimiter) {
			// No more than the blanks beside a delimiter: another space is part of a name.
			if group = strings.Trim(group, " \t"); group != "" {
				groups = append(groups, group)
			}
		}
	}
	return gateway.NewPerson(repl.ReplaceAll(s.User, ""), groups, repl.ReplaceAll(s.Mail, ""), repl.ReplaceAll(s.DisplayName, ""))
}
