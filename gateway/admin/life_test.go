package admin_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// post asks, and decodes the answer, which must have the status.
func post[T any](t testing.TB, h http.Handler, path, body string, status int) T {
	t.Helper()
	return get[T](t, h, "POST", "/crumbgate/"+path, body, status)
}

// find returns the directory's token of what the API told of one.
func (g *gateway) find(t testing.TB, told admin.Token) *token.Token {
	t.Helper()
	found := g.directory.List(func(t *token.Token) bool { return t.Record().ID.String() == told.ID })
	if len(found) != 1 {
		t.Fatalf("%d tokens have the id %s", len(found), told.ID)
	}
	return found[0]
}

func names(tokens []admin.Token) string {
	var all []string
	for _, t := range tokens {
		all = append(all, t.Name)
	}
	return strings.Join(all, " ")
}

func TestChangesRefused(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"alice","name":"deploy","scopes":["build:team-a/app"]}`)
	create(t, g, `{"user":"alice","name":"taken"}`)
	gone := create(t, g, `{"user":"alice","name":"gone"}`)
	get[admin.Token](t, g, "DELETE", "/crumbgate/tokens/"+gone.ID, "", 200)
	create(t, g, `{"user":"bob","name":"ci"}`)
	paused := create(t, g, `{"user":"carol","name":"paused"}`)
	post[admin.Token](t, g, "tokens/"+paused.ID+"/suspend", `{}`, 200)
	get[admin.User](t, g, "PATCH", "/crumbgate/users?id=bob", `{"disabled":true}`, 200)

	one := func(rest string) string { return "tokens/" + made.ID + rest }
	mega := strings.Repeat("x", 1<<20)
	digest := strings.Repeat("ab", 32)
	tests := []struct {
		name   string
		method string
		target string // under /crumbgate/
		body   string
		status int
		text   string // part of the error
	}{
		{"name of 1 MiB", "POST", "tokens", `{"user":"alice","name":"` + mega + `"}`, 413, "more than 65536 bytes"},
		{"scope that nobody knows", "POST", "tokens", `{"user":"alice","scopes":["reed"]}`, 400, `unknown scope "reed"`},
		{"scope over an empty folder", "POST", "tokens", `{"user":"alice","scopes":["build:team-a//app"]}`, 400, "an empty name"},
		{"scope over nothing", "POST", "tokens", `{"user":"alice","scopes":["build:"]}`, 400, "an empty name"},
		{"scope over everything", "POST", "tokens", `{"user":"alice","scopes":["build:**"]}`, 400, "means everything"},
		{"scope with an escape sequence", "POST", "tokens", `{"user":"alice","scopes":["build:a\u001b"]}`, 400, "control characters"},
		{"scope that is null", "POST", "tokens", `{"user":"alice","scopes":[null]}`, 400, `unknown scope ""`},
		{"scopes that are a text", "POST", "tokens", `{"user":"alice","scopes":"read"}`, 400, "not understood"},
		{"observing nothing", "POST", "tokens", `{"user":"alice","observe":true}`, 400, "nothing to observe without scopes"},
		{"network of too many bits", "POST", "tokens", `{"user":"alice","sources":["10.0.0.0/33"]}`, 400, "neither an address"},
		{"address within a network", "POST", "tokens", `{"user":"alice","sources":["10.0.0.1/8"]}`, 400, "write 10.0.0.0/8"},
		{"network of another kind", "POST", "tokens", `{"user":"alice","sources":["::ffff:10.0.0.0/104"]}`, 400, "neither an address"},
		{"name of a host", "POST", "tokens", `{"user":"alice","sources":["build.example.com"]}`, 400, "neither an address"},
		{"network twice", "POST", "tokens", `{"user":"alice","sources":["10.0.0.0/8","10.0.0.0/8"]}`, 400, "given twice"},
		{"rate below zero", "POST", "tokens", `{"user":"alice","rate":-1}`, 400, "not understood"},
		{"rate above all", "POST", "tokens", `{"user":"alice","rate":1000001}`, 400, "more than 1000000"},
		{"uses below zero", "POST", "tokens", `{"user":"alice","max_uses":-1}`, 400, "not understood"},
		{"token for a disabled user", "POST", "tokens", `{"user":"bob","name":"x"}`, 409, "enable the user first"},

		{"no such filter", "GET", "tokens?unused=90d", "", 400, `unknown query parameter "unused"`},
		{"time without a unit", "GET", "tokens?unused_for=90", "", 400, "unused_for"},
		{"negative time", "GET", "tokens?expires_within=-1d", "", 400, "expires_within"},
		{"date in another order", "GET", "tokens?created_before=31.12.2026", "", 400, "created_before"},
		{"day that is none", "GET", "tokens?created_before=2026-02-30", "", 400, "created_before"},
		{"state that is none", "GET", "tokens?state=sleeping", "", 400, `state "sleeping" is none of`},
		{"long search", "GET", "tokens?q=" + strings.Repeat("x", 257), "", 400, "at most 256"},
		{"empty name", "GET", "tokens?name=", "", 400, "the name is empty"},
		{"order that is none", "GET", "tokens?sort=age", "", 400, "is none of user, name"},
		{"order the other way round twice", "GET", "tokens?sort=--name", "", 400, "is none of user, name"},
		{"limit that is none", "GET", "tokens?limit=0", "", 400, "no number of tokens"},
		{"limit that is no number", "GET", "tokens?limit=ten", "", 400, "no number of tokens"},

		{"rename to nothing", "POST", one("/rename"), `{"name":""}`, 400, "the new name is empty"},
		{"rename to a line feed", "POST", one("/rename"), `{"name":"a\nb"}`, 400, "control or invisible character (U+000A)"},
		{"rename to what is taken", "POST", one("/rename"), `{"name":"taken"}`, 409, "already has a token named"},
		{"rename to a secret", "POST", one("/rename"), `{"name":"` + made.Secret + `"}`, 400, "names are not secret"},
		{"rename by another field", "POST", one("/rename"), `{"to":"x"}`, 400, `unknown field "to"`},
		{"rename what is revoked", "POST", "tokens/" + gone.ID + "/rename", `{"name":"x"}`, 409, "is revoked, and keeps its name"},
		{"rename what is not there", "POST", "tokens/" + someID + "/rename", `{"name":"x"}`, 404, "there is no token"},
		{"rename by a query", "POST", one("/rename?name=x"), `{"name":"x"}`, 400, "unknown query parameter"},
		{"rename by a form", "POST", one("/rename"), "", 415, "send application/json"},
		{"rename by GET", "GET", one("/rename"), "", 405, "use POST"},
		{"rename a secret", "POST", "tokens/" + made.Secret + "/rename", `{"name":"x"}`, 400, "secret of a token and not its id"},

		{"rotate with a strange overlap", "POST", one("/rotate"), `{"overlap":"soon"}`, 400, "use a time such as 24h"},
		{"rotate with a negative overlap", "POST", one("/rotate"), `{"overlap":"-1h"}`, 400, "use a time such as 24h"},
		{"rotate to the past", "POST", one("/rotate"), `{"expires":"2020-01-31"}`, 400, "is in the past"},
		{"rotate what is revoked", "POST", "tokens/" + gone.ID + "/rotate", `{}`, 409, "is revoked"},
		{"rotate what is suspended", "POST", "tokens/" + paused.ID + "/rotate", `{}`, 409, "resume it first"},

		{"suspend what is revoked", "POST", "tokens/" + gone.ID + "/suspend", `{}`, 409, "is revoked, which can't be undone"},
		{"resume what is revoked", "POST", "tokens/" + gone.ID + "/resume", `{}`, 409, "is revoked, which can't be undone"},
		{"resume for a reason", "POST", one("/resume"), `{"why":"x"}`, 400, "leave it out"},
		{"suspend for an escape sequence", "POST", one("/suspend"), `{"why":"\u001b[2J"}`, 400, "the reason"},
		{"suspend for a secret", "POST", one("/suspend"), `{"why":"` + made.Secret + `"}`, 400, "reasons are not secret"},
		{"suspend for a long reason", "POST", one("/suspend"), `{"why":"` + strings.Repeat("x", 256) + `"}`, 400, "at most 255"},
		{"revoke for an escape sequence", "DELETE", one("?why=%1b"), "", 400, "the reason"},

		{"limit nothing", "PATCH", one("/limits"), `{}`, 400, "nothing to change"},
		{"limit by PUT", "PUT", one("/limits"), `{}`, 405, "use PATCH"},
		{"limit to a strange network", "PATCH", one("/limits"), `{"sources":["everywhere"]}`, 400, "neither an address"},
		{"limit what is revoked", "PATCH", "tokens/" + gone.ID + "/limits", `{"rate":1}`, 409, "mean nothing any more"},
		{"suggest without having watched", "GET", one("/suggest"), "", 409, "isn't observed"},

		{"revoke all by saying nothing", "POST", "tokens/revoke", `{"dry_run":false}`, 400, "this is about all tokens"},
		{"revoke all by a star", "POST", "tokens/revoke", `{"dry_run":false,"name":"**"}`, 400, "this is about all tokens"},
		{"revoke all by any character", "POST", "tokens/revoke", `{"dry_run":false,"name":"?*"}`, 400, "this is about all tokens"},
		{"revoke all that are active", "POST", "tokens/revoke", `{"dry_run":false,"state":"active"}`, 400, "this is about all tokens"},
		{"revoke all but one by saying nothing", "POST", "tokens/revoke", `{"dry_run":false,"except":["` + made.ID + `"]}`, 400, "this is about all tokens"},
		{"revoke an empty user's", "POST", "tokens/revoke", `{"dry_run":false,"user":""}`, 400, "is empty: leave it out"},
		{"revoke by an empty name", "POST", "tokens/revoke", `{"dry_run":false,"user":"alice","name":""}`, 400, "is empty: leave it out"},
		{"revoke by a filter that is none", "POST", "tokens/revoke", `{"dry_run":false,"user":"alice","unused":"90d"}`, 400, "unknown field"},
		{"revoke all but what is no id", "POST", "tokens/revoke", `{"dry_run":false,"user":"alice","except":["deploy"]}`, 400, "exception 1: this is not the id"},
		{"revoke by a strange time", "POST", "tokens/revoke", `{"dry_run":false,"unused_for":"long"}`, 400, "unused_for"},
		{"revoke by GET", "GET", "tokens/revoke", "", 405, "use POST"},
		{"resume many for a reason", "POST", "tokens/resume", `{"user":"alice","why":"x"}`, 400, "leave it out"},

		{"disable and more", "PATCH", "users?id=alice", `{"disabled":true,"mail":"a@example.com"}`, 400, "changed on its own"},
		{"disable nobody", "PATCH", "users?id=SYSTEM", `{"disabled":true}`, 400, "Jenkins keeps for itself"},
		{"create and disable", "POST", "tokens", `{"user":"alice","disabled":true}`, 400, "unknown field"},
		{"report of too much", "GET", "report?limit=1001", "", 400, "from 0 to 1000"},

		{"import nothing", "POST", "import", `{"tokens":[]}`, 400, "no tokens to import"},
		{"import without a digest", "POST", "import", `{"tokens":[{"user":"alice","name":"x"}]}`, 400, "token 1: the digest is not 64 hex digits"},
		{"import half a digest", "POST", "import", `{"tokens":[{"user":"alice","name":"x","digest":"abcd"}]}`, 400, "the digest is not 64 hex digits"},
		{"import a secret for a digest", "POST", "import", `{"tokens":[{"user":"alice","name":"x","digest":"` + made.Secret + `"}]}`, 400, "the digest is not 64 hex digits"},
		{"import what is limited", "POST", "import", `{"tokens":[{"user":"alice","name":"x","digest":"` + digest + `","limited":true}]}`, 400, "its limits do not travel"},
		{"import from before 1970", "POST", "import", `{"tokens":[{"user":"alice","name":"x","digest":"` + digest + `","created":"1969-12-31T00:00:00Z"}]}`, 400, "before 1970"},
		{"import with a strange id", "POST", "import", `{"tokens":[{"user":"alice","name":"x","id":"x","digest":"` + digest + `"}]}`, 400, "not the id of a token"},
		{"import too many", "POST", "import", `{"tokens":[` + strings.Repeat(`{"user":"alice","name":"x","digest":"`+digest+`"},`, token.MaxImport) + `{"user":"alice","name":"x","digest":"` + digest + `"}]}`, 400, "at most 63"},
		{"import more than 1 MiB", "POST", "import", `{"tokens":[],"actor":"` + mega + `"}`, 413, "more than 1048576 bytes"},
		{"export of an empty user", "GET", "export?user=", "", 400, "the user is empty"},
		{"export of nobody", "GET", "export?user=anonymous", "", 400, "Jenkins keeps"},
		{"export with a filter", "GET", "export?name=x", "", 400, "unknown query parameter"},
	}
	before := ask(t, g, "GET", "/crumbgate/tokens?all=true", "").Body.String()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			failure := get[admin.Error](t, g, tt.method, "/crumbgate/"+tt.target, tt.body, tt.status)
			if !strings.Contains(failure.Text, tt.text) {
				t.Errorf("error %q, want one with %q", failure.Text, tt.text)
			}
			if len(failure.Text) > 2000 || strings.Contains(failure.Text, made.Secret) {
				t.Errorf("the error is long or holds the secret: %.2000q", failure.Text)
			}
		})
	}
	if after := ask(t, g, "GET", "/crumbgate/tokens?all=true", "").Body.String(); after != before {
		t.Errorf("the refused requests left %s, want %s", after, before)
	}
}

func TestFilters(t *testing.T) {
	g := newGateway(t)
	// Each a day after the one before.
	for _, body := range []string{
		`{"user":"bob","name":"old","expires":"never"}`,
		`{"user":"alice","name":"ci/b","expires":"400d","scopes":["read:secret-project"]}`,
		`{"user":"alice","name":"ci/a","expires":"300d"}`,
	} {
		create(t, g, body)
		g.now = g.now.Add(24 * time.Hour)
	}
	g.now = start.Add(295 * 24 * time.Hour)
	used := create(t, g, `{"user":"carol","name":"used","rate":100}`)
	for range 3 {
		g.find(t, used.Token).Use(usage.Use{Time: g.now, Addr: "192.0.2.7", Agent: "curl/8.5.0"})
	}
	g.now = start.Add(296 * 24 * time.Hour)

	tests := []struct{ query, want string }{
		{"", "ci/a ci/b old used"},
		{"sort=user", "ci/a ci/b old used"},
		{"sort=-user", "used old ci/b ci/a"},
		{"sort=name", "ci/a ci/b old used"},
		{"sort=-name", "used old ci/b ci/a"},
		{"sort=created", "old ci/b ci/a used"},
		{"sort=-created", "used ci/a ci/b old"},
		{"sort=expires", "ci/a used ci/b old"}, // never is last
		{"sort=-expires", "old ci/b used ci/a"},
		{"sort=last_used", "ci/a ci/b old used"}, // never is first; the others as by user
		{"sort=-last_used", "used ci/a ci/b old"},
		{"sort=uses", "ci/a ci/b old used"},
		{"sort=-uses", "used ci/a ci/b old"},
		{"sort=-created&limit=2", "used ci/a"},
		{"limit=100", "ci/a ci/b old used"},
		{"name=ci*", "ci/a ci/b"},
		{"name=ci*&user=ALICE", "ci/a ci/b"},
		{"name=ci*&user=bob", ""},
		{"q=SECRET", "ci/b"},
		{"unused_for=200d", "ci/a ci/b old"},
		{"unused_for=1h", "ci/a ci/b old used"},
		{"unused_for=2d", "ci/a ci/b old"},
		{"created_before=2026-11-25", "ci/b old"},
		{"expires_within=7d", "ci/a"},
		{"never_used=true", "ci/a ci/b old"},
		{"unending=true", "old"},
		{"unlimited=true", "ci/a old used"},
		{"state=active&unlimited=false", "ci/a ci/b old used"},
		{"legacy=true", ""},
		{"disabled_user=true", ""},
		{"state=suspended", ""},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			list := get[admin.TokenList](t, g, "GET", "/crumbgate/tokens?"+tt.query, "", 200)
			if got := names(list.Tokens); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	shown := get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+used.ID, "", 200)
	if shown.Uses.Agent != "curl" || shown.Rate != 100 {
		t.Errorf("shown %+v, want the agent curl and a rate of 100", shown)
	}
}

// The steps of one token's life, each by its own request.
func TestChanges(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"ci","name":"build","expires":"10d","scopes":["read"],"sources":["10.0.0.0/8"],"rate":60,"max_uses":5}`)
	one := "tokens/" + made.ID

	renamed := post[admin.Token](t, g, one+"/rename", `{"name":"nightly"}`, 200)
	if renamed.Name != "nightly" {
		t.Errorf("renamed: %+v", renamed)
	}
	steps := []struct{ body, want string }{
		{`{"rate":120}`, `{"scopes":["read"],"sources":["10.0.0.0/8"],"rate":120,"max_uses":5}`},
		{`{"observe":true,"rate":null}`, `{"scopes":["read"],"observe":true,"sources":["10.0.0.0/8"],"rate":120,"max_uses":5}`},
		{`{"sources":[],"max_uses":0}`, `{"scopes":["read"],"observe":true,"rate":120}`},
		{`{"scopes":[]}`, `{"rate":120}`},
		{`{"scopes":["read","build:a/**"],"observe":true}`, `{"scopes":["read","build:a/**"],"observe":true,"rate":120}`},
	}
	for _, tt := range steps {
		limited := get[admin.Token](t, g, "PATCH", "/crumbgate/"+one+"/limits", tt.body, 200)
		if got, err := json.Marshal(limited.Limits); err != nil || string(got) != tt.want {
			t.Errorf("limits after %s: %s, %v, want %s", tt.body, got, err, tt.want)
		}
	}

	found := g.find(t, made.Token)
	failure := get[admin.Error](t, g, "GET", "/crumbgate/"+one+"/suggest", "", 409)
	if !strings.Contains(failure.Text, "ask again after it has done its work") {
		t.Errorf("suggestion without a use: %q", failure.Text)
	}
	found.Observe(policy.Classify("POST", "/job/a/job/b/build", ""))
	suggestion := get[admin.Suggestion](t, g, "GET", "/crumbgate/"+one+"/suggest", "", 200)
	if want := []string{"build:a/b"}; !slices.Equal(suggestion.Scopes, want) || suggestion.Needs != 1 || !suggestion.Observe || len(suggestion.Now) != 2 {
		t.Errorf("suggestion %+v, want the scopes %q", suggestion, want)
	}

	g.now = g.now.Add(time.Hour)
	for range 2 { // the second time changes nothing
		suspended := post[admin.Token](t, g, one+"/suspend", `{"why":"who uses it?","actor":"root"}`, 200)
		if suspended.State != "suspended" || suspended.Why != "who uses it?" || suspended.Suspended != admin.Time(start.Add(time.Hour).Unix()) {
			t.Errorf("suspended: %+v", suspended)
		}
		g.now = g.now.Add(time.Hour)
	}
	resumed := post[admin.Token](t, g, one+"/resume", `{}`, 200)
	if resumed.State != "active" || resumed.Why != "" || resumed.Suspended != 0 {
		t.Errorf("resumed: %+v", resumed)
	}

	rotated := post[admin.RotatedToken](t, g, one+"/rotate", `{"overlap":"2h"}`, 201)
	switch {
	case rotated.Old.ID != made.ID || rotated.Old.ReplacedBy != rotated.ID || !rotated.Old.Marks.Replaced || rotated.Family != made.ID:
		t.Errorf("rotated %s: %+v", made.ID, rotated)
	case rotated.Old.Expires != admin.Time(g.now.Add(2*time.Hour).Unix()) || rotated.Expires != admin.Time(g.now.Add(240*time.Hour).Unix()):
		t.Errorf("rotated at %v: the old one ends %d, the new one %d", g.now, rotated.Old.Expires, rotated.Expires)
	case rotated.Name != "nightly" || rotated.User != "ci" || !slices.Equal(rotated.Scopes, []string{"read", "build:a/**"}) || rotated.Rate != 120:
		t.Errorf("the new token is %+v, want name, user and limits of the old one", rotated.Token)
	}
	digest, err := token.Parse(rotated.Secret)
	if err != nil || g.directory.Find(digest) == nil || g.directory.Find(digest).Record().ID.String() != rotated.ID {
		t.Errorf("the secret is not that of the new token (%v)", err)
	}
	g.now = g.now.Add(2 * time.Hour)
	if old := get[admin.Token](t, g, "GET", "/crumbgate/"+one, "", 200); old.State != "superseded" {
		t.Errorf("the old one is %s after its end", old.State)
	}
	revoked := get[admin.Token](t, g, "DELETE", "/crumbgate/"+one+"?why=done", "", 200)
	if revoked.State != "revoked" || revoked.Why != "done" {
		t.Errorf("revoked: %+v", revoked)
	}
}

func TestBulk(t *testing.T) {
	g := newGateway(t)
	keep := create(t, g, `{"user":"alice","name":"keep"}`)
	for _, body := range []string{`{"user":"alice","name":"a"}`, `{"user":"alice","name":"b"}`, `{"user":"bob","name":"c"}`} {
		create(t, g, body)
	}
	steps := []struct {
		name, what, body string
		want             string
		dry              bool
		left             string // that are active, afterwards
	}{
		{"a dry run unless said otherwise", "revoke", `{"user":"alice"}`, "a b keep", true, "a b keep c"},
		{"null says nothing", "revoke", `{"user":"alice","dry_run":null}`, "a b keep", true, "a b keep c"},
		{"a dry run of all", "revoke", `{"all":true}`, "a b keep c", true, "a b keep c"},
		{"suspended but one", "suspend", `{"user":"alice","except":["` + keep.ID + `"],"why":"holidays","dry_run":false}`, "a b", false, "keep c"},
		{"suspended again", "suspend", `{"user":"alice","except":["` + keep.ID + `"],"dry_run":false}`, "", false, "keep c"},
		{"what would be resumed", "resume", `{"all":true}`, "a b", true, "keep c"},
		{"one resumed", "resume", `{"name":"a","dry_run":false}`, "a", false, "a keep c"},
		{"suspended ones revoked", "revoke", `{"state":"suspended","dry_run":false}`, "b", false, "a keep c"},
		{"revoked ones stay so", "revoke", `{"user":"alice","all":true}`, "a keep", true, "a keep c"},
		{"all resumed, but for the revoked", "resume", `{"all":true,"dry_run":false}`, "", false, "a keep c"},
		{"all revoked", "revoke", `{"all":true,"dry_run":false}`, "a keep c", false, ""},
	}
	for _, tt := range steps {
		result := post[admin.BulkResult](t, g, "tokens/"+tt.what, tt.body, 200)
		if got := names(result.Tokens); got != tt.want || result.DryRun != tt.dry {
			t.Errorf("%s: %q, dry run %v, want %q, %v", tt.name, got, result.DryRun, tt.want, tt.dry)
		}
		if got := names(get[admin.TokenList](t, g, "GET", "/crumbgate/tokens?state=active", "", 200).Tokens); got != tt.left {
			t.Errorf("%s: %q are active then, want %q", tt.name, got, tt.left)
		}
	}
}

func TestDisabledUser(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"alice","name":"deploy"}`)
	for _, tt := range []struct{ body, since, state string }{
		{`{"disabled":true}`, `,"disabled":"2026-11-23T12:00:00Z"`, "owner disabled"},
		{`{"disabled":true}`, `,"disabled":"2026-11-23T12:00:00Z"`, "owner disabled"}, // since the first time
		{`{"mail":"a@example.com"}`, `,"disabled":"2026-11-23T12:00:00Z"`, "owner disabled"},
		{`{"disabled":false}`, "", "active"},
	} {
		got := ask(t, g, "PATCH", "/crumbgate/users?id=ALICE", tt.body).Body.String()
		if !strings.HasSuffix(got, `"display_name":""`+tt.since+"}\n") {
			t.Errorf("%s: %s, want %q at its end", tt.body, got, tt.since)
		}
		if shown := get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+made.ID, "", 200); shown.State != tt.state {
			t.Errorf("%s: the token is %s, want %s", tt.body, shown.State, tt.state)
		}
		g.now = g.now.Add(time.Minute)
	}
}

func TestReport(t *testing.T) {
	g := newGateway(t)
	digest := func(b byte) string { return strings.Repeat(hex.EncodeToString([]byte{b}), 32) }
	post[admin.ImportResult](t, g, "import", `{"tokens":[{"user":"dave","name":"legacy","legacy":true,"digest":"`+digest(1)+`"},
		{"user":"dave","name":"imported","created":"2025-01-01T00:00:00Z","uses":1,"last_use":"2026-11-01T00:00:00Z","digest":"`+digest(2)+`"}]}`, 200)
	create(t, g, `{"user":"alice","name":"unending","expires":"never","scopes":["admin"]}`)
	g.now = start.Add(-163 * time.Hour)
	create(t, g, `{"user":"alice","name":"expiring","expires":"7d","scopes":["read"]}`)
	g.now = start
	create(t, g, `{"user":"alice","name":"new","expires":"7d","scopes":["read"]}`)
	g.find(t, create(t, g, `{"user":"alice","name":"wide","scopes":["read"]}`).Token).Observe(policy.Classify("GET", "/job/a/api/json", ""))
	g.find(t, create(t, g, `{"user":"alice","name":"right","scopes":["read:a"]}`).Token).Observe(policy.Classify("GET", "/job/a/api/json", ""))
	create(t, g, `{"user":"alice","name":"observed","scopes":["read"],"observe":true}`)
	paused := create(t, g, `{"user":"bob","name":"paused"}`)
	post[admin.Token](t, g, "tokens/"+paused.ID+"/suspend", `{}`, 200)
	create(t, g, `{"user":"carol","name":"left"}`)
	get[admin.User](t, g, "PATCH", "/crumbgate/users?id=carol", `{"disabled":true}`, 200)
	gone := create(t, g, `{"user":"bob","name":"gone"}`)
	get[admin.Token](t, g, "DELETE", "/crumbgate/tokens/"+gone.ID, "", 200)

	report := get[admin.Report](t, g, "GET", "/crumbgate/report", "", 200)
	want := map[string]string{
		"legacy": "legacy", "old": "imported", "ageing": "", "never_used": "", "expiring": "expiring",
		"over_privileged": "observed wide", "unending": "unending imported", "unlimited": "imported",
		"disabled_users": "left", "suspended": "paused",
	}
	for _, c := range report.Categories {
		if got := names(c.Tokens); got != want[c.Name] || c.Count != len(c.Tokens) {
			t.Errorf("%s: %d tokens, %q, want %q", c.Name, c.Count, got, want[c.Name])
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		t.Errorf("the report does not have %v", want)
	}
	if report.Tokens != 10 || report.Warnings != 5 || !strings.Contains(report.Legacy, "1 token from before Jenkins 2.129") {
		t.Errorf("%d tokens, %d warnings, %q, want 10 and 5, and a warning of legacy tokens", report.Tokens, report.Warnings, report.Legacy)
	}
	g.now = start.Add(10 * 24 * time.Hour)
	report = get[admin.Report](t, g, "GET", "/crumbgate/report?limit=1", "", 200)
	for _, c := range report.Categories {
		if c.Name == "never_used" && (c.Count != 4 || len(c.Tokens) != 1) {
			t.Errorf("never used: %d tokens, of which %d are listed, want 4 and 1", c.Count, len(c.Tokens))
		}
	}
}

// What one gateway exports another takes, and both know the same secrets.
func TestExportAndImport(t *testing.T) {
	from, to := newGateway(t), newGateway(t)
	made := create(t, from, `{"user":"alice","name":"deploy","expires":"30d"}`)
	from.find(t, made.Token).Use(usage.Use{Time: from.now, Addr: "192.0.2.7"})
	create(t, from, `{"user":"bob","name":"ci","expires":"never"}`)
	limited := create(t, from, `{"user":"carol","name":"limited","rate":1}`)
	paused := create(t, from, `{"user":"alice","name":"paused"}`)
	post[admin.Token](t, from, "tokens/"+paused.ID+"/suspend", `{}`, 200)
	gone := create(t, from, `{"user":"alice","name":"gone"}`)
	get[admin.Token](t, from, "DELETE", "/crumbgate/tokens/"+gone.ID, "", 200)
	create(t, from, `{"user":"dave","name":"left"}`)
	get[admin.User](t, from, "PATCH", "/crumbgate/users?id=dave", `{"disabled":true}`, 200)

	list := get[admin.ExportList](t, from, "GET", "/crumbgate/export?actor=root", "", 200)
	if len(list.Tokens) != 3 || list.Tokens[0].ID != made.ID || list.Tokens[0].Uses != 1 || list.Tokens[2].ID != limited.ID || !list.Tokens[2].Limited {
		t.Fatalf("exported %+v, want the three that are let in", list.Tokens)
	}
	if one := get[admin.ExportList](t, from, "GET", "/crumbgate/export?user=BOB", "", 200); len(one.Tokens) != 1 || one.Tokens[0].User != "bob" {
		t.Errorf("exported %+v, want bob's", one.Tokens)
	}
	if !strings.Contains(from.log.String(), `"msg":"token exported"`) || !strings.Contains(from.log.String(), `"actor":"root"`) {
		t.Errorf("the log does not tell of the export: %s", from.log)
	}

	for _, dry := range []bool{true, false, false} {
		body, err := json.Marshal(admin.ImportRequest{Tokens: list.Tokens[:2], DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		before := to.directory.Len()
		result := post[admin.ImportResult](t, to, "import", string(body), 200)
		want := "taken"
		if before > 0 {
			want = "present"
		}
		for i, out := range result.Outcomes {
			if out.Outcome != want || out.ID != list.Tokens[i].ID {
				t.Errorf("outcome %+v, want %s of %s", out, want, list.Tokens[i].ID)
			}
		}
		if n := to.directory.Len() - before; n != 0 && (dry || before > 0) {
			t.Errorf("%d tokens are new, want none", n)
		}
	}
	digest, err := token.Parse(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if found := to.directory.Find(digest); found == nil || found.Admit(to.now) != "" || found.Uses().Count != 1 || found.Record().Origin != token.FromJenkins {
		t.Errorf("the other gateway does not know the token")
	}
}

// Digests are in the answers of exports alone.
func TestDigestsStay(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"alice","name":"deploy","scopes":["read"],"observe":true}`)
	one := "tokens/" + made.ID
	first, err := token.Parse(made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	imported := strings.Repeat("ab", 32)
	var said strings.Builder
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "import", `{"tokens":[{"user":"bob","name":"x","digest":"` + imported + `"}]}`},
		{"POST", "import", `{"tokens":[{"user":"bob","name":"x","digest":"` + imported + `"}],"dry_run":true}`},
		{"GET", "tokens?all=true", ""},
		{"GET", "report", ""},
		{"POST", one + "/rename", `{"name":"x"}`},
		{"PATCH", one + "/limits", `{"rate":1}`},
		{"POST", one + "/rotate", `{}`},
		{"POST", one + "/suspend", `{}`},
		{"POST", one + "/resume", `{}`},
		{"POST", "tokens/suspend", `{"all":true,"dry_run":false}`},
		{"POST", "tokens/resume", `{"all":true,"dry_run":false}`},
		{"POST", "tokens/revoke", `{"all":true,"dry_run":false}`},
	} {
		w := ask(t, g, tt.method, "/crumbgate/"+tt.target, tt.body)
		if w.Code >= 300 {
			t.Errorf("%s %s = %d %s", tt.method, tt.target, w.Code, w.Body)
		}
		said.WriteString(w.Body.String())
	}
	for where, text := range map[string]string{"an answer": said.String(), "the log": g.log.String()} {
		for _, digest := range []string{hexOf(first), imported} {
			if strings.Contains(strings.ToLower(text), digest) {
				t.Errorf("%s holds a digest", where)
			}
		}
		if strings.Contains(text, made.Secret) {
			t.Errorf("%s holds the first secret", where)
		}
	}
}

// Of two who rotate a token at once one gets the new one; the other is told so.
func TestRotateAtOnce(t *testing.T) {
	g := newGateway(t)
	for range 20 {
		made := create(t, g, `{"user":"alice"}`)
		var wg sync.WaitGroup
		codes := make([]int, 4)
		for i := range codes {
			wg.Go(func() { codes[i] = ask(t, g, "POST", "/crumbgate/tokens/"+made.ID+"/rotate", `{}`).Code })
		}
		wg.Wait()
		slices.Sort(codes)
		if !slices.Equal(codes, []int{201, 409, 409, 409}) {
			t.Fatalf("rotated at once: %v, want 201 once and else 409", codes)
		}
		g.now = g.now.Add(48 * time.Hour) // the name is made up from it
	}
}

// Whatever comes first, a token that was revoked stays so, with one of its names.
func TestRenameAndRevokeAtOnce(t *testing.T) {
	g := newGateway(t)
	for i := range 20 {
		made := create(t, g, fmt.Sprintf(`{"user":"alice","name":"n%d"}`, i))
		var wg sync.WaitGroup
		var renamed, revoked int
		wg.Go(func() {
			renamed = ask(t, g, "POST", "/crumbgate/tokens/"+made.ID+"/rename", fmt.Sprintf(`{"name":"m%d"}`, i)).Code
		})
		wg.Go(func() { revoked = ask(t, g, "DELETE", "/crumbgate/tokens/"+made.ID, "").Code })
		wg.Wait()
		name := fmt.Sprintf("n%d", i)
		if renamed == 200 {
			name = fmt.Sprintf("m%d", i)
		} else if renamed != 409 {
			t.Fatalf("renamed: %d, want 200 or 409", renamed)
		}
		if got := get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+made.ID, "", 200); revoked != 200 || got.State != "revoked" || got.Name != name {
			t.Fatalf("revoked: %d, then %+v, want it revoked with the name %s", revoked, got, name)
		}
	}
}

// Changes of different limits at once are all kept.
func TestLimitAtOnce(t *testing.T) {
	g := newGateway(t)
	for i := range 20 {
		made := create(t, g, fmt.Sprintf(`{"user":"alice","name":"n%d"}`, i))
		var wg sync.WaitGroup
		for _, body := range []string{`{"rate":5}`, `{"sources":["10.0.0.0/8"]}`, `{"max_uses":7}`} {
			wg.Go(func() { ask(t, g, "PATCH", "/crumbgate/tokens/"+made.ID+"/limits", body) })
		}
		wg.Wait()
		if got := get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+made.ID, "", 200); got.Rate != 5 || got.MaxUses != 7 || len(got.Sources) != 1 {
			t.Fatalf("limits %+v, want all three", got.Limits)
		}
	}
}

// What can't be audited is not done; what is done is audited with its way and
// address.
func TestAudit(t *testing.T) {
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var broken error
	var events []token.Event
	d, err := token.Open(t.Context(), store, token.Config{
		Log: slog.New(slog.DiscardHandler),
		Audit: func(_ context.Context, e ...token.Event) (storage.Change, error) {
			events = append(events, e...)
			return storage.Change{}, broken
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	h := admin.NewHandler(admin.Config{Directory: func() (*token.Directory, error) { return d, nil }})
	made := create(t, h, `{"user":"alice","name":"deploy","actor":"root"}`)
	if len(events) != 1 || events[0].Actor != (token.Actor{Name: "root", Via: "admin api", Addr: "192.0.2.1:1234"}) {
		t.Errorf("audited %+v", events)
	}
	broken = errors.New("no space left on device")
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "tokens", `{"user":"alice"}`},
		{"POST", "tokens/" + made.ID + "/rename", `{"name":"x"}`},
		{"POST", "tokens/" + made.ID + "/rotate", `{}`},
		{"PATCH", "tokens/" + made.ID + "/limits", `{"rate":1}`},
		{"PATCH", "users?id=alice", `{"mail":"a@example.org"}`},
		{"GET", "export", ""},
	} {
		failure := get[admin.Error](t, h, tt.method, "/crumbgate/"+tt.target, tt.body, 503)
		if !strings.Contains(failure.Text, "can't be audited: no space left on device") {
			t.Errorf("%s %s: %q", tt.method, tt.target, failure.Text)
		}
	}
	if got := get[admin.Token](t, h, "GET", "/crumbgate/tokens/"+made.ID, "", 200); got.State != "active" || got.Name != "deploy" || got.Rate != 0 {
		t.Errorf("the token is %+v, want it unchanged", got)
	}
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "tokens/" + made.ID + "/suspend", `{}`},
		{"PATCH", "users?id=alice", `{"disabled":true}`},
		{"POST", "tokens/revoke", `{"user":"alice","dry_run":false}`},
		{"DELETE", "tokens/" + made.ID, ""},
	} {
		if w := ask(t, h, tt.method, "/crumbgate/"+tt.target, tt.body); w.Code >= 300 {
			t.Errorf("%s %s, which takes rights away: %d %s", tt.method, tt.target, w.Code, w.Body)
		}
	}
	if got := get[admin.Token](t, h, "GET", "/crumbgate/tokens/"+made.ID, "", 200); got.State != "revoked" {
		t.Errorf("the token is %+v, want it revoked", got)
	}
}

func TestClientOfChanges(t *testing.T) {
	g := newGateway(t)
	c, ctx := clientOf(t, g), t.Context()
	made, err := c.CreateToken(ctx, admin.CreateRequest{User: "alice", Name: "a", Limits: admin.Limits{Rate: 5}})
	if err != nil || made.Rate != 5 {
		t.Fatalf("made %+v, %v", made, err)
	}
	if got, err := c.RenameToken(ctx, made.ID, admin.RenameRequest{Name: "b"}); err != nil || got.Name != "b" {
		t.Errorf("RenameToken = %+v, %v", got, err)
	}
	if got, err := c.LimitToken(ctx, made.ID, admin.LimitsUpdate{Rate: new(uint32)}); err != nil || got.Rate != 0 {
		t.Errorf("LimitToken = %+v, %v", got, err)
	}
	if got, err := c.SuspendToken(ctx, made.ID, admin.StateRequest{Why: "x"}); err != nil || got.State != "suspended" {
		t.Errorf("SuspendToken = %+v, %v", got, err)
	}
	if got, err := c.ResumeToken(ctx, made.ID, admin.StateRequest{}); err != nil || got.State != "active" {
		t.Errorf("ResumeToken = %+v, %v", got, err)
	}
	if _, err := c.SuggestScopes(ctx, made.ID); err == nil || !strings.Contains(err.Error(), "isn't observed") {
		t.Errorf("SuggestScopes: %v", err)
	}
	rotated, err := c.RotateToken(ctx, made.ID, admin.Rotation{Overlap: "1h"})
	if err != nil || rotated.Old.ID != made.ID || rotated.Secret == "" {
		t.Errorf("RotateToken = %+v, %v", rotated, err)
	}
	if got, err := c.DisableUser(ctx, "alice", true, "root"); err != nil || got.Disabled == 0 {
		t.Errorf("DisableUser = %+v, %v", got, err)
	}
	if got, err := c.Report(ctx, -1); err != nil || got.Tokens != 2 {
		t.Errorf("Report = %+v, %v", got, err)
	}
	if got, err := c.DisableUser(ctx, "alice", false, "root"); err != nil || got.Disabled != 0 {
		t.Errorf("DisableUser = %+v, %v", got, err)
	}
	var exported []admin.TransferToken
	for item, err := range c.Export(ctx, "alice", false, "root") {
		if err != nil {
			t.Fatal(err)
		}
		exported = append(exported, item)
	}
	if result, err := c.ImportTokens(ctx, admin.ImportRequest{Tokens: exported}); err != nil || len(result.Outcomes) != 2 || result.Outcomes[0].Outcome != "present" {
		t.Errorf("ImportTokens of %d = %+v, %v", len(exported), result, err)
	}
	for token, err := range c.RevokeTokens(ctx, admin.BulkRequest{Filter: admin.Filter{User: "alice"}}) {
		if err != nil || token.State != "active" {
			t.Errorf("RevokeTokens, dry: %+v, %v", token, err)
		}
	}
	for _, err := range c.RevokeTokens(ctx, admin.BulkRequest{}) {
		if refused := (*admin.Error)(nil); !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("RevokeTokens of all: %v", err)
		}
	}
	if got, err := c.RevokeTokenFor(ctx, made.ID, "lost", "root"); err != nil || got.Why != "lost" {
		t.Errorf("RevokeTokenFor = %+v, %v", got, err)
	}
}

// A list that does not come in full is an error, whatever came before.
func TestClientOfHalfAList(t *testing.T) {
	row := `{"id":"` + someID + `","user":"alice","name":"x"}`
	for _, tt := range []struct {
		name, answer string
		rows         int
		want         string
	}{
		{"no list", `{"status":"ok"}`, 0, "is it of another version?"},
		{"a page", `<html>`, 0, "is it of another version?"},
		{"cut within a row", `{"tokens":[` + row + `,{"id":"`, 1, "not complete"},
		{"cut after a row", `{"tokens":[` + row, 1, "not complete"},
		{"another row", `{"tokens":[` + row + `,[]]}`, 1, "not complete"},
		{"a row without end", `{"tokens":[` + row + `,{"id":"` + strings.Repeat("x", 3<<20), 1, "not complete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, tt.answer) }))
			rows := 0
			var last error
			for _, err := range c.List(t.Context(), admin.Query{}) {
				if last = err; err == nil {
					rows++
				}
			}
			if rows != tt.rows || last == nil || !strings.Contains(last.Error(), tt.want) {
				t.Errorf("%d rows and %v, want %d and an error with %q", rows, last, tt.rows, tt.want)
			}
		})
	}
}

// The first rows are there before the last are made.
func TestListIsStreamed(t *testing.T) {
	more := make(chan bool)
	defer close(more)
	c := clientOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"tokens":[{"id":"`+someID+`"}`)
		w.(http.Flusher).Flush()
		<-more
	}))
	for token, err := range c.List(t.Context(), admin.Query{}) {
		if err != nil || token.ID != someID {
			t.Errorf("%+v, %v", token, err)
		}
		break
	}
}

// BenchmarkList100000 lists 100,000 tokens, to the first row and to the end.
func BenchmarkList100000(b *testing.B) {
	g := newGateway(b)
	const tokens = 100_000
	for from := 0; from < tokens; from += token.MaxImport {
		var list []token.Import
		for i := from; i < min(from+token.MaxImport, tokens); i++ {
			item := token.Import{User: fmt.Sprintf("user%d", i%1000), Name: fmt.Sprintf("token %d", i), Created: start.Unix()}
			item.Digest = token.Digest{byte(i), byte(i >> 8), byte(i >> 16), 1}
			list = append(list, item)
		}
		if _, err := g.directory.Import(b.Context(), list, false, "bench"); err != nil {
			b.Fatal(err)
		}
	}
	server := httptest.NewServer(g)
	defer server.Close()
	for _, query := range []url.Values{{}, {"sort": {"-last_used"}}, {"user": {"user7"}}} {
		b.Run("query="+query.Encode(), func(b *testing.B) {
			var first time.Duration
			for b.Loop() {
				began := time.Now()
				resp, err := http.Get(server.URL + "/crumbgate/tokens?" + query.Encode())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, make([]byte, 200)); err != nil {
					b.Fatal(err)
				}
				first += time.Since(began)
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
			b.ReportMetric(float64(first.Milliseconds())/float64(b.N), "ms-to-first-row")
		})
	}
}

// Idle tokens are resumed by a filter like suspended ones.
func TestResumingIdleTokens(t *testing.T) {
	g := newGateway(t)
	g.directory.SetRules(token.Rules{MaxIdle: time.Hour})
	made := create(t, g, `{"user":"alice","name":"idle"}`)
	g.now = g.now.Add(2 * time.Hour)
	if shown := get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+made.ID, "", 200); shown.State != "idle" {
		t.Errorf("the state is %s", shown.State)
	}
	if got := post[admin.BulkResult](t, g, "tokens/resume", `{"state":"idle","dry_run":false}`, 200); len(got.Tokens) != 1 || got.Tokens[0].State != "active" {
		t.Errorf("resumed: %+v", got.Tokens)
	}
}
