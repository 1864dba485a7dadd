package policy

import (
	"net/http"
	"strings"
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

type request struct{ method, query string }

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
//   - me/my-views and user/u/my-views, MyViewsProperty, whose views are of the controller's items, and which falls back to
//     its primary view
//   - manage, which falls back to Jenkins
//
// It is not ok if the path ends in between.
func walk(path string) (at place, ok bool) {
	rest, mine := path, false
	first, after := cut(path)
	switch first {
	case "manage":
		switch next, _ := cut(after); next {
		case "job", "item", "view", "computer", "credentials", "script", "scriptText", "scriptApproval":
			rest = after
		}
	case "user":
		_, after = cut(after)
		fallthrough
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

// item is for jobs and folders; from the path alone one can't tell which.
func (r request) item(at place) Need {
	item := at.item
	name, tail := cut(at.rest)
	switch {
	case name == "":
		return r.index(item)
	case isBuild(name):
		return r.build(item, tail)
	case name == "credentials":
		return r.credentials(item, tail)
	case !r.acts():
		return Need{}
	case name == "api":
		return r.api(item, tail, ofItem)
	case name == "ws" && r.shows():
		return Need{Permission: Artifacts, Item: item}
	}
	switch at.rest {
	case "/build", "/buildWithParameters", "/polling":
		return Need{Permission: Build, Item: item}
	case "/cancelQueue":
		return Need{Permission: Cancel, Item: item}
	case "/createItem", "/newJob", "/createView", "/newView", "/config.xml", "/configure", "/configSubmit", "/submitDescription",
		"/doDelete", "/delete", "/doRename", "/confirmRename", "/confirm-rename", "/move", "/move/move", "/enable", "/disable",
		"/doWipeOutWorkspace", "/reload":
		return Need{Permission: Configure, Item: item}
	case "/description":
		if r.shows() {
			return Need{Permission: Read, Item: item}
		}
		return Need{Permission: Configure, Item: item}
	case "/changes", "/buildTimeTrend", "/rssChangelog", "/buildHistory/ajax", "/badge/icon", "/wfapi", "/wfapi/describe", "/wfapi/runs",
		"/indexing/consoleText", "/indexing/console", "/indexing/logText/progressiveText", "/indexing/logText/progressiveHtml",
		"/computation/consoleText", "/computation/console", "/computation/logText/progressiveText", "/computation/logText/progressiveHtml":
		if r.shows() {
			return Need{Permission: Read, Item: item}
		}
	case "/rssAll", "/rssFailed", "/rssLatest": // of a folder: those of its primary view
		if r.shows() {
			return Need{Permission: Read, Item: item, Reach: Below}
		}
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

// isBuild knows builds by number or permalink. Java would read more as a number: +7, and digits of other scripts.
func isBuild(name string) bool {
	switch name {
	case "lastBuild", "lastStableBuild", "lastSuccessfulBuild", "lastFailedBuild", "lastUnstableBuild", "lastUnsuccessfulBuild", "lastCompletedBuild", "firstBuild":
		return true
	}
	return isNumber(name)
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
	case !r.acts():
		return Need{}
	case name == "api":
		return r.api(item, tail, ofBuild)
	case name == "artifact" && r.shows():
		return Need{Permission: Artifacts, Item: item}
	}
	switch rest {
	case "/consoleText", "/logText/progressiveText", "/logText/progressiveHtml", "/progressiveLog":
		return Need{Permission: Read, Item: item} // some clients POST where to start
	case "/console", "/consoleFull", "/changes", "/buildNumber", "/buildTimestamp", "/buildStatus", "/timestamps", "/parameters",
		"/testReport", "/testReport/api/json", "/testReport/api/xml", "/testReport/api/python", "/input", "/flowGraphTable",
		"/wfapi", "/wfapi/describe", "/wfapi/changesets", "/wfapi/artifacts", "/wfapi/pendingInputActions", "/wfapi/nextPendingInputAction":
		if !r.shows() {
			return Need{}
		}
		if name == "testReport" && r.unfolds(ofItem) != nothing {
			return Need{Permission: Read}
		}
		return Need{Permission: Read, Item: item}
	case "/stop", "/term", "/kill":
		return Need{Permission: Cancel, Item: item}
	case "/wfapi/inputSubmit":
		return Need{Permission: Build, Item: item}
	case "/doDelete", "/confirmDelete", "/toggleLogKeep", "/submitDescription", "/configure", "/configSubmit", "/rebuild", "/rebuild/configSubmit",
		"/restart", "/restart/restart":
		return Need{Permission: Configure, Item: item}
	case "/replay", "/replay/run", "/replay/rebuild":
		return Need{Permission: Script, Item: item}
	}
	switch name {
	case "input":
		if id, action := cut(tail); named(id) {
			switch action {
			case "/proceed", "/proceedEmpty", "/submit", "/abort":
				return Need{Permission: Build, Item: item}
			}
		}
	case "execution":
		return r.node(item, tail)
	}
	return Need{}
}

// node is for execution/node/7, a step of a Pipeline.
func (r request) node(item Item, rest string) Need {
	keyword, rest := cut(rest)
	id, rest := cut(rest)
	if keyword != "node" || !isNumber(id) || !r.shows() {
		return Need{}
	}
	if name, _ := cut(rest); name == "ws" {
		return Need{Permission: Artifacts, Item: item}
	}
	switch rest {
	case "/log", "/wfapi/describe", "/wfapi/log":
		return Need{Permission: Read, Item: item}
	}
	return Need{}
}

// view is for the pages of views, which show the items below. A user's own views are taken for the controller's.
func (r request) view(at place) Need {
	name, tail := cut(at.rest)
	switch {
	case !r.acts():
		return Need{}
	case name == "api":
		need := r.api(at.item, tail, ofItem)
		if need.Permission == Read && need.Item != (Item{}) {
			need.Reach = Below
		}
		if need.Permission == free {
			need.Permission = Read
		}
		return need
	}
	switch at.rest {
	case "", "/rssAll", "/rssFailed", "/rssLatest", "/cc.xml", "/builds":
		if !r.shows() {
			return Need{}
		}
		return below(Read, at.item)
	case "/createItem", "/newJob", "/createView", "/newView", "/config.xml", "/configure", "/configSubmit", "/submitDescription", "/doDelete", "/delete",
		"/addJobToView", "/removeJobFromView":
		return Need{Permission: Configure, Item: at.item}
	}
	return Need{}
}

func below(p Permission, item Item) Need {
	if item == (Item{}) {
		return Need{Permission: p}
	}
	return Need{Permission: p, Item: item, Reach: Below}
}

// credentials is for the action of the credentials plugin on an item or the controller (ViewCredentialsAction). It offers
// the stores of its own context alone; but its first page shows what is inherited, and so is the controller's. What isn't
// listed could lead from a store back to other objects.
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
	if r.shows() && (rest == "" || isAPI(rest)) {
		return need
	}
	if rest == "/createDomain" || rest == "/newDomain" {
		return need
	}
	keyword, rest = cut(rest)
	domain, rest := cut(rest)
	if keyword != "domain" || !named(domain) {
		return Need{}
	}
	switch rest {
	case "/createCredentials", "/newCredentials", "/config.xml", "/configure", "/configSubmit", "/delete", "/doDelete":
		return need
	}
	if r.shows() && (rest == "" || isAPI(rest)) {
		return need
	}
	keyword, rest = cut(rest)
	id, rest := cut(rest)
	if keyword != "credential" || !named(id) {
		return Need{}
	}
	switch rest {
	case "/config.xml", "/update", "/updateSubmit", "/delete", "/doDelete":
		return need
	}
	if r.shows() && (rest == "" || isAPI(rest)) {
		return need
	}
	return Need{}
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
