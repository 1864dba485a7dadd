package blackbox_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// graceful is the smallest Caddyfile with a grace period.
func graceful(period string) string {
	return strings.Replace(gatewaytest.Smallest, "persist_config off\n", "persist_config off\n\tgrace_period "+period+"\n", 1)
}

// openStream begins a request with a token whose answer does not end.
func openStream(t *testing.T, g *gatewaytest.Gateway, secret string) io.Closer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/job/x/1/logText/progressiveText", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", secret)
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the stream is answered by %s", resp.Status)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return resp.Body
}

// streaming starts an upstream whose answers don't end before the test.
func streaming(t *testing.T) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "line\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { cancel(); upstream.Close() })
	return upstream.URL
}

// TestStopWithOpenStream: a stream that a client keeps open holds a stop up for no longer
// than the grace period.
func TestStopWithOpenStream(t *testing.T) {
	g := gatewaytest.Start(t, streaming(t), graceful("1s"))
	stream := openStream(t, g, g.CreateToken(t, "alice", "ci"))
	defer stream.Close()
	g.Stop(t) // which fails if the process does not end
}

// TestUsesAreStoredBeforeStopWaits: a supervisor that kills a gateway which waits for open
// requests takes no use count away.
func TestUsesAreStoredBeforeStopWaits(t *testing.T) {
	g := gatewaytest.Start(t, streaming(t), graceful("10m"))
	stream := openStream(t, g, g.CreateToken(t, "alice", "ci"))
	defer stream.Close()
	if err := g.Process().Terminate(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Eventually(t, "the servers are being shut down", func() error {
		if !strings.Contains(g.Log(), "grace period initiated") {
			return errors.New("not in the log")
		}
		return nil
	})
	g.Kill(t)
	g.Start(t)
	list, err := g.API().Tokens(t.Context(), "alice", false)
	if err != nil || len(list.Tokens) != 1 || list.Tokens[0].Uses.Count != 1 {
		t.Errorf("after the kill the tokens are %+v, %v, want 1 use", list.Tokens, err)
	}
}
