package jenkinshome_test

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome"
	"github.com/crumbgate/crumbgate/gateway/jenkinshome/hometest"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// read returns the users of a home by id, and its problems.
func read(t testing.TB, home fs.FS, opts jenkinshome.Options) (map[user.ID]jenkinshome.User, []jenkinshome.Problem) {
	t.Helper()
	if opts.Zone == nil {
		opts.Zone = time.UTC
	}
	users := make(map[user.ID]jenkinshome.User)
	var problems []jenkinshome.Problem
	for r := range jenkinshome.Read(home, opts) {
		if (r.User == nil) == (r.Problem == nil) {
			t.Fatalf("a result with both or neither: %+v", r)
		}
		if r.Problem != nil {
			if r.Problem.Reason == "" || strings.ContainsAny(r.Problem.Reason, "\r\n") {
				t.Errorf("the reason %q is not one line", r.Problem.Reason)
			}
			problems = append(problems, *r.Problem)
			continue
		}
		if _, ok := users[r.User.ID]; ok {
			t.Errorf("user %q twice", r.User.ID)
		}
		users[r.User.ID] = *r.User
	}
	return users, problems
}

func ids(users map[user.ID]jenkinshome.User) []string {
	var all []string
	for id := range users {
		all = append(all, string(id))
	}
	slices.Sort(all)
	return all
}

func wantIDs(t *testing.T, users map[user.ID]jenkinshome.User, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := ids(users); !slices.Equal(got, want) {
		t.Errorf("users %q, want %q", got, want)
	}
}

// wantProblem looks for a problem by parts of its path and reason.
func wantProblem(t *testing.T, problems []jenkinshome.Problem, path, reason string) {
	t.Helper()
	if !slices.ContainsFunc(problems, func(p jenkinshome.Problem) bool {
		return strings.Contains(p.Path, path) && strings.Contains(p.Reason, reason)
	}) {
		t.Errorf("no problem of %q with %q among %+v", path, reason, problems)
	}
}

func wantNoProblem(t *testing.T, problems []jenkinshome.Problem) {
	t.Helper()
	for _, p := range problems {
		t.Errorf("unexpected problem %+v", p)
	}
}

func published(name string) fs.FS { return os.DirFS(filepath.Join("testdata", name)) }

func digest(t testing.TB, hexadecimal string) (d token.Digest) {
	t.Helper()
	b, err := hex.DecodeString(hexadecimal)
	if err != nil || len(b) != len(d) {
		t.Fatalf("%q is not a digest", hexadecimal)
	}
	copy(d[:], b)
	return d
}

func unixTime(t testing.TB, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

// What upstream's tests say must come out of these homes: see testdata/README.md.
func TestPublishedHomes(t *testing.T) {
	t.Run("hashed token", func(t *testing.T) {
		users, problems := read(t, published("hashed-molecule"), jenkinshome.Options{})
		wantNoProblem(t, problems)
		want := jenkinshome.Token{
			UUID:    uuid.MustParse("bdf647eb-10f3-46e3-8a2d-13d10962247f"),
			Name:    "Deployment Token",
			Digest:  digest(t, "bf8962734f66b3a0e122d6c96cae2e85dfceb6d8b9b4cdc0333de5d73c956313"),
			Created: unixTime(t, "2019-10-23T15:27:12Z"),
		}
		got := users["molecule"]
		if len(got.Tokens) != 1 || got.Tokens[0] != want {
			t.Fatalf("molecule = %+v, want the token %+v", got, want)
		}
		presented, err := token.Parse("110cd5010cc081551972181446639ba99f")
		if err != nil || presented != got.Tokens[0].Digest {
			t.Errorf("the token of the playbook has digest %x, %v, want that of the home", presented, err)
		}
	})
	for name, who := range map[string]user.ID{"legacy-migration": "admin", "legacy-oldsecret": "username"} {
		t.Run(name, func(t *testing.T) {
			users, problems := read(t, published(name), jenkinshome.Options{})
			wantIDs(t, users, string(who))
			wantProblem(t, problems, string(who), "legacy token, value not recoverable")
			if len(users[who].Tokens) != 0 || len(problems) != 1 || problems[0].User != who || problems[0].Token != "Legacy Token" {
				t.Errorf("got %+v and %+v", users, problems)
			}
		})
	}
	t.Run("nested directories", func(t *testing.T) {
		users, problems := read(t, published("legacy-userdirs"), jenkinshome.Options{})
		wantIDs(t, users, "admin", "foo", "foo/bar", "foo/baz", "foo/bar/baz")
		wantProblem(t, problems, "", "is of a user with an empty id")
		if len(problems) != 6 {
			t.Errorf("%d problems, want a legacy token of each user, and the empty id", len(problems))
		}
	})
	t.Run("encoded directories", func(t *testing.T) {
		users, problems := read(t, published("dirnames-legacy"), jenkinshome.Options{})
		wantNoProblem(t, problems)
		wantIDs(t, users, "foo/bar", "foo/bar/baz", "/", "..", "bla$phem.us", "make$1000000", "big$money", "~com1")
	})
	t.Run("encoded directories, case sensitive", func(t *testing.T) {
		users, problems := read(t, published("dirnames-legacy"), jenkinshome.Options{UserIDs: user.CaseSensitive})
		wantNoProblem(t, problems)
		wantIDs(t, users, "foo/bar", "foo/bar/baz", "/", "..", "bla$phem.us", "make$1000000", "big$money", "Com1")
	})
	t.Run("empty list", func(t *testing.T) {
		users, problems := read(t, published("usersxml-emptylist"), jenkinshome.Options{})
		wantNoProblem(t, problems)
		wantIDs(t, users, "user")
	})
	t.Run("different id", func(t *testing.T) {
		users, problems := read(t, published("usersxml-differentid"), jenkinshome.Options{})
		wantNoProblem(t, problems)
		wantIDs(t, users, "fred")
	})
	t.Run("duplicate user", func(t *testing.T) {
		users, problems := read(t, published("usersxml-duplicate"), jenkinshome.Options{})
		wantIDs(t, users)
		wantProblem(t, problems, "users.xml", "user2957281690483826750")
		wantProblem(t, problems, "user6639871027538302990", "doesn't exist")
		wantProblem(t, problems, "user22222", "doesn't exist")
	})
	t.Run("role strategy", func(t *testing.T) {
		users, problems := read(t, published("usersxml-rolestrategy"), jenkinshome.Options{})
		wantNoProblem(t, problems)
		wantIDs(t, users, "admin", "markus")
	})
}

// The keys and the text are those of upstream's test SecretCompatTest, which says that
// theSecret comes out.
func TestPublishedSecret(t *testing.T) {
	home := fstest.MapFS{"users/alice/config.xml": file(config("", "<apiToken>z/Dd3qrHdQ6/C5lR7uEafM/jD3nQDrGprw3XsfZ/0vo=</apiToken>"))}
	for _, name := range []string{"secrets/master.key", "secrets/hudson.util.Secret"} {
		data, err := os.ReadFile(filepath.Join("testdata/secrets-presec304", name))
		if err != nil {
			t.Fatal(err)
		}
		home[name] = file(string(data))
	}
	users, problems := read(t, home, jenkinshome.Options{})
	wantNoProblem(t, problems)
	want := legacyDigest("theSecret")
	if tokens := users["alice"].Tokens; len(tokens) != 1 || tokens[0] != (jenkinshome.Token{Name: "Legacy Token", Digest: want, Legacy: true}) {
		t.Errorf("tokens %+v, want a legacy one with the digest %x", tokens, want)
	}
}

// legacyDigest is what Jenkins stores of a legacy token.
func legacyDigest(secret string) token.Digest {
	sum := md5.Sum([]byte(secret))
	return sha256.Sum256([]byte(hex.EncodeToString(sum[:])))
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o600} }

// config returns a config.xml with what is in its ApiTokenProperty.
func config(id, property string) string {
	if id != "" {
		id = "<id>" + id + "</id>"
	}
	return "<?xml version='1.1' encoding='UTF-8'?>\n<user>" + id + "<fullName>x</fullName><properties><jenkins.security.ApiTokenProperty>" +
		property + "</jenkins.security.ApiTokenProperty></properties></user>"
}

func list(tokens ...string) string {
	return "<tokenStore><tokenList>" + strings.Join(tokens, "") + "</tokenList></tokenStore>"
}

func hashed(fields string) string {
	const name = "jenkins.security.apitoken.ApiTokenStore_-HashedToken"
	return "<" + name + ">" + fields + "</" + name + ">"
}

func value(digit string) string {
	return "<value><version>11</version><hash>" + strings.Repeat(digit, 64) + "</hash></value>"
}

func TestLayouts(t *testing.T) {
	for _, layout := range []hometest.Layout{hometest.Hashed, hometest.Mapped, hometest.Named} {
		t.Run(layout.String(), func(t *testing.T) {
			home := hometest.Home{Layout: layout, Users: 7, Tokens: 3, Legacy: true, Seed: 1}
			var progress []string
			users, problems := read(t, home.FS(), jenkinshome.Options{Progress: func(done, total int) {
				progress = append(progress, fmt.Sprint(done, "/", total))
			}})
			wantNoProblem(t, problems)
			if len(progress) != 8 || progress[0] != "0/7" || progress[7] != "7/7" {
				t.Errorf("progress %q", progress)
			}
			for u := range home.Users {
				got := users[user.ID(home.ID(u))]
				if len(got.Tokens) != 4 {
					t.Fatalf("user %d = %+v, want 4 tokens", u, got)
				}
				for n := range home.Tokens {
					secret, err := token.Parse(home.Secret(u, n))
					if err != nil {
						t.Fatal(err)
					}
					want := jenkinshome.Token{
						UUID: home.UUID(u, n), Name: fmt.Sprint("token ", n), Digest: secret,
						Created: home.Created(u, n).Unix(), Uses: uint64(n + 1), LastUse: unixTime(t, "2026-01-02T03:04:05Z"),
					}
					if got.Tokens[n] != want {
						t.Errorf("token %d = %+v, want %+v", n, got.Tokens[n], want)
					}
				}
				want := jenkinshome.Token{Name: "Legacy Token", Legacy: true, Digest: sha256.Sum256([]byte(home.LegacySecret(u)))}
				if got.Tokens[3] != want {
					t.Errorf("legacy token = %+v, want %+v", got.Tokens[3], want)
				}
			}
		})
	}
}

func TestTokens(t *testing.T) {
	const id = "<uuid>bdf647eb-10f3-46e3-8a2d-13d10962247f</uuid>"
	for _, c := range []struct {
		name     string
		property string
		want     []string // names
		problem  string
	}{
		{"none", "", nil, ""},
		{"no list", "<tokenStore/>", nil, ""},
		{"one", list(hashed(id + "<name>a</name>" + value("a"))), []string{"a"}, ""},
		{"two", list(hashed("<name>a</name>"+value("a")), hashed("<name>b</name>"+value("b"))), []string{"a", "b"}, ""},
		{"unknown elements", list(hashed("<new><name>x</name></new><name>a</name>" + value("a"))), []string{"a"}, ""},
		{"capital hexadecimal digits", list(hashed("<name>a</name>" + value("A"))), []string{"a"}, ""},
		{"entities", list(hashed("<name>a&amp;b&#x20AC;</name>" + value("A"))), []string{"a&b€"}, ""},
		{"control character of XML 1.1", list(hashed("<name>a&#x1f;b</name>" + value("A"))), []string{"a\tb"}, ""},
		{"control character in decimals", list(hashed("<name>a&#1;&#027;b</name>" + value("A"))), []string{"a\t\tb"}, ""},
		{"comment in a name", list(hashed("<name>a<!-- x -->b</name>" + value("A"))), []string{"ab"}, ""},
		{"hash too short", list(hashed("<name>a</name><value><hash>abc</hash></value>"), hashed("<name>b</name>"+value("b"))), []string{"b"}, "64 hexadecimal"},
		{"hash not hexadecimal", list(hashed("<name>a</name>" + value("g"))), nil, "64 hexadecimal"},
		{"hash of zeros", list(hashed("<name>a</name>" + value("0"))), nil, "64 hexadecimal"},
		{"hash with a blank", list(hashed("<name>a</name><value><hash> " + strings.Repeat("a", 64) + "</hash></value>")), nil, "64 hexadecimal"},
		{"no hash", list(hashed("<name>a</name>")), nil, "no hash"},
		{"two hashes", list(hashed("<value><hash>" + strings.Repeat("a", 64) + "</hash><hash>" + strings.Repeat("b", 64) + "</hash></value>")), nil, "two <hash>"},
		{"two values", list(hashed(value("a") + value("b"))), nil, "two <"},
		{"two names", list(hashed("<name>a</name><name>b</name>" + value("b"))), nil, "two <name>"},
		{"name too long", list(hashed("<name>"+strings.Repeat("n", 1025)+"</name>"+value("a")), hashed("<name>b</name>"+value("b"))), []string{"b"}, "more than 1024"},
		{"bad expiry", list(hashed("<name>a</name><expirationDate>31.12.2030</expirationDate>" + value("b"))), nil, "expiry"},
		{"expiry that is no date", list(hashed("<name>a</name><expirationDate>2027-02-30</expirationDate>" + value("b"))), nil, "expiry"},
		{"bad creation", list(hashed("<name>a</name><creationDate>long ago</creationDate>" + value("b"))), []string{"a"}, ""},
		{"same digest twice", list(hashed("<name>a</name>"+value("a")), hashed("<name>b</name>"+value("A"))), []string{"a"}, "already"},
		{"same uuid twice", list(hashed(id+"<name>a</name>"+value("a")), hashed(id+"<name>b</name>"+value("b"))), []string{"a", "b"}, ""},
		{"uuid that is none", list(hashed("<uuid>../../x</uuid><name>a</name>" + value("a"))), []string{"a"}, ""},
		{"name that is a token", list(hashed("<name>" + token.NewSecret(token.Native).Reveal() + "</name>")), nil, "no hash"},
		{"second property", list(hashed("<name>a</name>"+value("a"))) + "</jenkins.security.ApiTokenProperty><jenkins.security.ApiTokenProperty>" + list(hashed("<name>b</name>"+value("b"))), []string{"a"}, "two jenkins"},
		{"list elsewhere", "<x>" + list(hashed("<name>a</name>"+value("a"))) + "</x>", nil, ""},
		{"legacy entry and secret", "<apiToken>{x}</apiToken>" + list(hashed("<name>L</name><value><version>10</version><hash>"+strings.Repeat("a", 64)+"</hash></value>")), []string{"L"}, ""},
		{"legacy secret in plain text", "<apiToken>0123456789abcdef0123456789abcdef!</apiToken>", []string{"Legacy Token"}, ""},
		{"legacy secret without keys", "<apiToken>{AQAAABAAAAAQ" + strings.Repeat("A", 43) + "=}</apiToken>", nil, "save the user once in Jenkins"},
		{"legacy secret cut short", "<apiToken>{AQAAABAAAAAQAAAA}</apiToken>", nil, "not recoverable"},
		{"legacy secret empty", "<apiToken></apiToken>", nil, "everybody can know"},
		{"legacy entry of the empty secret", list(hashed("<value><version>10</version><hash>" + hex.EncodeToString(bytesOf(legacyDigest(""))) + "</hash></value>")), nil, "everybody can know"},
	} {
		t.Run(c.name, func(t *testing.T) {
			users, problems := read(t, fstest.MapFS{"users/alice/config.xml": file(config("alice", c.property))}, jenkinshome.Options{})
			var names []string
			for _, tok := range users["alice"].Tokens {
				names = append(names, tok.Name)
			}
			if !slices.Equal(names, c.want) {
				t.Errorf("tokens %q, want %q", names, c.want)
			}
			if c.problem == "" {
				wantNoProblem(t, problems)
			} else {
				wantProblem(t, problems, "users/alice/config.xml", c.problem)
			}
			for _, p := range problems {
				if all := fmt.Sprint(p); token.ContainsSecret(all) || strings.Contains(all, "AQAAABAAAA") {
					t.Errorf("a secret is in %+v", p)
				}
			}
		})
	}
}

func bytesOf(d token.Digest) []byte { return d[:] }

// A hostile or broken file is named, and the users beside it are read.
func TestBadConfig(t *testing.T) {
	good := config("alice", list(hashed("<name>a</name>"+value("a"))))
	for _, c := range []struct{ name, config, reason string }{
		{"empty", "", "is empty"},
		{"blanks", " \n", "is empty"},
		{"not XML", "hello", "not a file of Jenkins"},
		{"truncated", good[:len(good)-20], "ends in the middle"},
		{"truncated in a tag", good[:len(good)-1], "ends in the middle"},
		{"crossed", "<user><a></user></a>", "not well-formed"},
		{"foreign", "<project/>", "not a file of Jenkins with a <user>"},
		{"two roots", "<user/><user/>", "not a file of Jenkins"},
		{"text after", "<user/>x", "not a file of Jenkins"},
		{"other namespace", "<user xmlns='x'/>", "not a file of Jenkins"},
		{"DTD", "<!DOCTYPE user [<!ENTITY a 'b'>]><user/>", "document type"},
		{"billion laughs", "<!DOCTYPE user [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><user><id>&b;</id></user>", "document type"},
		{"external entity", "<!DOCTYPE user SYSTEM 'file:///etc/passwd'><user/>", "document type"},
		{"unknown entity", "<user><id>&a;</id></user>", "not well-formed"},
		{"deep", strings.Repeat("<user>", 100_000), "nests more than"},
		{"not UTF-8", "<user><id>\xff</id></user>", "not valid UTF-8"},
		{"other encoding", "<?xml version='1.0' encoding='ISO-8859-1'?><user/>", "encoding"},
		{"UTF-16", "\xff\xfe<\x00u\x00", "UTF-8"},
		{"long id", "<user><id>" + strings.Repeat("a", 1025) + "</id></user>", "more than 1024"},
		{"longer id", "<user><id>" + strings.Repeat("a", 100_000) + "</id></user>", "more than 8192"},
		{"element in the id", "<user><id>a<b/></id></user>", "where a text should be"},
		{"two ids", "<user><id>a</id><id>b</id></user>", "two <id>"},
		{"nobody", config("anonymous", list(hashed(value("b")))), "1 token is left"},
		{"invisible character", config("a\u200bb", ""), "invisible"},
		{"control character in 1.0", "<?xml version='1.0'?><user><id>a&#1;</id></user>", "not well-formed"},
		{"NUL in 1.1", "<?xml version='1.1'?><user><id>a&#0;</id></user>", "not well-formed"},
		{"XML 2.0", "<?xml version='2.0'?><user/>", "not XML that can be read"},
		{"same user", strings.Replace(good, "alice", "ALICE", 1), "the same user"},
		{"too large", "<user>" + strings.Repeat(" ", 16<<20) + "</user>", "larger than"},
		{"huge element", "<user><properties><x>" + strings.Repeat("x", 16<<20), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			users, problems := read(t, fstest.MapFS{
				"users/alice/config.xml": file(good),
				"users/bad/config.xml":   file(c.config),
				"users/zoe/config.xml":   file(config("zoe", "")),
			}, jenkinshome.Options{})
			wantIDs(t, users, "alice", "zoe")
			wantProblem(t, problems, "users/bad/config.xml", c.reason)
			if len(users["alice"].Tokens) != 1 {
				t.Errorf("alice = %+v", users["alice"])
			}
		})
	}
}

func TestMapping(t *testing.T) {
	entry := func(texts ...string) string {
		return "<entry><string>" + strings.Join(texts, "</string><string>") + "</string></entry>"
	}
	mapper := func(entries ...string) *fstest.MapFile {
		return file("<?xml version='1.1'?><hudson.model.UserIdMapper><idToDirectoryNameMap>" + strings.Join(entries, "") + "</idToDirectoryNameMap></hudson.model.UserIdMapper>")
	}
	for _, c := range []struct {
		name    string
		mapping *fstest.MapFile
		want    []string
		problem string
	}{
		{"spelling of the id", mapper(entry("alice", "a_1"), entry("bob", "b_1")), []string{"Alice", "bob"}, ""},
		{"the map wins", mapper(entry("carol", "a_1"), entry("bob", "b_1")), []string{"bob", "carol"}, ""},
		{"not in the map", mapper(entry("alice", "a_1")), []string{"Alice"}, "not in users.xml"},
		{"way out", mapper(entry("alice", "../secrets"), entry("bob", "b_1")), []string{"bob"}, "not one in users"},
		{"way out on Windows", mapper(entry("alice", `..\secrets`), entry("bob", "b_1")), []string{"bob"}, "not one in users"},
		{"itself", mapper(entry("alice", "."), entry("bob", "b_1")), []string{"bob"}, "not one in users"},
		{"absolute", mapper(entry("alice", "/etc"), entry("bob", "b_1")), []string{"bob"}, "not one in users"},
		{"two of one directory", mapper(entry("alice", "a_1"), entry("bob", "a_1")), []string{"Alice"}, "read for that user only"},
		{"last wins", mapper(entry("alice", "b_1"), entry("alice", "a_1")), []string{"Alice"}, "there twice"},
		{"entry of three", mapper(entry("alice", "a_1", "x")), []string{"Alice", "Bob"}, "instead"},
		{"entry of one", mapper(entry("alice")), []string{"Alice", "Bob"}, "instead"},
		{"broken", file("<hudson"), []string{"Alice", "Bob"}, "ends in the middle"},
		{"foreign", file("<user/>"), []string{"Alice", "Bob"}, "not a file of Jenkins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := fstest.MapFS{
				"users/users.xml":       c.mapping,
				"users/a_1/config.xml":  file(config("Alice", "")),
				"users/b_1/config.xml":  file(config("Bob", "")),
				"users/c_1/config.xml":  file("<user/>"), // whose, only a map could tell
				"users/d_1/nothing.txt": file(""),
			}
			if slices.Contains(c.want, "bob") {
				home["users/b_1/config.xml"] = file("<user/>")
			}
			users, problems := read(t, home, jenkinshome.Options{})
			wantIDs(t, users, c.want...)
			wantProblem(t, problems, "users", c.problem)
		})
	}
}

func TestHashedDirectories(t *testing.T) {
	home := hometest.Home{Users: 2, Tokens: 1}.FS()
	var dirs []string
	for name := range home {
		if strings.HasSuffix(name, "config.xml") {
			dirs = append(dirs, name)
		}
	}
	slices.Sort(dirs)
	// Somebody else's id in a directory, and a directory that was made by hand.
	stolen := "users/mallory_" + strings.Repeat("a", 64) + "/config.xml"
	home[stolen] = file(string(home[dirs[0]].Data))
	home["users/carol/config.xml"] = file(config("", ""))
	home["users/carol/nested/config.xml"] = file(config("", "")) // nobody's any more
	home["users/config.xml"] = file(config("", ""))
	home["users/user-00001/config.xml"] = file(config("", list(hashed(value("a")))))
	users, problems := read(t, home, jenkinshome.Options{})
	wantIDs(t, users, "user-00000", "user-00001", "carol")
	wantProblem(t, problems, stolen, "Jenkins ignores it")
	wantProblem(t, problems, "users/user-00001/config.xml", "the same user")
	if got := users["user-00001"].Directory; got != path.Dir(dirs[1]) {
		t.Errorf("user-00001 is in %q, want the hashed directory %q", got, dirs[1])
	}

	// Without the key nobody can tell, and the caller is told.
	delete(home, "secrets/hudson.model.User.DIRNAMES")
	_, problems = read(t, home, jenkinshome.Options{})
	wantProblem(t, problems, "DIRNAMES", "was not checked")
	delete(home, "secrets/master.key")
	_, problems = read(t, home, jenkinshome.Options{})
	wantProblem(t, problems, "DIRNAMES", "master.key")
	home["secrets/master.key"] = file("another")
	home["secrets/hudson.model.User.DIRNAMES"] = file("0123456789abcdef")
	_, problems = read(t, home, jenkinshome.Options{})
	wantProblem(t, problems, "DIRNAMES", "can't be decrypted")
}

func TestNoHome(t *testing.T) {
	users, problems := read(t, fstest.MapFS{"x": file("")}, jenkinshome.Options{})
	wantIDs(t, users)
	wantProblem(t, problems, "users", "name a JENKINS_HOME")
}

// What stands in a file system besides files, through an os.Root as the commands use.
func TestFileSystem(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "mallory")
	mkdir := func(name string) string {
		name = filepath.Join(dir, "users", name)
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
		return name
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := []byte(config("", list(hashed(value("c")))))
	check(os.MkdirAll(outside, 0o700))
	check(os.WriteFile(filepath.Join(outside, "config.xml"), plain, 0o600))
	check(os.WriteFile(filepath.Join(mkdir("alice"), "config.xml"), []byte(config("", list(hashed("<uuid>x</uuid>"+value("a"))))), 0o600))
	check(unix.Mkfifo(filepath.Join(mkdir("alice"), "apiTokenStats.xml"), 0o600))
	check(unix.Mkfifo(filepath.Join(mkdir("pipe"), "config.xml"), 0o600))
	mkdir("directory/config.xml")
	mkdir("empty")
	check(os.Symlink(outside, filepath.Join(dir, "users", "mallory")))
	check(os.Symlink(filepath.Join(outside, "config.xml"), filepath.Join(mkdir("link"), "config.xml")))
	check(os.Symlink("alice", filepath.Join(dir, "users", "within")))
	check(os.Symlink("loop", filepath.Join(dir, "users", "loop")))
	check(os.Symlink("..", filepath.Join(mkdir("up"), "up")))
	unreadable := filepath.Join(mkdir("unreadable"), "config.xml")
	check(os.WriteFile(unreadable, plain, 0))

	root, err := os.OpenRoot(dir)
	check(err)
	defer root.Close()
	type outcome struct {
		users    map[user.ID]jenkinshome.User
		problems []jenkinshome.Problem
	}
	done := make(chan outcome, 1)
	go func() {
		users, problems := read(t, root.FS(), jenkinshome.Options{})
		done <- outcome{users, problems}
	}()
	var got outcome
	select {
	case got = <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("reading the home waits for something")
	}
	if os.Geteuid() == 0 { // for whom nothing is unreadable
		delete(got.users, "unreadable")
	} else {
		wantProblem(t, got.problems, "unreadable", "permission denied")
	}
	wantIDs(t, got.users, "alice", "within")
	if len(got.users["alice"].Tokens) != 1 {
		t.Errorf("alice = %+v, want a token", got.users["alice"])
	}
	wantProblem(t, got.problems, "within", "already") // and so it is nobody else's
	wantProblem(t, got.problems, "alice/apiTokenStats.xml", "not a plain file")
	wantProblem(t, got.problems, "pipe/config.xml", "not a plain file")
	wantProblem(t, got.problems, "directory/config.xml", "not a plain file")
	wantProblem(t, got.problems, "mallory/config.xml", "escapes")
	wantProblem(t, got.problems, "link/config.xml", "escapes")
	wantProblem(t, got.problems, "empty", "no config.xml")
	wantProblem(t, got.problems, "loop", "")
}

func TestStatsOfAHome(t *testing.T) {
	const id = "bdf647eb-10f3-46e3-8a2d-13d10962247f"
	single := func(fields string) string {
		return "<jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats><tokenUuid>" + id + "</tokenUuid>" + fields + "</jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats>"
	}
	for _, c := range []struct {
		name    string
		stats   string
		uses    uint64
		last    string
		problem string
	}{
		{"none", "", 0, "", ""},
		{"one", single("<lastUseDate>2026-01-02 03:04:05.6 UTC</lastUseDate><useCounter>7</useCounter>"), 7, "2026-01-02T03:04:05Z", ""},
		{"no counter", single("<lastUseDate>2026-01-02 03:04:05.6 UTC</lastUseDate>"), 0, "2026-01-02T03:04:05Z", ""},
		{"negative counter", single("<useCounter>-7</useCounter>"), 0, "", ""},
		{"counter too large", single("<useCounter>99999999999</useCounter>"), 0, "", ""},
		{"later of two", single("<lastUseDate>2026-01-02 03:04:05.6 UTC</lastUseDate><useCounter>7</useCounter>") + single("<useCounter>9</useCounter>"), 7, "2026-01-02T03:04:05Z", ""},
		{"larger of two", single("<useCounter>7</useCounter>") + single("<useCounter>9</useCounter>") + single("<useCounter>8</useCounter>"), 9, "", ""},
		{"broken", "<", 0, "", "uses are counted from 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			users, problems := read(t, fstest.MapFS{
				"users/alice/config.xml":        file(config("", list(hashed("<uuid>"+id+"</uuid>"+value("a"))))),
				"users/alice/apiTokenStats.xml": file("<jenkins.security.apitoken.ApiTokenStats><tokenStats>" + c.stats + "</tokenStats></jenkins.security.apitoken.ApiTokenStats>"),
			}, jenkinshome.Options{})
			if c.problem == "" {
				wantNoProblem(t, problems)
			} else {
				wantProblem(t, problems, "apiTokenStats.xml", c.problem)
			}
			var last int64
			if c.last != "" {
				last = unixTime(t, c.last)
			}
			tokens := users["alice"].Tokens
			if len(tokens) != 1 || tokens[0].Uses != c.uses || tokens[0].LastUse != last {
				t.Errorf("tokens %+v, want %d uses, the last at %d", tokens, c.uses, last)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"UTC", "2027-01-31", "2027-02-01T00:00:00Z"},
		{"UTC", "2024-02-29", "2024-03-01T00:00:00Z"},
		{"UTC", "1999-12-31", "2000-01-01T00:00:00Z"},
		{"UTC", "9999-12-31", "+10000-01-01"},
		{"Europe/Berlin", "2027-01-31", "2027-01-31T23:00:00Z"},
		{"America/New_York", "2027-06-30", "2027-07-01T04:00:00Z"},
		{"Africa/Cairo", "2026-04-23", "2026-04-23T22:00:00Z"}, // midnight is skipped on the 24th
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		users, problems := read(t, fstest.MapFS{"users/alice/config.xml": file(config("", list(hashed("<expirationDate>"+c.day+"</expirationDate>"+value("a")))))}, jenkinshome.Options{Zone: zone})
		wantNoProblem(t, problems)
		want := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		if c.want[0] != '+' {
			want = unixTime(t, c.want)
		}
		if tokens := users["alice"].Tokens; len(tokens) != 1 || tokens[0].Expires != want {
			t.Errorf("%s in %s: tokens %+v, want expiry at %s", c.day, c.zone, tokens, c.want)
		}
	}
}

// An endless file, which says that it is empty.
type endless struct{ fstest.MapFS }

func (e endless) Open(name string) (fs.File, error) {
	file, err := e.MapFS.Open(name)
	if err == nil && name == "users/endless/config.xml" {
		return endlessFile{file}, nil
	}
	return file, err
}

type endlessFile struct{ fs.File }

func (endlessFile) Read(b []byte) (int, error) { return copy(b, "<user>"), nil }

func TestEndlessFile(t *testing.T) {
	users, problems := read(t, endless{fstest.MapFS{
		"users/alice/config.xml":   file(config("", "")),
		"users/endless/config.xml": file(""),
	}}, jenkinshome.Options{})
	wantIDs(t, users, "alice")
	wantProblem(t, problems, "users/endless/config.xml", "larger than 16777216 bytes")
}

// A file that fails while it is read.
type failing struct{ fs.FS }

func (f failing) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err == nil && name == "users/alice/config.xml" {
		return failingFile{file}, nil
	}
	return file, err
}

type failingFile struct{ fs.File }

func (failingFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: "/where", Err: unix.EIO}
}

func TestFailingFile(t *testing.T) {
	users, problems := read(t, failing{fstest.MapFS{
		"users/alice/config.xml": file(config("", "")),
		"users/bob/config.xml":   file(config("", "")),
	}}, jenkinshome.Options{})
	wantIDs(t, users, "bob")
	if len(problems) != 1 || problems[0].Reason != "can't be read: input/output error" {
		t.Errorf("problems %+v", problems)
	}
}

// Keys of another home decrypt nothing, and nothing is made up.
func TestKeysOfAnotherHome(t *testing.T) {
	const n = 300 // one in 256 has the right padding by chance
	home := hometest.Home{Layout: hometest.Mapped, Users: n, Legacy: true, Seed: 1}.FS()
	home["secrets/hudson.util.Secret"] = hometest.Home{Seed: 2}.FS()["secrets/hudson.util.Secret"]
	users, problems := read(t, home, jenkinshome.Options{})
	if len(users) != n || len(problems) != n {
		t.Fatalf("%d users and %d problems, want %d of each", len(users), len(problems), n)
	}
	for _, p := range problems {
		if p.Token != "Legacy Token" || !strings.Contains(p.Reason, "bring secrets/ of the Jenkins that it is from") {
			t.Errorf("problem %+v", p)
		}
	}
}

// Which spellings are one user, the realm says.
func TestFoldedIDs(t *testing.T) {
	home := fstest.MapFS{
		"users/alice/config.xml": file(config("", list(hashed(value("a"))))),
		"users/Alice/config.xml": file(config("", list(hashed(value("b"))))),
	}
	users, problems := read(t, home, jenkinshome.Options{})
	wantIDs(t, users, "alice")
	wantProblem(t, problems, "users/alice/config.xml", "the same user as in \"users/Alice\": it is not read; 1 token is left")
	users, problems = read(t, home, jenkinshome.Options{UserIDs: user.CaseSensitive})
	wantIDs(t, users, "alice", "Alice")
	wantNoProblem(t, problems)
}

// What comes early ends the reading.
func TestReadStops(t *testing.T) {
	home := hometest.Home{Users: 3, Tokens: 1}.FS()
	n := 0
	for range jenkinshome.Read(home, jenkinshome.Options{Zone: time.UTC}) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d results after break", n)
	}
}

func BenchmarkRead10000(b *testing.B) {
	for _, layout := range []hometest.Layout{hometest.Hashed, hometest.Mapped, hometest.Named} {
		b.Run(layout.String(), func(b *testing.B) {
			dir := b.TempDir()
			if err := (hometest.Home{Layout: layout, Users: 10_000, Tokens: 5}).Write(dir); err != nil {
				b.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for r := range jenkinshome.Read(root.FS(), jenkinshome.Options{}) {
					if r.Problem != nil {
						b.Fatal(r.Problem)
					}
					n += len(r.User.Tokens)
				}
				if n != 50_000 {
					b.Fatalf("%d tokens", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/token")
		})
	}
}
