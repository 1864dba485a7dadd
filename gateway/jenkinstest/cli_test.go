package jenkinstest_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestCLIOverHTTP(t *testing.T) { // 6.5
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	open := func(side string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/cli?remoting=false", body)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Session", "4a1e3f64-0000-0000-0000-000000000000")
		req.Header.Set("Side", side)
		return http.DefaultClient.Do(req)
	}
	download, err := open("download", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(download.Body, first); err != nil || first[0] != 0 || download.Header.Get("Hudson-Duplex") != "true" {
		t.Fatalf("download began with %v %v, header %q", first, err, download.Header)
	}

	upload, input := io.Pipe()
	uploaded := make(chan int, 1)
	go func() {
		resp, err := open("upload", upload)
		if err != nil {
			uploaded <- 0
			return
		}
		resp.Body.Close()
		uploaded <- resp.StatusCode
	}()
	for _, word := range []string{"who", "am", "i"} { // each comes back while the upload is still open
		if _, err := io.WriteString(input, word); err != nil {
			t.Fatal(err)
		}
		echo := make([]byte, len(word))
		if _, err := io.ReadFull(download.Body, echo); err != nil || string(echo) != word {
			t.Fatalf("echo %q: %v", echo, err)
		}
	}
	input.Close()
	if rest, err := io.ReadAll(download.Body); err != nil || len(rest) != 0 {
		t.Errorf("download ended with %q, %v", rest, err)
	}
	if status := <-uploaded; status != 200 {
		t.Errorf("upload = %d, want 200", status)
	}
	for _, r := range j.Requests() {
		if r.Crumb != jenkinstest.CrumbExempt {
			t.Errorf("%s: crumb %q", r.RequestURI, r.Crumb)
		}
	}
	for _, tt := range []struct {
		name, path, session string
		status              int
	}{
		{"remoting", "/cli", "Session: x", 403},
		{"no session", "/cli?remoting=false", "X: y", 500},
		{"upload without download", "/cli?remoting=false", "Session: x", 500},
	} {
		if a := send(t, "POST", url+tt.path, "", tt.session, "Side: upload"); a.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, a.StatusCode, tt.status)
		}
	}
}

func TestCLIOverWebSocket(t *testing.T) { // 6.5
	tests := []struct {
		name, rootURL, origin string
		status                int
		reason                string
	}{
		{"the configured URL's origin", "https://ci.example.org/ctx/", "https://ci.example.org", 101, ""},
		{"another origin", "https://ci.example.org/ctx/", "http://127.0.0.1", 403, "Unexpected request origin (check your reverse proxy settings)"},
		{"no origin", "https://ci.example.org/ctx/", "", 403, "Unexpected request origin (check your reverse proxy settings)"},
		{"not configured", "", "https://ci.example.org", 403, "Jenkins URL is not configured (set Jenkins URL in the configuration)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx", RootURL: tt.rootURL})
			conn, resp, err := websocket.Dial(t.Context(), url+"/cli/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {tt.origin}}})
			if resp == nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || resp.Header.Get("X-CLI-Error") != tt.reason {
				t.Fatalf("%d %q, want %d %q", resp.StatusCode, resp.Header.Get("X-CLI-Error"), tt.status, tt.reason)
			}
			if tt.status == http.StatusSwitchingProtocols {
				echoes(t, conn)
			}
		})
	}
}

// echoes tells that a WebSocket works, and closes it.
func echoes(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if kind, echo, err := conn.Read(t.Context()); err != nil || kind != websocket.MessageBinary || string(echo) != "hello" {
		t.Errorf("echo %v %q: %v", kind, echo, err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
}
