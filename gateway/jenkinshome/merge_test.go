package jenkinshome_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome"
	"github.com/crumbgate/crumbgate/gateway/jenkinshome/hometest"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func sample(name string) jenkinshome.Token {
	sum := sha256.Sum256([]byte(name))
	return jenkinshome.Token{UUID: uuid.NewSHA1(uuid.Nil, sum[:]), Name: name, Digest: sum, Created: 1_571_844_432}
}

const written = `<jenkins.security.apitoken.ApiTokenStore_-HashedToken>
    <uuid>5a4ecb0c-8f0e-5b9c-8d1c-3d8a9a2c5f01</uuid>
    <name>a&amp;b&#xE9;</name>
    <creationDate>2019-10-23 15:27:12.0 UTC</creationDate>
    <expirationDate>2027-01-31</expirationDate>
    <value>
      <version>11</version>
      <hash>0100000000000000000000000000000000000000000000000000000000000000</hash>
    </value>
  </jenkins.security.apitoken.ApiTokenStore_-HashedToken>`

// Where the list goes, and that all other bytes stay as they are.
func TestMergePlaces(t *testing.T) {
	one := jenkinshome.Token{
		UUID: uuid.MustParse("5a4ecb0c-8f0e-5b9c-8d1c-3d8a9a2c5f01"), Name: "a&bé", Digest: token.Digest{1},
		Created: unixTime(t, "2019-10-23T15:27:12Z"), Expires: unixTime(t, "2027-02-01T00:00:00Z"),
	}
	indented := func(indent string) string { return strings.ReplaceAll(written, "\n  ", "\n"+indent) }
	const property = "jenkins.security.ApiTokenProperty"
	for _, c := range []struct{ name, config, want string }{
		{"empty list", "<user>\n  <properties>\n    <" + property + ">\n      <tokenStore>\n        <tokenList/>\n      </tokenStore>\n    </" + property + ">\n  </properties>\n</user>",
			"<user>\n  <properties>\n    <" + property + ">\n      <tokenStore>\n        <tokenList>\n          " + indented("          ") + "\n        </tokenList>\n      </tokenStore>\n    </" + property + ">\n  </properties>\n</user>"},
		{"list of blanks", "<user><properties><" + property + "><tokenStore><tokenList> </tokenList></tokenStore></" + property + "></properties></user>",
			"<user><properties><" + property + "><tokenStore><tokenList>\n  " + indented("  ") + " </tokenList></tokenStore></" + property + "></properties></user>"},
		{"list with attribute", "<user><properties><" + property + "><tokenStore><tokenList class='x' /></tokenStore></" + property + "></properties></user>",
			"<user><properties><" + property + "><tokenStore><tokenList class='x' >\n  " + indented("  ") + "\n</tokenList></tokenStore></" + property + "></properties></user>"},
		{"no list", "<user><properties><" + property + "><tokenStore/></" + property + "></properties></user>",
			"<user><properties><" + property + "><tokenStore>\n  <tokenList>\n    " + indented("    ") + "\n  </tokenList>\n</tokenStore></" + property + "></properties></user>"},
		{"XML 1.1, byte order mark, no properties", "\ufeff<?xml version='1.1' encoding='UTF-8'?>\r\n<user>\r\n  <description>&#x1f;&#1;<![CDATA[<user>]]></description>\r\n</user>\r\n<!-- é -->",
			"\ufeff<?xml version='1.1' encoding='UTF-8'?>\r\n<user>\r\n  <description>&#x1f;&#1;<![CDATA[<user>]]></description>\n  <properties>\n    <" + property + ">\n      <tokenStore>\n        <tokenList>\n          " +
				indented("          ") + "\n        </tokenList>\n      </tokenStore>\n    </" + property + ">\n  </properties>\r\n</user>\r\n<!-- é -->"},
		{"nothing", "<user/>", "<user>\n  <properties>\n    <" + property + ">\n      <tokenStore>\n        <tokenList>\n          " +
			indented("          ") + "\n        </tokenList>\n      </tokenStore>\n    </" + property + ">\n  </properties>\n</user>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := []byte(c.config)
			got, err := jenkinshome.Merge(given, []jenkinshome.Token{one}, nil, time.UTC)
			if err != nil || string(got) != c.want {
				t.Errorf("Merge = %q, %v\nwant %q", got, err, c.want)
			}
			if string(given) != c.config {
				t.Error("Merge has changed what it was given")
			}
			again, err := jenkinshome.Merge(got, []jenkinshome.Token{one}, nil, time.UTC)
			if err != nil || len(again) != len(got) {
				t.Errorf("merged twice: %q, %v", again, err)
			}
			users, problems := read(t, fstest.MapFS{"users/alice/config.xml": file(string(got))}, jenkinshome.Options{})
			wantNoProblem(t, problems)
			if tokens := users["alice"].Tokens; len(tokens) != 1 || tokens[0] != one {
				t.Errorf("read back: %+v, want %+v", tokens, one)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	a, b, c := sample("a"), sample("b"), sample("c")
	old := sample("legacy")
	old.Legacy = true
	both, err := jenkinshome.Merge([]byte(config("alice", "<apiToken>plain text!</apiToken>")), []jenkinshome.Token{a, old, b}, nil, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	badExpiry := bytes.Replace(both, []byte("<name>a</name>"), []byte("<name>a</name><expirationDate>x</expirationDate>"), 1)
	renamed := a
	renamed.Name = "other"
	moved := c
	moved.UUID = a.UUID
	with := func(change func(*jenkinshome.Token)) []jenkinshome.Token {
		x := c
		change(&x)
		return []jenkinshome.Token{x}
	}
	for _, k := range []struct {
		name       string
		config     []byte
		live, gone []jenkinshome.Token
		want       []string
		err        string
	}{
		{"nothing", both, nil, nil, []string{"a", "legacy", "b"}, ""},
		{"one more", both, []jenkinshome.Token{c}, nil, []string{"a", "legacy", "b", "c"}, ""},
		{"one gone", both, nil, []jenkinshome.Token{a}, []string{"legacy", "b"}, ""},
		{"last gone", both, nil, []jenkinshome.Token{b}, []string{"a", "legacy"}, ""},
		{"all gone", both, nil, []jenkinshome.Token{b, old, a}, nil, ""},
		{"all gone, one new", both, []jenkinshome.Token{c}, []jenkinshome.Token{b, old, a}, []string{"c"}, ""},
		{"replaced", both, []jenkinshome.Token{renamed}, nil, []string{"legacy", "b", "other"}, ""},
		{"legacy one gone", both, nil, []jenkinshome.Token{old}, []string{"a", "b"}, ""},
		{"legacy one gone that was never stored", []byte(config("alice", "<apiToken>plain text!</apiToken>")), nil, []jenkinshome.Token{old}, nil, ""},
		{"one that can't be read, gone", badExpiry, nil, []jenkinshome.Token{a}, []string{"legacy", "b"}, ""},
		{"unknown gone", both, nil, []jenkinshome.Token{c}, []string{"a", "legacy", "b"}, ""},
		{"without UUID", both, with(func(x *jenkinshome.Token) { x.UUID = uuid.Nil }), nil, []string{"a", "legacy", "b", "c"}, ""},
		{"UUID of another", both, []jenkinshome.Token{moved}, nil, nil, "UUID"},
		{"twice", both, []jenkinshome.Token{c, c}, nil, nil, "twice"},
		{"both live and gone", both, []jenkinshome.Token{c}, []jenkinshome.Token{c}, nil, "both"},
		{"no digest", both, with(func(x *jenkinshome.Token) { x.Digest = token.Digest{} }), nil, nil, "digest"},
		{"digest of the empty legacy secret", both, with(func(x *jenkinshome.Token) { x.Digest = legacyDigest("") }), nil, nil, "digest"},
		{"name with a line end", both, with(func(x *jenkinshome.Token) { x.Name = "a\nb" }), nil, nil, "U+000A"},
		{"name not UTF-8", both, with(func(x *jenkinshome.Token) { x.Name = "\xff" }), nil, nil, "UTF-8"},
		{"name too long", both, with(func(x *jenkinshome.Token) { x.Name = strings.Repeat("n", 1025) }), nil, nil, "1025"},
		{"expiry too far", both, with(func(x *jenkinshome.Token) { x.Expires = 1 << 50 }), nil, nil, "year"},
		{"broken", both[:100], []jenkinshome.Token{c}, nil, nil, "ends in the middle"},
	} {
		t.Run(k.name, func(t *testing.T) {
			got, err := jenkinshome.Merge(k.config, k.live, k.gone, time.UTC)
			if k.err != "" {
				if err == nil || !strings.Contains(err.Error(), k.err) {
					t.Errorf("Merge = %q, %v, want an error with %q", got, err, k.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			users, problems := read(t, fstest.MapFS{"users/alice/config.xml": file(string(got))}, jenkinshome.Options{})
			wantNoProblem(t, problems)
			var names []string
			for _, tok := range users["alice"].Tokens {
				names = append(names, tok.Name)
			}
			if !slices.Equal(names, k.want) {
				t.Errorf("tokens %q, want %q, in %s", names, k.want, got)
			}
		})
	}
}

// A token of the gateway that ends within a day never lives longer in Jenkins.
func TestMergeExpiryWithinADay(t *testing.T) {
	one := sample("a")
	for expires, want := range map[string]string{
		"2027-02-01T00:00:00Z": "2027-01-31",
		"2027-02-01T00:00:01Z": "2027-01-31",
		"2027-02-01T23:59:59Z": "2027-01-31",
		"2027-02-02T00:00:00Z": "2027-02-01",
	} {
		one.Expires = unixTime(t, expires)
		got, err := jenkinshome.Merge([]byte("<user/>"), []jenkinshome.Token{one}, nil, time.UTC)
		if err != nil || !bytes.Contains(got, []byte("<expirationDate>"+want+"</expirationDate>")) {
			t.Errorf("expiry %s: %s, %v, want %s", expires, got, err, want)
		}
	}
}

// What findMatchingToken hashes of a presented token, by the rule in the comment of
// Merge, is the digest that the gateway stores.
func TestJenkinsFindsTokensOfTheGateway(t *testing.T) {
	for _, format := range []token.Format{token.Native, token.Jenkins} {
		secret := token.NewSecret(format)
		presented := secret.Reveal()
		if len(presented) == 34 {
			presented = presented[2:]
		}
		if got := token.Digest(sha256.Sum256([]byte(presented))); got != secret.Digest() {
			t.Errorf("format %d: Jenkins looks for %x, the gateway stores %x", format, got, secret.Digest())
		}
	}
}

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Africa/Cairo"}

func drawToken(t *rapid.T, label string, zone *time.Location) jenkinshome.Token {
	tok := jenkinshome.Token{
		Name:    rapid.StringMatching(`[ -~ä€𝄞]{0,20}`).Draw(t, label+" name"),
		Digest:  token.Digest(rapid.SliceOfN(rapid.Byte(), 32, 32).Filter(func(b []byte) bool { return token.Digest(b) != token.Digest{} }).Draw(t, label+" digest")),
		Legacy:  rapid.Bool().Draw(t, label+" legacy"),
		Created: rapid.Int64Range(0, 4_000_000_000).Draw(t, label+" created"),
		Uses:    rapid.Uint64Range(1, 1<<31-1).Draw(t, label+" uses"),
		LastUse: rapid.Int64Range(0, 4_000_000_000).Draw(t, label+" last use"),
		UUID:    uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label+" uuid")),
	}
	if tok.UUID == uuid.Nil {
		tok.Uses, tok.LastUse = 0, 0
	}
	if rapid.Bool().Draw(t, label+" expires") {
		day := time.Date(2026, 1, 1+rapid.IntRange(0, 30_000).Draw(t, label+" day"), 0, 0, 0, 0, time.UTC)
		expires, err := token.ParseExpiry(day.Format(time.DateOnly), day.AddDate(0, 0, -2).In(zone))
		if err != nil {
			t.Fatal(err)
		}
		tok.Expires = expires
	}
	return tok
}

// Whatever is merged into whatever home is read back.
func TestMergeThenRead(t *testing.T) {
	var configs [][]byte
	for _, name := range []string{"hashed-molecule", "legacy-oldsecret", "usersxml-emptylist", "usersxml-differentid", "dirnames-legacy"} {
		files, err := fs.Glob(published(name), "users/*/config.xml")
		if err != nil || len(files) == 0 {
			t.Fatal(name, err)
		}
		data, err := fs.ReadFile(published(name), files[0])
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, data)
	}
	rapid.Check(t, func(rt *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(rt, "zone"))
		if err != nil {
			rt.Fatal(err)
		}
		digests, uuids := make(map[token.Digest]bool), make(map[uuid.UUID]bool)
		var live []jenkinshome.Token
		for i := range rapid.IntRange(0, 5).Draw(rt, "tokens") {
			tok := drawToken(rt, fmt.Sprint(i), zone)
			if digests[tok.Digest] || uuids[tok.UUID] {
				continue
			}
			digests[tok.Digest], uuids[tok.UUID] = true, true
			live = append(live, tok)
		}
		given := rapid.SampledFrom(configs).Draw(rt, "config")
		opts := jenkinshome.Options{Zone: zone}
		before, _ := read(t, fstest.MapFS{"users/alice/config.xml": file(string(given))}, opts)
		merged, err := jenkinshome.Merge(given, live, nil, zone)
		if err != nil {
			rt.Fatal(err)
		}
		home := fstest.MapFS{"users/alice/config.xml": file(string(merged))}
		stats, err := jenkinshome.Stats(nil, live)
		if err != nil {
			rt.Fatal(err)
		}
		if stats != nil {
			home["users/alice/apiTokenStats.xml"] = file(string(stats))
		}
		after, _ := read(t, home, opts)
		for id, u := range after {
			if want := append(before[id].Tokens, live...); !slices.Equal(u.Tokens, want) {
				rt.Fatalf("read %+v\nwant %+v\nfrom %s", u.Tokens, want, merged)
			}
		}
		// The rest is there byte for byte: without the new tokens it is as before.
		removed, err := jenkinshome.Merge(merged, nil, live, zone)
		if err != nil {
			rt.Fatal(err)
		}
		clean, _ := read(t, fstest.MapFS{"users/alice/config.xml": file(string(removed))}, opts)
		for id, u := range clean {
			if !slices.Equal(u.Tokens, before[id].Tokens) {
				rt.Fatalf("after removal %+v, want %+v", u.Tokens, before[id].Tokens)
			}
		}
	})
}

func TestStats(t *testing.T) {
	a, b, c := sample("a"), sample("b"), sample("c")
	a.Uses, a.LastUse = 3, 1_700_000_000
	b.Uses = 1 << 40
	first, err := jenkinshome.Stats(nil, []jenkinshome.Token{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(first, []byte("<tokenUuid>")); n != 2 || !bytes.Contains(first, []byte("<useCounter>2147483647<")) {
		t.Errorf("Stats = %s, want two tokens, and a count that Java can hold", first)
	}
	earlier, later := a, a
	earlier.LastUse--
	earlier.Uses = 100
	later.LastUse++
	c.Uses = 1
	second, err := jenkinshome.Stats(first, []jenkinshome.Token{earlier, c})
	if err != nil || bytes.Count(second, []byte("<tokenUuid>")) != 3 || bytes.Contains(second, []byte("<useCounter>100<")) {
		t.Errorf("Stats = %s, %v, want three tokens, a as it was", second, err)
	}
	third, err := jenkinshome.Stats(second, []jenkinshome.Token{later})
	if err != nil || !bytes.Contains(third, []byte("22:13:21.0 UTC")) {
		t.Errorf("Stats = %s, %v, want the later use of a", third, err)
	}
	if none, err := jenkinshome.Stats(nil, []jenkinshome.Token{sample("x")}); none != nil || err != nil {
		t.Errorf("Stats of nothing = %q, %v", none, err)
	}
	if _, err := jenkinshome.Stats([]byte("<"), nil); err == nil || !strings.Contains(err.Error(), "apiTokenStats.xml ends") {
		t.Errorf("Stats of a broken file: %v", err)
	}
}

func TestExport(t *testing.T) {
	for _, layout := range []hometest.Layout{hometest.Hashed, hometest.Mapped, hometest.Named} {
		t.Run(layout.String(), func(t *testing.T) {
			made := hometest.Home{Layout: layout, Users: 3, Tokens: 2}
			home := made.FS()
			before, _ := read(t, home, jenkinshome.Options{})
			a, b := sample("a"), sample("b")
			a.Uses = 5
			gone := before["user-00001"].Tokens[0]
			wanted := []jenkinshome.Changed{
				{ID: "User-00001", Live: []jenkinshome.Token{a}},
				{ID: "USER-00001", Gone: []jenkinshome.Token{gone}},
				{ID: "user-00002", Live: []jenkinshome.Token{b}},
				{ID: "nobody-here", Live: []jenkinshome.Token{sample("x")}},
			}
			var names, done []string
			out := fstest.MapFS{}
			for name, data := range home {
				out[name] = data
			}
			var problems []jenkinshome.Problem
			for r := range jenkinshome.Export(home, wanted, jenkinshome.Options{Zone: time.UTC}, func(name string, data []byte) error {
				names = append(names, name)
				out[name] = file(string(data))
				return nil
			}) {
				if r.User != nil {
					done = append(done, string(r.User.ID))
				} else {
					problems = append(problems, *r.Problem)
				}
			}
			slices.Sort(done)
			if !slices.Equal(done, []string{"user-00001", "user-00002"}) || len(names) != 4 {
				t.Errorf("exported %q in the files %q", done, names)
			}
			if len(problems) != 1 || problems[0].User != "nobody-here" || !strings.Contains(problems[0].Reason, "no directory in this home; 1 token is left") {
				t.Errorf("problems %+v", problems)
			}
			after, more := read(t, out, jenkinshome.Options{})
			wantNoProblem(t, more)
			if want := append(slices.Clone(before["user-00001"].Tokens[1:]), a); !slices.Equal(after["user-00001"].Tokens, want) {
				t.Errorf("user 1 has %+v, want %+v", after["user-00001"].Tokens, want)
			}
			if got := after["user-00002"].Tokens; len(got) != 3 || got[2] != b {
				t.Errorf("user 2 has %+v, want %+v in addition", got, b)
			}
			if got := after["user-00000"].Tokens; !slices.Equal(got, before["user-00000"].Tokens) {
				t.Errorf("user 0 has %+v, want what there was", got)
			}
		})
	}
}

func TestExportProblems(t *testing.T) {
	a := sample("a")
	a.Uses = 1
	home := fstest.MapFS{
		"users/alice/config.xml":        file(config("alice", "")),
		"users/alice/apiTokenStats.xml": file("<"),
		"users/bob/config.xml":          file("<user>"),
		"users/carol/config.xml":        file(config("carol", "")),
		"users/system/config.xml":       file(config("SYSTEM", "")),
	}
	var wanted []jenkinshome.Changed
	for _, id := range []user.ID{"alice", "bob", "carol"} {
		wanted = append(wanted, jenkinshome.Changed{ID: id, Live: []jenkinshome.Token{a}})
	}
	var problems []jenkinshome.Problem
	for r := range jenkinshome.Export(home, wanted, jenkinshome.Options{}, func(name string, _ []byte) error {
		if path.Base(path.Dir(name)) == "carol" {
			return os.ErrPermission
		}
		if strings.HasSuffix(name, "Stats.xml") {
			return errors.New("no statistics were expected")
		}
		return nil
	}) {
		if r.Problem != nil {
			problems = append(problems, *r.Problem)
		} else if r.User.ID != "alice" {
			t.Errorf("exported %+v", r.User)
		}
	}
	wantProblem(t, problems, "users/alice/apiTokenStats.xml", "ends in the middle")
	wantProblem(t, problems, "users/bob/config.xml", "ends in the middle")
	wantProblem(t, problems, "users/carol/config.xml", "permission denied")
	wantProblem(t, problems, "users/system/config.xml", "Jenkins keeps")
	wantProblem(t, problems, "users", "no directory in this home") // bob
	if len(problems) != 5 {
		t.Errorf("problems %+v", problems)
	}
}
