package browser_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// A pagesWorld is a browser and the pages of tokens, on which everybody is carol.
type pagesWorld struct {
	*token.Directory
	t       *testing.T
	url     string
	browser context.Context

	mu      sync.Mutex
	now     time.Time // zero: the time it is
	origins []string  // of POSTs
}

func newPagesWorld(t *testing.T) *pagesWorld {
	t.Helper()
	w := &pagesWorld{t: t, browser: startBrowser(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var audited []selfservice.AuditEntry
	w.Directory, err = token.Open(t.Context(), store, token.Config{
		Log: slog.New(slog.DiscardHandler), Now: w.clock,
		Told: func(e token.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			entry := selfservice.AuditEntry{
				Time: w.now, Kind: string(e.Kind), Actor: e.Actor.Name, Via: e.Actor.Via, Addr: e.Actor.Addr, Owner: string(e.User), Detail: e.Detail,
			}
			if e.Token != nil {
				entry.TokenID, entry.TokenName = e.Token.ID, e.Token.Name
			}
			audited = append([]selfservice.AuditEntry{entry}, audited...)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	keys := crumb.NewKeys()
	pages, err := selfservice.New(selfservice.Config{
		Directory: func() (*token.Directory, error) { return w.Directory, nil },
		CrumbKeys: func() (*crumb.Keys, error) { return keys, nil },
		Admin:     func(*token.Profile) bool { return true },
		Audit: func(context.Context, selfservice.AuditQuery) ([]selfservice.AuditEntry, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return audited[:min(len(audited), 50)], nil
		},
		Now: w.clock, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	carol := &token.Profile{User: "carol", DisplayName: "Carol Castellano"}
	guarded := http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/job/report/" { // of Jenkins, as it may be
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprint(rw, "<!DOCTYPE html><title>a report</title><button>more</button>")
			return
		}
		if r.Method == http.MethodPost {
			w.mu.Lock()
			w.origins = append(w.origins, r.Header.Get("Origin"))
			w.mu.Unlock()
		}
		pages.ServeHTTP(rw, r, carol, "192.0.2.7")
	}))
	server := httptest.NewServer(guarded)
	t.Cleanup(server.Close)
	w.url = server.URL + selfservice.DefaultPrefix
	return w
}

func (w *pagesWorld) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.IsZero() {
		return time.Now()
	}
	return w.now
}

// at makes it the day that is so many days before the last one.
func (w *pagesWorld) at(daysAgo int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC).AddDate(0, 0, -daysAgo)
}

func (w *pagesWorld) make(daysAgo int, user, name, expires string, scopes ...string) *token.Token {
	w.t.Helper()
	w.at(daysAgo)
	request := token.Request{User: user, Name: name, Expires: expires, Actor: user}
	if len(scopes) > 0 {
		request.Limits = &token.Limits{Scopes: scopes}
	}
	made, _, err := w.Create(w.t.Context(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *pagesWorld) use(made *token.Token, times, firstAgo int, addr, agent string) {
	w.at(firstAgo)
	for range times {
		made.Use(usage.Use{Time: w.clock(), Addr: addr, Agent: agent})
	}
}

// fill makes the tokens of a working day.
func (w *pagesWorld) fill() {
	w.t.Helper()
	deploy := w.make(20, "carol", "deploy from GitLab", "90d", "build:shop/**", "read:shop/**")
	w.use(deploy, 1284, 0, "10.20.4.17", "python-requests/2.32")
	spinnaker := w.make(26, "carol", "Spinnaker", "30d", "read", "build:release/**", "artifacts:release/**")
	w.use(spinnaker, 48211, 0, "10.20.8.3", "okhttp/4.12")
	laptop := w.make(214, "carol", "laptop", "never")
	w.use(laptop, 37, 96, "192.0.2.7", "curl/8.14")
	w.make(12, "carol", "try-out of the new CLI", "60d", "read", "cli")
	report := w.make(60, "carol", "nightly report", "180d", "read:reports/**")
	w.use(report, 60, 3, "10.20.4.90", "Go-http-client/2.0")
	w.at(2)
	if _, err := w.SuspendAll(w.t.Context(), []*token.Token{report}, token.ByAdmin, "report server is being moved", "carol"); err != nil {
		w.t.Fatal(err)
	}
	old := w.make(120, "carol", "old backup", "365d", "configure", "read")
	w.at(30)
	if _, err := w.Revoke(w.t.Context(), old.Record().ID, "carol"); err != nil {
		w.t.Fatal(err)
	}
	for i, user := range []string{"alice", "bob", "dave", "erin"} {
		made := w.make(400-100*i, user, "chat bot "+user, "never", "build:team-"+user+"/**")
		w.use(made, 100*i, 5, "10.20.4.18", "hubot/3")
	}
	// Of what has no place to break.
	w.make(3, "frank", strings.Repeat("W", token.MaxNameLen), "30d", "read:"+strings.Repeat("w", 255)+"/"+strings.Repeat("x", 200))
	groups, mail, name := []string{"dev", "team-shop"}, "bob@example.org", "Bob Bergström"
	w.at(1)
	if _, err := w.SetProfile(w.t.Context(), "bob", token.ProfileUpdate{Groups: &groups, Mail: &mail, DisplayName: &name}, "admin"); err != nil {
		w.t.Fatal(err)
	}
	w.at(0)
}

// A pagesTab is a tab of which everything that the browser complains about is kept.
type pagesTab struct {
	*pagesWorld
	ctx      context.Context
	mu       sync.Mutex
	messages []string
	read     chan struct{}
	stop     context.CancelFunc
}

func (w *pagesWorld) newTab(t *testing.T) *pagesTab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(w.browser)
	t.Cleanup(closeTab)
	p := &pagesTab{pagesWorld: w, ctx: ctx, read: make(chan struct{})}
	listening, stop := context.WithCancel(ctx)
	p.stop = stop
	console := chromedp.Console(listening)
	go func() {
		defer close(p.read)
		for m, err := range console {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.messages = append(p.messages, m.String())
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-p.read
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, m := range p.messages {
			// The browser says so of a page that tells what is wrong with a form.
			if !strings.Contains(m, "responded with a status of 4") {
				t.Errorf("the browser complains: %s", m)
			}
		}
	})
	return p
}

func (p *pagesTab) text(t *testing.T, selector string) string {
	t.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.TextContent(selector))
	if err != nil {
		t.Fatalf("%s: %v", selector, err)
	}
	return strings.Join(strings.Fields(text), " ")
}

// goes does what leads to another page, whose status and text are to be these.
func (p *pagesTab) goes(t *testing.T, status int, text string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if got := follow(t, p.ctx, steps...); got != status {
		t.Fatalf("status %d, want %d: %s", got, status, p.text(t, "main"))
	}
	if got := p.text(t, "main"); !strings.Contains(got, text) {
		t.Fatalf("the page says %q, want %q in it", got, text)
	}
	p.checkAccessible(t)
}

// checkAccessible looks at the page as those see it who don't see it.
func (p *pagesTab) checkAccessible(t *testing.T) {
	t.Helper()
	tree, err := chromedp.Call(p.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	roles := make(map[string]int)
	names := make(map[string]bool)
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		role, name := strings.Trim(string(node.Role.Value), `"`), ""
		if node.Name != nil {
			name = strings.TrimSpace(strings.Trim(string(node.Name.Value), `"`))
		}
		roles[role]++
		switch role {
		case "button", "link", "textbox", "searchbox", "checkbox", "radio", "combobox", "Date", "table", "columnheader", "rowheader", "heading", "navigation", "radiogroup", "search", "region":
			if name == "" {
				t.Errorf("a %s has no name", role)
			}
		}
		if (role == "button" || role == "link") && names[role+name] && strings.HasPrefix(name, "Manage") {
			t.Errorf("two times the %s %q", role, name)
		}
		names[role+name] = true
	}
	for role, want := range map[string]int{"main": 1, "banner": 1, "contentinfo": 1, "status": 1, "navigation": 1} {
		if roles[role] < want {
			t.Errorf("%d times the role %s, want %d", roles[role], role, want)
		}
	}
	titles, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.querySelectorAll("h1").length`))
	if err != nil || titles != 1 {
		t.Errorf("%d first headings (%v), want 1", titles, err)
	}
	// What describes a field has to be there.
	lost, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("[aria-describedby],[aria-labelledby]")]
		.flatMap(e => ((e.getAttribute("aria-describedby") || "") + " " + (e.getAttribute("aria-labelledby") || "")).split(" "))
		.concat([...document.querySelectorAll(".alert a[href^='#']")].map(a => a.getAttribute("href").slice(1)))
		.filter(id => id && !document.getElementById(id)).join(" ")`))
	if err != nil || lost != "" {
		t.Errorf("no elements have the ids %q (%v)", lost, err)
	}
	twice, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("[id]")].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i).join(" ")`))
	if err != nil || twice != "" {
		t.Errorf("the ids %q are there twice (%v)", twice, err)
	}
}

// owned returns carol's token of a name that is not revoked, or nil.
func (w *pagesWorld) owned(name string) *token.Token {
	for _, t := range w.Owned("carol") {
		if r := t.Record(); r.Name == name && r.State != token.Revoked && !r.Superseded() {
			return t
		}
	}
	return nil
}

// TestPages has somebody make a token and do with it all that can be done, with
// scripts and without.
func TestPages(t *testing.T) {
	w := newPagesWorld(t)
	for name, script := range map[string]bool{"with script": true, "without script": false} {
		t.Run(name, func(t *testing.T) {
			p := w.newTab(t)
			if !script {
				if _, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
					t.Fatal(err)
				}
			}
			tokenName := "deploy " + name
			p.goes(t, 200, "Your API tokens", chromedp.Navigate(w.url))
			p.goes(t, 200, "New token", chromedp.Click(".head a.button"))
			p.goes(t, 400, "Choose at least one permission", chromedp.SendKeys("#f-name", tokenName), chromedp.Click("button.main"))
			p.goes(t, 200, "Copy the secret now", chromedp.Click("input[name=scope][value=read]"), chromedp.Click("button.main"))
			secret := p.checkSecret(t, tokenName)
			if script {
				p.checkCopy(t, secret)
			} else if copies, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.querySelectorAll(".copy").length`)); err != nil || copies != 0 {
				t.Errorf("%d buttons that copy, without a script (%v)", copies, err)
			}

			count := w.Len()
			p.goes(t, 409, "Nothing was made now", chromedp.Reload())
			if w.Len() != count {
				t.Errorf("a reload has made a token")
			}
			p.goes(t, 200, tokenName, chromedp.Navigate(w.url))

			made := w.owned(tokenName)
			id := made.Record().ID.String()
			p.goes(t, 200, "Recent use", chromedp.Click(`a[href$="`+id+`"]`))
			p.goes(t, 200, "has a new name", chromedp.SetValue("#f-name", "renamed "+name), chromedp.Click(`form[action$=rename] button`))
			if got := made.Record().Name; got != "renamed "+name {
				t.Errorf("the name is %q", got)
			}
			p.goes(t, 200, "The old secret works until", chromedp.Click(`form[action$=rotate] button`))
			if next := p.checkSecret(t, "renamed "+name); next == secret {
				t.Error("the secret is the same after a rotation")
			}
			p.goes(t, 409, "has been replaced already", chromedp.Reload())

			made = w.owned("renamed " + name)
			id = made.Record().ID.String()
			p.goes(t, 200, "Recent use", chromedp.Navigate(w.url+"token/"+id))
			p.goes(t, 200, "limits of the token are changed", chromedp.Click("details.card > summary"),
				chromedp.SendKeys("#f-folder", "team-a/**"), chromedp.Click(`form[action$=limits] button.main`))
			p.goes(t, 200, "The token is suspended", chromedp.SendKeys("#f-why", "on holiday"), chromedp.Click(`form[action$=suspend] button`))
			if r := made.Record(); r.State != token.Suspended || r.Why != "on holiday" {
				t.Errorf("the token is %v, because %q", r.State, r.Why)
			}
			p.goes(t, 200, "can be used again", chromedp.Click(`form[action$=resume] button`))
			p.goes(t, 200, "can’t be undone", chromedp.Click("a.stop"))
			p.goes(t, 200, "is revoked, for good", chromedp.Click("button.stop"))
			if r := made.Record(); r.State != token.Revoked || r.Actor != "carol" {
				t.Errorf("the token is %v by %q", r.State, r.Actor)
			}
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, origin := range w.origins {
		if origin+selfservice.DefaultPrefix != w.url {
			t.Errorf("a form was sent with the Origin %q, want that of %s", origin, w.url)
		}
	}
}

// checkSecret returns the secret that the page shows, after it has been compared
// with the token.
func (p *pagesTab) checkSecret(t *testing.T, name string) string {
	t.Helper()
	secret := p.text(t, "#secret")
	digest, err := token.Parse(secret)
	if err != nil {
		t.Fatalf("the page shows no secret: %v", err)
	}
	if made := p.Find(digest); made == nil || made.Record().Name != name || made.Record().Owner != "carol" {
		t.Fatalf("the secret is not that of carol's token %q", name)
	}
	if curl := p.text(t, "#snippet-curl"); !strings.Contains(curl, "'carol:"+secret+"'") {
		t.Errorf("the text for curl lacks the secret")
	}
	return secret
}

// checkCopy presses the button that copies.
func (p *pagesTab) checkCopy(t *testing.T, secret string) {
	t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
		}); err != nil {
			t.Fatal(err)
		}
	}
	do(t, p.ctx, chromedp.Click("#secret + button"))
	if _, err := chromedp.Run(p.ctx, chromedp.Poll[bool](`document.getElementById("live").textContent === "Copied the secret"`)); err != nil {
		t.Fatalf("it is not said that the secret was copied: %v", err)
	}
	copied, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`, chromedp.EvalAwaitPromise))
	if err != nil || copied != secret {
		t.Errorf("not the secret was copied (%v)", err)
	}
}

// TestPagesAndScripts has a page of Jenkins, of the same origin, try to get at a token.
func TestPagesAndScripts(t *testing.T) {
	w := newPagesWorld(t)
	tab, closeTab := chromedp.NewContext(w.browser)
	t.Cleanup(closeTab)
	do(t, tab, chromedp.Navigate(strings.Replace(w.url, selfservice.DefaultPrefix, "/job/report/", 1)))
	for name, script := range map[string]string{
		"fetch":          `fetch(url).then(r => r.text())`,
		"XMLHttpRequest": `new Promise(done => { const x = new XMLHttpRequest(); x.onloadend = () => done(x.responseText); x.open("GET", url); x.send() })`,
		"frame":          `new Promise(done => { const f = document.createElement("iframe"); f.src = url; f.onload = () => { let text = "nothing"; try { text = f.contentDocument.documentElement.outerHTML } catch {} done(text) }; document.body.append(f) })`,
		"tab": `new Promise(done => { const t = open(url); const start = Date.now(); const look = () => { let text = ""; try { text = t.document.documentElement.outerHTML } catch {}
			if (text.includes("crumb") || t.closed || Date.now() - start > 3000) done("closed: " + t.closed + text); else setTimeout(look, 50) }; look() })`,
		"form": `new Promise(done => { const f = document.createElement("form"); f.method = "post"; f.action = url; f.target = "_blank"; document.body.append(f); f.submit(); done("sent") })`,
	} {
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](fmt.Sprintf("(url => %s)(%q)", script, w.url+"new"), chromedp.EvalAwaitPromise, func(p *runtime.EvaluateParams) { p.UserGesture = new(true) }))
		if err != nil || strings.Contains(got, `name="crumb"`) {
			t.Errorf("%s: a script of the same origin has got at the form (%v): %.300s", name, err, got)
		}
		if name == "tab" && got != "closed: true" {
			t.Errorf("the tab is still its opener's: %.300s", got)
		}
	}
	if w.Len() != 0 {
		t.Errorf("%d tokens were made", w.Len())
	}
}

// TestPagesOfAdmins chooses tokens, looks at the preview, and revokes them.
func TestPagesOfAdmins(t *testing.T) {
	w := newPagesWorld(t)
	w.fill()
	p := w.newTab(t)
	do(t, p.ctx, chromedp.EmulateViewport(1280, 800))
	p.goes(t, 200, "more than 360 days old", chromedp.Navigate(w.url+"admin/"))
	p.goes(t, 200, "1 to 1 of 1", chromedp.SendKeys("#f-user", "bob"), chromedp.Click("form[role=search] button.main"))
	p.goes(t, 200, "1 would change", chromedp.Click("[data-select-all] input"), chromedp.Click("button[value=revoke]"))
	p.goes(t, 200, "The tokens are revoked", chromedp.SendKeys("#f-why", "left"), chromedp.Click("button.stop"))
	for _, made := range w.Owned("bob") {
		if r := made.Record(); r.State != token.Revoked || r.Why != "left" {
			t.Errorf("the token is %v, because %q", r.State, r.Why)
		}
	}
	p.goes(t, 200, "Disable", chromedp.Navigate(w.url+"admin/user?id=dave"))
	p.goes(t, 200, "The user is disabled", chromedp.Click("button.stop"))
	p.goes(t, 200, "The user is enabled", chromedp.Click(`form[action$=enable] button`))
	p.goes(t, 200, "token.revoked", chromedp.Navigate(w.url+"admin/audit"))

	for i := range 101 {
		if _, _, err := w.Create(t.Context(), token.Request{User: "zoe & co", Name: fmt.Sprint("token ", i), Actor: "zoe"}); err != nil {
			t.Fatal(err)
		}
	}
	p.goes(t, 200, "1 to 100 of 101", chromedp.Navigate(w.url+"admin/?user=zoe+%26+co"))
	p.goes(t, 200, "101 to 101 of 101", chromedp.Click("a[rel=next]"))
	p.goes(t, 200, "1 to 100 of 101", chromedp.Click("a[rel=prev]"))
}

// TestPagesFit looks at each page at the width of a desk and of a phone, in light
// and in dark: nothing may be wider than the window. If CRUMBGATE_SCREENSHOTS names a
// directory, it keeps what it has seen there.
func TestPagesFit(t *testing.T) {
	w := newPagesWorld(t)
	w.fill()
	p := w.newTab(t)
	keep := os.Getenv("CRUMBGATE_SCREENSHOTS")
	mine := w.owned("laptop").Record().ID.String()
	visits := []struct {
		name string
		open []chromedp.Action[chromedp.Void]
	}{
		{"own", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url)}},
		{"new", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "new")}},
		{"token", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "token/" + mine)}},
		{"revoke", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "token/" + mine + "/revoke")}},
		{"all", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "admin/")}},
		{"user", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "admin/user?id=bob")}},
		{"audit", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "admin/audit")}},
		{"missing", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "nowhere")}},
		{"wrong", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "new"), chromedp.SetValue("#f-name", "laptop"), chromedp.Click("input[name=scope][value=agents]"), chromedp.SetValue("#f-folder", "team-a/**")}},
		{"preview", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "admin/"), chromedp.Click("[data-select-all] input")}},
		{"secret", []chromedp.Action[chromedp.Void]{chromedp.Navigate(w.url + "new"), chromedp.SetValue("#f-name", "a new one"), chromedp.Click("input[value=full]")}},
	}
	presses := map[string]string{"wrong": "button.main", "preview": "button[value=revoke]", "secret": "button.main"}
	for _, v := range visits {
		do(t, p.ctx, chromedp.EmulateViewport(1280, 800))
		do(t, p.ctx, v.open...)
		if button := presses[v.name]; button != "" {
			follow(t, p.ctx, chromedp.Click(button))
		}
		if v.name == "secret" {
			do(t, p.ctx, chromedp.Click("details:first-of-type summary"))
		}
		p.checkAccessible(t)
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				name := fmt.Sprintf("%s-%d-%s", v.name, width, scheme)
				features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
				if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
					t.Fatal(err)
				}
				do(t, p.ctx, chromedp.EmulateViewport(width, 800))
				over, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("body *")]
					.filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("pre, .sr, thead, .skip")).map(e => e.outerHTML.slice(0, 80)).join("\n")`))
				if err != nil || over != "" {
					t.Errorf("%s: wider than the window (%v):\n%s", name, err, over)
				}
				if keep == "" {
					continue
				}
				shot, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
				if err == nil {
					err = os.WriteFile(filepath.Join(keep, name+".png"), shot, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
