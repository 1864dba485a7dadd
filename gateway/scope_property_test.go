package gateway

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/policy"
)

// itemPieces are what can stand between the names of a way to a job.
var itemPieces = []string{
	"job", "item", "view", "branch", "team-a", "app", "team-b", "team-a%2Fapp", "team-a%252Fapp", "%74eam-a", "all", "me", "my-views", "user", "alice", "manage",
	"%6aob", "%2e%2e", "..", ".", "", "static", "x", "1", "lastBuild", "api", "json", "build", "doDelete", "config.xml", "consoleText", "artifact", "ws", "parent",
	"blue", "rest", "organizations", "jenkins", "pipelines", "branches", "runs", "descriptorByName",
}

// drawItemPath draws a way to a job with something that doesn't belong there.
func drawItemPath(t *rapid.T) string {
	ways := []string{
		"job/team-a/job/app", "job/team-b/job/app", "view/all/job/team-a/view/x/job/app", "me/my-views/view/all/job/team-b/job/app", "user/alice/my-views/job/team-a/job/app",
		"manage/job/team-b/item/app", "static/x/job/team-b/job/app", "blue/rest/organizations/jenkins/pipelines/team-b/pipelines/app",
	}
	names := strings.Split(rapid.SampledFrom(ways).Draw(t, "way")+rapid.SampledFrom([]string{"", "/1/consoleText", "/api/json", "/config.xml", "/build", "/ws/x"}).Draw(t, "end"), "/")
	for range rapid.IntRange(0, 4).Draw(t, "pieces") {
		at := rapid.IntRange(0, len(names)).Draw(t, "at")
		piece := rapid.SampledFrom(itemPieces).Draw(t, "piece")
		names = append(names[:at:at], append([]string{piece}, names[at:]...)...)
	}
	return "/" + strings.Join(names, "/")
}

// itemOf is the job or folder that Jenkins has come to when it doesn't know the next
// name for a way to one. It knows no page.
func itemOf(tokens []string) string {
	blue := []string{"blue", "rest", "organizations", "jenkins"}
	keywords := map[string]bool{"job": true, "item": true, "branch": true}
	var full []string
	for at := 0; at < len(tokens); at++ {
		rest := tokens[at:]
		switch {
		case at == 0 && len(rest) > 4 && strings.Join(rest[:4], "\n") == strings.Join(blue, "\n"):
			at += 3
			keywords = map[string]bool{"pipelines": true, "branches": true}
		case at == 0 && rest[0] == "manage":
		case at == 0 && len(rest) > 1 && rest[0] == "me" && rest[1] == "my-views":
			at++
		case at == 0 && len(rest) > 2 && rest[0] == "user" && rest[2] == "my-views":
			at += 2
		case len(rest) > 1 && rest[0] == "view":
			at++
		case len(rest) > 1 && keywords[rest[0]]:
			full = append(full, strings.ReplaceAll(rest[1], "/", "%2F"))
			at++
		default:
			return strings.Join(full, "/")
		}
	}
	return strings.Join(full, "/")
}

// Whatever a path looks like: what the scopes of one job let pass, Jenkins walks to that
// job for.
func TestScopesAreOfWhatJenkinsFinds(t *testing.T) {
	scopes, err := policy.ParseScopes([]string{"read:team-a/app", "build:team-a/app", "configure:team-a/app", "artifacts:team-a/app", "cancel:team-a/app"})
	if err != nil {
		t.Fatal(err)
	}
	admitted := 0
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "/jenkins"}).Draw(t, "prefix")
		target := prefix + drawItemPath(t)
		r := requestFor(target)
		if r == nil {
			return
		}
		route, err := dispatchPath(r, prefix)
		if err != nil {
			return
		}
		method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "DELETE"}).Draw(t, "method")
		need := policy.Classify(method, route.path, r.URL.RawQuery)
		if need.Permission.String() == "any scope" || !scopes.Allows(need) {
			return
		}
		admitted++
		tokens, ok := jenkinstest.Dispatched(prefix, r.URL.EscapedPath())
		if item := itemOf(tokens); !ok || item != "team-a/app" {
			t.Fatalf("%s %q needs %q, but Jenkins walks %q to %q", method, target, need, tokens, item)
		}
	})
	if admitted == 0 {
		t.Error("nothing was let pass")
	}
}

// However a way to a job is written, it asks for the same, or for more.
func TestScopesByEveryWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.SampledFrom([]string{"", "/api/json", "/build", "/1/stop", "/1/consoleText", "/config.xml", "/ws/f", "/doDelete", "/1/artifact/x", "/unknown"}).Draw(t, "end")
		method := rapid.SampledFrom([]string{"GET", "POST", "DELETE"}).Draw(t, "method")
		need := func(target string) string {
			r := requestFor(target)
			route, err := dispatchPath(r, "")
			if err != nil {
				t.Fatalf("%q: %v", target, err)
			}
			return policy.Classify(method, route.path, "").String()
		}
		want := need("/job/team-a/job/app" + end)

		way := rapid.SampledFrom([]string{"", "/manage", "/me/my-views", "/manage", "/view/all", "/view/a%20b/view/c"}).Draw(t, "start")
		for _, name := range []string{"team-a", "app"} {
			if rapid.Bool().Draw(t, "view") {
				way += "/view/all"
			}
			way += "/" + rapid.SampledFrom([]string{"job", "item"}).Draw(t, "keyword") + "/" + spelled(t, name)
		}
		way += end
		for range rapid.IntRange(0, 3).Draw(t, "noise") {
			slashes := strings.Count(way, "/")
			at, noise := rapid.IntRange(2, slashes).Draw(t, "slash"), rapid.SampledFrom([]string{"/", "/.", "/x/.."}).Draw(t, "noise")
			way = insertAt(way, at, noise)
		}
		if rapid.Bool().Draw(t, "static") {
			way = "/static/0a1b" + way
		}
		if got := need(way); got != want {
			t.Fatalf("%s %q needs %q, want %q", method, way, got, want)
		}
	})
}

// spelled writes some letters of a name as escapes.
func spelled(t *rapid.T, name string) string {
	var b strings.Builder
	for i := range len(name) {
		if rapid.IntRange(0, 3).Draw(t, "escape") == 0 {
			fmt.Fprintf(&b, "%%%02X", name[i])
			continue
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// insertAt puts text before the nth slash of a path.
func insertAt(path string, nth int, text string) string {
	for i := range len(path) {
		if path[i] == '/' {
			if nth--; nth == 0 {
				return path[:i] + text + path[i:]
			}
		}
	}
	return path
}
