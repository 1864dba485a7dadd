package blackbox_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// withRules is the smallest Caddyfile with rules for all tokens.
func withRules(rules string) string {
	return strings.Replace(gatewaytest.Smallest, "{$STORE}\n", "{$STORE}\n\t\ttokens {\n\t\t\t"+rules+"\n\t\t}\n", 1)
}

// withSettings is the smallest Caddyfile with settings of the site.
func withSettings(settings string) string {
	return strings.Replace(gatewaytest.Smallest, "\tcrumbgate\n", "\tcrumbgate {\n\t\t"+settings+"\n\t}\n", 1)
}

func TestRules(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, withRules("max_life 30d\n\t\t\tnames required"))
	for _, row := range []struct {
		name, says string
		args       []string
	}{
		{"no end", "tokens without an end are not allowed here: give a life of at most 30 days, as in 30d", []string{"--name", "a", "--expires", "never"}},
		{"too long", `expiry "32d" is further away than is allowed here: give a life of at most 30 days, as in 30d`, []string{"--name", "a", "--expires", "32d"}},
		{"no name", "name", nil},
	} {
		r := g.Token(t, append([]string{"create", "--user", "alice"}, row.args...)...)
		if r.Status != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, row.says) {
			t.Errorf("%s: %+v, want status 1 and %q", row.name, r, row.says)
		}
	}
	secret := g.CreateToken(t, "alice", "longest", "--expires", "30d")
	unsaid, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "unsaid"})
	if err != nil {
		t.Fatal(err)
	}
	if life := unsaid.Expires - unsaid.Created; life != 30*24*60*60 {
		t.Errorf("a token whose request doesn't say lives for %d seconds, want 30 days", life)
	}
	works(t, jenkins, g.URL, secret)

	// Other rules hold from a reload on, for new tokens.
	load(t, g, withRules("unending allow"))
	forever := g.CreateToken(t, "alice", "forever", "--expires", "never")
	load(t, g, withRules("unending refuse"))
	if r := g.Token(t, "create", "--user", "alice", "--name", "again", "--expires", "never"); r.Status != 1 || !strings.Contains(r.Stderr, "tokens without an end are not allowed here") {
		t.Errorf("after the reload: %+v", r)
	}
	for _, secret := range []string{secret, unsaid.Secret, forever} {
		works(t, jenkins, g.URL, secret)
	}
	for _, rules := range []string{"max_life 30d\n\t\t\tdefault_life 40d", "life 3d"} {
		g.Configure(t, withRules(rules))
		if r := g.Run(t, "validate", "--config", g.Config); r.Status == 0 || !strings.Contains(r.Stderr, "Caddyfile:") {
			t.Errorf("validate with %q: %+v", rules, r)
		}
	}
}

// TestTokensThroughJenkinsOwnAPI: a client that knows only Jenkins makes a token and uses
// it, and Jenkins never hears of it.
func TestTokensThroughJenkinsOwnAPI(t *testing.T) {
	const endpoint = "/me/descriptorByName/jenkins.security.ApiTokenProperty/"
	jenkins, at := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, at, withSettings("token_api answer"))
	first := g.CreateToken(t, "alice", "first")
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	generate := func(secret, name string) (value, id string) {
		t.Helper()
		r := call{method: "POST", path: endpoint + "generateNewToken", body: url.Values{"newTokenName": {name}}.Encode(), user: "alice", secret: secret, header: form.Clone()}.want(t, g.URL, 200)
		var made struct {
			Data struct{ TokenName, TokenValue, TokenUUID string }
		}
		if err := json.Unmarshal([]byte(r.body), &made); err != nil || made.Data.TokenName != name {
			t.Fatalf("generateNewToken: %v: %s", err, r.body)
		}
		return made.Data.TokenValue, made.Data.TokenUUID
	}
	second, _ := generate(first, "second")
	works(t, jenkins, g.URL, second)
	third, id := generate(second, "third")
	works(t, jenkins, g.URL, third)
	call{method: "POST", path: endpoint + "revoke", body: "tokenUuid=" + id, user: "alice", secret: second, header: form.Clone()}.want(t, g.URL, 200)
	call{user: "alice", secret: third}.want(t, g.URL, 401)
	call{method: "POST", path: endpoint + "generateNewToken", user: "alice", secret: third, header: form.Clone()}.want(t, g.URL, 401)
	if r := g.Token(t, "show", id, "--json"); !strings.Contains(r.Stdout, `"state": "revoked"`) && !strings.Contains(r.Stdout, `"state":"revoked"`) {
		t.Errorf("token show: %+v", r)
	}
	for _, r := range jenkins.Requests() {
		if strings.Contains(r.Path, "descriptorByName") {
			t.Errorf("Jenkins got %s %s", r.Method, r.Path)
		}
	}

	load(t, g, withSettings("token_api refuse"))
	refused := call{method: "POST", path: endpoint + "generateNewToken", user: "alice", secret: second, header: form.Clone()}.want(t, g.URL, 403)
	if !strings.Contains(refused.body, "not made in Jenkins") {
		t.Errorf("with token_api refuse: %s", refused.body)
	}
	for _, secret := range []string{first, second, third} {
		if strings.Contains(g.Log(), secret) {
			t.Error("the log shows a secret")
		}
	}
}

// TestCreatedTokensAreBoundByTheirParent: a token that can create tokens can't get past
// its own limits and its own end by them.
func TestCreatedTokensAreBoundByTheirParent(t *testing.T) {
	const endpoint = "/me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken"
	_, at := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, at, withSettings("token_api answer"))
	generate := func(secret string) reply {
		t.Helper()
		r, err := call{method: "POST", path: endpoint, body: "newTokenName=ci&expirationDuration=365", user: "alice", secret: secret,
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}.try(g.URL)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	value := func(r reply) string {
		t.Helper()
		var made struct{ Data struct{ TokenValue string } }
		if err := json.Unmarshal([]byte(r.body), &made); err != nil || made.Data.TokenValue == "" {
			t.Fatalf("generateNewToken: %v: %s", err, r.body)
		}
		return made.Data.TokenValue
	}
	parent := func(limits admin.Limits) admin.CreatedToken {
		t.Helper()
		made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Expires: "1h", Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}

	t.Run("uses", func(t *testing.T) {
		first := parent(admin.Limits{MaxUses: 3})
		second := value(generate(first.Secret))
		third := value(generate(second))
		call{user: "alice", secret: third}.want(t, g.URL, 200)
		for _, secret := range []string{first.Secret, second, third} {
			call{user: "alice", secret: secret}.want(t, g.URL, 401)
		}
	})
	t.Run("rate", func(t *testing.T) {
		first := parent(admin.Limits{Rate: 3})
		second := value(generate(first.Secret))
		third := value(generate(second))
		call{user: "alice", secret: third}.want(t, g.URL, 200)
		call{user: "alice", secret: third}.want(t, g.URL, 429)
	})
	t.Run("revocation", func(t *testing.T) {
		first := parent(admin.Limits{})
		secrets := []string{first.Secret}
		for range 5 {
			secrets = append(secrets, value(generate(secrets[len(secrets)-1])))
		}
		for _, secret := range secrets {
			call{user: "alice", secret: secret}.want(t, g.URL, 200)
		}
		if _, err := g.API().RevokeToken(t.Context(), first.ID, "test"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, secret := range secrets {
				call{user: "alice", secret: secret}.want(t, g.URL, 401)
			}
			g.Kill(t)
			g.Start(t)
		}
	})
	t.Run("end", func(t *testing.T) {
		first := parent(admin.Limits{})
		call{user: "alice", secret: value(generate(first.Secret))}.want(t, g.URL, 200)
		list, err := g.API().Tokens(t.Context(), "alice", false)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, made := range list.Tokens {
			if made.Parent == first.ID {
				found = true
				if made.Expires != first.Expires {
					t.Errorf("the created token expires %d, and its parent %d", made.Expires, first.Expires)
				}
			}
		}
		if !found {
			t.Error("no token names its parent")
		}
	})
	t.Run("observed", func(t *testing.T) {
		first := parent(admin.Limits{Scopes: []string{"read"}, Observe: true})
		if r := generate(first.Secret); strings.Contains(r.body, "tokenValue") || !strings.Contains(r.body, "while it is observed") {
			t.Errorf("an observed token creates tokens: %d %s", r.status, r.body)
		}
	})
}

// TestShadow: before the switch Jenkins still decides on its own tokens, and the log says
// for which of them the gateway wouldn't.
func TestShadow(t *testing.T) {
	const itsOwn, unknown = "110123456789abcdef0123456789abcdef", "11ffffffffffffffffffffffffffffffff"
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{Users: map[string]jenkinstest.User{"alice": {Tokens: []string{itsOwn}}}})
	g := gatewaytest.Start(t, url, withSettings("shadow on"))
	works(t, jenkins, g.URL, g.CreateToken(t, "alice", "ours"))
	const differs = "the gateway and Jenkins decide differently on a credential"
	if strings.Contains(g.Log(), differs) {
		t.Error("a token of the gateway is reported")
	}
	call{user: "alice", secret: itsOwn}.want(t, g.URL, 200)
	call{method: "POST", path: "/quietDown", user: "alice", secret: itsOwn}.want(t, g.URL, 302)
	call{user: "alice", secret: unknown}.want(t, g.URL, 401)
	call{secret: itsOwn}.want(t, g.URL, 401) // Jenkins takes no Bearer
	if n := strings.Count(g.Log(), differs); n != 2 {
		t.Errorf("%d differences are reported, want 2", n)
	}
	if strings.Contains(g.Log(), itsOwn) || strings.Contains(g.Log(), itsOwn[2:]) {
		t.Error("the log shows Jenkins' token")
	}

	load(t, g, withSettings("shadow off"))
	call{user: "alice", secret: itsOwn}.want(t, g.URL, 401)
}

// Jenkins decides on its credentials below its context path only: what else is at its
// address gets no request, and no password.
func TestShadowStaysWithinThePrefix(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, withSettings("shadow on\n\t\tprefix /jenkins"))
	for _, secret := range []string{"110123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", "a password", "cg_damaged"} {
		for _, path := range []string{"/", "/other/app", "/jenkinsfile", "/jenkins/../other"} {
			if r := (call{user: "alice", secret: secret, path: path}).send(t, g.URL); r.status != 404 && r.status != 400 {
				t.Errorf("%s with %q: status %d, want 404", path, secret, r.status)
			}
		}
	}
	if requests := jenkins.Requests(); len(requests) > 0 {
		t.Errorf("the upstream got %d requests, the first for %s", len(requests), requests[0].Path)
	}
	call{user: "alice", secret: "a password", path: "/jenkins/job/x"}.send(t, g.URL)
	if len(jenkins.Requests()) == 0 {
		t.Error("within the prefix the upstream got no request")
	}
}
