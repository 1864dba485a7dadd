package caddymodule

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// Session tells where the handlers that come before, such as basic_auth or
// forward_auth, leave who has signed in. Each field is a text with placeholders.
//
// A placeholder that the client fills in is no source: those beginning with
// http.request. are refused, but for http.request.tls.client., which is proved, and
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
	// The user's mail address. Default: none.
	Mail string `json:"mail,omitempty"`
	// The user's display name. Default: none.
	DisplayName string `json:"display_name,omitempty"`

	needed  []string // the placeholders of User, without braces
	headers []string // of the request, that placeholders name, in canonical form
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// provision checks where the identity comes from.
func (s *Session) provision() error {
	s.needed, s.headers = nil, nil
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
				continue
			}
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

// noSignIn begin the names of placeholders that don't come from a sign-in: the
// client fills them in, or they are the same for everybody.
var noSignIn = []string{
	"http.request.", "http.regexp.", "http.matchers.", "http.error.", "http.vars.client_ip",
	"env.", "system.", "time.", "file.",
}

// tellsPerson tells whether a placeholder can be where a sign-in leaves something.
func tellsPerson(name string) bool {
	return strings.HasPrefix(name, "http.request.tls.client.") ||
		!slices.ContainsFunc(noSignIn, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// person returns who has signed in, nil if nobody has.
func (s *Session) person(r *http.Request) (*token.Profile, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for _, name := range s.needed {
		if value, _ := repl.GetString(name); value == "" {
			return nil, nil
		}
	}
	if len(s.headers) > 0 {
		guarded, _ := caddyhttp.GetVar(r.Context(), guardedVar).([]string)
		for _, name := range s.headers {
			if _, set := r.Header[name]; set && !slices.Contains(guarded, name) {
				return nil, fmt.Errorf("%w: the header %s is not guarded; put \"crumbgate_sso_headers %s\" into the site", gateway.ErrUntrusted, name, name)
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
			if group = strings.TrimSpace(group); group != "" {
				groups = append(groups, group)
			}
		}
	}
	return gateway.NewPerson(repl.ReplaceAll(s.User, ""), groups, repl.ReplaceAll(s.Mail, ""), repl.ReplaceAll(s.DisplayName, ""))
}
