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
	case "jnlpJars":
		if _, beyond := cut(tail); r.shows() && beyond == "" {
			return Need{Permission: free}
		}
		return Need{}
	case "metrics":
		if need := r.metrics(tail); need.Permission != Admin {
			return need
		}
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
	name, page := cut(rest)
	if !named(name) {
		return Need{}
	}
	switch page {
	case "", "/api", "/api/json", "/api/xml", "/api/python", "/api/schema":
		if r.shows() {
			return Need{Permission: Read}
		}
		return Need{}
	}
	keyword, rest := cut(page)
	number, action := cut(rest)
	if keyword == "executors" && isNumber(number) && (action == "/stop" || action == "/stopBuild") {
		return Need{Permission: Cancel}
	}
	return r.page(endpoint.AnAgent, Item{}, page)
}
