package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

// rows are requests, and what policy.Need.String says of them. The path may have a query.
var rows = []struct{ name, method, path, want string }{
	{"root page", "GET", "", "read"},
	{"root page, with its slash", "GET", "/", "read"},
	{"POST to the root", "POST", "", "admin"},
	{"root API", "GET", "/api/json", "any scope"},
	{"root API by HEAD", "HEAD", "/api/json", "any scope"},
	{"root API by POST may have a tree in its body", "POST", "/api/json", "read"},
	{"root API, own fields", "GET", "/api/json?tree=mode,nodeName", "any scope"},
	{"root API, fields of jobs", "GET", "/api/json?tree=jobs[name]", "read"},
	{"root API, fields of jobs, escaped", "GET", "/api/json?tree=jobs%5Bname%5D", "read"},
	{"root API, escaped key", "GET", "/api/json?%74ree=jobs[name]", "read"},
	{"root API, second tree", "GET", "/api/json?tree=mode&tree=jobs[name]", "read"},
	{"root API, depth", "GET", "/api/json?depth=1", "read"},
	{"root API, depth of nothing", "GET", "/api/json?depth=0", "any scope"},
	{"root API, semicolon", "GET", "/api/json?a;tree=x", "read"},
	{"unknown flavour", "GET", "/api/other", "admin"},
	{"crumb", "GET", "/crumbIssuer/api/json", "any scope"},
	{"crumb of gojenkins", "GET", "/crumbIssuer/api/json/api/json", "any scope"},
	{"crumb by XPath", "GET", `/crumbIssuer/api/xml?xpath=concat(//crumbRequestField,":",//crumb)`, "any scope"},
	{"crumb issuer's page", "GET", "/crumbIssuer", "admin"},
	{"who am I", "GET", "/whoAmI/api/json", "any scope"},
	{"me", "GET", "/me/api/json", "any scope"},
	{"me, unfolded", "GET", "/me/api/json?depth=2", "admin"},
	{"my settings", "GET", "/me/configure", "admin"},
	{"my tokens", "POST", "/me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken", "admin"},
	{"another user", "GET", "/user/bob/api/json", "admin"},
	{"health", "GET", "/health", "any scope"},
	{"programs of agents", "GET", "/jnlpJars/agent.jar", "any scope"},

	{"job", "GET", "/job/a", "read a"},
	{"job in folders", "GET", "/job/a/job/b/job/c", "read a/b/c"},
	{"job by item", "GET", "/item/a", "read a"},
	{"job by view", "GET", "/view/x/job/a", "read a"},
	{"job by nested views", "GET", "/view/x/view/y/job/a", "read a"},
	{"job by a folder's view", "GET", "/job/a/view/x/job/b", "read a/b"},
	{"job by my views", "GET", "/me/my-views/view/x/job/a", "read a"},
	{"job by my primary view", "GET", "/me/my-views/job/a", "read a"},
	{"job by a user's views", "GET", "/user/u/my-views/view/all/job/a", "read a"},
	{"job by a user's primary view", "GET", "/user/u/my-views/job/a", "read a"},
	{"job by manage", "GET", "/manage/job/a", "read a"},
	{"branch", "GET", "/job/a/branch/main", "read a/main"},
	{"branch with a slash", "GET", "/job/a/job/feature%2Fx", "read a/feature%2Fx"},
	{"branch with a slash, as Jenkins links it", "GET", "/job/a/job/feature%252Fx", "read a/feature%2Fx"},
	{"branch at the root is no item", "GET", "/branch/main", "admin"},
	{"name with a space", "GET", "/job/my%20job", "read my job"},
	{"name in another script", "GET", "/job/%C3%A9", "read é"},
	{"names are case-sensitive here", "GET", "/job/A", "read A"},
	{"star is no name", "GET", "/job/*", "admin"},
	{"escaped star is no name", "GET", "/job/a/job/%2A%2a", "admin"},
	{"broken escape", "GET", "/job/a%2", "admin"},
	{"not UTF-8", "GET", "/job/%ff", "admin"},
	{"escaped dots", "GET", "/job/%2e%2e/job/a", "admin"},
	{"keyword escaped", "GET", "/%6aob/a", "admin"},
	{"keyword in capitals", "GET", "/Job/a", "admin"},
	{"no name", "GET", "/job", "admin"},
	{"map of items", "GET", "/itemMap/a", "admin"},
	{"views' end", "GET", "/me/my-views", "admin"},
	{"unknown between", "GET", "/job/a/parent/job/b", "admin"},
	{"unknown method", "PATCH", "/job/a", "admin"},
	{"not canonical: slashes", "GET", "/job/a//job/b", "admin"},
	{"not canonical: dots", "GET", "/job/a/../b", "admin"},
	{"not canonical: no slash", "GET", "job/a", "admin"},

	{"API of a job", "GET", "/job/a/api/json", "read a"},
	{"API of a job, its builds", "GET", "/job/a/api/json?tree=builds[number,actions[parameters[name,value]]]{0,9}", "read a"},
	{"API of a folder, its jobs", "GET", "/job/a/api/json?tree=jobs[name,jobs[name]]", "read a/**"},
	{"API of a job, jobs elsewhere", "GET", "/job/a/api/json?tree=upstreamProjects[name]", "read"},
	{"API of a job, everything", "GET", "/job/a/api/json?tree=*[*]", "read"},
	{"API of a job, depth", "GET", "/job/a/api/json?depth=1", "read"},
	{"API of a job by POST", "POST", "/job/a/api/json", "read"},
	{"API of a build", "GET", "/job/a/12/api/json", "read a"},
	{"API of a build, as gojenkins asks", "GET", "/job/a/12/api/json?depth=-1", "read a"},
	{"API of a build, builds elsewhere", "GET", "/job/a/12/api/json?tree=actions[triggeredBuilds[url]]", "read"},
	{"last build", "GET", "/job/a/lastBuild/api/json", "read a"},
	{"console", "GET", "/job/a/12/consoleText", "read a"},
	{"console in pieces", "GET", "/job/a/12/logText/progressiveText?start=0", "read a"},
	{"console in pieces, by POST", "POST", "/job/a/12/logText/progressiveText", "read a"},
	{"number that Java takes", "GET", "/job/a/+7/api/json", "admin"},
	{"changes", "GET", "/job/a/12/changes", "read a"},
	{"test report", "GET", "/job/a/12/testReport/api/json", "read a"},
	{"stages", "GET", "/job/a/12/wfapi/describe", "read a"},
	{"log of a step", "GET", "/job/a/12/execution/node/7/wfapi/log", "read a"},
	{"unknown page of a build", "GET", "/job/a/12/injectedEnvVars", "admin"},
	{"unknown page of a job", "GET", "/job/a/promotion", "admin"},
	{"maven module", "GET", "/job/a/org.example$core/api/json", "admin"},
	{"matrix configuration", "POST", "/job/a/os=linux/build", "admin"},
	{"validation", "GET", "/job/a/descriptorByName/X/checkUrl", "admin"},

	{"trigger", "POST", "/job/a/build", "build a"},
	{"trigger by GET with a token", "GET", "/job/a/build?token=x", "build a"},
	{"trigger with parameters", "POST", "/job/a/job/b/buildWithParameters", "build a/b"},
	{"trigger through a view", "POST", "/view/x/job/a/build", "build a"},
	{"trigger, with a tail", "POST", "/job/a/build/x", "admin"},
	{"polling", "GET", "/job/a/polling", "build a"},
	{"answer of an input", "POST", "/job/a/12/input/Ok/proceedEmpty", "build a"},
	{"rebuild", "POST", "/job/a/12/rebuild/configSubmit", "configure a"},
	{"replay", "POST", "/job/a/12/replay/run", "script a"},
	{"stop", "POST", "/job/a/12/stop", "cancel a"},
	{"kill", "POST", "/job/a/12/kill", "cancel a"},
	{"stop by GET", "GET", "/job/a/12/stop", "cancel a"},
	{"cancel what a job has queued", "POST", "/job/a/cancelQueue", "cancel a"},
	{"cancel by number", "POST", "/queue/cancelItem?id=1", "cancel"},
	{"cancel an item", "POST", "/queue/item/1/cancelQueue", "cancel"},
	{"stop an executor", "POST", "/computer/x/executors/0/stop", "cancel"},

	{"queue item", "GET", "/queue/item/12/api/json", "read somewhere"},
	{"queue item, its build", "GET", "/queue/item/12/api/json?tree=executable[number,url]", "read somewhere"},
	{"queue item, builds of its job", "GET", "/queue/item/12/api/json?tree=task[builds[number]]", "read"},
	{"queue item, deep", "GET", "/queue/item/12/api/json?depth=3", "read"},
	{"queue item's job", "GET", "/queue/item/12/task/build", "admin"},
	{"queue", "GET", "/queue/api/json", "read"},

	{"artifact", "GET", "/job/a/12/artifact/out/app.zip", "artifacts a"},
	{"artifacts of the last good build", "GET", "/job/a/lastSuccessfulBuild/artifact/*zip*/archive.zip", "artifacts a"},
	{"workspace", "GET", "/job/a/ws/src/.git/config", "artifacts a"},
	{"workspace of a step", "GET", "/job/a/12/execution/node/7/ws/x", "artifacts a"},
	{"workspace by POST", "POST", "/job/a/ws/x", "admin"},

	{"config", "GET", "/job/a/config.xml", "configure a"},
	{"new config", "POST", "/job/a/config.xml", "configure a"},
	{"delete", "POST", "/job/a/doDelete", "configure a"},
	{"delete by GET", "GET", "/job/a/doDelete", "configure a"},
	{"delete by method", "DELETE", "/job/a", "configure a"},
	{"delete a build", "DELETE", "/job/a/12", "configure a"},
	{"DELETE elsewhere", "DELETE", "/job/a/config.xml", "admin"},
	{"keep a build", "GET", "/job/a/12/toggleLogKeep", "configure a"},
	{"description", "GET", "/job/a/description", "read a"},
	{"new description", "POST", "/job/a/description", "configure a"},
	{"disable", "POST", "/job/a/disable", "configure a"},
	{"create in a folder", "POST", "/job/a/createItem?name=b", "configure a"},
	{"create through a folder's view", "POST", "/job/a/view/x/createItem?name=b", "configure a"},
	{"create at the top", "POST", "/createItem?name=b", "configure"},
	{"create through a view", "POST", "/view/x/createItem?name=b", "configure"},
	{"view", "GET", "/view/x/api/json", "read"},
	{"view of a folder", "GET", "/job/a/view/x/api/json", "read a/**"},
	{"view of a folder, elsewhere", "GET", "/job/a/view/x/api/json?depth=2", "read"},
	{"view's config", "POST", "/view/x/config.xml", "configure"},
	{"unknown page of a view", "GET", "/view/x/other", "admin"},

	{"credentials page", "GET", "/credentials", "credentials"},
	{"credentials page of a folder shows others'", "GET", "/job/a/credentials", "credentials"},
	{"credential of the system", "POST", "/credentials/store/system/domain/_/createCredentials", "credentials"},
	{"credential by manage", "GET", "/manage/credentials/store/system/domain/_/api/json", "credentials"},
	{"credential of a folder", "POST", "/job/a/credentials/store/folder/domain/_/createCredentials", "credentials a"},
	{"delete a credential", "DELETE", "/job/a/credentials/store/folder/domain/_/credential/x/config.xml", "credentials a"},
	{"way out of a store", "GET", "/job/a/credentials/store/folder/context/job/b/build", "admin"},
	{"move a credential", "POST", "/job/a/credentials/store/folder/domain/_/credential/x/doMove", "admin"},
	{"credentials of a user", "GET", "/user/u/credentials/store/user/domain/_/api/json", "admin"},

	{"script console", "POST", "/scriptText", "script"},
	{"script console by manage", "POST", "/manage/script", "script"},
	{"script on an agent", "POST", "/computer/x/scriptText", "script"},
	{"approval", "POST", "/scriptApproval/approveScript", "script"},
	{"CLI", "POST", "/cli", "cli"},
	{"agents' state", "GET", "/computer/api/json", "read"},
	{"an agent's state", "GET", "/manage/computer/x/api/json", "read"},
	{"new agent", "POST", "/computer/doCreateItem", "agents"},
	{"agent off", "POST", "/computer/(built-in)/toggleOffline", "agents"},
	{"agent's settings", "GET", "/computer/x/jenkins-agent.jnlp", "agents"},
	{"agent by WebSocket", "GET", "/wsagents", "agents"},
	{"build of an agent", "GET", "/computer/x/executors/0/currentExecutable/consoleText", "admin"},
	{"dump of an agent", "GET", "/computer/x/heapDump", "admin"},

	{"manage", "GET", "/manage", "admin"},
	{"quiet down", "POST", "/quietDown", "admin"},
	{"exit by GET", "GET", "/exit", "admin"},
	{"plugins", "GET", "/pluginManager/api/json", "admin"},
	{"realm", "GET", "/securityRealm/user/u", "admin"},
	{"unknown", "GET", "/something", "admin"},

	{"Blue Ocean: job", "GET", "/blue/rest/organizations/jenkins/pipelines/a/pipelines/b", "read a/b"},
	{"Blue Ocean: branch", "POST", "/blue/rest/organizations/jenkins/pipelines/a/branches/feature%252Fx/runs", "build a/feature%2Fx"},
	{"Blue Ocean: run", "GET", "/blue/rest/organizations/jenkins/pipelines/a/runs/7", "read a"},
	{"Blue Ocean: stop", "PUT", "/blue/rest/organizations/jenkins/pipelines/a/runs/7/stop", "cancel a"},
	{"Blue Ocean: replay", "POST", "/blue/rest/organizations/jenkins/pipelines/a/runs/7/replay", "script a"},
	{"Blue Ocean: favourites", "PUT", "/blue/rest/organizations/jenkins/pipelines/a/favorite", "admin"},
	{"Blue Ocean: other organization", "GET", "/blue/rest/organizations/jenkinsXpipelines/a", "admin"},
	{"Blue Ocean: users", "GET", "/blue/rest/users", "admin"},
}

func classify(method, target string) policy.Need {
	path, query, _ := strings.Cut(target, "?")
	return policy.Classify(method, path, query)
}

func TestClassify(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := classify(row.method, row.path).String(); got != row.want {
				t.Errorf("Classify(%q, %q) = %q, want %q", row.method, row.path, got, row.want)
			}
		})
	}
}

// Whatever views a path goes through, it asks for the same.
func TestClassifyThroughViews(t *testing.T) {
	starts := []string{"", "", "/manage", "/me/my-views", "/user/u/my-views"}
	ends := []string{"", "/api/json", "/build", "/12/stop", "/12/consoleText", "/config.xml", "/ws/x", "/doDelete", "/12/replay/run", "/unknown", "/createItem"}
	views := rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat("/view/"+rapid.SampledFrom([]string{"all", "x%20y", "job", "view"}).Draw(t, "view"), rapid.IntRange(0, 2).Draw(t, "depth"))
	})
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b%20c", "job", "view", "feature%2Fx", "feature%252Fx", "%C3%A9", "12"}), 1, 4).Draw(t, "names")
		plain, wrapped := "", rapid.SampledFrom(starts).Draw(t, "start")
		for _, name := range names {
			plain += "/job/" + name
			wrapped += views.Draw(t, "views") + rapid.SampledFrom([]string{"/job/", "/item/"}).Draw(t, "keyword") + name
		}
		end := rapid.SampledFrom(ends).Draw(t, "end")
		method := rapid.SampledFrom([]string{"GET", "POST", "DELETE", "HEAD"}).Draw(t, "method")
		want, got := policy.Classify(method, plain+end, ""), policy.Classify(method, wrapped+end, "")
		if got.String() != want.String() {
			t.Fatalf("%s %q needs %q, but %q needs %q", method, wrapped+end, got, plain+end, want)
		}
	})
}

func FuzzClassify(f *testing.F) {
	for _, row := range rows {
		path, query, _ := strings.Cut(row.path, "?")
		f.Add(row.method, path, query)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		need := policy.Classify(method, path, query)
		name := need.Item.String()
		if name == "" {
			return
		}
		// A full name can be written as a scope, which is that item's alone.
		if len(name) > 400 {
			return
		}
		texts := policy.Suggest([]policy.Need{need})
		scopes, err := policy.ParseScopes(texts)
		if err != nil {
			t.Fatalf("%q %q: Suggest gives %q: %v", method, path, texts, err)
		}
		if !scopes.Allows(need) {
			t.Fatalf("%q %q: %q doesn't allow %q", method, path, texts, need)
		}
		other := policy.Need{Permission: need.Permission, Item: policy.ItemNamed(name + "x"), Reach: policy.Itself}
		if scopes.Allows(other) {
			t.Fatalf("%q %q: %q allows %q", method, path, texts, other)
		}
		same := policy.Need{Permission: need.Permission, Item: policy.ItemNamed(name), Reach: need.Reach}
		if same.String() != need.String() || !scopes.Allows(same) {
			t.Fatalf("%q %q: by name %q isn't %q", method, path, same, need)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for _, row := range []struct{ name, method, path, query string }{
		{"build", "POST", "/job/team-a/job/app/buildWithParameters", "VERSION=1"},
		{"branch", "GET", "/job/team-a/job/app/job/feature%252Fx/12/logText/progressiveText", "start=0"},
		{"tree", "GET", "/job/team-a/job/app/api/json", "tree=builds[number,result,timestamp]"},
		{"unknown", "GET", "/pluginManager/api/json", "depth=1"},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				policy.Classify(row.method, row.path, row.query)
			}
		})
	}
}
