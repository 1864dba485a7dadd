package blackbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

const unknownID = "01890a5d-ac96-774b-bcce-b302099a8057"

func TestTokensAreMadeShownAndRevoked(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)

	quiet := g.Token(t, "create", "--user", "alice", "--name", "quiet", "--quiet")
	if quiet.Status != 0 || !regexp.MustCompile(`^cg_[0-9A-Za-z]{36}\n$`).MatchString(quiet.Stdout) || quiet.Stderr != "" {
		t.Fatalf("create --quiet: %+v, want the secret alone", quiet)
	}
	secrets := []string{strings.TrimSpace(quiet.Stdout)}

	asJSON := g.Token(t, "create", "--user", "alice", "--name", "json", "--expires", "never", "--format", "jenkins", "--json")
	var made admin.CreatedToken
	if err := json.Unmarshal([]byte(asJSON.Stdout), &made); err != nil || asJSON.Status != 0 {
		t.Fatalf("create --json: %v: %+v", err, asJSON)
	}
	if made.User != "alice" || made.Name != "json" || made.State != "active" || made.Expires != 0 || !regexp.MustCompile(`^11[0-9a-f]{32}$`).MatchString(made.Secret) {
		t.Errorf("create --json: %+v", made)
	}
	secrets = append(secrets, made.Secret)

	plain := g.Token(t, "create", "--user", "alice", "--name", "plain")
	_, after, found := strings.Cut(plain.Stdout, "TOKEN=")
	if !found || plain.Status != 0 {
		t.Fatalf("create: %+v", plain)
	}
	secret, _, _ := strings.Cut(after, "\n")
	secrets = append(secrets, secret)

	byAPI, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "api"})
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, byAPI.Secret)
	for _, secret := range secrets {
		works(t, jenkins, g.URL, secret)
	}

	var told strings.Builder
	for _, args := range [][]string{
		{"list"}, {"list", "--all", "--json"}, {"show", made.ID}, {"show", "--user", "alice", "--name", "plain", "--json"},
		{"revoke", made.ID}, {"revoke", "--user", "alice", "--name", "plain", "--json"}, {"list", "--all"},
	} {
		r := g.Token(t, args...)
		if r.Status != 0 {
			t.Errorf("token %s: status %d: %s", args, r.Status, r.Stderr)
		}
		told.WriteString(r.Stdout + r.Stderr)
	}
	for i, want := range []int{200, 401, 401, 200} {
		call{user: "alice", secret: secrets[i]}.want(t, g.URL, want)
	}

	g.Stop(t)
	store, err := os.ReadFile(g.Store)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the output of commands": told.String(), "the log": g.Log(), "the store": string(store)} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) || strings.Contains(text, secret[3:]) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
}

// clock is the time in a text.
var clock = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC now`)

// TestSameRulesByCommandAndAPI: whatever is refused is refused by both, in the
// same words.
func TestSameRulesByCommandAndAPI(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "taken")

	create := func(req admin.CreateRequest) func() error {
		return func() error {
			_, err := g.API().CreateToken(t.Context(), req)
			return err
		}
	}
	tests := []struct {
		name   string
		args   []string
		api    func() error
		status int // of the API
		says   string
	}{
		{"duplicate name", []string{"create", "--user", "alice", "--name", "taken"},
			create(admin.CreateRequest{User: "alice", Name: "taken"}), 409, "taken"},
		{"duplicate name in another case of the user", []string{"create", "--user", "ALICE", "--name", "taken"},
			create(admin.CreateRequest{User: "ALICE", Name: "taken"}), 409, "taken"},
		{"empty user", []string{"create", "--user", "", "--name", "x"},
			create(admin.CreateRequest{Name: "x"}), 400, "user"},
		{"anonymous", []string{"create", "--user", "anonymous", "--name", "x"},
			create(admin.CreateRequest{User: "anonymous", Name: "x"}), 400, "anonymous"},
		{"control character in the user", []string{"create", "--user", "al\nice", "--name", "x"},
			create(admin.CreateRequest{User: "al\nice", Name: "x"}), 400, "user"},
		{"control character in the name", []string{"create", "--user", "alice", "--name", "x\x1b[2J"},
			create(admin.CreateRequest{User: "alice", Name: "x\x1b[2J"}), 400, "name"},
		{"past date", []string{"create", "--user", "alice", "--name", "x", "--expires", "2001-01-31"},
			create(admin.CreateRequest{User: "alice", Name: "x", Expires: "2001-01-31"}), 400, "past"},
		{"no date", []string{"create", "--user", "alice", "--name", "x", "--expires", "soon"},
			create(admin.CreateRequest{User: "alice", Name: "x", Expires: "soon"}), 400, "soon"},
		{"a secret for a name", []string{"create", "--user", "alice", "--name", secret},
			create(admin.CreateRequest{User: "alice", Name: secret}), 400, "revoked"},
		{"unknown format", []string{"create", "--user", "alice", "--name", "x", "--format", "gitlab"},
			create(admin.CreateRequest{User: "alice", Name: "x", Format: "gitlab"}), 400, "gitlab"},
		{"show of an unknown id", []string{"show", unknownID}, func() error {
			_, err := g.API().Token(t.Context(), unknownID)
			return err
		}, 404, unknownID},
		{"revocation of an unknown id", []string{"revoke", unknownID}, func() error {
			_, err := g.API().RevokeToken(t.Context(), unknownID, "test")
			return err
		}, 404, unknownID},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.api()
			refused := (*admin.Error)(nil)
			if !errors.As(err, &refused) || refused.Status != tt.status || !strings.Contains(refused.Text, tt.says) {
				t.Fatalf("by API: %v, want status %d and a text with %q", err, tt.status, tt.says)
			}
			r := g.Token(t, tt.args...)
			// A minute can have passed in between.
			if want := "Error: " + clock.ReplaceAllString(refused.Text, "now") + "\n"; r.Status != 1 || r.Stdout != "" || clock.ReplaceAllString(r.Stderr, "now") != want {
				t.Errorf("by command: %+v, want status 1 and %q", r, want)
			}
			if strings.Contains(r.Stderr, secret) {
				t.Error("the error shows the secret")
			}
		})
	}
	if list, err := g.API().Tokens(t.Context(), "", true); err != nil || len(list.Tokens) != 1 {
		t.Errorf("there are %d tokens (%v), want none but the first", len(list.Tokens), err)
	}

	t.Run("the gateway is not running", func(t *testing.T) {
		g.Stop(t)
		for _, args := range [][]string{{"create", "--user", "alice", "--name", "x", "--quiet"}, {"list"}, {"revoke", unknownID}} {
			r := g.Token(t, args...)
			if r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, g.Admin) || !strings.Contains(r.Stderr, "is it running") {
				t.Errorf("token %s: %+v, want status 1 and the question whether the gateway is running", args, r)
			}
		}
	})
}

// TestRevocationHoldsForTheNextRequest, also on a connection that has been used
// with the token, and for every request of another client that begins later.
func TestRevocationHoldsForTheNextRequest(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	kept := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	for round := range 100 {
		made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: fmt.Sprint(round)})
		if err != nil {
			t.Fatal(err)
		}
		get := call{user: "alice", secret: made.Secret, client: kept}
		get.want(t, g.URL, 200)

		var revoked atomic.Bool
		racing := make(chan error, 1)
		go func() {
			for {
				late := revoked.Load()
				r, err := call{user: "alice", secret: made.Secret}.try(g.URL)
				switch {
				case err != nil:
					racing <- err
					return
				case r.status == 401:
					racing <- nil
					return
				case late || r.status != 200:
					racing <- fmt.Errorf("status %d, after the revocation: %v", r.status, late)
					return
				}
			}
		}()
		if _, err := g.API().RevokeToken(t.Context(), made.ID, "test"); err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		get.want(t, g.URL, 401)
		if err := <-racing; err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}
