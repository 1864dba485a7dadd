package blackbox_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome/hometest"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestImportedTokensWork: what Jenkins' holders have goes on working, legacy tokens as
// the rules say, and what was revoked here does not come back.
func TestImportedTokensWork(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	home := hometest.Home{Layout: hometest.Hashed, Users: 3, Tokens: 2, Legacy: true}
	dir := filepath.Join(g.Dir, "jenkins")
	if err := home.Write(dir); err != nil {
		t.Fatal(err)
	}
	run := func(want int, says string, args ...string) {
		t.Helper()
		r := g.Run(t, append([]string{"crumbgate"}, append(args, "--address", g.Admin)...)...)
		if r.Status != want || !strings.Contains(r.Stdout, says) {
			t.Fatalf("%v: %+v, want status %d and %q", args, r, want, says)
		}
	}
	who := func(status, user int, secret string) {
		t.Helper()
		r := call{user: home.ID(user), secret: secret}.want(t, g.URL, status)
		if status == 200 && !strings.Contains(r.body, `"name":"`+home.ID(user)+`"`) {
			t.Errorf("whoAmI: %s", r.body)
		}
	}
	who(401, 0, home.Secret(0, 0))
	run(0, "9 tokens of 3 users to be taken", "import", "jenkins-home", dir)
	who(401, 0, home.Secret(0, 0))
	run(0, "9 tokens of 3 users taken", "import", "jenkins-home", dir, "--yes")
	for user := range 3 {
		for n := range 2 {
			who(200, user, home.Secret(user, n))
		}
		who(401, user, home.LegacySecret(user)) // until a rule lets them in
	}
	post := call{method: "POST", path: "/quietDown", user: home.ID(1), secret: home.Secret(1, 1)}.want(t, g.URL, 302)
	if last := jenkins.Requests()[len(jenkins.Requests())-1]; last.Crumb != jenkinstest.CrumbValid || last.User != home.ID(1) {
		t.Errorf("Jenkins got the POST (%d) of %q with a crumb that is %s", post.status, last.User, last.Crumb)
	}
	load(t, g, withRules("legacy warn"))
	who(200, 2, home.LegacySecret(2))
	who(401, 2, home.Secret(2, 0)[2:]) // half of a token is none
	gatewaytest.Eventually(t, "the log warns of the legacy token", func() error {
		if !strings.Contains(g.Log(), "2.129") {
			return os.ErrNotExist
		}
		return nil
	})
	run(0, "Revoked", "token", "revoke", "--user", home.ID(0), "--name", "token 0", "--yes")
	who(401, 0, home.Secret(0, 0))
	run(0, "0 tokens of 3 users taken, 9 taken before", "import", "jenkins-home", dir, "--yes")
	who(401, 0, home.Secret(0, 0))
	g.Kill(t)
	g.Start(t)
	who(401, 0, home.Secret(0, 0))
	who(200, 0, home.Secret(0, 1))
}

// TestNothingUnaudited: while a change can't be recorded it is refused, unless it takes
// rights away: then its line waits for the log, also when the gateway is killed meanwhile.
func TestNothingUnaudited(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci")
	leaked := g.CreateToken(t, "carol", "leaked")
	paused := g.CreateToken(t, "dave", "paused")
	log := filepath.Join(filepath.Dir(g.Store), "audit.log")
	away := log + ".away"
	if err := os.Rename(log, away); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"create", "--user", "bob", "--name", "new"},
		{"rotate", "--user", "alice", "--name", "ci"},
		{"limit", "--user", "alice", "--name", "ci", "--rate", "5"},
		{"rename", "--user", "alice", "--name", "ci", "--to", "other"},
	} {
		if r := g.Token(t, args...); r.Status == 0 || strings.Contains(r.Stdout, "cg_") {
			t.Errorf("%v with the audit log away: %+v", args, r)
		}
	}
	for _, args := range [][]string{
		{"token", "revoke", "--user", "carol", "--name", "leaked"},
		{"token", "suspend", "--user", "dave", "--name", "paused"},
		{"user", "disable", "carol"},
		{"crumb-key", "rotate", "--drop-old"},
	} {
		if r := g.Run(t, append(append([]string{"crumbgate"}, args...), "--address", g.Admin)...); r.Status != 0 {
			t.Errorf("%v, which takes rights away, with the audit log away: %+v", args, r)
		}
	}
	call{user: "carol", secret: leaked}.want(t, g.URL, 401)
	call{user: "dave", secret: paused}.want(t, g.URL, 401)
	if r := g.Run(t, "crumbgate", "health", "--address", g.Admin); r.Status != 0 || !strings.Contains(r.Stdout, "the audit log can't be written") || !strings.Contains(r.Stdout, "4 lines wait") {
		t.Errorf("health: %+v", r)
	}
	works(t, jenkins, g.URL, secret)
	g.Kill(t)
	if err := os.Rename(away, log); err != nil {
		t.Fatal(err)
	}
	g.Start(t)
	call{user: "carol", secret: leaked}.want(t, g.URL, 401)
	call{user: "dave", secret: paused}.want(t, g.URL, 401)
	if r := g.Token(t, "list"); strings.Contains(r.Stdout, "bob") || strings.Contains(r.Stdout, "other") || !strings.Contains(r.Stdout, "active") {
		t.Errorf("afterwards: %s", r.Stdout)
	}
	if r := g.Token(t, "revoke", "--user", "alice", "--name", "ci"); r.Status != 0 {
		t.Errorf("with the log back: %+v", r)
	}
	call{user: "alice", secret: secret}.want(t, g.URL, 401)
	g.Stop(t)
	r := g.Run(t, "crumbgate", "audit", "verify", "--file", log)
	if r.Status != 0 || !strings.Contains(r.Stdout, "nothing is wrong") {
		t.Errorf("audit verify: %+v", r)
	}
	text, err := os.ReadFile(log)
	if err != nil || strings.Contains(string(text), secret) {
		t.Errorf("the log (%v): %s", err, text)
	}
	for _, kind := range []string{"token.revoked", "token.suspended", "user.disabled", "crumb_key.dropped"} {
		want := 1
		if kind == "token.revoked" {
			want = 2
		}
		if n := strings.Count(string(text), `"kind":"`+kind+`"`); n != want {
			t.Errorf("%d lines of %s, want %d: %s", n, kind, want, text)
		}
	}
}

// TestAuditLogCut: what is cut off from the audit log while the gateway is stopped it
// misses when it starts, and goes on; a kill makes no such alarm.
func TestAuditLogCut(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	secret := g.CreateToken(t, "alice", "ci")
	log := filepath.Join(filepath.Dir(g.Store), "audit.log")
	for range 3 {
		g.CreateToken(t, "bob", "")
		g.Kill(t)
		g.Start(t)
	}
	verify := func(args ...string) gatewaytest.Result {
		return g.Run(t, append([]string{"crumbgate", "audit", "verify", "--address", g.Admin}, args...)...)
	}
	if r := verify(); r.Status != 0 {
		t.Fatalf("after kills: %+v", r)
	}
	g.Stop(t)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if err := os.WriteFile(log, []byte(strings.Join(lines[:len(lines)/2], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start(t)
	if !strings.Contains(g.Log(), "lines of the audit log are gone") {
		t.Errorf("the gateway's log says nothing: %s", g.Log())
	}
	works(t, jenkins, g.URL, secret)
	r := verify()
	head := regexp.MustCompile(`up to (\d+:[0-9a-f]{64}): lines \d+ to \d+ are missing at the end`).FindStringSubmatch(r.Stderr)
	if r.Status != 1 || head == nil {
		t.Fatalf("audit verify: %+v", r)
	}
	if r := verify("--lost", head[1]); r.Status != 0 {
		t.Errorf("audit verify --lost: %+v", r)
	}
}

// TestPagesNeedAPerson: people reach the pages of tokens, admins those of all, and tokens
// none.
func TestPagesNeedAPerson(t *testing.T) {
	jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
	const people = "session {\n\t\t\tuser {http.vars.person}\n\t\t}\n\t\tadmins root"
	site := strings.Replace(withSettings(people), "\tcrumbgate {\n\t\tsession", "\t@alice header Test-Person alice\n\tvars @alice person alice\n\t@root header Test-Person root\n\tvars @root person root\n\tcrumbgate {\n\t\tsession", 1)
	g := gatewaytest.Start(t, url, site)
	secret := g.CreateToken(t, "alice", "shown")
	page := func(path, person string, status int, says string) {
		t.Helper()
		r := call{path: path, header: http.Header{"Test-Person": {person}}}.want(t, g.URL, status)
		if !strings.Contains(r.body, says) {
			t.Errorf("%s for %s lacks %q: %.400s", path, person, says, r.body)
		}
	}
	page("/crumbgate/", "alice", 200, "shown")
	page("/crumbgate/", "nobody", 401, "")
	page("/crumbgate/admin/", "alice", 404, "")
	page("/crumbgate/admin/", "root", 200, "shown")
	page("/crumbgate/admin/audit", "root", 200, "token.created")
	call{path: "/crumbgate/", user: "alice", secret: secret}.want(t, g.URL, 403)
	call{path: "/crumbgate/", secret: secret}.want(t, g.URL, 403)
	call{method: "POST", path: "/crumbgate/new", body: "name=x", header: http.Header{
		"Test-Person": {"alice"}, "Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"application/x-www-form-urlencoded"},
	}}.want(t, g.URL, 403)
	for _, r := range jenkins.Requests() {
		if strings.HasPrefix(r.Path, "/crumbgate") {
			t.Errorf("Jenkins got %s", r.Path)
		}
	}
}
