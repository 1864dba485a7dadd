package blackbox_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestReplacedSecretRaisesTheAlarm: whatever way a client presents the secret of a token
// that another has replaced, the gateway suspends the family of that token.
func TestReplacedSecretRaisesTheAlarm(t *testing.T) {
	_, at := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, at, withRules("reuse suspend"))
	basic := func(user, secret string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
	}
	for _, c := range []struct {
		name    string
		revoked bool // the replaced token too
		format  string
		head    func(secret string) string
	}{
		{"as the owner", false, "", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic("alice", s) }},
		{"alone", false, "", func(s string) string { return "GET /api/json HTTP/1.1\r\nAuthorization: Bearer " + s }},
		{"as another user", false, "", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic("mallory", s) }},
		{"in the query", false, "", func(s string) string { return "GET /api/json?token=" + s + " HTTP/1.1" }},
		{"in the query, escaped", false, "", func(s string) string {
			return "GET /api/json?u=" + url.QueryEscape("http://x/?t="+strings.ReplaceAll(s, "_", "%5F")) + " HTTP/1.1"
		}},
		{"in the query, in Jenkins' format", false, "jenkins", func(s string) string { return "GET /api/json?token=" + s + " HTTP/1.1" }},
		{"in the path", false, "", func(s string) string { return "GET /job/" + s + "/api/json HTTP/1.1" }},
		{"twice", false, "", func(s string) string {
			return "GET /api/json HTTP/1.1\r\n" + basic("alice", s) + "\r\n" + basic("alice", "other")
		}},
		{"joined with another credential", false, "", func(s string) string {
			return "GET /api/json HTTP/1.1\r\nAuthorization: Bearer " + s + ", Basic YTpi"
		}},
		{"as the user name", false, "", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic(s, "") }},
		{"with a character more", false, "jenkins", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic("alice", s+" ") }},
		{"after it was revoked", true, "", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic("alice", s) }},
		{"as another user, after it was revoked", true, "", func(s string) string { return "GET /api/json HTTP/1.1\r\n" + basic("mallory", s) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: c.name, Format: c.format})
			if err != nil {
				t.Fatal(err)
			}
			second, err := g.API().RotateToken(t.Context(), first.ID, admin.Rotation{Overlap: "0"})
			if err != nil {
				t.Fatal(err)
			}
			if c.revoked {
				if _, err := g.API().RevokeToken(t.Context(), first.ID, "test"); err != nil {
					t.Fatal(err)
				}
			}
			call{user: "alice", secret: second.Secret}.want(t, g.URL, http.StatusOK)
			request := c.head(first.Secret) + "\r\nHost: " + strings.TrimPrefix(g.URL, "http://") + "\r\n\r\n"
			if resp := exchange(t, g.URL, request); resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("the replaced secret is answered with %s", resp.Status)
			}
			gatewaytest.Eventually(t, "the successor is suspended", func() error {
				shown, err := g.API().Token(t.Context(), second.ID)
				if err == nil && shown.State != "suspended" {
					err = fmt.Errorf("the state is %s", shown.State)
				}
				return err
			})
			call{user: "alice", secret: second.Secret}.want(t, g.URL, http.StatusUnauthorized)
		})
	}
}
