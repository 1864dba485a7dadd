package blackbox_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// What a client sends under any name that holds a secret is in no log of the format,
// at the level DEBUG, however it is escaped.
func TestSecretsOfOtherHeadersAreNotLogged(t *testing.T) {
	t.Parallel()
	_, jenkins := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, jenkins, strings.Replace(logged, "\tcrumbgate\n\treverse_proxy", `	crumbgate {
		token_header X-Team-Token
		crumb_field X-Team-Crumb
		webhook gitlab {
			secret {env.HOOK_SECRET} {file.{$DIR}/hook}
		}
	}
	reverse_proxy`, 1))
	const inEnv, inFile = "hook-secret-in-the-environment", "hook-secret-in-a-file-of-its-own"
	g.Env = append(g.Env, "HOOK_SECRET="+inEnv)
	if err := os.WriteFile(filepath.Join(g.Dir, "hook"), []byte(inFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start(t)
	secret := g.CreateToken(t, "alice", "ci")
	const legacy = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	sum := sha256.Sum256([]byte(legacy))
	if _, err := g.API().ImportTokens(t.Context(), admin.ImportRequest{Tokens: []admin.TransferToken{
		{User: "bob", Name: "old", Digest: hex.EncodeToString(sum[:]), Legacy: true},
	}}); err != nil {
		t.Fatal(err)
	}
	pair := base64.StdEncoding.EncodeToString([]byte("alice:" + secret))
	old := base64.StdEncoding.EncodeToString([]byte("bob:" + legacy))
	secrets := map[string]string{
		"token_header": secret, "legacy token": legacy, "Basic": pair, "Basic of a legacy token": strings.TrimRight(old, "="),
		"GitLab": "gitlab-s3cret", "trigger": "trigger-s3cret", "reload": "reload-s3cret", "userinfo": "userinfo-s3cret",
		"session": "node0s3cret", "crumb": "crumb-s3cret", "hook in the environment": inEnv, "hook in a file": inFile,
		"metrics": "metrics-s3cret", "sign-in's state": "state-s3cret", "sign-in's code": "code-s3cret", "resource domain": "files-s3cret", "sign-up": "signup-s3cret",
	}
	for _, c := range []call{
		{header: http.Header{"X-Team-Token": {secret}}},
		{header: http.Header{"X-Gitlab-Token": {secrets["GitLab"]}, "Token": {secrets["trigger"]}, "X-Team-Crumb": {secrets["crumb"]}}},
		{header: http.Header{"X-Original-Authorization": {"Basic " + pair}, "X-Any": {old}}},
		{header: http.Header{"Referer": {"http://bob:" + legacy + "@host/job/" + legacy + "/"}, "X-Url": {"https://ci:" + secrets["userinfo"] + "@host/"}}},
		{path: "/reload-configuration-as-code/?casc-reload-token=" + secrets["reload"]},
		{path: "/job/a/build?x=1&token=" + secrets["trigger"]},
		{path: "/login?from=%2Fjob%2Fa%2Fbuild%3Ftoken%3D" + secrets["trigger"]},
		{path: "/job/a;jsessionid=" + secrets["session"]},
		{path: "/login?x=" + legacy},
		{path: "/metrics/" + secrets["metrics"] + "/metrics"},
		{path: "/manage/metrics/" + secrets["metrics"] + "/ping", header: http.Header{"Referer": {"https://host/metrics/" + secrets["metrics"] + "/threads"}}},
		{path: "/login?from=%2Fmetrics%2F" + secrets["metrics"] + "%2Fping"},
		{path: "/metrics/healthcheck?key=" + secrets["metrics"]},
		{path: "/securityRealm/finishLogin?state=" + secrets["sign-in's state"] + "&code=" + secrets["sign-in's code"]},
		{path: "/static-files/" + secrets["resource domain"] + "/a.html"},
		{path: "/securityRealm/createAccount?password1=" + secrets["sign-up"] + "&password2=" + secrets["sign-up"]},
		{method: "POST", path: "/project/a", header: http.Header{"X-Gitlab-Token": {inEnv}}, body: "{}"},
		{method: "POST", path: "/project/a", header: http.Header{"X-Gitlab-Token": {inFile}}, body: "{}"},
		{method: "POST", path: "/quietDown", user: "alice", secret: secret, header: http.Header{"X-Team-Crumb": {secrets["crumb"]}}},
	} {
		if _, err := c.try(g.URL); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := gatewaytest.Client.Get("http://" + g.Admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	config, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(config), "{env.HOOK_SECRET}") {
		t.Errorf("the admin endpoint shows %s (%v)", config, err)
	}
	g.Stop(t)
	for name, secret := range secrets {
		for where, text := range map[string]string{"log": g.Log(), "configuration": string(config)} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s: the %s shows %s", name, where, text[max(0, at-300):at+len(secret)])
			}
		}
	}
	if strings.Contains(g.Log(), "stands in the configuration") {
		t.Error("the log warns of webhook secrets that do not stand in the configuration")
	}
	if lines := strings.Count(g.Log(), "handled request"); lines < 12 {
		t.Errorf("the access log has %d lines", lines)
	}
}

// Caddy copies a request for its logs before the gateway sees it. So with a second header for
// tokens each log that shows requests of the site must hide it: access logs, and the log of
// errors, which Caddy writes with or without an access log.
func TestTokenHeaderNeedsARedactedLog(t *testing.T) {
	t.Parallel()
	site := func(global, log string) string {
		text := strings.Replace(gatewaytest.Smallest, "{\n", "{\n"+global, 1)
		return strings.Replace(text, "\tcrumbgate\n\treverse", "\t"+log+"\n\tcrumbgate {\n\t\ttoken_header X-Team-Token\n\t\twebhook github {\n\t\t\tsecret a-secret-of-sixteen\n\t\t}\n\t}\n\treverse", 1)
	}
	const (
		hidden = "\tlog {\n\t\tformat crumbgate\n\t}\n"
		toFile = "log {\n\t\toutput file {$DIR}/access.log\n\t}"
	)
	for _, test := range []struct {
		name, caddyfile string
		refused         bool
	}{
		{"plain log of errors", site("", ""), true},
		{"plain access log", site("", "log"), true},
		{"plain access log in a file", site("", toFile), true},
		{"access log of the format, plain log of errors", site("", "log {\n\t\tformat crumbgate\n\t}"), true},
		{"log of errors of the format, plain access log", site(hidden, toFile), true},
		{"log of errors of the format", site(hidden, ""), false},
		{"all logs of the format", site(hidden, "log"), false},
		{"two logs of the format", site(hidden, "log {\n\t\tformat crumbgate\n\t}"), false},
		{"one more plain log of all", site(hidden+"\tlog more {\n\t\toutput file {$DIR}/more.log\n\t}\n", ""), true},
		{"one more plain log of the admin endpoint", site(hidden+"\tlog more {\n\t\toutput file {$DIR}/more.log\n\t\tinclude admin\n\t}\n", ""), false},
		{"the format in another one", site("\tlog {\n\t\tformat filter {\n\t\t\twrap crumbgate\n\t\t\tfields {\n\t\t\t\tcommon_log delete\n\t\t\t}\n\t\t}\n\t}\n", "log"), false},
		{"plain log without requests", site("\tlog {\n\t\texclude http\n\t}\n\tlog requests {\n\t\tinclude http\n\t\tformat crumbgate\n\t}\n", ""), false},
		{"logs that are discarded", site("\tlog {\n\t\toutput discard\n\t}\n\tlog shown {\n\t\tinclude http.handlers.crumbgate\n\t}\n", "log"), false},
		{"plain access log of another site", site(hidden, "") + "http://localhost:{$PORT} {\n\t" + toFile + "\n}\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := gatewaytest.New(t, "127.0.0.1:1", test.caddyfile)
			g.Env = append(g.Env, "PORT="+g.URL[strings.LastIndex(g.URL, ":")+1:])
			out, err := g.Command(t.Context(), "validate", "--config", g.Config).CombinedOutput()
			if refused := err != nil && strings.Contains(string(out), "format crumbgate"); refused != test.refused {
				t.Errorf("refused: %v, want %v\n%s", refused, test.refused, out)
			}
			if !test.refused && !strings.Contains(string(out), "a webhook secret stands in the configuration") {
				t.Errorf("there is no warning of the webhook's secret:\n%s", out)
			}
		})
	}
}
