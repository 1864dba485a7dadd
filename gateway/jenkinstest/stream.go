package jenkinstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// pages are what Handle has added, by canonical path.
type pages struct {
	mu       sync.RWMutex // guards handlers
	handlers map[string]http.Handler
}

// Handle adds a page at a canonical path, as a plugin does: who may read Jenkins reaches it, and a POST needs a valid
// crumb. The handler gets a request before its body has come; what it reads of that is not recorded.
func (j *Jenkins) Handle(path string, h http.Handler) {
	j.pages.mu.Lock()
	defer j.pages.mu.Unlock()
	if j.pages.handlers == nil {
		j.pages.handlers = make(map[string]http.Handler)
	}
	j.pages.handlers[path] = h
}

func (p *pages) find(path string) http.Handler {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.handlers[path]
}

// streamer returns what serves a path while the request's body is still coming, or nil.
func (x *exchange) streamer(tokens []string) func() {
	if page := x.j.pages.find(canonicalPath(x.raw)); page != nil {
		return func() {
			page.ServeHTTP(x, x.r)
			if x.status == 0 {
				x.WriteHeader(http.StatusOK)
			}
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	switch tokens[0] {
	case "cli":
		return func() { x.cli(tokens[1:]) }
	case "wsagents":
		return func() { x.agentSocket(tokens[1:]) }
	case "sse-gateway":
		return func() { x.events(tokens[1:]) }
	}
	return nil
}

// listeners are the event streams of the SSE gateway plugin, each known to one session under the id that its client
// chose (org.jenkinsci.plugins.ssegateway.sse.EventDispatcherFactory).
type listeners struct {
	mu      sync.Mutex // guards streams
	streams map[listener]chan string
}

type listener struct{ session, client string }

// open returns the events of a listener, made if asked for; nil if there is none.
func (l *listeners) open(key listener, create bool) chan string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = make(map[listener]chan string)
	}
	if l.streams[key] == nil && create {
		l.streams[key] = make(chan string)
	}
	return l.streams[key]
}

// events is the endpoint of the SSE gateway plugin (org.jenkinsci.plugins.ssegateway.Endpoint): a client connects, then
// listens, and each subscription that it configures is confirmed by an event. No other event comes here.
func (x *exchange) events(rest []string) {
	action := ""
	if len(rest) > 0 {
		action = rest[0]
	}
	switch {
	case action == "connect" && len(rest) == 1:
		x.j.listeners.open(listener{x.getSession(), x.param("clientId")}, true)
		x.text(http.StatusOK, "application/json;charset=utf-8", `{"status":"ok"}`)
	case action == "listen" && len(rest) == 2:
		x.listen(rest[1])
	case action == "configure" && len(rest) == 1:
		if x.requirePost() {
			x.configureEvents()
		}
	default:
		x.notFound()
	}
}

func (x *exchange) listen(client string) {
	events := x.j.listeners.open(listener{x.getSession(), client}, false)
	if events == nil {
		x.notFound()
		return
	}
	x.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
	x.Header().Set("Cache-Control", "no-cache")
	event := fmt.Sprintf("event: open\ndata: {\"dispatcherId\":%q}\n\n", client)
	for {
		x.write(event)
		if x.flush() != nil {
			return
		}
		select {
		case event = <-events:
		case <-x.r.Context().Done():
			return
		case <-x.j.done:
			return
		}
	}
}

// configureEvents answers when the listener has taken the event.
func (x *exchange) configureEvents() {
	var wanted struct {
		DispatcherID string `json:"dispatcherId"`
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxBody))
	if err != nil || json.Unmarshal(body, &wanted) != nil || wanted.DispatcherID == "" {
		x.text(http.StatusBadRequest, "application/json;charset=utf-8", `{"status":"error","message":"'dispatcherId' not specified."}`)
		return
	}
	events := x.j.listeners.open(listener{x.getSession(), wanted.DispatcherID}, false)
	if events == nil {
		x.text(http.StatusOK, "application/json;charset=utf-8", `{"status":"error","message":"Unknown SSE event dispatcher"}`)
		return
	}
	event := fmt.Sprintf("event: configure\ndata: {\"batchId\":%q,\"dispatcherId\":%q}\n\n", x.param("batchId"), wanted.DispatcherID)
	select {
	case events <- event:
		x.text(http.StatusOK, "application/json;charset=utf-8", `{"status":"ok"}`)
	case <-x.r.Context().Done():
	case <-x.j.done:
	}
}

// FlushError lets a page send the header, which is recorded then, and what it has written so far.
func (x *exchange) FlushError() error {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.flush()
}
