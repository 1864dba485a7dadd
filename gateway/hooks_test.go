package gateway_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

const (
	hookSecret = "a-secret-of-the-forge"
	hookLimit  = 64 << 10
)

const contentJSON = "Content-Type: application/json"

// signingKey is that of a signing token of GitLab.
var signingKey = bytes.Repeat([]byte{7}, 32)

// withWebhooks opens the endpoints of some forges to whoever can sign.
func withWebhooks(t testing.TB, kinds ...webhook.Kind) func(*gateway.Config) {
	t.Helper()
	return func(c *gateway.Config) {
		c.Webhooks = make(map[webhook.Kind]*webhook.Verifier)
		for _, kind := range kinds {
			secrets := []string{hookSecret}
			if kind == webhook.GitLab {
				secrets = append(secrets, "whsec_"+base64.StdEncoding.EncodeToString(signingKey))
			}
			v, err := webhook.New(kind, secrets, hookLimit)
			if err != nil {
				t.Fatal(err)
			}
			c.Webhooks[kind] = v
		}
	}
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// hub signs as GitHub and Bitbucket do.
func hub(header string) func(body string) []string {
	return func(body string) []string {
		return []string{contentJSON, header + ": sha256=" + hex.EncodeToString(mac([]byte(hookSecret), body))}
	}
}

func gitlabToken(string) []string { return []string{contentJSON, "X-Gitlab-Token: " + hookSecret} }

// standard signs as GitLab does with a signing token.
func standard(body string) []string {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	return []string{
		contentJSON, "Webhook-Id: msg_1", "Webhook-Timestamp: " + now,
		"Webhook-Signature: v1," + base64.StdEncoding.EncodeToString(mac(signingKey, "msg_1."+now+"."+body)),
	}
}

var forges = []struct {
	name   string
	kind   webhook.Kind
	path   string
	header string // that has the proof
	sign   func(body string) []string
}{
	{"GitHub", webhook.GitHub, "/github-webhook/", "X-Hub-Signature-256", hub("X-Hub-Signature-256")},
	{"GitHub, pull request builder", webhook.GitHub, "/ghprbhook/", "X-Hub-Signature-256", hub("X-Hub-Signature-256")},
	{"Bitbucket", webhook.Bitbucket, "/bitbucket-hook/", "X-Hub-Signature", hub("X-Hub-Signature")},
	{"Bitbucket, branch source", webhook.Bitbucket, "/bitbucket-scmsource-hook/notify", "X-Hub-Signature", hub("X-Hub-Signature")},
	{"GitLab, by token", webhook.GitLab, "/project/a", "X-Gitlab-Token", gitlabToken},
	{"GitLab, signed", webhook.GitLab, "/project/a", "Webhook-Signature", standard},
	{"GitLab, branch source, signed", webhook.GitLab, "/gitlab-webhook/post", "Webhook-Signature", standard},
}

// payload is what a proxy could alter if it read it: white space, escapes, bytes
// that are no text.
const payload = "{\"a\" :  \"\\u00e9\",\r\n\t\"b\":\"\xff\x00\"}\n\n"

func TestWebhooksReachJenkins(t *testing.T) {
	for _, forge := range forges {
		for name, body := range map[string]string{"a payload": payload, "nothing": "", "the largest": strings.Repeat("x", hookLimit)} {
			t.Run(forge.name+", "+name, func(t *testing.T) {
				s := newPeopleSite(t, options{gate: withWebhooks(t, forge.kind)})
				for _, chunked := range []bool{false, true} {
					s.jenkins.ResetRequests()
					headers := append(forge.sign(body), "X-Github-Event: push", "X-Forwarded-User: admin",
						"Authorization: Basic YWRtaW46YWRtaW4=", "Cookie: remember-me=x; sign-in=x; screenResolution=1x1")
					var sent answer
					if chunked {
						sent = s.sendBody("POST", forge.path, struct{ *strings.Reader }{strings.NewReader(body)}, headers...)
					} else {
						sent = s.send("POST", forge.path, body, headers...)
					}
					got := s.only("POST")
					sum := sha256.Sum256([]byte(body))
					if sent.StatusCode == 403 || got.Path != forge.path || got.BodySHA256 != hex.EncodeToString(sum[:]) || got.BodyLen != int64(len(body)) {
						t.Errorf("the client got\n%s\nJenkins got %s with %d bytes", sent.dump(), got.Path, got.BodyLen)
					}
					if got.User != "anonymous" || got.Crumb != jenkinstest.CrumbExempt || got.Header["Authorization"] != nil || got.Header.Get("Cookie") != "screenResolution=1x1" {
						t.Errorf("Jenkins saw %q, crumb %q, header %v", got.User, got.Crumb, got.Header)
					}
					if got.Header.Get("X-Github-Event") != "push" || got.Header.Get(forge.header) == "" || got.Header.Get("Content-Type") != "application/json" {
						t.Errorf("the plugin misses something of the header %v", got.Header)
					}
				}
			})
		}
	}
}

func TestWebhooksAreRefused(t *testing.T) {
	for _, forge := range forges {
		t.Run(forge.name, func(t *testing.T) {
			s := newPeopleSite(t, options{gate: withWebhooks(t, forge.kind)})
			proof := forge.sign(payload)
			// altered returns the proof with the header that matters replaced.
			altered := func(change func(line string) []string) []string {
				var lines []string
				for _, line := range proof {
					if strings.HasPrefix(line, forge.header+": ") {
						lines = append(lines, change(line)...)
					} else {
						lines = append(lines, line)
					}
				}
				return lines
			}
			large := strings.Repeat("x", hookLimit+1)
			type refusal struct {
				name    string
				body    string
				headers []string
				chunked bool
				status  int
				reason  gateway.Reason
			}
			refusals := []refusal{
				{"missing", payload, altered(func(string) []string { return nil }), false, 403, gateway.ReasonSignature},
				{"empty", payload, altered(func(string) []string { return []string{forge.header + ": "} }), false, 403, gateway.ReasonSignature},
				{"bad", payload, altered(func(l string) []string { return []string{l[:len(l)-5] + "aaaa="} }), false, 403, gateway.ReasonSignature},
				{"cut", payload, altered(func(l string) []string { return []string{l[:len(l)-1]} }), false, 403, gateway.ReasonSignature},
				{"twice", payload, altered(func(l string) []string { return []string{l, l} }), false, 403, gateway.ReasonSignature},
				{"twice, the second bad", payload, altered(func(l string) []string { return []string{l, forge.header + ": x"} }), false, 403, gateway.ReasonSignature},
				{"twice in one", payload, altered(func(l string) []string { return []string{l + ", " + l[len(forge.header)+2:]} }), false, 403, gateway.ReasonSignature},
				{"encoded", payload, append([]string{"Content-Encoding: gzip"}, proof...), false, 403, gateway.ReasonSignature},
				{"oversized", large, forge.sign(large), false, 413, gateway.ReasonWebhookLarge},
				{"oversized, chunked", large, forge.sign(large), true, 413, gateway.ReasonWebhookLarge},
			}
			if forge.header != "X-Gitlab-Token" { // which says nothing of the body
				refusals = append(refusals,
					refusal{"of another body", payload + " ", proof, false, 403, gateway.ReasonSignature},
					refusal{"of another body, chunked", payload + " ", proof, true, 403, gateway.ReasonSignature},
					refusal{"of a body, with none", "", proof, false, 403, gateway.ReasonSignature})
			}
			for _, test := range refusals {
				t.Run(test.name, func(t *testing.T) {
					s.jenkins.ResetRequests()
					var a answer
					if test.chunked {
						a = s.sendBody("POST", forge.path, struct{ *strings.Reader }{strings.NewReader(test.body)}, test.headers...)
					} else {
						a = s.send("POST", forge.path, test.body, test.headers...)
					}
					s.refusedWith(a, test.status, test.reason)
					s.untouched()
				})
			}
			for _, path := range []string{"/job/a/build", "/quietDown", forge.path + "/../../quietDown"} {
				s.jenkins.ResetRequests()
				if a := s.send("POST", path, payload, proof...); a.StatusCode != 401 && a.StatusCode != 400 {
					t.Errorf("POST %s with the proof: the client got\n%s", path, a.dump())
				}
				s.untouched()
			}
			s.hides("x", hookSecret)
		})
	}
}

// TestWebhooksStayClosed: without the setting for its forge, an endpoint is one like
// all others, however well a request is signed.
func TestWebhooksStayClosed(t *testing.T) {
	others := map[webhook.Kind][]webhook.Kind{
		webhook.GitHub:    {webhook.GitLab, webhook.Bitbucket},
		webhook.GitLab:    {webhook.GitHub, webhook.Bitbucket},
		webhook.Bitbucket: {webhook.GitHub, webhook.GitLab},
	}
	for _, forge := range forges {
		for name, kinds := range map[string][]webhook.Kind{"no webhook": nil, "webhooks of others": others[forge.kind]} {
			t.Run(forge.name+", "+name, func(t *testing.T) {
				s := newPeopleSite(t, options{gate: withWebhooks(t, kinds...)})
				if a := s.send("POST", forge.path, payload, forge.sign(payload)...); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("the client got\n%s", a.dump())
				}
				s.untouched()
				if a := s.send("POST", forge.path, payload, s.auth("alice")); a.StatusCode == 401 || s.only("POST").User != "alice" {
					t.Errorf("with a token, the client got\n%s", a.dump())
				}
			})
		}
	}
}

// Once a forge has a secret, its endpoints take nothing from anybody that it has not
// signed: a token's and a signed-in user's requests must be signed as well.
func TestSignedEndpointsAreClosedToAllThatIsUnsigned(t *testing.T) {
	for _, forge := range forges {
		t.Run(forge.name, func(t *testing.T) {
			s := newPeopleSite(t, options{gate: withWebhooks(t, forge.kind)})
			senders := map[string]string{
				"a token":                      s.auth("alice"),
				"a token alone":                "Authorization: Bearer " + s.token("alice"),
				"a token for webhooks":         s.scoped("webhook"),
				"a token for builds":           s.scoped("build"),
				"a token for something else":   s.scoped("artifacts:x"),
				"a signed-in user":             ssoHeader + ": carol",
				"no user":                      "A: b",
				"a password":                   "Authorization: " + basicAuth("alice", "sesame"),
				"a signed-in user with a page": ssoHeader + ": carol\r\nSec-Fetch-Site: same-origin",
			}
			for name, sender := range senders {
				for _, method := range []string{"POST", "GET", "PUT"} {
					s.jenkins.ResetRequests()
					headers := append(strings.Split(sender, "\r\n"), contentJSON, "X-Github-Event: push")
					a := s.send(method, forge.path, payload, headers...)
					if a.StatusCode != http.StatusForbidden {
						t.Errorf("%s by %s: the client got\n%s", method, name, a.dump())
					}
					if s.reached() {
						t.Errorf("%s by %s, unsigned, reached Jenkins", method, name)
					}
				}
			}
			// The plugin answers wherever Stapler comes back to Jenkins' root, and below a web method too.
			for _, path := range waysToRoot(forge.path) {
				for name, sender := range senders {
					for _, method := range []string{"POST", "GET"} {
						s.jenkins.ResetRequests()
						headers := append(strings.Split(sender, "\r\n"), contentJSON, "X-Github-Event: push")
						if a := s.send(method, path, payload, headers...); a.StatusCode != http.StatusForbidden && a.StatusCode != http.StatusUnauthorized || s.reached() {
							t.Errorf("%s %s by %s, unsigned, reached Jenkins: %v; the client got\n%s", method, path, name, s.reached(), a.dump())
						}
					}
				}
				s.jenkins.ResetRequests()
				if a := s.send("POST", path, payload, forge.sign(payload)...); s.reached() && path != "/static/1"+strings.TrimSuffix(forge.path, "/") && !strings.HasPrefix(path, "/project/") {
					t.Errorf("POST %s, signed, without a user, reached Jenkins; the client got\n%s", path, a.dump())
				}
				s.jenkins.ResetRequests()
				if a := s.send("POST", path, payload, append(forge.sign(payload), s.auth("alice"))...); !s.reached() {
					t.Errorf("POST %s, signed, by a token: the client got\n%s", path, a.dump())
				}
			}
			for name, user := range map[string]string{"a token": "alice", "a token for webhooks": "alice", "a signed-in user": "carol", "no user": "anonymous", "a password": "anonymous"} {
				s.jenkins.ResetRequests()
				a := s.send("POST", forge.path, payload, append(forge.sign(payload), senders[name])...)
				if name == "a token for webhooks" && strings.HasPrefix(forge.path, "/project/") {
					continue
				}
				got := slices.DeleteFunc(s.jenkins.Requests(), func(r jenkinstest.Request) bool { return r.Path == "/crumbIssuer/api/json" })
				if len(got) != 1 || got[0].User != user || got[0].BodyLen != int64(len(payload)) {
					t.Errorf("signed, by %s: Jenkins got %+v; the client\n%s", name, got, a.dump())
				}
			}
		})
	}
}

// waysToRoot returns ways to the same object of Jenkins' root, and to what follows it.
func waysToRoot(path string) []string {
	path = strings.TrimSuffix(path, "/")
	return []string{
		"/static/1" + path, "/manage" + path, "/manage" + path + "/", "/manage/manage" + path, "/static/1/manage" + path, "/%6danage" + path,
		"/job/a/parent" + path, "/job/job/parent" + path, "/view/all/owner" + path, "/user/alice/x" + path, "/me/my-views/itemGroup" + path,
		"/computer/(built-in)/node" + path, "/job/a/12/testReport/ws/x/run/parent/parent" + path, "/manage/view/view/owner" + path,
		path + "/index", "/manage" + path + "/index/x",
	}
}

// What only bears the name of an endpoint of a forge is no such endpoint: a job, a file.
func TestNamesOfSignedEndpointsElsewhere(t *testing.T) {
	s := newPeopleSite(t, options{gate: withWebhooks(t, webhook.GitHub, webhook.GitLab, webhook.Bitbucket)})
	for _, path := range []string{
		"/job/project/a", "/job/project/12/console", "/view/project/job/a", "/job/team/job/project/job/a", "/job/a/job/feature%2Fproject%2Fx/12",
		"/job/a/ws/project/a.txt", "/job/a/12/artifact/project/a.txt", "/job/a/os=linux/12/artifact/project/a.txt", "/userContent/project/a",
		"/me/my-views/view/all/job/a/ws/project/a", "/job/a/12/execution/node/7/ws/project/a", "/user/project/x", "/job/a/job/github-webhook",
	} {
		s.jenkins.ResetRequests()
		if a := s.send("GET", path, "", s.auth("alice")); !s.reached() {
			t.Errorf("GET %s: the client got\n%s", path, a.dump())
		}
	}
}

// A signature covers the body and nothing else; what a plugin could read in its place
// is refused.
func TestSignedRequestsSayNothingBesideTheirBody(t *testing.T) {
	form := "payload=" + url.QueryEscape(`{"a":1}`)
	const json = `{"commits":[{"message":"&payload=%7B%7D&"}]}`
	for _, row := range []struct {
		forge       int
		query, body string
		contentType []string
		more        []string
		admitted    bool
	}{
		{forge: 0, body: json, contentType: []string{"application/json"}, admitted: true},
		{forge: 0, body: json, contentType: []string{"application/json; charset=UTF-8"}, admitted: true},
		{forge: 0, body: form, contentType: []string{"application/x-www-form-urlencoded"}, admitted: true},
		{forge: 0, body: form, contentType: []string{"application/x-www-form-urlencoded"}, query: "payload=%7B%7D"},
		{forge: 0, body: json, contentType: []string{"application/json"}, query: "x"},
		{forge: 0, body: json, contentType: []string{"application/x-www-form-urlencoded"}},
		{forge: 0, body: form, contentType: []string{"application/json"}},
		{forge: 0, body: json, contentType: []string{"text/plain"}},
		{forge: 0, body: json, contentType: []string{"multipart/form-data; boundary=x"}},
		{forge: 0, body: json, contentType: []string{"application/json; charset=utf-16"}},
		{forge: 0, body: json, contentType: []string{"application/json; charset=utf-8; x=y"}},
		{forge: 0, body: json, contentType: []string{"application/json", "application/x-www-form-urlencoded"}},
		{forge: 0, body: json},
		{forge: 0, body: json, contentType: []string{"application/json"}, more: []string{"X-GitHub-Event: push", "X-GitHub-Event: issue_comment"}},
		{forge: 1, body: form, contentType: []string{"application/x-www-form-urlencoded"}, admitted: true},
		{forge: 1, body: form, contentType: []string{"application/x-www-form-urlencoded"}, query: "payload=%7B%7D"},
		{forge: 2, body: json, contentType: []string{"application/json"}, admitted: true},
		{forge: 2, body: form, contentType: []string{"application/x-www-form-urlencoded"}},
		{forge: 2, body: json, contentType: []string{"application/json"}, query: "server_url=x"},
		{forge: 3, body: json, contentType: []string{"application/json;charset=utf-8"}, query: "server_url=https%3A%2F%2Fbitbucket.example.com", admitted: true},
		{forge: 3, body: json, contentType: []string{"application/json"}, query: "server_url=x&server_url=y"},
		{forge: 3, body: json, contentType: []string{"application/json"}, query: "server_url=x&payload=y"},
		{forge: 4, body: json, contentType: []string{"application/json"}, query: "ref=x"},
		{forge: 5, body: json, contentType: []string{"application/json"}, query: "ref=x"},
		{forge: 6, body: json, contentType: []string{"application/x-www-form-urlencoded"}},
	} {
		forge := forges[row.forge]
		t.Run(fmt.Sprintf("%s, %q, %q, %.9s", forge.name, row.contentType, row.query, row.body), func(t *testing.T) {
			s := newPeopleSite(t, options{gate: withWebhooks(t, forge.kind)})
			headers := append(slices.DeleteFunc(forge.sign(row.body), func(line string) bool { return line == contentJSON }), row.more...)
			for _, value := range row.contentType {
				headers = append(headers, "Content-Type: "+value)
			}
			target := forge.path
			if row.query != "" {
				target += "?" + row.query
			}
			a := s.send("POST", target, row.body, headers...)
			if row.admitted {
				if got := s.only("POST"); got.BodyLen != int64(len(row.body)) {
					t.Errorf("the client got\n%s", a.dump())
				}
				return
			}
			s.refusedWith(a, http.StatusForbidden, gateway.ReasonSignature)
			s.untouched()
		})
	}
}

// An endpoint of a forge that the settings close to requests without a user still needs
// the signature of one with a user.
func TestClosedEndpointOfAForge(t *testing.T) {
	s := newPeopleSite(t, options{gate: func(c *gateway.Config) {
		withWebhooks(t, webhook.GitHub)(c)
		c.Public = []string{"-ghprb"}
	}})
	signed := hub("X-Hub-Signature-256")(payload)
	for _, row := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"unsigned, with a token", []string{s.auth("alice"), contentJSON}, 403},
		{"unsigned, by a signed-in user", []string{ssoHeader + ": carol", contentJSON}, 403},
		{"signed, without a user", signed, 401},
		{"unsigned, without a user", []string{contentJSON}, 401},
	} {
		a := s.send("POST", "/ghprbhook/", payload, row.headers...)
		if a.StatusCode != row.status {
			t.Errorf("%s: %s", row.name, a.dump())
		}
		s.untouched()
	}
	if a := s.send("POST", "/ghprbhook/", payload, append(signed, s.auth("alice"))...); s.jenkins.Requests() == nil {
		t.Errorf("signed, with a token: %s", a.dump())
	}
}
