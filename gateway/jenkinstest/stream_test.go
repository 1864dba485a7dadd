package jenkinstest_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestServerSentEvents(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.SetCSRF(false)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	do := func(method, path, body string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+"/sse-gateway/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-User", "alice")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	if resp := do("GET", "listen/page", ""); resp.StatusCode != 404 {
		t.Errorf("listening without a connection: %s", resp.Status)
	}
	do("GET", "connect?clientId=page", "")
	stream := do("GET", "listen/page", "")
	events := bufio.NewReader(stream.Body)
	next := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(events, got); err != nil || string(got) != want {
			t.Fatalf("got %q (%v), want %q", got, err, want)
		}
	}
	next("event: open\ndata: {\"dispatcherId\":\"page\"}\n\n")
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "configure", "{}", 400},
		{"POST", "configure", "nothing", 400},
		{"GET", "configure", "", 405},
		{"GET", "other", "", 404},
	} {
		if resp := do(tt.method, tt.path, tt.body); resp.StatusCode != tt.status {
			t.Errorf("%s %s %q: %s, want %d", tt.method, tt.path, tt.body, resp.Status, tt.status)
		}
	}
	do("POST", "configure?batchId=7", `{"dispatcherId":"page"}`)
	next("event: configure\ndata: {\"batchId\":\"7\",\"dispatcherId\":\"page\"}\n\n")
}

func TestHandle(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.Handle("/plugin/page", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	tests := []struct {
		name, method, path, user string
		status                   int
	}{
		{"who may read", "GET", "/plugin/page", "X-Forwarded-User: alice", 200},
		{"another way to write it", "GET", "//plugin/./page", "X-Forwarded-User: alice", 200},
		{"nobody", "GET", "/plugin/page", "X: y", 403},
		{"no crumb", "POST", "/plugin/page", "X-Forwarded-User: alice", 403},
		{"another page", "GET", "/plugin/pages", "X-Forwarded-User: alice", 404},
	}
	for _, tt := range tests {
		if a := send(t, tt.method, url+tt.path, "", tt.user); a.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, a.StatusCode, tt.status)
		}
	}
	requests := j.Requests()
	if last := requests[0]; last.Status != 200 || last.User != "alice" {
		t.Errorf("recorded: %+v", last)
	}
}
