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
	shown      calls = iota // by GET, HEAD or OPTIONS
	shownBelow              // likewise, and it shows all below the item
	posted                  // by POST
	called                  // by any of these: what the page does is known by its name
	remote                  // the remote API below the page (hudson.model.Api), not the page
	tree                    // shown, with whatever follows: a web method that takes it all for the path of a file
	files                   // shown, with what follows if that can only be a file: see isFile
)

// pages are the pages that are known by their names, of the core and of plugins, with the classes they were read from. What a
// plugin has besides, or a plugin that isn't here, needs Admin. An entry is for this path and nothing below it, since Stapler
// would go on to other objects there.
//
// Left out on purpose: pages that mix what is harmless with what isn't, such as javamelody's /monitoring with its heap dumps
// and kills, /support, /role-strategy, the web methods of lockable-resources, config files, promotions that run builds, releases
// of Artifactory, containers that docker-plugin shows with their environment; and pages whose URL is chosen in a job, as with
// HTML reports of a name of their own. Job DSL, copyartifact, dashboard-view, build-monitor, github-branch-source,
// parameterized-trigger, matrix-auth, throttle-concurrents and audit-trail have forms and settings, but no pages of items.
var pages = []struct {
	of    object
	how   calls
	scope Permission
	paths string
}{
	// core: Job, AbstractProject, AbstractItem
	{anItem, called, Build, "/build /buildWithParameters /polling"},
	{anItem, called, Cancel, "/cancelQueue"},
	{anItem, called, Configure, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
	{anItem, called, Configure, "/doDelete /delete /doRename /confirmRename /confirm-rename /enable /disable /doWipeOutWorkspace /reload"},
	{anItem, shown, Read, "/description /changes /buildTimeTrend /rssChangelog /buildHistory/ajax"},
	{anItem, posted, Configure, "/description"},
	{anItem, shownBelow, Read, "/rssAll /rssFailed /rssLatest"}, // of a folder: those of its primary view
	{anItem, tree, Artifacts, "/ws"},                            // doWs

	// core: Run, AbstractBuild, ParametersAction, AbstractScmTagAction, whose submit makes a tag in the repository
	{aBuild, called, Read, "/consoleText /logText/progressiveText /logText/progressiveHtml /progressiveLog"}, // some clients POST where to start
	{aBuild, shown, Read, "/console /consoleFull /changes /buildNumber /buildTimestamp /buildStatus /parameters /tagBuild"},
	{aBuild, called, Cancel, "/stop"},
	{aBuild, called, Configure, "/doDelete /confirmDelete /toggleLogKeep /submitDescription /configure /configSubmit"},
	{aBuild, tree, Artifacts, "/artifact"}, // doArtifact

	// core: View
	{aView, shownBelow, Read, "/rssAll /rssFailed /rssLatest /cc.xml /builds"},
	{aView, called, Configure, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
	{aView, called, Configure, "/doDelete /delete /addJobToView /removeJobFromView"},

	// core: Computer, SlaveComputer
	{anAgent, called, Script, "/script /scriptText"},
	{anAgent, called, Agents, "/config.xml /configure /configSubmit /doDelete /delete /toggleOffline /changeOfflineCause /setOfflineCause"},
	{anAgent, called, Agents, "/markOffline /connect /disconnect /doDisconnect /launchSlaveAgent /jenkins-agent.jnlp /slave-agent.jnlp"},
	{anAgent, called, Agents, "/log /logText/progressiveText /logText/progressiveHtml"},

	// core: Jenkins
	{theRoot, shown, free, "/health"},
	{theRoot, shown, Read, "/rssAll /rssFailed /rssLatest /cc.xml /search /items"},
	{theRoot, remote, Read, "/overallLoad"},
	{theRoot, called, Configure, "/createItem /createView /newView"},

	// cloudbees-folder: DefaultRelocationUI, FolderComputation; branch-api: MultiBranchProject.getIndexing
	{anItem, called, Configure, "/move /move/move"},
	{anItem, shown, Read, "/computation /computation/console /computation/consoleText /computation/events"},
	{anItem, shown, Read, "/computation/logText/progressiveText /computation/logText/progressiveHtml"},
	{anItem, shown, Read, "/computation/eventsText/progressiveText /computation/eventsText/progressiveHtml"},
	{anItem, called, Cancel, "/computation/stop"},
	{anItem, shown, Read, "/indexing /indexing/console /indexing/consoleText /indexing/events"},
	{anItem, shown, Read, "/indexing/logText/progressiveText /indexing/logText/progressiveHtml"},
	{anItem, shown, Read, "/indexing/eventsText/progressiveText /indexing/eventsText/progressiveHtml"},
	{anItem, called, Cancel, "/indexing/stop"},

	// workflow-job: WorkflowRun, FlowGraphAction, FlowGraphTableAction
	{aBuild, called, Cancel, "/term /kill"},
	{aBuild, shown, Read, "/flowGraph /flowGraphTable"},

	// workflow-cps: PauseUnpauseAction, which asks for Item.CANCEL, and ReplayAction; CpsThreadDumpAction needs Admin
	{aBuild, called, Cancel, "/pause/toggle"},
	{aBuild, called, Script, "/replay /replay/run /replay/rebuild"},

	// workflow-support: WorkspaceRunAction, which lists workspaces, WorkspaceActionImpl.doDynamic, LogStorageAction
	{aBuild, shown, Artifacts, "/ws"},
	{aStep, files, Artifacts, "/ws"},
	{aStep, shown, Read, "/log /log/logText/progressiveText /log/logText/progressiveHtml"},

	// pipeline-input-step: InputAction; for its questions see request.question
	{aBuild, shown, Read, "/input"},

	// pipeline-model-definition: RestartDeclarativePipelineAction, ModelConverterAction, which compiles what is posted
	{aBuild, called, Configure, "/restart /restart/restart /restart/restartPipeline"},
	{theRoot, called, Script, "/pipeline-model-converter/validate /pipeline-model-converter/validateJenkinsfile"},

	// pipeline-rest-api: JobAPI, RunAPI, FlowNodeAPI; pipeline-stage-view: WorkflowStageViewAction
	{anItem, shown, Read, "/wfapi /wfapi/describe /wfapi/runs /workflow-stage"},
	{aBuild, shown, Read, "/wfapi /wfapi/describe /wfapi/changesets /wfapi/artifacts /wfapi/pendingInputActions /wfapi/nextPendingInputAction"},
	{aBuild, called, Build, "/wfapi/inputSubmit"},
	{aStep, shown, Read, "/wfapi /wfapi/describe /wfapi/log"},

	// pipeline-graph-view: MultiPipelineGraphViewAction, PipelineConsoleViewAction. A rerun is a rebuild: it takes the build's own
	// script.
	{anItem, shown, Read, "/multi-pipeline-graph /multi-pipeline-graph/runs"},
	{aBuild, shown, Read, "/stages /stages/tree /stages/steps /stages/allSteps /stages/log /stages/earlyConsoleText"},
	{aBuild, shown, Read, "/stages/consoleBuildOutput /stages/exceptionText /stages/nextBuild /stages/pauseState"},
	{aBuild, called, Cancel, "/stages/cancel /stages/pause /stages/resume"},
	{aBuild, called, Configure, "/stages/rerun"},

	// rebuild: RebuildAction
	{aBuild, called, Configure, "/rebuild /rebuild/parameterized /rebuild/configSubmit"},

	// junit: TestResultProjectAction, AbstractTestResultAction, TestResult; for single tests see request.test
	{anItem, shown, Read, "/test /test/trend /test/trendMap"},
	{aBuild, shown, Read, "/testReport"},
	{aBuild, remote, Read, "/testReport"},

	// jacoco: JacocoProjectAction, CoverageReport, CoverageObject
	{anItem, shown, Read, "/jacoco /jacoco/graph"},
	{aBuild, shown, Read, "/jacoco /jacoco/graph"},
	{aBuild, remote, Read, "/jacoco"},
	{aBuild, shown, Artifacts, "/jacoco/jacoco.exec"},

	// cobertura: CoberturaProjectAction, CoberturaBuildAction, CoverageResult
	{anItem, shown, Read, "/cobertura /cobertura/graph"},
	{aBuild, shown, Read, "/cobertura /cobertura/graph"},
	{aBuild, remote, Read, "/cobertura"},

	// robot: RobotProjectAction, RobotBuildAction, RobotResult
	{anItem, shown, Read, "/robot /robot/graph"},
	{aBuild, shown, Read, "/robot /robot/graph"},
	{aBuild, remote, Read, "/robot"},

	// coverage: CoverageJobAction, CoverageViewModel, CoverageApi, ModifiedLinesCoverageApi, by CoverageRecorder.DEFAULT_ID;
	// code-coverage-api: CoverageProjectAction, CoverageAction
	{anItem, shown, Read, "/coverage"},
	{aBuild, shown, Read, "/coverage"},
	{aBuild, remote, Read, "/coverage /coverage/modified"},

	// warnings-ng: AggregationAction, ResultAction by the tool's own ID, IssuesDetail, DetailFactory
	{aBuild, remote, Read, "/warnings-ng"},
	{aBuild, shown, Read, analyses("")},
	{aBuild, remote, Read, analyses("", "/all", "/new", "/fixed", "/outstanding")},

	// cucumber-reports: SafeArchiveServingAction, by ReportBuilder.BASE_DIRECTORY
	{aBuild, files, Artifacts, "/cucumber-html-reports"},

	// htmlpublisher: HtmlPublisherTarget.BaseHTMLAction, by the default name of a report
	{anItem, files, Artifacts, "/HTML_20Report /HTML_Report"},
	{aBuild, files, Artifacts, "/HTML_20Report /HTML_Report"},

	// timestamper: TimestampsAction; lockable-resources: LockedResourcesBuildAction
	{aBuild, shown, Read, "/timestamps /locked-resources"},

	// promoted-builds: PromotedProjectAction, PromotedBuildAction
	{anItem, shown, Read, "/promotion"},
	{anItem, remote, Read, "/promotion"},
	{aBuild, shown, Read, "/promotion"},

	// embeddable-build-status: JobBadgeAction, RunBadgeAction, PublicBuildStatusAction, which has the job in the query
	{anItem, shown, Read, "/badge /badge/icon /badge/icon.svg /badge/text"},
	{aBuild, shown, Read, "/badge /badge/icon /badge/icon.svg /badge/text"},
	{theRoot, shown, Read, "/buildStatus/icon /buildStatus/icon.svg /buildStatus/text"},

	// git: GitStatus; build-token-root: BuildRootAction; generic-webhook-trigger: GenericWebHookRequestReceiver. Which jobs they
	// build is in the query or the body.
	{theRoot, called, Build, "/git/notifyCommit /generic-webhook-trigger/invoke"},
	{theRoot, called, Build, "/buildByToken/build /buildByToken/buildWithParameters /buildByToken/polling"},

	// lockable-resources: LockableResourcesRootAction; prometheus: PrometheusAction; metrics: MetricsRootAction, of which see
	// request.metrics
	{theRoot, shown, Read, "/lockable-resources /prometheus /metrics/healthcheckOk"},
	{theRoot, remote, Read, "/lockable-resources"},

	// swarm: PluginImpl
	{theRoot, called, Agents, "/plugin/swarm/createSlave /plugin/swarm/getSlaveLabels /plugin/swarm/addSlaveLabels /plugin/swarm/removeSlaveLabels"},
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
			p, a := known[entry.of][path], access{entry.scope, Itself}
			switch entry.how {
			case shown:
				p.shown = a
			case shownBelow:
				p.shown = access{entry.scope, Below}
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
		_, rest := cut(path)
		first, _ := cut(rest)
		if p = known[of][path[:len(path)-len(rest)]]; first == "" || !p.tree && !(p.files && isFile(first)) {
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
	return Need{Permission: a.scope, Item: item}
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
