package policy_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

// rows are requests, and what policy.Need.String says of them. The path may have a query.
var rows = []struct{ name, method, path, want string }{
	{"root page", "GET", "", "read"},
	{"root page, with its slash", "GET", "/", "read"},
	{"root page by POST, as jenkins-rest ends up there after a deletion", "POST", "/", "read"},
	{"version by HEAD, as jenkins-rest asks", "HEAD", "/", "any scope"},
	{"version by OPTIONS", "OPTIONS", "/", "read"},
	{"DELETE of the root", "DELETE", "/", "admin"},
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
	{"crumb issuer's search", "GET", "/crumbIssuer/api/search/suggest?query=a", "admin"},
	{"crumb issuer's API, below", "GET", "/crumbIssuer/api/json/search", "admin"},
	{"crumb by POST", "POST", "/crumbIssuer/api/json", "admin"},
	{"who am I", "GET", "/whoAmI/api/json", "any scope"},
	{"me", "GET", "/me/api/json", "any scope"},
	{"me, unfolded", "GET", "/me/api/json?depth=2", "admin"},
	{"my settings", "GET", "/me/configure", "admin"},
	{"my tokens", "POST", "/me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken", "admin"},
	{"another user", "GET", "/user/bob/api/json", "read"},
	{"another user, unfolded", "GET", "/user/bob/api/json?tree=property[*]", "admin"},
	{"another user by POST", "POST", "/user/bob/api/json", "admin"},
	{"another user's page", "GET", "/user/bob", "admin"},
	{"another user's settings", "GET", "/user/bob/configure", "admin"},
	{"another user's builds", "GET", "/user/bob/builds", "admin"},
	{"another user, below the API", "GET", "/user/bob/api/json/x", "admin"},
	{"health", "GET", "/health", "any scope"},
	{"programs of agents", "GET", "/jnlpJars/agent.jar", "any scope"},

	{"job", "GET", "/job/a", "read a"},
	{"job by POST, as clients follow redirects", "POST", "/job/a", "read a"},
	{"job by PUT", "PUT", "/job/a", "admin"},
	{"job in folders", "GET", "/job/a/job/b/job/c", "read a/b/c"},
	{"job by item", "GET", "/item/a", "read a"},
	{"job by view", "GET", "/view/x/job/a", "read a"},
	{"job by nested views", "GET", "/view/x/view/y/job/a", "read a"},
	{"job by a folder's view", "GET", "/job/a/view/x/job/b", "read a/b"},
	{"job by my views", "GET", "/me/my-views/view/x/job/a", "read a"},
	{"job by my primary view", "GET", "/me/my-views/job/a", "read a"},
	{"another user's views, which Jenkins shows to administrators", "GET", "/user/u/my-views/view/all/job/a", "admin"},
	{"another user's primary view", "GET", "/user/u/my-views/job/a", "admin"},
	{"another user's view", "GET", "/user/u/my-views/view/all", "admin"},
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
	{"API of a build, one step deep", "GET", "/job/a/12/api/json?depth=1", "read a"},
	{"API of a build, two steps deep", "GET", "/job/a/12/api/json?depth=2", "read"},
	{"API of a build, one step and then more", "GET", "/job/a/12/api/json?depth=1&depth=2", "read"},
	{"API of a build, one step in other words", "GET", "/job/a/12/api/json?depth=01", "read"},
	{"test report, one step deep", "GET", "/job/a/12/testReport/api/json?depth=1", "read a"},
	{"test report, two steps deep", "GET", "/job/a/12/testReport/api/json?depth=2", "read"},
	{"build by POST, as jenkins-rest ends up there after a stop", "POST", "/job/a/12", "read a"},
	{"API of a build, builds elsewhere", "GET", "/job/a/12/api/json?tree=actions[triggeredBuilds[url]]", "read"},
	{"last build", "GET", "/job/a/lastBuild/api/json", "read a"},
	{"console", "GET", "/job/a/12/consoleText", "read a"},
	{"console in pieces", "GET", "/job/a/12/logText/progressiveText?start=0", "read a"},
	{"console in pieces, by POST", "POST", "/job/a/12/logText/progressiveText", "read a"},
	{"number that Java takes", "GET", "/job/a/+7/api/json", "admin"},
	{"changes", "GET", "/job/a/12/changes", "read a"},
	{"test report", "GET", "/job/a/12/testReport/api/json", "read a"},
	{"test's history", "GET", "/job/a/12/testReport/junit/com.example/FooTest/works/history", "read a"},
	{"test's history, without junit", "GET", "/job/a/12/testReport/com.example/FooTest/works/history", "read a"},
	{"history of a package's tests", "GET", "/job/a/12/testReport/com.example/history", "read a"},
	{"history of all tests", "GET", "/job/a/12/testReport/history", "read a"},
	{"on from a test's history", "GET", "/job/a/12/testReport/com.example/FooTest/works/history/testObject", "admin"},
	{"test's history by POST", "POST", "/job/a/12/testReport/history", "admin"},
	{"link of a notification", "GET", "/job/a/12/display/redirect?page=tests", "read a"},
	{"link of a notification to a job", "GET", "/job/a/display/redirect", "read a"},
	{"on from a link of a notification", "GET", "/job/a/12/display/run/parent", "admin"},
	{"difference of a replay", "GET", "/job/a/12/replay/diff", "script a"},
	{"API of a scan", "GET", "/job/a/indexing/api/json", "read a"},
	{"API of a folder's scan", "GET", "/job/a/computation/api/json", "read a"},
	{"API of a scan, its folder", "GET", "/job/a/indexing/api/json?tree=parent[name]", "read"},
	{"steps for an editor", "GET", "/job/a/pipeline-syntax/gdsl", "read a"},
	{"steps for an editor, of the controller", "GET", "/pipeline-syntax/gdsl", "read"},
	{"generator of snippets", "POST", "/pipeline-syntax/generateSnippet", "admin"},
	{"steps of a run", "GET", "/job/a/12/api/json?tree=actions[nodes[id]]", "read a"},
	{"steps of a run, and a job elsewhere", "GET", "/job/a/12/api/json?tree=actions[nodes[id,owner[name]]]", "read"},
	{"stages", "GET", "/job/a/12/wfapi/describe", "read a"},
	{"log of a step", "GET", "/job/a/12/execution/node/7/wfapi/log", "read a"},
	{"unknown page of a build", "GET", "/job/a/12/injectedEnvVars", "admin"},
	{"unknown page of a job", "GET", "/job/a/nextbuildnumber", "admin"},
	{"maven module", "GET", "/job/a/org.example$core/api/json", "admin"},
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
	{"queue item, its job", "GET", "/queue/item/12/api/json?tree=task%5Bname%2Curl%5D,why", "read somewhere"},
	{"queue item, all fields of its job", "GET", "/queue/item/12/api/json?tree=task[*]", "read"},
	{"queue item, description of its job", "GET", "/queue/item/12/api/json?tree=task[name,description]", "read"},
	{"queue item, result of its build", "GET", "/queue/item/12/api/json?tree=executable[number,result]", "read"},
	{"queue item, parameters of its build", "GET", "/queue/item/12/api/json?tree=executable[number,actions[parameters[*]]]", "read"},
	{"queue item, half a tree", "GET", "/queue/item/12/api/json?tree=executable[number", "read"},
	{"queue item, a range of its build", "GET", "/queue/item/12/api/json?tree=executable[number{0,1}]", "read"},
	{"queue item, deep", "GET", "/queue/item/12/api/json?depth=3", "read"},
	{"queue item's job", "GET", "/queue/item/12/task/build", "admin"},
	{"queue", "GET", "/queue/api/json", "read"},

	{"artifact", "GET", "/job/a/12/artifact/out/app.zip", "artifacts a"},
	{"artifacts of the last good build", "GET", "/job/a/lastSuccessfulBuild/artifact/*zip*/archive.zip", "artifacts a"},
	{"workspace", "GET", "/job/a/ws/src/.git/config", "artifacts a"},
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
	{"move a credential to wherever the body says", "POST", "/job/a/credentials/store/folder/domain/_/credential/x/doMove", "credentials"},
	{"form to move a credential", "GET", "/job/a/credentials/store/folder/domain/_/credential/x/moveDialog", "credentials a"},
	{"form of a credential", "GET", "/job/a/credentials/store/folder/domain/_/credential/x/updateDialog", "credentials a"},
	{"new values of a credential", "POST", "/job/a/credentials/store/folder/domain/_/credential/x/updateSubmit", "credentials a"},
	{"form of a domain", "GET", "/job/a/credentials/store/folder/domain/_/configureDialog", "credentials a"},
	{"form of a new domain", "GET", "/job/a/credentials/store/folder/newDomainDialog", "credentials a"},
	{"form of a credential that was", "GET", "/job/a/credentials/store/folder/domain/_/credential/x/update", "admin"},
	{"credentials of a store, in full", "GET", "/job/a/credentials/store/folder/api/json?depth=2", "credentials a"},
	{"credentials of a store, with the jobs that use them", "GET", "/job/a/credentials/store/folder/api/json?depth=3", "credentials"},
	{"credentials of a domain, in full", "GET", "/job/a/credentials/store/folder/domain/_/api/json?depth=1", "credentials a"},
	{"credentials of a domain, with the jobs that use them", "GET", "/job/a/credentials/store/folder/domain/_/api/json?depth=2", "credentials"},
	{"credential, with the jobs that use it", "GET", "/job/a/credentials/store/folder/domain/_/credential/x/api/json?depth=1", "credentials"},
	{"credentials by tree", "GET", "/job/a/credentials/store/folder/domain/_/api/json?tree=credentials[id,typeName]", "credentials a"},
	{"credentials by tree, with the jobs that use them", "GET", "/job/a/credentials/store/folder/domain/_/api/json?tree=credentials[id,fingerprint[usage[name]]]", "credentials"},
	{"credentials by tree, all", "GET", "/job/a/credentials/store/folder/domain/_/api/json?tree=credentials[*[*]]", "credentials"},
	{"credentials, escaped key", "GET", "/job/a/credentials/store/folder/domain/_/api/json?%64epth=9", "credentials"},
	{"credentials of a user", "GET", "/user/u/credentials/store/user/domain/_/api/json", "admin"},

	{"script console", "POST", "/scriptText", "script"},
	{"script console by manage", "POST", "/manage/script", "script"},
	{"script on an agent", "POST", "/computer/x/scriptText", "script"},
	{"approval", "POST", "/scriptApproval/approveScript", "script"},
	{"CLI", "POST", "/cli", "cli"},
	{"agents' state", "GET", "/computer/api/json", "read"},
	{"an agent's state", "GET", "/manage/computer/x/api/json", "read"},
	{"new agent", "POST", "/computer/doCreateItem", "agents"},
	{"settings of all agents", "GET", "/computer/configure", "admin"},
	{"settings of all agents, by manage", "GET", "/manage/computer/configure", "admin"},
	{"settings of all agents, escaped", "GET", "/computer/%63onfigure", "admin"},
	{"new settings of all agents", "POST", "/computer/configSubmit", "admin"},
	{"check of an agent's name", "GET", "/computer/checkName?value=x", "agents"},
	{"check of an agent's name, escaped", "GET", "/computer/check%4Eame?value=x", "admin"},
	{"form of a new agent", "GET", "/computer/new", "agents"},
	{"launch all agents", "POST", "/computer/_launchAll", "agents"},
	{"monitors of agents", "GET", "/computer/monitors/api/json", "admin"},
	{"settings of the controller's node", "POST", "/computer/(built-in)/configSubmit", "admin"},
	{"settings of the controller's node, escaped", "GET", "/computer/%28built-in%29/config.xml", "admin"},
	{"settings of the controller's node by its old name", "POST", "/computer/(master)/configSubmit", "admin"},
	{"settings of an agent", "POST", "/computer/x/configSubmit", "agents"},
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
	{"user's API by the realm", "GET", "/securityRealm/user/u/api/json", "admin"},
	{"user's API by manage", "GET", "/manage/user/u/api/json", "read"},
	{"user's settings by manage", "GET", "/manage/user/u/configure", "admin"},
	{"my API by manage", "GET", "/manage/me/api/json", "admin"},
	{"programs of assistants", "POST", "/mcp-server/mcp", "admin"},
	{"up or down, for programs of assistants", "GET", "/mcp-health", "admin"}, // open: see package endpoint

	{"event of GitLab for a job", "POST", "/project/f/a", "webhook f/a"},
	{"event of GitLab for a job with a space", "POST", "/project/my%20job", "webhook my job"},
	{"event of GitLab, slash escaped", "POST", "/project/f%2Fa", "webhook"},
	{"event of GitLab, slash escaped twice", "POST", "/project/f%252Fa", "webhook"},
	{"event of GitLab for a star", "POST", "/project/%2A", "webhook"},
	{"event of GitLab for nothing", "POST", "/project", "admin"},
	{"state of a commit for GitLab", "GET", "/project/a/builds/0a/status.json", "admin"},
	{"event of GitLab by branch source", "POST", "/gitlab-webhook/post", "webhook"},
	{"event of GitHub", "POST", "/github-webhook", "webhook"},
	{"event of GitHub by GET", "GET", "/github-webhook", "admin"},
	{"event of a pull request", "POST", "/ghprbhook", "webhook"},
	{"event of Bitbucket", "POST", "/bitbucket-hook", "webhook"},
	{"event of Bitbucket by branch source", "POST", "/bitbucket-scmsource-hook/notify", "webhook"},
	{"event of Gitea", "POST", "/gitea-webhook/post", "webhook"},
	{"quality gate", "POST", "/sonarqube-webhook", "webhook"},
	{"scan of branches", "GET", "/multibranch-webhook-trigger/invoke?token=x", "webhook"},
	{"event of Mercurial", "GET", "/mercurial/notifyCommit?url=x", "webhook"},
	{"event of Subversion", "POST", "/subversion/6a2b/notifyCommit", "webhook"},
	{"event of Subversion, deeper", "POST", "/subversion/6a2b/c/notifyCommit", "admin"},
	{"unknown", "GET", "/something", "admin"},

	// Pages under which Stapler goes on to another object: what is allowed of them is allowed of them alone.
	{"on from a job: its parent", "GET", "/job/a/parent/job/b/config.xml", "admin"},
	{"on from a job: its build, by getBuild", "POST", "/job/a/build/12/doDelete", "admin"},
	{"on from a job: its build, by number", "GET", "/job/a/buildByNumber/12/consoleText", "admin"},
	{"on from a job: nearest build", "GET", "/job/a/nearestBuild/12/api/json", "admin"},
	{"on from a job: permalink", "GET", "/job/a/permalinks/lastBuild", "admin"},
	{"on from a job: its list of all jobs", "GET", "/job/a/allJobs/0/api/json", "admin"},
	{"on from a job: its discarder", "GET", "/job/a/buildDiscarder/descriptor", "admin"},
	{"on from a job: a property", "GET", "/job/a/property/x/owner/parent", "admin"},
	{"on from a job: an action", "GET", "/job/a/action/0/owner", "admin"},
	{"on from a job: promotions", "POST", "/job/a/promotion/process/x/build", "admin"},
	{"on from a job: form checks", "GET", "/job/a/descriptorByName/hudson.tasks.BuildTrigger/autoCompleteChildProjects?value=b", "admin"},
	{"on from a job: search", "GET", "/job/a/search/suggest?query=b", "admin"},
	{"on from a job: queue item", "GET", "/job/a/queueItem/task/parent", "admin"},
	{"on from a job: timeline", "GET", "/job/a/timeline/data", "admin"},
	{"on from a job: its API", "GET", "/job/a/api/search/suggest?query=b", "admin"},
	{"on from a job: a page's tail", "GET", "/job/a/changes/parent/job/b", "admin"},
	{"on from a job: its workspace is files alone", "GET", "/job/a/ws/job/b/12/consoleText", "artifacts a"},
	{"on from a job: badge", "GET", "/job/a/badge/icon/x", "admin"},
	{"on from a job: stages", "GET", "/job/a/wfapi/job/x", "admin"},
	{"on from a folder: indexing", "GET", "/job/a/indexing/parent/job/b", "admin"},
	{"on from a folder: all items", "GET", "/job/a/items/0/config.xml", "admin"},
	{"on from a folder: people", "GET", "/job/a/people/api/json", "admin"},
	{"on from a folder: views by name", "GET", "/job/a/views/0/owner/parent", "admin"},
	{"on from a folder: primary view", "GET", "/job/a/primaryView/owner", "admin"},
	{"on from a view: its owner", "GET", "/view/x/owner/job/b", "admin"},
	{"on from a view: its items", "GET", "/view/x/items/0/config.xml", "admin"},
	{"on from a view: builds", "GET", "/job/a/view/x/builds/parent", "admin"},
	{"on from a view: timeline", "GET", "/view/x/timeline/data", "admin"},
	{"view's settings are the controller's", "GET", "/view/x/configure", "configure"},
	{"view's job's settings", "GET", "/view/x/job/a/configure", "configure a"},
	{"on from a build: its job", "GET", "/job/a/12/parent/parent/job/b", "admin"},
	{"on from a build: a job", "GET", "/job/a/12/job/b", "admin"},
	{"on from a build: its project", "POST", "/job/a/12/project/build", "admin"},
	{"on from a build: the one before", "GET", "/job/a/12/previousBuild/consoleText", "admin"},
	{"on from a build: executor", "GET", "/job/a/12/executor/owner", "admin"},
	{"on from a build: agent", "GET", "/job/a/12/builtOn/x", "admin"},
	{"on from a build: who made it", "GET", "/job/a/12/causes/0/upstreamRun/consoleText", "admin"},
	{"on from a build: cause", "GET", "/job/a/12/cause/x", "admin"},
	{"on from a build: culprits", "GET", "/job/a/12/culprits/0/configure", "admin"},
	{"on from a build: change sets", "GET", "/job/a/12/changeSet/0/author", "admin"},
	{"on from a build: changes", "GET", "/job/a/12/changes/0/author", "admin"},
	{"on from a build: an action", "GET", "/job/a/12/action/0/run/parent", "admin"},
	{"on from a build: test report", "GET", "/job/a/12/testReport/run/parent/parent/job/b", "admin"},
	{"on from a build: a test", "GET", "/job/a/12/testReport/junit/(root)/T/t/submitDescription", "admin"},
	{"on from a build: its API", "GET", "/job/a/12/api/json/search", "admin"},
	{"on from a build: artifacts are files alone", "GET", "/job/a/12/artifact/job/b/config.xml", "artifacts a"},
	{"on from a build: artifact manager", "GET", "/job/a/12/artifactManager/root", "admin"},
	{"on from a build: artifact by DELETE", "DELETE", "/job/a/12/artifact/x", "admin"},
	{"on from a build: log", "GET", "/job/a/12/logText/x", "admin"},
	{"on from a build: question", "GET", "/job/a/12/input/Ok/run/parent", "admin"},
	{"on from a build: question's action", "POST", "/job/a/12/input/Ok/proceed/x", "admin"},
	{"on from a build: script of a replay", "POST", "/job/a/12/replay/checkScriptCompile", "admin"},
	{"on from a build: owner of a replay", "POST", "/job/a/12/replay/owner/parent/build", "admin"},
	{"on from a build: execution", "GET", "/job/a/12/execution/owner/executable", "admin"},
	{"on from a build: step's execution", "GET", "/job/a/12/execution/node/7/execution/node/8/log", "admin"},
	{"on from a build: step by no number", "GET", "/job/a/12/execution/node/x/ws/f", "admin"},
	{"on from a build: stages", "GET", "/job/a/12/wfapi/run/parent", "admin"},
	{"on from a build: rebuild", "GET", "/job/a/12/rebuild/build/parent", "admin"},
	{"on from a queue item: its job", "GET", "/queue/item/7/task/config.xml", "admin"},
	{"on from a queue item: its build", "GET", "/queue/item/7/executable/consoleText", "admin"},
	{"on from the queue: by index", "GET", "/queue/items/0/task", "admin"},
	{"on from an agent: executor's build", "POST", "/computer/x/executors/0/currentExecutable/stop", "admin"},
	{"on from an agent: node", "GET", "/computer/x/node/config.xml", "admin"},
	{"on from me: my settings by my views", "POST", "/me/my-views/user/configSubmit", "admin"},
	{"on from me: somebody's views, without a view", "GET", "/user/bob/my-views/owner", "admin"},
	{"on from me: API's tail", "GET", "/me/api/json/x", "admin"},
	{"bound objects", "POST", "/$stapler/bound/x/y", "admin"},
	{"API and back up", "GET", "/job/a/api/../../b/config.xml", "admin"},
}

func classify(method, target string) policy.Need {
	path, query, _ := strings.Cut(target, "?")
	return policy.Classify(method, path, query)
}

// allRows are those of the core, and of plugins.
var allRows = slices.Concat(rows, pageRows)

func TestClassify(t *testing.T) {
	for _, row := range allRows {
		t.Run(row.name, func(t *testing.T) {
			if got := classify(row.method, row.path).String(); got != row.want {
				t.Errorf("Classify(%q, %q) = %q, want %q", row.method, row.path, got, row.want)
			}
		})
	}
}

// Whatever views a path goes through, it asks for the same.
func TestClassifyThroughViews(t *testing.T) {
	starts := []string{"", "", "/manage", "/me/my-views"}
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
	for _, row := range append(rows[:len(rows):len(rows)], pageRows...) {
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
