package policy

import "net/http"

// bluePages are the resources of Blue Ocean's REST API (io.jenkins.blueocean.rest.model) below a job or folder; # is a number.
//
// Lists of what is in a folder are for all below it. So are runs and queue: those of a multibranch project are the ones of its
// branches (MultibranchPipelineRunContainer, MultiBranchPipelineQueueContainer), and from the path alone one can't tell it from
// a job. A branch has its own.
var bluePages = []struct {
	method string // GET is for HEAD and OPTIONS as well
	scope  Permission
	reach  Reach
	path   string
}{
	{http.MethodGet, Read, Itself, ""},
	{http.MethodGet, Read, Below, "/pipelines"},
	{http.MethodGet, Read, Below, "/branches"},
	{http.MethodGet, Read, Below, "/runs"},
	{http.MethodPost, Build, Itself, "/runs"}, // of a multibranch project: indexes it
	{http.MethodGet, Read, Below, "/queue"},
	{http.MethodDelete, Cancel, Below, "/queue/#"}, // BlueQueueItem.delete

	// BlueRun
	{http.MethodGet, Read, Itself, "/runs/#"},
	{http.MethodGet, Read, Itself, "/runs/#/log"},
	{http.MethodGet, Read, Itself, "/runs/#/changeSet"},
	{http.MethodGet, Read, Itself, "/runs/#/artifacts"},
	{http.MethodGet, Read, Itself, "/runs/#/tests"},
	{http.MethodGet, Read, Itself, "/runs/#/blueTestSummary"},
	{http.MethodPut, Cancel, Itself, "/runs/#/stop"},
	{http.MethodPost, Cancel, Itself, "/runs/#/stop"},
	{http.MethodPost, Script, Itself, "/runs/#/replay"},

	// BluePipelineNode, BluePipelineStep. A POST to a step answers its question (PipelineStepImpl.submitInputStep).
	{http.MethodGet, Read, Itself, "/runs/#/nodes"},
	{http.MethodGet, Read, Itself, "/runs/#/nodes/#"},
	{http.MethodGet, Read, Itself, "/runs/#/nodes/#/log"},
	{http.MethodPost, Configure, Itself, "/runs/#/nodes/#/restart"},
	{http.MethodGet, Read, Itself, "/runs/#/nodes/#/steps"},
	{http.MethodGet, Read, Itself, "/runs/#/nodes/#/steps/#"},
	{http.MethodPost, Build, Itself, "/runs/#/nodes/#/steps/#"},
	{http.MethodGet, Read, Itself, "/runs/#/nodes/#/steps/#/log"},
	{http.MethodGet, Read, Itself, "/runs/#/steps"},
	{http.MethodGet, Read, Itself, "/runs/#/steps/#"},
	{http.MethodPost, Build, Itself, "/runs/#/steps/#"},
	{http.MethodGet, Read, Itself, "/runs/#/steps/#/log"},
}

// blue is for the REST API of Blue Ocean, after its only organization: pipelines/a/pipelines/b/branches/x/runs/7. Names are
// those of PipelineContainerImpl.get and BranchContainerImpl.get, which ask the folder as job/a does. What it shows by tree it
// takes from the same exporter as the remote API.
func (r request) blue(path string) Need {
	rest, end, branch := path, 0, false
	for {
		keyword, after := cut(rest)
		if keyword != "pipelines" && (keyword != "branches" || end == 0) || after == "" {
			break
		}
		name, further := cut(after)
		if !named(name) {
			return Need{}
		}
		rest, end, branch = further, len(path)-len(further), keyword == "branches"
	}
	method := r.method
	if r.shows() {
		method = http.MethodGet
	}
	if end == 0 {
		if method == http.MethodGet && path == "/pipelines" {
			return Need{Permission: Read}
		}
		return Need{}
	}
	item := Item{text: path[:end], path: true}
	for i := range bluePages {
		page := &bluePages[i]
		switch {
		case page.method != method || !matches(page.path, rest):
		case page.scope == Read && r.unfolds(ofItem) != nothing:
			return Need{Permission: Read}
		case page.reach == Below && !branch:
			return below(page.scope, item)
		default:
			return Need{Permission: page.scope, Item: item}
		}
	}
	return Need{}
}

// matches tells whether a path is the one of a pattern, where # is a number.
func matches(pattern, path string) bool {
	for pattern != "" && path != "" {
		var want, segment string
		want, pattern = cut(pattern)
		segment, path = cut(path)
		if want != segment && (want != "#" || !isNumber(segment)) {
			return false
		}
	}
	return pattern == "" && path == ""
}
