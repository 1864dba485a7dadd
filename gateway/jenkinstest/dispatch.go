package jenkinstest

import (
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// dispatch is Stapler: it walks the path's tokens from object to object.
func (x *exchange) dispatch() {
	canonical := canonicalPath(x.raw)
	tokens, ok := pathTokens(canonical)
	if !ok {
		x.oops() // TokenList throws
		return
	}
	stream := x.streamer(tokens)
	if stream == nil {
		x.readBody()
	}
	if x.anonymous && !readable(tokens) {
		x.denied(overallRead)
		return
	}
	if stream != nil {
		stream()
		return
	}
	x.root(tokens)
}

// readable tells what anonymous may see without Overall/Read: Jenkins.ALWAYS_READABLE_PATHS, unprotected root actions,
// webhooks, and files that are served before any check.
func readable(tokens []string) bool {
	if len(tokens) == 0 || missingFile(tokens) {
		return false
	}
	switch tokens[0] {
	case "404", "_404", "_404_simple", "login", "loginError", "logout", "accessDenied", "adjuncts", "error", "oops",
		"signup", "tcpSlaveAgentListener", "federatedLoginService", "securityRealm", "j_spring_security_check",
		"jnlpJars", "cli", "whoAmI", "wsagents", "health", "assets", "instance-identity", "static-files",
		"content-security-policy-reporting-endpoint",
		"favicon.ico", "favicon.svg", "robots.txt", "apple-touch-icon.png", "css", "scripts", "images":
		return true
	}
	return webhook(tokens)
}

// missingFile reports whether a static file is none that Jenkins has: one named "none" here. Then the path is looked up
// in Jenkins itself, so that anonymous is denied, on a page that opens a session.
func missingFile(tokens []string) bool {
	switch tokens[0] {
	case "adjuncts", "css", "scripts", "images":
		return strings.HasPrefix(tokens[len(tokens)-1], "none.")
	}
	return false
}

// webhook tells the endpoints of plugins that take in events of others.
func webhook(tokens []string) bool {
	switch tokens[0] {
	case "git", "mercurial":
		return len(tokens) > 1 && tokens[1] == "notifyCommit"
	case "github-webhook", "generic-webhook-trigger", "project", "gitlab-webhook", "gitlab-systemhook", "gitea-webhook",
		"bitbucket-hook", "bitbucket-scmsource-hook", "multibranch-webhook-trigger", "ghprbhook", "buildByToken":
		return true
	}
	return false
}

// needSlash redirects to the path with a slash, for any method, where an object is addressed without one. It reports
// whether the path has it.
func (x *exchange) needSlash() bool {
	if strings.HasSuffix(x.raw, "/") || strings.HasSuffix(canonicalPath(x.raw), "/") {
		return true
	}
	target := x.j.cfg.Prefix + canonicalPath(x.raw) + "/"
	if x.query != "" {
		target += "?" + x.query
	}
	x.redirect(target)
	return false
}

// object serves the index page of an object.
func (x *exchange) object(title string) {
	if x.needSlash() {
		x.page(http.StatusOK, title, "<h1>"+html.EscapeString(title)+"</h1>")
	}
}

func (x *exchange) root(t []string) {
	if len(t) == 0 {
		x.groupPage(x.j.jobs.root, "Dashboard")
		return
	}
	if missingFile(t) {
		x.notFound()
		return
	}
	if webhook(t) && t[0] != "buildByToken" {
		x.text(http.StatusOK, "text/plain;charset=utf-8", "OK\n")
		return
	}
	rest := t[1:]
	switch t[0] {
	case "api":
		x.serveAPI(x.hudsonBean(), rest)
	case "job", "item", "view", "createItem":
		x.group(x.j.jobs.root, t)
	case "manage": // falls back to Jenkins itself
		if len(rest) == 0 {
			x.managePage()
			return
		}
		x.root(rest)
	case "me":
		if x.anonymous {
			x.denied(overallRead)
			return
		}
		x.userPage(x.user, rest)
	case "user":
		if len(rest) == 0 {
			x.notFound()
			return
		}
		x.userPage(rest[0], rest[1:])
	case "securityRealm":
		x.notFound() // this realm is no object of Stapler's
	case "crumbIssuer":
		x.crumbIssuer(rest)
	case "whoAmI":
		x.whoAmI(rest)
	case "queue":
		x.queue(rest)
	case "computer":
		x.computer(rest)
	case "pluginManager":
		x.pluginManager(rest)
	case "buildByToken":
		x.buildByToken(rest)
	case "login":
		x.loginPage()
	case "loginError":
		if !x.anonymous {
			x.redirect(x.j.cfg.Prefix + "/")
			return
		}
		x.page(http.StatusUnauthorized, "Invalid login", "<p>Invalid username or password</p>")
	case "logout":
		x.logout()
	case "health":
		if x.needSlash() {
			x.text(http.StatusOK, "application/json;charset=utf-8", `{"status":true}`)
		}
	case "cli":
		x.cli(rest)
	case "script", "scriptText":
		x.scriptConsole(t[0])
	case "rssAll", "rssFailed", "rssLatest":
		x.text(http.StatusOK, "application/atom+xml;charset=utf-8",
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><title>Jenkins:all (all builds)</title></feed>")
	case "search":
		x.search(rest)
	case "administrativeMonitor":
		x.setupMonitor(rest)
	case "quietDown", "cancelQuietDown":
		if x.requirePost() && x.permit(overallAdmin) {
			x.redirectHere()
		}
	case "scripts":
		x.script("/" + strings.Join(t, "/"))
	case "jnlpJars", "adjuncts", "favicon.ico", "favicon.svg", "robots.txt", "apple-touch-icon.png", "css", "images":
		x.text(http.StatusOK, "application/octet-stream", strings.Join(t, "/")+"\n")
	case "tcpSlaveAgentListener":
		x.Header().Set("X-Jenkins-JNLP-Port", "50000")
		x.Header().Set("X-Hudson-JNLP-Port", "50000")
		x.Header().Set("X-Jenkins-Agent-Protocols", "JNLP4-connect, Ping")
		x.text(http.StatusOK, "text/plain;charset=utf-8", "Jenkins\n")
	default:
		x.notFound()
	}
}

// permit refuses with 403 what the caller lacks the permission for. It reports whether to go on.
func (x *exchange) permit(p permission) bool {
	if x.anonymous || x.restricted {
		x.denied(p)
		return false
	}
	return true
}

func (x *exchange) whoAmI(rest []string) {
	switch {
	case len(rest) == 0:
		x.object("Who Am I?")
	case rest[0] == "api":
		x.serveAPI(bean{"hudson.security.WhoAmI", []prop{
			{"anonymous", 1, x.anonymous},
			{"authenticated", 1, true},
			{"authorities", 1, x.groups},
			{"name", 1, x.user},
		}}, rest[1:])
	default:
		x.notFound()
	}
}

// scriptConsole is Jenkins.doScript and doScriptText. A script says nothing but that it ran.
func (x *exchange) scriptConsole(name string) {
	switch {
	case !x.permit(overallAdmin):
	case name == "scriptText" && x.requirePost():
		x.text(http.StatusOK, "text/plain;charset=utf-8", "ran "+strconv.Itoa(len(x.param("script")))+" bytes\n")
	case name == "script":
		x.page(http.StatusOK, "Script Console", `<form method="post"><textarea name="script"></textarea><button>Run</button></form>`)
	}
}

// search is hudson.search.Search.
func (x *exchange) search(rest []string) {
	switch {
	case len(rest) == 0:
		x.object("Search")
	case rest[0] == "suggest" || rest[0] == "suggestOpenSearch":
		x.text(http.StatusOK, "application/json;charset=utf-8", `{"suggestions":[]}`)
	default:
		x.notFound()
	}
}

// userPage serves /user/<id>, which exists as soon as the user was seen.
func (x *exchange) userPage(id string, rest []string) {
	if _, known := x.j.users.Load(fold(id)); !known {
		x.notFound()
		return
	}
	switch {
	case len(rest) == 0:
		x.object(id)
	case rest[0] == "api":
		name := id
		if shown := latin1(x.r.Header.Get(x.j.cfg.DisplayNameHeader)); shown != "" && shown != "(null)" && id == x.user {
			name = shown
		}
		var property []bean
		if mail := latin1(x.r.Header.Get(x.j.cfg.MailHeader)); mail != "" && mail != "(null)" && id == x.user {
			property = append(property, bean{"hudson.tasks.Mailer$UserProperty", []prop{{"address", 3, mail}}})
		}
		x.serveAPI(bean{"hudson.model.User", []prop{
			{"absoluteUrl", 3, x.rootURL() + "user/" + url.PathEscape(strings.ToLower(id))},
			{"description", 1, nil},
			{"fullName", 3, name},
			{"id", 1, id},
			{"property", 1, property},
		}}, rest[1:])
	case rest[0] == "my-views" && fold(id) != fold(x.user) && !x.permit(overallAdmin): // SECURITY-534
	case rest[0] == "my-views" && len(rest) > 2 && rest[1] == "view":
		x.group(x.j.jobs.root, rest[3:])
	default:
		x.notFound()
	}
}

// logout expires each session cookie and goes to the root, by GET too and without a crumb for that.
func (x *exchange) logout() {
	if x.session != "" {
		x.run.forget(x.session)
		x.session = ""
	}
	for _, c := range x.r.Cookies() {
		if strings.HasPrefix(c.Name, "JSESSIONID.") {
			x.setCookie(c.Name+"=", "Path="+x.j.cookiePath(), "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Max-Age=0")
		}
	}
	x.redirect(x.j.cfg.Prefix + "/")
}

// hudsonBean is what /api/json shows.
func (x *exchange) hudsonBean() bean {
	all := bean{"hudson.model.AllView", []prop{{"name", 3, "all"}, {"url", 3, x.rootURL()}}}
	return bean{"hudson.model.Hudson", []prop{
		{"assignedLabels", 1, []bean{{"", []prop{{"name", 2, "built-in"}}}}},
		{"mode", 1, "NORMAL"},
		{"nodeDescription", 1, "the Jenkins controller's built-in node"},
		{"nodeName", 1, ""},
		{"numExecutors", 1, 2},
		{"description", 1, nil},
		{"jobs", 1, func() any { return x.itemBeans(x.j.jobs.root) }},
		{"overallLoad", 1, bean{}},
		{"primaryView", 1, all},
		{"quietDownReason", 1, nil},
		{"quietingDown", 1, false},
		{"slaveAgentPort", 1, 50000},
		{"unlabeledLoad", 1, bean{"jenkins.model.UnlabeledLoadStatistics", nil}},
		{"url", 1, x.rootURL()},
		{"useCrumbs", 1, x.j.csrf.Load()},
		{"useSecurity", 1, true},
		{"views", 1, []bean{all}},
	}}
}

func (x *exchange) computer(rest []string) {
	builtIn := bean{"hudson.model.Hudson$MasterComputer", []prop{
		{"actions", 1, []bean{}},
		{"assignedLabels", 1, []bean{{"", []prop{{"name", 2, "built-in"}}}}},
		{"description", 1, "the Jenkins controller's built-in node"},
		{"displayName", 2, "Built-In Node"},
		{"executors", 1, x.executorBeans()},
		{"icon", 1, "symbol-computer"},
		{"idle", 1, true},
		{"jnlpAgent", 1, false},
		{"launchSupported", 1, true},
		{"manualLaunchAllowed", 1, true},
		{"numExecutors", 1, 2},
		{"offline", 2, false},
		{"offlineCause", 1, nil},
		{"offlineCauseReason", 1, ""},
		{"oneOffExecutors", 1, []bean{}},
		{"temporarilyOffline", 1, false},
	}}
	switch {
	case len(rest) == 0:
		x.object("Nodes")
	case rest[0] == "api":
		x.serveAPI(bean{"hudson.model.ComputerSet", []prop{
			{"busyExecutors", 1, 0},
			{"computer", 1, []bean{builtIn}},
			{"displayName", 1, "Nodes"},
			{"totalExecutors", 1, 2},
		}}, rest[1:])
	case rest[0] == "configure" || rest[0] == "checkName" || rest[0] == "doCreateItem" || rest[0] == "createItem":
		if x.permit(overallAdmin) {
			x.page(http.StatusOK, "Nodes", "<h1>Configure</h1>")
		}
	case rest[0] != "(built-in)" && rest[0] != "(master)":
		x.notFound()
	case len(rest) == 1:
		x.object("Built-In Node")
	case rest[1] == "api":
		x.serveAPI(builtIn, rest[2:])
	default:
		x.notFound()
	}
}

// executorBeans are the two executors of the controller, with the builds that they run.
func (x *exchange) executorBeans() []bean {
	beans := []bean{{}, {}}
	s := &x.j.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.advance(now)
	at := 0
	var walk func(*item)
	walk = func(i *item) {
		for _, child := range i.children {
			walk(child)
		}
		if b := i.running(now); b != nil && at < len(beans) {
			beans[at].props = []prop{{"currentExecutable", 2, bean{b.class(), []prop{
				{"fullDisplayName", 3, b.job.fullName() + " #" + strconv.Itoa(b.number)}, {"number", 3, b.number}, {"url", 3, x.rootURL() + b.path()},
			}}}}
			at++
		}
	}
	walk(s.root)
	return beans
}

func (x *exchange) pluginManager(rest []string) {
	switch {
	case len(rest) == 0:
		x.object("Plugins")
	case rest[0] == "api":
		plugin := func(name, title, version string) bean {
			return bean{"", []prop{
				{"active", 1, true}, {"bundled", 1, false}, {"deleted", 1, false}, {"downgradable", 1, false},
				{"enabled", 1, true}, {"hasUpdate", 1, false}, {"longName", 1, title}, {"pinned", 1, false},
				{"shortName", 1, name}, {"supportsDynamicLoad", 1, "MAYBE"}, {"version", 1, version},
			}}
		}
		x.serveAPI(bean{"hudson.LocalPluginManager", []prop{{"plugins", 1, []bean{
			plugin("cloudbees-folder", "Folders Plugin", "6.1100.0"),
			plugin("reverse-proxy-auth-plugin", "Reverse Proxy Auth Plugin", "257.v7dc0e405b_624"),
		}}}}, rest[1:])
	default:
		x.notFound()
	}
}
