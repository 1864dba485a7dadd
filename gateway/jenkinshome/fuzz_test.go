package jenkinshome_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// seeds adds the published files of a name.
func seeds(f *testing.F, name string) {
	n := 0
	err := fs.WalkDir(published(""), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			data, err := fs.ReadFile(published(""), path)
			if err != nil {
				return err
			}
			f.Add(data)
			n++
		}
		return err
	})
	if err != nil || n == 0 {
		f.Fatalf("%d files %s: %v", n, name, err)
	}
}

// check fails if what was read could not be what the gateway stores.
func check(t *testing.T, users map[user.ID]jenkinshome.User) {
	t.Helper()
	digests, uuids := make(map[token.Digest]bool), make(map[uuid.UUID]bool)
	for id, u := range users {
		if _, err := user.ParseID(string(id)); err != nil {
			t.Errorf("user %q: %v", id, err)
		}
		for _, tok := range u.Tokens {
			if tok.Digest == (token.Digest{}) || digests[tok.Digest] || tok.UUID != uuid.Nil && uuids[tok.UUID] {
				t.Errorf("a token without digest or twice: %+v", tok)
			}
			digests[tok.Digest], uuids[tok.UUID] = true, true
			if !utf8.ValidString(tok.Name) || len(tok.Name) > 1024 || tok.LastUse < 0 || tok.Uses > 1<<31-1 {
				t.Errorf("token %+v", tok)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	seeds(f, "config.xml")
	f.Add([]byte(config("alice", list(hashed("<name>a</name><expirationDate>2027-01-31</expirationDate>"+value("a")), hashed(value("b"))))))
	f.Add([]byte(config("alice&#1;", "<apiToken>plain!</apiToken>")))
	f.Add([]byte("\ufeff<?xml version='1.1'?><user><properties/></user>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		home := fstest.MapFS{"users/alice/config.xml": file(string(data))}
		users, problems := read(t, home, jenkinshome.Options{})
		check(t, users)
		if len(users) == 0 && len(problems) == 0 {
			t.Error("nothing was read, and nothing said")
		}
		given := bytes.Clone(data)
		one := sample("one")
		merged, err := jenkinshome.Merge(data, []jenkinshome.Token{one}, nil, time.UTC)
		if !bytes.Equal(given, data) {
			t.Error("Merge has changed what it was given")
		}
		if err != nil || len(users) == 0 {
			return
		}
		// What reads can be merged, and reads with one token more.
		after, _ := read(t, fstest.MapFS{"users/alice/config.xml": file(string(merged))}, jenkinshome.Options{})
		for id, u := range users {
			had := len(u.Tokens)
			for _, tok := range u.Tokens {
				if tok.Name == "Legacy Token" || tok.Digest == one.Digest {
					return // which may be another one then
				}
			}
			if got := after[id].Tokens; len(got) != had+1 || got[had] != one {
				t.Errorf("%d tokens before, then %+v, in %q", had, got, merged)
			}
		}
	})
}

func FuzzUsersXML(f *testing.F) {
	seeds(f, "users.xml")
	f.Add([]byte("<hudson.model.UserIdMapper><idToDirectoryNameMap><entry><string>a</string><string>../a</string></entry></idToDirectoryNameMap></hudson.model.UserIdMapper>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		users, problems := read(t, fstest.MapFS{
			"users/users.xml":              file(string(data)),
			"users/alice_1/config.xml":     file(config("alice", list(hashed(value("a"))))),
			"users/bob_1/config.xml":       file(config("", list(hashed(value("b"))))),
			"secrets/alice_1/config.xml":   file(config("mallory", "")),
			"users/alice_1/sub/config.xml": file(config("mallory", "")),
		}, jenkinshome.Options{})
		check(t, users)
		for id, u := range users {
			if u.Directory != "users/alice_1" && u.Directory != "users/bob_1" {
				t.Errorf("user %q from %q", id, u.Directory)
			}
		}
		if len(users)+len(problems) < 2 {
			t.Errorf("not all directories are accounted for: %+v, %+v", users, problems)
		}
	})
}

func FuzzStats(f *testing.F) {
	made, err := jenkinshome.Stats(nil, []jenkinshome.Token{{UUID: uuid.Max, Uses: 3, LastUse: 1_700_000_000}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made)
	f.Add(bytes.Replace(made, []byte(".0 UTC"), []byte(".99 +02:00"), 1))
	f.Add([]byte("<jenkins.security.apitoken.ApiTokenStats/>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		home := fstest.MapFS{
			"users/alice/config.xml":        file(config("", list(hashed("<uuid>"+uuid.Max.String()+"</uuid>"+value("a"))))),
			"users/alice/apiTokenStats.xml": file(string(data)),
		}
		users, _ := read(t, home, jenkinshome.Options{})
		check(t, users)
		if len(users["alice"].Tokens) != 1 {
			t.Fatalf("the token is lost: %+v", users)
		}
		// Written again it says the same.
		again, err := jenkinshome.Stats(data, nil)
		if err != nil || again == nil {
			return
		}
		home["users/alice/apiTokenStats.xml"] = file(string(again))
		after, problems := read(t, home, jenkinshome.Options{})
		wantNoProblem(t, problems)
		if after["alice"].Tokens[0] != users["alice"].Tokens[0] {
			t.Errorf("%+v, written again %+v", users["alice"].Tokens[0], after["alice"].Tokens[0])
		}
	})
}

func FuzzDirName(f *testing.F) {
	for _, seed := range []string{"alice", "foo$002fbar", "make$00241000000", "make$1000000", "~com1", "$d83d$de00", "$d83d", "$0000", "İ", "\xff", "a_" + strings.Repeat("a", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !fs.ValidPath(name) || strings.Contains(name, "/") || name == "." || name == "users.xml" || name == "config.xml" {
			return
		}
		for _, ids := range []user.Strategy{user.CaseInsensitive, user.CaseSensitive, user.CaseSensitiveEmail} {
			users, problems := read(t, fstest.MapFS{"users/" + name + "/config.xml": file("<user/>")}, jenkinshome.Options{UserIDs: ids})
			check(t, users)
			if len(users)+len(problems) == 0 {
				t.Errorf("%q is nobody's, and nothing was said", name)
			}
			for id := range users {
				if ids == user.CaseInsensitive && ids.Key(id) != string(id) {
					t.Errorf("%q is of %q, whose key is %q", name, id, ids.Key(id))
				}
			}
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, seed := range []string{"2019-10-23 15:27:12.108 UTC", "2019-10-23 15:27:12.5 UTC", "2019-10-23 15:27:12 UTC", "2019-10-23 15:27:12UTC", "2019-10-23 15:27:12.5 PM", "2019-02-30 00:00:00.0 UTC", "2019-10-23 15:27:12.0 GMT+02:00", "2027-01-31", "0000-01-01", "9999-12-31"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "<&>\r") {
			return
		}
		users, problems := read(t, fstest.MapFS{"users/alice/config.xml": file(config("",
			list(hashed("<creationDate>"+text+"</creationDate>"+value("a")), hashed("<expirationDate>"+text+"</expirationDate>"+value("b")))))}, jenkinshome.Options{})
		check(t, users)
		for _, tok := range users["alice"].Tokens {
			if tok.Digest[0] == 0xbb {
				day, err := time.Parse(time.DateOnly, text)
				if err != nil || tok.Expires != day.AddDate(0, 0, 1).Unix() {
					t.Errorf("a token that expires %q expires at %d", text, tok.Expires)
				}
			} else if at, err := time.Parse("2006-01-02 15:04:05", strings.SplitN(text, ".", 2)[0]); err == nil && strings.HasSuffix(text, " UTC") && tok.Created != 0 && tok.Created != at.Unix() {
				t.Errorf("a token made %q was made at %d", text, tok.Created)
			}
		}
		if len(users["alice"].Tokens) == 1 {
			wantProblem(t, problems, "config.xml", "expiry")
		}
	})
}
