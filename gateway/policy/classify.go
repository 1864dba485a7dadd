package policy

import (
	"net/http"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// Classify returns what a request needs. The path is the one that Stapler walks, still escaped: a slash before each
// segment, none at the end, no dot segments, without /static/x and without the prefix; "" is the root. The query is as it
// came, without its question mark. It allocates nothing.
//
// Keywords and pages count only when written plainly: /%6aob/a is job a to Stapler, and Admin here.
//
// Methods hardly matter, since Stapler calls doBuild for a GET as well: what a page does is known by its name, and where a
// page only shows something, what isn't GET, HEAD or OPTIONS needs Admin.
func Classify(method, path, rawQuery string) Need {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		return Need{}
	}
	if path == "/" {
		path = ""
	}
	if !canonical(path) {
		return Need{}
	}
	r := request{method: method, query: rawQuery}
	if rest, ok := strings.CutPrefix(path, "/blue/rest/organizations/jenkins"); ok && strings.HasPrefix(rest, "/") {
		return r.blue(rest)
	}
	at, ok := walk(path)
	switch {
	case !ok:
		return Need{}
	case at.view:
		return r.view(at)
	case at.item != Item{}:
		return r.item(at)
	}
	return r.root(at.rest)
}

// canonical tells whether a path is as Classify takes it. What isn't would be walked differently.
func canonical(path string) bool {
	if path != "" && path[0] != '/' {
		return false
	}
	for i := range len(path) {
		switch path[i] {
		case '\\', ';':
			return false
		case '/':
			rest := path[i+1:]
			if rest == "" || rest[0] == '/' {
				return false
			}
			if rest[0] == '.' {
				if segment, _, _ := strings.Cut(rest, "/"); segment == "." || segment == ".." {
					return false
				}
			}
		}
	}
	return true
}

type request struct {
	method, query string
	cell          bool // within a configuration of a matrix project, which has none itself
}

// shows tells whether the method only asks to be shown something.
func (r request) shows() bool {
	return r.method == http.MethodGet || r.method == http.MethodHead || r.method == http.MethodOptions
}

// acts tells whether a method is one that web methods and pages are called with.
func (r request) acts() bool { return r.shows() || r.method == http.MethodPost }

// A place is how far a path leads by items and views.
type place struct {
	item Item
	view bool   // the path ended in a view of the item, or of the controller
	rest string // what follows
}

// walk follows the ways to an item:
//
//   - job/a, by View.getJob and AbstractFolder.getJob; item/a, by getItem; branch/a, by MultiBranchProject.getBranch
//   - view/v before any of these, by getView, nested views included
//   - me/my-views, MyViewsProperty, whose views are of the controller's items, and which falls back to its primary view.
//     user/u/my-views is the same for another user, whom Jenkins shows it to if that user may administer u; so it is no way.
//   - manage, which falls back to Jenkins
//
// It is not ok if the path ends in between.
func walk(path string) (at place, ok bool) {
	rest, mine := path, false
	first, after := cut(path)
	switch first {
	case "manage":
		switch next, _ := cut(after); next {
		case "job", "item", "view", "computer", "credentials", "script", "scriptText", "scriptApproval", "user":
			rest = after
		}
	case "me":
		if next, views := cut(after); next == "my-views" {
			rest, mine = views, true
		}
	}
	begin, end := -1, 0
	for start := rest; ; {
		keyword, after := cut(rest)
		switch keyword {
		case "job", "item", "view":
		case "branch":
			if begin < 0 {
				return place{}, false
			}
		default:
			if begin >= 0 {
				at.item = Item{text: start[begin:end], path: true}
			}
			at.rest = rest
			return at, !mine || at.view || begin >= 0
		}
		name, further := cut(after)
		if !named(name) {
			return place{}, false
		}
		if at.view = keyword == "view"; !at.view {
			if begin < 0 {
				begin = len(start) - len(rest)
			}
			end = len(start) - len(further)
		}
		rest = further
	}
}

// item is for jobs and folders.
func (r request) item(at place) Need {
	item := at.item
	name, tail := cut(at.rest)
	switch {
	case name == "":
		return r.index(item)
	case endpoint.IsBuild(name):
		return r.build(item, tail)
	case name == "credentials":
		return r.credentials(item, tail)
	case name == "api" && r.acts():
		return r.api(item, tail, ofItem)
	case !r.cell && isCell(name):
		r.cell = true
		return ofCell(r.item(place{item: item, rest: tail}))
	}
	return r.page(endpoint.AnItem, item, at.rest)
}

// ofCell leaves of a configuration of a matrix project, or a build of one, what can be seen, downloaded and stopped. It is
// built, changed and deleted with its project: Jenkins ignores that it is to be built alone (MatrixConfiguration.newBuild).
func ofCell(need Need) Need {
	switch need.Permission {
	case Read, Artifacts, Cancel:
		return need
	}
	return Need{}
}

// index is for a job, folder or build itself. DELETE deletes it (AbstractItem and Run are HttpDeletable). A POST shows its page
// too: jenkins-rest follows the redirect after a POST with another.
func (r request) index(item Item) Need {
	switch {
	case r.acts():
		return Need{Permission: Read, Item: item}
	case r.method == http.MethodDelete:
		return Need{Permission: Configure, Item: item}
	}
	return Need{}
}

func isNumber(name string) bool {
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
	}
	return name != ""
}

func (r request) build(item Item, rest string) Need {
	name, tail := cut(rest)
	switch {
	case name == "":
		return r.index(item)
	case name == "api" && r.acts():
		return r.api(item, tail, ofBuild)
	case name == "input" && tail != "":
		return r.question(item, tail)
	case name == "execution":
		return r.step(item, tail)
	case name == "testReport" && tail != "" && r.acts():
		return r.test(item, tail)
	case !r.cell && isCell(name):
		r.cell = true
		return ofCell(r.build(item, tail))
	}
	return r.page(endpoint.ABuild, item, rest)
}

// question is for input/Ok, which a Pipeline asks (InputAction.getDynamic, InputStepExecution).
func (r request) question(item Item, rest string) Need {
	id, action := cut(rest)
	if !r.acts() || !named(id) {
		return Need{}
	}
	switch action {
	case "":
		if r.shows() {
			return Need{Permission: Read, Item: item}
		}
	case "/proceed", "/proceedEmpty", "/submit", "/abort":
		return Need{Permission: Build, Item: item}
	}
	return Need{}
}

// step is for execution/node/7, a step of a Pipeline (WorkflowRun.getExecution, FlowExecution.getNode).
func (r request) step(item Item, rest string) Need {
	keyword, rest := cut(rest)
	id, rest := cut(rest)
	if keyword != "node" || !isNumber(id) {
		return Need{}
	}
	return r.page(endpoint.AStep, item, rest)
}

// test is for testReport/junit/com.example/FooTest/works of the junit plugin, or the class or package alone, with its API
// and its history in the builds of the job (getDynamic of TestResult, PackageResult and ClassResult, getHistory of
// TestObject). Stapler looks for getters before that; so a package must not have the name of one, and a class must have
// what neither a getter nor a web method has in its name. By the name of a test nothing but this build can be reached,
// since nothing may follow.
func (r request) test(item Item, rest string) Need {
	if isAPI(rest) {
		return r.api(item, rest[len("/api"):], ofReport)
	}
	if id, after := cut(rest); id == "junit" {
		rest = after
	}
	for level := range 3 {
		name, after := cut(rest)
		if name == "" || name == "api" || name == "history" {
			break
		}
		switch {
		case !named(name), name == "submitDescription":
			return Need{}
		case level == 0 && !strings.ContainsAny(name, ".(") && (strings.Contains(name, "%") || reportGetters[name]):
			return Need{}
		case level == 1 && !strings.ContainsAny(name, ".(_-") && (name[0] < 'A' || 'Z' < name[0]):
			return Need{}
		}
		rest = after
	}
	rest = strings.TrimPrefix(rest, "/history") // what is named history ends the loop above, or follows three names
	switch {
	case rest == "" && r.shows():
		return Need{Permission: Read, Item: item}
	case isAPI(rest) && r.acts():
		return r.api(item, rest[len("/api"):], ofItem)
	}
	return Need{}
}

// reportGetters are the getters of a test report that return an object, from which others can be reached (TestResult of
// hudson.tasks.junit and its superclasses, and the actions that it stands for).
var reportGetters = func() map[string]bool {
	set := make(map[string]bool)
	for name := range strings.FieldsSeq(`
		api badge buildHealth buildResult case caseResult childReports children class classResult descriptor dynamic failedSinceRun
		failedTests failedTestsSortedByAge flakyFailures history owner parent parentAction passedTests pipelineBlockWithTests
		pluggableStorage previousResult prismConfiguration properties rerunFailures result resultByNode resultByNodes
		resultForPipelineBlock resultInBuild resultInRun run skippedTests suite suiteResult suites target testAction testActions
		testResult testResultAction topLevelTestResult`) {
		set[name] = true
	}
	return set
}()

// view is for the pages of views, which show the items below. A user's own views are taken for the controller's.
func (r request) view(at place) Need {
	name, tail := cut(at.rest)
	switch {
	case name == "" && r.shows():
		return below(Read, at.item)
	case name == "api" && r.acts():
		need := r.api(at.item, tail, ofItem)
		if need.Permission == Read && need.Item != (Item{}) {
			need.Reach = Below
		}
		if need.Permission == free {
			need.Permission = Read
		}
		return need
	}
	return r.page(endpoint.AView, at.item, at.rest)
}

func below(p Permission, item Item) Need {
	if item == (Item{}) {
		return Need{Permission: p}
	}
	return Need{Permission: p, Item: item, Reach: Below}
}

// credentials is for the action of the credentials plugin on an item or the controller (ViewCredentialsAction). It offers
// the stores of its own context alone; but its first page shows what is inherited, and so is the controller's. What isn't
// listed could lead from a store back to other objects. The destination of a move is in the body.
func (r request) credentials(item Item, rest string) Need {
	if rest == "" && r.shows() {
		return Need{Permission: Credentials}
	}
	keyword, rest := cut(rest)
	store, rest := cut(rest)
	if keyword != "store" || !named(store) {
		return Need{}
	}
	need := Need{Permission: Credentials, Item: item}
	if rest == "/createDomain" || rest == "/newDomainDialog" {
		return need
	}
	if r.shows() && (rest == "" || isAPI(rest)) {
		return r.credentialsAPI(need, 2)
	}
	keyword, rest = cut(rest)
	domain, rest := cut(rest)
	if keyword != "domain" || !named(domain) {
		return Need{}
	}
	switch rest {
	case "/createCredentials", "/dialog", "/dialog2", "/config.xml", "/configureDialog", "/configSubmit", "/doDelete":
		return need
	}
	if r.shows() && (rest == "" || isAPI(rest)) {
		return r.credentialsAPI(need, 1)
	}
	keyword, rest = cut(rest)
	id, rest := cut(rest)
	if keyword != "credential" || !named(id) {
		return Need{}
	}
	switch rest {
	case "/config.xml", "/updateDialog", "/updateSubmit", "/moveDialog", "/doDelete":
		return need
	case "/doMove":
		return Need{Permission: Credentials}
	}
	if r.shows() && (rest == "" || isAPI(rest)) {
		return r.credentialsAPI(need, 0)
	}
	return Need{}
}

// credentialsAPI returns the need of the whole controller if a query shows more than credentials: a step further than these
// are the jobs that have used them, wherever they are (CredentialsWrapper.getFingerprint).
func (r request) credentialsAPI(need Need, depth int) Need {
	if r.unfoldsCredentials(depth) {
		return Need{Permission: Credentials}
	}
	return need
}

// isAPI tells whether a rest is /api or one of its flavours (hudson.model.Api).
func isAPI(rest string) bool {
	switch rest {
	case "/api", "/api/json", "/api/xml", "/api/python", "/api/schema":
		return true
	}
	return false
}

// api is for the remote API of items, builds and, with no item, the controller. With tree or depth it shows other objects
// too, and a POST can bring these in its body.
func (r request) api(item Item, tail string, of exported) Need {
	switch tail {
	case "", "/json", "/xml", "/python", "/schema":
	default:
		return Need{}
	}
	if !r.shows() {
		return Need{Permission: Read}
	}
	switch r.unfolds(of) {
	case nothing:
		if item == (Item{}) {
			return Need{Permission: free}
		}
		return Need{Permission: Read, Item: item}
	case children:
		return below(Read, item)
	}
	return Need{Permission: Read}
}
