package policy_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

const blue = "/blue/rest/organizations/jenkins"

// pageRows are requests for pages of plugins, and what policy.Need.String says of them. The path may have a query.
var pageRows = []struct{ name, method, path, want string }{
	{"matrix: configuration", "GET", "/job/f/job/a/os=linux,jdk=21", "read f/a"},
	{"matrix: configuration, escaped as by a client", "GET", "/job/a/os%3Dlinux%2Cjdk%3D21/api/json", "read a"},
	{"matrix: value with a slash", "GET", "/job/a/label=a%2Fb/lastBuild/api/json", "read a"},
	{"matrix: empty value", "GET", "/job/a/os=/api/json", "read a"},
	{"matrix: configuration's build", "GET", "/job/a/os=linux/12/consoleText", "read a"},
	{"matrix: configuration's build, stopped", "POST", "/job/a/os=linux/12/stop", "cancel a"},
	{"matrix: configuration's workspace", "GET", "/job/a/os=linux/ws/src/x.c", "artifacts a"},
	{"matrix: build's cell", "GET", "/job/a/12/os=linux/consoleText", "read a"},
	{"matrix: build's cell, its tests", "GET", "/job/a/12/os=linux/testReport/api/json", "read a"},
	{"matrix: build's cell, stopped", "POST", "/job/a/12/os=linux/stop", "cancel a"},
	{"matrix: build's cell, its artifacts", "GET", "/job/a/lastBuild/os=linux/artifact/x.zip", "artifacts a"},
	{"matrix: through a view", "GET", "/view/x/job/a/os=linux/api/json", "read a"},
	{"matrix: configurations of a project", "GET", "/job/a/api/json?tree=activeConfigurations[name,color,lastBuild[number]]", "read a"},
	{"matrix: cells of a build", "GET", "/job/a/12/api/json?tree=runs[number,result]", "read a"},
	{"matrix: cells of builds of what else", "GET", "/job/a/api/json?tree=runs[number]", "read"},
	{"matrix: configuration, elsewhere", "GET", "/job/a/os=linux/api/json?tree=upstreamProjects[name]", "read"},
	{"matrix: configuration isn't built alone", "POST", "/job/a/os=linux/build", "admin"},
	{"matrix: configuration's settings", "GET", "/job/a/os=linux/config.xml", "admin"},
	{"matrix: configuration, deleted", "DELETE", "/job/a/os=linux", "admin"},
	{"matrix: configuration's build, deleted", "POST", "/job/a/os=linux/12/doDelete", "admin"},
	{"matrix: cell, deleted", "DELETE", "/job/a/12/os=linux", "admin"},
	{"matrix: cell within a configuration", "GET", "/job/a/os=linux/os=linux/api/json", "admin"},
	{"matrix: cell of a configuration's build", "GET", "/job/a/os=linux/12/os=linux/consoleText", "admin"},
	{"matrix: on from a configuration: its project", "GET", "/job/a/os=linux/parent/parent/job/b", "admin"},
	{"matrix: on from a cell: its project's build", "GET", "/job/a/12/os=linux/parentBuild/parent", "admin"},
	{"matrix: credentials from a configuration", "GET", "/job/a/os=linux/credentials/store/folder", "admin"},
	{"matrix: axis without a value", "GET", "/job/a/os=linux,jdk/api/json", "admin"},
	{"matrix: value without an axis", "GET", "/job/a/=linux/api/json", "admin"},
	{"matrix: no axes at all", "GET", "/job/a/default/api/json", "admin"},
	{"matrix: of the root", "GET", "/os=linux/api/json", "admin"},
	{"matrix: of a view", "GET", "/view/x/os=linux/api/json", "admin"},
	{"matrix: escaped star", "GET", "/job/a/os=%2A/api/json", "admin"},

	{"folder: scan", "GET", "/job/f/computation/consoleText", "read f"},
	{"folder: scan's events", "GET", "/job/f/indexing/eventsText/progressiveText", "read f"},
	{"folder: scan, stopped", "POST", "/job/f/computation/stop", "cancel f"},
	{"folder: indexing, stopped", "POST", "/job/f/indexing/stop", "cancel f"},
	{"folder: console of a scan by POST", "POST", "/job/f/indexing/consoleText", "admin"},
	{"folder: on from a scan: its folder", "GET", "/job/f/computation/parent/job/b", "admin"},

	{"Pipeline: pause", "POST", "/job/a/12/pause/toggle", "cancel a"},
	{"Pipeline: on from a pause", "POST", "/job/a/12/pause/toggle/x", "admin"},
	{"Pipeline: graph", "GET", "/job/a/12/flowGraphTable", "read a"},
	{"Pipeline: on from a graph", "GET", "/job/a/12/flowGraphTable/run/parent", "admin"},
	{"Pipeline: thread dump", "GET", "/job/a/12/threadDump", "admin"},
	{"Pipeline: thread dump's program", "GET", "/job/a/12/threadDump/program.xml", "admin"},
	{"Pipeline: workspaces", "GET", "/job/a/12/ws", "artifacts a"},
	{"Pipeline: on from workspaces", "GET", "/job/a/12/ws/owner/executable/parent", "admin"},
	{"Pipeline: workspace of a step", "GET", "/job/a/12/execution/node/7/ws", "artifacts a"},
	{"Pipeline: file in a step's workspace", "GET", "/job/a/12/execution/node/7/ws/pom.xml", "artifacts a"},
	{"Pipeline: file further down", "GET", "/job/a/12/execution/node/7/ws/my-module/src/parent/x", "artifacts a"},
	{"Pipeline: all of a step's workspace", "GET", "/job/a/12/execution/node/7/ws/*zip*/ws.zip", "artifacts a"},
	{"Pipeline: directory that a getter could hide", "GET", "/job/a/12/execution/node/7/ws/src/x.c", "admin"},
	{"Pipeline: on from a workspace: its step", "GET", "/job/a/12/execution/node/7/ws/parent/execution/owner/executable/parent", "admin"},
	{"Pipeline: on from a workspace, escaped", "GET", "/job/a/12/execution/node/7/ws/%70arent/execution", "admin"},
	{"Pipeline: file in a step's workspace by POST", "POST", "/job/a/12/execution/node/7/ws/pom.xml", "admin"},
	{"Pipeline: log of a step", "GET", "/job/a/12/execution/node/7/log", "read a"},
	{"Pipeline: log of a step in pieces", "GET", "/job/a/12/execution/node/7/log/logText/progressiveText?start=0", "read a"},
	{"Pipeline: on from a step", "GET", "/job/a/12/execution/node/7/enclosingBlocks/0", "admin"},
	{"Pipeline: question", "GET", "/job/a/12/input/Ok", "read a"},
	{"Pipeline: question by POST", "POST", "/job/a/12/input/Ok", "admin"},
	{"Pipeline: abort", "POST", "/job/a/12/input/Ok/abort", "build a"},
	{"Pipeline: answer by stage view", "POST", "/job/a/12/wfapi/inputSubmit?inputId=Ok", "build a"},
	{"Pipeline: pending questions", "GET", "/job/a/12/wfapi/pendingInputActions", "read a"},
	{"Pipeline: pending questions by POST", "POST", "/job/a/12/wfapi/pendingInputActions", "admin"},
	{"Pipeline: stages of runs", "GET", "/job/a/wfapi/runs?fullStages=true", "read a"},
	{"Pipeline: restart from a stage", "POST", "/job/a/12/restart/restartPipeline?stageName=x", "configure a"},
	{"Pipeline: lint", "POST", "/pipeline-model-converter/validate", "script"},
	{"Pipeline: conversion", "POST", "/pipeline-model-converter/toJson", "admin"},
	{"Pipeline: graph view", "GET", "/job/a/12/stages/tree", "read a"},
	{"Pipeline: graph view's log", "GET", "/job/a/12/stages/log?nodeId=7", "read a"},
	{"Pipeline: graph view, stopped", "POST", "/job/a/12/stages/cancel", "cancel a"},
	{"Pipeline: graph view, again", "POST", "/job/a/12/stages/rerun", "configure a"},
	{"Pipeline: graph view by POST", "POST", "/job/a/12/stages/tree", "admin"},
	{"Pipeline: on from the graph view", "GET", "/job/a/12/stages/run/parent", "admin"},
	{"Pipeline: graph view of a job", "GET", "/job/a/multi-pipeline-graph/runs", "read a"},

	{"junit: report", "GET", "/job/a/lastCompletedBuild/testReport/api/json", "read a"},
	{"junit: report, suites", "GET", "/job/a/12/testReport/api/xml?tree=suites[cases[name,status]]", "read a"},
	{"junit: report, reports of cells", "GET", "/job/a/12/testReport/api/json?tree=childReports[child[url]]", "read"},
	{"junit: report's page by POST", "POST", "/job/a/12/testReport", "admin"},
	{"junit: report by DELETE", "DELETE", "/job/a/12/testReport/api/json", "admin"},
	{"junit: report's search", "GET", "/job/a/12/testReport/api/search", "admin"},
	{"junit: test", "GET", "/job/a/12/testReport/junit/com.example/FooTest/works/api/json", "read a"},
	{"junit: test, without the ID of the report", "GET", "/job/a/12/testReport/com.example/FooTest/works", "read a"},
	{"junit: class of no package", "GET", "/job/a/12/testReport/junit/(root)/FooTest/api/json", "read a"},
	{"junit: class in Python", "GET", "/job/a/12/testReport/junit/pkg.mod/(empty)/test_it", "read a"},
	{"junit: package", "GET", "/job/a/12/testReport/junit/com.example/api/json", "read a"},
	{"junit: test, elsewhere", "GET", "/job/a/12/testReport/com.example/FooTest/works/api/json?depth=1", "read"},
	{"junit: test by POST", "POST", "/job/a/12/testReport/com.example/FooTest/works", "admin"},
	{"junit: API of a test by POST", "POST", "/job/a/12/testReport/com.example/FooTest/works/api/json", "read"},
	{"junit: package without a dot", "GET", "/job/a/12/testReport/junit/foo", "read a"},
	{"junit: test of a package without a dot", "GET", "/job/a/12/testReport/junit/foo/Bar/works", "read a"},
	{"junit: history of a test of a package without a dot", "GET", "/job/a/12/testReport/junit/foo/Bar/works/history", "read a"},
	{"junit: API of that history", "GET", "/job/a/12/testReport/junit/foo/Bar/works/history/api/json", "read a"},
	{"junit: API of a package without a dot", "GET", "/job/a/12/testReport/foo/api/json", "read a"},
	{"junit: module and function in Python", "GET", "/job/a/12/testReport/junit/tests/test_login/test_it", "read a"},
	{"junit: action of a plugin", "GET", "/job/a/12/testReport/junit/claim/claim", "admin"},
	{"junit: action of a plugin on a package", "GET", "/job/a/12/testReport/junit/foo/claim/claim", "admin"},
	{"junit: package that could be a getter, escaped", "GET", "/job/a/12/testReport/junit/%72un/FooTest/works", "admin"},
	{"junit: getter alone", "GET", "/job/a/12/testReport/previousResult", "admin"},
	{"junit: history's getter", "GET", "/job/a/12/testReport/history/testObject", "admin"},
	{"junit: on from a package without a dot", "GET", "/job/a/12/testReport/junit/foo/Bar/run/parent", "admin"},
	{"junit: package that could be a getter", "GET", "/job/a/12/testReport/junit/run/FooTest/works", "admin"},
	{"junit: class that could be a getter", "GET", "/job/a/12/testReport/junit/com.example/run/parent", "admin"},
	{"junit: on from a test", "GET", "/job/a/12/testReport/junit/com.example/FooTest/works/run", "admin"},
	{"junit: on from a getter", "GET", "/job/a/12/testReport/com.example/FooTest/run/parent", "admin"},
	{"junit: description of a class", "GET", "/job/a/12/testReport/junit/com.example/FooTest/submitDescription", "admin"},
	{"junit: description of a report", "POST", "/job/a/12/testReport/submitDescription", "admin"},
	{"junit: trend", "GET", "/job/a/test/trend", "read a"},
	{"junit: on from the trend", "GET", "/job/a/test/job/parent", "admin"},
	{"junit: tests of other jobs", "GET", "/job/a/12/aggregatedTestReport/api/json", "admin"},
	{"jacoco: report", "GET", "/job/a/12/jacoco/api/json", "read a"},
	{"jacoco: report, before", "GET", "/job/a/12/jacoco/api/json?tree=previousResult[lineCoverage]", "read"},
	{"jacoco: data", "GET", "/job/a/12/jacoco/jacoco.exec", "artifacts a"},
	{"jacoco: on from a report", "GET", "/job/a/12/jacoco/build/parent", "admin"},
	{"coverage: report", "GET", "/job/a/12/coverage/api/json", "read a"},
	{"coverage: report of lines", "GET", "/job/a/12/coverage/modified/api/json", "read a"},
	{"coverage: report by another name", "GET", "/job/a/12/my-coverage/api/json", "admin"},
	{"coverage: on from a report", "GET", "/job/a/12/coverage/owner/api/json", "admin"},
	{"cobertura: report", "GET", "/job/a/12/cobertura/api/json", "read a"},
	{"cobertura: on from a report", "GET", "/job/a/12/cobertura/owner/parent", "admin"},
	{"cobertura: report's page by POST", "POST", "/job/a/12/cobertura", "admin"},
	{"robot: report", "GET", "/job/a/12/robot/api/json", "read a"},
	{"robot: on from a report", "GET", "/job/a/12/robot/owner/api/json", "admin"},
	{"cucumber-reports: page", "GET", "/job/a/12/cucumber-html-reports/overview-features.html", "artifacts a"},
	{"cucumber-reports: directory", "GET", "/job/a/12/cucumber-html-reports/js/x.js", "admin"},
	{"docker: container", "GET", "/job/a/12/docker", "admin"},
	{"warnings-ng: tools", "GET", "/job/a/12/warnings-ng/api/json", "read a"},
	{"warnings-ng: a tool", "GET", "/job/a/12/checkstyle/all/api/json", "read a"},
	{"warnings-ng: a tool, build of reference", "GET", "/job/a/12/checkstyle/api/json?tree=referenceBuild[builtOn]", "read"},
	{"warnings-ng: page of details", "GET", "/job/a/12/checkstyle/new", "admin"},
	{"warnings-ng: on from a tool", "GET", "/job/a/12/checkstyle/owner/api/json", "admin"},
	{"warnings-ng: unknown tool", "GET", "/job/a/12/parent/all/api/json", "admin"},
	{"htmlpublisher: report", "GET", "/job/a/HTML_20Report", "artifacts a"},
	{"htmlpublisher: file", "GET", "/job/a/12/HTML_20Report/index.html", "artifacts a"},
	{"htmlpublisher: all files", "GET", "/job/a/HTML_20Report/*zip*/HTML_20Report.zip", "artifacts a"},
	{"htmlpublisher: on from a report: its build", "GET", "/job/a/12/HTML_20Report/owner/parent/parent/job/b", "admin"},
	{"htmlpublisher: report of another name", "GET", "/job/a/Docs/index.html", "admin"},
	{"htmlpublisher: file by POST", "POST", "/job/a/HTML_20Report/index.html", "admin"},
	{"timestamper", "GET", "/job/a/12/timestamps?elapsed=HH:mm", "read a"},
	{"timestamper by POST", "POST", "/job/a/12/timestamps", "admin"},
	{"badge", "GET", "/job/a/badge/icon.svg", "read a"},
	{"badge of a build", "GET", "/job/a/12/badge/icon", "read a"},
	{"badge of whatever job", "GET", "/buildStatus/icon?job=a", "read"},
	{"badge by POST", "POST", "/job/a/badge/icon", "admin"},
	{"git: tag", "GET", "/job/a/12/tagBuild", "read a"},
	{"git: new tag", "POST", "/job/a/12/tagBuild/submit", "admin"},
	{"git: notification", "POST", "/git/notifyCommit?url=x", "webhook"},
	{"git: other", "GET", "/git", "admin"},
	{"rebuild: form", "GET", "/job/a/12/rebuild/parameterized", "configure a"},
	{"promotions", "GET", "/job/a/promotion/api/json", "read a"},
	{"promotions, deep", "GET", "/job/a/promotion/api/json?depth=1", "read"},
	{"promotion", "POST", "/job/a/12/promotion/forcePromotion?name=x", "admin"},
	{"promotion's build", "POST", "/job/a/promotion/process/x/build", "admin"},
	{"new promotion", "POST", "/job/a/promotion/createProcess?name=x", "admin"},

	{"trigger by the job's token", "GET", "/buildByToken/build?job=a&token=x", "build"},
	{"trigger by webhook", "POST", "/generic-webhook-trigger/invoke", "webhook"},
	{"trigger by webhook, with a tail", "POST", "/generic-webhook-trigger/invoke/x", "admin"},
	{"lockable resources", "GET", "/lockable-resources/api/json", "read"},
	{"lockable resources, taken", "POST", "/lockable-resources/reserve?resource=x", "admin"},
	{"lockable resources, new", "POST", "/lockable-resources/createResource", "admin"},
	{"metrics of Prometheus", "GET", "/prometheus", "read"},
	{"metrics of Prometheus, other path", "GET", "/prometheus/x", "admin"},
	{"metrics by key", "GET", "/metrics/KEY/healthcheck", "read"},
	{"metrics by key in the query", "GET", "/metrics/ping?key=KEY", "read"},
	{"metrics of the user", "GET", "/metrics/currentUser/metrics", "read"},
	{"metrics: up or not", "GET", "/metrics/healthcheckOk", "read"},
	{"metrics: thread dump", "GET", "/metrics/KEY/threads", "admin"},
	{"metrics: thread dump of the user", "POST", "/metrics/currentUser/threads", "admin"},
	{"metrics: thread dump by key in the query", "POST", "/metrics/threads?key=KEY", "admin"},
	{"metrics by POST", "POST", "/metrics/KEY/metrics", "admin"},
	{"swarm: new agent", "POST", "/plugin/swarm/createSlave?name=x", "agents"},
	{"load of agents", "GET", "/overallLoad/api/json", "read"},
	{"load of agents, its page", "GET", "/overallLoad", "admin"},
	{"plugin's files", "GET", "/plugin/swarm/x.jar", "admin"},
	{"programs of agents, with a tail", "GET", "/jnlpJars/agent.jar/URL", "admin"},

	// Known, and left to administrators.
	{"monitoring: heap", "GET", "/monitoring?part=heaphisto", "admin"},
	{"monitoring: collection", "GET", "/monitoring?action=gc", "admin"},
	{"monitoring of an agent", "GET", "/computer/x/monitoring", "admin"},
	{"support bundle", "POST", "/support/downloadBundles", "admin"},
	{"support bundle of a job", "GET", "/job/a/support", "admin"},
	{"config files", "GET", "/configfiles/show?id=x", "admin"},
	{"config files of a folder", "GET", "/job/f/configfiles/show?id=x", "admin"},
	{"roles", "POST", "/role-strategy/strategy/addRole", "admin"},
	{"settings as code", "POST", "/configuration-as-code/apply", "admin"},
	{"disk usage", "GET", "/disk-usage", "admin"},
	{"cloud statistics", "GET", "/cloud-stats", "admin"},
	{"log of a pod", "GET", "/computer/x/containerLog?containerId=y", "admin"},
	{"clouds", "GET", "/manage/cloud/kubernetes", "admin"},
	{"Artifactory: release", "POST", "/job/a/release/submit", "admin"},
	{"Artifactory: promotion", "POST", "/job/a/12/promote/submit", "admin"},
	{"injected variables", "GET", "/job/a/12/injectedEnvVars/api/json", "admin"},
	{"queue's order", "POST", "/simpleMoveUnsafe/move", "admin"},
	{"history of settings", "GET", "/job/a/jobConfigHistory/configOutput", "admin"},
	{"form check of a folder", "GET", "/job/f/descriptorByName/X/checkName", "admin"},
	{"portlet of a dashboard", "GET", "/view/x/portlet/y", "admin"},

	{"Blue Ocean: jobs at the top", "GET", blue + "/pipelines", "read"},
	{"Blue Ocean: job", "GET", blue + "/pipelines/a/pipelines/b", "read a/b"},
	{"Blue Ocean: jobs of a folder", "GET", blue + "/pipelines/a/pipelines", "read a/**"},
	{"Blue Ocean: branches", "GET", blue + "/pipelines/a/branches", "read a/**"},
	{"Blue Ocean: branch of a nested job", "GET", blue + "/pipelines/a/pipelines/b/branches/c", "read a/b/c"},
	{"Blue Ocean: branch with a slash", "GET", blue + "/pipelines/a/branches/feature%2Fx/runs/7/log", "read a/feature%2Fx"},
	{"Blue Ocean: branch as it is linked", "POST", blue + "/pipelines/a/branches/feature%252Fx/runs", "build a/feature%2Fx"},
	{"Blue Ocean: runs of a job, or of all branches", "GET", blue + "/pipelines/a/runs", "read a/**"},
	{"Blue Ocean: runs of a branch", "GET", blue + "/pipelines/a/branches/b/runs", "read a/b"},
	{"Blue Ocean: queue of a job, or of all branches", "GET", blue + "/pipelines/a/queue", "read a/**"},
	{"Blue Ocean: cancel", "DELETE", blue + "/pipelines/a/queue/7", "cancel a/**"},
	{"Blue Ocean: cancel of a branch", "DELETE", blue + "/pipelines/a/branches/b/queue/7", "cancel a/b"},
	{"Blue Ocean: run", "GET", blue + "/pipelines/a/runs/7", "read a"},
	{"Blue Ocean: trigger", "POST", blue + "/pipelines/a/runs", "build a"},
	{"Blue Ocean: stop", "PUT", blue + "/pipelines/a/runs/7/stop", "cancel a"},
	{"Blue Ocean: stop by GET", "GET", blue + "/pipelines/a/runs/7/stop", "admin"},
	{"Blue Ocean: replay", "POST", blue + "/pipelines/a/runs/7/replay", "script a"},
	{"Blue Ocean: on to an action", "GET", blue + "/pipelines/a/runs/7/replay", "admin"},
	{"Blue Ocean: log of a stage's step", "GET", blue + "/pipelines/a/runs/7/nodes/8/steps/9/log", "read a"},
	{"Blue Ocean: answer", "POST", blue + "/pipelines/a/runs/7/steps/8", "build a"},
	{"Blue Ocean: answer of a stage's step", "POST", blue + "/pipelines/a/runs/7/nodes/8/steps/9", "build a"},
	{"Blue Ocean: restart of a stage", "POST", blue + "/pipelines/a/runs/7/nodes/8/restart", "configure a"},
	{"Blue Ocean: restart of a stage by GET", "GET", blue + "/pipelines/a/runs/7/nodes/8/restart", "admin"},
	{"Blue Ocean: artifacts' names", "GET", blue + "/pipelines/a/runs/7/artifacts", "read a"},
	{"Blue Ocean: run by no number", "GET", blue + "/pipelines/a/runs/x/log", "admin"},
	{"Blue Ocean: on from a run", "GET", blue + "/pipelines/a/runs/7/parent", "admin"},
	{"Blue Ocean: builds before the run", "GET", blue + "/pipelines/a?tree=latestRun[pipeline]", "read"},
	{"Blue Ocean: builds before the run, of a step", "GET", blue + "/pipelines/a/runs/7/steps?depth=3", "read"},
	{"Blue Ocean: on to the organization", "GET", blue + "/pipelines/a/organization/pipelines/b", "admin"},
	{"Blue Ocean: actions", "GET", blue + "/pipelines/a/actions/0", "admin"},
	{"Blue Ocean: content of a Jenkinsfile", "GET", blue + "/pipelines/a/scm/content?branch=b&path=Jenkinsfile", "admin"},
	{"Blue Ocean: favourites", "PUT", blue + "/pipelines/a/favorite", "admin"},
	{"Blue Ocean: disable", "PUT", blue + "/pipelines/a/disable", "admin"},
	{"Blue Ocean: delete", "DELETE", blue + "/pipelines/a", "admin"},
	{"Blue Ocean: create", "POST", blue + "/pipelines", "admin"},
	{"Blue Ocean: create in a folder", "POST", blue + "/pipelines/a/pipelines", "admin"},
	{"Blue Ocean: escaped star", "GET", blue + "/pipelines/a/branches/%2A", "admin"},
	{"Blue Ocean: organization", "GET", blue, "admin"},
	{"Blue Ocean: branches of the organization", "GET", blue + "/branches/a", "admin"},
	{"Blue Ocean: other organization", "GET", blue + "Xpipelines/a", "admin"},
	{"Blue Ocean: users", "GET", "/blue/rest/users", "admin"},
	{"Blue Ocean: search", "GET", "/blue/rest/search?q=type:pipeline", "admin"},
}

// A page of a plugin is for the scope of its job, and for no other job, folder or scope.
func TestPagesByScope(t *testing.T) {
	for _, row := range []struct{ name, method, path, allowed, refused string }{
		{"matrix cell", "GET", "/job/f/job/a/12/os=linux/consoleText", "read:f/a", "read:f/a/*"},
		{"matrix cell, job elsewhere", "GET", "/job/g/job/a/os=linux/api/json", "read:g/*", "read:f/**"},
		{"matrix cell, wrong scope", "POST", "/job/f/job/a/12/os=linux/stop", "cancel:f/a", "read:f/a"},
		{"matrix cell's settings", "GET", "/job/f/job/a/os=linux/config.xml", "admin", "configure:f/**"},
		{"scan, stopped", "POST", "/job/f/computation/stop", "cancel:f", "build:f"},
		{"pause", "POST", "/job/f/job/a/12/pause/toggle", "cancel:f/a", "build:f/a"},
		{"answer", "POST", "/job/f/job/a/12/input/Ok/proceed", "build:f/a", "build:g/**"},
		{"lint", "POST", "/pipeline-model-converter/validate", "script", "script:f/**"},
		{"rerun", "POST", "/job/f/job/a/12/stages/rerun", "configure:f/**", "build:f/**"},
		{"test report", "GET", "/job/f/job/a/lastCompletedBuild/testReport/api/json", "read:f/**", "artifacts:f/**"},
		{"report elsewhere", "GET", "/job/g/job/a/12/checkstyle/api/json", "read:g/a", "read:f/**"},
		{"file of a report", "GET", "/job/f/job/a/HTML_20Report/index.html", "artifacts:f/a", "read:f/a"},
		{"badge by query", "GET", "/buildStatus/icon?job=f/a", "read", "read:f/**"},
		{"notification", "GET", "/git/notifyCommit?url=x", "build", "build:f/**"},
		{"lockable resources", "GET", "/lockable-resources/api/json", "read", "read:f/**"},
		{"metrics", "GET", "/metrics/KEY/metrics", "read", "read:f/**"},
		{"thread dump", "GET", "/metrics/KEY/threads", "admin", "read"},
		{"monitoring", "GET", "/monitoring", "admin", "read"},
		{"new agent", "POST", "/plugin/swarm/createSlave", "agents", "configure"},
		{"Blue Ocean: runs of all branches", "GET", blue + "/pipelines/f/pipelines/a/runs", "read:f/a/**", "read:f/a"},
		{"Blue Ocean: runs of a branch", "GET", blue + "/pipelines/f/pipelines/a/branches/x%2Fy/runs", "read:f/a/x%2Fy", "read:f/a"},
		{"Blue Ocean: job elsewhere", "GET", blue + "/pipelines/g/pipelines/a/runs/7", "read:g/a", "read:f/**"},
		{"Blue Ocean: answer", "POST", blue + "/pipelines/f/pipelines/a/runs/7/steps/8", "build:f/a", "read:f/a"},
		{"Blue Ocean: cancel", "DELETE", blue + "/pipelines/f/pipelines/a/queue/7", "cancel:f/**", "cancel:g/**"},
	} {
		t.Run(row.name, func(t *testing.T) {
			need := classify(row.method, row.path)
			for text, want := range map[string]bool{row.allowed: true, row.refused: false} {
				scopes, err := policy.ParseScopes([]string{text})
				if err != nil {
					t.Fatal(err)
				}
				if got := scopes.Allows(need); got != want {
					t.Errorf("%s %s needs %q: scope %q allows it is %v, want %v", row.method, row.path, need, text, got, want)
				}
			}
		})
	}
}

// Within a matrix project a configuration needs what the project does, or Admin.
func TestClassifyCells(t *testing.T) {
	for _, row := range allRows {
		const job = "/job/a"
		if len(row.path) <= len(job) || row.path[:len(job)] != job || row.path[len(job)] != '/' || row.want == "admin" {
			continue
		}
		if rest := row.path[len(job):]; len(rest) < 5 || rest[:5] != "/job/" {
			cell := job + "/os=linux" + rest
			if got := classify(row.method, cell).String(); got != row.want && got != "admin" {
				t.Errorf("Classify(%q, %q) = %q, want %q or admin", row.method, cell, got, row.want)
			}
		}
	}
}

// What is allowed of a page says nothing of what Stapler finds below it. Files are below by design, and so is all of the script
// console and the CLI; below Blue Ocean's lists are jobs, by their names.
func TestClassifyBelowPages(t *testing.T) {
	for _, row := range allRows {
		path, _, _ := strings.Cut(row.path, "?")
		path = strings.TrimSuffix(path, "/")
		if strings.HasSuffix(path, "/pipelines") || strings.HasSuffix(path, "/branches") {
			continue
		}
		switch need := classify(row.method, path); need.Permission {
		case policy.Admin, policy.CLI:
			continue
		case policy.Script:
			if need.Item == (policy.Item{}) {
				continue
			}
		case policy.Agents:
			if path == "/wsagents" {
				continue
			}
		}
		for _, below := range []string{"/parent", "/parent/parent/job/b/consoleText", "/%70arent", "/run/parent", "/owner", "/target", "/project/config.xml"} {
			need := classify(row.method, path+below)
			if strings.HasPrefix(path+below, "/project/") {
				continue // GitLab's hook, below which are the names of a job
			}
			if need.Permission != policy.Admin && (need.Permission != policy.Artifacts || row.want != need.String()) {
				t.Errorf("Classify(%q, %q) = %q, want admin", row.method, path+below, need)
			}
		}
	}
}
