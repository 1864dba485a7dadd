package clients_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// startGateway runs a gateway in front of one Jenkins until the test ends, and issues a token of a format to user.
func startGateway(t *testing.T, jenkins, prefix, format string) (url, token string) {
	t.Helper()
	caddyfile := gatewaytest.Smallest
	if prefix != "" {
		caddyfile = strings.Replace(caddyfile, "\tcrumbgate\n", "\tcrumbgate {\n\t\tprefix "+prefix+"\n\t}\n", 1)
	}
	g := gatewaytest.Start(t, jenkins, caddyfile)
	var args []string
	want := "cg_"
	if format == "jenkins" {
		args, want = []string{"--format", format}, "11"
	}
	token = g.CreateToken(t, user, "ci", args...)
	if !strings.HasPrefix(token, want) {
		t.Fatalf("token create printed something that does not begin with %q", want)
	}
	return g.URL, token
}
