package jenkinshome_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome"
	"github.com/crumbgate/crumbgate/gateway/jenkinshome/hometest"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func open(t testing.TB, fsys fs.FS, o jenkinshome.Options) *jenkinshome.Home {
	t.Helper()
	h, err := jenkinshome.Open(fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// told is what a home says, a line each: users with their tokens, and problems.
func told(h *jenkinshome.Home) (lines []string) {
	for u := range h.Users() {
		if u.ID != "" {
			lines = append(lines, fmt.Sprintf("%s %d", u.ID, len(u.Tokens)))
		}
		for _, p := range u.Problems {
			lines = append(lines, "! "+p.String())
		}
	}
	slices.Sort(lines)
	return lines
}

// What upstream's own tests say of these homes.
func TestRealHomes(t *testing.T) {
	const unreadable = "legacy token, value not recoverable: the home has no secrets/master.key"
	for _, tt := range []struct {
		home string
		want []string // beginnings of lines
	}{
		{"hashed-molecule", []string{"molecule 1"}},
		{"legacy-migration", []string{"! users/admin/config.xml: " + unreadable, "admin 0"}},
		{"legacy-oldsecret", []string{"! users/username/config.xml: " + unreadable, "username 0"}},
		{"legacy-userdirs", []string{
			"! users/admin/config.xml: " + unreadable, "! users/config.xml: " + unreadable, "! users/foo/bar/baz/config.xml: " + unreadable,
			"! users/foo/bar/config.xml: " + unreadable, "! users/foo/baz/config.xml: " + unreadable, "! users/foo/config.xml: " + unreadable,
			"/ 0", "admin 0", "foo 0", "foo/bar 0", "foo/bar/baz 0", "foo/baz 0",
		}},
		{"dirnames-legacy", []string{".. 0", "/ 0", "big$money 0", "bla$phem.us 0", "foo/bar 0", "foo/bar/baz 0", "make$1000000 0", "~com1 0"}},
		{"usersxml-emptylist", []string{"user 0"}},
		{"usersxml-differentid", []string{"fred 0"}},
		{"usersxml-duplicate", []string{
			"! users/user22222/config.xml: it does not exist", "! users/user6639871027538302990/config.xml: it does not exist", "user1 0", "user2 0",
		}},
		{"usersxml-rolestrategy", []string{"admin 0", "markus 0"}},
	} {
		t.Run(tt.home, func(t *testing.T) {
			got := told(open(t, os.DirFS("testdata/jenkins-home-"+tt.home), jenkinshome.Options{}))
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

// The token that its project's playbook logs in with.
func TestMolecule(t *testing.T) {
	for u := range open(t, os.DirFS("testdata/jenkins-home-hashed-molecule"), jenkinshome.Options{}).Users() {
		digest, err := token.Parse("110cd5010cc081551972181446639ba99f")
		if err != nil {
			t.Fatal(err)
		}
		want := jenkinshome.Token{
			ID: uuid.MustParse("bdf647eb-10f3-46e3-8a2d-13d10962247f"), Name: "Deployment Token", Digest: digest,
			Created: time.Date(2019, 10, 23, 15, 27, 12, 0, time.UTC).Unix(),
		}
		if len(u.Tokens) != 1 || u.Tokens[0] != want {
			t.Errorf("got %+v, want %+v", u.Tokens, want)
		}
	}
}

func TestLayouts(t *testing.T) {
	for name, layout := range map[string]hometest.Layout{"named": hometest.Named, "mapped": hometest.Mapped, "hashed": hometest.Hashed} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := (hometest.Home{Users: 5, Tokens: 3, Layout: layout, Legacy: true}).Write(dir); err != nil {
				t.Fatal(err)
			}
			h := open(t, os.DirFS(dir), jenkinshome.Options{})
			n := 0
			for u := range h.Users() {
				var number int
				if _, err := fmt.Sscanf(u.ID, "user-%d", &number); err != nil || u.ID != hometest.UserID(number) || len(u.Problems) > 0 || len(u.Tokens) != 4 {
					t.Fatalf("got %+v", u)
				}
				for i, tok := range u.Tokens[:3] {
					digest, err := token.Parse(hometest.Secret(number, i))
					if err != nil || tok.Digest != digest || tok.Legacy || tok.Uses != uint64(1+i) || tok.LastUse != time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC).Unix() {
						t.Errorf("token %d of %s is %+v", i, u.ID, tok)
					}
				}
				digest, err := token.ParseLegacy(hometest.LegacySecret(number))
				if err != nil || u.Tokens[3].Digest != digest || !u.Tokens[3].Legacy {
					t.Errorf("the legacy token of %s is %+v", u.ID, u.Tokens[3])
				}
				n++
			}
			if n != 5 || h.Len() != 5 {
				t.Errorf("%d users, and Len says %d", n, h.Len())
			}
		})
	}
}

// file is a home of one user.
func file(config string) fstest.MapFS {
	return fstest.MapFS{"users/alice/config.xml": {Data: []byte(config)}}
}

func list(tokens string) string {
	return "<?xml version='1.1' encoding='UTF-8'?>\n<user><id>alice</id><properties><jenkins.security.ApiTokenProperty><tokenStore><tokenList>" +
		tokens + "</tokenList></tokenStore></jenkins.security.ApiTokenProperty></properties></user>"
}

func hashed(fields, version, hash string) string {
	return "<jenkins.security.apitoken.ApiTokenStore_-HashedToken>" + fields + "<value><version>" + version + "</version><hash>" + hash + "</hash></value></jenkins.security.apitoken.ApiTokenStore_-HashedToken>"
}

var aHash, bHash = strings.Repeat("a1", 32), strings.Repeat("b2", 32)

func TestConfig(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, config string
		want         string // of the first token: name, created, expires; or of the problem
	}{
		{"five milliseconds", list(hashed("<name>a</name><creationDate>2026-01-02 03:04:05.5 UTC</creationDate>", "11", aHash)), "a 2026-01-02T03:04:05Z never"},
		{"no date", list(hashed("<name>a</name>", "11", aHash)), "a unknown never"},
		{"a date of nobody", list(hashed("<name>a</name><creationDate>yesterday</creationDate>", "11", aHash)), "a unknown never"},
		{"a last day, in the zone", list(hashed("<name>a</name><expirationDate>2026-12-31</expirationDate>", "11", aHash)), "a unknown 2026-12-31T23:00:00Z"},
		{"capital hex", list(hashed("<name>a</name>", "11", strings.ToUpper(aHash))), "a unknown never"},
		{"entities", list(hashed("<name>a &amp; &lt;b&gt; &#x41;</name>", "11", aHash)), "a & <b> A unknown never"},
		{"a control character of XML 1.1", list(hashed("<name>a&#x1;b&#7;c</name>", "11", aHash)), "a     b    c unknown never"},
		{"unknown elements", list(hashed("<name>a</name><new><hash>x</hash></new>", "11", aHash) + "<other/>"), "a unknown never"},
		{"legacy", list(hashed("<name>Legacy Token</name>", "10", aHash)), "Legacy Token unknown never legacy"},
		{"a hash that is short", list(hashed("<name>a</name>", "11", "a1")), `! token "a": its hash is not 64 hex digits`},
		{"a hash that is no hex", list(hashed("<name>a</name>", "11", strings.Repeat("zz", 32))), "! token \"a\": its hash is not 64 hex digits"},
		{"an unknown version", list(hashed("", "12", aHash)), `! token 1: its version "12" is neither`},
		{"the same hash twice", list(hashed("<name>a</name>", "11", aHash) + hashed("<name>b</name>", "11", aHash)), "a unknown never|! token \"b\": another one has the same hash"},
		{"the same uuid twice", list(hashed("<uuid>11111111-1111-4111-8111-111111111111</uuid><name>a</name>", "11", aHash) + hashed("<uuid>11111111-1111-4111-8111-111111111111</uuid><name>b</name>", "11", bHash)), "a unknown never|b unknown never|! token \"b\": another one has the same uuid"},
		{"a secret for a name", list(hashed("<name>"+token.NewSecret(token.Native).Reveal()+"</name>", "11", "a1")), "! token 1: its hash"},
		{"a wrong day", list(hashed("<expirationDate>31.12.2026</expirationDate>", "11", aHash)), `! token 1: its expiration date "31.12.2026"`},
		{"truncated", list("")[:150], "! it is no whole XML document"},
		{"empty", "<?xml version='1.1'?>", "! it is empty"},
		{"foreign", "<project/>", "! it is not the file of a user"},
		{"two roots", "<user/><user/>", "! it has two root elements"},
		{"no XML", "\x00\x01\x02", "! it is no whole XML document"},
		{"another encoding", "<?xml version='1.1' encoding='UTF-16'?><user/>", `! it is in the encoding "UTF-16"`},
		{"entity expansion", `<?xml version="1.0"?><!DOCTYPE user [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><user><id>&b;</id></user>`, "! it has a document type"},
		{"an external entity", `<!DOCTYPE user SYSTEM "file:///etc/passwd"><user/>`, "! it has a document type"},
		{"an unknown entity", "<user><id>&b;</id></user>", "! it is no whole XML document"},
		{"deep", "<user>" + strings.Repeat("<a>", 100_000), "! its elements are nested more than 256 times"},
		{"many tokens", list(strings.Repeat("<jenkins.security.apitoken.ApiTokenStore_-HashedToken/>", 10_001)), "! it has more than 10000 tokens"},
		{"a long text", list(hashed("<name>"+strings.Repeat("n", 1<<20)+"</name><uuid>x</uuid>", "11", aHash)), " unknown never"},
		{"a long file", "<user>" + strings.Repeat(" ", 16<<20) + "</user>", "! it has more than 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for u := range open(t, file(tt.config), jenkinshome.Options{Zone: berlin}).Users() {
				for _, tok := range u.Tokens {
					at := func(unix int64, none string) string {
						if unix == 0 {
							return none
						}
						return time.Unix(unix, 0).UTC().Format(time.RFC3339)
					}
					line := fmt.Sprintf("%s %s %s", tok.Name, at(tok.Created, "unknown"), at(tok.Expires, "never"))
					if tok.Legacy {
						line += " legacy"
					}
					got = append(got, line)
				}
				for _, p := range u.Problems {
					got = append(got, "! "+p.Reason)
				}
			}
			want := strings.Split(tt.want, "|")
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("got %q, want %q", got[i], want[i])
				}
			}
		})
	}
}

// One bad file never stops the rest.
func TestOthersGoOn(t *testing.T) {
	dir := t.TempDir()
	if err := (hometest.Home{Users: 4, Tokens: 1}).Write(dir); err != nil {
		t.Fatal(err)
	}
	at := func(u int, name string) string { return filepath.Join(dir, "users", hometest.UserID(u), name) }
	outside := filepath.Join(t.TempDir(), "config.xml")
	for _, err := range []error{
		os.WriteFile(outside, []byte(list(hashed("<name>stolen</name>", "11", bHash))), 0o600),
		os.Remove(at(0, "config.xml")), os.Symlink(outside, at(0, "config.xml")),
		os.Remove(at(1, "config.xml")), syscall.Mkfifo(at(1, "config.xml"), 0o600),
		os.WriteFile(at(2, "apiTokenStats.xml"), []byte("<broken"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got := strings.Join(told(open(t, root.FS(), jenkinshome.Options{})), "\n")
	for _, want := range []string{
		"! users/user-00001/config.xml: it is not a regular file",
		"! users/user-00002/apiTokenStats.xml: it is no whole XML document",
		"user-00002 1", "user-00003 1",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %q", got, want)
		}
	}
	if strings.Contains(got, "user-00000 1") || strings.Contains(got, "alice") {
		t.Errorf("a link out of the home was followed:\n%s", got)
	}
}

func TestMapping(t *testing.T) {
	const head = "<?xml version='1.1' encoding='UTF-8'?><hudson.model.UserIdMapper><idToDirectoryNameMap class=\"concurrent-hash-map\">"
	const tail = "</idToDirectoryNameMap></hudson.model.UserIdMapper>"
	entry := func(key, dir string) string {
		return "<entry><string>" + key + "</string><string>" + dir + "</string></entry>"
	}
	home := func(mapping string) fstest.MapFS {
		return fstest.MapFS{
			"users/users.xml":          {Data: []byte(mapping)},
			"users/alice_1/config.xml": {Data: []byte(list(hashed("<name>a</name>", "11", aHash)))},
		}
	}
	for _, tt := range []struct {
		name, mapping string
		want          []string
	}{
		{"as it should be", head + entry("alice", "alice_1") + tail, []string{"alice 1"}},
		{"out of the directory", head + entry("mallory", "../../etc") + entry("alice", "alice_1") + tail, []string{`! users/users.xml: user "mallory" has the directory "../../etc", which is no name of one`, "alice 1", "mallory 0"}},
		{"not named", head + tail, []string{"! users/alice_1: users.xml does not name this directory, so Jenkins ignores it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := told(open(t, home(tt.mapping), jenkinshome.Options{})); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, broken := range []string{head, "<other/>", head + "<entry><string>a</string></entry>" + tail} {
		if _, err := jenkinshome.Open(home(broken), jenkinshome.Options{}); err == nil || !strings.Contains(err.Error(), "whose directory is whose") {
			t.Errorf("users.xml %q: %v", broken, err)
		}
	}
	if _, err := jenkinshome.Open(fstest.MapFS{}, jenkinshome.Options{}); err == nil || !strings.Contains(err.Error(), "no Jenkins home") {
		t.Errorf("an empty directory: %v", err)
	}
}

// In a home of 2.524 or later a directory counts only for the id that it is made of.
func TestHashedDirIsChecked(t *testing.T) {
	dir := t.TempDir()
	if err := (hometest.Home{Users: 1, Tokens: 1, Layout: hometest.Hashed}).Write(dir); err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(dir, "users", "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	other := filepath.Join(filepath.Dir(dirs[0]), "user00000_"+strings.Repeat("0", 64))
	if err := os.Rename(dirs[0], other); err != nil {
		t.Fatal(err)
	}
	got := told(open(t, os.DirFS(dir), jenkinshome.Options{}))
	if len(got) != 1 || !strings.Contains(got[0], "is not the one that Jenkins has for the id") {
		t.Errorf("got %q", got)
	}
}

// Older secrets have no braces, and the oldest another key.
func TestOldSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := (hometest.Home{Users: 1}).Write(dir); err != nil {
		t.Fatal(err)
	}
	// The key of secret.key is the beginning of the SHA-256 of its text.
	if err := os.WriteFile(filepath.Join(dir, "secret.key"), []byte("a historical key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := jenkinshome.AESKey([]byte("a historical key"))
	sealed := base64.StdEncoding.EncodeToString(hometest.SealMagic(key, []byte("legacy secret of user 0")))
	config := "<user><id>user-00000</id><properties><jenkins.security.ApiTokenProperty><apiToken>" + sealed + "</apiToken></jenkins.security.ApiTokenProperty></properties></user>"
	if err := os.WriteFile(filepath.Join(dir, "users", "user-00000", "config.xml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for u := range open(t, os.DirFS(dir), jenkinshome.Options{}).Users() {
		digest, err := token.ParseLegacy(hometest.LegacySecret(0))
		if err != nil || len(u.Tokens) != 1 || u.Tokens[0].Digest != digest {
			t.Errorf("got %+v, %v", u, err)
		}
	}
}

func TestTwoDirectoriesOfOneUser(t *testing.T) {
	home := fstest.MapFS{
		"users/alice/config.xml": {Data: []byte(list(hashed("<name>a</name>", "11", aHash)))},
		"users/other/config.xml": {Data: []byte(strings.ReplaceAll(list(hashed("<name>b</name>", "11", bHash)), "<id>alice</id>", "<id>ALICE</id>"))},
	}
	got := told(open(t, home, jenkinshome.Options{}))
	want := []string{`! users/other/config.xml: user "ALICE" has another directory too, users/alice, whose tokens are taken`, "ALICE 0", "alice 1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := told(open(t, home, jenkinshome.Options{UserIDs: user.CaseSensitive})); !slices.Equal(got, []string{"ALICE 1", "alice 1"}) {
		t.Errorf("where case matters: %q", got)
	}
}

// Tokens that are merged are read back, and nothing else has changed.
func TestMerge(t *testing.T) {
	fresh := []jenkinshome.Token{
		{ID: uuid.MustParse("22222222-2222-4222-8222-222222222222"), Name: "new & <odd>", Digest: token.Digest{1}, Created: 1_790_000_000, Uses: 7, LastUse: 1_790_000_500},
		{ID: uuid.MustParse("33333333-3333-4333-8333-333333333333"), Name: "legacy", Digest: token.Digest{2}, Legacy: true},
		{ID: uuid.MustParse("44444444-4444-4444-8444-444444444444"), Name: "ending", Digest: token.Digest{3}, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Unix()},
	}
	for name, config := range map[string]string{
		"a list":                   list("\n" + hashed("<name>a</name>", "11", aHash) + "\n"),
		"an empty list":            strings.ReplaceAll(list(""), "<tokenList></tokenList>", "<tokenList/>"),
		"no list":                  strings.ReplaceAll(list(""), "<tokenList></tokenList>", ""),
		"an empty store":           strings.ReplaceAll(list(""), "<tokenStore><tokenList></tokenList></tokenStore>", "<tokenStore />"),
		"no property":              "<?xml version='1.1' encoding='UTF-8'?>\n<user>\n  <id>alice</id>\n  <properties>\n    <other>&#x1;</other>\n  </properties>\n</user>\n",
		"no properties of its own": "<user><id>alice</id><properties class=\"x\"/></user>",
	} {
		t.Run(name, func(t *testing.T) {
			before := file(config)
			h := open(t, before, jenkinshome.Options{})
			merged, stats, added, err := h.Merge("users/alice", fresh)
			if err != nil || added != 3 {
				t.Fatalf("Merge: %d added, %v", added, err)
			}
			after := fstest.MapFS{"users/alice/config.xml": {Data: merged}, "users/alice/apiTokenStats.xml": {Data: stats}}
			for u := range open(t, after, jenkinshome.Options{}).Users() {
				if len(u.Problems) > 0 || !slices.Equal(u.Tokens[len(u.Tokens)-3:], fresh) {
					t.Errorf("read back: %+v\n%s", u, merged)
				}
			}
			// Without what was put in, it is what it was.
			again, _, added, err := open(t, after, jenkinshome.Options{}).Merge("users/alice", fresh)
			if err != nil || added != 0 || !bytes.Equal(again, merged) {
				t.Errorf("a second Merge: %d added, %v", added, err)
			}
			if i := strings.Index(config, "<properties"); string(merged[:i]) != config[:i] {
				t.Errorf("the head has changed:\n%s", merged)
			}
		})
	}
	if _, _, _, err := open(t, file("<user/>"), jenkinshome.Options{}).Merge("users/alice", fresh); err == nil {
		t.Error("Merge into a file without properties succeeds")
	}
	dirs := open(t, file(list("")), jenkinshome.Options{}).Dirs()
	if len(dirs) != 1 || dirs["alice"] != path.Join("users", "alice") {
		t.Errorf("Dirs = %v", dirs)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(list(hashed("<uuid>11111111-1111-4111-8111-111111111111</uuid><name>a</name><creationDate>2026-01-02 03:04:05.5 UTC</creationDate><expirationDate>2026-12-31</expirationDate>", "11", aHash))))
	f.Add([]byte("<user><properties/></user>"))
	f.Add([]byte("<!DOCTYPE a><user/>"))
	f.Fuzz(func(t *testing.T, config []byte) {
		home := fstest.MapFS{"users/alice/config.xml": {Data: config}}
		h := open(t, home, jenkinshome.Options{})
		for u := range h.Users() {
			for _, tok := range u.Tokens {
				if (tok.Digest == token.Digest{}) || tok.Created < 0 {
					t.Errorf("a token %+v", tok)
				}
			}
		}
		extra := jenkinshome.Token{ID: uuid.MustParse("22222222-2222-4222-8222-222222222222"), Name: "n", Digest: token.Digest{9}}
		merged, _, added, err := h.Merge("users/alice", []jenkinshome.Token{extra})
		if err != nil || added == 0 {
			return
		}
		found := false
		for u := range open(t, fstest.MapFS{"users/alice/config.xml": {Data: merged}}, jenkinshome.Options{}).Users() {
			found = slices.Contains(u.Tokens, extra)
		}
		if !found {
			t.Errorf("what was merged into %q is not in %q", config, merged)
		}
	})
}

func FuzzHome(f *testing.F) {
	f.Add([]byte("<hudson.model.UserIdMapper><idToDirectoryNameMap><entry><string>a</string><string>b</string></entry></idToDirectoryNameMap></hudson.model.UserIdMapper>"),
		[]byte("<jenkins.security.apitoken.ApiTokenStats><tokenStats><jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats><tokenUuid>x</tokenUuid><useCounter>-1</useCounter></jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats></tokenStats></jenkins.security.apitoken.ApiTokenStats>"))
	f.Fuzz(func(t *testing.T, mapping, stats []byte) {
		h, err := jenkinshome.Open(fstest.MapFS{
			"users/users.xml":           {Data: mapping},
			"users/b/config.xml":        {Data: []byte(list(hashed("", "11", aHash)))},
			"users/b/apiTokenStats.xml": {Data: stats},
		}, jenkinshome.Options{})
		if err != nil {
			return
		}
		for u := range h.Users() {
			if strings.Contains(u.Dir, "..") && len(u.Problems) == 0 {
				t.Errorf("user %+v is out of the directory", u)
			}
		}
	})
}

func BenchmarkRead10000(b *testing.B) {
	dir := b.TempDir()
	if err := (hometest.Home{Users: 10_000, Tokens: 5, Layout: hometest.Hashed}).Write(dir); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for u := range open(b, os.DirFS(dir), jenkinshome.Options{}).Users() {
			n += len(u.Tokens)
		}
		if n != 50_000 {
			b.Fatalf("%d tokens", n)
		}
	}
}
