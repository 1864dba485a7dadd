package jenkinstest

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// write sends text; that the client may have gone is its own affair.
func (x *exchange) write(s string) { _, _ = io.WriteString(x, s) }

// text answers with a body of known length.
func (x *exchange) text(status int, contentType, body string) {
	if contentType != "" {
		x.Header().Set("Content-Type", contentType)
	}
	if status != http.StatusNoContent {
		x.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		x.write(body)
	}
}

// sendError is HttpServletResponse.sendError as Jetty 12 renders it (ee9 ErrorHandler): HTML, JSON or text by Accept,
// and an empty body when none of them is accepted. Such answers come from the container, so they have no X-Jenkins.
func (x *exchange) sendError(status int, message string) {
	x.Header().Set("Cache-Control", "must-revalidate,no-cache,no-store")
	uri, _, _ := strings.Cut(x.r.RequestURI, "?")
	rows := []struct{ name, value string }{
		{"URI", uri}, {"STATUS", strconv.Itoa(status)}, {"MESSAGE", message}, {"SERVLET", "Stapler"},
	}
	var b strings.Builder
	for _, mediaType := range x.acceptable() {
		switch mediaType {
		case "text/html", "text/*", "*/*":
			title := fmt.Sprintf("%d %s", status, html.EscapeString(message))
			b.WriteString("<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n")
			fmt.Fprintf(&b, "<title>Error %s</title>\n</head>\n<body><h2>HTTP ERROR %s</h2>\n<table>\n", title, title)
			for _, row := range rows {
				fmt.Fprintf(&b, "<tr><th>%s:</th><td>%s</td></tr>\n", row.name, html.EscapeString(row.value))
			}
			fmt.Fprintf(&b, "</table>\n<hr/><a href=\"https://jetty.org/\">Powered by Jetty:// %s</a><hr/>\n\n</body>\n</html>\n",
				x.j.jetty())
			x.text(status, "text/html;charset=iso-8859-1", b.String())
			return
		case "text/json", "application/json":
			member := func(name, value string) string {
				quoted, _ := json.Marshal(value) // escapes <, > and & as \u00xx, which reads the same
				return `"` + name + `":` + string(quoted)
			}
			b.WriteString("{\n" + strings.Join([]string{
				member("servlet", "Stapler"), member("message", html.EscapeString(message)),
				member("url", html.EscapeString(uri)), member("status", strconv.Itoa(status)),
			}, ",\n") + "\n}")
			x.text(status, mediaType, b.String())
			return
		case "text/plain":
			fmt.Fprintf(&b, "HTTP ERROR %d %s\n", status, html.EscapeString(message))
			for _, row := range rows {
				fmt.Fprintf(&b, "%s: %s\n", row.name, row.value)
			}
			x.text(status, "text/plain;charset=iso-8859-1", b.String())
			return
		}
	}
	x.text(status, "", "")
}

// acceptable lists the media types of Accept by quality, the more specific one first. No Accept means HTML. Parameters
// other than q stay, so "application/json;charset=utf-8" is none that Jetty knows (QuotedQualityCSV).
func (x *exchange) acceptable() []string {
	lines, present := x.r.Header["Accept"]
	if !present {
		return []string{"text/html"}
	}
	type mediaRange struct {
		name    string
		quality float64
	}
	var ranges []mediaRange
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		m := mediaRange{strings.ToLower(strings.TrimSpace(name)), 1}
		for parameter := range strings.SplitSeq(parameters, ";") {
			parameter = strings.TrimSpace(parameter)
			if q, ok := strings.CutPrefix(parameter, "q="); ok {
				if quality, err := strconv.ParseFloat(q, 64); err == nil {
					m.quality = quality
				}
			} else if parameter != "" {
				m.name += ";" + parameter
			}
		}
		if m.name != "" && m.quality > 0 {
			ranges = append(ranges, m)
		}
	}
	slices.SortStableFunc(ranges, func(a, b mediaRange) int {
		switch {
		case a.quality != b.quality:
			return int(1000 * (b.quality - a.quality))
		default:
			return strings.Count(a.name, "*") - strings.Count(b.name, "*")
		}
	})
	names := make([]string, len(ranges))
	for i, m := range ranges {
		names[i] = m.name
	}
	return names
}

// badMessage is Jetty's answer to a request head that it won't take in.
func (x *exchange) badMessage(status int, reason string) {
	x.Header().Set("Connection", "close")
	x.text(status, "text/html;charset=iso-8859-1", fmt.Sprintf("<h1>Bad Message %d</h1><pre>reason: %s</pre>", status, reason))
}

// starting is hudson.util.HudsonIsLoading, which serves all paths until Jenkins is up.
func (x *exchange) starting() {
	x.readBody()
	x.Header().Set("Retry-After", "5")
	x.text(http.StatusServiceUnavailable, "text/html;charset=utf-8", "<html><body><h1>Starting Jenkins</h1><p>Please wait while Jenkins is getting ready to work</p></body></html>")
}

// adminPadding makes Jenkins' 404 page as large as an administrator sees it: an image stands inside its header.
var adminPadding = "<!-- " + strings.Repeat("x", 84_000) + " -->"

// advertise is Functions.advertiseHeaders: what pages carry. API answers have the last two only.
func (x *exchange) advertise() {
	x.Header().Set("X-Hudson", "1.395")
	x.Header().Set("X-Jenkins", x.j.cfg.Version)
	x.Header().Set("X-Jenkins-Session", x.run.hash)
}

// notFound is the error page that Jenkins' web-fragment.xml names for 404. It is drawn in the layout by a dispatch to
// /404 inside Jenkins, and so has X-Jenkins and makes a session. That holds for a removed crumb issuer as well:
// Jenkins.getCrumbIssuer returns null, Stapler.invoke calls sendError(404) on a null node, and the container dispatches
// to /404 (Jenkins.generateNotFoundResponse, _404.jelly, l:layout).
func (x *exchange) notFound() {
	body := `<h1>Oops!</h1><div id="error-description"><h2>Not Found</h2></div>`
	if !x.anonymous && !x.restricted {
		body += adminPadding
	}
	x.page(http.StatusNotFound, "Jenkins", body)
}

// oops is the page for an exception that nobody caught.
func (x *exchange) oops() {
	x.page(http.StatusInternalServerError, "Jenkins", `<h1>Oops!</h1><h2>A problem occurred while processing the request</h2>`)
}

// failure is hudson.model.Failure: 400 with the message as X-Error. What Latin-1 lacks becomes a question mark, as in
// the container.
func (x *exchange) failure(message string) {
	latin := strings.Map(func(c rune) rune {
		if c > 0x7e || c < 0x20 {
			return '?'
		}
		return c
	}, message)
	x.Header().Set("X-Error", latin)
	x.page(http.StatusBadRequest, "Error", "<h1>Error</h1><p>"+html.EscapeString(message)+"</p>")
}

// requirePost refuses other methods of what only POST may do. It reports whether to go on.
func (x *exchange) requirePost() bool {
	if x.r.Method == http.MethodPost {
		return true
	}
	x.Header().Set("Allow", "POST")
	x.page(http.StatusMethodNotAllowed, "POST required", `<form method="post" action="`+html.EscapeString(x.r.RequestURI)+
		`">This URL requires POST<button name="Submit">Retry using POST</button></form>`)
	return false
}

// wrongTriggerToken is an AccessDeniedException of Spring's own, which names no permission.
func (x *exchange) wrongTriggerToken() {
	x.page(http.StatusForbidden, "Jenkins", "<h1>Access Denied</h1><p>Invalid token provided.</p>")
}

// permission is a Jenkins permission with those that imply it, as the X- headers name them.
type permission struct {
	id      string
	title   string
	implied []string
}

var (
	administer   = "hudson.model.Hudson.Administer"
	overallRead  = permission{"hudson.model.Hudson.Read", "Overall/Read", []string{"hudson.security.Permission.GenericRead", administer}}
	itemBuild    = permission{"hudson.model.Item.Build", "Job/Build", []string{"hudson.security.Permission.GenericUpdate", administer}}
	itemChange   = permission{"hudson.model.Item.Configure", "Job/Configure", []string{"hudson.security.Permission.GenericUpdate", administer}}
	overallAdmin = permission{administer, "Overall/Administer", nil}
)

// denied is an AccessDeniedException3: the log-in hint of HudsonAuthenticationEntryPoint for anonymous, an Access
// Denied page for others, always with headers that tell the missing permission. Scripts' requests get the container's
// page without them.
func (x *exchange) denied(p permission) {
	if x.anonymous && x.r.Header.Get("X-Requested-With") == "XMLHttpRequest" {
		x.sendError(http.StatusForbidden, "Forbidden")
		return
	}
	h := x.Header()
	h.Set("X-You-Are-Authenticated-As", x.user)
	h.Set("X-You-Are-In-Group-Disabled", "JENKINS-39402: use -Dhudson.security.AccessDeniedException2.REPORT_GROUP_HEADERS=true or use /whoAmI to diagnose")
	h.Set("X-Required-Permission", p.id)
	for _, id := range p.implied {
		h.Add("X-Permission-Implied-By", id)
	}
	x.getSession()
	if !x.anonymous {
		x.page(http.StatusForbidden, "Jenkins", "<h1>Access Denied</h1><p>"+html.EscapeString(x.user)+" is missing the "+p.title+" permission</p>")
		return
	}
	x.advertise()
	target := html.EscapeString(x.j.cfg.Prefix + "/login?from=" + url.QueryEscape(x.r.RequestURI))
	var b strings.Builder
	fmt.Fprintf(&b, "<html><head><meta http-equiv='refresh' content='1;url=%s'/><script id='redirect' data-redirect-url='%s' src='%s/static/%s/scripts/redirect.js'></script></head>",
		target, target, x.j.cfg.Prefix, x.run.hash)
	b.WriteString("<body style='background-color:white; color:white;'>\nAuthentication required\n<!--\n")
	fmt.Fprintf(&b, "You are authenticated as: %s\nGroups that you are in:\n", x.user)
	for _, group := range x.groups {
		fmt.Fprintf(&b, "  %s\n", group)
	}
	fmt.Fprintf(&b, "Permission you need to have (but didn't): %s\n", p.id)
	for _, id := range p.implied {
		fmt.Fprintf(&b, " ... which is implied by: %s\n", id)
	}
	b.WriteString("-->\n\n</body></html>" + strings.Repeat(" ", 300))
	x.text(http.StatusForbidden, "text/html;charset=UTF-8", b.String())
}

// redirect is a 302 through the container: a path for Jetty 12, an absolute URL before (2.472). A target that begins
// with a scheme is kept.
func (x *exchange) redirect(target string) {
	if strings.HasPrefix(target, "/") && x.j.minor < 472 {
		target = x.origin() + target
	}
	x.Header().Set("Location", target)
	x.text(http.StatusFound, "", "")
}

// redirectHere is sendRedirect("."): the directory of the request's own path.
func (x *exchange) redirectHere() {
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	x.redirect(path[:strings.LastIndexByte(path, '/')+1])
}

// redirectBack is forwardToPreviousPage.
func (x *exchange) redirectBack() {
	if referer := x.r.Header.Get("Referer"); referer != "" {
		x.redirect(referer)
		return
	}
	x.redirectHere()
}

// created answers with a Location that is absolute in every version, since Stapler itself builds it for all but 302.
func (x *exchange) created(status int, path string) {
	x.Header().Set("Location", x.origin()+x.j.cfg.Prefix+path)
	x.text(status, "", "")
}
