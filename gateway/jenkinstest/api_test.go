package jenkinstest_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

func TestCrumbIssuerAPI(t *testing.T) {
	j, root := jenkinstest.Start(t, jenkinstest.Config{})
	query := func(path, xpath, more string) string { return path + "?xpath=" + url.QueryEscape(xpath) + more }
	const hash = "[0-9a-f]{64}"
	const text = "text/plain;charset=utf-8"
	const xml = "application/xml;charset=UTF-8"
	tests := []struct {
		name, path  string
		status      int
		contentType string
		body        string // pattern
	}{
		{"3.4 json", "/crumbIssuer/api/json", 200, "application/json;charset=utf-8", `^{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"` + hash + `","crumbRequestField":"Jenkins-Crumb"}$`},
		{"3.4 xml", "/crumbIssuer/api/xml", 200, xml, `^<defaultCrumbIssuer _class='hudson.security.csrf.DefaultCrumbIssuer'><crumb>` + hash + `</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>$`},
		{"3.4 python", "/crumbIssuer/api/python", 200, "text/x-python;charset=utf-8", `^{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"` + hash + `","crumbRequestField":"Jenkins-Crumb"}$`},
		{"8.4 doubled suffix", "/crumbIssuer/api/json/api/json", 200, "application/json;charset=utf-8", `"crumb":"` + hash},
		{"3.4 trailing slash", "/crumbIssuer/api/json/", 200, "application/json;charset=utf-8", `"crumb":"` + hash},
		{"3.4 tree", "/crumbIssuer/api/json?tree=crumbRequestField", 200, "application/json;charset=utf-8", `^{"_class":"[^"]+","crumbRequestField":"Jenkins-Crumb"}$`},
		{"3.4 bad tree", "/crumbIssuer/api/json?tree=crumb[", 400, "text/html;charset=iso-8859-1", `Malformed tree`},
		{"3.4 jsonp", "/crumbIssuer/api/json?jsonp=x", 403, "text/html;charset=iso-8859-1", "jsonp forbidden; implement jenkins.security.SecureRequester"},
		{"3.4 other flavour", "/crumbIssuer/api/yaml", 404, "text/html;charset=utf-8", ""},
		{"3.4 no index page", "/crumbIssuer/", 404, "text/html;charset=utf-8", ""},
		{"3.4 allowed: field", query("/crumbIssuer/api/xml", "/*/crumbRequestField/text()", ""), 200, text, "^Jenkins-Crumb$"},
		{"3.4 allowed: crumb", query("/crumbIssuer/api/xml", "/*/crumb/text()", ""), 200, text, "^" + hash + "$"},
		{"3.4 allowed: header line", query("/crumbIssuer/api/xml", `concat(//crumbRequestField,":",//crumb)`, ""), 200, text, "^Jenkins-Crumb:" + hash + "$"},
		{"3.4 allowed: form field", query("/crumbIssuer/api/xml", "concat(//crumbRequestField,'=',//crumb)", ""), 200, text, "^Jenkins-Crumb=" + hash + "$"},
		{"3.4 other quotes", query("/crumbIssuer/api/xml", "concat(//crumbRequestField,':',//crumb)", ""), 403, "text/html;charset=iso-8859-1", "primitive XPath result sets forbidden"},
		{"3.4 a blank more", query("/crumbIssuer/api/xml", `concat(//crumbRequestField, ":",//crumb)`, ""), 403, "text/html;charset=iso-8859-1", "primitive XPath result sets forbidden"},
		{"3.4 text", query("/crumbIssuer/api/xml", "//crumb/text()", ""), 403, "text/html;charset=iso-8859-1", "primitive"},
		{"3.4 number", query("/crumbIssuer/api/xml", "count(//crumb)", ""), 403, "text/html;charset=iso-8859-1", "primitive"},
		{"3.4 element", query("/crumbIssuer/api/xml", "//crumb", ""), 200, xml, "^<crumb>" + hash + "</crumb>$"},
		{"3.4 root element", query("/crumbIssuer/api/xml", "/*", ""), 200, xml, "^<defaultCrumbIssuer _class=.*</defaultCrumbIssuer>$"},
		{"3.4 no match", query("/crumbIssuer/api/xml", "//none", ""), 404, "", "^XPath //none didn’t match$"},
		{"3.4 several", query("/crumbIssuer/api/xml", "/*/*", ""), 500, "", `^XPath "/\*/\*" matched 2 nodes`},
		{"3.4 several in a wrapper", query("/crumbIssuer/api/xml", "/*/*", "&wrapper=w"), 200, xml, "^<w><crumb>" + hash + "</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></w>$"},
		{"3.4 bad wrapper", query("/crumbIssuer/api/xml", "/*/*", "&wrapper=1"), 400, "", "wrapper"},
		{"3.4 exclude", "/crumbIssuer/api/xml?exclude=" + url.QueryEscape("//crumb"), 200, xml, `^<\?xml version="1.0" encoding="UTF-8"\?>\n<defaultCrumbIssuer [^?]*<crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>$`},
		{"3.4 broken expression", query("/crumbIssuer/api/xml", "//[", ""), 500, "text/html;charset=utf-8", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := send(t, "GET", root+tt.path, "", alice)
			if a.StatusCode != tt.status || tt.contentType != "" && a.Header.Get("Content-Type") != tt.contentType || !matches(tt.body, a.body) {
				t.Errorf("GET %s = %d %q %q, want %d %q %q", tt.path, a.StatusCode, a.Header.Get("Content-Type"), a.body, tt.status, tt.contentType, tt.body)
			}
			if a.StatusCode == 200 && a.Header.Get("X-Frame-Options") != "deny" {
				t.Errorf("X-Frame-Options: %q", a.Header.Get("X-Frame-Options"))
			}
		})
	}
	if a := send(t, "GET", root+"/crumbIssuer", "", alice); a.StatusCode != 302 || a.Header.Get("Location") != "/crumbIssuer/" {
		t.Errorf("GET /crumbIssuer = %d %q", a.StatusCode, a.Header.Get("Location"))
	}
	j.ResetRequests()
	crumbFor(t, root, "alice")
	if got := j.CrumbFetches(); got != 1 {
		t.Errorf("CrumbFetches() = %d, want 1", got)
	}
}

func TestTreeAndDepth(t *testing.T) { // 7.2
	j, root := jenkinstest.Start(t, jenkinstest.Config{})
	addJobs(t, j)
	tests := []struct{ name, path, body string }{
		{"names only", "/api/json?tree=jobs[name]", `{"_class":"hudson.model.Hudson","jobs":[{"_class":"hudson.model.FreeStyleProject","name":"a"},{"_class":"hudson.model.FreeStyleProject","name":"doomed"},{"_class":"com.cloudbees.hudson.plugins.folder.Folder","name":"F"},{"_class":"org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject","name":"M"},{"_class":"hudson.model.FreeStyleProject","name":"p"}]}`},
		{"range", "/api/json?tree=jobs[name]{1,2}", `{"_class":"hudson.model.Hudson","jobs":[{"_class":"hudson.model.FreeStyleProject","name":"doomed"}]}`},
		{"children of folders in one answer", "/job/F/api/json?tree=name,jobs[name,jobs[name]]", `{"_class":"com.cloudbees.hudson.plugins.folder.Folder","name":"F","jobs":[{"_class":"hudson.model.FreeStyleProject","name":"a"}]}`},
		{"all builds only by tree", "/job/a/api/json?tree=allBuilds[number]", `{"_class":"hudson.model.FreeStyleProject","allBuilds":[]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := send(t, "GET", root+tt.path, "", alice); a.body != tt.body {
				t.Errorf("GET %s = %s, want %s", tt.path, a.body, tt.body)
			}
		})
	}
	shallow := send(t, "GET", root+"/api/json", "", alice).body
	deep := send(t, "GET", root+"/api/json?depth=1", "", alice).body
	if strings.Contains(shallow, "buildable") || !strings.Contains(deep, "buildable") {
		t.Errorf("depth=0: %s\ndepth=1: %s", shallow, deep)
	}
	for _, path := range []string{"/api/json", "/job/a/api/json?depth=2", "/queue/api/json", "/computer/api/json", "/pluginManager/api/json?depth=1", "/view/all/api/json", "/computer/(built-in)/api/json"} {
		a := send(t, "GET", root+path, "", alice)
		var v struct {
			Class string `json:"_class"`
		}
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || v.Class == "" {
			t.Errorf("GET %s: %v: %s", path, err, a.body)
		}
	}
	if a := send(t, "GET", root+"/job/p/api/xml?tree=name,property[parameterDefinitions[name]]", "", alice); a.body != "<freeStyleProject _class='hudson.model.FreeStyleProject'><name>p</name><property _class='hudson.model.ParametersDefinitionProperty'><parameterDefinition _class='hudson.model.StringParameterDefinition'><name>BRANCH</name></parameterDefinition><parameterDefinition _class='hudson.model.StringParameterDefinition'><name>DURATION</name></parameterDefinition></property></freeStyleProject>" {
		t.Errorf("XML: %s", a.body)
	}
}
