package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway"
	"github.com/crumbgate/crumbgate/gateway/token"
)

const tokenEndpoint = "/descriptorByName/jenkins.security.ApiTokenProperty/"

// newTokenAPI is a site whose gateway answers for tokens, and for which carol and
// all of ops are admins.
func newTokenAPI(t *testing.T, api gateway.TokenAPI) *site {
	t.Helper()
	var s *site
	s = newPeopleSite(t, options{gate: func(c *gateway.Config) {
		c.TokenAPI = api
		c.Tokens = func() (*token.Directory, error) { return s.directory, nil }
		c.Admins = []string{"Carol", "group:ops"}
		c.PagesPrefix = "/crumbgate/"
		c.Pages = func(http.ResponseWriter, *http.Request, *token.Profile, string) {}
	}})
	return s
}

// manage sends a form to an endpoint.
func (s *site) manage(auth, path string, form url.Values) answer {
	s.t.Helper()
	return s.send("POST", path, form.Encode(), auth, "Content-Type: application/x-www-form-urlencoded")
}

type tokenData struct {
	Status, Message string
	Data            struct {
		TokenName, TokenUUID, TokenValue, ExpirationDate string
		AboutToExpire                                    bool
	}
}

func (s *site) data(a answer) (d tokenData) {
	s.t.Helper()
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json;charset=utf-8" {
		s.t.Fatalf("answer %s", a.dump())
	}
	if err := json.Unmarshal([]byte(a.body), &d); err != nil {
		s.t.Fatalf("%v in %s", err, a.body)
	}
	return d
}

func TestGenerateNewToken(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	auth := s.auth("alice")
	for _, c := range []struct {
		name, path string
		form       url.Values
		want       string // of expirationDate
		named      string
	}{
		{"as before 2.548", "/user/alice" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {"ci"}}, "2/21/27", "ci"},
		{"the same name again", "/me" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {"ci"}}, "2/21/27", "ci (2)"},
		{"another spelling of the user", "/user/ALICE" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {"x"}, "expirationDuration": {"never"}}, "never", "x"},
		{"by the realm", "/securityRealm/user/alice" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {"y"}, "expirationDuration": {"7"}}, "11/30/26", "y"},
		{"a date", "/me" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {"z"}, "expirationDuration": {"custom"}, "tokenExpiration": {"2026-12-31"}}, "12/31/26", "z"},
		{"blanks in the name", "/me" + tokenEndpoint + "generateNewToken", url.Values{"newTokenName": {" w "}}, "2/21/27", "w"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.data(s.manage(auth, c.path, c.form))
			if d.Status != "ok" || d.Data.TokenName != c.named || d.Data.ExpirationDate != c.want {
				t.Errorf("got %+v", d)
			}
			if len(d.Data.TokenValue) != 34 || !strings.HasPrefix(d.Data.TokenValue, "11") {
				t.Errorf("the value %q is not in Jenkins' shape", d.Data.TokenValue)
			}
			// It is a token like any other, from now on.
			if a := s.send("GET", "/whoAmI/api/json", "", "Authorization: "+basicAuth("alice", d.Data.TokenValue)); !strings.Contains(a.body, `"name":"alice"`) {
				t.Errorf("with it: %s", a.dump())
			}
			s.hides("alice", d.Data.TokenValue)
		})
	}
	if n := len(s.received("POST")); n != 0 {
		t.Errorf("Jenkins got %d POSTs", n)
	}
	// The parameters may stand in the query, as in the handbook.
	if d := s.data(s.manage(auth, "/me"+tokenEndpoint+"generateNewToken?newTokenName=q", nil)); d.Data.TokenName != "q" {
		t.Errorf("got %+v", d)
	}
	// A blank name is made up, as in Jenkins.
	if d := s.data(s.manage(auth, "/me"+tokenEndpoint+"generateNewToken", url.Values{"newTokenName": {""}})); !strings.HasPrefix(d.Data.TokenName, "Token created on 2026-") {
		t.Errorf("got %+v", d)
	}
}

func TestTokenAPIRefusesBadInput(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	auth := s.auth("alice")
	before := s.directory.Len()
	for _, c := range []struct {
		name, method string
		form         url.Values
		want         string
	}{
		{"a date in the past", "generateNewToken", url.Values{"newTokenName": {"a"}, "expirationDuration": {"custom"}, "tokenExpiration": {"2026-01-01"}}, "in the past"},
		{"a date in words", "generateNewToken", url.Values{"newTokenName": {"a"}, "expirationDuration": {"custom"}, "tokenExpiration": {"tomorrow"}}, "not understood"},
		{"no number of days", "generateNewToken", url.Values{"newTokenName": {"a"}, "expirationDuration": {"many"}}, "neither a number of days"},
		{"negative days", "generateNewToken", url.Values{"newTokenName": {"a"}, "expirationDuration": {"-1"}}, "neither a number of days"},
		{"a name of a control character", "addFixedToken", url.Values{"newTokenName": {"a\x00b"}, "newTokenPlainValue": {bothKnow}}, "control or invisible"},
		{"a fixed value too long", "addFixedToken", url.Values{"newTokenName": {"a"}, "newTokenPlainValue": {bothKnow + "0"}}, "11 and 32 hex digits"},
		{"a fixed value with g", "addFixedToken", url.Values{"newTokenName": {"a"}, "newTokenPlainValue": {bothKnow[:33] + "g"}}, "11 and 32 hex digits"},
		{"a fixed value with 12", "addFixedToken", url.Values{"newTokenName": {"a"}, "newTokenPlainValue": {"12" + bothKnow[2:]}}, "11 and 32 hex digits"},
		{"rename without a name", "rename", url.Values{"tokenUuid": {uuid.NewString()}}, "The name cannot be empty"},
		{"rename without a token", "rename", url.Values{"newName": {"b"}}, "The tokenUuid cannot be empty"},
		{"rename of an unknown token", "rename", url.Values{"newName": {"b"}, "tokenUuid": {uuid.NewString()}}, "No token found, try refreshing the page"},
		{"rename of what is no id", "rename", url.Values{"newName": {"b"}, "tokenUuid": {"x"}}, "No token found, try refreshing the page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.data(s.manage(auth, "/me"+tokenEndpoint+c.method, c.form))
			if d.Status != "error" || !strings.Contains(d.Message, c.want) {
				t.Errorf("got %+v, want %q", d, c.want)
			}
		})
	}
	if a := s.manage(auth, "/me"+tokenEndpoint+"generateNewToken", url.Values{"newTokenName": {strings.Repeat("n", 1<<20)}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a name of 1 MiB: %s", a.dump())
	}
	if got := s.directory.Len(); got != before {
		t.Errorf("%d tokens were made", got-before)
	}
}

// A parameter that is there twice says two things, in the form, in the query or in both. Nothing is done then.
func TestTokenAPIRefusesRepeatedParameters(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	auth := s.auth("alice")
	made := s.data(s.manage(auth, "/me"+tokenEndpoint+"generateNewToken", url.Values{"newTokenName": {"kept"}}))
	id := made.Data.TokenUUID
	before := s.directory.Len()
	for _, c := range []struct {
		name, call string
		form       url.Values
		want       string
	}{
		{"two names in the form", "generateNewToken", url.Values{"newTokenName": {"a", "b"}}, "newTokenName"},
		{"a name in the query and one in the form", "generateNewToken?newTokenName=a", url.Values{"newTokenName": {"b"}}, "newTokenName"},
		{"the same name twice", "generateNewToken?newTokenName=a", url.Values{"newTokenName": {"a"}}, "newTokenName"},
		{"two names in the query", "generateNewToken?newTokenName=a&newTokenName=b", nil, "newTokenName"},
		{"a name in another case", "generateNewToken", url.Values{"newTokenName": {"a"}, "NewTokenName": {"b"}}, "newTokenName"},
		{"two lives", "generateNewToken?expirationDuration=never", url.Values{"newTokenName": {"a"}, "expirationDuration": {"1"}}, "expirationDuration"},
		{"two dates", "generateNewToken", url.Values{"newTokenName": {"a"}, "expirationDuration": {"custom"}, "tokenExpiration": {"2026-12-01", "2027-12-01"}}, "tokenExpiration"},
		{"two values", "addFixedToken", url.Values{"newTokenName": {"a"}, "newTokenPlainValue": {bothKnow, bothKnow}}, "newTokenPlainValue"},
		{"two new names", "rename?newName=a", url.Values{"newName": {"b"}, "tokenUuid": {id}}, "newName"},
		{"two tokens to rename", "rename?tokenUuid=" + id, url.Values{"newName": {"b"}, "tokenUuid": {uuid.NewString()}}, "tokenUuid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := s.data(s.manage(auth, "/me"+tokenEndpoint+c.call, c.form))
			if d.Status != "error" || !strings.Contains(d.Message, c.want+" was sent more than once") {
				t.Errorf("got %+v", d)
			}
		})
	}
	for _, method := range []string{"revoke", "revokeAllExcept", "revokeAll"} {
		if a := s.manage(auth, "/me"+tokenEndpoint+method+"?tokenUuid="+uuid.NewString(), url.Values{"tokenUuid": {id}}); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "tokenUuid") {
			t.Errorf("%s of two tokens: %s", method, a.dump())
		}
	}
	if got := s.directory.Len(); got != before {
		t.Errorf("%d tokens were made", got-before)
	}
	for _, kept := range s.directory.List(func(t *token.Token) bool { return t.Record().ID.String() == id }) {
		if r := kept.Record(); r.Name != "kept" || r.State != token.Active {
			t.Errorf("the token is now %q, %v", r.Name, r.State)
		}
	}
}

func TestAddRenameRevoke(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	auth := s.auth("alice")
	active := func(user string) (names []string) {
		for _, found := range s.directory.List(func(t *token.Token) bool {
			return t.Record().Owner == token.Record{}.Owner || string(t.Record().Owner) == user
		}) {
			if found.Record().State == token.Active {
				names = append(names, found.Record().Name)
			}
		}
		return names
	}
	added := s.data(s.manage(auth, "/me"+tokenEndpoint+"addFixedToken", url.Values{"newTokenName": {"fixed"}, "newTokenPlainValue": {strings.ToUpper(bothKnow)}}))
	if added.Status != "ok" || added.Data.TokenValue != "" {
		t.Errorf("addFixedToken: %+v", added)
	}
	if a := s.send("GET", "/whoAmI/api/json", "", "Authorization: "+basicAuth("alice", bothKnow)); a.StatusCode != http.StatusOK {
		t.Errorf("with the fixed token: %s", a.dump())
	}
	if d := s.data(s.manage(auth, "/me"+tokenEndpoint+"addFixedToken", url.Values{"newTokenName": {"again"}, "newTokenPlainValue": {bothKnow}})); d.Status != "error" {
		t.Errorf("the same value again: %+v", d)
	}
	if a := s.manage(auth, "/me"+tokenEndpoint+"rename", url.Values{"tokenUuid": {added.Data.TokenUUID}, "newName": {"renamed"}}); a.body != `{"status":"ok"}` {
		t.Errorf("rename: %s", a.dump())
	}
	if got := active("alice"); !slices.Contains(got, "renamed") || slices.Contains(got, "fixed") {
		t.Errorf("names are %q", got)
	}

	// Others may not, but for admins, who may not make tokens for others either.
	bob, carol := s.auth("bob"), s.auth("carol")
	for _, method := range []string{"generateNewToken", "addFixedToken", "rename", "revoke", "revokeAll", "revokeAllExcept", "changeToken"} {
		if a := s.manage(bob, "/user/alice"+tokenEndpoint+method, url.Values{"tokenUuid": {added.Data.TokenUUID}, "newName": {"stolen"}}); a.StatusCode != http.StatusForbidden || a.body != "" {
			t.Errorf("%s by bob: %s", method, a.dump())
		}
	}
	if a := s.manage(carol, "/user/alice"+tokenEndpoint+"generateNewToken", nil); a.StatusCode != http.StatusForbidden {
		t.Errorf("generateNewToken by an admin: %s", a.dump())
	}
	if a := s.manage(bob, "/me"+tokenEndpoint+"revoke", url.Values{"tokenUuid": {added.Data.TokenUUID}}); a.StatusCode != http.StatusOK || !slices.Contains(active("alice"), "renamed") {
		t.Errorf("bob revokes alice's as his own: %s; alice has %q", a.dump(), active("alice"))
	}
	for _, c := range []struct {
		form   url.Values
		status int
	}{
		{url.Values{}, 400},
		{url.Values{"tokenUuid": {uuid.NewString()}}, 200}, // as in Jenkins
		{url.Values{"tokenUuid": {"x"}}, 200},
		{url.Values{"tokenUuid": {added.Data.TokenUUID}}, 200},
		{url.Values{"tokenUuid": {added.Data.TokenUUID}}, 200},
	} {
		if a := s.manage(carol, "/user/alice"+tokenEndpoint+"revoke", c.form); a.StatusCode != c.status {
			t.Errorf("revoke %v: %s", c.form, a.dump())
		}
	}
	if slices.Contains(active("alice"), "renamed") {
		t.Error("the revoked token is active")
	}

	kept := s.data(s.manage(auth, "/me"+tokenEndpoint+"generateNewToken", url.Values{"newTokenName": {"kept"}}))
	if a := s.manage(carol, "/user/alice"+tokenEndpoint+"revokeAllExcept", url.Values{"tokenUuid": {kept.Data.TokenUUID}}); a.StatusCode != http.StatusOK || !reflect.DeepEqual(active("alice"), []string{"kept"}) {
		t.Errorf("revokeAllExcept: %s; alice has %q", a.dump(), active("alice"))
	}
	if a := s.manage(carol, "/user/alice"+tokenEndpoint+"revokeAll", nil); a.StatusCode != http.StatusOK || active("alice") != nil {
		t.Errorf("revokeAll: %s; alice has %q", a.dump(), active("alice"))
	}
	if a := s.manage(carol, "/user/bob"+tokenEndpoint+"changeToken", nil); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "can't be made any more") {
		t.Errorf("changeToken: %s", a.dump())
	}
	if n := len(s.received("POST")); n != 0 {
		t.Errorf("Jenkins got %d POSTs", n)
	}
}

// A token with limits makes no token without.
func TestMintedTokensInheritLimits(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	secret := s.tokenAs(token.Request{User: "alice", Limits: &token.Limits{Sources: []string{"127.0.0.0/8"}, Rate: 1000}})
	d := s.data(s.manage("Authorization: "+basicAuth("alice", secret), "/me"+tokenEndpoint+"generateNewToken", nil))
	digest, err := token.Parse(d.Data.TokenValue)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.directory.Find(digest).Record().Limits.String(); got != "sources=127.0.0.0/8 rate=1000/min" {
		t.Errorf("it has %s", got)
	}
}

// Every way to the descriptor is found, however it is written.
func TestTokenAPIWays(t *testing.T) {
	ways := []struct {
		path     string
		answered bool
	}{
		{"/me" + tokenEndpoint + "generateNewToken", true},
		{"/me" + tokenEndpoint + "generateNewToken/more", true},
		{"/static/x/me" + tokenEndpoint + "generateNewToken", true},
		{"//me/./descriptorByName//jenkins.security.ApiTokenProperty/x/../generateNewToken", true},
		{"/me/descriptorByName/ApiTokenProperty/generateNewToken", true},
		{"/me/descriptorByName/jenkins.security.%41piTokenProperty/generateNewToken", true},
		{"/manage/me" + tokenEndpoint + "generateNewToken", true},
		{"/manage/user/alice" + tokenEndpoint + "generateNewToken", true},
		{"/manage/manage/user/alice" + tokenEndpoint + "generateNewToken", false},
		{"/user/alice/my-views/view/all" + tokenEndpoint + "generateNewToken", false},
		{"/me/my-views/view/all/descriptor/jenkins.security.ApiTokenProperty/generateNewToken", false},
		{tokenEndpoint + "generateNewToken", false},
		{"/job/a" + tokenEndpoint + "revokeAll", false},
		{"/me" + tokenEndpoint + "somethingNew", false},
	}
	answers, refuses := newTokenAPI(t, gateway.TokenAPIAnswer), newTokenAPI(t, gateway.TokenAPIRefuse)
	byAnswer, byRefuse := answers.auth("alice"), refuses.auth("alice")
	for _, way := range ways {
		t.Run(way.path, func(t *testing.T) {
			want := http.StatusNotFound
			if way.answered {
				want = http.StatusOK
			}
			if a := answers.manage(byAnswer, way.path, nil); a.StatusCode != want {
				t.Errorf("answer: %s", a.dump())
			}
			if a := refuses.manage(byRefuse, way.path, nil); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "not made in Jenkins") {
				t.Errorf("refuse: %s", a.dump())
			}
			if way.answered {
				if a := answers.send("GET", way.path, "", byAnswer); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
					t.Errorf("by GET: %s", a.dump())
				}
			}
		})
	}
	answers.untouched()
	refuses.untouched()

	passes := newTokenAPI(t, gateway.TokenAPIPass)
	if passes.manage(passes.auth("alice"), ways[0].path, nil); len(passes.received("POST")) != 1 {
		t.Error("by default Jenkins is not asked")
	}
}

// A signed-in user makes no token at Jenkins' endpoints, since a script in any page of
// Jenkins could do so with the user's session and crumb. The answer names the page.
func TestTokenAPIRefersUsersToPages(t *testing.T) {
	s := newTokenAPI(t, gateway.TokenAPIAnswer)
	auth := s.auth("alice")
	victim := s.data(s.manage(auth, "/me"+tokenEndpoint+"generateNewToken", nil))
	alice, mallory, carol := s.browser("alice"), s.browser("mallory"), s.browser("carol")
	const form = "Content-Type: application/x-www-form-urlencoded"
	own, other, admins := alice.own(), mallory.own(), carol.own()
	before := s.directory.Len()
	for _, c := range []struct {
		name, method string
		browser      *browser
		status       int
		message      string // of an error in JSON
		headers      []string
	}{
		{"without a crumb", "generateNewToken", alice, 403, "", []string{"Sec-Fetch-Site: same-origin"}},
		{"another's crumb", "generateNewToken", alice, 403, "", []string{"Sec-Fetch-Site: same-origin", "Jenkins-Crumb: " + other}},
		{"from another site", "generateNewToken", alice, 403, "", []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Jenkins-Crumb: " + own}},
		{"as Jenkins' button does it", "generateNewToken", alice, 200, "/crumbgate/", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Jenkins-Crumb: " + own}},
		{"as a form", "generateNewToken", alice, 200, "/crumbgate/", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Jenkins-Crumb: " + own}},
		{"a fixed token", "addFixedToken", alice, 200, "/crumbgate/", []string{"Jenkins-Crumb: " + own}},
		{"rename", "rename", alice, 200, "/crumbgate/", []string{"Jenkins-Crumb: " + own}},
		// Jenkins' script takes any 200 for success here.
		{"revoke", "revoke", alice, 403, "/crumbgate/", []string{"Jenkins-Crumb: " + own}},
		{"revoke all", "revokeAll", alice, 403, "/crumbgate/", []string{"Jenkins-Crumb: " + own}},
		{"by an admin", "revokeAll", carol, 403, "/crumbgate/", []string{"Jenkins-Crumb: " + admins}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := url.Values{"newTokenName": {"button"}, "newTokenPlainValue": {bothKnow}, "newName": {"x"}, "tokenUuid": {victim.Data.TokenUUID}}.Encode()
			a := c.browser.send("POST", "/user/alice"+tokenEndpoint+c.method, strings.NewReader(body), append(c.headers, form)...)
			if a.StatusCode != c.status {
				t.Errorf("answer %s", a.dump())
			}
			if c.message != "" {
				var d tokenData
				if err := json.Unmarshal([]byte(a.body), &d); err != nil || d.Status != "error" || !strings.Contains(d.Message, c.message) {
					t.Errorf("answer %s (%v), want an error that names %s", a.dump(), err, c.message)
				}
				if line := s.log.last(); !strings.Contains(line, string(gateway.ReasonTokenAPI)) {
					t.Errorf("the log says %s", line)
				}
			}
		})
	}
	if made := s.directory.Len() - before; made != 0 {
		t.Errorf("%d tokens were made", made)
	}
	if a := s.send("GET", "/whoAmI/api/json", "", "Authorization: "+basicAuth("alice", victim.Data.TokenValue)); a.StatusCode != http.StatusOK {
		t.Errorf("the token that a token client has made: %s", a.dump())
	}
	if n := len(s.received("POST")); n != 0 {
		t.Errorf("Jenkins got %d POSTs", n)
	}
}

// A disabled admin is none, whether named or by a group.
func TestDisabledAdminIsNone(t *testing.T) {
	c := gateway.Config{Admins: []string{"carol", "group:ops"}}
	for _, p := range []token.Profile{{User: "carol"}, {User: "dave", Groups: []string{"ops"}}} {
		if !c.IsAdmin(&p) {
			t.Errorf("IsAdmin(%+v) = false", p)
		}
		if p.Disabled = 1; c.IsAdmin(&p) {
			t.Errorf("IsAdmin(%+v) = true", p)
		}
	}
}
