package jenkinstest

import (
	"context"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pingInterval is how often Jenkins pings whoever is at the other end of a WebSocket (jenkins.websocket.pingInterval).
// Here the first ping goes out at once, for tests to see.
const pingInterval = 30 * time.Second

// agents are the inbound agents that Jenkins knows.
type agents struct {
	mu      sync.Mutex        // guards secrets
	secrets map[string]string // by name
}

// AddAgent makes an inbound agent, which connects to /wsagents/ with its name and secret.
func (j *Jenkins) AddAgent(name, secret string) {
	j.agents.mu.Lock()
	defer j.agents.mu.Unlock()
	if j.agents.secrets == nil {
		j.agents.secrets = make(map[string]string)
	}
	j.agents.secrets[name] = secret
}

func (a *agents) secret(name string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	secret, known := a.secrets[name]
	return secret, known
}

// agentSocket is jenkins.agents.WebSocketAgents. The agent's secret is all that it looks at: neither Origin nor who the
// request is from.
func (x *exchange) agentSocket(rest []string) {
	const name, secret, capability = "Node-Name", "Secret-Key", "X-Remoting-Capability"
	h := x.r.Header
	want, known := x.j.agents.secret(h.Get(name))
	switch {
	case len(rest) > 0:
		x.notFound()
	case !x.needSlash():
	case h.Get(name) == "" || h.Get(secret) == "" || h.Get(capability) == "":
		x.sendError(http.StatusBadRequest, "This endpoint is only for use from agent.jar in WebSocket mode")
	case !known:
		x.sendError(http.StatusBadRequest, "no such agent")
	case subtle.ConstantTimeCompare([]byte(want), []byte(h.Get(secret))) != 1:
		x.text(http.StatusForbidden, "", "")
	default:
		x.Header().Set(capability, h.Get(capability))
		x.Header().Set("X-Remoting-Minimum-Version", "3107.v665000b_51092")
		x.Header().Set("Connection-Cookie", randomHex(32))
		x.socket()
	}
}

// socket accepts a WebSocket and sends back each message, until either side hangs up or Jenkins ends.
func (x *exchange) socket() {
	// Who may connect has been decided, in each Jenkins class by other rules.
	conn, err := websocket.Accept(x, x.r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) // the request's ends here
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer conn.CloseNow()
	defer cancel()
	helpers.Go(func() {
		select {
		case <-x.j.done:
			cancel()
		case <-ctx.Done():
		}
	})
	helpers.Go(func() {
		tick := time.NewTicker(pingInterval)
		defer tick.Stop()
		for conn.Ping(ctx) == nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	conn.SetReadLimit(maxBody)
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if conn.Write(ctx, kind, message) != nil {
			return
		}
	}
}
