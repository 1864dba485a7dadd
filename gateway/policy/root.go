package policy

import "net/http"

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
	case "jnlpJars":
		if r.shows() {
			return Need{Permission: free}
		}
		return Need{}
	case "queue":
		return r.queue(tail)
	case "cli":
		return Need{Permission: CLI}
	case "wsagents", "tcpSlaveAgentListener":
		return Need{Permission: Agents}
	case "fingerprint", "label":
		if of, api := cut(tail); r.shows() && named(of) && (api == "" || isAPI(api)) {
			return Need{Permission: Read}
		}
		return Need{}
	case "overallLoad":
		if r.shows() && isAPI(tail) {
			return Need{Permission: Read}
		}
		return Need{}
	}
	switch rest {
	case "/health":
		if r.shows() {
			return Need{Permission: free}
		}
	case "":
		if r.method == http.MethodHead { // jenkins-rest asks for the version, which is in a header
			return Need{Permission: free}
		}
		return Need{Permission: Read}
	case "/rssAll", "/rssFailed", "/rssLatest", "/cc.xml", "/search", "/items", "/prometheus":
		if r.shows() {
			return Need{Permission: Read}
		}
	case "/createItem", "/createView", "/newView":
		return Need{Permission: Configure}
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

// computer is hudson.model.ComputerSet, and the agents in it.
func (r request) computer(rest string) Need {
	if !r.acts() {
		return Need{}
	}
	switch {
	case rest == "" || isAPI(rest):
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	case rest == "/createItem" || rest == "/doCreateItem" || rest == "/new" || rest == "/updateNow":
		return Need{Permission: Agents}
	}
	name, rest := cut(rest)
	if !named(name) {
		return Need{}
	}
	switch rest {
	case "", "/api", "/api/json", "/api/xml", "/api/python", "/api/schema":
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	case "/script", "/scriptText":
		return Need{Permission: Script}
	case "/config.xml", "/configure", "/configSubmit", "/doDelete", "/delete", "/toggleOffline", "/changeOfflineCause", "/setOfflineCause", "/markOffline",
		"/connect", "/disconnect", "/doDisconnect", "/launchSlaveAgent", "/jenkins-agent.jnlp", "/slave-agent.jnlp", "/log", "/logText/progressiveText",
		"/logText/progressiveHtml":
		return Need{Permission: Agents}
	}
	keyword, rest := cut(rest)
	number, action := cut(rest)
	if keyword == "executors" && isNumber(number) && (action == "/stop" || action == "/stopBuild") {
		return Need{Permission: Cancel}
	}
	return Need{}
}

// blue is for the REST API of Blue Ocean, after its only organization: pipelines/a/pipelines/b/branches/x/runs/7. What it
// shows by tree it takes from the same exporter as the remote API.
func (r request) blue(path string) Need {
	rest, end := path, 0
	for {
		keyword, after := cut(rest)
		if keyword != "pipelines" && (keyword != "branches" || end == 0) {
			break
		}
		name, further := cut(after)
		if !named(name) {
			return Need{}
		}
		rest, end = further, len(path)-len(further)
	}
	if end == 0 {
		return Need{}
	}
	item := Item{text: path[:end], path: true}
	keyword, after := cut(rest)
	number, action := cut(after)
	switch {
	case keyword != "" && keyword != "runs":
		return Need{}
	case after == "" && keyword == "runs" && r.method == http.MethodPost:
		return Need{Permission: Build, Item: item}
	case action == "/stop" && isNumber(number) && (r.method == http.MethodPut || r.method == http.MethodPost):
		return Need{Permission: Cancel, Item: item}
	case action == "/replay" && isNumber(number) && r.method == http.MethodPost:
		return Need{Permission: Script, Item: item}
	case !r.shows():
		return Need{}
	case r.unfolds(ofItem) != nothing:
		return Need{Permission: Read}
	case after == "", isNumber(number) && (action == "" || action == "/log" || action == "/nodes" || action == "/steps"):
		return Need{Permission: Read, Item: item}
	}
	return Need{}
}
