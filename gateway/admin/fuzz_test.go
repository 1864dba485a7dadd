package admin_test

import (
	"encoding/json"
	"testing"
	"unicode"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Whatever the body: either one token is made, for the user and by the name that
// the body asks for, or nothing happens and the answer says why.
func FuzzCreate(f *testing.F) {
	for _, body := range []string{
		`{}`, `null`, `[]`, `{"user":`, `{"user":"alice"}{}`, "{\"user\":\"a\xff\"}", `{"user":"a\ud800"}`,
		`{"user":"alice","name":"deploy","expires":"90d","format":"jenkins","actor":"root"}`,
		`{"user":"alice","user":"bob","USER":"carol"}`,
		`{"user":"alice","groups":["dev",null],"mail":null,"display_name":"\u202e"}`,
	} {
		f.Add([]byte(body))
	}
	g := newGateway(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := g.directory.Len()
		w := ask(t, g, "POST", "/crumbgate/tokens", string(body))
		grown := g.directory.Len() - before
		if w.Code != 201 {
			var failure admin.Error
			if err := json.Unmarshal(w.Body.Bytes(), &failure); err != nil || failure.Text == "" || w.Code < 400 || w.Code >= 500 || grown != 0 {
				t.Fatalf("%q = %d %s, and %d tokens", body, w.Code, w.Body, grown)
			}
			return
		}
		var made admin.CreatedToken
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || grown != 1 {
			t.Fatalf("%q = 201 %s (%v), and %d tokens", body, w.Body, err, grown)
		}
		if _, err := user.ParseID(made.User); err != nil {
			t.Errorf("%q made a token for %q: %v", body, made.User, err)
		}
		for _, text := range []string{made.User, made.Name, made.CreatedBy} {
			for _, r := range text {
				if unicode.IsControl(r) || r == unicode.ReplacementChar {
					t.Errorf("%q made a token that holds %q", body, text)
				}
			}
		}
		var asked struct{ User, Name string }
		if err := json.Unmarshal(body, &asked); err != nil || asked.User != made.User || asked.Name != "" && asked.Name != made.Name {
			t.Errorf("%q made a token named %q for %q", body, made.Name, made.User)
		}
	})
}

// Whatever the body: tokens change only if it says dry_run false, and then not all
// unless it says so too.
func FuzzBulk(f *testing.F) {
	for _, body := range []string{
		`{}`, `null`, `[]`, `{"all":true}`, `{"user":"alice"}`, `{"user":"alice","dry_run":false}`, `{"dry_run":false}`,
		`{"name":"*","dry_run":false}`, `{"name":"?*","dry_run":false}`, `{"user":"alice","DRY_RUN":false}`,
		`{"user":"alice","dry_run":true,"dry_run":false}`, `{"user":"","dry_run":false}`, `{"state":"active","dry_run":false,"except":["x"]}`,
	} {
		f.Add([]byte(body))
	}
	g := newGateway(f)
	create(f, g, `{"user":"alice","name":"a"}`)
	create(f, g, `{"user":"bob","name":"b"}`)
	active := func(t testing.TB) int {
		return len(get[admin.TokenList](t, g, "GET", "/crumbgate/tokens?state=active", "", 200).Tokens)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := ask(t, g, "POST", "/crumbgate/tokens/suspend", string(body))
		left := active(t)
		if left == 2 {
			return
		}
		defer get[admin.BulkResult](t, g, "POST", "/crumbgate/tokens/resume", `{"all":true,"dry_run":false}`, 200)
		var said admin.BulkRequest
		if err := json.Unmarshal(body, &said); err != nil || w.Code != 200 || said.DryRun == nil || *said.DryRun {
			t.Errorf("%q = %d, and %d of 2 tokens are suspended", body, w.Code, 2-left)
		}
	})
}
