package jenkinstest_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestIdentity(t *testing.T) {
	const token = "11bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	_, url := jenkinstest.Start(t, jenkinstest.Config{
		Users: map[string]jenkinstest.User{"carol": {Tokens: []string{token}, Password: "pw"}},
	})
	whoAmI := func(name string, anonymous bool, authorities string) string {
		return fmt.Sprintf(`{"_class":"hudson.security.WhoAmI","anonymous":%v,"authenticated":true,"authorities":[%s],"name":%q}`, anonymous, authorities, name)
	}
	anonymous := whoAmI("anonymous", true, `"anonymous"`)
	header := whoAmI("alice", false, `"authenticated"`)
	raw := func(s string) string { return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := []struct {
		name    string
		headers []string
		status  int
		body    string
	}{
		{"4.6 anonymous", nil, 200, anonymous},
		{"5.2 header user", []string{alice}, 200, header},
		{"5.1 only the first line", []string{alice, "X-Forwarded-User: bob"}, 200, header},
		{"5.1 an empty name is a name", []string{"X-Forwarded-User: "}, 200, whoAmI("", false, `"authenticated"`)},
		{"5.1 header names have no case", []string{"x-forwarded-user: alice"}, 200, header},
		{"5.1 an underscore is another name", []string{"X_Forwarded_User: alice"}, 200, anonymous},
		{"5.1 groups", []string{alice, "X-Forwarded-Groups: dev|ops"}, 200, whoAmI("alice", false, `"authenticated","dev","ops"`)},
		{"5.1 groups are trimmed, adjacent delimiters are fine", []string{alice, "X-Forwarded-Groups: | dev ||ops|"}, 200, whoAmI("alice", false, `"authenticated","dev","ops"`)},
		{"5.1 only the first line of groups", []string{alice, "X-Forwarded-Groups: dev", "X-Forwarded-Groups: ops"}, 200, whoAmI("alice", false, `"authenticated","dev"`)},
		{"5.1 a blank group fails", []string{alice, "X-Forwarded-Groups: dev| |ops"}, 500, ""},
		{"5.1 groups without user", []string{"X-Forwarded-Groups: dev| |ops"}, 200, anonymous},
		{"11 headers are ISO-8859-1", []string{"X-Forwarded-User: j\xf6rg", "X-Forwarded-Groups: \xc4"}, 200, whoAmI("jörg", false, `"authenticated","Ä"`)},
		{"11 UTF-8 becomes another name", []string{"X-Forwarded-User: jörg"}, 200, whoAmI("jÃ¶rg", false, `"authenticated"`)},
		{"2.3 own token", []string{basic("carol", token)}, 200, whoAmI("carol", false, `"authenticated"`)},
		{"2.3 the stored id is the name", []string{basic("CAROL", token)}, 200, whoAmI("carol", false, `"authenticated"`)},
		{"1.1 version characters aren't looked at", []string{basic("carol", "zz"+token[2:])}, 200, whoAmI("carol", false, `"authenticated"`)},
		{"1.1 upper-case hex is refused", []string{basic("carol", strings.ToUpper(token))}, 401, ""},
		{"5.2 the header replaces the token's user", []string{basic("carol", token), alice}, 200, header},
		{"5.2 a password counts for nothing", []string{basic("carol", "pw")}, 200, anonymous},
		{"5.2 unknown Basic is refused before the header", []string{basic("alice", "cg_x"), alice}, 401, ""},
		{"2.3 wrong token of a known user", []string{basic("carol", "no")}, 401, ""},
		{"2.3 empty secret", []string{basic("carol", "")}, 401, ""},
		{"2.3 scheme without case", []string{strings.Replace(basic("carol", token), "Basic", "bAsIc", 1)}, 200, whoAmI("carol", false, `"authenticated"`)},
		{"2.3 padding is optional", []string{strings.TrimRight(basic("carol", token), "=")}, 200, whoAmI("carol", false, `"authenticated"`)},
		{"2.3 split at the first colon", []string{raw("carol:" + token + ":x")}, 401, ""},
		{"2.3 no colon", []string{raw("carol"), alice}, 401, ""},
		{"2.3 not base64", []string{"Authorization: Basic !!!", alice}, 401, ""},
		{"2.3 a blank in base64", []string{"Authorization: Basic Y2Fy b2w6", alice}, 401, ""},
		{"2.4 Bearer is ignored", []string{"Authorization: Bearer x", alice}, 200, header},
		{"2.4 Bearer alone is anonymous", []string{"Authorization: Bearer x"}, 200, anonymous},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := send(t, "GET", url+"/whoAmI/api/json", "", tt.headers...)
			if a.StatusCode != tt.status || tt.body != "" && a.body != tt.body {
				t.Errorf("%q: %d %s, want %d %s", tt.headers, a.StatusCode, a.body, tt.status, tt.body)
			}
			if a.StatusCode == 401 && a.Header.Get("WWW-Authenticate") != `Basic realm="Jenkins", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate %q", a.Header.Get("WWW-Authenticate"))
			}
			if sessionOf(a) != "" && a.StatusCode != 500 {
				t.Error("4.1: a session was made")
			}
		})
	}
}

func TestWrongBasicIsRefusedEverywhere(t *testing.T) { // 2.3
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	for _, path := range []string{"/login", "/whoAmI/", "/static/x/images/a.png", "/github-webhook/", "/nowhere", "/crumbIssuer/api/json"} {
		a := send(t, "GET", url+path, "", alice, basic("alice", "x"))
		if a.StatusCode != 401 || a.Header.Get("X-Jenkins") != "" || !strings.Contains(a.body, "Unauthorized") {
			t.Errorf("GET %s = %d %q", path, a.StatusCode, a.body)
		}
	}
}

func TestMailAndDisplayName(t *testing.T) { // 5.1
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	a := send(t, "GET", url+"/me/api/json", "", alice, "X-Forwarded-Mail: a@example.org", "X-Forwarded-DisplayName: Alice A.")
	for _, want := range []string{`"_class":"hudson.model.User"`, `"id":"alice"`, `"fullName":"Alice A."`, `"address":"a@example.org"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("/me/api/json = %s, want %s in it", a.body, want)
		}
	}
	if a := send(t, "GET", url+"/me/api/json", ""); a.StatusCode != 403 {
		t.Errorf("4.6: anonymous /me = %d, want 403", a.StatusCode)
	}
}
