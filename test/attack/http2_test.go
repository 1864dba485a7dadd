package attack_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// TestHTTP2: what HTTP/1.1 could not say and HTTP/2 can, which a gateway that
// speaks HTTP/1.1 to Jenkins would turn into something else.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	const who = "GET /whoAmI/api/json"
	auth := field{"authorization", "Basic {BASIC}"}
	get := func(more ...field) *stream { return h2("GET", "/whoAmI/api/json", append([]field{auth}, more...)...) }
	post := func(body string, more ...field) *stream {
		s := h2("POST", "/quietDown", append([]field{auth}, more...)...)
		s.body = body
		return s
	}
	// What is cut off may reach Jenkins late, and must not be taken for another row's.
	const cuts = "POST /quietDown?cut"
	cut := func(body string, more ...field) *stream {
		s := post(body, more...)
		s.fields[3].value += "?cut"
		return s
	}
	raw := func(fields ...field) *stream { return &stream{fields: append(fields, auth)} }
	method, scheme, authority, path := field{":method", "GET"}, field{":scheme", "https"}, field{":authority", "{HOST}"}, field{":path", "/whoAmI/api/json"}
	refused := []int{0, 400}
	trailers := func(s *stream, fields ...field) *stream { s.trailers = fields; return s }
	open := func(s *stream) *stream { s.open = true; return s }
	split := func(s *stream, n int) *stream { s.split = n; return s }

	attacks := []attack{
		{name: "as it should be", h2: get(), status: ok, seen: who},
		{name: "head in pieces", h2: split(get(field{"x-forwarded-user", "admin"}), 3), status: ok, seen: who},
		{name: "CRLF in a value", h2: get(field{"x-any", "a\r\nX-Forwarded-User: admin"}), status: refused},
		{name: "LF in a value", h2: get(field{"x-any", "a\nX-Forwarded-User: admin"}), status: refused},
		{name: "CR in a value", h2: get(field{"x-any", "a\rX-Forwarded-User: admin"}), status: refused},
		{name: "NUL in a value", h2: get(field{"x-any", "a\x00b"}), status: refused},
		{name: "a request in a value", h2: get(field{"x-any", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x"}), status: refused},
		{name: "CRLF in a name", h2: get(field{"x-any: a\r\nx-forwarded-user", "admin"}), status: refused},
		{name: "colon in a name", h2: get(field{"x-forwarded-user:", "admin"}), status: refused},
		{name: "colon and value in a name", h2: get(field{"x-forwarded-user: admin", "a"}), status: refused},
		{name: "blank in a name", h2: get(field{"x-forwarded-user ", "admin"}), status: refused},
		{name: "blank before a name", h2: get(field{" x-forwarded-user", "admin"}), status: refused},
		{name: "tab in a name", h2: get(field{"x-forwarded-user\t", "admin"}), status: refused},
		{name: "empty name", h2: get(field{"", "admin"}), status: refused},
		{name: "upper case in a name", h2: get(field{"X-Forwarded-User", "admin"}), status: refused},
		{name: "not ASCII in a name", h2: get(field{"x-forwarded-us\xc3\xa9r", "admin"}), status: refused},
		{name: "CRLF in :path", h2: h2("GET", "/whoAmI/api/json HTTP/1.1\r\nX-Forwarded-User: admin\r\nX:", auth), status: refused},
		{name: "blank in :path", h2: h2("GET", "/whoAmI/api/json HTTP/1.1", auth), status: []int{0, 200, 400, 404}, seen: who + "%20HTTP/1.1"},
		{name: "CRLF in :method", h2: h2("GET /smuggled HTTP/1.1\r\nX:", "/whoAmI/api/json", auth), status: refused},
		{name: "blank in :method", h2: h2("GET /smuggled", "/whoAmI/api/json", auth), status: []int{0, 400, 502}},
		{name: "CRLF in :authority", h2: raw(method, scheme, field{":authority", "x\r\nX-Forwarded-User: admin"}, path), status: refused},
		{name: "CRLF in :scheme", h2: raw(method, field{":scheme", "https\r\nX-Forwarded-User: admin"}, authority, path), status: []int{0, 200, 400}, seen: who},
		{name: "URL in :scheme", h2: raw(method, field{":scheme", "http://elsewhere/smuggled?"}, authority, path), status: []int{0, 200, 400}, seen: who},
		{name: "scheme http", h2: raw(method, field{":scheme", "http"}, authority, path), status: []int{0, 200, 400}, seen: who},
		{name: "no scheme", h2: raw(method, authority, path), status: refused},
		{name: "no method", h2: raw(scheme, authority, path), status: refused},
		{name: "no path", h2: raw(method, scheme, authority), status: refused},
		{name: "empty path", h2: raw(method, scheme, authority, field{":path", ""}), status: refused},
		{name: "empty method", h2: raw(field{":method", ""}, scheme, authority, path), status: refused},
		{name: "absolute path", h2: h2("GET", "https://elsewhere/whoAmI/api/json", auth), status: refused},
		{name: "path without a slash", h2: h2("GET", "whoAmI/api/json", auth), status: refused},
		{name: "path asterisk", h2: h2("GET", "*", auth), status: refused},
		{name: "OPTIONS asterisk", h2: h2("OPTIONS", "*", auth), status: []int{0, 200, 400}},
		{name: "two paths", h2: raw(method, scheme, authority, path, field{":path", "/smuggled"}), status: refused},
		{name: "two methods", h2: raw(method, field{":method", "POST"}, scheme, authority, path), status: refused},
		{name: "two authorities", h2: raw(method, scheme, authority, field{":authority", "elsewhere"}, path), status: refused},
		{name: "two schemes", h2: raw(method, scheme, scheme, authority, path), status: refused},
		{name: "pseudo-header after a field", h2: get(field{":path", "/smuggled"}), status: refused},
		{name: "pseudo-header unknown", h2: raw(method, scheme, authority, path, field{":x-forwarded-user", "admin"}), status: refused},
		{name: "pseudo-header of an answer", h2: raw(method, scheme, authority, path, field{":status", "200"}), status: refused},
		{name: "pseudo-header in upper case", h2: raw(method, scheme, authority, path, field{":PATH", "/smuggled"}), status: refused},
		{name: "pseudo-header in trailers", h2: trailers(cut("x"), field{":path", "/smuggled"}), status: refused, seen: cuts},
		{name: "authority and Host differ", h2: get(field{"host", "elsewhere"}), status: []int{0, 200, 400}, seen: who, check: host(w)},
		{name: "Host only", h2: raw(method, scheme, path, field{"host", "{HOST}"}), status: []int{0, 200, 400}, seen: who, check: host(w)},
		{name: "Host twice", h2: raw(method, scheme, path, field{"host", "{HOST}"}, field{"host", "elsewhere"}), status: []int{0, 200, 400}, seen: who, check: host(w)},
		{name: "Host of another site only", h2: raw(method, scheme, path, field{"host", "elsewhere"}), status: []int{0, 200, 400, 421}},
		{name: "neither", h2: raw(method, scheme, path), status: []int{0, 200, 400, 421}},
		{name: "authority of another site", h2: raw(method, scheme, field{":authority", "elsewhere"}, path), status: []int{0, 200, 400, 421}},
		{name: "authority with a user", h2: raw(method, scheme, field{":authority", "admin:secret@{HOST}"}, path), status: []int{0, 200, 400, 421}},
		{name: "authority with a path", h2: raw(method, scheme, field{":authority", "{HOST}/login"}, path), status: []int{0, 200, 400, 421}},
		{name: "CONNECT", h2: raw(field{":method", "CONNECT"}, authority), status: []int{0, 400, 404, 405, 502}},
		{name: "CONNECT with a path", h2: raw(field{":method", "CONNECT"}, scheme, authority, path), status: refused},
		{name: "extended CONNECT to h2c", h2: open(raw(field{":method", "CONNECT"}, field{":protocol", "h2c"}, scheme, authority, path)), status: []int{0, 400, 404, 405, 501, 502}},
		{name: "protocol of a GET", h2: raw(method, field{":protocol", "websocket"}, scheme, authority, path), status: refused},
		{name: "connection", h2: get(field{"connection", "x-forwarded-user"}), status: refused},
		{name: "transfer-encoding", h2: post("0\r\n\r\n"+crlf.Replace(smuggled), field{"transfer-encoding", "chunked"}), status: refused},
		{name: "transfer-encoding in upper case", h2: post("0\r\n\r\n"+crlf.Replace(smuggled), field{"Transfer-Encoding", "chunked"}), status: refused},
		{name: "content-length smaller than the body", h2: cut("0\r\n\r\n"+crlf.Replace(smuggled), field{"content-length", "5"}), status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "content-length larger than the body", h2: cut("abc", field{"content-length", "1000"}), status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "content-length without a body", h2: cut("", field{"content-length", "10"}), status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "content-length zero with a body", h2: cut(crlf.Replace(smuggled), field{"content-length", "0"}), status: []int{0, 302, 400, 499, 502}, seen: cuts, check: body("")},
		{name: "content-length twice", h2: cut("abcd", field{"content-length", "4"}, field{"content-length", "0"}), status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "content-length as a list", h2: cut("abcd", field{"content-length", "4, 4"}), status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "content-length negative", h2: cut("abcd", field{"content-length", "-4"}), status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "content-length with a plus", h2: cut("abcd", field{"content-length", "+4"}), status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "body of a GET", h2: func() *stream { s := get(); s.body = crlf.Replace(smuggled); return s }(), status: ok, seen: who},
		{name: "identity in trailers", h2: trailers(post("x", field{"trailer", "x-forwarded-user"}), field{"x-forwarded-user", "admin"}), status: found, seen: "POST /quietDown", check: body("x")},
		{name: "credential in trailers", h2: trailers(cut("x"), field{"authorization", "Basic {ADMIN}"}), status: []int{0, 302, 400}, seen: cuts},
		{name: "cookies in many lines", h2: get(field{"cookie", "JSESSIONID=smuggled"}, field{"cookie", "a=smuggled"}), status: ok, seen: who},
		{name: "refused, with a body", h2: func() *stream {
			s := h2("POST", "/quietDown")
			s.body = crlf.Replace(smuggled)
			return s
		}(), status: unauthorized},
		{name: "two credentials", h2: get(field{"authorization", "Basic {ADMIN}"}), status: bad},
		{name: "1 MiB of fields", h2: get(field{"x-any", strings.Repeat("a", 15<<10)}), status: []int{0, 431}, seen: who},
	}
	w.run(t, alice.caller, attacks)
	w.run(t, alice.caller, []attack{{name: "still serves", h2: get(), status: ok, seen: who}})
}

// TestHTTP2Floods: a client that asks for much work and takes no answer is cut off,
// or its work stays bounded; others are served meanwhile.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	head := func(c *h2conn, fields ...field) []byte {
		return c.encode(w.fill(append(h2("GET", "/whoAmI/api/json").fields, fields...)))
	}
	floods := map[string]func(*h2conn) error{
		"CVE-2023-44487 rapid reset": func(c *h2conn) error {
			for range 5000 {
				id := c.next
				c.next += 2
				if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head(c), EndStream: true, EndHeaders: true}); err != nil {
					return err
				}
				if err := c.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
					return err
				}
			}
			return nil
		},
		"CVE-2023-45288 continuation without end": func(c *h2conn) error { // VU#421644
			if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head(c)}); err != nil {
				return err
			}
			piece := c.encode([]field{{"x-any", strings.Repeat("a", 8<<10)}})
			for range 5000 {
				if err := c.WriteContinuation(1, false, piece); err != nil {
					return err
				}
			}
			return nil
		},
		"CVE-2019-9512 pings": func(c *h2conn) error {
			for range 50_000 {
				if err := c.WritePing(false, [8]byte{}); err != nil {
					return err
				}
			}
			return nil
		},
		"CVE-2019-9515 settings": func(c *h2conn) error {
			for range 50_000 {
				if err := c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}); err != nil {
					return err
				}
			}
			return nil
		},
		"CVE-2019-9518 empty frames": func(c *h2conn) error {
			if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head(c), EndHeaders: true}); err != nil {
				return err
			}
			for range 50_000 {
				if err := c.WriteData(1, false, nil); err != nil {
					return err
				}
			}
			return nil
		},
		"CVE-2025-8671 resets that the server is made to send": func(c *h2conn) error { // MadeYouReset
			for range 5000 {
				id := c.next
				c.next += 2
				if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head(c), EndStream: true, EndHeaders: true}); err != nil {
					return err
				}
				if err := c.WriteWindowUpdate(id, 0); err != nil { // is an error of the stream
					return err
				}
			}
			return nil
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			tally.tried.Add(1)
			w.jenkins.ResetRequests()
			c := w.dialH2(t)
			done := make(chan error, 1)
			go func() { done <- flood(c) }()
			// Meanwhile and afterwards.
			for served := false; !served; {
				select {
				case <-done:
					served = true
				default:
				}
				if status := w.sendH1(t, w.replace(crlf.Replace("GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n")), false); status != 200 {
					t.Fatalf("others get %d during the flood", status)
				}
			}
			c.conn.Close()
			for _, seen := range w.jenkins.Requests() {
				alice.owns(t, seen)
			}
			w.wire.check(t)
			tally.refused.Add(1) // no stream of it has a credential
		})
	}
}
