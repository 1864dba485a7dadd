package gateway

import (
	"net/http"

	"github.com/crumbgate/crumbgate/gateway/crumb"
)

// An answerWriter passes an answer of Jenkins on to a token client, without its
// cookies: the session is ours, not the client's. With watch set it holds back an
// answer that may refuse the crumb. It buffers nothing else.
type answerWriter struct {
	http.ResponseWriter
	watch bool

	wrote  bool // the final header has been seen
	held   bool // the answer is held back, with status and body
	status int
	body   []byte
}

// Unwrap lets http.ResponseController reach the connection, for upgrades.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answerWriter) WriteHeader(status int) {
	if a.held {
		return
	}
	h := a.Header()
	delete(h, "Set-Cookie")
	if !a.wrote && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.wrote = true
		if a.watch && crumb.MayRefuse(status, h) {
			a.held, a.status = true, status
			return
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answerWriter) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if !a.held {
		return a.ResponseWriter.Write(p)
	}
	a.body = append(a.body, p...)
	if len(a.body) > crumb.MaxRefusal {
		a.release() // too long for a refusal
	}
	return len(p), nil
}

// FlushError implements what http.ResponseController looks for.
func (a *answerWriter) FlushError() error {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.held {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// release sends on what was held back.
func (a *answerWriter) release() {
	a.held = false
	delete(a.Header(), "Set-Cookie") // the handler may have gone on to set header fields
	a.ResponseWriter.WriteHeader(a.status)
	a.ResponseWriter.Write(a.body) //nolint:errcheck // the next write of the handler sees it, or the client has left
	a.body = nil
}
