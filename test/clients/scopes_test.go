package clients_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// A scopedClient is a client and the scopes that its scenario needs, as token suggest finds them.
type scopedClient struct {
	client string
	scopes []string
	// reason: it shows the text of a refusal.
	reason bool
}

// To list all jobs with more than names and colours, or to follow the redirect after a deletion, takes read of everything; to
// make a job at the top, configure of that.
var scopedClients = []scopedClient{
	{client: "python-jenkins", scopes: []string{"build:client-test", "cancel:client-test", "configure", "read"}, reason: true},
	{client: "node jenkins", scopes: []string{"build:client-test", "cancel:client-test", "configure", "read:client-test"}},
	{client: "gojenkins", scopes: []string{"build:client-test", "cancel:client-test", "configure", "read"}},
	{client: "jenkins-rest", scopes: []string{"build:client-test", "cancel:client-test", "configure", "read"}, reason: true},
	{client: "curl", scopes: []string{"build:client-test", "cancel:client-test", "configure", "read"}},
}

// effects begin what Jenkins does only for a token with a scope for it.
var effects = map[string][]string{
	"build":     {"POST /job/client-test/buildWithParameters"},
	"cancel":    {"POST /job/client-test/2/stop"},
	"configure": {"POST /createItem", "GET /job/client-test/config.xml", "POST /job/client-test/config.xml", "POST /job/client-test/doDelete"},
	"read":      {"GET /job/client-test/1/", "POST /job/client-test/1/"},
}

// TestScopes: what a client was seen to do while its token was observed suggests the scopes with which it does the same when
// they are enforced. Without any of them it is refused, and nothing of that reaches Jenkins.
func TestScopes(t *testing.T) {
	for _, sc := range scopedClients {
		t.Run(sc.client, func(t *testing.T) {
			t.Parallel()
			c := clients[slices.IndexFunc(clients, func(c client) bool { return c.name == sc.client })]
			setup(t, c.setup)
			t.Run("observed", func(t *testing.T) {
				t.Parallel()
				w := startScoped(t, admin.Limits{Scopes: []string{"read:nothing"}, Observe: true})
				runScenario(t, c, w.url, w.token.Secret)
				suggested, err := w.api.SuggestScopes(t.Context(), w.token.ID)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(suggested.Scopes, sc.scopes) {
					t.Errorf("suggested %q, want %q", suggested.Scopes, sc.scopes)
				}
			})
			t.Run("enforced", func(t *testing.T) {
				t.Parallel()
				w := startScoped(t, admin.Limits{Scopes: sc.scopes})
				runScenario(t, c, w.url, w.token.Secret)
				checkEffects(t, w.jenkins.Requests())
			})
			for permission, doings := range effects {
				t.Run("without "+permission, func(t *testing.T) {
					t.Parallel()
					rest := slices.DeleteFunc(slices.Clone(sc.scopes), func(scope string) bool {
						return scope == permission || strings.HasPrefix(scope, permission+":")
					})
					w := startScoped(t, admin.Limits{Scopes: rest})
					ran := run(t, c, w.url, w.token.Secret)
					if ran.err == nil || slices.Equal(ran.done, steps) {
						t.Errorf("with %q it was done: %s", rest, ran.output)
					}
					if sc.reason && permission != "read" && !strings.Contains(ran.output, "It needs "+permission) {
						t.Errorf("it shows no reason:\n%s", ran.output)
					}
					for _, r := range w.jenkins.Requests() {
						for _, doing := range doings {
							if strings.HasPrefix(r.Method+" "+r.Path, doing) {
								t.Errorf("%s %s reached Jenkins", r.Method, r.RequestURI)
							}
						}
					}
				})
			}
		})
	}
}

// scoped is a Jenkins behind a gateway, and a token with limits.
type scoped struct {
	jenkins *jenkinstest.Jenkins
	url     string
	api     *admin.Client
	token   admin.CreatedToken
}

func startScoped(t *testing.T, limits admin.Limits) scoped {
	t.Helper()
	jenkins := jenkinstest.New(jenkinstest.Config{})
	server := httptest.NewServer(jenkins)
	t.Cleanup(server.Close)
	t.Cleanup(jenkins.Close)
	t.Cleanup(func() {
		if t.Failed() {
			logRequests(t, jenkins.Requests())
		}
	})
	g := gatewaytest.Start(t, server.URL, gatewaytest.Smallest)
	made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: user, Name: "scoped", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return scoped{jenkins, g.URL, g.API(), made}
}
