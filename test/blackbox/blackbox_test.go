// Package blackbox_test holds of the program as people run it: cmd/caddy with a
// Caddyfile, in front of the stand-in Jenkins.
package blackbox_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// A reply is an answer that has been read.
type reply struct {
	status int
	header http.Header
	body   string
}

// A call is a request of a client. Its zero value is a GET of Jenkins' whoAmI
// without a credential.
type call struct {
	method, path, body string
	user, secret       string // Basic; without a user Bearer, without a secret neither
	header             http.Header
	client             *http.Client
}

func (c call) request(base string) (*http.Request, error) {
	req, err := http.NewRequest(cmp.Or(c.method, http.MethodGet), base+cmp.Or(c.path, "/whoAmI/api/json"), strings.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	switch {
	case c.user != "":
		req.SetBasicAuth(c.user, c.secret)
	case c.secret != "":
		req.Header.Set("Authorization", "Bearer "+c.secret)
	}
	return req, nil
}

// try sends a request; it is for goroutines that must not end the test.
func (c call) try(base string) (reply, error) {
	req, err := c.request(base)
	if err != nil {
		return reply{}, err
	}
	resp, err := cmp.Or(c.client, gatewaytest.Client).Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

func (c call) send(tb testing.TB, base string) reply {
	tb.Helper()
	r, err := c.try(base)
	if err != nil {
		tb.Fatalf("%s %s: %v", cmp.Or(c.method, "GET"), c.path, err)
	}
	if cookies := r.header["Set-Cookie"]; len(cookies) > 0 && !gatewaytest.OnlyWorthlessCookie(cookies) {
		tb.Errorf("%s %s: a cookie of Jenkins reaches the client: %q", cmp.Or(c.method, "GET"), c.path, cookies)
	}
	return r
}

// want sends a request that must be answered with a status.
func (c call) want(tb testing.TB, base string, status int) reply {
	tb.Helper()
	r := c.send(tb, base)
	if r.status != status {
		tb.Fatalf("%s %s: status %d, want %d: %.300s", cmp.Or(c.method, "GET"), c.path, r.status, status, r.body)
	}
	return r
}

// works tells that a token does what it is for: a GET, and a POST that needs a
// crumb, both as alice.
func works(tb testing.TB, j *jenkinstest.Jenkins, base, secret string) {
	tb.Helper()
	if who := (call{user: "alice", secret: secret}).want(tb, base, 200); !strings.Contains(who.body, `"name":"alice"`) {
		tb.Fatalf("whoAmI: %s", who.body)
	}
	call{method: "POST", path: "/quietDown", user: "alice", secret: secret}.want(tb, base, 302)
	requests := j.Requests()
	if last := requests[len(requests)-1]; last.User != "alice" || last.Crumb != jenkinstest.CrumbValid {
		tb.Fatalf("Jenkins got the POST of %q with a crumb that is %s, want alice's with a valid one", last.User, last.Crumb)
	}
}

// snapshot describes all that lies in directories.
func snapshot(tb testing.TB, dirs ...string) map[string]string {
	tb.Helper()
	found := make(map[string]string)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			found[path] = fmt.Sprintf("%v %v", info.Mode(), info.ModTime())
			if info.Mode().IsRegular() {
				content, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				sum := sha256.Sum256(content)
				found[path] += " " + hex.EncodeToString(sum[:])
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return found
}
