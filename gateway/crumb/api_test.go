package crumb_test

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
)

const defaultIssuer = "hudson.security.csrf.DefaultCrumbIssuer"

var issued = crumb.Issued{Class: defaultIssuer, Field: "Jenkins-Crumb", Crumb: "ab12"}

// serve asks for crumbIssuer/api/<path>, with the tail as the path's segments.
func serve(i crumb.Issued, method, path, query string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/crumbIssuer/api/"+path, nil)
	r.URL.RawQuery = query
	w := httptest.NewRecorder()
	tail := strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
	i.ServeAPI(w, r, tail)
	return w
}

func TestServeAPI(t *testing.T) {
	const (
		jsonType   = "application/json;charset=utf-8"
		xmlType    = "application/xml;charset=UTF-8"
		pythonType = "text/x-python;charset=UTF-8"
		textType   = "text/plain;charset=utf-8"

		plainJSON = `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"ab12","crumbRequestField":"Jenkins-Crumb"}`
		plainXML  = `<defaultCrumbIssuer _class='hudson.security.csrf.DefaultCrumbIssuer'><crumb>ab12</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>`
		class     = ` _class="hudson.security.csrf.DefaultCrumbIssuer"`
		decl      = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
		whole     = `<defaultCrumbIssuer` + class + `><crumb>ab12</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>`
		forbidden = "primitive XPath result sets forbidden; implement jenkins.security.SecureRequester"
	)
	odd := crumb.Issued{Class: "org.example.URLIssuer$Of_A'B", Field: `a<b>&"c\é`, Crumb: "\x01\n\u0085😀"}
	strict := crumb.Issued{Class: "org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer", Field: "crumb", Crumb: "cd34"}

	tests := []struct {
		name        string
		issued      crumb.Issued
		path, query string
		status      int
		contentType string
		body        string // "*": any
	}{
		{"json", issued, "json", "", 200, jsonType, plainJSON},
		{"json, slash", issued, "json/", "", 200, jsonType, plainJSON},
		{"json twice, as gojenkins", issued, "json/api/json", "", 200, jsonType, plainJSON},
		{"json, pretty", issued, "json", "pretty", 200, jsonType,
			"{\n  \"_class\" : \"hudson.security.csrf.DefaultCrumbIssuer\",\n  \"crumb\" : \"ab12\",\n  \"crumbRequestField\" : \"Jenkins-Crumb\"\n}"},
		{"json, tree", issued, "json", "tree=crumb", 200, jsonType, `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"ab12"}`},
		{"json, tree of all", issued, "json", "tree=*", 200, jsonType, plainJSON},
		{"json, tree with lists and ranges", issued, "json", "tree=a[b,c[d]],crumb{1,2},x[y]{,3},z{4},q{5,}", 200, jsonType,
			`{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"ab12"}`},
		{"json, tree inside a list", issued, "json", "tree=a[crumb]", 200, jsonType, `{"_class":"hudson.security.csrf.DefaultCrumbIssuer"}`},
		{"json, tree of nothing", issued, "json", "tree=", 500, textType, "malformed tree expression: expected name at 0"},
		{"json, tree left open", issued, "json", "tree=a[b", 500, textType, "malformed tree expression: expected end at 3"},
		{"json, tree closed twice", issued, "json", "tree=a[b]]", 500, textType, "malformed tree expression: expected end at 4"},
		{"json, bad range", issued, "json", "tree=a{x}", 500, textType, "malformed tree expression: expected range at 3"},
		{"json, depth", issued, "json", "depth=3", 200, jsonType, plainJSON},
		{"json, depth below zero", issued, "json", "depth=-1", 200, jsonType, `{"_class":"hudson.security.csrf.DefaultCrumbIssuer"}`},
		{"json, depth overflows an int", issued, "json", "depth=-2147483648", 200, jsonType, plainJSON},
		{"json, depth no number", issued, "json", "depth=x", 500, textType, "depth parameter must be a number"},
		{"json, semicolon in the query", issued, "json", "tree=a;b", 200, jsonType, `{"_class":"hudson.security.csrf.DefaultCrumbIssuer"}`},
		{"json, broken escape", issued, "json", "tree=%zz", 400, textType, "malformed query"},
		{"jsonp", issued, "json", "jsonp=f", 403, "text/html;charset=iso-8859-1", "*"},
		{"python", issued, "python", "", 200, pythonType, plainJSON},
		{"python, jsonp ignored", issued, "python", "jsonp=f", 200, pythonType, plainJSON},
		{"json, escapes", odd, "json", "tree=crumb", 200, jsonType, `{"_class":"org.example.URLIssuer$Of_A'B","crumb":"\u0001\u000a\u0085\ud83d\ude00"}`},
		{"json, quotes", odd, "json", "tree=crumbRequestField", 200, jsonType, `{"_class":"org.example.URLIssuer$Of_A'B","crumbRequestField":"a<b>&\"c\\é"}`},

		{"xml", issued, "xml", "", 200, xmlType, plainXML},
		{"xml, what follows is ignored", issued, "xml/api/xml", "", 200, xmlType, plainXML},
		{"xml, pretty ignored", issued, "xml", "pretty=true", 200, xmlType, plainXML},
		{"xml, wrapper alone ignored", issued, "xml", "wrapper=-", 200, xmlType, plainXML},
		{"xml, tree", issued, "xml", "tree=crumb", 200, xmlType, `<defaultCrumbIssuer _class='hudson.security.csrf.DefaultCrumbIssuer'><crumb>ab12</crumb></defaultCrumbIssuer>`},
		{"xml, depth no number", issued, "xml", "depth=x", 500, textType, "depth parameter must be a number"},
		{"xml, strict issuer", strict, "xml", "", 200, xmlType,
			`<strictCrumbIssuer _class='org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer'><crumb>cd34</crumb><crumbRequestField>crumb</crumbRequestField></strictCrumbIssuer>`},
		{"xml, escapes", odd, "xml", "tree=crumbRequestField", 200, xmlType,
			`<of_AB _class='org.example.URLIssuer$Of_A&apos;B'><crumbRequestField>a&lt;b&gt;&amp;"c\é</crumbRequestField></of_AB>`},
		{"xml, two capitals", crumb.Issued{Class: "x.URLIssuer"}, "xml", "tree=none", 200, xmlType, `<URLIssuer _class='x.URLIssuer'></URLIssuer>`},

		{"field by xpath", issued, "xml", "xpath=/*/crumbRequestField/text()", 200, textType, "Jenkins-Crumb"},
		{"crumb by xpath", issued, "xml", "xpath=/*/crumb/text()", 200, textType, "ab12"},
		{"header line", issued, "xml", `xpath=concat(//crumbRequestField,":",//crumb)`, 200, textType, "Jenkins-Crumb:ab12"},
		{"header line, wrapper ignored", issued, "xml", `wrapper=-&xpath=concat(//crumbRequestField,%22:%22,//crumb)`, 200, textType, "Jenkins-Crumb:ab12"},
		{"header line in single quotes", issued, "xml", "xpath=concat(//crumbRequestField,':',//crumb)", 403, textType, forbidden},
		{"form field", issued, "xml", "xpath=concat(//crumbRequestField,'=',//crumb)", 200, textType, "Jenkins-Crumb=ab12"},
		{"form field named like a variable", strict, "xml", "xpath=concat(//crumbRequestField,'=',//crumb)", 403, textType, forbidden},

		{"an element", issued, "xml", "xpath=//crumb", 200, xmlType, "<crumb>ab12</crumb>"},
		{"an element by place", issued, "xml", "xpath=/*/*[2]", 200, xmlType, "<crumbRequestField>Jenkins-Crumb</crumbRequestField>"},
		{"an element by its name", issued, "xml", "xpath=//*[name()='crumb']", 200, xmlType, "<crumb>ab12</crumb>"},
		{"an axis", issued, "xml", "xpath=//crumb/following-sibling::node()", 200, xmlType, "<crumbRequestField>Jenkins-Crumb</crumbRequestField>"},
		{"found twice, counted once", issued, "xml", "xpath=//crumb/..|//crumbRequestField/..", 200, xmlType, whole},
		{"the root element", issued, "xml", "xpath=/*", 200, xmlType, whole},
		{"the document", issued, "xml", "xpath=/", 200, xmlType, decl + whole},
		{"an attribute", issued, "xml", "xpath=//@_class", 200, xmlType, class},
		{"with a tree", issued, "xml", "tree=crumb&xpath=/*/*", 200, xmlType, "<crumb>ab12</crumb>"},
		{"with a depth that is no number", issued, "xml", "depth=x&xpath=//crumb", 200, xmlType, "<crumb>ab12</crumb>"},
		{"empty element", crumb.Issued{Class: "a.B"}, "xml", "xpath=//crumb", 200, xmlType, "<crumb/>"},
		{"escaped element", odd, "xml", "xpath=//crumbRequestField", 200, xmlType, `<crumbRequestField>a&lt;b&gt;&amp;"c\é</crumbRequestField>`},
		{"a text", issued, "xml", "xpath=//crumb/text()", 403, textType, forbidden},
		{"a string", issued, "xml", "xpath=string(//crumb)", 403, textType, forbidden},
		{"a number", issued, "xml", "xpath=count(//*)", 403, textType, forbidden},
		{"a boolean", issued, "xml", "xpath=//crumb='x'", 403, textType, forbidden},
		{"script in a string", issued, "xml", `xpath=concat('hack="',//crumb,'"')`, 403, textType, forbidden},
		{"no match", issued, "xml", "xpath=//nope", 404, textType, "XPath //nope didn’t match"},
		{"several", issued, "xml", "xpath=//*", 500, textType,
			`XPath "//*" matched 3 nodes. Create XPath that only matches one, or use the "wrapper" query parameter to wrap them all under a root element.`},
		{"empty expression", issued, "xml", "xpath=", 500, textType, "*"},
		{"bad syntax", issued, "xml", "xpath=//crumb[", 500, textType, "*"},
		{"unclosed string", issued, "xml", "xpath=concat('a", 500, textType, "*"},
		{"function of a newer XPath", issued, "xml", "xpath=string-join(//*,'x')", 500, textType, "*"},
		{"forbidden function", issued, "xml", "xpath=document('/etc/passwd')", 500, textType, "*"},
		{"variable", issued, "xml", "xpath=$x", 500, textType, "*"},
		{"too long", issued, "xml", "xpath=//" + strings.Repeat("a", 1023), 400, textType, "*"},

		{"wrapped", issued, "xml", "wrapper=w&xpath=/*/*", 200, xmlType, "<w><crumb>ab12</crumb><crumbRequestField>Jenkins-Crumb</crumbRequestField></w>"},
		{"wrapped, nested nodes come apart", issued, "xml", "wrapper=w&xpath=//node()", 200, xmlType,
			"<w><defaultCrumbIssuer" + class + "/><crumb/>ab12<crumbRequestField/>Jenkins-Crumb</w>"},
		{"wrapped text is allowed", issued, "xml", "wrapper=w&xpath=//text()", 200, xmlType, "<w>ab12Jenkins-Crumb</w>"},
		{"wrapped string is allowed", issued, "xml", "wrapper=w&xpath=concat('<',//crumb)", 200, xmlType, "<w>&lt;ab12</w>"},
		{"wrapped number", issued, "xml", "wrapper=w&xpath=1", 500, textType, "*"},
		{"wrapped attribute", issued, "xml", "wrapper=w&xpath=//@*", 200, xmlType, "<w" + class + "/>"},
		{"wrapped nothing", issued, "xml", "wrapper=w&xpath=//nope", 200, xmlType, "<w/>"},
		{"wrapped document", issued, "xml", "wrapper=w&xpath=/", 500, textType, "*"},
		{"wrapper with a tag", issued, "xml", "wrapper=w><script&xpath=//crumb", 400, textType,
			"The wrapper parameter can only contain alphanumeric characters or dash/dot/underscore. The first character has to be a letter or underscore."},
		{"wrapper with all that is allowed", issued, "xml", "wrapper=__W-..1&xpath=//nope", 200, xmlType, "<__W-..1/>"},

		{"exclude", issued, "xml", "exclude=//crumb", 200, xmlType,
			decl + "<defaultCrumbIssuer" + class + "><crumbRequestField>Jenkins-Crumb</crumbRequestField></defaultCrumbIssuer>"},
		{"exclude twice", issued, "xml", "exclude=//text()&exclude=//@*&xpath=/*", 200, xmlType, "<defaultCrumbIssuer><crumb/><crumbRequestField/></defaultCrumbIssuer>"},
		{"exclude of the root element", issued, "xml", "exclude=/*", 200, xmlType, decl + whole},
		{"exclude of a string", issued, "xml", "exclude='x'", 500, textType, "*"},

		{"index", issued, "", "", 200, "text/html;charset=utf-8", "*"},
		{"unknown flavour", issued, "ruby", "", 404, textType, "Not Found"},
		{"flavours have a case", issued, "JSON", "", 404, textType, "Not Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := serve(tt.issued, http.MethodGet, tt.path, tt.query)
			body := got.Body.String()
			if got.Code != tt.status || (tt.body != "*" && body != tt.body) {
				t.Errorf("%s?%s: %d %s\nwant %d %s", tt.path, tt.query, got.Code, body, tt.status, tt.body)
			}
			if h := got.Header().Get("Content-Type"); h != tt.contentType {
				t.Errorf("%s?%s: Content-Type %q, want %q", tt.path, tt.query, h, tt.contentType)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"} {
				if h := got.Header().Get(name); h != want {
					t.Errorf("%s?%s: %s %q, want %q", tt.path, tt.query, name, h, want)
				}
			}

			head := serve(tt.issued, http.MethodHead, tt.path, tt.query)
			if head.Code != got.Code || head.Body.Len() != 0 || head.Header().Get("Content-Length") != got.Header().Get("Content-Length") {
				t.Errorf("%s?%s: HEAD %d, length %s, %d bytes; GET %d, length %s", tt.path, tt.query,
					head.Code, head.Header().Get("Content-Length"), head.Body.Len(), got.Code, got.Header().Get("Content-Length"))
			}
		})
	}
}

// Expressions that would run for ages without a budget: each level multiplies the work or the length of a string.
var explosive = map[string]string{
	"nested predicates":  strings.Repeat("//*[", 150) + "false()" + strings.Repeat("]", 150),
	"up and down":        strings.Repeat("//*/..", 170),
	"all axes":           strings.Repeat("/descendant-or-self::node()/ancestor-or-self::node()", 19),
	"unions":             strings.Repeat("//*|", 250) + "//*",
	"comparison":         "//*[" + strings.Repeat("//node()=//node() or ", 45) + "false()]",
	"nested concat":      strings.Repeat("concat(//*,", 85) + "''" + strings.Repeat(")", 85),
	"nested replace":     strings.Repeat("replace(", 30) + "//crumb" + strings.Repeat(`,"","xxxxxxxxxx")`, 30),
	"nested string-join": strings.Repeat("string-join(//node(),", 40) + "'x'" + strings.Repeat(")", 40),
	"parentheses":        strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500),
	"minus signs":        strings.Repeat("-", 1000) + "1",
	"translate":          strings.Repeat("translate(", 60) + "//crumb" + strings.Repeat(",'a','bb')", 60),
}

func TestServeAPIXPathBudget(t *testing.T) {
	for name, expr := range explosive {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			w := serve(issued, http.MethodGet, "xml", url.Values{"xpath": {expr}, "wrapper": {"w"}}.Encode())
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v, status %d", took, w.Code)
			}
			if w.Body.Len() > 64<<10 {
				t.Errorf("answer of %d bytes, status %d", w.Body.Len(), w.Code)
			}
		})
	}
}

func FuzzServeAPI(f *testing.F) {
	for _, expr := range explosive {
		f.Add("Jenkins-Crumb", "ab12", "xml", url.Values{"xpath": {expr}}.Encode())
	}
	for _, query := range []string{"xpath=//crumb", "xpath=//*[1]&wrapper=w", "exclude=//@*&exclude=//crumb", "tree=a[b],crumb{1,2}&pretty", "depth=1"} {
		for _, flavour := range []string{"xml", "json", "python"} {
			f.Add(`a<"&>b`, "😀\x00", flavour, query)
		}
	}
	f.Fuzz(func(t *testing.T, field, secret, flavour, query string) {
		i := crumb.Issued{Class: defaultIssuer, Field: field, Crumb: secret}
		r := httptest.NewRequest(http.MethodGet, "/crumbIssuer/api/", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		start := time.Now()
		i.ServeAPI(w, r, []string{flavour})
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("%s?%s took %v", flavour, query, took)
		}
		if w.Code != http.StatusOK {
			return
		}
		switch w.Header().Get("Content-Type") {
		case "application/json;charset=utf-8", "text/x-python;charset=UTF-8":
			var got map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s?%s: %v in %q", flavour, query, err, w.Body)
			}
			if c, ok := got["crumb"]; ok && c != strings.ToValidUTF8(secret, "\ufffd") && strings.ToValidUTF8(secret, "") == secret {
				t.Fatalf("crumb %q became %q", secret, c)
			}
		case "application/xml;charset=UTF-8":
			if !xmlText(field) || !xmlText(secret) || strings.HasPrefix(w.Body.String(), " ") {
				return // no XML can hold these; an attribute stands alone as dom4j writes it
			}
			var got struct{}
			if err := xml.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%s?%s: %v in %q", flavour, query, err, w.Body)
			}
		}
	})
}

// xmlText tells whether XML 1.0 has all characters of s.
func xmlText(s string) bool {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return !strings.Contains(b.String(), "\ufffd")
}
