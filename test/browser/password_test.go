package browser_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// passwords returns the Caddyfile of the recipe "Passwords in the Caddyfile" in
// docs/sso.md, on the addresses of the test.
func passwords(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/sso.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile("(?s)## Passwords in the Caddyfile.*?```caddyfile\n(.*?)```").FindSubmatch(page)
	if recipe == nil {
		t.Fatal("docs/sso.md has no recipe for passwords")
	}
	site := regexp.MustCompile(`(?m)^http://\S+ \{`).ReplaceAllString(string(recipe[1]), "http://{$$SITE} {")
	site = regexp.MustCompile(`reverse_proxy \S+`).ReplaceAllString(site, "reverse_proxy {$$JENKINS}")
	return "{\n\tadmin {$ADMIN}\n\tpersist_config off\n\tcrumbgate {\n\t\tstorage bbolt {$STORE}\n\t}\n}\n" + site
}

// A browser that has been asked for a password sends it with every request, also for the
// scripts, styles and images that are open to everybody. None of these is answered by 401,
// which would have the browser ask again.
func TestBrowserThatKeepsAPassword(t *testing.T) {
	browser := startBrowser(t)
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, passwords(t))
	w := &world{Gateway: g, jenkins: jenkins, browser: browser}

	// The hash in the recipe is of this password.
	w.open(t, strings.Replace(g.URL, "http://", "http://alice:hiccup@", 1)+"/")
	tab := w.open(t, g.URL+"/")
	if user, err := chromedp.Run(tab, chromedp.TextContent("#user")); err != nil || user != "alice" {
		t.Fatalf("Jenkins greets %q (%v), want alice", user, err)
	}
	asked := strings.Count(g.Log(), "invalid credentials") + strings.Count(g.Log(), "request refused")
	const script = `(async () => {
		const wrong = [];
		for (const path of ["/favicon.ico", "/robots.txt", "/static/1a2b3c4d/scripts/hudson-behavior.js", "/static/1a2b3c4d/jsbundles/styles.css",
			"/static/1a2b3c4d/images/none.svg", "/adjuncts/1a2b3c4d/lib/form/none.js", "/css/none.css", "/images/none.png", "/login", "/job/none/"]) {
			const answer = await fetch(path, {credentials: "include"});
			if (answer.status === 401) wrong.push(path);
		}
		return wrong.join(" ");
	})()`
	wrong, err := chromedp.Run(tab, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil || wrong != "" {
		t.Errorf("the browser asks for the password again at %s (%v)", wrong, err)
	}
	if n := strings.Count(g.Log(), "invalid credentials") + strings.Count(g.Log(), "request refused"); n != asked {
		t.Errorf("%d requests of the page were refused", n-asked)
	}
	// The script of the page itself has been loaded, with the password.
	loaded := false
	for _, r := range jenkins.Requests() {
		if r.Header["Authorization"] != nil {
			t.Errorf("the password reached Jenkins with %s", r.Path)
		}
		loaded = loaded || strings.HasSuffix(r.Path, "/scripts/hudson-behavior.js")
	}
	if !loaded {
		t.Error("the page's script was not asked for")
	}
}
