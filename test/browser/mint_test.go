package browser_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A script in a page of Jenkins, from an artifact or a plugin, has the user's session
// and crumb. It makes no token with them, neither at Jenkins' endpoints nor on the
// gateway's pages. The answer that Jenkins' own button shows names the page.
func TestScriptInJenkinsPageMakesNoToken(t *testing.T) {
	w := newWorldWith(t, strings.Replace(caddyfile, "\tcrumbgate {\n\t\tsession {", "\tcrumbgate {\n\t\ttoken_api answer\n\t\tsession {", 1))
	const helpers = `
		const endpoint = "/me/descriptorByName/jenkins.security.ApiTokenProperty/";
		const crumb = async () => { const c = await (await fetch("/crumbIssuer/api/json")).json(); return {[c.crumbRequestField]: c.crumb} };
		const text = async r => r.status + " " + await r.text();
		const form = { newTokenName: "stolen", newTokenPlainValue: "11" + "a".repeat(32), expirationDuration: "never" };
	`
	for _, attempt := range []struct{ name, script, want string }{
		{
			"as Jenkins' button does it",
			`return text(await fetch(endpoint + "generateNewToken", {method: "POST", headers: await crumb(), body: new URLSearchParams(form)}))`,
			"/crumbgate/",
		},
		{
			"a fixed token",
			`return text(await fetch(endpoint + "addFixedToken", {method: "POST", headers: await crumb(), body: new URLSearchParams(form)}))`,
			"/crumbgate/",
		},
		{
			"the gateway's page, read",
			`return text(await fetch("/crumbgate/new"))`,
			"403",
		},
		{
			"the gateway's page, in a frame",
			`const f = document.createElement("iframe"); f.src = "/crumbgate/new"; document.body.append(f);
			await new Promise(done => f.onload = done);
			try { return "read: " + f.contentDocument.querySelector("input[name=crumb]").value } catch (e) { return "not read" }`,
			"not read",
		},
		{
			"the gateway's page, in a tab",
			`const tab = window.open("/crumbgate/new"); // blocked, or cut off from its opener
			while (tab && !tab.closed) await new Promise(done => setTimeout(done, 50));
			try { return "read: " + tab.document.querySelector("input[name=crumb]").value } catch (e) { return "not read" }`,
			"not read",
		},
		{
			"the gateway's form, sent",
			`return text(await fetch("/crumbgate/new", {method: "POST", headers: await crumb(), body: new URLSearchParams({name: "stolen", life: "never", access: "full"})}))`,
			"403",
		},
	} {
		t.Run(attempt.name, func(t *testing.T) {
			tab := w.open(t, w.URL+"/")
			got, err := chromedp.Run(tab, chromedp.Evaluate[string]("(async () => {"+helpers+attempt.script+"})()", chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got, attempt.want) {
				t.Errorf("the script gets %.300s, want %q", got, attempt.want)
			}
		})
	}
	t.Run("a form that the page sends", func(t *testing.T) {
		tab := w.open(t, w.URL+"/")
		status := follow(t, tab, chromedp.Evaluate[chromedp.Void](`void (async () => {
			const c = await (await fetch("/crumbIssuer/api/json")).json();
			const f = document.createElement("form"); f.method = "post"; f.action = "/me/descriptorByName/jenkins.security.ApiTokenProperty/generateNewToken";
			for (const [name, value] of [["newTokenName", "stolen"], [c.crumbRequestField, c.crumb]]) {
				const i = document.createElement("input"); i.name = name; i.value = value; f.append(i);
			}
			document.body.append(f); f.submit();
		})()`))
		if status != http.StatusOK { // an error in JSON, as Jenkins has them
			t.Errorf("status %d, want 200", status)
		}
	})
	list, err := w.API().Tokens(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Tokens) != 0 {
		t.Errorf("tokens were made: %+v", list.Tokens)
	}
	for _, r := range w.jenkins.Requests() {
		if r.Method == http.MethodPost {
			t.Errorf("Jenkins got POST %s", r.RequestURI)
		}
	}
}
