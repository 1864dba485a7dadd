package blackbox_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestRoutes: what Caddy keeps for each request (variables, placeholders, groups
// of routes that exclude each other, a rewritten URL) serves three requests for
// one of a client: the crumb's, the first attempt and the second.
func TestRoutes(t *testing.T) {
	tests := []struct {
		name   string
		prefix string // of Jenkins
		path   string // of the client before that of Jenkins
		site   string
	}{
		{"handle", "", "", `
			crumbgate
			handle /job/* {
				reverse_proxy {$JENKINS} {
					header_up X-Way job
				}
			}
			handle {
				reverse_proxy {$JENKINS} {
					header_up X-Way rest
				}
			}`},
		{"handle around", "", "", `
			handle /nothing/* {
				respond 418
			}
			handle {
				crumbgate
				handle /crumbIssuer/* {
					reverse_proxy {$JENKINS}
				}
				handle {
					reverse_proxy {$JENKINS} {
						header_up X-Way rest
					}
				}
			}`},
		{"route", "", "", `
			route {
				crumbgate
				header X-Answered-To {http.auth.user.id}
				vars way routed
				reverse_proxy {$JENKINS} {
					header_up X-Way {vars.way}
				}
			}`},
		{"variables before", "", "", `
			vars jenkins {$JENKINS}
			crumbgate
			reverse_proxy {vars.jenkins}`},
		{"variables behind", "", "", `
			route {
				crumbgate
				vars {
					jenkins {$JENKINS}
					by {http.auth.user.id}
				}
				reverse_proxy {vars.jenkins} {
					header_up X-Way {vars.by}
				}
			}`},
		{"map before", "", "", `
			map {host} {jenkins} {
				default {$JENKINS}
			}
			crumbgate
			reverse_proxy {jenkins}`},
		{"map behind", "", "", `
			route {
				crumbgate
				map {http.auth.user.id} {jenkins} {
					alice {$JENKINS}
				}
				reverse_proxy {jenkins}
			}`},
		{"handle_path", "", "/ci", `
			handle_path /ci/* {
				crumbgate
				reverse_proxy {$JENKINS}
			}`},
		{"prefix taken off behind", "", "/ci", `
			route {
				crumbgate
				uri strip_prefix /ci
				reverse_proxy {$JENKINS}
			}`},
		{"prefix put before", "/jenkins", "", `
			uri path_regexp ^/ /jenkins/
			crumbgate {
				prefix /jenkins
			}
			reverse_proxy {$JENKINS}`},
		{"prefix put before, behind", "/jenkins", "", `
			route {
				crumbgate
				rewrite * /jenkins{uri}
				reverse_proxy {$JENKINS}
			}`},
		{"encode", "", "", `
			encode zstd gzip {
				minimum_length 1
			}
			crumbgate
			reverse_proxy {$JENKINS}`},
		{"encode behind", "", "", `
			route {
				crumbgate
				encode gzip {
					minimum_length 1
				}
				reverse_proxy {$JENKINS}
			}`},
		{"errors handled", "", "", `
			crumbgate
			reverse_proxy {$JENKINS}
			handle_errors {
				respond "sorry" 500
			}`},
		{"answers handled", "", "", `
			crumbgate
			reverse_proxy {$JENKINS} {
				@gone status 404
				handle_response @gone {
					respond "gone" 404
				}
			}`},
		{"buffers", "", "", `
			crumbgate
			reverse_proxy {$JENKINS} {
				request_buffers 4KiB
				response_buffers 4KiB
			}`},
		{"request body limit", "", "", `
			request_body {
				max_size 1MB
			}
			crumbgate
			reverse_proxy {$JENKINS}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			jenkins, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: tt.prefix})
			url = strings.TrimSuffix(url, tt.prefix)
			g := gatewaytest.Start(t, url, `{
				admin {$ADMIN}
				persist_config off
				crumbgate {
					storage bbolt {$STORE}
				}
			}
			http://{$SITE} {
				header >X-User "{http.auth.user.id} {http.crumbgate.token.name}"
				`+tt.site+"\n}\n")
			secret := g.CreateToken(t, "alice", "ci")
			base := g.URL + tt.path
			const job = `<project><description>made through the gateway</description></project>`
			create := func(name string) call {
				return call{
					method: http.MethodPost, path: "/createItem?name=" + name, body: job, user: "alice", secret: secret,
					header: http.Header{"Content-Type": {"application/xml"}},
				}
			}
			create("cold").want(t, base, 200)
			create("warm").want(t, base, 200)
			jenkins.Restart()
			r := create("replayed").want(t, base, 200)
			if got := r.header.Get("X-User"); got != "alice ci" {
				t.Errorf("behind the gate the user and the token are %q, want %q", got, "alice ci")
			}
			jenkins.ExpireSessions()
			create("again").want(t, base, 200)

			requests := jenkins.Requests()
			for _, name := range []string{"cold", "warm", "replayed", "again"} {
				got := call{path: "/job/" + name + "/config.xml", user: "alice", secret: secret}.want(t, base, 200)
				if !strings.Contains(got.body, "made through the gateway") {
					t.Errorf("job %s: %q", name, got.body)
				}
			}
			for _, seen := range requests {
				if seen.User != "alice" || seen.Header.Get("Authorization") != "" {
					t.Errorf("Jenkins got %s %s from %q", seen.Method, seen.RequestURI, seen.User)
				}
			}
			last := requests[len(requests)-1]
			if strings.Contains(tt.site, "X-Way {vars.by}") && last.Header.Get("X-Way") != "alice" {
				t.Errorf("a variable set behind the gate is %q on the second attempt, want alice", last.Header.Get("X-Way"))
			}
			call{user: "alice", secret: "wrong"}.want(t, base, 401)
		})
	}
}
