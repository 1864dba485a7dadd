package jenkinstest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// uploadWait is how long a download waits for its upload (FullDuplexHttpService.CONNECTION_TIMEOUT).
const uploadWait = 15 * time.Second

// duplex pairs the two requests of a CLI call over plain HTTP, by their Session header.
type duplex struct {
	mu        sync.Mutex // guards downloads
	downloads map[string]chan *exchange
}

func (d *duplex) open(id string) chan *exchange {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.downloads == nil {
		d.downloads = make(map[string]chan *exchange)
	}
	uploads := make(chan *exchange)
	d.downloads[id] = uploads
	return uploads
}

func (d *duplex) close(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.downloads, id)
}

func (d *duplex) find(id string) chan *exchange {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.downloads[id]
}

// cli is hudson.cli.CLIAction with one command: it sends back what it gets.
func (x *exchange) cli(rest []string) {
	switch {
	case len(rest) > 0 && rest[0] == "ws":
		x.cliSocket()
	case len(rest) > 0:
		x.notFound()
	case x.r.Method != http.MethodPost:
		x.object("Jenkins CLI")
	case x.r.URL.Query().Get("remoting") != "false":
		x.sendError(http.StatusForbidden, "Forbidden")
	case x.r.Header.Get("Session") == "":
		x.oops() // UUID.fromString throws
	case x.r.Header.Get("Side") == "download":
		x.cliDownload()
	default:
		x.cliUpload()
	}
}

// cliDownload answers at once with one byte and then with what the upload of the same session brings.
func (x *exchange) cliDownload() {
	id := x.r.Header.Get("Session")
	uploads := x.j.duplex.open(id)
	defer x.j.duplex.close(id)
	x.Header().Set("Hudson-Duplex", "true")
	x.Header().Set("Content-Type", "application/octet-stream")
	x.WriteHeader(http.StatusOK)
	x.write("\x00")
	if x.flush() != nil {
		return
	}
	timer := time.NewTimer(uploadWait)
	defer timer.Stop()
	select {
	case upload := <-uploads:
		_, _ = io.Copy(flushing{x}, upload.r.Body) // either side may hang up
		close(upload.taken)
	case <-timer.C:
	case <-x.r.Context().Done():
	case <-x.j.done:
	}
}

// cliUpload lends its body to the download, and answers when that has read it.
func (x *exchange) cliUpload() {
	uploads := x.j.duplex.find(x.r.Header.Get("Session"))
	if uploads == nil {
		x.oops() // "No download side found"
		return
	}
	x.taken = make(chan struct{})
	select {
	case uploads <- x:
		<-x.taken // the body must not be used after this handler
		x.text(http.StatusOK, "", "")
	case <-x.r.Context().Done():
	case <-x.j.done:
	}
}

// flushing sends each piece on at once.
type flushing struct{ x *exchange }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.x.Write(b)
	return n, errors.Join(err, f.x.flush())
}

// cliSocket is /cli/ws. The Origin must be the configured URL's (SECURITY-3674); the reason of a refusal is in a header,
// since the client prints no body.
func (x *exchange) cliSocket() {
	refuse := func(reason string) {
		x.Header().Set("X-CLI-Error", reason)
		x.text(http.StatusForbidden, "", "")
	}
	configured := strings.TrimSuffix(strings.TrimSuffix(x.j.cfg.RootURL, "/"), x.j.cfg.Prefix)
	switch {
	case !strings.EqualFold(x.r.Header.Get("Upgrade"), "websocket"):
		x.notFound()
		return
	case configured == "":
		refuse("Jenkins URL is not configured (set Jenkins URL in the configuration)")
		return
	case x.r.Header.Get("Origin") != configured:
		refuse("Unexpected request origin (check your reverse proxy settings)")
		return
	}
	x.socket()
}
