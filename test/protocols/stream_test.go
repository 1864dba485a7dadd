package protocols_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// drip is a page whose next piece is written when the one before has arrived.
type drip struct {
	arrived chan struct{}
	pieces  int
}

func (d drip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	for i := range d.pieces {
		fmt.Fprintf(w, "piece %d\n", i)
		flush(w)
		select {
		case <-d.arrived:
		case <-r.Context().Done():
			return
		}
	}
}

// TestAnswersArriveAsTheyAreWritten: nothing of an answer waits for the rest.
func TestAnswersArriveAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	page := drip{make(chan struct{}), 5}
	s.jenkins.Handle("/drip", page)
	s.each(t, func(t *testing.T, c caller) {
		for _, method := range []string{"GET", "POST"} {
			resp := c.open(t, c.request(t, method, "/drip", nil))
			lines := bufio.NewReader(resp.Body)
			for i := range page.pieces {
				line, err := lines.ReadString('\n')
				if want := fmt.Sprintf("piece %d\n", i); err != nil || line != want {
					t.Fatalf("%s: got %q (%v), want %q", method, line, err, want)
				}
				page.arrived <- struct{}{}
			}
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("%s: then came %q (%v)", method, rest, err)
			}
		}
	})
}

// TestUploadsArriveAsTheyAreSent: nothing of a request waits for the rest, and no
// answer for its end.
func TestUploadsArriveAsTheyAreSent(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	arrived := make(chan string)
	s.jenkins.Handle("/upload", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				fmt.Fprint(w, err)
				return
			}
			select {
			case arrived <- line:
			case <-r.Context().Done():
				return
			}
		}
	}))
	s.each(t, func(t *testing.T, c caller) {
		body, input := io.Pipe()
		req := c.request(t, "POST", "/upload", body)
		answered := make(chan string, 1)
		go func() {
			resp, err := c.transport.RoundTrip(req)
			if err != nil {
				answered <- err.Error()
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			answered <- fmt.Sprintf("%d %s %v", resp.StatusCode, text, err)
		}()
		for i := range 5 {
			sent := fmt.Sprintf("piece %d\n", i)
			if _, err := io.WriteString(input, sent); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-arrived:
				if got != sent {
					t.Fatalf("Jenkins got %q, want %q", got, sent)
				}
			case <-req.Context().Done():
				t.Fatalf("%q has not arrived: %v", sent, req.Context().Err())
			}
		}
		input.Close()
		if got := <-answered; got != "200 EOF <nil>" {
			t.Errorf("answer %q", got)
		}
	})
}

// TestCLIOverHTTP: the two requests of a command go on together, each in its own
// direction (hudson.cli.FullDuplexHttpStream).
func TestCLIOverHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	command := 0
	s.each(t, func(t *testing.T, c caller) {
		command++
		side := func(side string, body io.Reader) *http.Request {
			req := c.request(t, "POST", "/cli?remoting=false", body)
			req.Header.Set("Session", fmt.Sprintf("f81d4fae-7dec-11d0-a765-%012d", command))
			req.Header.Set("Side", side)
			return req
		}
		down := c.open(t, side("download", nil))
		var first [1]byte
		if _, err := io.ReadFull(down.Body, first[:]); err != nil || down.StatusCode != 200 || down.Header.Get("Hudson-Duplex") == "" || first[0] != 0 {
			t.Fatalf("download: %s %q, first byte %d, %v", down.Status, down.Header, first[0], err)
		}
		body, input := io.Pipe()
		upload, uploaded := side("upload", body), make(chan string, 1)
		go func() {
			resp, err := c.transport.RoundTrip(upload)
			if err != nil {
				uploaded <- err.Error()
				return
			}
			resp.Body.Close()
			uploaded <- resp.Status
		}()
		// Small pieces as of a prompt, and ones as of a file that a command reads.
		for i, sent := range []string{"who", "am", "i", strings.Repeat("large", 100_000), "bye"} {
			go io.WriteString(input, sent)
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(down.Body, got); err != nil || string(got) != sent {
				t.Fatalf("piece %d: got %.20q (%v), want %.20q", i, got, err, sent)
			}
		}
		input.Close()
		if status := <-uploaded; !strings.HasPrefix(status, "200") {
			t.Errorf("upload: %s", status)
		}
		if rest, err := io.ReadAll(down.Body); err != nil || len(rest) > 0 {
			t.Errorf("after the upload there came %q (%v)", rest, err)
		}
		for _, seen := range s.jenkins.Requests() {
			if seen.Path == "/cli" && seen.User != "alice" {
				t.Errorf("the command's %s is of %q", seen.Header.Get("Side"), seen.User)
			}
		}
	})
}

// TestProgressiveText follows the log of a build as Jenkins' page and clients do:
// by GET and by POST, from where the answer before has ended.
func TestProgressiveText(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.each(t, func(t *testing.T, c caller) {
		job := "log-" + strings.NewReplacer(" ", "-", ".", "-").Replace(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
		create := c.request(t, "POST", "/createItem?name="+job, strings.NewReader(jenkinstest.FreestyleXML))
		create.Header.Set("Content-Type", "application/xml")
		if resp, body := c.send(t, create); resp.StatusCode != 200 {
			t.Fatalf("createItem: %s %.200s", resp.Status, body)
		}
		if resp, body := c.send(t, c.request(t, "POST", "/job/"+job+"/build?delay=0sec", nil)); resp.StatusCode != 201 {
			t.Fatalf("build: %s %.200s", resp.Status, body)
		}
		gatewaytest.Eventually(t, "the build starts", func() error {
			if resp, _ := c.send(t, c.request(t, "GET", "/job/"+job+"/1/api/json", nil)); resp.StatusCode != 200 {
				return fmt.Errorf("%s", resp.Status)
			}
			return nil
		})
		var log strings.Builder
		at, annotator := "0", ""
		for i, more := 0, true; more; i++ {
			method, text := []string{"GET", "POST"}[i%2], []string{"Text", "Html"}[i/2%2]
			req := c.request(t, method, "/job/"+job+"/1/logText/progressive"+text+"?start="+at, nil)
			if annotator != "" {
				req.Header.Set("X-ConsoleAnnotator", annotator)
			}
			resp, body := c.send(t, req)
			if resp.StatusCode != 200 {
				t.Fatalf("%s: %s", method, resp.Status)
			}
			log.WriteString(body)
			at, more = resp.Header.Get("X-Text-Size"), resp.Header.Get("X-More-Data") == "true"
			if at != fmt.Sprint(log.Len()) {
				t.Fatalf("X-Text-Size is %q after %d bytes", at, log.Len())
			}
			if seen := s.last(t).Header.Get("X-ConsoleAnnotator"); seen != annotator {
				t.Errorf("Jenkins got the annotator %q, want %q", seen, annotator)
			}
			if got := resp.Header.Get("X-ConsoleAnnotator"); got != "" {
				annotator = got
			}
		}
		if _, whole := c.send(t, c.request(t, "GET", "/job/"+job+"/1/consoleText", nil)); whole != log.String() || !strings.HasSuffix(whole, "Finished: SUCCESS\n") {
			t.Errorf("the log in pieces %q, at once %q", log.String(), whole)
		}
	})
}

// TestServerSentEvents: each event arrives before the next one is asked for.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.each(t, func(t *testing.T, c caller) {
		// The plugin knows its listeners by session. The one of a token is there once
		// something has been posted.
		if resp, _ := c.send(t, c.request(t, "POST", "/quietDown", nil)); resp.StatusCode != 302 {
			t.Fatalf("quietDown: %s", resp.Status)
		}
		if resp, body := c.send(t, c.request(t, "GET", "/sse-gateway/connect?clientId=page", nil)); resp.StatusCode != 200 {
			t.Fatalf("connect: %s %.200s", resp.Status, body)
		}
		resp := c.open(t, c.request(t, "GET", "/sse-gateway/listen/page", nil))
		events := bufio.NewReader(resp.Body)
		next := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(events, got); err != nil || string(got) != want {
				t.Fatalf("got %q (%v), want %q", got, err, want)
			}
		}
		next("event: open\ndata: {\"dispatcherId\":\"page\"}\n\n")
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream;charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
		for i := range 3 {
			req := c.request(t, "POST", fmt.Sprintf("/sse-gateway/configure?batchId=%d", i), strings.NewReader(`{"dispatcherId":"page","subscribe":[{"jenkins_channel":"job"}]}`))
			req.Header.Set("Content-Type", "application/json")
			if resp, body := c.send(t, req); resp.StatusCode != 200 || body != `{"status":"ok"}` {
				t.Fatalf("configure: %s %.200s", resp.Status, body)
			}
			next(fmt.Sprintf("event: configure\ndata: {\"batchId\":\"%d\",\"dispatcherId\":\"page\"}\n\n", i))
		}
	})
}

// silence is longer than the usual time-outs, of 30 and 60 seconds.
const silence = 75 * time.Second

// patientCaddyfile is how a gateway is set for uploads that pause.
var patientCaddyfile = strings.Replace(caddyfile, "\tservers {\n", "\tservers {\n\t\ttimeouts {\n\t\t\tread_body_idle -1s\n\t\t}\n", 1)

// TestSilence: nothing is cut off that says nothing for long: an answer of which
// not even the header has come, one in the middle, an upload, a WebSocket. The one
// long wait is for all of them.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := start(t, patientCaddyfile)
	speak := make(chan struct{}) // closed when the silence is over
	s.jenkins.Handle("/mute", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-speak:
		case <-r.Context().Done():
		}
		io.WriteString(w, "at last")
	}))
	s.jenkins.Handle("/tail", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "first line\n")
		flush(w)
		select {
		case <-speak:
		case <-r.Context().Done():
		}
		io.WriteString(w, "last line\n")
	}))
	s.jenkins.Handle("/see", http.HandlerFunc(see))

	type waiting struct {
		name string
		end  func() error // after the silence
	}
	var all []waiting
	for _, who := range s.clients {
		for _, v := range s.versions(t) {
			c := caller{s, who, v}
			name := who.name + " by " + v.name
			ask := func(method, path string, body io.Reader, want string) waiting {
				req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, body)
				if err != nil {
					t.Fatal(err)
				}
				for name, values := range c.client.header {
					req.Header[name] = values
				}
				done := make(chan error, 1)
				go func() {
					resp, err := c.transport.RoundTrip(req)
					if err != nil {
						done <- err
						return
					}
					defer resp.Body.Close()
					got, err := io.ReadAll(resp.Body)
					if err == nil && (resp.StatusCode != 200 || !bytes.Contains(got, []byte(want))) {
						err = fmt.Errorf("%s %.200q, want %q", resp.Status, got, want)
					}
					done <- err
				}()
				return waiting{name + ": " + method + " " + path, func() error { return <-done }}
			}
			all = append(all,
				ask("GET", "/mute", nil, "at last"),
				ask("POST", "/mute", strings.NewReader("body"), "at last"),
				ask("GET", "/tail", nil, "first line\nlast line\n"),
				ask("POST", "/tail", strings.NewReader("body"), "first line\nlast line\n"))
			body, input := io.Pipe()
			upload := ask("POST", "/see", body, sum("first part, last part"))
			if _, err := io.WriteString(input, "first part, "); err != nil {
				t.Fatal(err)
			}
			all = append(all, waiting{upload.name, func() error {
				if _, err := io.WriteString(input, "last part"); err != nil {
					return err
				}
				input.Close()
				return upload.end()
			}})
		}
		socket := s.dial(t, s.URL, who, s.URL)
		all = append(all, waiting{who.name + ": WebSocket", func() error { return echo(t.Context(), socket, "hello") }})
	}
	<-time.After(silence) // what is tested is that nothing happens meanwhile
	close(speak)
	for _, w := range all {
		if err := w.end(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}
