package browser_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// A submission is one way in which Jenkins' pages change something.
type submission struct {
	name   string
	page   string // that it is on
	file   string // id of the field that takes a file, empty if there is none
	button string
	inPage bool // by a script of the page, which stays
	method string
	path   string
}

func submissions(doomed string) []submission {
	return []submission{
		{name: "urlencoded", page: "/job/release/", button: "submit-urlencoded", method: "POST", path: "/job/release/buildWithParameters"},
		{name: "json", page: "/job/release/", button: "submit-json", method: "POST", path: "/job/release/build"},
		{name: "multipart", page: "/job/release/", file: "file-multipart", button: "submit-multipart", method: "POST", path: "/job/release/buildWithParameters"},
		{name: "multipart, crumb in a field", page: "/job/release/", file: "file-multipart-field", button: "submit-multipart-field", method: "POST", path: "/job/release/buildWithParameters"},
		{name: "fetch POST", page: "/job/deploy/", button: "build-now", inPage: true, method: "POST", path: "/job/deploy/build"},
		{name: "fetch DELETE", page: "/job/" + doomed + "/", button: "delete", inPage: true, method: "DELETE", path: "/job/" + doomed + "/"},
	}
}

// submit presses the button on a page that is open, with a file of random content
// where it takes one, and checks that Jenkins has taken it once, as carol's.
func (w *world) submit(t *testing.T, tab context.Context, s submission) {
	t.Helper()
	var sum string
	if s.file != "" {
		content := bytes.Repeat([]byte(t.Name()+"\r\n--\x00"), 4096)
		digest := sha256.Sum256(content)
		sum = hex.EncodeToString(digest[:])
		path := filepath.Join(t.TempDir(), "upload.bin")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		do(t, tab, chromedp.SetUploadFiles("#"+s.file, []string{path}))
	}
	w.jenkins.ResetRequests()
	if s.inPage {
		do(t, tab, chromedp.Click("#"+s.button))
		shown, err := chromedp.Run(tab, chromedp.Poll[string](`(r => r.dataset.state === "done" && r.textContent)(document.getElementById("result"))`))
		if err != nil || !strings.HasPrefix(shown, "2") {
			t.Errorf("the page shows %.200q (%v), want success", shown, err)
		}
	} else if status := follow(t, tab, chromedp.Click("#"+s.button)); status >= http.StatusBadRequest {
		t.Errorf("status %d, want success", status)
	}

	// The first after a restart is sent again, as Jenkins has refused its crumb.
	var got []jenkinstest.Request
	for _, r := range w.jenkins.Requests() {
		if r.Method == s.method && r.Path == s.path && r.Status != http.StatusForbidden {
			got = append(got, r)
		}
	}
	if len(got) != 1 {
		t.Fatalf("Jenkins took %s %s %d times, want once", s.method, s.path, len(got))
	}
	r := got[0]
	if r.User != "carol" || r.Status >= http.StatusBadRequest {
		t.Errorf("Jenkins received it from %q and answered with %d", r.User, r.Status)
	}
	if s.method == http.MethodPost && r.Crumb != jenkinstest.CrumbValid {
		t.Errorf("crumb %q, want a valid one", r.Crumb)
	}
	if groups := r.Header.Get("X-Forwarded-Groups"); groups != "dev|ops" {
		t.Errorf("groups %q, want dev|ops", groups)
	}
	if s.file == "" {
		return
	}
	for _, part := range r.Parts {
		if part.FileName == "upload.bin" && part.SHA256 == sum {
			return
		}
	}
	t.Errorf("no part is the file of SHA-256 %s: %+v", sum, r.Parts)
}

// TestForms submits each kind of form, and once more from pages that were opened
// before Jenkins was restarted and forgot each session.
func TestForms(t *testing.T) {
	w := newWorld(t)
	for _, s := range submissions("old") {
		t.Run(s.name, func(t *testing.T) { w.submit(t, w.open(t, w.URL+s.page), s) })
	}

	after := submissions("older")
	old := make([]context.Context, len(after))
	for i, s := range after {
		old[i] = w.open(t, w.URL+s.page)
	}
	w.jenkins.Restart()
	for i, s := range after {
		t.Run("after a restart, "+s.name, func(t *testing.T) { w.submit(t, old[i], s) })
	}
}
