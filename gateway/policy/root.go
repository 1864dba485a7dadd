package policy

import (
	"net/http"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
)

// root is for paths that are of no item.
func (r request) root(rest string) Need {
	name, tail := cut(rest)
	switch name {
	case "credentials":
		return r.credentials(Item{}, tail)
	case "script", "scriptText", "eval", "scriptApproval":
		return Need{Permission: Script}
	case "computer":
		return r.computer(tail)
	}
	if !r.acts() {
		return Need{}
	}
	switch name {
	case "api":
		return r.api(Item{}, tail, ofRoot)
	case "crumbIssuer": // gojenkins asks for api/json/api/json
		if r.shows() && (isAPI(tail) || tail == "/api/json/api/json") {
			return Need{Permission: free}
		}
		return Need{}
	case "me", "whoAmI":
		if isAPI(tail) && r.shows() && r.unfolds(ofRoot) == nothing {
			return Need{Permission: free}
		}
		return Need{}
	case "user": // shown to whoever may read (hudson.model.User, without what its properties refer to)
		if id, api := cut(tail); r.shows() && named(id) && isAPI(api) && r.unfolds(ofRoot) == nothing {
			return Need{Permission: Read}
		}
		return Need{}
	case "project":
		return r.project(tail)
	case "metrics":
		if need := r.metrics(tail); need.Permission != Admin {
			return need
		}
	case "queue":
		return r.queue(tail)
	case "cli":
		return Need{Permission: CLI}
	case "fingerprint", "label":
		if of, api := cut(tail); r.shows() && named(of) && (api == "" || isAPI(api)) {
			return Need{Permission: Read}
		}
		return Need{}
	case "":
		if r.method == http.MethodHead { // jenkins-rest asks for the version, which is in a header
			return Need{Permission: free}
		}
		return Need{Permission: Read}
	}
	return r.page(endpoint.TheRoot, Item{}, rest)
}

// metrics is MetricsRootAction of the metrics plugin: with an access key in the path, with currentUser instead, or with the key
// in the query. Its threads are a thread dump, which needs Admin.
func (r request) metrics(rest string) Need {
	key, what := cut(rest)
	if what == "" {
		what = rest
	} else if !named(key) {
		return Need{}
	}
	switch what {
	case "/metrics", "/metricsHistory", "/ping", "/healthcheck":
		if r.shows() {
			return Need{Permission: Read}
		}
	}
	return Need{}
}

// queue is hudson.model.Queue. Its numbers don't tell the job.
func (r request) queue(rest string) Need {
	switch {
	case rest == "" || isAPI(rest):
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	case rest == "/cancelItem":
		return Need{Permission: Cancel}
	}
	keyword, rest := cut(rest)
	id, rest := cut(rest)
	switch {
	case keyword != "item" || !isNumber(id):
		return Need{}
	case rest == "/cancelQueue":
		return Need{Permission: Cancel}
	case !r.shows() || rest != "" && !isAPI(rest):
		return Need{}
	case r.unfolds(ofQueue) != nothing:
		return Need{Permission: Read}
	}
	return Need{Permission: Read, Reach: Somewhere}
}

// project is GitLabWebHook of the gitlab plugin: an event for a job by its full name, as folders and the job follow in the
// path. The plugin splits the name at escaped slashes too; so with one the job isn't known. Of a multibranch project it
// takes no notice of what follows.
func (r request) project(rest string) Need {
	if r.method != http.MethodPost || rest == "" {
		return Need{}
	}
	for path := rest; path != ""; {
		var name string
		if name, path = cut(path); !named(name) || hasEscapedSlash(name) {
			return Need{Permission: Webhook}
		}
	}
	return Need{Permission: Webhook, Item: Item{text: rest, path: true, bare: true}}
}

// hasEscapedSlash reports whether a segment holds a slash, once decoded as often as anything decodes it.
func hasEscapedSlash(segment string) bool {
	for at := 0; at < len(segment); {
		c, after, _ := unescape(segment, at)
		if c == '/' || c == '%' {
			return true
		}
		at = after
	}
	return false
}

// setPages are web methods and views of hudson.model.ComputerSet, which Stapler finds before an agent of the name.
var setPages = []struct {
	name  string
	scope Permission
}{
	{"createItem", Agents}, {"doCreateItem", Agents}, {"checkName", Agents}, {"new", Agents}, {"_new", Agents}, {"updateNow", Agents}, {"_launchAll", Agents},
	{"configure", Admin}, {"configSubmit", Admin}, {"descriptor", Admin}, {"monitors", Admin}, {"_monitors", Admin}, {"nodeMonitorDescriptors", Admin},
	{"nonIgnoredMonitors", Admin}, {"computers", Admin}, {"_all", Admin}, {"_slaveNames", Admin}, {"computerNames", Admin}, {"search", Admin},
}

// builtIn are the names of the controller's own node.
var builtIn = []string{"(built-in)", "(master)"}

// computer is hudson.model.ComputerSet, and the agents in it.
func (r request) computer(rest string) Need {
	if !r.acts() {
		return Need{}
	}
	if rest == "" || isAPI(rest) {
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	}
	name, page := cut(rest)
	for _, own := range setPages {
		if !spells(name, own.name) {
			continue
		}
		if page == "" && name == own.name {
			return Need{Permission: own.scope}
		}
		return Need{}
	}
	if !named(name) {
		return Need{}
	}
	switch page {
	case "", "/api", "/api/json", "/api/xml", "/api/python", "/api/schema":
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	case "/config.xml", "/configure", "/configSubmit", "/doDelete", "/delete":
		if spells(name, builtIn[0]) || spells(name, builtIn[1]) {
			return Need{} // the controller's own settings
		}
	}
	keyword, rest := cut(page)
	number, action := cut(rest)
	if keyword == "executors" && isNumber(number) && (action == "/stop" || action == "/stopBuild") {
		return Need{Permission: Cancel}
	}
	return r.page(endpoint.AnAgent, Item{}, page)
}

// spells reports whether a segment is a name, with some of its letters escaped or none.
func spells(segment, name string) bool {
	for at := 0; at < len(segment); {
		c, after, _ := unescape(segment, at)
		if name == "" || name[0] != c {
			return false
		}
		name, at = name[1:], after
	}
	return name == ""
}
