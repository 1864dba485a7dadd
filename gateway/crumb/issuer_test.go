package crumb_test

import (
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/user"
)

const alphabet64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var noon = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// unmask returns what a crumb is without its mask: version, key, time, tag and MAC.
func unmask(t testing.TB, text string) (plain, pad []byte) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("DecodeString(%q): %v", text, err)
	}
	pad = b[:len(b)/2]
	for i, c := range b[len(b)/2:] {
		plain = append(plain, c^pad[i])
	}
	return plain, pad
}

func mask(plain, pad []byte) string {
	b := append([]byte(nil), pad...)
	for i, c := range plain {
		b = append(b, c^pad[i])
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestVerify(t *testing.T) {
	keys := crumb.NewKeys()
	text := keys.Issue("alice", "s1", noon)
	for _, c := range []struct {
		name    string
		user    user.ID
		session string
		now     time.Time
		want    crumb.Standing
	}{
		{"at once", "alice", "s1", noon, crumb.Valid},
		{"in the last second", "alice", "s1", noon.Add(24*time.Hour - 1), crumb.Valid},
		{"too old", "alice", "s1", noon.Add(24 * time.Hour), crumb.Expired},
		{"far too old", "alice", "s1", noon.AddDate(400, 0, 0), crumb.Expired},
		{"clock set back a minute", "alice", "s1", noon.Add(-time.Minute), crumb.Valid},
		{"from the future", "alice", "s1", noon.Add(-time.Minute - 1), crumb.Expired},
		{"from the far future", "alice", "s1", noon.AddDate(-400, 0, 0), crumb.Expired},
		{"another user", "bob", "s1", noon, crumb.Foreign},
		{"another spelling", "Alice", "s1", noon, crumb.Foreign},
		{"another spelling in Unicode", "alicé", "s1", noon, crumb.Foreign},
		{"user that begins alike", "alice2", "s1", noon, crumb.Foreign},
		{"user cut short", "alic", "s1", noon, crumb.Foreign},
		{"user and NUL", "alice\x00", "s1", noon, crumb.Foreign},
		{"no user", "", "s1", noon, crumb.Foreign},
		{"user and session exchanged", "s1", "alice", noon, crumb.Foreign},
		{"parts shifted", "alices", "1", noon, crumb.Foreign},
		{"another session", "alice", "s2", noon, crumb.OtherSession},
		{"session that begins alike", "alice", "s11", noon, crumb.OtherSession},
		{"no session", "alice", "", noon, crumb.OtherSession},
		{"another session, too old", "alice", "s2", noon.Add(25 * time.Hour), crumb.Expired},
		{"another user, too old", "bob", "s1", noon.Add(25 * time.Hour), crumb.Foreign},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := keys.Verify(text, c.user, c.session, c.now, crumb.DefaultLifetime); got != c.want {
				t.Errorf("Verify(Issue(alice, s1), %q, %q, %v) = %v, want %v", c.user, c.session, c.now, got, c.want)
			}
		})
	}
	if got := keys.Verify(text, "alice", "s1", noon, 0); got != crumb.Expired {
		t.Errorf("Verify with no lifetime = %v, want expired", got)
	}
	if got := crumb.NewKeys().Verify(text, "alice", "s1", noon, crumb.DefaultLifetime); got != crumb.Foreign {
		t.Errorf("Verify by another key = %v, want foreign", got)
	}
}

func TestVerifyWithoutSession(t *testing.T) {
	keys := crumb.NewKeys()
	text := keys.Issue("alice", "", noon)
	for session, want := range map[string]crumb.Standing{"": crumb.OtherSession, "s1": crumb.OtherSession} {
		if got := keys.Verify(text, "alice", session, noon, time.Hour); got != want {
			t.Errorf("Verify(Issue(alice, no session), alice, %q) = %v, want %v", session, got, want)
		}
	}
}

func TestIssueLongNames(t *testing.T) {
	keys := crumb.NewKeys()
	for _, n := range []int{1, 63, 64, 65, 127, 128, 129, 255, 256, 10_000} {
		long := strings.Repeat("x", n)
		text := keys.Issue(user.ID(long), long, noon)
		for _, c := range []struct {
			name, user, session string
			want                crumb.Standing
		}{
			{"same", long, long, crumb.Valid},
			{"last byte of the user", long[1:] + "y", long, crumb.Foreign},
			{"last byte of the session", long, long[1:] + "y", crumb.OtherSession},
			{"user one longer, session one shorter", long + "x", long[1:], crumb.Foreign},
		} {
			if got := keys.Verify(text, user.ID(c.user), c.session, noon, time.Hour); got != c.want {
				t.Errorf("%d bytes, %s: Verify = %v, want %v", n, c.name, got, c.want)
			}
		}
	}
}

// What an attacker does to a text that was valid.
func TestVerifyDamaged(t *testing.T) {
	keys := crumb.NewKeys()
	text := keys.Issue("alice", "s1", noon)
	foreign := func(name, damaged string) {
		t.Helper()
		if got := keys.Verify(damaged, "alice", "s1", noon, crumb.DefaultLifetime); got != crumb.Foreign {
			t.Errorf("%s: Verify(%q) = %v, want foreign", name, damaged, got)
		}
	}
	for n := range text {
		foreign("truncated", text[:n])
		foreign("begun late", text[n+1:])
		foreign("newline in place", text[:n]+"\n"+text[n+1:])
		foreign("newline in between", text[:n]+"\r\n"+text[n:])
		foreign("blank in between", text[:n]+" "+text[n:])
		foreign("doubled character", text[:n]+text[n:n+1]+text[n:])
		for _, c := range []byte(alphabet64) {
			if c != text[n] {
				foreign("character exchanged", text[:n]+string(c)+text[n+1:])
			}
		}
		if other := text[n] ^ 0x20; 'A' <= text[n] && text[n] <= 'Z' || 'a' <= text[n] && text[n] <= 'z' {
			foreign("case of a character", text[:n]+string(other)+text[n+1:])
		}
		for bit := range 8 {
			foreign("bit of the text", text[:n]+string([]byte{text[n] ^ 1<<bit})+text[n+1:])
		}
	}
	foreign("extended", text+"A")
	foreign("twice", text+text)
	foreign("padded", text+"=")
	foreign("upper case", strings.ToUpper(text))
	foreign("lower case", strings.ToLower(text))
	foreign("last bits not zero", text[:len(text)-1]+string(alphabet64[strings.IndexByte(alphabet64, text[len(text)-1])|1]))
	foreign("blank before", " "+text)
	foreign("all zero", strings.Repeat("A", len(text)))
	foreign("Jenkins' own", strings.Repeat("0123456789abcdef", 4))
	foreign("masked one of the Strict Crumb Issuer", strings.Repeat("0123456789abcdef", 8))
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(text)
	if standard == text {
		standard = "+" + text[1:]
	}
	foreign("standard alphabet", standard)

	plain, pad := unmask(t, text)
	for n := range 8 * len(plain) {
		plain[n/8] ^= 1 << (n % 8)
		foreign("bit below the mask", mask(plain, pad))
		plain[n/8] ^= 1 << (n % 8)
	}
	if got := keys.Verify(mask(plain, make([]byte, len(pad))), "alice", "s1", noon, time.Hour); got != crumb.Valid {
		t.Errorf("Verify of the crumb under another mask = %v, want valid", got)
	}
}

// Two crumbs are no source for a third.
func TestVerifySpliced(t *testing.T) {
	keys := crumb.NewKeys()
	old, pad := unmask(t, keys.Issue("alice", "s1", noon.Add(-48*time.Hour)))
	fresh, _ := unmask(t, keys.Issue("alice", "s2", noon))
	mallory, _ := unmask(t, keys.Issue("mallory", "s1", noon))
	const tag, mac = 10, 26
	for name, parts := range map[string][2][]byte{
		"time of another":            {fresh[:tag], old[tag:]},
		"tag of another":             {append(fresh[:tag:tag], old[tag:mac]...), fresh[mac:]},
		"MAC of another":             {old[:mac], fresh[mac:]},
		"head of one's own":          {mallory[:mac], fresh[mac:]},
		"MAC of one's own":           {fresh[:mac], mallory[mac:]},
		"tag in the place of a MAC":  {fresh[:mac], append(fresh[tag:mac:mac], fresh[tag:mac]...)},
		"head of another, no MAC":    {fresh[:mac], make([]byte, 32)},
		"time of the future, MAC so": {append(binary.BigEndian.AppendUint64(fresh[:2:2], 1<<63), fresh[tag:mac]...), fresh[mac:]},
	} {
		made := append(parts[0][:len(parts[0]):len(parts[0])], parts[1]...)
		if len(made) != len(fresh) {
			t.Fatalf("%s: %d bytes, want %d", name, len(made), len(fresh))
		}
		if got := keys.Verify(mask(made, pad), "alice", "s1", noon, crumb.DefaultLifetime); got != crumb.Foreign {
			t.Errorf("%s: Verify = %v, want foreign", name, got)
		}
	}
}

func TestIssueShape(t *testing.T) {
	shape := regexp.MustCompile(`^[A-Za-z0-9_-]{155}$`)
	keys := crumb.NewKeys()
	for range 100 {
		if text := keys.Issue("jürgen & <co>", "s\x00\xff", noon); !shape.MatchString(text) {
			t.Fatalf("Issue = %q, want %v", text, shape)
		}
	}
}

// Under the mask two crumbs for the same are the same; what is sent must not show it.
// At each place they agree by chance in one of 64, which is what stays after BREACH.
func TestIssueIsMasked(t *testing.T) {
	const rounds = 5000
	keys := crumb.NewKeys()
	var same [155]float64
	for range rounds {
		a, b := keys.Issue("alice", "s1", noon), keys.Issue("alice", "s1", noon)
		pa, _ := unmask(t, a)
		pb, _ := unmask(t, b)
		if string(pa) != string(pb) {
			t.Fatalf("without masks: %x and %x, want the same", pa, pb)
		}
		if a[:16] == b[:16] || a[77:93] == b[77:93] {
			t.Fatalf("Issue = %q and %q, which share 16 characters", a, b)
		}
		for i := range same {
			if a[i] == b[i] {
				same[i]++
			}
		}
	}
	for i, n := range same {
		p := 1. / 64
		if i == len(same)-1 {
			p = 1. / 16 // it stands for 4 bits
		}
		// Seven standard deviations: by chance in one of 10¹⁰ runs.
		if d := n - rounds*p; d*d > 49*rounds*p*(1-p) {
			t.Errorf("character %d is the same in %v of %d pairs, expected %.0f", i, n, rounds, rounds*p)
		}
	}
}

func FuzzVerify(f *testing.F) {
	keys, others := crumb.NewKeys(), crumb.NewKeys()
	text := keys.Issue("alice", "s1", noon)
	plain, _ := unmask(f, text)
	for _, seed := range []string{"", "A", text, text[1:], text + "A", others.Issue("alice", "s1", noon),
		keys.Issue("bob", "s1", noon), keys.Issue("alice", "s2", noon), strings.Repeat("A", 155), strings.Repeat("\n", 155)} {
		f.Add(seed, "alice", "s1")
	}
	f.Fuzz(func(t *testing.T, text, name, session string) {
		// Nobody but the issuer makes a crumb: one that is not foreign is ours in another mask.
		if got := keys.Verify(text, "alice", "s1", noon, time.Hour); got != crumb.Foreign {
			if p, pad := unmask(t, text); string(p[:10]) != string(plain[:10]) || mask(p, pad) != text {
				t.Errorf("Verify(%q) = %v", text, got)
			}
		}
		made := keys.Issue(user.ID(name), session, noon)
		want := crumb.Valid
		if session == "" {
			want = crumb.OtherSession
		}
		if got := keys.Verify(made, user.ID(name), session, noon, time.Hour); got != want {
			t.Errorf("Verify(Issue(%q, %q)) = %v, want %v", name, session, got, want)
		}
		if got := keys.Verify(made, user.ID(name+"x"), session, noon, time.Hour); got != crumb.Foreign {
			t.Errorf("Verify(Issue(%q, %q), %q) = %v, want foreign", name, session, name+"x", got)
		}
		if got := others.Verify(made, user.ID(name), session, noon, time.Hour); got != crumb.Foreign {
			t.Errorf("Verify(Issue(%q, %q)) by another key = %v, want foreign", name, session, got)
		}
	})
}

func BenchmarkIssue(b *testing.B) {
	keys := crumb.NewKeys()
	b.ReportAllocs()
	for b.Loop() {
		keys.Issue("alice", "node01abcdefghijklmnop.node0", noon)
	}
}

func BenchmarkVerify(b *testing.B) {
	keys := crumb.NewKeys()
	text := keys.Issue("alice", "node01abcdefghijklmnop.node0", noon)
	b.ReportAllocs()
	for b.Loop() {
		if keys.Verify(text, "alice", "node01abcdefghijklmnop.node0", noon, time.Hour) != crumb.Valid {
			b.Fatal("not valid")
		}
	}
}
