package jenkinstest_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestReverseProxySetupMonitor(t *testing.T) { // 6.1
	const monitor = "/administrativeMonitor/hudson.diagnosis.ReverseProxySetupMonitor/"
	_, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx", RootURL: "https://pub.example.org/ctx"})
	a := send(t, "GET", url+monitor+"test", "", alice, "Referer: https://pub.example.org/ctx/manage/")
	const encoded = "testForReverseProxySetup/https%3A%2F%2Fpub.example.org%2Fctx%2Fmanage%2F/"
	if want := "https://pub.example.org/ctx" + monitor + encoded; a.StatusCode != 302 || a.Header.Get("Location") != want {
		t.Errorf("test = %d %q, want %q", a.StatusCode, a.Header.Get("Location"), want)
	}
	tests := []struct {
		name, path string
		headers    []string
		status     int
		body       string
	}{
		{"right", encoded, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: pub.example.org"}, 200, ""},
		{"wrong host", encoded, []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: jenkins"}, 404, "https://jenkins/ctx/manage vs. https://pub.example.org/ctx/manage/"},
		{"decoded on the way", strings.ReplaceAll(encoded, "%2F", "/"), []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: pub.example.org"}, 404, "https://pub.example.org/ctx/manage vs. https:/pub.example.org/ctx/manage"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := send(t, "GET", url+monitor+tt.path, "", append(tt.headers, alice)...)
			if a.StatusCode != tt.status || a.body != tt.body {
				t.Errorf("%d %q, want %d %q", a.StatusCode, a.body, tt.status, tt.body)
			}
		})
	}
}
