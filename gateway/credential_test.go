package gateway_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func TestAccepted(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.TokenHeader = "x-api-token" }})
	native, jenkins := s.token("alice"), s.tokenAs(token.Request{User: "alice", Expires: "never", Format: "jenkins"})
	encoded := strings.TrimPrefix(basicAuth("alice", native), "Basic ")
	tests := []struct {
		name    string
		headers []string
	}{
		{"basic", []string{"Authorization: " + basicAuth("alice", native)}},
		{"basic, Jenkins format", []string{"Authorization: " + basicAuth("alice", jenkins)}},
		{"basic, user in other case", []string{"Authorization: " + basicAuth("ALICE", native)}},
		{"basic, lower case", []string{"Authorization: basic " + encoded}},
		{"basic, upper case", []string{"Authorization: BASIC " + encoded}},
		{"basic, no padding", []string{"Authorization: Basic " + strings.TrimRight(encoded, "=")}},
		{"bearer", []string{"Authorization: Bearer " + native}},
		{"bearer, Jenkins format", []string{"Authorization: bearer " + jenkins}},
		{"own header", []string{"X-Api-Token: " + native}},
		{"own header in another spelling", []string{"x-API-token: " + native}},
		{"own header beside a foreign scheme", []string{"X-Api-Token: " + native, "Authorization: Digest username=alice"}},
		{"own header beside a password", []string{"X-Api-Token: " + native, "Authorization: " + basicAuth("alice", "hunter2")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.jenkins.ResetRequests()
			a := s.send("GET", "/whoAmI/api/json", "", test.headers...)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"name":"alice"`) {
				t.Fatalf("status %d, body %s; want 200 as alice", a.StatusCode, a.body)
			}
			got := s.only("GET")
			for _, name := range []string{"Authorization", "X-Api-Token"} {
				if values, set := got.Header[name]; set {
					t.Errorf("Jenkins got %s: %q", name, values)
				}
			}
		})
	}
	s.hides("alice", native)
	s.hides("alice", jenkins)
}

// All that is wrong with a credential is the same answer to the client, another
// reason in the log, and nothing to Jenkins.
func TestRefused(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.TokenHeader = "X-Api-Token" }})
	good := s.token("alice")
	expired := s.tokenAs(token.Request{User: "alice", Expires: "1h"})
	revoked := s.token("alice")
	for _, entry := range s.directory.List(func(*token.Token) bool { return true }) {
		if entry.Record().Digest == digest(t, revoked) {
			if _, err := s.directory.Revoke(t.Context(), entry.Record().ID, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	unknown := token.NewSecret(token.Native).Reveal()
	unknownJenkins := token.NewSecret(token.Jenkins).Reveal()
	encoded := strings.TrimPrefix(basicAuth("alice", good), "Basic ")
	strictness := base64.StdEncoding.EncodeToString([]byte("al:" + good)) // 42 bytes: no padding
	if strings.HasSuffix(strictness, "=") {
		t.Fatal("the example needs no padding")
	}
	padded := base64.StdEncoding.EncodeToString([]byte("a:" + good)) // 41 bytes: one =, and two bits that must be zero

	authorization := func(value string) []string { return []string{"Authorization: " + value} }
	tests := []struct {
		name    string
		headers []string
		reason  gateway.Reason
	}{
		{"nothing", nil, gateway.ReasonNone},
		{"empty", authorization(""), gateway.ReasonForeign},
		{"scheme alone", authorization("Basic"), gateway.ReasonMalformed},
		{"bearer alone", authorization("Bearer"), gateway.ReasonForeign},
		{"another scheme", authorization("Digest username=alice"), gateway.ReasonForeign},
		{"token without a scheme", authorization(good), gateway.ReasonMalformed},
		{"broken Base64", authorization("Basic !!!!"), gateway.ReasonMalformed},
		{"Base64 of the URL alphabet", authorization("Basic " + strings.Repeat("-_", 20)), gateway.ReasonMalformed},
		{"Base64 with a blank", authorization("Basic " + encoded[:8] + " " + encoded[8:]), gateway.ReasonMalformed},
		{"two blanks", authorization("Basic  " + encoded), gateway.ReasonMalformed},
		{"two blanks, bearer", authorization("Bearer  " + good), gateway.ReasonMalformed},
		{"tab", authorization("Basic\t" + encoded), gateway.ReasonMalformed},
		{"bits behind the end", authorization("Basic " + flipLastBit(padded)), gateway.ReasonMalformed},
		{"too much padding", authorization("Basic " + padded + "="), gateway.ReasonMalformed},
		{"padding where none is", authorization("Basic " + strictness + "===="), gateway.ReasonMalformed},
		{"padding in the middle", authorization("Basic " + encoded[:4] + "====" + encoded[4:]), gateway.ReasonMalformed},
		{"no colon", authorization("Basic " + base64.StdEncoding.EncodeToString([]byte(good))), gateway.ReasonMalformed},
		{"no user", authorization(basicAuth("", good)), gateway.ReasonWrongUser},
		{"NUL in the user", authorization(basicAuth("alice\x00", good)), gateway.ReasonWrongUser},
		{"NUL before the token", authorization(basicAuth("alice", "\x00"+good[1:])), gateway.ReasonForeign},
		{"NUL behind the token", authorization(basicAuth("alice", good+"\x00")), gateway.ReasonMalformed},
		{"blank behind the user", authorization(basicAuth("alice ", good)), gateway.ReasonWrongUser},
		{"line break behind the token", authorization(basicAuth("alice", good+"\n")), gateway.ReasonMalformed},
		{"user not UTF-8", authorization(basicAuth("al\xffce", good)), gateway.ReasonWrongUser},
		{"64 KiB", authorization("Basic " + strings.Repeat("A", 64<<10)), gateway.ReasonMalformed},
		{"64 KiB, bearer", authorization("Bearer " + strings.Repeat("A", 64<<10)), gateway.ReasonMalformed},
		{"64 KiB, no scheme", authorization(strings.Repeat("A", 64<<10)), gateway.ReasonForeign},
		{"64 KiB of user", authorization(basicAuth(strings.Repeat("a", 48<<10), good)), gateway.ReasonMalformed},
		{"token as user", authorization(basicAuth(good, "")), gateway.ReasonMalformed},
		{"token as user, with a dummy", authorization(basicAuth(good, "x-oauth-basic")), gateway.ReasonMalformed},
		{"token twice", authorization(basicAuth(good, good)), gateway.ReasonWrongUser},
		{"password", authorization(basicAuth("alice", "hunter2")), gateway.ReasonForeign},
		{"legacy token", authorization(basicAuth("alice", strings.Repeat("0a", 16))), gateway.ReasonForeign},
		{"another user's token", authorization(basicAuth("bob", good)), gateway.ReasonWrongUser},
		{"user with a colon", authorization(basicAuth("alice:x", good)), gateway.ReasonMalformed},
		{"unknown", authorization(basicAuth("alice", unknown)), gateway.ReasonUnknown},
		{"unknown, bearer", authorization("Bearer " + unknown), gateway.ReasonUnknown},
		{"unknown, own header", []string{"X-Api-Token: " + unknown}, gateway.ReasonUnknown},
		{"unknown, Jenkins format", authorization(basicAuth("alice", unknownJenkins)), gateway.ReasonUnknown},
		{"expired", authorization(basicAuth("alice", expired)), gateway.ReasonExpired},
		{"expired, wrong user", authorization(basicAuth("bob", expired)), gateway.ReasonWrongUser},
		{"revoked", authorization(basicAuth("alice", revoked)), gateway.ReasonRevoked},
		{"revoked, bearer", authorization("Bearer " + revoked), gateway.ReasonRevoked},
		{"last character lost", authorization(basicAuth("alice", good[:len(good)-1])), gateway.ReasonMalformed},
		{"last character twice", authorization(basicAuth("alice", good+good[len(good)-1:])), gateway.ReasonMalformed},
		{"checksum wrong", authorization(basicAuth("alice", flipCase(good))), gateway.ReasonMalformed},
		{"last character lost, bearer", authorization("Bearer " + good[:len(good)-1]), gateway.ReasonMalformed},
		{"half of a token", authorization("Bearer " + good[:20]), gateway.ReasonMalformed},
		{"prefix of a token alone", authorization("Bearer cg_"), gateway.ReasonMalformed},
		{"quoted", authorization(basicAuth("alice", `"`+good+`"`)), gateway.ReasonMalformed},
		{"quoted, bearer", authorization(`Bearer "` + good + `"`), gateway.ReasonMalformed},
		{"in angle brackets", authorization("Bearer <" + good + ">"), gateway.ReasonMalformed},
		{"underscore escaped", authorization("Bearer cg%5F" + good[3:]), gateway.ReasonMalformed},
		{"in capitals", authorization("Bearer " + strings.ToUpper(good)), gateway.ReasonMalformed},
		{"name of a variable before it", authorization("Bearer TOKEN=" + good), gateway.ReasonMalformed},
		{"scheme of another forge", authorization("token " + good), gateway.ReasonMalformed},
		{"scheme of another forge, cut", authorization("token " + good[:30]), gateway.ReasonMalformed},
		{"scheme twice", authorization("Bearer Bearer " + good), gateway.ReasonMalformed},
		{"Jenkins format, last character lost", authorization(basicAuth("alice", unknownJenkins[:33])), gateway.ReasonMalformed},
		{"Jenkins format, last character twice", authorization(basicAuth("alice", unknownJenkins+"a")), gateway.ReasonMalformed},
		{"Jenkins format in capitals", authorization("Bearer " + strings.ToUpper(unknownJenkins[:2]+"abcdef"+unknownJenkins[8:])), gateway.ReasonMalformed},
		{"Jenkins format, line break behind it", authorization(basicAuth("alice", unknownJenkins+"\r\n")), gateway.ReasonMalformed},
		{"Jenkins format, another scheme", authorization("Token " + unknownJenkins), gateway.ReasonMalformed},
		{"password that holds cg_", authorization(basicAuth("alice", "my-cg_word")), gateway.ReasonForeign},
		{"password of 40 hex digits", authorization(basicAuth("alice", "11"+strings.Repeat("a", 38))), gateway.ReasonForeign},
		{"own header empty", []string{"X-Api-Token: "}, gateway.ReasonMalformed},
		{"own header with a scheme", []string{"X-Api-Token: Bearer " + good}, gateway.ReasonMalformed},
		{"own header wrong, password right for Jenkins", []string{"X-Api-Token: x", "Authorization: " + basicAuth("alice", "hunter2")}, gateway.ReasonMalformed},
	}
	var first string
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dump := s.send("GET", "/api/json", "", test.headers...).dump()
			if first == "" {
				first = dump
				if !strings.HasPrefix(dump, "401 ") || !strings.Contains(dump, `Www-Authenticate: ["Basic realm=\"Jenkins\""]`) {
					t.Errorf("the answer is\n%s", dump)
				}
			}
			told := test.reason == gateway.ReasonExpired || test.reason == gateway.ReasonRevoked // see TestHolderIsToldTheEnd
			if dump != first && !told {
				t.Errorf("the answer is\n%s\nbut it was\n%s", dump, first)
			}
			line := s.log.last()
			if !strings.Contains(line, `"reason":"`+string(test.reason)+`"`) {
				t.Errorf("the log says %s, want the reason %q", line, test.reason)
			}
			known := test.reason == gateway.ReasonExpired || test.reason == gateway.ReasonRevoked || test.reason == gateway.ReasonWrongUser
			if known != strings.Contains(line, `"token_id":"`) {
				t.Errorf("the log says %s; token id wanted: %v", line, known)
			}
		})
	}
	s.untouched()
	for _, secret := range []string{good, expired, revoked, unknown, unknownJenkins} {
		s.hides("alice", secret)
	}
}

func flipLastBit(encoded string) string {
	b := []byte(encoded)
	last := bytes.IndexByte(b, '=') - 1
	b[last]++ // its low bits are zero, and the alphabet goes on
	return string(b)
}

func flipCase(secret string) string {
	b := []byte(secret)
	for i := len(b) - 1; i > 3; i-- {
		if b[i] >= 'A' {
			b[i] ^= 0x20
			return string(b)
		}
	}
	panic("a token without a letter")
}

func digest(t testing.TB, secret string) token.Digest {
	t.Helper()
	d, err := token.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is refused as a bad request is ambiguous before anything is looked up.
func TestAmbiguous(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) { c.TokenHeader = "X-Api-Token" }})
	good := s.token("alice")
	basic, bearer := basicAuth("alice", good), "Bearer "+good
	tests := []struct {
		name    string
		headers []string
	}{
		{"two headers", []string{"Authorization: " + basic, "Authorization: " + basic}},
		{"two headers, another spelling", []string{"Authorization: " + basic, "authorization: " + bearer}},
		{"a foreign header first", []string{"Authorization: Digest x", "Authorization: " + basic}},
		{"basic and bearer joined", []string{"Authorization: " + basic + ", " + bearer}},
		{"bearer and basic joined", []string{"Authorization: " + bearer + ", " + basic}},
		{"joined without a blank", []string{"Authorization: " + basic + "," + bearer}},
		{"both headers", []string{"Authorization: " + basic, "X-Api-Token: " + good}},
		{"both headers, one malformed", []string{"Authorization: Basic !", "X-Api-Token: " + good}},
		{"own header twice", []string{"X-Api-Token: " + good, "X-Api-Token: " + good}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if a := s.send("POST", "/job/a/build", "", test.headers...); a.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d, want 400", a.StatusCode)
			}
			if line := s.log.last(); !strings.Contains(line, string(gateway.ReasonAmbiguous)) {
				t.Errorf("the log says %s", line)
			}
		})
	}
	s.untouched()
	s.hides("alice", good)
}

func TestUserIDStrategies(t *testing.T) {
	tests := []struct {
		strategy user.Strategy
		owner    string
		user     string
		want     int
	}{
		{user.CaseInsensitive, "Alice", "alice", 200},
		{user.CaseInsensitive, "Alice", "ALICE", 200},
		{user.CaseInsensitive, "kim", "\u212aim", 200}, // the Kelvin sign, a k in Java too
		{user.CaseInsensitive, "ilse", "\u0130lse", 401},
		{user.CaseInsensitive, "alice", "alicе", 401}, // Cyrillic е
		{user.CaseSensitive, "Alice", "Alice", 200},
		{user.CaseSensitive, "Alice", "alice", 401},
		{user.CaseSensitiveEmail, "Al@Example.org", "Al@example.ORG", 200},
		{user.CaseSensitiveEmail, "Al@Example.org", "al@example.org", 401},
	}
	for _, test := range tests {
		t.Run(test.user+" for "+test.owner, func(t *testing.T) {
			s := newSite(t, options{gate: func(c *gateway.Config) { c.UserIDs = test.strategy }})
			secret := s.token(test.owner)
			if a := s.send("GET", "/whoAmI/api/json", "", "Authorization: "+basicAuth(test.user, secret)); a.StatusCode != test.want {
				t.Errorf("status %d, want %d", a.StatusCode, test.want)
			}
			if test.want == http.StatusOK {
				if got := s.only("GET").User; got != test.owner {
					t.Errorf("Jenkins saw %q, want the spelling of the record, %q", got, test.owner)
				}
			}
		})
	}
}

func TestTokenInQuery(t *testing.T) {
	s := newSite(t, options{})
	native, jenkins := s.token("alice"), s.tokenAs(token.Request{User: "alice", Expires: "never", Format: "jenkins"})
	unknown := token.NewSecret(token.Native).Reveal()
	tests := []struct {
		name, query string
		refused     bool
	}{
		{"plain", "token=" + native, true},
		{"alone", native, true},
		{"as a key", native + "=1", true},
		{"in the middle of a value", "url=https://alice:" + native + "@host/x&y=1", true},
		{"glued to letters", "x=ab" + native, true},
		{"underscore escaped", "x=cg%5F" + native[3:], true},
		{"all escaped", "x=" + escapeAll(native), true},
		{"escaped beside a broken escape", "y=%zz&x=cg%5f" + native[3:] + "&z=%", true},
		{"unknown, but a token beyond doubt", "x=" + unknown, true},
		{"behind a semicolon", "a;b=" + native, true},
		{"Jenkins format", "token=" + jenkins, true},
		{"Jenkins format as a key", jenkins, true},
		{"Jenkins format in userinfo", "url=https%3A%2F%2Falice%3A" + jenkins + "%40host", true},
		{"Jenkins format with a plus", "x=a+" + jenkins + "+b", true},
		{"Jenkins format, unknown", "x=" + token.NewSecret(token.Jenkins).Reveal(), true},
		{"escaped twice", "from=%2Fjob%3Fx%3Dcg%255F" + native[3:], true},
		{"MD5", "x=d41d8cd98f00b204e9800998ecf8427e", false},
		{"SHA-1", "x=11" + strings.Repeat("a", 38), false},
		{"SHA-256", "x=" + strings.Repeat("11ab", 16), false},
		{"trigger token", "token=abc", false},
		{"trigger token of a word", "token=cg_build", false},
		{"odd characters", "tree=jobs[name,url]&x=%zz&;&=", false},
		{"many candidates", strings.Repeat("11", 2000), false},
	}
	for _, method := range []string{"GET", "POST"} {
		for _, test := range tests {
			t.Run(method+" "+test.name, func(t *testing.T) {
				s.jenkins.ResetRequests()
				a := s.send(method, "/job/a/description?"+test.query, "", "Authorization: "+basicAuth("alice", native))
				if !test.refused {
					if got := s.only(method); got.RequestURI != "/job/a/description?"+test.query {
						t.Errorf("Jenkins got %s, want the query %s as it is", got.RequestURI, test.query)
					}
					return
				}
				if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "Revoke that token") {
					t.Errorf("status %d, want 400 with advice", a.StatusCode)
				}
				s.untouched()
			})
		}
	}
	s.hides("alice", native)
	s.hides("alice", jenkins)
}

// A token that exists and one that does not get the same answer, wherever in the URL
// they stand: the answer must not tell a stranger which of them is good.
func TestTokenInURLIsNoOracle(t *testing.T) {
	s := newSite(t, options{})
	for _, format := range []string{"", "jenkins"} {
		known := s.tokenAs(token.Request{User: "alice", Expires: "never", Format: format})
		kind, _ := token.ParseFormat(format)
		unknown := token.NewSecret(kind).Reveal()
		for _, where := range []string{"/login?x=%s", "/job/a?token=%s", "/job/%s/build", "/job/a%%2F%s/", "/static/x/%s"} {
			var dumps [2]string
			for i, secret := range []string{known, unknown} {
				a := s.send("GET", fmt.Sprintf(where, secret), "")
				if a.StatusCode != http.StatusBadRequest {
					t.Errorf("%s %s: status %d, want 400", format, where, a.StatusCode)
				}
				dumps[i] = a.dump()
			}
			if dumps[0] != dumps[1] {
				t.Errorf("%s %s: a known token gets\n%s\nan unknown one\n%s", format, where, dumps[0], dumps[1])
			}
		}
	}
	s.untouched()
}

// A user before the host reaches neither Jenkins nor what stands between.
func TestUserInfoInTarget(t *testing.T) {
	gate, err := gateway.New(gateway.Config{Lookup: func(token.Digest) (*token.Token, error) { return nil, nil }, Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"http://alice:secret@host/", "http://alice@host/api/json"} {
		r := httptest.NewRequest("GET", target, nil)
		if d := gate.Check(r); d.Reason != gateway.ReasonTokenInURL {
			t.Errorf("Check(%s) = %q, want %q", target, d.Reason, gateway.ReasonTokenInURL)
		}
		if !gateway.LooksLikeToken(r, "") {
			t.Errorf("LooksLikeToken(%s) = false: the sign-in would see it", target)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "alice:secret@host"
	if d := gate.Check(r); d.Reason != gateway.ReasonTokenInURL {
		t.Errorf("Check of Host %s = %q", r.Host, d.Reason)
	}
}

func TestStoreNotOpen(t *testing.T) {
	s := newSite(t, options{gate: func(c *gateway.Config) {
		c.Lookup = func(token.Digest) (*token.Token, error) { return nil, errors.New("locked by process 7") }
	}})
	a := s.send("GET", "/api/json", "", "Authorization: Bearer "+token.NewSecret(token.Native).Reveal())
	if a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "process 7") {
		t.Errorf("status %d, body %s; want 503 without the reason", a.StatusCode, a.body)
	}
	if line := s.log.last(); !strings.Contains(line, "locked by process 7") {
		t.Errorf("the log says %s", line)
	}
	s.untouched()
}

func TestPathsRefused(t *testing.T) {
	s := newSite(t, options{})
	auth := "Authorization: " + basicAuth("alice", s.token("alice"))
	for _, path := range []string{"/job/a;x/build", "/job/%2e%2e/build", "/job/a%5cbuild", "/job/a%00"} {
		if a := s.send("POST", path, "", auth); a.StatusCode != http.StatusBadRequest {
			t.Errorf("POST %s: status %d, want 400", path, a.StatusCode)
		}
	}
	s.untouched()

	prefixed := newSite(t, options{gate: func(c *gateway.Config) { c.Prefix = "/jenkins" }})
	auth = "Authorization: " + basicAuth("alice", prefixed.token("alice"))
	if a := prefixed.send("GET", "/other/api/json", "", auth); a.StatusCode != http.StatusNotFound {
		t.Errorf("outside of the prefix: status %d, want 404", a.StatusCode)
	}
	if a := prefixed.send("GET", "/other/api/json", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("outside of the prefix without a token: status %d, want 401", a.StatusCode)
	}
	prefixed.untouched()
}

// What is accepted is what net/http reads too, and a token.
func FuzzAuthorization(f *testing.F) {
	native, jenkins := token.NewSecret(token.Native).Reveal(), token.NewSecret(token.Jenkins).Reveal()
	f.Add("Basic "+base64.StdEncoding.EncodeToString([]byte("u:"+native)), "")
	f.Add("basic "+base64.RawStdEncoding.EncodeToString([]byte("u:"+jenkins)), "")
	f.Add("Bearer "+jenkins, "")
	f.Add("Digest x", native)
	f.Add("Basic dTo=, Bearer x", native)
	f.Add("basic dToxMThlZDgxMz\r\r\r\r\r\rA4MTAzZDNhZjkzMzg0ODBlZjAxMDVmYWQz", "")
	f.Fuzz(func(t *testing.T, authorization, own string) {
		var looked *token.Digest
		gate, err := gateway.New(gateway.Config{
			TokenHeader: "X-Api-Token",
			Lookup:      func(d token.Digest) (*token.Token, error) { looked = &d; return nil, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Header: http.Header{}}
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if own != "" {
			r.Header["X-Api-Token"] = []string{own}
		}
		d := gate.Check(r)
		if d.Reason == "" {
			t.Fatalf("Check admits %q, %q to an empty directory", authorization, own)
		}
		if looked == nil {
			return
		}
		var secret string
		switch scheme, rest, _ := strings.Cut(authorization, " "); {
		case own != "":
			secret = own
		case strings.EqualFold(scheme, "bearer"):
			secret = rest
		default:
			padded := rest + "==="[:(4-len(rest)%4)%4]
			var ok bool
			r.Header["Authorization"] = []string{scheme + " " + padded}
			if _, secret, ok = r.BasicAuth(); !ok {
				t.Fatalf("net/http reads no credential in %q", authorization)
			}
		}
		want, err := token.Parse(secret)
		if err != nil || want != *looked {
			t.Errorf("Check(%q, %q) looked for another digest than that of %q (%v)", authorization, own, secret, err)
		}
	})
}

// The answer must not wait for the look-up of a token that can't be.
func TestMalformedIsNotLookedUp(t *testing.T) {
	gate, err := gateway.New(gateway.Config{Lookup: func(token.Digest) (*token.Token, error) {
		t.Error("looked up")
		return nil, nil
	}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", basicAuth("alice", flipCase(token.NewSecret(token.Native).Reveal())))
	if d := gate.Check(r); d.Reason != gateway.ReasonMalformed || d.Token != nil {
		t.Errorf("Check = %+v, want %q", d, gateway.ReasonMalformed)
	}
}
