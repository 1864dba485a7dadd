package jenkinstest

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// behavior is the script of all pages, at the address of Jenkins' own.
//
//go:embed pages.js
var behavior string

// behaviorPath is where pages find the script, under "/static/<8 hex digits>".
const behaviorPath = "/scripts/hudson-behavior.js"

// templates are the parts of the layout and what goes into it. Their element ids are for tests to click on.
var templates = template.Must(template.New("").Parse(`
{{define "layout"}}<!DOCTYPE html>
<html><head data-rooturl="{{.Root}}" data-resurl="{{.Res}}" data-extensions-available="true"
{{- with .Crumb}} data-crumb-header="{{$.CrumbField}}" data-crumb-value="{{.}}"{{end}} data-version="jenkins-{{.Version}}">
<title>{{.Title}}</title>
<script src="{{.Res}}{{.Script}}" defer></script>
</head><body id="jenkins">
<header><a id="home" href="{{.Root}}/">Jenkins</a> <a id="user" href="{{.Root}}/me/">{{.User}}</a> <a id="logout" href="{{.Root}}/logout">log out</a></header>
<div id="main-panel">{{.Body}}</div>
<output id="result" data-state="ready">ready</output>
</body></html>
{{end}}

{{define "items"}}<h1>{{.Title}}</h1>
<nav><a id="manage" href="{{.Root}}/manage/">Manage Jenkins</a> <a id="whoami" href="{{.Root}}/whoAmI/">Who am I</a></nav>
<table id="projectstatus">{{range .Items}}
<tr id="job_{{.Name}}"><td><a href="{{.URL}}">{{.Name}}</a></td></tr>{{end}}
</table>{{end}}

{{define "manage"}}<h1>Manage Jenkins</h1>
<form id="form-quiet-down" method="post" action="{{.Root}}/quietDown"><button id="quiet-down">Prepare for shutdown</button></form>
<button id="proxy-test" data-by="xhr" data-method="POST" data-href="{{.Root}}/administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor/test">Test the reverse proxy</button>
{{- end}}

{{define "job"}}<h1>{{.Title}}</h1>
<nav>
{{if .Parameters}}<a id="build-with-parameters" href="{{.URL}}build?delay=0sec">Build with Parameters</a>
{{else}}<a id="build-now" href="{{.URL}}build?delay=0sec" data-method="POST" data-href="{{.URL}}build?delay=0sec">Build Now</a>
{{end}}<button id="delete" data-method="DELETE" data-href="{{.URL}}">Delete</button>
<button id="delete-bare" data-method="DELETE" data-href="{{.URL}}" data-crumb-in="none">Delete without a crumb</button>
</nav>
{{if .Parameters}}{{template "forms" .}}{{end}}
<ol id="builds">{{range .Builds}}
<li value="{{.}}"><a id="console-{{.}}" href="{{$.URL}}{{.}}/console">#{{.}}</a></li>{{end}}
</ol>{{end}}

{{define "fields"}}{{range .Parameters}}<label>{{.Name}} <input class="parameter" name="{{.Name}}" value="{{.Value}}"></label>
{{end}}{{end}}

{{define "forms"}}
<form id="form-urlencoded" method="post" action="{{.URL}}buildWithParameters?delay=0sec">
{{template "fields" .}}<button id="submit-urlencoded">Build</button></form>
<form id="form-json" method="post" action="{{.URL}}build?delay=0sec" data-redirect-to="{{.URL}}" data-status-code="303">
{{template "fields" .}}<input type="hidden" name="json"><button id="submit-json">Build, as Jenkins' own form</button></form>
<form id="form-multipart" method="post" action="{{.URL}}buildWithParameters?delay=0sec" enctype="multipart/form-data">
{{template "fields" .}}<input id="file-multipart" type="file" name="UPLOAD"><button id="submit-multipart">Build with a file</button></form>
<form id="form-multipart-field" method="post" action="{{.URL}}buildWithParameters?delay=0sec" enctype="multipart/form-data" data-crumb-in="field">
{{template "fields" .}}<input id="file-multipart-field" type="file" name="UPLOAD"><button id="submit-multipart-field">Build with a file, crumb in the field only</button></form>
{{end}}

{{define "parameters"}}<h1>{{.Title}}</h1>{{template "forms" .}}{{end}}

{{define "console"}}<h1>{{.Title}}</h1><pre id="out" data-href="{{.URL}}logText/progressiveText"></pre>{{end}}

{{define "login"}}<form id="form-login" method="post" action="j_spring_security_check"><input id="j_username" name="j_username"><input id="j_password" name="j_password" type="password"><input name="remember_me" type="checkbox"><input name="from" type="hidden" value="{{.From}}">
{{- with .Crumb}}<input type="hidden" name="{{$.CrumbField}}" value="{{.}}">{{end}}<button name="Submit">Sign in</button></form>{{end}}
`))

// render fills in one of the pages.
func render(name string, data any) string {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("jenkinstest: page %s: %v", name, err)) // a mistake in templates
	}
	return b.String()
}

// page answers with a page in Jenkins' layout, which makes a session and holds a crumb for the page's own scripts. The
// body is HTML.
func (x *exchange) page(status int, title, body string) {
	x.getSession()
	h := x.Header()
	x.advertise()
	h.Set("Cache-Control", "no-cache,no-store,must-revalidate")
	if h.Get("Expires") == "" {
		h.Set("Expires", "0")
	}
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "sameorigin")
	h.Set("X-Hudson-Theme", "default")
	x.contentSecurityPolicy()
	x.text(status, "text/html;charset=utf-8", render("layout", struct {
		Root, Res, Script, CrumbField, Crumb, Version, Title, User string
		Body                                                       template.HTML
	}{
		x.j.cfg.Prefix, x.j.cfg.Prefix + "/static/" + x.run.hash, behaviorPath, x.j.cfg.CrumbField, x.pageCrumb(),
		x.j.cfg.Version, title, x.user, template.HTML(body),
	}))
}

// pageCrumb is the crumb of those who see a page; empty without CSRF protection.
func (x *exchange) pageCrumb() string {
	if !x.j.csrf.Load() {
		return ""
	}
	return x.issueCrumb()
}

// contentSecurityPolicy sets what Jenkins sends since 2.539 (jenkins.security.csp: BaseContributor, CspDecorator). It
// is enforced here, where Jenkins may only report: what the pages need must be in them as they are.
func (x *exchange) contentSecurityPolicy() {
	if x.j.minor < 539 {
		return
	}
	// The root URL is the request's, and the header isn't quoted, as the standard would have it.
	endpoint := x.origin() + x.j.cfg.Prefix + "/content-security-policy-reporting-endpoint/" + hex.EncodeToString([]byte(x.user))
	x.Header().Set("Content-Security-Policy", "base-uri 'none'; default-src 'self'; form-action 'self'; "+
		"frame-ancestors 'self'; img-src 'self' data:; script-src 'report-sample' 'self'; "+
		"style-src 'report-sample' 'self' 'unsafe-inline'; report-to content-security-policy; report-uri "+endpoint)
	x.Header().Set("Reporting-Endpoints", "content-security-policy: "+endpoint)
}

// reportOnlyPolicy sets what the refusal of a crumb bears: Jenkins' CspFilter runs before the crumb filter.
func (x *exchange) reportOnlyPolicy() {
	x.contentSecurityPolicy()
	h := x.Header()
	if policy := h.Get("Content-Security-Policy"); policy != "" {
		h.Set("Content-Security-Policy-Report-Only", policy)
		h.Del("Content-Security-Policy")
	}
}

// script serves the pages' script and, as a placeholder, any other.
func (x *exchange) script(path string) {
	if path == behaviorPath {
		x.text(http.StatusOK, "text/javascript;charset=utf-8", behavior)
		return
	}
	x.text(http.StatusOK, "application/octet-stream", path+"\n")
}

// link names something and its address under the server's root.
type link struct{ Name, URL string }

// groupPage serves the index page of Jenkins itself, a folder or a view of either.
func (x *exchange) groupPage(g *item, title string) {
	if !x.needSlash() {
		return
	}
	x.j.jobs.mu.Lock()
	var items []link
	for _, i := range slices.SortedFunc(maps.Values(g.children), byName) {
		items = append(items, link{i.name, x.j.cfg.Prefix + "/" + i.path()})
	}
	x.j.jobs.mu.Unlock()
	x.page(http.StatusOK, title+" - Jenkins", render("items", struct {
		Root, Title string
		Items       []link
	}{x.j.cfg.Prefix, title, items}))
}

// jobPage serves a page of a job: "job" or "parameters".
func (x *exchange) jobPage(i *item, status int, name string) {
	type parameter struct{ Name, Value string }
	var shown struct {
		Title, URL string
		Parameters []parameter
		Builds     []int // the latest first
	}
	s := &x.j.jobs
	s.mu.Lock()
	s.advance(time.Now())
	shown.Title, shown.URL = i.fullName(), x.j.cfg.Prefix+"/"+i.path()
	for _, d := range i.parameters() {
		shown.Parameters = append(shown.Parameters, parameter{d.Name, d.defaultValue()})
	}
	for _, b := range slices.Backward(i.builds) {
		shown.Builds = append(shown.Builds, b.number)
	}
	s.mu.Unlock()
	x.page(status, shown.Title+" - Jenkins", render(name, shown))
}

// consolePage serves the page that follows a build's console.
func (x *exchange) consolePage(b *build) {
	x.j.jobs.mu.Lock()
	title, url := fmt.Sprintf("%s #%d console", b.job.fullName(), b.number), x.j.cfg.Prefix+"/"+b.path()
	x.j.jobs.mu.Unlock()
	x.page(http.StatusOK, title, render("console", struct{ Title, URL string }{title, url}))
}

func (x *exchange) managePage() {
	if x.needSlash() {
		x.page(http.StatusOK, "Manage Jenkins", render("manage", struct{ Root string }{x.j.cfg.Prefix}))
	}
}

// loginPage serves the form that holds a crumb since 2.541 (SECURITY-1166).
func (x *exchange) loginPage() {
	crumb := ""
	if x.j.minor >= 541 {
		crumb = x.pageCrumb()
	}
	x.page(http.StatusOK, "Sign in - Jenkins", render("login", struct{ Root, From, CrumbField, Crumb string }{
		x.j.cfg.Prefix, x.param("from"), x.j.cfg.CrumbField, crumb,
	}))
}
