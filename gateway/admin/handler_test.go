package admin_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// start is when the clock of a gateway stands unless a test moves it.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const someID = "01890a5d-ac96-774b-bcce-b302099a8057"

// A gateway is the handler over a directory of its own.
type gateway struct {
	http.Handler
	directory *token.Directory
	log       *bytes.Buffer
	now       time.Time
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{log: new(bytes.Buffer), now: start}
	now := func() time.Time { return g.now }
	g.directory, err = token.Open(t.Context(), store, token.Config{
		Log: slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.directory.Close(); err != nil {
			t.Error(err)
		}
	})
	g.Handler = admin.NewHandler(admin.Config{
		Directory: func() (*token.Directory, error) { return g.directory, nil },
		Now:       now,
	})
	return g
}

// ask sends a request with a JSON body, or none if it is "".
func ask(t testing.TB, h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// get asks and decodes the answer, which must have the status.
func get[T any](t testing.TB, h http.Handler, method, target, body string, status int) (answer T) {
	t.Helper()
	w := ask(t, h, method, target, body)
	if w.Code != status {
		t.Fatalf("%s %s %s = %d %s, want %d", method, target, body, w.Code, w.Body, status)
	}
	if cc := w.Header().Get("Cache-Control"); cc != "no-store" {
		t.Errorf("%s %s: Cache-Control %q, want no-store", method, target, cc)
	}
	decoder := json.NewDecoder(w.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer
}

func create(t testing.TB, h http.Handler, body string) admin.CreatedToken {
	t.Helper()
	return get[admin.CreatedToken](t, h, "POST", "/crumbgate/tokens", body, http.StatusCreated)
}

func TestErrors(t *testing.T) {
	g := newGateway(t)
	taken := create(t, g, `{"user":"alice","name":"taken"}`)
	long := strings.Repeat("x", 300)
	tests := []struct {
		name   string
		method string
		target string // under /crumbgate/
		body   string
		status int
		text   string // part of the error
	}{
		{"no user", "POST", "tokens", `{}`, 400, "the user is empty: name the Jenkins user id"},
		{"empty user", "POST", "tokens", `{"user":""}`, 400, "the user is empty"},
		{"blank user", "POST", "tokens", `{"user":" \t"}`, 400, "the user is empty"},
		{"null instead of an object", "POST", "tokens", `null`, 400, "the user is empty"},
		{"blank around the user", "POST", "tokens", `{"user":"alice "}`, 400, "begins or ends with a blank"},
		{"nobody's user", "POST", "tokens", `{"user":"Anonymous"}`, 400, "Jenkins keeps for itself"},
		{"NUL in the user", "POST", "tokens", `{"user":"a\u0000b"}`, 400, "control or invisible character (U+0000)"},
		{"line feed in the user", "POST", "tokens", `{"user":"a\nX-Forwarded-User: root"}`, 400, "control or invisible character (U+000A)"},
		{"user is not UTF-8", "POST", "tokens", "{\"user\":\"a\xff\"}", 400, "not valid UTF-8"},
		{"half a surrogate pair in the user", "POST", "tokens", `{"user":"a\ud800"}`, 400, "U+FFFD"},
		{"long user", "POST", "tokens", `{"user":"` + long + `"}`, 400, "at most 255"},
		{"escape sequence in the name", "POST", "tokens", `{"user":"alice","name":"\u001b[2J"}`, 400, "control or invisible character (U+001B)"},
		{"long name", "POST", "tokens", `{"user":"alice","name":"` + long + `"}`, 400, "at most 128"},
		{"secret as the name", "POST", "tokens", `{"user":"alice","name":"` + taken.Secret + `"}`, 400, "names are not secret"},
		{"duplicate name", "POST", "tokens", `{"user":"alice","name":"taken"}`, 409, `alice already has a token named "taken"`},
		{"past date", "POST", "tokens", `{"user":"alice","expires":"2020-01-31"}`, 400, "is in the past: it is 2026-11-23 12:00 UTC now"},
		{"strange expiry", "POST", "tokens", `{"user":"alice","expires":"soon"}`, 400, "use a life such as 90d"},
		{"unknown format", "POST", "tokens", `{"user":"alice","format":"md5"}`, 400, "use native or jenkins"},
		{"group with the delimiter", "POST", "tokens", `{"user":"alice","groups":["a|b"]}`, 400, `holds "|"`},
		{"empty group", "POST", "tokens", `{"user":"alice","groups":[null]}`, 400, "is empty"},
		{"line feed in the mail", "POST", "tokens", `{"user":"alice","mail":"a\nb"}`, 400, "mail address"},
		{"long actor", "POST", "tokens", `{"user":"alice","actor":"` + long + `"}`, 400, "at most 128"},
		{"line feed in the actor", "POST", "tokens", `{"user":"alice","actor":"a\nb"}`, 400, "the actor"},
		{"unknown field", "POST", "tokens", `{"user":"alice","expiry":"never"}`, 400, `unknown field "expiry"`},
		{"field of another type", "POST", "tokens", `{"user":"alice","expires":90}`, 400, "not understood"},
		{"array", "POST", "tokens", `[]`, 400, "not understood"},
		{"no JSON", "POST", "tokens", `user=alice`, 400, "not understood"},
		{"half an object", "POST", "tokens", `{"user":"alice"`, 400, "not understood"},
		{"a field twice", "POST", "tokens", `{"user":"alice","user":"root"}`, 400, `the field "user" twice`},
		{"a field in another case", "POST", "tokens", `{"user":"alice","USER":"root"}`, 400, `unknown field "USER": write it as "user"`},
		{"a nested field in another case", "POST", "import", `{"tokens":[{"user":"alice","Digest":""}]}`, 400, `tokens[0] has the unknown field "Digest"`},
		{"two objects", "POST", "tokens", `{"user":"alice"}{"user":"bob"}`, 400, "goes on after its JSON object"},
		{"dirt behind the object", "POST", "tokens", `{"user":"alice"}]`, 400, "goes on after its JSON object"},
		{"64 KiB and a byte", "POST", "tokens", padded(64<<10 + 1), 413, "more than 65536 bytes"},
		{"query with a creation", "POST", "tokens?user=alice", `{"user":"alice"}`, 400, `unknown query parameter "user"`},
		{"another method for tokens", "PUT", "tokens", "", 405, "use GET, POST"},
		{"misspelt filter", "GET", "tokens?User=alice", "", 400, `unknown query parameter "User"`},
		{"filter given twice", "GET", "tokens?user=alice&user=bob", "", 400, "given twice"},
		{"empty filter", "GET", "tokens?user=", "", 400, "the user is empty"},
		{"neither true nor false", "GET", "tokens?all=perhaps", "", 400, "neither true nor false"},
		{"broken escape", "GET", "tokens?user=%zz", "", 400, "not understood"},
		{"semicolon", "GET", "tokens?user=a;all=true", "", 400, "not understood"},
		{"no token id", "GET", "tokens/deploy", "", 400, "not the id of a token"},
		{"unknown token", "GET", "tokens/" + someID, "", 404, "there is no token " + someID},
		{"no token id to revoke", "DELETE", "tokens/deploy", "", 400, "not the id of a token"},
		{"unknown token to revoke", "DELETE", "tokens/" + someID, "", 404, "there is no token " + someID},
		{"query with a token", "GET", "tokens/" + someID + "?all=true", "", 400, "unknown query parameter"},
		{"line feed in the actor who revokes", "DELETE", "tokens/" + taken.ID + "?actor=a%0Ab", "", 400, "the actor"},
		{"another method for a token", "POST", "tokens/" + taken.ID, `{}`, 405, "use DELETE, GET"},
		{"no user to show", "GET", "users?id=", "", 400, "the user is empty"},
		{"a user that nobody knows", "PATCH", "users?id=nobody", `{"disabled":true}`, 404, "no user \"nobody\" is known"},
		{"nobody to show", "GET", "users?id=SYSTEM", "", 400, "Jenkins keeps for itself"},
		{"no user to change", "PATCH", "users", `{"mail":"a@b"}`, 400, "the user is empty"},
		{"nothing to change", "PATCH", "users?id=alice", `{"mail":null}`, 400, "nothing to change"},
		{"another id in the change", "PATCH", "users?id=alice", `{"id":"bob"}`, 400, "unknown field"},
		{"long display name", "PATCH", "users?id=alice", `{"display_name":"` + long + `"}`, 400, "at most 255"},
		{"another method for health", "DELETE", "health", "", 405, "use GET"},
		{"user given twice", "GET", "users?id=alice&id=bob", "", 400, "given twice"},
		{"unknown path", "GET", "secrets", "", 404, `nothing at "/crumbgate/secrets"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			failure := get[admin.Error](t, g, tt.method, "/crumbgate/"+tt.target, tt.body, tt.status)
			if !strings.Contains(failure.Text, tt.text) {
				t.Errorf("error %q, want one with %q", failure.Text, tt.text)
			}
		})
	}
	if n := g.directory.Len(); n != 1 {
		t.Errorf("the refused requests left %d tokens, want 1", n)
	}
}

// padded returns a good request of n bytes.
func padded(n int) string {
	const body = `{"user":"alice","name":"padded"}`
	return body + strings.Repeat(" ", n-len(body))
}

func TestBodyOf64KiB(t *testing.T) {
	create(t, newGateway(t), padded(64<<10))
}

func TestContentType(t *testing.T) {
	tests := []struct {
		name        string
		contentType string
		status      int
	}{
		{"JSON", "application/json", 201},
		{"JSON with a charset", "Application/JSON; charset=utf-8", 201},
		{"none", "", 415},
		{"what a form sends", "application/x-www-form-urlencoded", 415},
		{"what a form sends to look like JSON", "text/plain", 415},
		{"beginning like JSON", "application/json-patch+json", 415},
		{"broken", "application/json; charset", 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/crumbgate/tokens", strings.NewReader(`{"user":"alice"}`))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w := httptest.NewRecorder()
			newGateway(t).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("Content-Type %q = %d %s, want %d", tt.contentType, w.Code, w.Body, tt.status)
			}
		})
	}
}

func TestAllowedMethodsAreNamed(t *testing.T) {
	w := ask(t, newGateway(t), "PUT", "/crumbgate/users?id=alice", "")
	if allow := w.Header().Get("Allow"); allow != "GET, PATCH" {
		t.Errorf("Allow: %q, want %q", allow, "GET, PATCH")
	}
}

func TestStoreIsNotOpen(t *testing.T) {
	h := admin.NewHandler(admin.Config{Directory: func() (*token.Directory, error) {
		return nil, errors.New("the configuration has no crumbgate in it")
	}})
	for _, target := range []string{"tokens", "tokens/" + someID, "users?id=alice", "health"} {
		failure := get[admin.Error](t, h, "GET", "/crumbgate/"+target, "", 503)
		const want = "the token store is not open: the configuration has no crumbgate in it"
		if failure.Text != want {
			t.Errorf("GET %s: %q, want %q", target, failure.Text, want)
		}
	}
}

func TestStoreFails(t *testing.T) {
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := token.Open(t.Context(), store, token.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := admin.NewHandler(admin.Config{Directory: func() (*token.Directory, error) { return d, nil }})
	made := create(t, h, `{"user":"alice"}`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, target, body string }{
		{"POST", "tokens", `{"user":"alice","name":"other"}`},
		{"GET", "tokens/" + made.ID, ""},
		{"DELETE", "tokens/" + made.ID, ""},
		{"PATCH", "users?id=alice", `{"mail":"a@example.com"}`},
	} {
		failure := get[admin.Error](t, h, tt.method, "/crumbgate/"+tt.target, tt.body, 503)
		if !strings.Contains(failure.Text, "store is closed") {
			t.Errorf("%s %s: %q, want the store's reason", tt.method, tt.target, failure.Text)
		}
	}
	// The index in memory is there all the same, and requests are admitted by it.
	get[admin.Health](t, h, "GET", "/crumbgate/health", "", 200)
}

func TestLifeOfAToken(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"alice","name":"deploy","expires":"2h","actor":"root"}`)
	want := admin.Token{
		ID: made.ID, User: "alice", Name: "deploy", State: "active", Origin: "issued", CreatedBy: "root",
		Created: admin.Time(start.Unix()), Expires: admin.Time(start.Add(2 * time.Hour).Unix()),
		Marks: admin.Marks{Age: "ok", LastUse: "ok", Unlimited: true},
	}
	if !reflect.DeepEqual(made.Token, want) {
		t.Errorf("made %+v, want %+v", made.Token, want)
	}
	digest, err := token.Parse(made.Secret)
	if err != nil {
		t.Fatalf("the answer's secret: %v", err)
	}
	found := g.directory.Find(digest)
	if found == nil {
		t.Fatal("the secret of the answer is not that of the token")
	}

	show := func() admin.Token {
		t.Helper()
		return get[admin.Token](t, g, "GET", "/crumbgate/tokens/"+made.ID, "", 200)
	}
	if got := show(); !reflect.DeepEqual(got, want) {
		t.Errorf("shown %+v, want %+v", got, want)
	}

	found.Use(usage.Use{Time: g.now, Addr: "192.0.2.7"})
	g.now = start.Add(time.Hour)
	found.Use(usage.Use{Time: g.now, Addr: "192.0.2.8"})
	want.Uses = admin.Uses{Count: 2, First: admin.Time(start.Unix()), Last: admin.Time(g.now.Unix()), LastAddress: "192.0.2.8"}
	if got := show(); !reflect.DeepEqual(got, want) {
		t.Errorf("used: %+v, want %+v", got, want)
	}

	g.now = start.Add(2 * time.Hour)
	want.State, want.Marks.Expiring = "expired", false
	if got := show(); !reflect.DeepEqual(got, want) {
		t.Errorf("expired: %+v, want %+v", got, want)
	}

	want.State = "revoked"
	want.Revoked = admin.Time(g.now.Unix())
	for range 2 { // the second time changes nothing
		if got := get[admin.Token](t, g, "DELETE", "/crumbgate/tokens/"+made.ID+"?actor=root", "", 200); !reflect.DeepEqual(got, want) {
			t.Errorf("revoked: %+v, want %+v", got, want)
		}
		g.now = g.now.Add(time.Minute)
	}
	if got := show(); !reflect.DeepEqual(got, want) {
		t.Errorf("shown after revoking: %+v, want %+v", got, want)
	}
}

// The JSON as others see it: names of fields, and never for 0.
func TestTokenJSON(t *testing.T) {
	g := newGateway(t)
	made := create(t, g, `{"user":"alice","name":"deploy","expires":"never"}`)
	want := `{"id":"` + made.ID + `","user":"alice","name":"deploy","state":"active","origin":"issued",` +
		`"created":"2026-11-23T12:00:00Z","expires":"never","created_by":"admin api",` +
		`"marks":{"age":"ok","last_use":"ok","unending":true,"unlimited":true},` +
		`"uses":{"count":0,"first":"never","last":"never"}}` + "\n"
	if got := ask(t, g, "GET", "/crumbgate/tokens/"+made.ID, "").Body.String(); got != want {
		t.Errorf("shown %s, want %s", got, want)
	}
	if head := ask(t, g, "HEAD", "/crumbgate/tokens/"+made.ID, ""); head.Code != 200 {
		t.Errorf("HEAD = %d", head.Code)
	}
}

func TestList(t *testing.T) {
	g := newGateway(t)
	if got := ask(t, g, "GET", "/crumbgate/tokens", "").Body.String(); got != "{\"tokens\":[]}\n" {
		t.Errorf("the empty list is %q", got)
	}
	create(t, g, `{"user":"bob","name":"one"}`)
	create(t, g, `{"user":"alice","name":"two"}`)
	create(t, g, `{"user":"Alice","name":"three"}`)
	create(t, g, `{"user":"a/../b&all=true","name":"four"}`)
	old := create(t, g, `{"user":"alice","name":"old"}`)
	get[admin.Token](t, g, "DELETE", "/crumbgate/tokens/"+old.ID, "", 200)

	tests := []struct {
		name  string
		query url.Values
		want  string
	}{
		{"all that may be used", url.Values{}, "four three two one"},
		{"revoked too", url.Values{"all": {"true"}}, "four old three two one"},
		{"revoked not", url.Values{"all": {"false"}}, "four three two one"},
		{"a user in any spelling", url.Values{"user": {"ALICE"}}, "three two"},
		{"a user, revoked too", url.Values{"user": {"alice"}, "all": {"1"}}, "old three two"},
		{"a user with other characters", url.Values{"user": {"a/../b&all=true"}}, "four"},
		{"a user without tokens", url.Values{"user": {"carol"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := get[admin.TokenList](t, g, "GET", "/crumbgate/tokens?"+tt.query.Encode(), "", 200)
			var names []string
			for _, token := range list.Tokens {
				names = append(names, token.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("list %v = %q, want %q", tt.query, got, tt.want)
			}
		})
	}
}

func TestUsers(t *testing.T) {
	g := newGateway(t)
	const id = `CORP\a/../li ce`
	target := "/crumbgate/users?" + url.Values{"id": {id}}.Encode()
	steps := []struct {
		name, method, body string
		want               string
	}{
		{"unknown", "GET", ``, `"groups":[],"mail":"","display_name":""`},
		{"all set", "PATCH", `{"groups":["dev","ops"],"mail":"a@example.com","display_name":"Alice"}`, `"groups":["dev","ops"],"mail":"a@example.com","display_name":"Alice"`},
		{"mail changed", "PATCH", `{"mail":"b@example.com"}`, `"groups":["dev","ops"],"mail":"b@example.com","display_name":"Alice"`},
		{"groups removed", "PATCH", `{"groups":[],"mail":null}`, `"groups":[],"mail":"b@example.com","display_name":"Alice"`},
		{"kept", "GET", ``, `"groups":[],"mail":"b@example.com","display_name":"Alice"`},
	}
	for _, tt := range steps {
		want := `{"id":"CORP\\a/../li ce",` + tt.want + "}\n"
		if got := ask(t, g, tt.method, target, tt.body).Body.String(); got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
	}
	create(t, g, `{"user":"bob","groups":["dev"]}`)
	if got := get[admin.User](t, g, "GET", "/crumbgate/users?id=bob", "", 200); strings.Join(got.Groups, " ") != "dev" {
		t.Errorf("the groups given with a token are %q, want dev", got.Groups)
	}
}

func TestHealth(t *testing.T) {
	g := newGateway(t)
	create(t, g, `{"user":"alice"}`)
	if got := ask(t, g, "GET", "/crumbgate/health", "").Body.String(); got != `{"status":"ok","tokens":1}`+"\n" {
		t.Errorf("health is %q", got)
	}
}

// Neither a secret nor its digest is in any answer but that of the creation, or
// in the log.
func TestSecretIsToldOnce(t *testing.T) {
	for _, format := range []string{"native", "jenkins"} {
		t.Run(format, func(t *testing.T) {
			g := newGateway(t)
			w := ask(t, g, "POST", "/crumbgate/tokens", `{"user":"alice","name":"deploy","format":"`+format+`"}`)
			var made admin.CreatedToken
			if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
				t.Fatal(err)
			}
			// What follows the prefix, so that no part of it escapes.
			secret := strings.TrimPrefix(strings.TrimPrefix(made.Secret, "cg_"), "11")
			if n := strings.Count(w.Body.String(), secret); n != 1 || len(secret) < 32 {
				t.Errorf("the answer to the creation holds the secret %d times, want once", n)
			}
			var said strings.Builder
			for _, tt := range []struct{ method, target, body string }{
				{"GET", "tokens", ""},
				{"GET", "tokens?all=true&user=alice", ""},
				{"GET", "tokens/" + made.ID, ""},
				{"GET", "tokens/" + made.Secret, ""}, // pasted at the wrong place
				{"POST", "tokens", `{"user":"alice","name":"deploy"}`},
				{"PATCH", "users?id=alice", `{"mail":"a@example.com"}`},
				{"GET", "users?id=alice", ""},
				{"DELETE", "tokens/" + made.Secret, ""},
				{"DELETE", "tokens/" + made.ID, ""},
				{"GET", "health", ""},
			} {
				said.WriteString(ask(t, g, tt.method, "/crumbgate/"+tt.target, tt.body).Body.String())
			}
			digest, err := token.Parse(made.Secret)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(digest)
			if err != nil {
				t.Fatal(err)
			}
			for where, text := range map[string]string{"an answer": said.String(), "the log": g.log.String()} {
				if !strings.Contains(text, made.ID) {
					t.Errorf("%s does not name the token: the test looks at the wrong text", where)
				}
				if strings.Contains(text, secret) {
					t.Errorf("%s holds the secret", where)
				}
				if strings.Contains(text, hexOf(digest)) || strings.Contains(text, string(encoded)) {
					t.Errorf("%s holds the digest", where)
				}
			}
		})
	}
}

func hexOf(d token.Digest) string { return hex.EncodeToString(d[:]) }
