package jenkinstest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestAgents(t *testing.T) { // 6.5
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.AddAgent("linux-1", "0123456789abcdef")
	tests := []struct {
		name, path, agent, secret, capability string
		status                                int
	}{
		{"an agent", "/wsagents/", "linux-1", "0123456789abcdef", "cap", 101},
		{"wrong secret", "/wsagents/", "linux-1", "0123456789abcdee", "cap", 403},
		{"unknown agent", "/wsagents/", "linux-2", "0123456789abcdef", "cap", 400},
		{"no capability", "/wsagents/", "linux-1", "0123456789abcdef", "", 400},
		{"no name", "/wsagents/", "", "0123456789abcdef", "cap", 400},
		{"below it", "/wsagents/x", "linux-1", "0123456789abcdef", "cap", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pinged := make(chan struct{}, 1)
			conn, resp, err := websocket.Dial(t.Context(), url+tt.path, &websocket.DialOptions{
				HTTPHeader:     http.Header{"Node-Name": {tt.agent}, "Secret-Key": {tt.secret}, "X-Remoting-Capability": {tt.capability}},
				OnPingReceived: func(_ context.Context, _ []byte) bool { pinged <- struct{}{}; return true },
			})
			if resp == nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status {
				t.Fatalf("%s, want %d", resp.Status, tt.status)
			}
			if tt.status != http.StatusSwitchingProtocols {
				return
			}
			if resp.Header.Get("X-Remoting-Capability") != tt.capability || resp.Header.Get("Connection-Cookie") == "" {
				t.Errorf("headers of the upgrade: %q", resp.Header)
			}
			echoes(t, conn)
			select {
			case <-pinged:
			default:
				t.Error("no ping came")
			}
		})
	}
}
