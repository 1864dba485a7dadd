// Package browser_test has a real browser, Debian's Chromium, sign in through the
// gateway and use the stand-in's pages, whose script treats crumbs as Jenkins'
// own does; and it opens pages of other origins, which try to act as that person.
package browser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
	"github.com/crumbgate/crumbgate/internal/ssotest"
)

const caddyfile = `{
	admin {$ADMIN}
	persist_config off
	crumbgate {
		storage bbolt {$STORE}
	}
}
http://{$SITE} {
	crumbgate_sso_headers Remote-User Remote-Groups Remote-Email Remote-Name
	@people {
		not crumbgate_token
		not crumbgate_public
	}
	forward_auth @people {$SSO} {
		uri /api/authz/forward-auth
		copy_headers Remote-User Remote-Groups Remote-Email Remote-Name
	}
	crumbgate {
		session {
			user {http.request.header.Remote-User}
			groups {http.request.header.Remote-Groups}
			mail {http.request.header.Remote-Email}
			display_name {http.request.header.Remote-Name}
		}
	}
	reverse_proxy {$JENKINS}
}
`

// triggerToken is that of the job "deploy": who knows it starts a build by a GET.
const triggerToken = "trigger-of-deploy"

// A world is a browser in which carol has signed in, and what it talks to.
type world struct {
	*gatewaytest.Gateway
	jenkins *jenkinstest.Jenkins
	sso     *ssotest.SSO
	browser context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, caddyfile)
}

func newWorldWith(t *testing.T, caddyfile string) *world {
	t.Helper()
	browser := startBrowser(t)
	jenkins, jenkinsURL := jenkinstest.Start(t, jenkinstest.Config{})
	for name, config := range map[string]string{
		"release": jenkinstest.ParameterizedXML,
		"deploy":  strings.Replace(jenkinstest.FreestyleXML, "<builders/>", "<authToken>"+triggerToken+"</authToken><builders/>", 1),
		"old":     jenkinstest.FreestyleXML,
		"older":   jenkinstest.FreestyleXML,
	} {
		if err := jenkins.AddJob(name, config); err != nil {
			t.Fatal(err)
		}
	}
	g := gatewaytest.New(t, jenkinsURL, caddyfile)
	sso, ssoURL := ssotest.Start(t, ssotest.Config{
		Flavour:      ssotest.Authelia,
		Users:        map[string]ssotest.User{"carol": {Groups: []string{"dev", "ops"}, Mail: "carol@example.org", Name: "Carol C."}},
		AllowedHosts: []string{strings.TrimPrefix(g.URL, "http://")},
	})
	g.Env = append(g.Env, "SSO="+strings.TrimPrefix(ssoURL, "http://"))
	g.Start(t)
	w := &world{Gateway: g, jenkins: jenkins, sso: sso, browser: browser}
	w.signIn(t)
	return w
}

// startBrowser starts a browser without a past, which runs until the test ends.
// Without Chromium the test is skipped, or fails if CRUMBGATE_REQUIRE_CHROMIUM says
// that it must run.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CRUMBGATE_REQUIRE_CHROMIUM") == "1" {
			t.Fatal(err)
		}
		t.Skipf("SKIP: %s: install Chromium (Debian: chromium): %v", t.Name(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*gatewaytest.Patience)
	t.Cleanup(cancel)
	var printed bytes.Buffer
	ctx, stop := chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path),
		chromedp.Headless,
		chromedp.NoSandbox, // its sandbox refuses to be started by root
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.CombinedOutput(&printed),
	)
	t.Cleanup(stop)
	browser, closeBrowser := chromedp.NewContext(ctx)
	t.Cleanup(closeBrowser)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return browser
}

// open opens a page in a new tab and returns the tab.
func (w *world) open(t *testing.T, url string) context.Context {
	t.Helper()
	tab, closeTab := chromedp.NewContext(w.browser)
	t.Cleanup(closeTab)
	do(t, tab, chromedp.Navigate(url))
	return tab
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, steps...); err != nil {
		t.Fatal(err)
	}
}

// signIn goes to Jenkins, is led to the log-in page, and from there back.
func (w *world) signIn(t *testing.T) {
	t.Helper()
	tab := w.open(t, w.URL+"/")
	if status := follow(t, tab, chromedp.SendKeys("#username", "carol"), chromedp.Click("#sign-in")); status != http.StatusOK {
		t.Fatalf("signing in: status %d", status)
	}
	user, err := chromedp.Run(tab, chromedp.TextContent("#user"))
	if err != nil || user != "carol" {
		t.Fatalf("Jenkins greets %q (%v), want carol", user, err)
	}
}

// follow does what leads to another page and returns the status of that.
func follow(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) int {
	t.Helper()
	response, err := chromedp.RunResponse(tab, steps...)
	if err != nil {
		t.Fatal(err)
	}
	return int(response.Status)
}

// TestOtherOrigins has pages of other origins try what a browser lets them. The
// single sign-on tells whether an attempt came with carol's cookie, so that it was
// the gateway alone that refused it.
func TestOtherOrigins(t *testing.T) {
	w := newWorld(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html><title>another origin</title><body></body>")
	}))
	t.Cleanup(page.Close)

	attempts := []struct {
		name   string
		path   string // with a query; that of the attempt follows
		script string // acts on url
		leaves bool   // the page, so that the answer is the next one; else refusal is awaited
		// What the browser sends the cookie with, which is SameSite=Lax, from another
		// port of the same host and from another host.
		sameSite, crossSite bool
		asksFirst           bool // the browser sends a preflight in place of the request
	}{
		{
			name: "form", path: "/job/deploy/build?delay=0sec", leaves: true, sameSite: true,
			script: `const f = document.createElement("form"); f.method = "post"; f.action = url; document.body.append(f); f.submit()`,
		},
		{
			name: "form with a file's type", path: "/job/deploy/build?delay=0sec", leaves: true, sameSite: true,
			script: `const f = document.createElement("form"); f.method = "post"; f.enctype = "multipart/form-data"; f.action = url; document.body.append(f); f.submit()`,
		},
		{
			name: "fetch", path: "/job/deploy/build?delay=0sec", sameSite: true,
			script: `return fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({a: 1})}).then(r => "sent, and may not be read: " + r.type, String)`,
		},
		{
			name: "fetch that asks first", path: "/job/deploy/?a=1", asksFirst: true,
			script: `return fetch(url, {method: "DELETE", credentials: "include"}).then(r => { throw r.status }, String)`,
		},
		{
			name: "image", path: "/job/deploy/build?token=" + triggerToken, sameSite: true,
			script: `return new Promise((done, failed) => { const i = new Image(); i.onerror = () => done("refused"); i.onload = failed; i.src = url })`,
		},
		{
			name: "link", path: "/job/deploy/build?token=" + triggerToken, leaves: true, sameSite: true, crossSite: true,
			script: `location.href = url`,
		},
		{
			name: "WebSocket", path: "/cli/ws?a=1", sameSite: true,
			script: `return new Promise((done, failed) => { const s = new WebSocket(url.replace("http", "ws")); s.onerror = () => done("refused"); s.onopen = failed })`,
		},
	}
	for _, origin := range []struct{ name, host string }{{"same site", "127.0.0.1"}, {"cross site", "localhost"}} {
		for i, a := range attempts {
			t.Run(origin.name+", "+a.name, func(t *testing.T) {
				tab := w.open(t, strings.Replace(page.URL, "127.0.0.1", origin.host, 1))
				mark := fmt.Sprintf("attempt=%s-%d", origin.host, i)
				w.jenkins.ResetRequests()
				preflights := strings.Count(w.Log(), preflightLine)
				script := fmt.Sprintf("(url => { %s })(%q)", a.script, w.URL+a.path+"&"+mark)
				withCookie := origin.host == "127.0.0.1" && a.sameSite || a.crossSite
				if a.leaves {
					status := follow(t, tab, chromedp.Evaluate[chromedp.Void](script))
					if withCookie && status != http.StatusForbidden {
						t.Errorf("status %d, want 403", status)
					}
				} else if _, err := chromedp.Run(tab, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); err != nil {
					t.Errorf("not refused: %v", err)
				}
				if a.asksFirst {
					w.checkPreflight(t, preflights)
				} else {
					w.checkAttempt(t, mark, withCookie)
				}
			})
		}
	}

	t.Run("own page", func(t *testing.T) {
		tab := w.open(t, w.URL+"/")
		w.jenkins.ResetRequests()
		if status := follow(t, tab, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("void (location.href = %q)", w.URL+"/job/deploy/build?token="+triggerToken))); status >= http.StatusBadRequest {
			t.Errorf("the same link on an own page: status %d", status)
		}
		for _, r := range w.jenkins.Requests() {
			if r.Path == "/job/deploy/build" && r.User == "carol" {
				return
			}
		}
		t.Error("the same link on an own page did not arrive as carol's")
	})
}

// preflightLine is in the log line of a refused preflight.
const preflightLine = `"method":"OPTIONS"`

// checkPreflight checks that a browser has asked whether it may make a request, that the gateway
// has refused, and that neither the sign-in nor Jenkins has received anything: a preflight has no cookies.
func (w *world) checkPreflight(t *testing.T, before int) {
	t.Helper()
	gatewaytest.Eventually(t, "the gateway logs the preflight", func() error {
		if strings.Count(w.Log(), preflightLine) == before {
			return errors.New("it has refused none")
		}
		return nil
	})
	for _, r := range w.jenkins.Requests() {
		if r.Method != http.MethodGet {
			t.Errorf("Jenkins received %s %s from %q", r.Method, r.RequestURI, r.User)
		}
	}
}

// checkAttempt checks that an attempt was made, with the cookie or without, and
// that Jenkins has received nothing of it.
func (w *world) checkAttempt(t *testing.T, mark string, withCookie bool) {
	t.Helper()
	made := false
	for _, r := range w.sso.Requests() {
		if strings.Contains(r.Header.Get("X-Forwarded-Uri"), mark) {
			made = true
			if (r.User == "carol") != withCookie {
				t.Errorf("the single sign-on was asked about %q, with carol's cookie: want %t", r.User, withCookie)
			}
		}
	}
	if !made {
		t.Error("the attempt did not reach the gateway")
	}
	for _, r := range w.jenkins.Requests() {
		if strings.Contains(r.RequestURI, mark) || r.Method != http.MethodGet {
			t.Errorf("Jenkins received %s %s from %q, status %d", r.Method, r.RequestURI, r.User, r.Status)
		}
	}
}
