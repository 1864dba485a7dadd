package blackbox_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// Suggested scopes are what Jenkins has granted, by name: refused requests and neighbours
// that were never asked for are not among them.
func TestSuggestionsFollowJenkins(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	for _, item := range [][2]string{
		{"f", jenkinstest.FolderXML}, {"f/a", jenkinstest.FreestyleXML}, {"f/b", jenkinstest.FreestyleXML}, {"f/c", jenkinstest.FreestyleXML}, {"f/d", jenkinstest.FreestyleXML},
	} {
		if err := jenkins.AddJob(item[0], item[1]); err != nil {
			t.Fatal(err)
		}
	}
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci", "--scope", "read:nothing", "--observe")
	for _, job := range []string{"a", "b", "c", "d"} {
		call{method: "GET", path: "/job/hr/job/" + job + "/config.xml", user: "alice", secret: secret}.want(t, g.URL, 404)
		call{method: "POST", path: "/job/f/job/" + job + "/build?delay=0sec", user: "alice", secret: secret}.want(t, g.URL, 201)
	}
	r := g.Token(t, "suggest", "--user", "alice", "--name", "ci")
	if want := "build:f/a\nbuild:f/b\nbuild:f/c\nbuild:f/d\n"; r.Status != 0 || r.Stdout != want {
		t.Errorf("suggest: %+v, want %q", r, want)
	}
	if r := g.Token(t, "suggest", "--user", "alice", "--name", "ci", "--folders"); r.Status != 0 || r.Stdout != "build:f/*\n" {
		t.Errorf("suggest --folders: %+v", r)
	}
}

// A scoped token gets what anybody gets without a credential, and nothing that is
// Jenkins' administrators'.
func TestScopedTokensOnTheWire(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	read := g.CreateToken(t, "alice", "read", "--scope", "read", "--scope", "agents")
	for _, path := range []string{"/login", "/favicon.ico", "/robots.txt", "/static/1a2b3c4d/scripts/hudson-behavior.js"} {
		for user, secret := range map[string]string{"alice": read, "carol": "a password"} {
			jenkins.ResetRequests()
			answer, err := call{path: path, user: user, secret: secret}.try(g.URL)
			if err != nil {
				t.Fatal(err)
			}
			if answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden || len(jenkins.Requests()) == 0 {
				t.Errorf("GET %s as %s: %+v", path, user, answer)
			}
		}
	}
	for _, request := range []string{
		"GET /computer/configure", "GET /computer/%63onfigure", "GET /user/bob/my-views/view/all/", "POST /computer/(built-in)/configSubmit",
		"POST /project/a",
	} {
		method, path, _ := strings.Cut(request, " ")
		jenkins.ResetRequests()
		call{method: method, path: path, user: "alice", secret: read}.want(t, g.URL, 403)
		if got := jenkins.Requests(); len(got) != 0 {
			t.Errorf("%s reached Jenkins as %s", request, got[0].RequestURI)
		}
	}
}
