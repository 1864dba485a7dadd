package protocols_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// TestEachVersion reads, and changes something that needs a crumb.
func TestEachVersion(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	count := 0
	s.each(t, func(t *testing.T, c caller) {
		if resp, who := c.send(t, c.request(t, "GET", "/whoAmI/api/json", nil)); resp.StatusCode != 200 || !strings.Contains(who, `"name":"alice"`) {
			t.Errorf("whoAmI: %s %s", resp.Status, who)
		}
		count++
		name, job := fmt.Sprintf("job-%d", count), strings.Replace(jenkinstest.FreestyleXML, "<description></description>", "<description>by "+c.version.name+"</description>", 1)
		req := c.request(t, "POST", "/createItem?name="+name, strings.NewReader(job))
		req.Header.Set("Content-Type", "application/xml")
		req.Header.Set("X-Forwarded-User", "admin")
		s.jenkins.Restart() // so that the body is sent a second time, with a new crumb
		if resp, body := c.send(t, req); resp.StatusCode != 200 || len(resp.Header["Set-Cookie"]) > 0 && c.client.name == "token" {
			t.Errorf("createItem: %s %q %.200s", resp.Status, resp.Header["Set-Cookie"], body)
		}
		if last := s.last(t); last.User != "alice" || last.Crumb != jenkinstest.CrumbValid {
			t.Errorf("Jenkins got the POST of %q with a crumb that is %s", last.User, last.Crumb)
		}
		if _, made := c.send(t, c.request(t, "GET", "/job/"+name+"/config.xml", nil)); made != job {
			t.Errorf("the job became %q, want %q", made, job)
		}
		foreign := c.request(t, "GET", "/whoAmI/api/json", nil)
		foreign.Header.Set("Authorization", "Bearer wrong")
		before := len(s.jenkins.Requests())
		if resp, _ := c.send(t, foreign); resp.StatusCode != 401 {
			t.Errorf("a wrong token: %s", resp.Status)
		}
		if after := len(s.jenkins.Requests()); after != before {
			t.Errorf("Jenkins has received a request with a wrong token: %+v", s.last(t))
		}
	})
}

// seen is what a page has seen of a request.
type seen struct {
	Length  int64
	Sum     string
	Trailer http.Header
	Header  http.Header
}

// see answers with what it has seen.
func see(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	io.Copy(hash, r.Body)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(seen{r.ContentLength, hex.EncodeToString(hash.Sum(nil)), r.Trailer, r.Header})
}

func sum(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// TestTrailers: what Jenkins says at the end of an answer arrives; what a client
// says at the end of a request, after all has been checked, does not.
func TestTrailers(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.jenkins.Handle("/see", http.HandlerFunc(see))
	s.jenkins.Handle("/say", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		flush(w)
		w.Header().Set("X-Sum", "23")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	}))
	s.each(t, func(t *testing.T, c caller) {
		if resp, body := c.send(t, c.request(t, "GET", "/say", nil)); body != "body" || resp.Trailer.Get("X-Sum") != "23" || resp.Trailer.Get("X-Late") != "yes" {
			t.Errorf("got %q with the trailer %q", body, resp.Trailer)
		}
		trailer := http.Header{"X-Forwarded-User": {"admin"}, "X-Forwarded-Groups": {"admins"}, "Jenkins-Crumb": {"x"}, "Cookie": {"JSESSIONID.x=y"}, "X-Harmless": {"z"}}
		for _, length := range []int64{-1, 4} { // HTTP/2 and 3 have trailers with a length as well
			if length >= 0 && c.major == 1 {
				continue
			}
			req := c.request(t, "POST", "/see", io.MultiReader(strings.NewReader("body")))
			req.ContentLength, req.Trailer = length, trailer
			resp, body := c.send(t, req)
			var got seen
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%s: %.200s (%v)", resp.Status, body, err)
			}
			if len(got.Trailer) > 0 || got.Sum != sum("body") {
				t.Errorf("Jenkins got the trailer %q, of the body %q", got.Trailer, got.Sum)
			}
			for _, name := range []string{"Trailer", "X-Harmless", "X-Forwarded-Groups"} {
				if values := got.Header[name]; len(values) > 0 {
					t.Errorf("Jenkins got %s: %q in the header", name, values)
				}
			}
			if last := s.last(t); last.User != "alice" || last.Crumb != jenkinstest.CrumbValid || strings.Contains(last.Header.Get("Cookie"), "JSESSIONID.x") {
				t.Errorf("Jenkins got the POST of %q with a crumb that is %s and the cookie %q", last.User, last.Crumb, last.Header.Get("Cookie"))
			}
		}
	})
}

// TestBodies: with a length and without, in both directions, and none at all.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	s.jenkins.Handle("/see", http.HandlerFunc(see))
	answers := map[string]func(w http.ResponseWriter){
		"/length": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "body")
		},
		"/chunked": func(w http.ResponseWriter) {
			flush(w)
			io.WriteString(w, "body")
		},
		"/none":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"/unmodified":  func(w http.ResponseWriter) { w.Header().Set("ETag", `"1"`); w.WriteHeader(http.StatusNotModified) },
		"/empty":       func(w http.ResponseWriter) { w.Header().Set("Content-Length", "0") },
		"/interrupted": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "5"); io.WriteString(w, "body") },
	}
	for path, answer := range answers {
		s.jenkins.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	}
	tests := []struct {
		method, path string
		status       int
		length       int64
		body         string
	}{
		{"GET", "/length", 200, 4, "body"},
		{"GET", "/chunked", 200, -1, "body"},
		{"GET", "/none", 204, 0, ""},
		{"GET", "/unmodified", 304, 0, ""},
		{"GET", "/empty", 200, 0, ""},
		{"POST", "/length", 200, 4, "body"},
		{"POST", "/chunked", 200, -1, "body"},
		{"POST", "/none", 204, 0, ""},
		{"DELETE", "/none", 204, 0, ""},
		{"HEAD", "/length", 200, 4, ""},
		{"HEAD", "/none", 204, 0, ""},
	}
	s.each(t, func(t *testing.T, c caller) {
		for _, tt := range tests {
			resp, body := c.send(t, c.request(t, tt.method, tt.path, nil))
			length := resp.ContentLength
			if tt.status == 204 || tt.status == 304 {
				length = max(length, 0) // clients of HTTP/2 and 3 call it unknown
			}
			if resp.StatusCode != tt.status || length != tt.length || body != tt.body {
				t.Errorf("%s %s: %d with %d bytes, %q; want %d with %d, %q", tt.method, tt.path, resp.StatusCode, length, body, tt.status, tt.length, tt.body)
			}
			if _, set := resp.Header["Content-Length"]; set && tt.status == 204 && c.major < 3 { // quic-go's server adds one
				t.Errorf("%s %s: a Content-Length on 204", tt.method, tt.path)
			}
		}
		// An answer that breaks off must not look whole.
		if resp, err := c.transport.RoundTrip(c.request(t, "GET", "/interrupted", nil)); err == nil {
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("an answer that broke off is read as %q without an error", body)
			}
		}
		const large = 3 << 20
		for name, size := range map[string]int{"small": 10, "larger than what is kept for a replay": large} {
			text := strings.Repeat("0123456789", size/10)
			for _, length := range []int64{int64(len(text)), -1} {
				req := c.request(t, "POST", "/see", io.MultiReader(strings.NewReader(text)))
				req.ContentLength = length
				resp, body := c.send(t, req)
				var got seen
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					t.Fatalf("%s: %s: %.200s (%v)", name, resp.Status, body, err)
				}
				if got.Length != length || got.Sum != sum(text) {
					t.Errorf("%s: Jenkins got a body of length %d, want %d and the same bytes", name, got.Length, length)
				}
			}
		}
	})
}

// TestRanges: artifacts are resumed, and read in parts.
func TestRanges(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	const artifact = "0123456789abcdefghijklmnopqrstuvwxyz"
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.jenkins.Handle("/job/a/1/artifact/large.bin", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "large.bin", modified, strings.NewReader(artifact))
	}))
	tests := []struct {
		name          string
		header        http.Header
		status        int
		contentRange  string
		parts         []string // one: the body
		contentLength int64
	}{
		{"all", nil, 200, "", []string{artifact}, 36},
		{"the beginning", http.Header{"Range": {"bytes=0-9"}}, 206, "bytes 0-9/36", []string{"0123456789"}, 10},
		{"from the middle on", http.Header{"Range": {"bytes=26-"}}, 206, "bytes 26-35/36", []string{"qrstuvwxyz"}, 10},
		{"the end", http.Header{"Range": {"bytes=-3"}}, 206, "bytes 33-35/36", []string{"xyz"}, 3},
		{"several", http.Header{"Range": {"bytes=0-0,10-12"}}, 206, "", []string{"0", "abc"}, 0},
		{"beyond it", http.Header{"Range": {"bytes=36-"}}, 416, "bytes */36", nil, 0},
		{"if it is that one", http.Header{"Range": {"bytes=0-1"}, "If-Range": {`"one"`}}, 206, "bytes 0-1/36", []string{"01"}, 2},
		{"if it is another one", http.Header{"Range": {"bytes=0-1"}, "If-Range": {`"two"`}}, 200, "", []string{artifact}, 36},
		{"if it is of that time", http.Header{"Range": {"bytes=0-1"}, "If-Range": {modified.Format(http.TimeFormat)}}, 206, "bytes 0-1/36", []string{"01"}, 2},
		{"if it is newer", http.Header{"If-Modified-Since": {modified.Format(http.TimeFormat)}}, 304, "", []string{""}, 0},
		{"if it is not that one", http.Header{"If-None-Match": {`"one"`}}, 304, "", []string{""}, 0},
	}
	s.each(t, func(t *testing.T, c caller) {
		for _, tt := range tests {
			req := c.request(t, "GET", "/job/a/1/artifact/large.bin", nil)
			for name, values := range tt.header {
				req.Header[name] = values
			}
			resp, body := c.send(t, req)
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Range") != tt.contentRange {
				t.Errorf("%s: %s with the range %q, want %d with %q", tt.name, resp.Status, resp.Header.Get("Content-Range"), tt.status, tt.contentRange)
				continue
			}
			if resp.StatusCode == 200 && (resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("ETag") != `"one"`) {
				t.Errorf("%s: header %q", tt.name, resp.Header)
			}
			switch {
			case len(tt.parts) == 1 && (body != tt.parts[0] || max(resp.ContentLength, 0) != tt.contentLength):
				t.Errorf("%s: got %q of %d bytes, want %q", tt.name, body, resp.ContentLength, tt.parts[0])
			case len(tt.parts) > 1:
				if got := parts(t, resp, body); !reflect.DeepEqual(got, tt.parts) {
					t.Errorf("%s: got %q, want %q", tt.name, got, tt.parts)
				}
			}
		}
	})
}

// parts takes a multipart/byteranges apart.
func parts(t *testing.T, resp *http.Response, body string) []string {
	t.Helper()
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		t.Fatalf("content type %q: %v", resp.Header.Get("Content-Type"), err)
	}
	var found []string
	reader := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, string(text))
	}
}

// TestCompression: what Jenkins compresses passes as it is, and so does the wish
// for it.
func TestCompression(t *testing.T) {
	t.Parallel()
	s := start(t, caddyfile)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, strings.Repeat("a line of a log\n", 1000))
	w.Close()
	s.jenkins.Handle("/job/a/1/consoleText", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Encoding")
		if r.Header.Get("Accept-Encoding") != "br;q=0.1, gzip" {
			io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	}))
	s.each(t, func(t *testing.T, c caller) {
		for _, method := range []string{"GET", "POST"} {
			req := c.request(t, method, "/job/a/1/consoleText", nil)
			req.Header.Set("Accept-Encoding", "br;q=0.1, gzip")
			if resp, body := c.send(t, req); body != packed.String() || resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: %s: %d bytes, want %d, and header %q", method, resp.Status, len(body), packed.Len(), resp.Header)
			}
			if resp, body := c.send(t, c.request(t, method, "/job/a/1/consoleText", nil)); body != "plain" || resp.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s without Accept-Encoding: %q, header %q", method, body, resp.Header)
			}
		}
	})
}

// flush sends what a page has written so far.
func flush(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }
