package gateway_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
)

// A network that sends too many failed credentials gets 429, and costs no more log
// lines. Valid tokens pass beside it, and denials of known tokens are recorded as ever.
func TestFailedCredentialsAreLimited(t *testing.T) {
	var addr atomic.Value
	addr.Store("2001:db8:1:1::1")
	now := atomic.Int64{}
	now.Store(time.Now().Unix())
	recorded := atomic.Int64{}
	s := newSite(t, options{gate: func(c *gateway.Config) {
		c.MaxFailures = 60
		c.ClientAddr = func(*http.Request) string { return addr.Load().(string) }
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.Refused = func(*http.Request, gateway.Decision) { recorded.Add(1) }
	}})
	secret := s.token("alice")
	valid := "Authorization: " + basicAuth("alice", secret)
	guess := func(i int) int {
		addr.Store(fmt.Sprintf("2001:db8:1:1::%x", i)) // of one /64
		kinds := []string{"Authorization: Basic " + "%%", "Authorization: Bearer cg_" + strings.Repeat("A", 50), "Authorization: " + basicAuth("alice", strings.Repeat("11", 17)), "Authorization: " + basicAuth("alice", "password")}
		a := s.send("GET", "/api/json", "", kinds[i%len(kinds)])
		if a.StatusCode == http.StatusTooManyRequests {
			if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || wait != 1 || a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("the client got\n%s", a.dump())
			}
		}
		return a.StatusCode
	}
	for i := range 60 {
		if status := guess(i); status != http.StatusUnauthorized {
			t.Fatalf("guess %d: status %d, want 401", i, status)
		}
	}
	for i := range 100 {
		if status := guess(i); status != http.StatusTooManyRequests {
			t.Fatalf("guess %d beyond the limit: status %d, want 429", i, status)
		}
	}
	if n := recorded.Load(); n != 60 {
		t.Errorf("%d denials recorded, want 60", n)
	}
	if a := s.send("GET", "/api/json", "", valid); a.StatusCode != http.StatusOK {
		t.Errorf("a valid token beside the guesses: status %d", a.StatusCode)
	}
	if a := s.send("GET", "/api/json", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("no credential beside the guesses: status %d, want 401", a.StatusCode)
	}
	if a := s.send("GET", "/api/json", "", "Authorization: "+basicAuth("bob", secret)); a.StatusCode != http.StatusTooManyRequests || recorded.Load() != 62 {
		t.Errorf("a known token with another user: status %d, %d denials recorded; want 429 and 62", a.StatusCode, recorded.Load())
	}
	now.Add(2)
	if status := guess(1); status != http.StatusUnauthorized {
		t.Errorf("2 s later: status %d, want 401", status)
	}
	addr.Store("2001:db8:1:2::1")
	if a := s.send("GET", "/api/json", "", "Authorization: Basic %%"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("from another network: status %d, want 401", a.StatusCode)
	}
}
