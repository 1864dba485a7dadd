package attack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// smuggled is a request that wants to arrive inside of another. Whoever takes it
// for one would pass on an identity without a look.
const smuggled = "GET /smuggled HTTP/1.1\nHost: x\nX-Forwarded-User: admin\nX-Smuggled: smuggled\n\n"

// body checks what Jenkins received as the body.
func body(want string) func(*testing.T, jenkinstest.Request) {
	return func(t *testing.T, seen jenkinstest.Request) {
		t.Helper()
		if string(seen.Body) != want {
			t.Errorf("Jenkins got the body %q, want %q", seen.Body, want)
		}
	}
}

// TestFraming: what two servers could take for requests of different length
// reaches Jenkins with one length, or not at all.
func TestFraming(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	const (
		get  = "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n"
		post = "POST /quietDown HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n"
		gets = "GET /whoAmI/api/json"
		does = "POST /quietDown"
		// What is cut off may reach Jenkins late, and must not be taken for another row's.
		cut  = "POST /quietDown?cut HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n"
		cuts = "POST /quietDown?cut"
	)
	chunked := "Transfer-Encoding: chunked\n\n"
	long := fmt.Sprint(len(crlf.Replace(smuggled)))
	w.run(t, alice.caller, []attack{
		{name: "CL.TE", h1: post + "Content-Length: 4\nTransfer-Encoding: chunked\n\n0\n\n" + smuggled, status: []int{302, 400}, seen: does, check: body("")},
		{name: "TE.CL", h1: post + "Transfer-Encoding: chunked\nContent-Length: 4\n\n0\n\n" + smuggled, status: []int{302, 400}, seen: does, check: body("")},
		{name: "CL.TE with a length of all", h1: post + "Content-Length: " + long + "\nTransfer-Encoding: chunked\n\n0\n\n" + smuggled, status: []int{302, 400}, seen: does, check: body("")},
		{name: "TE.TE identity after", h1: post + "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n" + smuggled, status: []int{400, 501}},
		{name: "TE.TE chunked twice", h1: post + "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n" + smuggled, status: []int{400, 501}},
		{name: "TE.TE chunked twice in one line", h1: post + "Transfer-Encoding: chunked, chunked\n\n0\n\n" + smuggled, status: []int{400, 501}},
		{name: "TE.TE other spelling of the name", h1: post + "Transfer_Encoding: chunked\nContent-Length: 5\n\n0\n\n", status: found, seen: does, check: body("0\r\n\r\n")},
		{name: "coding unknown", h1: post + "Transfer-Encoding: xchunked\n\n0\n\n", status: []int{400, 501}},
		{name: "coding identity", h1: post + "Transfer-Encoding: identity\nContent-Length: " + long + "\n\n" + smuggled, status: []int{400, 501}},
		{name: "coding gzip, chunked", h1: post + "Transfer-Encoding: gzip, chunked\n\n0\n\n", status: []int{400, 501}},
		{name: "coding in quotes", h1: post + "Transfer-Encoding: \"chunked\"\n\n0\n\n", status: []int{400, 501}},
		{name: "coding with a parameter", h1: post + "Transfer-Encoding: chunked;a=b\n\n0\n\n", status: []int{400, 501}},
		{name: "coding with a vertical tab", h1: post + "Transfer-Encoding: \x0bchunked\n\n0\n\n", status: []int{400, 501}},
		{name: "coding with a trailing CR", h1: post + "Transfer-Encoding: chunked{CR}\n\n0\n\n", status: []int{400, 501}},
		{name: "coding folded", h1: post + "Transfer-Encoding:\n chunked\nContent-Length: 4\n\n0\n\n" + smuggled, status: []int{302, 400}, seen: does, check: body("")},
		{name: "coding with a blank before the colon", h1: post + "Transfer-Encoding : chunked\nContent-Length: 5\n\n0\n\n", status: bad},
		{name: "coding with a tab before the colon", h1: post + "Transfer-Encoding\t: chunked\nContent-Length: 5\n\n0\n\n", status: bad},
		{name: "coding empty", h1: post + "Transfer-Encoding:\nContent-Length: 5\n\n0\n\n", status: []int{400, 501}},
		{name: "coding in HTTP/1.0", h1: "POST /quietDown HTTP/1.0\nHost: {HOST}\nAuthorization: Basic {BASIC}\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n" + smuggled, status: []int{302, 400, 501}, seen: does},

		{name: "length twice, different", h1: post + "Content-Length: 0\nContent-Length: " + long + "\n\n" + smuggled, status: bad},
		{name: "length twice, equal", h1: post + "Content-Length: 4\nContent-Length: 4\n\nabcd", status: []int{302, 400}, seen: does, check: body("abcd")},
		{name: "length as a list", h1: post + "Content-Length: 4, 4\n\nabcd", status: bad},
		{name: "length as a list of different ones", h1: post + "Content-Length: 0, " + long + "\n\n" + smuggled, status: bad},
		{name: "length negative", h1: post + "Content-Length: -1\n\n" + smuggled, status: bad},
		{name: "length with a plus", h1: post + "Content-Length: +4\n\nabcd", status: bad},
		{name: "length in hex", h1: post + "Content-Length: 0x4\n\nabcd", status: bad},
		{name: "length with an underscore", h1: post + "Content-Length: 1_0\n\n0123456789", status: bad},
		{name: "length with a blank inside", h1: post + "Content-Length: 1 0\n\n0123456789", status: bad},
		{name: "length of 2^63", h1: post + "Content-Length: 9223372036854775808\n\n" + smuggled, status: bad},
		{name: "length of 2^64 and 4", h1: post + "Content-Length: 18446744073709551620\n\nabcd", status: bad},
		{name: "length empty", h1: post + "Content-Length:\n\n" + smuggled, status: bad},
		{name: "length with zeros before", h1: post + "Content-Length: 0004\n\nabcd", status: []int{302, 400}, seen: does, check: body("abcd")},
		{name: "length with other digits", h1: post + "Content-Length: \xd9\xa4\n\nabcd", status: bad},
		{name: "length under another name", h1: post + "Content_Length: " + long + "\nContent-Length: 0\n\n", status: found, seen: does, check: body("")},
		{name: "length with a blank before the colon", h1: post + "Content-Length : " + long + "\n\n" + smuggled, status: bad},
		{name: "no length", h1: post + "\n" + smuggled, status: []int{302}, seen: does, check: body("")},
		{name: "body of a GET", h1: get + "Content-Length: " + long + "\n\n" + smuggled, status: ok, seen: gets, check: body(crlf.Replace(smuggled))},
		{name: "chunked body of a GET", h1: get + chunked + "4\nabcd\n0\n\n", status: ok, seen: gets, check: body("abcd")},
		{name: "body cut off", h1: cut + "Content-Length: 100\n\nabc", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk cut off", h1: cut + chunked + "64\nabc", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "no end of chunks", h1: cut + chunked + "3\nabc\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},

		// What Jenkins gets is chunked anew, whatever a client has written between the pieces.
		{name: "chunk extension", h1: post + chunked + "4;a=b\nabcd\n0\n\n", status: []int{302, 400}, seen: does, check: body("abcd")},
		{name: "chunk extension with a bare LF (CVE-2025-22871)", h1: cut + chunked + "4;{LF}abcd\n0\n\n" + smuggled, half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size ended by a bare LF (CVE-2025-22871)", h1: cut + chunked + "4{LF}abcd\n0\n\n" + smuggled, half: true, status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "chunk ended by a bare LF", h1: cut + chunked + "4\nabcd{LF}0\n\n" + smuggled, half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size with a sign", h1: cut + chunked + "+4\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size negative", h1: cut + chunked + "-1\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size 0x4", h1: cut + chunked + "0x4\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size too large", h1: cut + chunked + "fffffffffffffffff4\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size empty", h1: cut + chunked + "\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "chunk size with blanks", h1: cut + chunked + "4 \t\nabcd\n0\n\n", half: true, status: []int{0, 302, 400, 499, 502}, seen: cuts},
		{name: "chunk longer than its size", h1: cut + chunked + "3\nabcd\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "64 KiB of chunk extension", h1: cut + chunked + "1;" + strings.Repeat("a", 64<<10) + "\na\n0\n\n", half: true, status: []int{0, 400, 499, 502}, seen: cuts},
		{name: "trailers", h1: post + "Trailer: X-Forwarded-User, Authorization\n" + chunked + "1\nx\n0\nX-Forwarded-User: admin\nAuthorization: Basic {ADMIN}\n\n", status: found, seen: does, check: body("x")},
		{name: "trailers unannounced", h1: post + chunked + "1\nx\n0\nX-Forwarded-User: admin\n\n", status: found, seen: does, check: body("x")},
		{name: "trailer of framing", h1: post + "Trailer: Transfer-Encoding\n" + chunked + "1\nx\n0\nTransfer-Encoding: chunked\n\n", status: []int{302, 400}, seen: does},

		{name: "obs-fold of the credential", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic\n {BASIC}\n\n", status: []int{200, 400, 401}, seen: gets},
		{name: "obs-fold with an identity", h1: get + "X-Any: a\n X-Forwarded-User: admin\n\n", status: []int{200, 400}, seen: gets},
		{name: "obs-fold first", h1: "GET /whoAmI/api/json HTTP/1.1\n X-Forwarded-User: admin\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n", status: bad},
		{name: "obs-fold in Connection", h1: get + "Connection: close,\n X-Forwarded-User\n\n", status: []int{200, 400}, seen: gets},
		{name: "bare LF ends lines", h1: "GET /whoAmI/api/json HTTP/1.1{LF}Host: {HOST}{LF}X-Forwarded-User: admin{LF}Authorization: Basic {BASIC}{LF}{LF}", status: []int{200, 400}, seen: gets},
		{name: "bare LF before an identity", h1: get + "X-Any: a{LF}X-Forwarded-User: admin\n\n", status: []int{200, 400}, seen: gets},
		{name: "bare LF as the end of the head", h1: post + "X-Any: a{LF}{LF}" + smuggled, status: []int{302, 400}, seen: does},
		{name: "bare CR before an identity", h1: get + "X-Any: a{CR}X-Forwarded-User: admin\n\n", status: bad},
		{name: "bare CR as the end of a line", h1: "GET /whoAmI/api/json HTTP/1.1{CR}Host: {HOST}\n\n", status: badOrHungUp},
		{name: "two CRs", h1: get + "X-Any: a{CR}{CR}\n\n", status: []int{200, 400}, seen: gets},
		{name: "NUL in a value", h1: get + "X-Any: a{NUL}b\n\n", status: bad},
		{name: "NUL in a name", h1: get + "X-Any{NUL}: a\n\n", status: bad},
		{name: "DEL in a value", h1: get + "X-Any: a\x7fb\n\n", status: bad},
		{name: "blank before the colon of an identity", h1: get + "X-Forwarded-User : admin\n\n", status: bad},
		{name: "tab before the colon of an identity", h1: get + "X-Forwarded-User\t: admin\n\n", status: bad},
		{name: "blank before a name", h1: get + " X-Forwarded-User: admin\n\n", status: []int{200, 400, 401}, seen: gets},
		{name: "no colon", h1: get + "X-Forwarded-User admin\n\n", status: bad},
		{name: "no name", h1: get + ": admin\n\n", status: bad},
		{name: "name not ASCII", h1: get + "X-Forwarded-User\xe2\x80\x8b: admin\n\n", status: bad},
		{name: "name with a Kelvin sign", h1: get + "X-For\xe2\x84\xaa: admin\n\n", status: bad},
		{name: "name in brackets", h1: get + "(X-Forwarded-User): admin\n\n", status: bad},
		{name: "name in full width", h1: get + "X\xef\xbc\x8dForwarded-User: admin\n\n", status: bad},
		{name: "empty lines before", h1: "\n\n" + get + "\n", status: badOrHungUp},
		{name: "second request pipelined", h1: get + "\n" + get + "X-Forwarded-User: admin\n\n", status: ok, seen: gets, times: 2},
		{name: "second request without a credential", h1: post + "Content-Length: 0\n\n" + smuggled, status: found, seen: does},
		{name: "PRI of HTTP/2", h1: "PRI * HTTP/2.0\n\nSM\n\n", half: true, status: []int{0, 400, 401, 405, 505}},
		{name: "TLS in the clear", h1: "\x16\x03\x01\x00\x05hello", half: true, status: badOrHungUp},
		{name: "version 2.0", h1: "GET /whoAmI/api/json HTTP/2.0\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n", status: []int{400, 505}},
		{name: "version 1.2", h1: "GET /whoAmI/api/json HTTP/1.2\nHost: {HOST}\nAuthorization: Basic {BASIC}\n\n", status: []int{200, 400, 505}, seen: gets},
		{name: "version 0.9", h1: "GET /whoAmI/api/json\nHost: {HOST}\n\n", status: badOrHungUp},
		{name: "two blanks in the request line", h1: "GET  /whoAmI/api/json HTTP/1.1\nHost: {HOST}\n\n", status: bad},
		{name: "tabs in the request line", h1: "GET\t/whoAmI/api/json\tHTTP/1.1\nHost: {HOST}\n\n", status: bad},
		{name: "blank in the target", h1: "GET /whoAmI/api/json HTTP/1.1 HTTP/1.1\nHost: {HOST}\n\n", status: bad},

		{name: "Expect, body at once", h1: post + "Expect: 100-continue\nContent-Length: 4\n\nabcd", status: []int{302}, seen: does, check: body("abcd")},
		{name: "Expect of something else", h1: post + "Expect: 200-ok\nContent-Length: 4\n\nabcd", status: []int{417}},
		{name: "Expect twice", h1: post + "Expect: 100-continue\nExpect: 100-continue\nContent-Length: 4\n\nabcd", status: []int{302, 400, 417}, seen: does},
		{name: "Expect without a credential", h1: "POST /quietDown HTTP/1.1\nHost: {HOST}\nExpect: 100-continue\nContent-Length: " + long + "\n\n" + smuggled, status: unauthorized},
		{name: "Expect of a GET", h1: get + "Expect: 100-continue\n\n", status: ok, seen: gets},
		{name: "refused body is not a request", h1: "POST /quietDown HTTP/1.1\nHost: {HOST}\nContent-Length: " + long + "\n\n" + smuggled, status: unauthorized},
		{name: "refused chunks are not a request", h1: "POST /quietDown HTTP/1.1\nHost: {HOST}\nTransfer-Encoding: chunked\n\n0\n\n" + smuggled, status: unauthorized},
	})
}

// TestSize: what is too large is refused early, and Jenkins' own bound of 8 KiB
// makes no hole.
func TestSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	alice := asToken("alice", nil)
	const get = "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n"
	tooLarge := []int{0, 400, 431}
	w.run(t, alice.caller, []attack{
		// Caddy takes 16 KiB of head. It may hang up before all is written.
		{name: "64 KiB of Authorization", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic " + strings.Repeat("QUJD", 16<<10) + "\n\n", status: tooLarge},
		{name: "8 KiB of Authorization", h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic " + strings.Repeat("QUJD", 2<<10) + "\n\n", status: unauthorized},
		{name: "2 MiB of one header", h1: get + "X-Any: " + strings.Repeat("a", 2<<20) + "\n\n", status: tooLarge},
		{name: "2 MiB of target", h1: "GET /" + strings.Repeat("a", 2<<20) + " HTTP/1.1\nHost: {HOST}\n\n", status: []int{0, 400, 414, 431}},
		{name: "100,000 headers", h1: get + strings.Repeat("A: b\n", 100_000) + "\n", status: tooLarge},
		{name: "100,000 identities", h1: get + strings.Repeat("X-Forwarded-User: admin\n", 100_000) + "\n", status: tooLarge},
		{name: "200 identities", h1: get + strings.Repeat("X-Forwarded-User: admin\n", 200) + "\n", status: ok, seen: "GET /whoAmI/api/json"},
		{name: "10,000 headers that Jenkins has no room for", h1: get + strings.Repeat("A: b\n", 10_000) + "\n", status: tooLarge, seen: "GET /whoAmI/api/json"},
		{name: "12 KiB, more than Jenkins takes", h1: get + "X-Any: " + strings.Repeat("a", 12<<10) + "\n\n", status: []int{431}, seen: "GET /whoAmI/api/json"},
		{name: "10,000 options in Connection", h1: get + "Connection: " + strings.Repeat("X-Forwarded-User,", 500) + "close\n\n", status: ok, seen: "GET /whoAmI/api/json"},
		{name: "name of 10 KiB", h1: get + strings.Repeat("X", 10<<10) + ": a\n\n", status: []int{400, 431}, seen: "GET /whoAmI/api/json"},
	})
}
