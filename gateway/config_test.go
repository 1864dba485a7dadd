package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

func TestDefaulted(t *testing.T) {
	c, err := gateway.Config{UserHeader: "x-remote-user", TokenHeader: "x-api-token"}.Defaulted()
	if err != nil {
		t.Fatal(err)
	}
	if c.UserHeader != "X-Remote-User" || c.TokenHeader != "X-Api-Token" || c.GroupsHeader != "X-Forwarded-Groups" || c.DisplayNameHeader != "X-Forwarded-Displayname" || c.CrumbField != "" {
		t.Errorf("the headers are %+v", c)
	}
	if c.ReplayLimit != 1<<20 || c.CrumbTimeout != gateway.DefaultCrumbTimeout || c.MaxSessions != gateway.DefaultMaxSessions || c.Now == nil {
		t.Errorf("the limits are %+v", c)
	}
	r := httptest.NewRequest("GET", "/", nil)
	for addr, want := range map[string]string{"10.0.0.1:80": "10.0.0.1", "[::1]:80": "::1", "@": "@"} {
		if r.RemoteAddr = addr; c.ClientAddr(r) != want {
			t.Errorf("ClientAddr of %s = %q, want %q", addr, c.ClientAddr(r), want)
		}
	}
	for _, prefix := range []string{"/jenkins", "/ci/jenkins", "/a-b_c~d", "/a.b"} {
		if _, err := (gateway.Config{Prefix: prefix}).Defaulted(); err != nil {
			t.Errorf("the prefix %s is refused: %v", prefix, err)
		}
	}
}

func TestBadSettings(t *testing.T) {
	tests := []struct {
		name   string
		config gateway.Config
		want   string
	}{
		{"blank in a header", gateway.Config{UserHeader: "X User"}, `user_header "X User" is not a name for a header`},
		{"colon in a header", gateway.Config{MailHeader: "X-Mail:"}, `mail_header "X-Mail:" is not a name for a header`},
		{"line break in a header", gateway.Config{TokenHeader: "X\nY"}, `token_header "X\nY" is not a name for a header`},
		{"letters beyond ASCII", gateway.Config{DisplayNameHeader: "X-Ä"}, "display_name_header"},
		{"long header", gateway.Config{GroupsHeader: strings.Repeat("x", 129)}, "groups_header"},
		{"reserved", gateway.Config{TokenHeader: "authorization"}, "token_header can't be Authorization, which has another meaning: choose another name"},
		{"reserved, for the user", gateway.Config{UserHeader: "COOKIE"}, "user_header can't be Cookie"},
		{"reserved, for the crumb", gateway.Config{CrumbField: "connection"}, "crumb_field can't be Connection"},
		{"hop by hop", gateway.Config{UserHeader: "keep-alive"}, "user_header can't be Keep-Alive"},
		{"address", gateway.Config{UserHeader: "X-Forwarded-For"}, "user_header can't be X-Forwarded-For"},
		{"the same twice", gateway.Config{UserHeader: "X-Id", MailHeader: "x-id"}, "user_header and mail_header are both X-Id: give them different names"},
		{"the same in two spellings", gateway.Config{UserHeader: "X-Id", TokenHeader: "X_Id"}, "user_header and token_header are both X_id"},
		{"a default twice", gateway.Config{UserHeader: "X-Forwarded-Mail"}, "user_header and mail_header are both X-Forwarded-Mail"},
		{"token in a scrubbed header", gateway.Config{UserHeader: "X-Id", TokenHeader: "X-Forwarded-User"}, "token_header can't be X-Forwarded-User"},
		{"crumb in a scrubbed header", gateway.Config{MailHeader: "X-Id", CrumbField: "x_forwarded_mail"}, "crumb_field can't be X_forwarded_mail"},
		{"prefix without a slash", gateway.Config{Prefix: "jenkins"}, `prefix "jenkins" is not a context path: it begins with a slash`},
		{"root for a prefix", gateway.Config{Prefix: "/"}, `prefix "/" is not a context path`},
		{"slash behind the prefix", gateway.Config{Prefix: "/jenkins/"}, "prefix"},
		{"two slashes", gateway.Config{Prefix: "/a//b"}, "prefix"},
		{"dots", gateway.Config{Prefix: "/a/../b"}, "prefix"},
		{"escape", gateway.Config{Prefix: "/a%20b"}, "prefix"},
		{"blank", gateway.Config{Prefix: "/a b"}, "prefix"},
		{"query", gateway.Config{Prefix: "/a?b"}, "prefix"},
		{"fragment", gateway.Config{Prefix: "/a#b"}, "prefix"},
		{"semicolon", gateway.Config{Prefix: "/a;b"}, "prefix"},
		{"backslash", gateway.Config{Prefix: `/a\b`}, "prefix"},
		{"prefix beyond ASCII", gateway.Config{Prefix: "/é"}, "prefix"},
		{"control character", gateway.Config{Prefix: "/a\n"}, "prefix"},
		{"negative body memory", gateway.Config{ReplayMemory: -1}, "body_memory is negative: use 0 for the default of 64 MiB"},
		{"negative body limit", gateway.Config{ReplayLimit: -1}, "body_limit is negative: use 0 for the default of 1 MiB"},
		{"negative time", gateway.Config{CrumbTimeout: -1}, "crumb_timeout is negative"},
		{"negative number", gateway.Config{MaxSessions: -1}, "max_sessions is negative"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.config.Lookup = func(token.Digest) (*token.Token, error) { return nil, nil }
			for _, make := range []func() error{
				func() error { _, err := test.config.Defaulted(); return err },
				func() error { _, err := gateway.New(test.config); return err },
			} {
				if err := make(); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			}
		})
	}
}
