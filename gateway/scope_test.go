package gateway_test

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// newScopeSite is a site whose Jenkins has the jobs team-a/app and team-b/app, and of
// each a build.
func newScopeSite(t testing.TB, o options) *site {
	t.Helper()
	s := newSite(t, o)
	for _, item := range []struct{ name, config string }{
		{"team-a", jenkinstest.FolderXML}, {"team-b", jenkinstest.FolderXML},
		{"team-a/app", jenkinstest.ParameterizedXML}, {"team-b/app", jenkinstest.ParameterizedXML},
	} {
		if err := s.jenkins.AddJob(item.name, item.config); err != nil {
			t.Fatal(err)
		}
	}
	all := "Authorization: " + basicAuth("alice", s.token("alice"))
	for _, job := range []string{"/job/team-a/job/app", "/job/team-b/job/app"} {
		if a := s.send("POST", job+"/buildWithParameters?delay=0sec&DURATION=0s", "", all); a.StatusCode != http.StatusCreated {
			t.Fatalf("the first build of %s: %s", job, a.dump())
		}
		for start := time.Now(); s.send("GET", job+"/1/api/json", "", all).StatusCode != http.StatusOK; time.Sleep(time.Millisecond) {
			if time.Since(start) > 30*time.Second {
				t.Fatalf("%s doesn't begin to build", job)
			}
		}
	}
	return s
}

// scoped makes a token of alice with scopes and returns its header.
func (s *site) scoped(scopes ...string) (auth string) {
	s.t.Helper()
	return "Authorization: " + basicAuth("alice", s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: scopes}}))
}

// request sends what is written as "METHOD target", or "METHOD target body".
func (s *site) request(request, auth string) answer {
	s.t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	target, body, _ := strings.Cut(rest, " ")
	headers := []string{auth}
	if body != "" {
		headers = append(headers, "Content-Type: application/x-www-form-urlencoded")
	}
	return s.send(method, target, body, headers...)
}

// reached tells whether Jenkins got anything but a request for a crumb.
func (s *site) reached() bool {
	return slices.ContainsFunc(s.jenkins.Requests(), func(r jenkinstest.Request) bool { return r.Path != "/crumbIssuer/api/json" })
}

func TestScopes(t *testing.T) {
	s := newScopeSite(t, options{})
	both := []string{"build:team-a/**", "read:team-a/**"}
	for _, row := range []struct {
		name    string
		scopes  []string
		request string
		needs   string // "" if it is let pass
	}{
		{"trigger", both, "POST /job/team-a/job/app/buildWithParameters BRANCH=x", ""},
		{"trigger another's", both, "POST /job/team-b/job/app/build", "build:team-b/app"},
		{"trigger by GET with a token", both, "GET /job/team-b/job/app/build?token=x", "build:team-b/app"},
		{"read", both, "GET /job/team-a/job/app/1/consoleText", ""},
		{"read another's", both, "GET /job/team-b/job/app/1/consoleText", "read:team-b/app"},
		{"console in pieces", both, "GET /job/team-a/job/app/1/logText/progressiveText?start=0", ""},
		{"console in pieces by POST", both, "POST /job/team-a/job/app/1/logText/progressiveText start=0", ""},
		{"console in pieces, another's", both, "POST /job/team-b/job/app/1/logText/progressiveText start=0", "read:team-b/app"},
		{"queue item", both, "GET /queue/item/1/api/json", ""},
		{"queue item without any job", []string{"cancel"}, "GET /queue/item/1/api/json", "read"},
		{"queue", both, "GET /queue/api/json", "read"},
		{"take off the queue", both, "POST /queue/cancelItem?id=1", "cancel"},
		{"take off the queue by its item", []string{"cancel:team-a/**"}, "POST /queue/item/1/cancelQueue", "cancel"},
		{"settings", both, "GET /job/team-a/job/app/config.xml", "configure:team-a/app"},
		{"delete by method", both, "DELETE /job/team-a/job/app", "configure:team-a/app"},
		{"delete a build by method", both, "DELETE /job/team-a/job/app/1", "configure:team-a/app"},
		{"delete a page", []string{"configure", "read"}, "DELETE /job/team-a/job/app/config.xml", "admin"},
		{"tree in the body", both, "POST /job/team-a/job/app/api/json tree=upstreamProjects[name]", "read"},
		{"jobs of the folder", both, "GET /job/team-a/api/json?tree=jobs[name]", ""},
		{"jobs of all", both, "GET /api/json?tree=jobs[name]", "read"},
		{"root API", both, "GET /api/json", ""},
		{"front page", both, "GET /", "read"},
		{"version", both, "HEAD /", ""},
		{"crumb", []string{"artifacts:team-a/app"}, "GET /crumbIssuer/api/json", ""},
		{"who am I", []string{"artifacts:team-a/app"}, "GET /me/api/json", ""},
		{"API tokens of Jenkins", both, "POST /me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken newTokenName=x", "admin"},
		{"script", []string{"read", "configure"}, "POST /scriptText script=1", "script"},
		{"the command line", []string{"read", "build", "configure"}, "POST /cli?remoting=false", "cli"},
		{"agents", []string{"read", "configure"}, "POST /computer/doCreateItem", "agents"},
		{"through a view", both, "POST /view/all/job/team-b/job/app/build", "build:team-b/app"},
		{"through my views", both, "POST /me/my-views/view/all/job/team-b/job/app/build", "build:team-b/app"},
		{"through static", both, "POST /static/x/job/team-b/job/app/doDelete", "configure:team-b/app"},
		{"through dots", both, "POST /job/team-a/../team-b/job/app/build", "build:team-b/app"},
		{"keyword escaped", both, "POST /%6aob/team-a/job/app/build", "admin"},
		{"name escaped", both, "POST /job/%74eam-a/job/app/buildWithParameters BRANCH=x", ""},
		{"doubled slashes", both, "POST /job//team-a//job/app/buildWithParameters BRANCH=x", ""},
		{"slash in a name is no folder", both, "POST /job/team-a%2Fapp/build", "build:team-a%2Fapp"},
	} {
		t.Run(row.name, func(t *testing.T) {
			auth := s.scoped(row.scopes...)
			s.jenkins.ResetRequests()
			a := s.request(row.request, auth)
			if row.needs != "" {
				if a.StatusCode != http.StatusForbidden || a.Header.Get("X-Crumbgate-Needs") != row.needs || !strings.HasSuffix(a.body, "It needs "+row.needs+".\n") || s.reached() {
					t.Errorf("%s\nwant 403 and need %q; Jenkins was reached: %v", a.dump(), row.needs, s.reached())
				}
				if !strings.Contains(s.log.last(), `"reason":"a token whose scopes don't cover the request"`) {
					t.Errorf("the log says %s", s.log.last())
				}
				return
			}
			if a.StatusCode >= 400 {
				t.Errorf("refused: %s", a.dump())
			}
			for _, r := range s.jenkins.Requests() {
				if r.User != "alice" || r.Method == "POST" && r.Crumb != jenkinstest.CrumbValid {
					t.Errorf("Jenkins got %s %s of %q with a crumb that is %s", r.Method, r.Path, r.User, r.Crumb)
				}
			}
		})
	}
}

// Whatever a page does, Jenkins may do it for a GET too.
func TestReadersChangeNothing(t *testing.T) {
	s := newScopeSite(t, options{})
	auth := s.scoped("read", "artifacts")
	s.jenkins.ResetRequests()
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"} {
		for _, path := range []string{
			"/job/a/build?token=x", "/job/a/buildWithParameters", "/job/a/polling", "/job/a/doDelete", "/job/a/enable", "/job/a/disable", "/job/a/doRename?newName=x",
			"/job/a/confirmRename", "/job/a/submitDescription", "/job/a/configSubmit", "/job/a/config.xml", "/job/a/createItem", "/job/a/doWipeOutWorkspace", "/job/a/reload",
			"/job/a/cancelQueue", "/job/a/1/stop", "/job/a/1/kill", "/job/a/1/toggleLogKeep", "/job/a/1/doDelete", "/job/a/1/rebuild", "/job/a/1/replay/run",
			"/job/a/1/input/X/proceedEmpty", "/createItem", "/view/all/createItem", "/quietDown", "/restart", "/safeExit", "/scriptText", "/cli",
			"/queue/cancelItem?id=1", "/computer/doCreateItem", "/computer/x/doDelete", "/computer/x/toggleOffline", "/computer/x/executors/0/stop",
			"/credentials/store/system/domain/_/createCredentials", "/pluginManager/install", "/updateCenter/safeRestart",
			"/me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken", "/blue/rest/organizations/jenkins/pipelines/a/runs/1/stop",
		} {
			a := s.send(method, path, "", auth)
			if a.StatusCode != http.StatusForbidden || a.Header.Get("X-Crumbgate-Needs") == "" {
				t.Errorf("%s %s: %s", method, path, a.dump())
			}
		}
	}
	s.untouched()
}

// WebSockets are asked for by GET, and what comes over them isn't seen.
func TestScopesOfWebSockets(t *testing.T) {
	const origin = "http://jenkins.example.org"
	s := newScopeSite(t, options{jenkins: jenkinstest.Config{RootURL: origin}})
	s.jenkins.AddAgent("builder", "sesame")
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		path, scope string
		status      int
	}{
		{"/cli/ws", "cli", 101},
		{"/cli/ws", "script", 403},
		{"/cli/ws", "agents", 403},
		{"/wsagents/", "agents", 101},
		{"/wsagents/", "cli", 101}, // open: the agent's secret guards it
	} {
		conn := s.dial(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+
			"Origin: %s\r\nNode-Name: builder\r\nSecret-Key: sesame\r\nX-Remoting-Capability: x\r\n\r\n", row.path, u.Host, s.scoped(row.scope), origin))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != row.status {
			t.Errorf("%s with %s: %s, want %d", row.path, row.scope, resp.Status, row.status)
		}
		conn.Close()
	}
}

// clientRequests are what the scenarios of test/clients make, as the stand-in received it,
// for a job in a folder. A request is in it once, and so are those for a console.
var clientRequests = []struct {
	name string
	// connect, trigger, follow and read the console
	trigger []string
	// create, change, stop and delete the job, list all
	rest []string
	// scopes for both
	scopes []string
}{
	{
		name: "python-jenkins",
		trigger: []string{
			"GET /crumbIssuer/api/json", "GET /me/api/json?depth=0", "GET /job/team-a/job/app/api/json?tree=name",
			"POST /job/team-a/job/app/buildWithParameters?BRANCH=hello+%26+gr%C3%BC%C3%9F+%E2%98%83&DURATION=0s", "GET /queue/item/1/api/json?depth=0",
			"GET /job/team-a/job/app/1/api/json?depth=0", "GET /job/team-a/job/app/1/logText/progressiveText?start=0", "GET /job/team-a/job/app/1/consoleText",
		},
		rest: []string{
			"GET /", "GET /api/json?tree=jobs%5Burl,color,name,jobs%5Burl,color,name,jobs%5D%5D", "POST /job/team-a/createItem?name=new <project/>",
			"GET /job/team-a/job/app/config.xml", "POST /job/team-a/job/app/1/stop", "GET /job/team-a/job/app/1/", "POST /job/team-a/job/app/doDelete",
		},
		scopes: []string{"build:team-a/app", "cancel:team-a/app", "configure:team-a", "configure:team-a/app", "read"},
	},
	{
		name: "node jenkins",
		trigger: []string{
			"GET /me/api/json", "GET /api/json", "GET /crumbIssuer/api/json", "HEAD /job/team-a/job/app/api/json",
			"POST /job/team-a/job/app/buildWithParameters BRANCH=hello%20%26%20gr%C3%BC%C3%9F&DURATION=0s", "GET /queue/item/1/api/json",
			"GET /job/team-a/job/app/1/api/json", "POST /job/team-a/job/app/1/logText/progressiveText start=0",
		},
		rest:   []string{"POST /job/team-a/createItem?name=new <project/>", "GET /job/team-a/job/app/config.xml", "POST /job/team-a/job/app/1/stop", "POST /job/team-a/job/app/doDelete"},
		scopes: []string{"build:team-a/app", "cancel:team-a/app", "configure:team-a", "configure:team-a/app", "read:team-a/app"},
	},
	{
		name: "gojenkins",
		trigger: []string{
			"GET /api/json", "GET /me/api/json", "GET /crumbIssuer/api/json/api/json", "GET /job/team-a/job/app/api/json",
			"POST /job/team-a/job/app/buildWithParameters BRANCH=x&DURATION=0s", "GET /queue/item/1/api/json", "GET /job/team-a/job/app//1/api/json?depth=1",
			"GET /job/team-a/job/app//1/logText/progressiveText/?start=0", "GET /job/team-a/job/app//1/consoleText/",
		},
		rest: []string{
			"POST /job/team-a/createItem?name=new <project/>", "GET /job/team-a/job/app/config.xml/", "POST /job/team-a/job/app//1/stop", "GET /job/team-a/job/app//1/",
			"POST /job/team-a/job/app/doDelete", "GET /job/team-a/",
		},
		scopes: []string{"build:team-a/app", "cancel:team-a/app", "configure:team-a", "configure:team-a/app", "read:team-a", "read:team-a/app"},
	},
	{
		name: "jenkins-rest",
		trigger: []string{
			"HEAD /", "GET /api/json", "GET /crumbIssuer/api/xml?xpath=concat%28//crumbRequestField,%22%3A%22,//crumb%29",
			"POST /job/team-a/job/app/buildWithParameters BRANCH=hello%20%26%20gr%C3%BC%C3%9F&DURATION=0s", "GET /queue/item/1/api/json",
			"GET /job/team-a/job/app/1/api/json", "GET /job/team-a/job/app/1/logText/progressiveText?start=0",
		},
		rest: []string{
			"POST /job/team-a/createItem?name=new <project/>", "GET /job/team-a/job/app/config.xml", "POST /job/team-a/job/app/1/stop", "POST /job/team-a/job/app/1/",
			"POST /job/team-a/job/app/doDelete", "POST /job/team-a/",
		},
		scopes: []string{"build:team-a/app", "cancel:team-a/app", "configure:team-a", "configure:team-a/app", "read:team-a", "read:team-a/app"},
	},
	{
		name: "curl",
		trigger: []string{
			"GET /me/api/json", `GET /crumbIssuer/api/xml?xpath=concat(//crumbRequestField,":",//crumb)`, "POST /job/team-a/job/app/buildWithParameters BRANCH=x&DURATION=0s",
			"GET /queue/item/1/api/json", "GET /job/team-a/job/app/1/api/json", "GET /job/team-a/job/app/1/logText/progressiveText?start=0", "GET /job/team-a/job/app/1/consoleText",
		},
		rest: []string{
			"GET /api/json?tree=jobs[name]", "POST /job/team-a/createItem?name=new <project/>", "GET /job/team-a/job/app/config.xml", "POST /job/team-a/job/app/1/stop",
			"GET /job/team-a/job/app/1/", "POST /job/team-a/job/app/doDelete",
		},
		scopes: []string{"build:team-a/app", "cancel:team-a/app", "configure:team-a", "configure:team-a/app", "read"},
	},
}

func TestScopesOfClients(t *testing.T) {
	for _, client := range clientRequests {
		t.Run(client.name, func(t *testing.T) {
			s := newScopeSite(t, options{})
			trigger := s.scoped("build:team-a/**", "read:team-a/**")
			for _, request := range client.trigger {
				if a := s.request(request, trigger); a.StatusCode >= 400 {
					t.Errorf("%s: %s", request, a.dump())
				}
			}
			var needs []policy.Need
			for _, request := range slices.Concat(client.trigger, client.rest) {
				method, target, _ := strings.Cut(request, " ")
				target, _, _ = strings.Cut(target, " ")
				r, err := http.NewRequest(method, s.url+target, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", strings.TrimPrefix(trigger, "Authorization: "))
				needs = append(needs, s.gate.Check(r).Need)
			}
			if got := policy.Suggest(needs); !slices.Equal(got, client.scopes) {
				t.Errorf("all that it does needs %q, want %q", got, client.scopes)
			}
			all := s.scoped(client.scopes...)
			for _, request := range client.rest {
				if a := s.request(request, all); a.StatusCode == http.StatusForbidden {
					t.Errorf("%s: %s", request, a.dump())
				}
			}
		})
	}
}

// doubtful are requests that a token may be observed doing.
var doubtful = []string{
	"GET /job/team-a/job/app/api/json", "GET /view/all/job/team-a/job/app/1/consoleText", "POST /job/team-a/job/app/buildWithParameters BRANCH=x",
	"GET /job/team-a/api/json?tree=jobs[name]", "GET /job/team-b/job/app/api/json", "POST /job/team-b/job/app/buildWithParameters BRANCH=x", "GET /queue/item/1/api/json",
	"GET /queue/api/json", "GET /job/team-a/job/app/config.xml", "POST /job/team-a/job/app/submitDescription description=x", "POST /job/team-a/job/app/1/stop",
	"GET /job/team-a/view/all/api/json", "GET /api/json", "GET /", "POST /job/team-a/job/app/polling", "GET /job/a/api/json", "POST /job/a/build",
	"GET /computer/api/json", "GET /pluginManager/api/json",
}

func TestObservedScopes(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := gateway.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	s := newScopeSite(t, options{gate: func(c *gateway.Config) { c.Metrics = metrics }})
	secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: []string{"read:team-a/**"}, Observe: true}})
	auth := "Authorization: " + basicAuth("alice", secret)
	for i, request := range []string{"GET /job/team-a/job/app/api/json", "POST /job/team-b/job/app/buildWithParameters BRANCH=x", "GET /job/team-b/job/app/api/json"} {
		before := strings.Count(s.log.String(), "not covered by the scopes of its token")
		if a := s.request(request, auth); a.StatusCode >= 400 {
			t.Errorf("%s: %s", request, a.dump())
		}
		if got := strings.Count(s.log.String(), "not covered by the scopes of its token") - before; got != min(i, 1) {
			t.Errorf("%s is logged %d times, want %d", request, got, min(i, 1))
		}
	}
	if !strings.Contains(s.log.String(), `"needs":"build:team-b/app"`) {
		t.Error("the log doesn't say what was needed")
	}
	if got := counted(t, registry, "caddy_crumbgate_uncovered_total"); got != 2 {
		t.Errorf("%v uncovered requests are counted, want 2", got)
	}
	s.hides("alice", secret)
}

// What a token is seen to do while it is observed gives the scopes with which it may do
// the same, and no more is refused.
func TestObservedScopesSuffice(t *testing.T) {
	s := newScopeSite(t, options{})
	rapid.Check(t, func(t *rapid.T) {
		requests := rapid.SliceOfNDistinct(rapid.SampledFrom(doubtful), 1, 6, rapid.ID).Draw(t, "requests")
		secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: []string{"read:nothing"}, Observe: true}})
		auth := "Authorization: " + basicAuth("alice", secret)
		for _, request := range requests {
			if a := s.request(request, auth); a.Header.Get("X-Crumbgate-Needs") != "" || a.StatusCode == http.StatusForbidden {
				t.Fatalf("%s is refused while observed: %s", request, a.dump())
			}
		}
		digest, err := token.Parse(secret)
		if err != nil {
			t.Fatal(err)
		}
		observed := s.directory.Find(digest)
		scopes := policy.Suggest(observed.Needs())
		if len(scopes) == 0 {
			scopes = []string{"read:nothing"} // what any scope does for
		}
		if _, err := s.directory.SetLimits(s.t.Context(), observed.Record().ID, &token.Limits{Scopes: scopes}, "test"); err != nil {
			t.Fatal(err)
		}
		for _, request := range requests {
			if a := s.request(request, auth); a.Header.Get("X-Crumbgate-Needs") != "" || a.StatusCode == http.StatusForbidden {
				t.Fatalf("%s is refused with %q: %s", request, scopes, a.dump())
			}
		}
		if _, err := s.directory.Revoke(s.t.Context(), observed.Record().ID, "test"); err != nil {
			t.Fatal(err)
		}
	})
}

func counted(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// What Jenkins refuses or does not have is nothing that a token needs, however often it is
// asked for; what Jenkins grants is counted.
func TestObservedNeedsAreWhatJenkinsGrants(t *testing.T) {
	s := newScopeSite(t, options{})
	secret := s.tokenAs(token.Request{User: "alice", Expires: "never", Limits: &token.Limits{Scopes: []string{"read:nothing"}, Observe: true}})
	auth := "Authorization: " + basicAuth("alice", secret)
	for _, request := range []string{
		"GET /job/hr/job/pay/config.xml", "POST /job/hr/job/a/build", "POST /job/hr/job/b/build", "POST /job/hr/job/c/build", "POST /job/hr/job/d/build",
		"GET /job/nonesuch/api/json", "GET /nonesuch", "GET /job/team-a/job/app/99/consoleText", "GET /favicon.ico", "GET /login",
	} {
		s.request(request, auth)
	}
	for range 3 {
		s.request("GET /job/team-a/job/app/api/json", auth)
	}
	s.request("POST /job/team-a/job/app/buildWithParameters BRANCH=x", auth)
	digest, err := token.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for _, seen := range s.directory.Find(digest).Seen() {
		got[seen.Need.String()] = seen.Count
	}
	if want := map[string]uint64{"read team-a/app": 3, "build team-a/app": 1}; !maps.Equal(got, want) {
		t.Errorf("noted %v, want %v", got, want)
	}
}
