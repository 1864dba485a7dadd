package attack_test

import (
	"context"
	"encoding/json"
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

// TestThousandUsers: all at once, one half with tokens and the other as people,
// with sessions being made, lost and renewed. Each reply is the caller's, and no
// session of Jenkins serves two users, which is what a cache under the wrong key
// would do (CVE-2021-32701 and GHSA-4mq7-pvjg-xp2r of Oathkeeper).
func TestThousandUsers(t *testing.T) {
	t.Parallel()
	const users = 1000
	w := people(t, signedIn("\t\tmax_sessions 300\n")) // so that some are thrown out
	client := &http.Client{Timeout: gatewaytest.Patience, CheckRedirect: gatewaytest.Client.CheckRedirect, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	api := w.API()
	all := make([]*user, users)
	each(t, users, func(ctx context.Context, i int) error {
		all[i] = &user{name: fmt.Sprintf("user%04d", i), client: client, url: w.URL}
		if i%2 == 0 {
			made, err := api.CreateToken(ctx, admin.CreateRequest{User: all[i].name, Name: "ci"})
			all[i].secret = made.Secret
			return err
		}
		body, err := all[i].send(ctx, http.MethodGet, "/crumbIssuer/api/json", "admin")
		if err != nil {
			return err
		}
		var issued struct{ Crumb string }
		err = json.Unmarshal(body, &issued)
		all[i].crumb = issued.Crumb
		return err
	})
	for round := range 2 {
		each(t, users, func(ctx context.Context, i int) error {
			// The POST is Jenkins' own whoAmI, which a crumb is needed for all the same.
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPost} {
				body, err := all[i].send(ctx, method, "/whoAmI/api/json", all[(i+2)%users].name)
				if err != nil {
					return err
				}
				if !strings.Contains(string(body), fmt.Sprintf(`"name":%q`, all[i].name)) {
					return fmt.Errorf("%s of %s is answered with %s", method, all[i].name, body)
				}
				tally.tamed.Add(1)
			}
			return nil
		})
		if round == 0 {
			w.jenkins.Restart() // all sessions are gone, and the crumbs of open pages with them
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
	if len(owners) < 2*users { // before the restart, and after
		t.Errorf("%d sessions for %d users", len(owners), users)
	}
	w.wire.check(t)
}

// A user is one of many, with a token, or in a browser.
type user struct {
	name, secret        string
	session, crumb, url string
	client              *http.Client
}

// send sends a request that claims to be somebody else's, too.
func (u *user) send(ctx context.Context, method, path, claimed string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Forwarded-User", claimed)
	req.Header.Set("Remote-User", claimed)
	if u.secret != "" {
		req.SetBasicAuth(u.name, u.secret)
		req.Header.Set("Cookie", "sso="+claimed+"; JSESSIONID=smuggled")
	} else {
		req.Header.Set("Cookie", "sso="+u.name+u.session)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		req.Header.Set("Jenkins-Crumb", u.crumb)
	}
	tally.tried.Add(1)
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s of %s: %s (%v) %.200s", method, u.name, resp.Status, err, body)
	}
	for _, c := range resp.Cookies() {
		if u.secret != "" {
			return nil, fmt.Errorf("%s of %s: a token client gets the cookie %s", method, u.name, c.Name)
		}
		if strings.HasPrefix(c.Name, "JSESSIONID") {
			u.session = "; " + c.Name + "=" + c.Value
		}
	}
	return body, nil
}

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
