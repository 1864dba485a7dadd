package jenkinstest

import (
	"net/http"
	"net/url"
	"strings"
)

// setupMonitor is hudson.diagnosis.ReverseProxySetupMonitor, by which an administrator's browser finds out whether a
// proxy decodes or collapses an encoded URL in a path, and whether the root URL of a request is what the browser sees.
func (x *exchange) setupMonitor(t []string) {
	const path = "administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor/testForReverseProxySetup/"
	if len(t) < 2 || t[0] != "hudson.diagnosis.ReverseProxySetupMonitor" {
		x.notFound()
		return
	}
	if !x.permit(overallAdmin) {
		return
	}
	switch t[1] {
	case "test":
		x.redirect(x.rootURL() + path + url.QueryEscape(x.r.Header.Get("Referer")) + "/")
	case "testForReverseProxySetup":
		inferred := x.origin() + x.j.cfg.Prefix + "/manage"
		rest := strings.Join(t[2:], "/")
		if strings.HasPrefix(rest, inferred) {
			x.text(http.StatusOK, "", "")
			return
		}
		x.text(http.StatusNotFound, "text/plain;charset=utf-8", inferred+" vs. "+rest)
	default:
		x.notFound()
	}
}
