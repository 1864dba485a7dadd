package blackbox_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

func TestHTTP2(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, strings.Replace(gatewaytest.Smallest, "\tpersist_config off\n", "\tpersist_config off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n", 1))
	secret := g.CreateToken(t, "alice", "ci")
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{
		Transport:     &http.Transport{Protocols: &protocols},
		CheckRedirect: gatewaytest.Client.CheckRedirect,
	}
	defer client.CloseIdleConnections()
	const job = "<project><description>by HTTP/2</description></project>"
	create := func(name string) call {
		return call{
			method: "POST", path: "/createItem?name=" + name, body: job, user: "alice", secret: secret, client: client,
			header: http.Header{"Content-Type": {"application/xml"}, "Cookie": {"a=b", "JSESSIONID.x=y"}, "Jenkins-Crumb": {"x"}},
		}
	}
	if r := (call{user: "alice", secret: secret, client: client}).want(t, g.URL, 200); !strings.Contains(r.body, `"name":"alice"`) {
		t.Errorf("whoAmI: %s", r.body)
	}
	create("cold").want(t, g.URL, 200)
	jenkins.Restart()
	create("replayed").want(t, g.URL, 200)
	if r := (call{path: "/job/replayed/config.xml", user: "alice", secret: secret, client: client}).want(t, g.URL, 200); !strings.Contains(r.body, "by HTTP/2") {
		t.Errorf("the job that a replay made: %s", r.body)
	}
	call{user: "alice", secret: "wrong", client: client}.want(t, g.URL, 401)
	for _, seen := range jenkins.Requests() {
		if cookies := seen.Header.Get("Cookie"); seen.User != "alice" || strings.Contains(cookies, "a=b") || strings.Contains(cookies, "JSESSIONID.x") {
			t.Errorf("Jenkins got %s of %q with the cookies %q", seen.RequestURI, seen.User, cookies)
		}
	}
}

// TestWebSocket: Jenkins' own command line client prefers it.
func TestWebSocket(t *testing.T) {
	g := gatewaytest.New(t, "", gatewaytest.Smallest)
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{RootURL: g.URL})
	g.Env = append(g.Env, "JENKINS="+strings.TrimPrefix(url, "http://"))
	g.Start(t)
	secret := g.CreateToken(t, "alice", "ci")
	conn, answers := dial(t, g)
	fmt.Fprintf(conn, "GET /cli/ws HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: %s\r\nX-Forwarded-User: admin\r\n\r\n",
		strings.TrimPrefix(g.URL, "http://"), basic("alice", secret), g.URL)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("upgrade: %s %v", resp.Status, resp.Header)
	}
	for i := range 3 { // the stand-in sends back what it gets
		sent := fmt.Sprintf("piece %d", i)
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(answers, got); err != nil || string(got) != sent {
			t.Fatalf("got %q (%v), want %q", got, err, sent)
		}
	}
	requests := jenkins.Requests()
	if last := requests[len(requests)-1]; last.User != "alice" || last.Status != http.StatusSwitchingProtocols {
		t.Errorf("Jenkins switched protocols for %q with %d", last.User, last.Status)
	}
}

// TestCLIOverHTTP: two requests that last as long as the command, whose pieces
// pass at once in both directions.
func TestCLIOverHTTP(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci")
	side := func(side string, body io.Reader) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/cli?remoting=false", body)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("alice", secret)
		req.Header.Set("Session", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
		req.Header.Set("Side", side)
		return req
	}
	down, err := gatewaytest.Client.Do(side("download", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer down.Body.Close()
	var first [1]byte
	if _, err := io.ReadFull(down.Body, first[:]); err != nil || down.StatusCode != 200 {
		t.Fatalf("download: %s, %v", down.Status, err)
	}
	reader, writer := io.Pipe()
	uploaded := make(chan error, 1)
	go func() {
		resp, err := gatewaytest.Client.Do(side("upload", reader))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != 200 {
				err = fmt.Errorf("upload: %s", resp.Status)
			}
		}
		uploaded <- err
		reader.Close()
	}()
	for i := range 5 {
		sent := fmt.Sprintf("frame %d;", i)
		if _, err := io.WriteString(writer, sent); err != nil {
			t.Fatal(err, <-uploaded)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(down.Body, got); err != nil || string(got) != sent {
			t.Fatalf("got %q (%v), want %q", got, err, sent)
		}
	}
	writer.Close()
	if err := <-uploaded; err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(down.Body); err != nil || len(rest) > 0 {
		t.Errorf("after the upload there came %q (%v)", rest, err)
	}
}

// TestLogArrivesAsItIsWritten: the next piece is written only when the one before
// has arrived.
func TestLogArrivesAsItIsWritten(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain;charset=utf-8")
		w.Header().Set("X-Jenkins", "2.568.2")
		w.Header().Set("Set-Cookie", "JSESSIONID.0a1b2c3d=node0session.node0;Path=/;HttpOnly")
		for i := range 5 {
			fmt.Fprintf(w, "line %d\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	g := gatewaytest.Start(t, server.URL, gatewaytest.Smallest)
	req, err := call{path: "/job/a/1/logText/progressiveText?start=0", user: "alice", secret: g.CreateToken(t, "alice", "ci")}.request(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := gatewaytest.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if cookies := resp.Header["Set-Cookie"]; len(cookies) > 0 {
		t.Errorf("a cookie of Jenkins reaches the client: %q", cookies)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("line %d\n", i); err != nil || line != want {
			t.Fatalf("got %q (%v), want %q", line, err, want)
		}
		arrived <- struct{}{}
	}
}

// TestLargeBodiesTakeLittleMemory: they stream, in both directions.
func TestLargeBodiesTakeLittleMemory(t *testing.T) {
	const size, allowed = 100 << 20, 40 << 20
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci")
	works(t, jenkins, g.URL, secret)
	before := memory(t, g, "VmRSS")

	hash := sha256.New()
	for name, length := range map[string]int64{"with a length": size, "chunked": -1} {
		hash.Reset()
		body := io.TeeReader(io.LimitReader(pattern{}, size), hash)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/createItem?name=large", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		req.SetBasicAuth("alice", secret)
		req.Header.Set("Content-Type", "application/xml")
		resp, err := gatewaytest.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		requests := jenkins.Requests()
		if last := requests[len(requests)-1]; last.BodyLen != size || last.BodySHA256 != hex.EncodeToString(hash.Sum(nil)) {
			t.Errorf("%s: of the upload %d bytes arrived, want %d and the same ones", name, last.BodyLen, size)
		}
	}

	jenkins.Fail(jenkinstest.Fault{PathPrefix: "/job/a/1/artifact", Size: size, ContentType: "application/octet-stream"})
	req, err := call{path: "/job/a/1/artifact/large", user: "alice", secret: secret}.request(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := gatewaytest.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("of the download %d bytes arrived (%v), want %d", n, err, size)
	}
	if peak := memory(t, g, "VmHWM"); peak > before+allowed {
		t.Errorf("the gateway has grown from %d to %d MiB", before>>20, peak>>20)
	}
}

// memory returns a figure of the gateway's memory in bytes (proc_pid_status(5)).
func memory(t *testing.T, g *gatewaytest.Gateway, figure string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Process().Pid()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no %s in %s", figure, status)
	}
	kB, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// pattern reads as text without end.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte("crumbgate\n"), len(p)/10+1)), nil
}

func basic(user, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
}

// dial opens a bare connection to the site.
func dial(t *testing.T, g *gatewaytest.Gateway) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(deadline()); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}
