package blackbox_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

func TestHTTP2(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, strings.Replace(gatewaytest.Smallest, "\tpersist_config off\n", "\tpersist_config off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n", 1))
	secret := g.CreateToken(t, "alice", "ci")
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{
		Transport:     &http.Transport{Protocols: &protocols},
		CheckRedirect: gatewaytest.Client.CheckRedirect,
	}
	defer client.CloseIdleConnections()
	const job = "<project><description>by HTTP/2</description></project>"
	create := func(name string) call {
		return call{
			method: "POST", path: "/createItem?name=" + name, body: job, user: "alice", secret: secret, client: client,
			header: http.Header{"Content-Type": {"application/xml"}, "Cookie": {"a=b", "JSESSIONID.x=y"}, "Jenkins-Crumb": {"x"}},
		}
	}
	if r := (call{user: "alice", secret: secret, client: client}).want(t, g.URL, 200); !strings.Contains(r.body, `"name":"alice"`) {
		t.Errorf("whoAmI: %s", r.body)
	}
	create("cold").want(t, g.URL, 200)
	jenkins.Restart()
	create("replayed").want(t, g.URL, 200)
	if r := (call{path: "/job/replayed/config.xml", user: "alice", secret: secret, client: client}).want(t, g.URL, 200); !strings.Contains(r.body, "by HTTP/2") {
		t.Errorf("the job that a replay made: %s", r.body)
	}
	call{user: "alice", secret: "wrong", client: client}.want(t, g.URL, 401)
	for _, seen := range jenkins.Requests() {
		if cookies := seen.Header.Get("Cookie"); seen.User != "alice" || strings.Contains(cookies, "a=b") || strings.Contains(cookies, "JSESSIONID.x") {
			t.Errorf("Jenkins got %s of %q with the cookies %q", seen.RequestURI, seen.User, cookies)
		}
	}
}
