package attack_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// sendH1 writes bytes as they are, and returns the status of the first answer, 0
// if there is none. When it returns, the gateway is done with the connection.
//
// half says that what is written is not a whole request: then this side is closed,
// or both would wait.
func (w *world) sendH1(t *testing.T, raw string, half bool) (status int) {
	t.Helper()
	conn, err := net.Dial("tcp", w.host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	// What is smuggled has its answer before that of this request, which goes no
	// further than the gateway and ends the connection. A server that has seen enough
	// may hang up before all is written.
	_, _ = io.WriteString(conn, raw+"GET /last HTTP/1.1\r\nHost: "+w.host()+"\r\nConnection: close\r\n\r\n")
	if half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	answers := bufio.NewReader(conn)
	method, _, _ := strings.Cut(raw, " ")
	for first := true; ; first = false {
		resp, err := http.ReadResponse(answers, &http.Request{Method: method})
		for err == nil && resp.StatusCode == http.StatusContinue {
			resp, err = http.ReadResponse(answers, &http.Request{Method: method})
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("no answer, and not hung up either")
		}
		if err != nil {
			return status // the server has hung up
		}
		if first {
			status = resp.StatusCode
			w.checkAnswer(t, resp.Header)
		}
		method = http.MethodGet
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return status
		}
	}
}

// checkAnswer: a client with a token gets no session of Jenkins.
func (w *world) checkAnswer(t *testing.T, h http.Header) {
	t.Helper()
	if cookies := h["Set-Cookie"]; len(cookies) > 0 && !w.people && !gatewaytest.OnlyWorthlessCookie(cookies) {
		t.Errorf("a cookie of Jenkins reaches the client: %q", cookies)
	}
}
