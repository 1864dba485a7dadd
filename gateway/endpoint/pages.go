package endpoint

import "strings"

// An Object is what a page is of.
type Object uint8

// The objects that have pages.
const (
	TheRoot Object = iota
	AView
	AnItem // a job or folder: from the path alone one can't tell which
	ABuild
	AStep // of a Pipeline: execution/node/7 of a build
	AnAgent
	objects
)

// Calls are the ways in which a page is asked for.
type Calls uint8

// The ways.
const (
	Shown           Calls = iota // by GET, HEAD or OPTIONS
	ShownBelow                   // likewise, and it shows all below the item
	Posted                       // by POST
	Called                       // by any of these: what the page does is known by its name
	Acting                       // likewise, and Jenkins acts on a GET as on a POST
	ActingWithToken              // likewise, if the query has the parameter token
	ActingIndex                  // likewise, and what follows is other pages, not a part of this one
	Remote                       // the remote API below the page (hudson.model.Api), not the page
	Tree                         // shown, with whatever follows: a web method that takes it all for the path of a file
	Files                        // shown, with what follows if that can only be a file
)

// A Page is one or more paths below an object, with the permission that they need. In paths of the root, a * stands for
// any one name.
type Page struct {
	Of    Object
	How   Calls
	Scope Permission
	Paths string
}

// A Group is the pages of a plugin, or of a part of the core, with the classes that they were read from.
type Group struct {
	Plugin, Source string
	Pages          []Page
}

// Pages are the pages that are known by their names, of the core and of plugins, beside those of the Catalogue. What a
// plugin has besides, or a plugin that isn't here, needs Admin. An entry is for this path and nothing below it, since
// Stapler would go on to other objects there.
//
// Left out on purpose: pages that mix what is harmless with what isn't, such as javamelody's /monitoring with its heap dumps
// and kills, /support, /role-strategy, the web methods of lockable-resources, config files, promotions that run builds, releases
// of Artifactory, containers that docker-plugin shows with their environment; and pages whose URL is chosen in a job, as with
// HTML reports of a name of their own. Job DSL, copyartifact, dashboard-view, build-monitor, github-branch-source,
// parameterized-trigger, matrix-auth, throttle-concurrents and audit-trail have forms and settings, but no pages of items.
var Pages = []Group{
	{"core", `Job, AbstractProject, AbstractItem`, []Page{
		{AnItem, ActingWithToken, Build, "/build /buildWithParameters /polling"},
		{AnItem, Called, Cancel, "/cancelQueue"},
		{AnItem, Called, Configure, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
		{AnItem, Called, Configure, "/doDelete /delete /doRename /confirmRename /confirm-rename /enable /disable /doWipeOutWorkspace /reload"},
		{AnItem, Shown, Read, "/description /changes /buildTimeTrend /rssChangelog /buildHistory/ajax"},
		{AnItem, Posted, Configure, "/description"},
		{AnItem, ShownBelow, Read, "/rssAll /rssFailed /rssLatest"}, // of a folder: those of its primary view
		{AnItem, Tree, Artifacts, "/ws"},                            // doWs
	}},
	{"core", `Run, AbstractBuild, ParametersAction, AbstractScmTagAction, whose submit makes a tag in the repository`, []Page{
		{ABuild, Called, Read, "/consoleText /logText/progressiveText /logText/progressiveHtml /progressiveLog"}, // some clients POST where to start
		{ABuild, Shown, Read, "/console /consoleFull /changes /buildNumber /buildTimestamp /buildStatus /parameters /tagBuild"},
		{ABuild, Called, Cancel, "/stop"},
		{ABuild, Called, Configure, "/doDelete /confirmDelete /toggleLogKeep /submitDescription /configure /configSubmit"},
		{ABuild, Tree, Artifacts, "/artifact"}, // doArtifact
	}},
	{"core", `View`, []Page{
		{AView, ShownBelow, Read, "/rssAll /rssFailed /rssLatest /cc.xml /builds"},
		{AView, Called, Configure, "/createItem /newJob /createView /newView /config.xml /configure /configSubmit /submitDescription"},
		{AView, Called, Configure, "/doDelete /delete /addJobToView /removeJobFromView"},
	}},
	{"core", `Computer, SlaveComputer`, []Page{
		{AnAgent, Called, Script, "/script /scriptText"},
		{AnAgent, Called, Agents, "/config.xml /configure /configSubmit /doDelete /delete /toggleOffline /changeOfflineCause /setOfflineCause"},
		{AnAgent, Called, Agents, "/markOffline /connect /disconnect /doDisconnect /launchSlaveAgent /jenkins-agent.jnlp /slave-agent.jnlp"},
		{AnAgent, Called, Agents, "/log /logText/progressiveText /logText/progressiveHtml"},
	}},
	{"core", `Jenkins`, []Page{
		{TheRoot, Shown, Read, "/rssAll /rssFailed /rssLatest /cc.xml /search /items"},
		{TheRoot, Remote, Read, "/overallLoad"},
		{TheRoot, Called, Configure, "/createItem /createView /newView"},
	}},
	{"cloudbees-folder, branch-api", `cloudbees-folder: DefaultRelocationUI, FolderComputation; branch-api: MultiBranchProject.getIndexing`, []Page{
		{AnItem, Called, Configure, "/move /move/move"},
		{AnItem, Shown, Read, "/computation /computation/console /computation/consoleText /computation/events"},
		{AnItem, Shown, Read, "/computation/logText/progressiveText /computation/logText/progressiveHtml"},
		{AnItem, Shown, Read, "/computation/eventsText/progressiveText /computation/eventsText/progressiveHtml"},
		{AnItem, Called, Cancel, "/computation/stop"},
		{AnItem, Shown, Read, "/indexing /indexing/console /indexing/consoleText /indexing/events"},
		{AnItem, Shown, Read, "/indexing/logText/progressiveText /indexing/logText/progressiveHtml"},
		{AnItem, Shown, Read, "/indexing/eventsText/progressiveText /indexing/eventsText/progressiveHtml"},
		{AnItem, Called, Cancel, "/indexing/stop"},
		{AnItem, Remote, Read, "/computation /indexing"},
	}},
	{"workflow-job", `WorkflowRun, FlowGraphAction, FlowGraphTableAction`, []Page{
		{ABuild, Called, Cancel, "/term /kill"},
		{ABuild, Shown, Read, "/flowGraph /flowGraphTable"},
	}},
	{"workflow-cps", `PauseUnpauseAction, which asks for Item.CANCEL, ReplayAction, and Snippetizer; CpsThreadDumpAction needs Admin`, []Page{
		{ABuild, Called, Cancel, "/pause/toggle"},
		{ABuild, Called, Script, "/replay /replay/run /replay/rebuild"},
		{ABuild, Shown, Script, "/replay/diff"},
		{TheRoot, Shown, Read, "/pipeline-syntax/gdsl /pipeline-syntax/dsld"},
		{AnItem, Shown, Read, "/pipeline-syntax/gdsl /pipeline-syntax/dsld"},
	}},
	{"workflow-support", `WorkspaceRunAction, which lists workspaces, WorkspaceActionImpl.doDynamic, LogStorageAction`, []Page{
		{ABuild, Shown, Artifacts, "/ws"},
		{AStep, Files, Artifacts, "/ws"},
		{AStep, Shown, Read, "/log /log/logText/progressiveText /log/logText/progressiveHtml"},
	}},
	{"pipeline-input-step", `InputAction; for its questions see request.question`, []Page{
		{ABuild, Shown, Read, "/input"},
	}},
	{"pipeline-model-definition", `RestartDeclarativePipelineAction, ModelConverterAction, which compiles what is posted`, []Page{
		{ABuild, Called, Configure, "/restart /restart/restart /restart/restartPipeline"},
		{TheRoot, Called, Script, "/pipeline-model-converter/validate /pipeline-model-converter/validateJenkinsfile"},
	}},
	{"pipeline-rest-api, pipeline-stage-view", `pipeline-rest-api: JobAPI, RunAPI, FlowNodeAPI; pipeline-stage-view: WorkflowStageViewAction`, []Page{
		{AnItem, Shown, Read, "/wfapi /wfapi/describe /wfapi/runs /workflow-stage"},
		{ABuild, Shown, Read, "/wfapi /wfapi/describe /wfapi/changesets /wfapi/artifacts /wfapi/pendingInputActions /wfapi/nextPendingInputAction"},
		{ABuild, Called, Build, "/wfapi/inputSubmit"},
		{AStep, Shown, Read, "/wfapi /wfapi/describe /wfapi/log"},
	}},
	{"pipeline-graph-view", `MultiPipelineGraphViewAction, PipelineConsoleViewAction. A rerun is a rebuild: it takes the build's own script.`, []Page{
		{AnItem, Shown, Read, "/multi-pipeline-graph /multi-pipeline-graph/runs"},
		{ABuild, Shown, Read, "/stages /stages/tree /stages/steps /stages/allSteps /stages/log /stages/earlyConsoleText"},
		{ABuild, Shown, Read, "/stages/consoleBuildOutput /stages/exceptionText /stages/nextBuild /stages/pauseState"},
		{ABuild, Called, Cancel, "/stages/cancel /stages/pause /stages/resume"},
		{ABuild, Called, Configure, "/stages/rerun"},
	}},
	{"rebuild", `RebuildAction`, []Page{
		{ABuild, ActingIndex, Configure, "/rebuild"}, // doIndex rebuilds what has no parameters
		{ABuild, Called, Configure, "/rebuild/parameterized /rebuild/configSubmit"},
	}},

	{"naginator", `NaginatorRetryAction`, []Page{
		{ABuild, ActingIndex, Admin, "/retry"},
	}},
	{"junit", `TestResultProjectAction, AbstractTestResultAction, TestResult; for single tests see request.test`, []Page{
		{AnItem, Shown, Read, "/test /test/trend /test/trendMap"},
		{ABuild, Shown, Read, "/testReport"},
	}},
	{"jacoco", `JacocoProjectAction, CoverageReport, CoverageObject`, []Page{
		{AnItem, Shown, Read, "/jacoco /jacoco/graph"},
		{ABuild, Shown, Read, "/jacoco /jacoco/graph"},
		{ABuild, Remote, Read, "/jacoco"},
		{ABuild, Shown, Artifacts, "/jacoco/jacoco.exec"},
	}},
	{"cobertura", `CoberturaProjectAction, CoberturaBuildAction, CoverageResult`, []Page{
		{AnItem, Shown, Read, "/cobertura /cobertura/graph"},
		{ABuild, Shown, Read, "/cobertura /cobertura/graph"},
		{ABuild, Remote, Read, "/cobertura"},
	}},
	{"robot", `RobotProjectAction, RobotBuildAction, RobotResult`, []Page{
		{AnItem, Shown, Read, "/robot /robot/graph"},
		{ABuild, Shown, Read, "/robot /robot/graph"},
		{ABuild, Remote, Read, "/robot"},
	}},
	{"coverage, code-coverage-api", `coverage: CoverageJobAction, CoverageViewModel, CoverageApi, ModifiedLinesCoverageApi, by CoverageRecorder.DEFAULT_ID; code-coverage-api: CoverageProjectAction, CoverageAction`, []Page{
		{AnItem, Shown, Read, "/coverage"},
		{ABuild, Shown, Read, "/coverage"},
		{ABuild, Remote, Read, "/coverage /coverage/modified"},
	}},
	{"warnings-ng", `AggregationAction, ResultAction by the tool's own ID, IssuesDetail, DetailFactory`, []Page{
		{ABuild, Remote, Read, "/warnings-ng"},
		{ABuild, Shown, Read, analyses("")},
		{ABuild, Remote, Read, analyses("", "/all", "/new", "/fixed", "/outstanding")},
	}},
	{"cucumber-reports", `SafeArchiveServingAction, by ReportBuilder.BASE_DIRECTORY`, []Page{
		{ABuild, Files, Artifacts, "/cucumber-html-reports"},
	}},
	{"htmlpublisher", `HtmlPublisherTarget.BaseHTMLAction, by the default name of a report`, []Page{
		{AnItem, Files, Artifacts, "/HTML_20Report /HTML_Report"},
		{ABuild, Files, Artifacts, "/HTML_20Report /HTML_Report"},
	}},
	{"display-url-api", `AbstractDisplayAction, to which notifications link`, []Page{
		{AnItem, Shown, Read, "/display/redirect"},
		{ABuild, Shown, Read, "/display/redirect"},
	}},
	{"timestamper, lockable-resources", `timestamper: TimestampsAction; lockable-resources: LockedResourcesBuildAction`, []Page{
		{ABuild, Shown, Read, "/timestamps /locked-resources"},
	}},
	{"promoted-builds", `PromotedProjectAction, PromotedBuildAction`, []Page{
		{AnItem, Shown, Read, "/promotion"},
		{AnItem, Remote, Read, "/promotion"},
		{ABuild, Shown, Read, "/promotion"},
	}},
	{"embeddable-build-status", `JobBadgeAction, RunBadgeAction`, []Page{
		{AnItem, Shown, Read, "/badge /badge/icon /badge/icon.svg /badge/text"},
		{ABuild, Shown, Read, "/badge /badge/icon /badge/icon.svg /badge/text"},
	}},
	{"lockable-resources", `LockableResourcesRootAction`, []Page{
		{TheRoot, Shown, Read, "/lockable-resources"},
		{TheRoot, Remote, Read, "/lockable-resources"},
	}},
	{"swarm", `PluginImpl`, []Page{
		{TheRoot, Called, Agents, "/plugin/swarm/createSlave /plugin/swarm/slaveInfo"},
		{TheRoot, Called, Agents, "/plugin/swarm/getSlaveLabels /plugin/swarm/addSlaveLabels /plugin/swarm/removeSlaveLabels"},
		{TheRoot, Tree, Agents, "/swarm"}, // DownloadClientAction.doDynamic: the client program
	}},
}

// tools are those that warnings-ng is mostly used with, by the ID in the class of each.
const tools = "android-lint ansiblelint checkstyle clang clang-analyzer clang-tidy cmake code-analysis codenarc cpd cppcheck cpplint csslint " +
	"detekt dockerlint doxygen eclipse error-prone eslint findbugs flake8 fxcop gcc gcc3 go-vet golint groovy hadolint java javadoc-warnings " +
	"jslint kotlin ktlint maven-warnings msbuild mypy npm-audit open-tasks owasp-dependency-check pep8 php-code-sniffer phpstan pmd puppetlint " +
	"pydocstyle pylint resharper revapi rubocop sarif scala simian spotbugs stylecop stylelint swiftlint taglist trivy tslint valgrind yamllint"

// analyses are the pages of these tools.
func analyses(below ...string) string {
	var paths strings.Builder
	for tool := range strings.FieldsSeq(tools) {
		for _, page := range below {
			paths.WriteString(" /" + tool + page)
		}
	}
	return paths.String()
}

// An Access is what a page needs. The zero value is Admin.
type Access struct {
	Scope Permission
	Below bool // the page shows all below the item too
}

// Known is what is known of a path.
type Known struct {
	Shown, Posted Access
	Remote        bool // there is a remote API below
	Tree, Files   bool // what follows is the path of a file
}

// known are the pages by path, without the remote APIs below them, and wild are the paths of the root that hold a *.
var known, wild = func() (known [objects]map[string]Known, wild []wildPage) {
	for of := range known {
		known[of] = make(map[string]Known)
	}
	for page := range all {
		for path := range strings.FieldsSeq(page.Paths) {
			if strings.Contains(path, "*") {
				var k Known
				k.add(page)
				wild = append(wild, wildPage{pattern{segments: strings.Split(path[1:], "/")}, k})
				continue
			}
			k := known[page.Of][path]
			k.add(page)
			known[page.Of][path] = k
		}
	}
	return known, wild
}()

type wildPage struct {
	pattern
	known Known
}

func (k *Known) add(page Page) {
	a := Access{Scope: page.Scope}
	switch page.How {
	case Shown:
		k.Shown = a
	case ShownBelow:
		k.Shown = Access{page.Scope, true}
	case Posted:
		k.Posted = a
	case Called, Acting, ActingWithToken, ActingIndex:
		k.Shown, k.Posted = a, a
	case Remote:
		k.Remote = true
	case Tree:
		k.Shown, k.Tree = a, true
	case Files:
		k.Shown, k.Files = a, true
	}
}

// all yields every page, those of the Catalogue too.
func all(yield func(Page) bool) {
	for _, entry := range Catalogue {
		for _, page := range entry.Pages {
			if !yield(page) {
				return
			}
		}
	}
	for _, group := range Pages {
		for _, page := range group.Pages {
			if !yield(page) {
				return
			}
		}
	}
}

// Find returns what is known of a path below an object. The path is as Stapler walks it, still escaped. It allocates
// nothing.
func Find(of Object, path string) (Known, bool) {
	k, ok := known[of][path]
	if !ok && of == TheRoot {
		for i := range wild {
			if first, rest := cutSegment(path); first == wild[i].segments[0] && wild[i].match(rest) {
				return wild[i].known, true
			}
		}
	}
	return k, ok
}
