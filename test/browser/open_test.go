package browser_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestOpenEndpointsLeaveTheOpenPageWorking has a page load what nobody signs in for:
// the log-in page, and assets that are missing, for which Jenkins answers a request
// without a user with a page that opens a session. The forms and scripts of the page go
// on working, as its session is still the browser's.
func TestOpenEndpointsLeaveTheOpenPageWorking(t *testing.T) {
	w := newWorld(t)
	for _, s := range submissions("old") {
		t.Run(s.name, func(t *testing.T) {
			tab := w.open(t, w.URL+s.page)
			session := w.sessionOf(t, "GET", s.page)
			w.jenkins.ResetRequests()
			paths := []string{"/login", "/images/none.png", "/static/0a1b2c3d/jsbundles/none.js", "/favicon.ico"}
			for _, path := range paths {
				mark := fmt.Sprintf("%s?%s", path, strings.NewReplacer(" ", "", ",", "").Replace(s.name))
				script := fmt.Sprintf(`(url => Promise.all([
					fetch(url, {credentials: "include"}).then(r => r.text()),
					new Promise(done => { const i = new Image(); i.onload = i.onerror = done; i.src = url }),
					new Promise(done => { const e = document.createElement("script"); e.onload = e.onerror = done; e.src = url; document.head.append(e) }),
				]).then(() => "loaded"))(%q)`, mark)
				if loaded, err := chromedp.Run(tab, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); err != nil || loaded != "loaded" {
					t.Fatalf("%s: %q, %v", path, loaded, err)
				}
			}
			seen := 0
			for _, r := range w.jenkins.Requests() {
				for _, path := range paths {
					if strings.HasPrefix(r.RequestURI, path) && r.User == "anonymous" {
						seen++
					}
				}
			}
			if seen < 2*len(paths) {
				t.Errorf("Jenkins received %d requests without a user, want two or three for each of %v", seen, paths)
			}
			w.submit(t, tab, s)
			if now := w.sessionOf(t, s.method, s.path); now != session {
				t.Errorf("the page was opened in the session %s, and acts in %s", session, now)
			}
		})
	}
}

// sessionOf returns the Jenkins session of the last of carol's requests for a path.
func (w *world) sessionOf(t *testing.T, method, path string) (session string) {
	t.Helper()
	for _, r := range w.jenkins.Requests() {
		if r.User == "carol" && r.Method == method && r.Path == path {
			session = r.SessionID
		}
	}
	if session == "" {
		t.Fatalf("Jenkins has no session of carol's for %s %s", method, path)
	}
	return session
}
