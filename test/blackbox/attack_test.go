package blackbox_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

func deadline() time.Time { return time.Now().Add(gatewaytest.Patience) }

// identities are the headers from which the stand-in, or something before it that
// takes "_" or "." for "-", could read who the user is.
var identities = []string{"X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Mail", "X-Forwarded-DisplayName"}

// TestNoIdentityIsSmuggled sends what no client library would. Whatever the answer
// is, Jenkins never sees another user than the token's, another session or crumb
// than the gateway's, or a credential.
func TestNoIdentityIsSmuggled(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{Users: map[string]jenkinstest.User{"admin": {Password: "secret"}}})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci")
	// While the gateway has no session that would take the place of the client's.
	call{user: "alice", secret: secret, header: http.Header{"Cookie": {"JSESSIONID=smuggled"}}}.want(t, g.URL, 200)
	for _, seen := range jenkins.Requests() {
		checkSeen(t, seen)
	}
	works(t, jenkins, g.URL, secret)
	host := strings.TrimPrefix(g.URL, "http://")
	replace := strings.NewReplacer("HOST", host, "TOKEN", secret, "BASIC", basic("alice", secret),
		"BOB", basic("bob", secret), "ADMIN", basic("admin", "secret"),
		"NUL", base64.StdEncoding.EncodeToString([]byte("alice\x00admin:"+secret)),
		"TRAIL", base64.StdEncoding.EncodeToString([]byte("alice:"+secret+"\x00")))

	type attack struct {
		name   string
		head   string // line by line; Host and the end are added
		body   string
		status []int // of the first answer; 0: there is none
		passes bool  // to Jenkins, as alice
	}
	const get, post, auth = "GET /whoAmI/api/json HTTP/1.1\n", "POST /quietDown HTTP/1.1\n", "Authorization: Basic BASIC\n"
	ok, unauthorized, bad := []int{200}, []int{401}, []int{400}
	attacks := []attack{
		{name: "two Authorizations", head: get + auth + auth, status: bad},
		{name: "two Authorizations, one of Jenkins", head: get + "Authorization: Basic ADMIN\n" + auth, status: bad},
		{name: "two Authorizations in one", head: get + "Authorization: Basic BASIC, Basic ADMIN\n", status: bad},
		{name: "Basic and Bearer", head: get + auth + "Authorization: Bearer TOKEN\n", status: bad},
		{name: "a password of Jenkins", head: get + "Authorization: Basic ADMIN\n", status: unauthorized},
		{name: "nobody", head: get, status: unauthorized},
		{name: "nobody with a session", head: get + "Cookie: JSESSIONID=x\n", status: unauthorized},
		{name: "nobody with an identity", head: get + "X-Forwarded-User: admin\n", status: unauthorized},
		{name: "the token of another", head: get + "Authorization: Basic BOB\n", status: unauthorized},
		{name: "NUL in the user", head: get + "Authorization: Basic NUL\n", status: unauthorized},
		{name: "NUL after the token", head: get + "Authorization: Basic TRAIL\n", status: unauthorized},
		{name: "NUL in the header", head: get + "Authorization: Basic BASIC\x00\n", status: bad},
		{name: "8 KiB of Authorization", head: get + "Authorization: Basic " + strings.Repeat("QUJD", 2<<10) + "\n", status: unauthorized},
		// Caddy takes 16 KiB of head. It may hang up before all is written.
		{name: "64 KiB of Authorization", head: get + "Authorization: Basic " + strings.Repeat("QUJD", 16<<10) + "\n", status: []int{431, 0}},
		{name: "no colon", head: get + "Authorization: Basic TOKEN\n", status: unauthorized},
		{name: "broken Base64", head: get + "Authorization: Basic !!!\n", status: unauthorized},
		{name: "empty Authorization", head: get + "Authorization:\n", status: unauthorized},
		{name: "a folded header", head: get + "Authorization: Basic\n BASIC\n", status: []int{200, 400, 401}, passes: true},
		{name: "a blank before the colon", head: get + auth + "X-Forwarded-User : admin\n", status: bad},
		{name: "a header that is not ASCII", head: get + auth + "X-Forwarded-User\xe2\x80\x8b: admin\n", status: bad},
		{name: "Connection removes the identity", head: get + auth + "Connection: close, X-Forwarded-User\n", status: ok, passes: true},
		{name: "Connection removes the crumb", head: post + auth + "Connection: Jenkins-Crumb, Cookie, close\n", status: []int{302}, passes: true},
		{name: "Connection twice", head: get + auth + "Connection: keep-alive\nConnection: X-Forwarded-User\n", status: ok, passes: true},
		{name: "Connection keeps Authorization", head: get + auth + "Connection: Authorization\n", status: ok, passes: true},
		{name: "Proxy-Connection", head: get + auth + "Proxy-Connection: X-Forwarded-User\n", status: ok, passes: true},
		{name: "Proxy-Authorization", head: get + auth + "Proxy-Authorization: Basic ADMIN\n", status: ok, passes: true},
		{name: "upgrade to h2c", head: get + auth + "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n", status: ok, passes: true},
		{name: "a session of the client", head: get + auth + "Cookie: JSESSIONID=node0smuggled\nCookie: JSESSIONID.0a1b2c3d=node0smuggled\n", status: ok, passes: true},
		{name: "a session and a crumb of the client", head: post + auth + "Cookie: JSESSIONID.x=node0smuggled; remember-me=smuggled\nJenkins-Crumb: smuggled\njenkins-crumb: smuggled\n.crumb: smuggled\n", status: []int{302}, passes: true},
		{name: "absolute form", head: "GET http://HOST/whoAmI/api/json HTTP/1.1\n" + auth, status: ok, passes: true},
		{name: "absolute form of another host", head: "GET http://elsewhere/whoAmI/api/json HTTP/1.1\n" + auth, status: []int{200, 400, 421}},
		{name: "absolute form with a user", head: "GET http://admin:secret@HOST/whoAmI/api/json HTTP/1.1\n" + auth, status: []int{200, 400}, passes: true},
		{name: "asterisk form", head: "OPTIONS * HTTP/1.1\n" + auth, status: []int{200, 400}},
		{name: "authority form", head: "CONNECT HOST HTTP/1.1\n" + auth, status: []int{400, 405, 502}},
		{name: "semicolon in the path", head: "GET /whoAmI;x=y/api/json HTTP/1.1\n" + auth, status: bad},
		{name: "escaped dots", head: "GET /%2e%2e/whoAmI HTTP/1.1\n" + auth, status: bad},
		{name: "backslash", head: "GET /a\\..\\whoAmI HTTP/1.1\n" + auth, status: bad},
		{name: "a token in the query", head: "GET /whoAmI/api/json?t=TOKEN HTTP/1.1\n" + auth, status: bad},
		{name: "length and chunks", head: post + auth + "Content-Length: 4\nTransfer-Encoding: chunked\n",
			body: "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: admin\r\n\r\n", status: []int{302, 400}, passes: true},
		{name: "two lengths", head: post + auth + "Content-Length: 0\nContent-Length: 60\n",
			body: "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: admin\r\n\r\n", status: bad},
		{name: "a length with a sign", head: post + auth + "Content-Length: +4\n", body: "abcd", status: bad},
		{name: "chunked in other words", head: post + auth + "Transfer-Encoding: xchunked\n", body: "0\r\n\r\n", status: []int{400, 501}},
		{name: "chunked twice", head: post + auth + "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n", body: "0\r\n\r\n", status: []int{400, 501}},
		{name: "trailers", head: post + auth + "Transfer-Encoding: chunked\nTrailer: X-Forwarded-User, Authorization\n",
			body: "1\r\nx\r\n0\r\nX-Forwarded-User: admin\r\nAuthorization: Basic ADMIN\r\n\r\n", status: []int{302}, passes: true},
		{name: "two hosts", head: get + auth + "Host: elsewhere\n", status: bad},
		{name: "no version", head: "GET /whoAmI/api/json\n" + auth, status: bad},
		{name: "HTTP/1.0", head: "GET /whoAmI/api/json HTTP/1.0\n" + auth, status: ok, passes: true},
		{name: "a body with a GET", head: get + auth + "Content-Length: 60\n",
			body: "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: admin\r\n\r\n", status: ok, passes: true},
	}
	for _, name := range identities {
		for what, spelled := range map[string]string{
			"as it is": name, "lower": strings.ToLower(name), "upper": strings.ToUpper(name),
			"underscores": strings.ReplaceAll(name, "-", "_"), "dots": strings.ReplaceAll(name, "-", "."),
			"mixed": strings.ToLower(strings.Replace(name, "-", "_", 1)),
		} {
			attacks = append(attacks,
				attack{name: name + " " + what, head: get + auth + spelled + ": admin\n", status: ok, passes: true},
				attack{name: name + " " + what + " in a POST, twice", head: post + auth + spelled + ": admin\n" + spelled + ": root\n", status: []int{302}, passes: true})
		}
	}
	for _, tt := range attacks {
		t.Run(tt.name, func(t *testing.T) {
			jenkins.ResetRequests()
			head := replace.Replace(tt.head)
			first, rest, _ := strings.Cut(head, "\n")
			raw := first + "\nHost: " + host + "\n" + rest
			conn, answers := dial(t, g)
			// A server that has seen enough may hang up before all is written.
			_, _ = io.WriteString(conn, strings.ReplaceAll(raw, "\n", "\r\n")+"\r\n"+tt.body)
			resp, err := http.ReadResponse(answers, nil)
			status := 0
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				t.Fatal("no answer")
			case err == nil:
				status = resp.StatusCode
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				if len(resp.Header["Set-Cookie"]) > 0 {
					t.Errorf("a cookie of Jenkins reaches the client: %q", resp.Header["Set-Cookie"])
				}
			}
			wanted := false
			for _, want := range tt.status {
				wanted = wanted || status == want
			}
			if !wanted {
				t.Errorf("status %d, want one of %d", status, tt.status)
			}
			// What was smuggled would have its answer here, on the same connection.
			if err := conn.(*net.TCPConn).CloseWrite(); err == nil {
				_, _ = io.Copy(io.Discard, answers) // until the server has hung up
			}
			for _, seen := range jenkins.Requests() {
				checkSeen(t, seen)
				if !tt.passes {
					t.Errorf("Jenkins got %s %s", seen.Method, seen.RequestURI)
				}
			}
			if tt.passes && status < 400 && len(jenkins.Requests()) == 0 {
				t.Error("Jenkins got nothing")
			}
		})
	}
}

// checkSeen holds of every request that Jenkins gets.
func checkSeen(t *testing.T, seen jenkinstest.Request) {
	t.Helper()
	if seen.User != "alice" || strings.Contains(seen.RequestURI, "smuggled") {
		t.Errorf("Jenkins got %s %s as %q", seen.Method, seen.RequestURI, seen.User)
	}
	for name, values := range seen.Header {
		plain := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
		for _, identity := range identities {
			if plain == strings.ToLower(identity) && (identity != "X-Forwarded-User" || name != identity || len(values) != 1 || values[0] != "alice") {
				t.Errorf("Jenkins got %s: %q", name, values)
			}
		}
		for _, value := range values {
			if strings.Contains(value, "smuggled") || strings.Contains(value, "cg_") {
				t.Errorf("Jenkins got %s: %q", name, value)
			}
		}
		switch plain {
		case "authorization", "proxy-authorization", "upgrade", "http2-settings", "trailer":
			t.Errorf("Jenkins got %s: %q", name, values)
		}
	}
}
