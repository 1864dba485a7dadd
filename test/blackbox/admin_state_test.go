package blackbox_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// saysOfItself waits until the admin endpoint answers with a text.
func saysOfItself(t *testing.T, g *gatewaytest.Gateway, text string) {
	t.Helper()
	gatewaytest.Eventually(t, "the admin endpoint says that "+text, func() error {
		_, err := g.API().Health(t.Context())
		if err == nil || !strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
}

// While the gateway starts or stops, the admin endpoint says so, and not that the
// configuration lacks something.
func TestAdminEndpointNamesStartAndStop(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	holder := gatewaytest.Start(t, url, gatewaytest.Smallest)
	waiting := gatewaytest.New(t, url, strings.Replace(gatewaytest.Smallest, "bbolt {$STORE}", "bbolt {$HELD} {\n\t\t\tlock_timeout 5m\n\t\t}", 1))
	waiting.Env = append(waiting.Env, "HELD="+holder.Store)
	starting := gatewaytest.Spawn(t, waiting.Command(context.Background(), "run", "--config", waiting.Config), new(strings.Builder))
	defer starting.Kill(t)
	saysOfItself(t, waiting, "the gateway is starting")

	g := gatewaytest.Start(t, streaming(t), graceful("10m"))
	stream := openStream(t, g, g.CreateToken(t, "alice", "ci"))
	defer stream.Close()
	if err := g.Process().Terminate(); err != nil {
		t.Fatal(err)
	}
	saysOfItself(t, g, "the gateway is stopping")
	g.Kill(t)
}
