package attack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestThousandUsers: all at once, with sessions being made, lost and replayed. Each
// reply is the caller's, and no session of Jenkins serves two users, which is what
// a cache under the wrong key would do (CVE-2021-32701 and GHSA-4mq7-pvjg-xp2r of
// Oathkeeper).
func TestThousandUsers(t *testing.T) {
	const users = 1000
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate {\n\t\tmax_sessions 700\n\t}")) // so that some are thrown out
	api := w.API()
	secrets := make([]string, users)
	each(t, users, func(ctx context.Context, i int) error {
		made, err := api.CreateToken(ctx, admin.CreateRequest{User: name(i), Name: "ci"})
		secrets[i] = made.Secret
		return err
	})
	client := &http.Client{Timeout: gatewaytest.Patience, CheckRedirect: gatewaytest.Client.CheckRedirect, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	for round := range 2 {
		each(t, users, func(ctx context.Context, i int) error {
			// The POST is Jenkins' own whoAmI, which a crumb is needed for all the same.
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPost} {
				req, err := http.NewRequestWithContext(ctx, method, w.URL+"/whoAmI/api/json", nil)
				if err != nil {
					return err
				}
				req.SetBasicAuth(name(i), secrets[i])
				req.Header.Set("X-Forwarded-User", name(i+1))
				req.Header.Set("Cookie", "JSESSIONID=smuggled")
				resp, err := client.Do(req)
				if err != nil {
					return err
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				tally.tried.Add(1)
				if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), fmt.Sprintf(`"name":%q`, name(i))) {
					return fmt.Errorf("%s of %s: %s (%v) %s", method, name(i), resp.Status, err, body)
				}
				tally.tamed.Add(1)
			}
			return nil
		})
		if round == 0 {
			w.jenkins.Restart() // and all have to be replayed
		}
	}
	owners := make(map[string]string)
	for _, seen := range w.jenkins.Requests() {
		caller{seen.User, http.Header{"X-Forwarded-User": {seen.User}}}.owns(t, seen)
		if seen.SessionID == "" {
			continue
		}
		if owner, known := owners[seen.SessionID]; known && owner != seen.User {
			t.Errorf("the session %s is of both %s and %s", seen.SessionID, owner, seen.User)
		}
		owners[seen.SessionID] = seen.User
	}
	if len(owners) < users {
		t.Errorf("%d sessions for %d users", len(owners), users)
	}
	w.wire.check(t)
}

func name(i int) string { return fmt.Sprintf("user%04d", i) }

// each calls f for 0 to n-1, all at once, and ends the test at the first error.
func each(t *testing.T, n int, f func(context.Context, int) error) {
	t.Helper()
	errs := make(chan error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs <- f(t.Context(), i) })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowHeads: who sends a head byte by byte holds a connection until read_header
// has passed, and nobody else waits for it.
func TestSlowHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, strings.Replace(site("\tcrumbgate"), "read_header 60s", "read_header 3s", 1))
	w.token(t, "alice")
	var slow []net.Conn
	for range 200 {
		conn, err := net.Dial("tcp", w.host())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, w.replace(crlf.Replace("GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\nX-Any: "))); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
		tally.tried.Add(1)
	}
	if status := w.sendH1(t, w.replace(crlf.Replace("GET /login HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n")), false); status != 200 {
		t.Errorf("others get %d meanwhile", status)
	}
	for _, conn := range slow {
		if _, err := io.Copy(io.Discard, conn); err != nil { // until the gateway hangs up
			t.Fatal(err)
		}
		tally.refused.Add(1)
	}
	for _, seen := range w.jenkins.Requests() {
		if strings.HasPrefix(seen.RequestURI, "/whoAmI") {
			t.Errorf("Jenkins got %s of half a head", seen.RequestURI)
		}
	}
}
