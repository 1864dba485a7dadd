package browser_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
)

// A refusal that a browser shows is a page that fits a desk and a phone, with its style.
// If CRUMBGATE_SCREENSHOTS names a directory, the test keeps what it has seen there.
func TestRefusalsFit(t *testing.T) {
	w := newWorld(t)
	tab := w.open(t, w.URL+"/")
	for name, refusal := range map[string]struct {
		status int
		step   chromedp.Action[chromedp.Void]
	}{
		"path": {http.StatusBadRequest, chromedp.Navigate(w.URL + "/job/a;x/")},
		"crumb": {http.StatusForbidden, chromedp.Evaluate[chromedp.Void](`void (() => {
			const f = document.createElement("form"); f.method = "post"; f.action = "/quietDown"; document.body.append(f); f.submit();
		})()`)},
	} {
		do(t, tab, chromedp.Navigate(w.URL+"/"))
		if status := follow(t, tab, refusal.step); status != refusal.status {
			t.Errorf("%s: status %d, want %d", name, status, refusal.status)
		}
		for _, width := range []int64{1280, 390} {
			do(t, tab, chromedp.EmulateViewport(width, 800))
			fits, err := chromedp.Run(tab, chromedp.Evaluate[bool](`document.querySelector("meta[name=viewport]") !== null &&
				document.documentElement.scrollWidth <= innerWidth && getComputedStyle(document.body).fontFamily.includes("sans-serif")`))
			if err != nil || !fits {
				t.Errorf("%s at %d: it does not fit, or has no style (%v)", name, width, err)
			}
			keep := os.Getenv("CRUMBGATE_SCREENSHOTS")
			if keep == "" {
				continue
			}
			shot, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(keep, "refusal-"+name+"-"+strconv.FormatInt(width, 10)+".png"), shot, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
