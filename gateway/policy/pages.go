package policy

import "strings"

// An object is what a page is of.
type object uint8

const (
	theRoot object = iota
	aView
	anItem // a job or folder: from the path alone one can't tell which
	aBuild
	aStep // of a Pipeline: execution/node/7 of a build
	anAgent
	objects
)

// calls are the ways in which a page is asked for.
type calls uint8

const (
	shown  calls = iota // by GET, HEAD or OPTIONS
	posted              // by POST
	called              // by any of these: what the page does is known by its name
	remote              // the remote API below the page (hudson.model.Api), not the page
	tree                // shown, with whatever follows: a web method that takes it all for the path of a file
	files               // shown, with what follows if that can only be a file: see isFile
)

// pages are the pages that are known by their names, of the core and of plugins. What a plugin has besides, or a plugin that
// isn't here, needs Admin. An entry is for this path and nothing below it, since Stapler would go on to other objects there.
//
// Left out on purpose: pages that mix what is harmless with what isn't, such as javamelody's /monitoring with its heap dumps
// and kills, /support, /lockable-resources' web methods, config files, promotions that run builds, releases of Artifactory;
// and pages whose URL is chosen in a job, as with HTML reports of a name of their own. Job DSL, copyartifact, dashboard-view,
// build-monitor, github-branch-source, parameterized-trigger, role-strategy, matrix-auth, throttle-concurrents, audit-trail
// and the plugins for Docker have forms and settings, but no pages of items.
var pages = []struct {
	plugin string // its ID
	of     object
	how    calls
	scope  Permission
	reach  Reach
	paths  string
}{
	// hudson.model.Job, AbstractProject, AbstractItem, AbstractFolder
	{"core", anItem, called, Build, Itself, "/build /buildWithParameters /polling"},
	{"core", anItem, called, Cancel, Itself, "/cancelQueue"},
	{"core", anItem, called, Configure, Itself, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
	{"core", anItem, called, Configure, Itself, "/doDelete /delete /doRename /confirmRename /confirm-rename /enable /disable /doWipeOutWorkspace /reload"},
	{"core", anItem, shown, Read, Itself, "/description /changes /buildTimeTrend /rssChangelog /buildHistory/ajax"},
	{"core", anItem, posted, Configure, Itself, "/description"},
	{"core", anItem, shown, Read, Below, "/rssAll /rssFailed /rssLatest"}, // of a folder: those of its primary view
	{"core", anItem, tree, Artifacts, Itself, "/ws"},                      // AbstractProject.doWs

	// hudson.model.Run, AbstractBuild, ParametersAction
	{"core", aBuild, called, Read, Itself, "/consoleText /logText/progressiveText /logText/progressiveHtml /progressiveLog"}, // some clients POST where to start
	{"core", aBuild, shown, Read, Itself, "/console /consoleFull /changes /buildNumber /buildTimestamp /buildStatus /parameters"},
	{"core", aBuild, called, Cancel, Itself, "/stop"},
	{"core", aBuild, called, Configure, Itself, "/doDelete /confirmDelete /toggleLogKeep /submitDescription /configure /configSubmit"},
	{"core", aBuild, tree, Artifacts, Itself, "/artifact"}, // Run.doArtifact

	// hudson.model.View
	{"core", aView, shown, Read, Below, "/rssAll /rssFailed /rssLatest /cc.xml /builds"},
	{"core", aView, called, Configure, Itself, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
	{"core", aView, called, Configure, Itself, "/doDelete /delete /addJobToView /removeJobFromView"},

	// hudson.model.Computer, hudson.slaves.SlaveComputer
	{"core", anAgent, called, Script, Itself, "/script /scriptText"},
	{"core", anAgent, called, Agents, Itself, "/config.xml /configure /configSubmit /doDelete /delete /toggleOffline /changeOfflineCause /setOfflineCause"},
	{"core", anAgent, called, Agents, Itself, "/markOffline /connect /disconnect /doDisconnect /launchSlaveAgent /jenkins-agent.jnlp /slave-agent.jnlp"},
	{"core", anAgent, called, Agents, Itself, "/log /logText/progressiveText /logText/progressiveHtml"},

	// jenkins.model.Jenkins
	{"core", theRoot, shown, free, Itself, "/health"},
	{"core", theRoot, shown, Read, Itself, "/rssAll /rssFailed /rssLatest /cc.xml /search /items"},
	{"core", theRoot, remote, Read, Itself, "/overallLoad"},
	{"core", theRoot, called, Configure, Itself, "/createItem /createView /newView"},

	// AbstractFolder, DefaultRelocationUI, FolderComputation; indexing is MultiBranchProject.getIndexing. A build triggers it.
	{"cloudbees-folder", anItem, called, Configure, Itself, "/move /move/move"},
	{"cloudbees-folder", anItem, shown, Read, Itself, "/computation /computation/console /computation/consoleText /computation/events"},
	{"cloudbees-folder", anItem, shown, Read, Itself, "/computation/logText/progressiveText /computation/logText/progressiveHtml"},
	{"cloudbees-folder", anItem, shown, Read, Itself, "/computation/eventsText/progressiveText /computation/eventsText/progressiveHtml"},
	{"cloudbees-folder", anItem, called, Cancel, Itself, "/computation/stop"},
	{"branch-api", anItem, shown, Read, Itself, "/indexing /indexing/console /indexing/consoleText /indexing/events"},
	{"branch-api", anItem, shown, Read, Itself, "/indexing/logText/progressiveText /indexing/logText/progressiveHtml"},
	{"branch-api", anItem, shown, Read, Itself, "/indexing/eventsText/progressiveText /indexing/eventsText/progressiveHtml"},
	{"branch-api", anItem, called, Cancel, Itself, "/indexing/stop"},

	// Pipeline. WorkflowRun, FlowGraphAction, FlowGraphTableAction; CpsThreadDumpAction needs Admin.
	{"workflow-job", aBuild, called, Cancel, Itself, "/term /kill"},
	{"workflow-job", aBuild, shown, Read, Itself, "/flowGraph /flowGraphTable"},
	{"workflow-cps", aBuild, called, Cancel, Itself, "/pause/toggle"},                                                                                  // PauseUnpauseAction, which asks for Item.CANCEL
	{"workflow-cps", aBuild, called, Script, Itself, "/replay /replay/run /replay/rebuild"},                                                            // ReplayAction
	{"workflow-support", aBuild, shown, Artifacts, Itself, "/ws"},                                                                                      // WorkspaceRunAction: a list of the workspaces
	{"workflow-support", aStep, files, Artifacts, Itself, "/ws"},                                                                                       // WorkspaceActionImpl.doDynamic, after its getters
	{"workflow-support", aStep, shown, Read, Itself, "/log"},                                                                                           // LogStorageAction
	{"workflow-api", aStep, shown, Read, Itself, "/log/logText/progressiveText"},                                                                       // LogAction.getLogText
	{"workflow-api", aStep, shown, Read, Itself, "/log/logText/progressiveHtml"},                                                                       // likewise
	{"pipeline-input-step", aBuild, shown, Read, Itself, "/input"},                                                                                     // InputAction; for its questions see request.question
	{"pipeline-model-definition", aBuild, called, Configure, Itself, "/restart /restart/restart /restart/restartPipeline"},                             // RestartDeclarativePipelineAction
	{"pipeline-model-definition", theRoot, called, Script, Itself, "/pipeline-model-converter/validate /pipeline-model-converter/validateJenkinsfile"}, // ModelConverterAction, which compiles what is posted
	{"pipeline-rest-api", anItem, shown, Read, Itself, "/wfapi /wfapi/describe /wfapi/runs"},                                                           // JobAPI
	{"pipeline-rest-api", aBuild, shown, Read, Itself, "/wfapi /wfapi/describe /wfapi/changesets /wfapi/artifacts"},                                    // RunAPI
	{"pipeline-rest-api", aBuild, shown, Read, Itself, "/wfapi/pendingInputActions /wfapi/nextPendingInputAction"},
	{"pipeline-rest-api", aBuild, called, Build, Itself, "/wfapi/inputSubmit"},
	{"pipeline-rest-api", aStep, shown, Read, Itself, "/wfapi /wfapi/describe /wfapi/log"},                                                           // FlowNodeAPI
	{"pipeline-stage-view", anItem, shown, Read, Itself, "/workflow-stage"},                                                                          // WorkflowStageViewAction
	{"pipeline-graph-view", anItem, shown, Read, Itself, "/multi-pipeline-graph /multi-pipeline-graph/runs"},                                         // MultiPipelineGraphViewAction
	{"pipeline-graph-view", aBuild, shown, Read, Itself, "/stages /stages/tree /stages/steps /stages/allSteps /stages/log /stages/earlyConsoleText"}, // PipelineConsoleViewAction
	{"pipeline-graph-view", aBuild, shown, Read, Itself, "/stages/consoleBuildOutput /stages/exceptionText /stages/nextBuild /stages/pauseState"},
	{"pipeline-graph-view", aBuild, called, Cancel, Itself, "/stages/cancel /stages/pause /stages/resume"},
	{"pipeline-graph-view", aBuild, called, Configure, Itself, "/stages/rerun"}, // as with rebuild: the script is the one of that build

	// What builds leave behind. The remote API of these shows the build's own results, unless tree or depth ask for more.
	{"junit", anItem, shown, Read, Itself, "/test /test/trend /test/trendMap"},                              // TestResultProjectAction
	{"junit", aBuild, shown, Read, Itself, "/testReport"},                                                   // AbstractTestResultAction
	{"junit", aBuild, remote, Read, Itself, "/testReport"},                                                  // TestResult; of a matrix AggregatedTestResultAction
	{"jacoco", anItem, shown, Read, Itself, "/jacoco /jacoco/graph"},                                        // JacocoProjectAction
	{"jacoco", aBuild, shown, Read, Itself, "/jacoco /jacoco/graph"},                                        // CoverageReport
	{"jacoco", aBuild, remote, Read, Itself, "/jacoco"},                                                     // CoverageObject
	{"jacoco", aBuild, shown, Artifacts, Itself, "/jacoco/jacoco.exec"},                                     // CoverageReport.doJacocoExec
	{"cobertura", aBuild, shown, Read, Itself, "/cobertura /cobertura/graph"},                               // CoberturaBuildAction
	{"cobertura", aBuild, remote, Read, Itself, "/cobertura"},                                               // CoverageResult
	{"coverage", anItem, shown, Read, Itself, "/coverage"},                                                  // CoverageJobAction, under CoverageRecorder.DEFAULT_ID; also code-coverage-api
	{"coverage", aBuild, shown, Read, Itself, "/coverage"},                                                  // CoverageViewModel
	{"coverage", aBuild, remote, Read, Itself, "/coverage /coverage/modified"},                              // CoverageApi, ModifiedLinesCoverageApi
	{"warnings-ng", aBuild, remote, Read, Itself, "/warnings-ng"},                                           // AggregationAction
	{"warnings-ng", aBuild, shown, Read, Itself, analyses("")},                                              // ResultAction, under the tool's own ID
	{"warnings-ng", aBuild, remote, Read, Itself, analyses("", "/all", "/new", "/fixed", "/outstanding")},   // IssuesDetail
	{"htmlpublisher", anItem, files, Artifacts, Itself, "/HTML_20Report /HTML_Report"},                      // HtmlPublisherTarget, under the default name of a report
	{"htmlpublisher", aBuild, files, Artifacts, Itself, "/HTML_20Report /HTML_Report"},                      // likewise
	{"timestamper", aBuild, shown, Read, Itself, "/timestamps"},                                             // TimestampsAction
	{"git", aBuild, shown, Read, Itself, "/tagBuild"},                                                       // GitTagAction; its submit makes a tag, and needs Admin
	{"rebuild", aBuild, called, Configure, Itself, "/rebuild /rebuild/parameterized /rebuild/configSubmit"}, // RebuildAction
	{"promoted-builds", anItem, shown, Read, Itself, "/promotion"},                                          // PromotedProjectAction
	{"promoted-builds", anItem, remote, Read, Itself, "/promotion"},
	{"promoted-builds", aBuild, shown, Read, Itself, "/promotion"},                                             // PromotedBuildAction
	{"lockable-resources", aBuild, shown, Read, Itself, "/locked-resources"},                                   // LockedResourcesBuildAction
	{"embeddable-build-status", anItem, shown, Read, Itself, "/badge /badge/icon /badge/icon.svg /badge/text"}, // JobBadgeAction
	{"embeddable-build-status", aBuild, shown, Read, Itself, "/badge /badge/icon /badge/icon.svg /badge/text"}, // RunBadgeAction

	// Of the controller. Which job these are for is in the query.
	{"embeddable-build-status", theRoot, shown, Read, Itself, "/buildStatus/icon /buildStatus/icon.svg /buildStatus/text"},              // PublicBuildStatusAction
	{"git", theRoot, called, Build, Itself, "/git/notifyCommit"},                                                                        // GitStatus
	{"build-token-root", theRoot, called, Build, Itself, "/buildByToken/build /buildByToken/buildWithParameters /buildByToken/polling"}, // BuildRootAction
	{"generic-webhook-trigger", theRoot, called, Build, Itself, "/generic-webhook-trigger/invoke"},                                      // GenericWebHookRequestReceiver
	{"lockable-resources", theRoot, shown, Read, Itself, "/lockable-resources"},                                                         // LockableResourcesRootAction
	{"lockable-resources", theRoot, remote, Read, Itself, "/lockable-resources"},
	{"prometheus", theRoot, shown, Read, Itself, "/prometheus"},                                          // PrometheusAction
	{"metrics", theRoot, shown, Read, Itself, "/metrics/healthcheckOk"},                                  // MetricsRootAction; for those with a key see request.metrics
	{"swarm", theRoot, called, Agents, Itself, "/plugin/swarm/createSlave /plugin/swarm/getSlaveLabels"}, // hudson.plugins.swarm.PluginImpl
	{"swarm", theRoot, called, Agents, Itself, "/plugin/swarm/addSlaveLabels /plugin/swarm/removeSlaveLabels"},
}

// analyses are the pages of the tools that warnings-ng is mostly used with (ID in the class of each tool).
func analyses(below ...string) string {
	const tools = "android-lint ansiblelint checkstyle clang clang-analyzer clang-tidy cmake code-analysis codenarc cpd cppcheck cpplint csslint " +
		"detekt dockerlint doxygen eclipse error-prone eslint findbugs flake8 fxcop gcc gcc3 go-vet golint groovy hadolint java javadoc-warnings " +
		"jslint kotlin ktlint maven-warnings msbuild mypy npm-audit open-tasks owasp-dependency-check pep8 php-code-sniffer phpstan pmd puppetlint " +
		"pydocstyle pylint resharper revapi rubocop sarif scala simian spotbugs stylecop stylelint swiftlint taglist trivy tslint valgrind yamllint"
	var paths strings.Builder
	for tool := range strings.FieldsSeq(tools) {
		for _, page := range below {
			paths.WriteString(" /" + tool + page)
		}
	}
	return paths.String()
}

// an access is what a page needs. The zero value is Admin.
type access struct {
	scope Permission
	reach Reach
}

type page struct {
	shown, posted access
	remote        bool
	tree, files   bool
}

// known are the pages by path, without the remote APIs below them.
var known = func() (known [objects]map[string]page) {
	for _, entry := range pages {
		if known[entry.of] == nil {
			known[entry.of] = make(map[string]page)
		}
		for path := range strings.FieldsSeq(entry.paths) {
			p, a := known[entry.of][path], access{entry.scope, entry.reach}
			switch entry.how {
			case shown:
				p.shown = a
			case posted:
				p.posted = a
			case called:
				p.shown, p.posted = a, a
			case remote:
				p.remote = true
			case tree:
				p.shown, p.tree = a, true
			case files:
				p.shown, p.files = a, true
			}
			known[entry.of][path] = p
		}
	}
	return known
}()

// page is for what pages has.
func (r request) page(of object, item Item, path string) Need {
	if !r.acts() {
		return Need{}
	}
	p, ok := known[of][path]
	if !ok {
		if at := strings.LastIndex(path, "/api"); at > 0 && isAPI(path[at:]) && known[of][path[:at]].remote {
			need := r.api(item, path[at+len("/api"):], ofItem)
			if need.Permission == free {
				need.Permission = Read
			}
			return need
		}
		_, below := cut(path)
		first, _ := cut(below)
		if p = known[of][path[:len(path)-len(below)]]; first == "" || !p.tree && !(p.files && isFile(first)) {
			return Need{}
		}
	}
	a := p.posted
	if r.shows() {
		a = p.shown
	}
	switch {
	case a.scope == Admin:
		return Need{}
	case a.reach == Below:
		return below(a.scope, item)
	}
	return Need{Permission: a.scope, Item: item, Reach: a.reach}
}

// isFile tells whether a segment can only be a file or directory. Where an object serves files by doDynamic, Stapler looks for
// getters and fields first (org.kohsuke.stapler.MetaClass): ws/parent of a step is no file, but leads back to the build. These
// have names of Java; so what could be one isn't allowed.
func isFile(segment string) bool {
	return strings.ContainsAny(segment, ".-*") || segment != "" && '0' <= segment[0] && segment[0] <= '9'
}

// isCell tells whether a segment is a combination of a matrix project, such as os=linux,jdk=21 (hudson.matrix.Combination
// .fromString), by which MatrixProject.getDynamic and MatrixBuild.getDynamic find a configuration or its build. With no
// axes it is "default", which other plugins have pages of.
//
// Nothing that Stapler would find before has an equals sign in its name, and what else it could find after, a permalink of the
// job's or an action, is the job's as well. So a combination counts as its project.
func isCell(segment string) bool {
	if !strings.ContainsAny(segment, "=%") || !named(segment) {
		return false
	}
	axis, equals := 0, false
	for at := 0; at < len(segment); {
		c, after, _ := unescape(segment, at)
		switch {
		case c == '=' && axis > 0:
			equals = true
		case c == ',' && !equals:
			return false
		case c == ',':
			axis, equals = 0, false
		default:
			axis++
		}
		at = after
	}
	return equals
}
