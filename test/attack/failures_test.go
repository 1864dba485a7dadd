package attack_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	tokens "github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// Whatever is wrong with the credentials of a network, beyond the limit it gets 429, and
// Jenkins gets nothing. A valid token of the same network passes.
func TestFailedCredentialsOfAllKindsAreLimited(t *testing.T) {
	t.Parallel()
	const limit = 8
	caddyfile := behindProxies("", fmt.Sprintf(`	crumbgate_sso_headers X-Person
	crumbgate {
		session {
			user {http.request.header.X-Person}
		}
		failed_credentials %d
		token_header X-Token
		webhook github {
			secret {env.WEBHOOK_SECRET}
		}
		webhook gitlab {
			secret {env.WEBHOOK_SECRET}
		}
	}`, limit))
	caddyfile = strings.Replace(caddyfile, "storage bbolt {$STORE}", "storage bbolt {$STORE}\n\t\ttokens {\n\t\t\treuse suspend\n\t\t}", 1)
	w := newWorldWith(t, jenkinstest.Config{}, caddyfile, func(w *world) { w.Env = append(w.Env, "WEBHOOK_SECRET=a secret of the forge") })
	valid := "Authorization: Basic " + basic("alice", w.token(t, "alice"))
	api := w.API()
	issue := func(user, name string, limits admin.Limits) admin.CreatedToken {
		t.Helper()
		made, err := api.CreateToken(t.Context(), admin.CreateRequest{User: user, Name: name, Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	revoked, suspended := issue("alice", "revoked", admin.Limits{}), issue("alice", "suspended", admin.Limits{})
	replaced, disabled := issue("alice", "replaced", admin.Limits{}), issue("dave", "disabled", admin.Limits{})
	usedUp, elsewhere := issue("alice", "used up", admin.Limits{MaxUses: 1}), issue("alice", "elsewhere", admin.Limits{Sources: []string{"192.0.2.1"}})
	must(api.RevokeToken(t.Context(), revoked.ID, "test"))
	must(api.SuspendToken(t.Context(), suspended.ID, admin.StateRequest{}))
	must(api.DisableUser(t.Context(), "dave", true, "test"))
	successor, err := api.RotateToken(t.Context(), replaced.ID, admin.Rotation{Overlap: "0"})
	must(successor, err)
	if resp := w.get(t, "GET", "/api/json", "Authorization: Bearer "+usedUp.Secret); resp.StatusCode != http.StatusOK {
		t.Fatalf("the only use: status %d", resp.StatusCode)
	}
	unknown := tokens.NewSecret(tokens.Native).Reveal()

	for i, c := range []struct {
		name         string
		method, path string
		lines        []string
		status       int // within the limit
	}{
		{"a password", "GET", "/api/json", []string{"Authorization: Basic " + basic("alice", "password")}, 401},
		{"another scheme", "GET", "/api/json", []string{"Authorization: Digest x"}, 401},
		{"broken Base64", "GET", "/api/json", []string{"Authorization: Basic %%"}, 401},
		{"a damaged token", "GET", "/api/json", []string{"Authorization: Bearer " + flip(unknown)}, 401},
		{"an unknown token", "GET", "/api/json", []string{"Authorization: Bearer " + unknown}, 401},
		{"an unknown token in a header of its own", "GET", "/api/json", []string{"X-Token: " + unknown}, 401},
		{"two credentials", "GET", "/api/json", []string{"Authorization: Bearer " + unknown, "Authorization: Basic " + basic("alice", "password")}, 400},
		{"two credentials in one line", "GET", "/api/json", []string{"Authorization: Bearer " + unknown + ", Basic YTpi"}, 400},
		{"a token in the query", "GET", "/api/json?token=" + unknown, nil, 400},
		{"a token in the path", "POST", "/job/" + unknown + "/build", nil, 400},
		{"a token of another user", "GET", "/api/json", []string{"Authorization: Basic " + basic("mallory", elsewhere.Secret)}, 401},
		{"a token from another address", "GET", "/api/json", []string{"Authorization: Bearer " + elsewhere.Secret}, 401},
		{"a revoked token", "GET", "/api/json", []string{"Authorization: Bearer " + revoked.Secret}, 401},
		{"a suspended token", "GET", "/api/json", []string{"Authorization: Bearer " + suspended.Secret}, 401},
		{"a token that is used up", "POST", "/job/a/build", []string{"Authorization: Bearer " + usedUp.Secret}, 401},
		{"a token of a disabled user", "GET", "/api/json", []string{"Authorization: Basic " + basic("dave", disabled.Secret)}, 401},
		{"a token on pages for people", "GET", "/crumbgate/", []string{"Authorization: Bearer " + unknown}, 403},
		{"a webhook with another signature", "POST", "/github-webhook/", []string{"Content-Type: application/json", "X-Hub-Signature-256: sha256=" + strings.Repeat("00", 32)}, 403},
		{"a webhook with another secret", "POST", "/gitlab-webhook/post", []string{"Content-Type: application/json", "X-Gitlab-Token: a wrong secret"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := fmt.Sprintf("X-Forwarded-For: 198.51.100.%d", i+1)
			w.jenkins.ResetRequests()
			if within := w.untilLimited(t, c.method, c.path, c.status, 4*limit, func(int) []string { return append(c.lines, from) }); within < limit {
				t.Errorf("%d were answered %d, want %d", within, c.status, limit)
			}
			if n := len(w.jenkins.Requests()); n != 0 {
				t.Errorf("Jenkins got %d requests", n)
			}
			if resp := w.get(t, "GET", "/api/json", valid, from); resp.StatusCode != http.StatusOK {
				t.Errorf("a valid token of the same address: status %d", resp.StatusCode)
			}
			if resp := w.get(t, c.method, c.path, append(c.lines, "X-Forwarded-For: 203.0.113.7")...); i < limit && resp.StatusCode != c.status {
				t.Errorf("from another address: status %d, want %d", resp.StatusCode, c.status)
			}
		})
	}

	t.Run("IPv6 addresses of one /64", func(t *testing.T) {
		w.untilLimited(t, "GET", "/api/json", 401, 4*limit, func(n int) []string {
			return []string{"Authorization: Bearer " + unknown, fmt.Sprintf("X-Forwarded-For: 2001:db8:1:1:%x::%x", n, n)}
		})
		if resp := w.get(t, "GET", "/api/json", "Authorization: Bearer "+unknown, "X-Forwarded-For: 2001:db8:1:2::1"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("from another /64: status %d, want 401", resp.StatusCode)
		}
	})

	t.Run("the reuse alarm hears what is limited", func(t *testing.T) {
		const from = "X-Forwarded-For: 198.51.100.200"
		w.untilLimited(t, "GET", "/api/json", 401, 4*limit, func(int) []string { return []string{"Authorization: Bearer " + unknown, from} })
		if resp := w.get(t, "GET", "/api/json", "Authorization: Bearer "+replaced.Secret, from); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("the replaced token: status %d, want 429", resp.StatusCode)
		}
		gatewaytest.Eventually(t, "the successor is suspended", func() error {
			shown, err := api.Token(t.Context(), successor.ID)
			if err == nil && shown.State != "suspended" {
				err = fmt.Errorf("the state is %s", shown.State)
			}
			return err
		})
	})
}

// untilLimited sends requests with failed credentials until one is answered 429, and
// returns how many were answered with status before. It sends at most so many.
func (w *world) untilLimited(t *testing.T, method, path string, status, most int, lines func(n int) []string) int {
	t.Helper()
	for n := range most {
		resp := w.get(t, method, path, lines(n)...)
		if resp.StatusCode == http.StatusTooManyRequests {
			if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 || resp.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("429 has the header %v", resp.Header)
			}
			return n
		}
		if resp.StatusCode != status {
			t.Fatalf("request %d: status %d, want %d", n, resp.StatusCode, status)
		}
	}
	t.Fatalf("%d failed credentials were all answered %d, none 429", most, status)
	return 0
}
