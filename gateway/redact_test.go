package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// accessLine is a line of Caddy's access log, as a build triggered by a script
// makes it.
const accessLine = `{"level":"info","ts":1795435261.5829813,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"10.20.30.41","remote_port":"50114","client_ip":"10.20.30.41","proto":"HTTP/1.1","method":"POST","host":"jenkins.example.org","uri":"/job/team/job/service/job/main/buildWithParameters?BRANCH=main&DEPLOY=true&cause=release+2026.11","headers":{"Accept":["*/*"],"Accept-Encoding":["gzip, deflate"],"Authorization":["REDACTED"],"Connection":["keep-alive"],"Content-Length":["0"],"Content-Type":["application/x-www-form-urlencoded"],"User-Agent":["python-requests/2.32.3"],"X-Request-Id":["5b8f2e6d-54a3-4b54-9f0e-1a4c66b0b3aa"]}},"bytes_read":0,"user_id":"release-bot","duration":0.018234511,"size":0,"status":201,"resp_headers":{"Server":["Caddy","Jetty(12.0.25)"],"X-Content-Type-Options":["nosniff"],"Location":["http://jenkins.example.org/queue/item/5311/"],"Date":["Mon, 23 Nov 2026 12:01:01 GMT"],"Content-Length":["0"],"Via":["1.1 Caddy"]},"token_id":"0199a05d-ac96-774b-bcce-b302099a8057"}` + "\n"

func BenchmarkRedactor(b *testing.B) {
	r, err := gateway.NewRedactor(nil)
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(accessLine)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		r.Line(line)
	}
}

const (
	nativeToken  = "cg_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" // the shape only
	jenkinsToken = "110123456789abcdef0123456789abcdef"
)

func TestRedactor(t *testing.T) {
	const sha256 = "e3b0c44298fc1c149afbf4c8996fb11110123456789abcdef0123456789abcdef"
	tests := []struct{ name, line, want string }{
		{"nothing to hide", accessLine, accessLine},
		{"empty", "", ""},
		{"native token", `{"msg":"got ` + nativeToken + `"}`, `{"msg":"got REDACTED"}`},
		{"native token in a path", `{"uri":"/job/` + nativeToken + `/x"}`, `{"uri":"/job/REDACTED/x"}`},
		{"native token, cut", `{"uri":"/?a=` + nativeToken[:24] + `"}`, `{"uri":"/?a=REDACTED"}`},
		{"native token, underscore escaped", `{"uri":"/?a=cg%5f` + nativeToken[3:] + `&b=1"}`, `{"uri":"/?a=REDACTED&b=1"}`},
		{"native token, all escaped", `{"uri":"/?a=` + escapeAll(nativeToken) + `&b=1"}`, `{"uri":"/?a=REDACTED&b=1"}`},
		{"native token in text", "2026/11/23\tinfo\tgot " + nativeToken + "\n", "2026/11/23\tinfo\tgot REDACTED\n"},
		{"Jenkins token", `{"msg":"got ` + jenkinsToken + `"}`, `{"msg":"got REDACTED"}`},
		{"Jenkins token, whole line", jenkinsToken, "REDACTED"},
		{"Jenkins token in userinfo", `{"referer":"http://u:` + jenkinsToken + `@host/"}`, `{"referer":"http://u:REDACTED@host/"}`},
		{"Jenkins token after an escape", `{"uri":"/?next=http%3A%2F%2Fu%3A` + jenkinsToken + `%40host"}`, `{"uri":"/?next=http%3A%2F%2Fu%3AREDACTED%40host"}`},
		{"Jenkins token after a line break", `{"msg":"x\n` + jenkinsToken + `\n"}`, `{"msg":"x\nREDACTED\n"}`},
		{"two Jenkins tokens", jenkinsToken + " " + jenkinsToken, "REDACTED REDACTED"},
		{"a digest is no token", sha256, sha256},
		{"a number is no token", "1111111111111111111111111111111111111111", "1111111111111111111111111111111111111111"},
		{"header", `{"h":{"Jenkins-Crumb":["abc"],"Host":["x"]}}`, `{"h":{"Jenkins-Crumb":["REDACTED"],"Host":["x"]}}`},
		{"header, lower case", `{"jenkins-crumb":["abc"]}`, `{"jenkins-crumb":["REDACTED"]}`},
		{"header, mixed case", `{"JENKINS-crumb":["abc"]}`, `{"JENKINS-crumb":["REDACTED"]}`},
		{"header, old crumb", `{".crumb":["abc"]}`, `{".crumb":["REDACTED"]}`},
		{"header, several values", `{"Cookie":["a=1; b=2","c=\"3,]"],"x":1}`, `{"Cookie":["REDACTED"],"x":1}`},
		{"header, one value", `{"Secret-Key":"ab\"c","x":1}`, `{"Secret-Key":["REDACTED"],"x":1}`},
		{"header, number", `{"Secret-Key": 123,"x":1}`, `{"Secret-Key":["REDACTED"],"x":1}`},
		{"header, last number", `{"Secret-Key":123}`, `{"Secret-Key":["REDACTED"]}`},
		{"header, object", `{"Cookie":{"JSESSIONID.1":["a"]},"x":1}`, `{"Cookie":["REDACTED"],"x":1}`},
		{"header, hidden by Caddy", `{"Authorization":["REDACTED"]}`, `{"Authorization":["REDACTED"]}`},
		{"header in console text", "info\thandled\t" + `{"Set-Cookie": ["JSESSIONID.1=abc"], "x": 1}` + "\n", "info\thandled\t" + `{"Set-Cookie":["REDACTED"], "x": 1}` + "\n"},
		{"header, line cut", `{"Cookie":["a=secr` + "\n", `{"Cookie":["REDACTED"]` + "\n"},
		{"header, configured", `{"X-Api-Token":["abc"]}`, `{"X-Api-Token":["REDACTED"]}`},
		{"not a field", `{"msg":"Cookie","x":1}`, `{"msg":"Cookie","x":1}`},
		{"trigger token", `{"uri":"/job/a/build?token=s3cret&x=1"}`, `{"uri":"/job/a/build?token=REDACTED&x=1"}`},
		{"trigger token, later and last", `{"uri":"/job/a/build?x=1&Token=s3cret"}`, `{"uri":"/job/a/build?x=1&Token=REDACTED"}`},
		{"trigger token, empty", `{"uri":"/job/a/build?token=&x=1"}`, `{"uri":"/job/a/build?token=&x=1"}`},
		{"trigger token with a quote", `{"uri":"/job/a/build?token=s3\"cret\\&x=1"}`, `{"uri":"/job/a/build?token=REDACTED&x=1"}`},
		{"trigger token, careful encoder", `{"uri":"/job/a/build?x=1\u0026token=s3cret\u0026y=2"}`, `{"uri":"/job/a/build?x=1\u0026token=REDACTED\u0026y=2"}`},
		{"password with an escaped ampersand", `{"uri":"/x?password=abc%26defSECRET&y=1"}`, `{"uri":"/x?password=REDACTED&y=1"}`},
		{"token with an escaped number sign", `{"uri":"/x?token=abc%23defSECRET"}`, `{"uri":"/x?token=REDACTED"}`},
		{"Basic with two blanks", `{"X-Foo":["Basic  YWxpY2U6czNjcmV0"]}`, `{"X-Foo":["Basic  REDACTED"]}`},
		{"trigger token in an inner URL", `{"uri":"/login?from=%2Fjob%2Fa%2Fbuild%3Ftoken%3Ds3cret%26x%3D1"}`, `{"uri":"/login?from=%2Fjob%2Fa%2Fbuild%3Ftoken%3DREDACTED%26x%3D1"}`},
		{"another parameter", `{"uri":"/?mytoken=a&token2=b"}`, `{"uri":"/?mytoken=a&token2=b"}`},
		{"crumb parameter", `{"uri":"/?Jenkins-Crumb=ab12"}`, `{"uri":"/?Jenkins-Crumb=REDACTED"}`},
		{"configured parameter", `{"uri":"/?x-api-token=abc"}`, `{"uri":"/?x-api-token=REDACTED"}`},
		{"userinfo", `{"uri":"http://deploy:hunter2@host/x"}`, `{"uri":"http://deploy:REDACTED@host/x"}`},
		{"userinfo without a password", `{"uri":"https://ghp_0123456789@host/x"}`, `{"uri":"https://REDACTED@host/x"}`},
		{"userinfo with a long user", `{"uri":"https://ghp_0123456789abcdefghi:x-oauth-basic@host/x"}`, `{"uri":"https://REDACTED@host/x"}`},
		{"userinfo with an at sign", `{"uri":"http://a:b@c@host/x@y"}`, `{"uri":"http://a:REDACTED@host/x@y"}`},
		{"userinfo in a query", `{"uri":"/?next=https%3A%2F%2Fdeploy%3Ahunter2%40host%2Fx"}`, `{"uri":"/?next=https%3A%2F%2Fdeploy%3AREDACTED%40host%2Fx"}`},
		{"userinfo, slashes escaped", `{"error":"http:\/\/deploy:hunter2@host\/x"}`, `{"error":"http:\/\/deploy:REDACTED@host\/x"}`},
		{"at sign in a path", `{"uri":"/job/x/ws/a@2/b","ref":"http://host/ws/a@2/"}`, `{"uri":"/job/x/ws/a@2/b","ref":"http://host/ws/a@2/"}`},
		{"GitLab's token", `{"X-Gitlab-Token":["s3cret"]}`, `{"X-Gitlab-Token":["REDACTED"]}`},
		{"trigger token in a header", `{"Token":["s3cret"]}`, `{"Token":["REDACTED"]}`},
		{"reload token", `{"uri":"/reload-configuration-as-code/?casc-reload-token=s3cret"}`, `{"uri":"/reload-configuration-as-code/?casc-reload-token=REDACTED"}`},
		{"fixed token", `{"uri":"/me/x/addFixedToken?newTokenName=a&newTokenPlainValue=abc"}`, `{"uri":"/me/x/addFixedToken?newTokenName=a&newTokenPlainValue=REDACTED"}`},
		{"session in a path", `{"uri":"/job/a;jsessionid=node01abc?x=1"}`, `{"uri":"/job/a;jsessionid=REDACTED?x=1"}`},
		{"session in a path, capitals", `{"uri":"/job/a;JSESSIONID=node01abc"}`, `{"uri":"/job/a;JSESSIONID=REDACTED"}`},
		{"session in a path, escaped", `{"uri":"/login?from=%2Fjob%3Bjsessionid%3Dnode01abc"}`, `{"uri":"/login?from=%2Fjob%3Bjsessionid%3DREDACTED"}`},
		{"legacy token", `{"referer":"http://h/?x=` + legacySecret + `"}`, `{"referer":"http://h/?x=REDACTED"}`},
		{"legacy token in a path", `{"uri":"/job/` + legacySecret + `/"}`, `{"uri":"/job/REDACTED/"}`},
		{"legacy token, escaped", `{"uri":"/?x=a%3A%30` + legacySecret[1:] + `"}`, `{"uri":"/?x=a%3AREDACTED"}`},
		{"MD5 sum", `{"uri":"/fingerprint/d41d8cd98f00b204e9800998ecf8427e/"}`, `{"uri":"/fingerprint/d41d8cd98f00b204e9800998ecf8427e/"}`},
		{"Basic in another header", `{"X-Original-Authorization":["Basic YWxpY2U6aHVudGVyMg=="]}`, `{"X-Original-Authorization":["Basic REDACTED"]}`},
		{"Basic as a word", `{"msg":"send Basic authentication"}`, `{"msg":"send Basic authentication"}`},
		{"Bearer in an error", `{"error":"bad header Bearer abcdefghijklmnopqrstuvwxyz0123456789"}`, `{"error":"bad header Bearer REDACTED"}`},
		{"HTML escapes", `{"error":"<a href=\"/job/a/build?x=1&amp;token=s3cret&amp;y=2\">"}`, `{"error":"<a href=\"/job/a/build?x=1&amp;token=REDACTED&amp;y=2\">"}`},
		{"HTML number", `{"error":"cg&#95;` + nativeToken[3:] + `"}`, `{"error":"REDACTED"}`},
		{"JSON escape", `{"error":"cg\u005f` + nativeToken[3:] + `"}`, `{"error":"REDACTED"}`},
		{"JSON in JSON", `{"error":"answer {\"tokenName\":\"a\",\"tokenValue\":\"s3cret\"}"}`, `{"error":"answer {\"tokenName\":\"a\",\"tokenValue\":REDACTED}"}`},
		{"escaped twice", `{"uri":"/?a=%252Fx%253Ftoken%253Ds3cret%2526y%253D1"}`, `{"uri":"/?a=%252Fx%253Ftoken%253DREDACTED%2526y%253D1"}`},
		{"name with underscores", `{"x_gitlab_token":["s3cret"]}`, `{"x_gitlab_token":["REDACTED"]}`},
		{"header of a running gateway", `{"X-Team-Token":["s3cret"],"uri":"/?x-team-token=s3cret"}`, `{"X-Team-Token":["REDACTED"],"uri":"/?x-team-token=REDACTED"}`},
		{"what a sign-in sends back", `{"uri":"/securityRealm/finishLogin?code=s3cret&state=x"}`, `{"uri":"/securityRealm/finishLogin?code=REDACTED&state=REDACTED"}`},
		{"state alone, and a field of that name", `{"state":"active","key":"a","uri":"/securityRealm/finishLogin?state=s3cret"}`, `{"state":"active","key":"a","uri":"/securityRealm/finishLogin?state=REDACTED"}`},
		{"key of the metrics in a path", `{"uri":"/metrics/s3cret_KEY-1/metrics?pretty=true"}`, `{"uri":"/metrics/REDACTED/metrics?pretty=true"}`},
		{"key of the metrics, below manage", `{"uri":"/jenkins/manage/metrics/s3cret"}`, `{"uri":"/jenkins/manage/metrics/REDACTED"}`},
		{"key of the metrics called metrics", `{"uri":"/metrics/metrics/s3cret/ping"}`, `{"uri":"/metrics/metrics/REDACTED/ping"}`},
		{"key of the metrics, escaped", `{"uri":"/login?from=%2Fmetrics%2Fs3cret%2Fping"}`, `{"uri":"/login?from=%2Fmetrics%2FREDACTED%2Fping"}`},
		{"key of the metrics in JSON", `{"error":"http:\/\/h\/metrics\/s3cret\/ping"}`, `{"error":"http:\/\/h\/metrics\/REDACTED\/ping"}`},
		{"key of the metrics as a parameter", `{"uri":"/metrics/healthcheck?key=s3cret"}`, `{"uri":"/metrics/healthcheck?key=REDACTED"}`},
		{"pages of the metrics", `{"uri":"/metrics/currentUser/ping","x":"/metrics/healthcheckOk","y":"/metrics/"}`, `{"uri":"/metrics/currentUser/ping","x":"/metrics/healthcheckOk","y":"/metrics/"}`},
		{"job called metrics", `{"uri":"/job/metrics/12/console"}`, `{"uri":"/job/metrics/12/console"}`},
		{"file of the resource domain", `{"uri":"/static-files/s3cret/a.html"}`, `{"uri":"/static-files/REDACTED/a.html"}`},
		{"sign-up", `{"uri":"/securityRealm/createAccount?username=a&password1=s3cret&password2=s3cret"}`, `{"uri":"/securityRealm/createAccount?username=a&password1=REDACTED&password2=REDACTED"}`},
		{"session in a text", `{"error":"bad cookie JSESSIONID.1a2b=node01.node0; remember-me=xyz"}`, `{"error":"bad cookie JSESSIONID.1a2b=REDACTED; remember-me=REDACTED"}`},
	}
	r, err := gateway.NewRedactor([]string{"X-API-Token"})
	if err != nil {
		t.Fatal(err)
	}
	running := gateway.NewSecrets((&gateway.Config{TokenHeader: "X-Team-Token"}).SecretNames(), knownLegacy)
	r.Secrets = func() *gateway.Secrets { return running }
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := strings.Clone(test.line)
			got, changed := r.Line([]byte(test.line))
			if string(got) != test.want || changed != (test.line != test.want) {
				t.Errorf("Line(%s)\n     = %s, %v\nwant = %s", test.line, got, changed, test.want)
			}
			if test.line != before {
				t.Error("the line itself was changed")
			}
			if again, changed := r.Line(got); changed {
				t.Errorf("the second time, Line(%s) = %s", got, again)
			}
		})
	}
}

func knownLegacy(d token.Digest) bool { return d == sha256.Sum256([]byte(legacySecret)) }

// The forms in which a secret stands in a line.
var spellings = map[string]func(user, secret string) string{
	"itself":          func(_, secret string) string { return secret },
	"percent escapes": func(_, secret string) string { return escapeAll(secret) },
	"twice":           func(_, secret string) string { return url.QueryEscape(escapeAll(secret)) },
	"JSON escapes": func(_, secret string) string {
		var b strings.Builder
		for _, c := range secret {
			fmt.Fprintf(&b, `\u%04x`, c)
		}
		return b.String()
	},
	"HTML numbers": func(_, secret string) string {
		var b strings.Builder
		for _, c := range secret {
			fmt.Fprintf(&b, "&#%d;", c)
		}
		return b.String()
	},
	"Base64": func(user, secret string) string {
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
	},
	"Base64 of URLs": func(user, secret string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(user + ":" + secret))
	},
	"Base64 in a query": func(user, secret string) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(user + ":" + secret)))
	},
	"userinfo": func(user, secret string) string {
		return "https://" + url.UserPassword(user, secret).String() + "@host/"
	},
}

// However a secret is escaped or encoded, it does not come out, and JSON stays JSON.
func TestRedactorHidesEverySpelling(t *testing.T) {
	r, err := gateway.NewRedactor(nil)
	if err != nil {
		t.Fatal(err)
	}
	running := gateway.NewSecrets(nil, knownLegacy)
	r.Secrets = func() *gateway.Secrets { return running }
	secrets := []string{token.NewSecret(token.Native).Reveal(), token.NewSecret(token.Jenkins).Reveal(), legacySecret}
	for name, spell := range spellings {
		for _, secret := range secrets {
			for _, user := range []string{"u", "al", "ann", "jörg", "someone@example.org"} {
				for _, format := range []string{`{"h":{"X-Any":["%s"]}}`, `{"uri":"/job/a/job/b/%s/x"}`, `{"error":"got \"%s\" from it"}`, `{"uri":"/?x=%s&y=1"}`} {
					spelt := spell(user, secret)
					line := fmt.Sprintf(format, spelt)
					got, changed := r.Line([]byte(line))
					if !changed || bytes.Contains(got, []byte(spelt)) || bytes.Contains(got, []byte(secret)) {
						t.Errorf("%s: Line(%s) = %s", name, line, got)
					}
					if json.Valid([]byte(line)) && !json.Valid(got) {
						t.Errorf("%s: Line(%s) = %s, which is not JSON", name, line, got)
					}
				}
			}
		}
	}
}

func escapeAll(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[c>>4])) + strings.ToUpper(string("0123456789abcdef"[c&15])))
	}
	return b.String()
}

func TestRedactorRefusesNames(t *testing.T) {
	for _, name := range []string{"", "two words", "a:b", "ü", "a\n"} {
		if _, err := gateway.NewRedactor([]string{"fine", name}); err == nil {
			t.Errorf("NewRedactor accepts %q", name)
		}
	}
}

// Whatever surrounds a token, it does not come out, and JSON stays JSON.
func TestRedactorHidesAnyToken(t *testing.T) {
	r, err := gateway.NewRedactor(nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]token.Format{token.Native, token.Jenkins}).Draw(t, "format")
		secret := token.NewSecret(format).Reveal()
		text := rapid.StringN(0, 20, -1).Draw(t, "before") + rapid.SampledFrom([]string{" ", "=", "/", "&token=", "\n", ":", "\"", "%3A"}).Draw(t, "left") +
			secret + rapid.SampledFrom([]string{"", " ", "&", "\"", "@host", "%40"}).Draw(t, "right") + rapid.StringMatching(`|[^0-9A-Za-z](.|\n)*`).Draw(t, "after")
		name := rapid.SampledFrom([]string{"msg", "uri", "Cookie", "jenkins-crumb"}).Draw(t, "name")
		line, err := json.Marshal(map[string]any{name: text, "headers": map[string][]string{"Referer": {text}}, "ts": rand.Float64()})
		if err != nil {
			t.Fatal(err)
		}
		got, changed := r.Line(line)
		if !changed || bytes.Contains(got, []byte(secret)) {
			t.Fatalf("Line(%s)\n= %s", line, got)
		}
		if !json.Valid(got) {
			t.Fatalf("Line(%s)\n= %s, which is not JSON", line, got)
		}
	})
}

func FuzzRedactorLine(f *testing.F) {
	for _, seed := range []string{
		accessLine, nativeToken, jenkinsToken, `{"Cookie":["a`, `{"Cookie":`, `":":":`, `"token":{"a":[1,"]"]}}`, `?token=a\`, `\u0026token=`, `%3Ftoken%3D`, `JSESSIONID=`,
		`{"a":"?token=\u0022"}`, `{"a":"http:\/\/u:p@h"}`, `"Basic dTpw"`, `&#95;&amp;token=`, `{"a":"\"Cookie\":[\"x"}`, `%25%32%35`, `;jsessionid=`, `//@"://u@`,
	} {
		f.Add(seed)
	}
	r, err := gateway.NewRedactor(nil)
	if err != nil {
		f.Fatal(err)
	}
	// A number of 34 digits is taken for a token, and what replaces it is no number.
	number := regexp.MustCompile(`11[0-9]{32}`)
	f.Fuzz(func(t *testing.T, line string) {
		got, changed := r.Line([]byte(line))
		if changed == (string(got) == line) {
			t.Errorf("Line(%q) = %q, %v", line, got, changed)
		}
		if json.Valid([]byte(line)) && !number.MatchString(line) && !json.Valid(got) {
			t.Errorf("Line(%q) = %q, which is not JSON", line, got)
		}
		if token.ContainsSecret(string(got)) {
			t.Errorf("Line(%q) = %q holds a token", line, got)
		}
		if text, err := url.QueryUnescape(line); err == nil && token.ContainsSecret(text) && !changed {
			t.Errorf("Line(%q) is unchanged, and holds a token", line)
		}
	})
}
