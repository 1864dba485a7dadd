package user_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// The keys are what s.toLowerCase(Locale.ENGLISH) answers on OpenJDK 17.0.15, and
// for the email strategy what it answers for the part from the last @ on. Where a
// row says so, ours keeps a capital Σ that Java would fold.
func TestKey(t *testing.T) {
	for _, c := range []struct {
		name        string
		id          user.ID
		insensitive string
		email       string
	}{
		{"ASCII", "ALICE", "alice", "ALICE"},
		{"lower case already", "alice", "alice", "alice"},
		{"digits and signs", "Svc-CI_01.X", "svc-ci_01.x", "Svc-CI_01.X"},
		{"İ is two characters", "İbrahim", "i\u0307brahim", "İbrahim"},
		{"ı is itself", "Iı", "iı", "Iı"},
		{"final Σ", "ΟΔΥΣΣΕΥΣ", "οδυσσευς", "ΟΔΥΣΣΕΥΣ"},
		{"Σ first and last", "ΣΑΣ", "σας", "ΣΑΣ"},
		{"Σ alone", "Σ", "σ", "Σ"},
		{"ς is not σ", "ΑΣς", "ασς", "ΑΣς"},
		{"Kelvin sign", "\u212Aelvin", "kelvin", "\u212Aelvin"},
		{"Ångström sign", "\u212Bse", "\u00e5se", "\u212Bse"},
		{"Ohm sign", "\u2126", "ω", "\u2126"},
		{"umlauts", "ÄÖÜ", "äöü", "ÄÖÜ"},
		{"ß stays", "Straße", "straße", "Straße"},
		{"capital ß", "ẞ", "ß", "ẞ"},
		{"ligature", "\uFB01", "\uFB01", "\uFB01"},
		{"Ǆ", "Ǆ", "ǆ", "Ǆ"},
		{"Roman numeral", "Ⅷ", "ⅷ", "Ⅷ"},
		{"Cyrillic", "ИВАН", "иван", "ИВАН"},
		{"Georgian", "\u1C90", "\u10D0", "\u1C90"},
		{"Cherokee", "\u13A0", "\uAB70", "\u13A0"},
		{"Han", "中文", "中文", "中文"},
		{"address", "Alice@Example.ORG", "alice@example.org", "Alice@example.org"},
		{"two @", "A@B@C", "a@b@c", "A@B@c"},
		{"@ last", "A@", "a@", "A@"},
		{"İ in the domain", "A@İ", "a@i\u0307", "A@i\u0307"},
		{"Σ beside a sign, Java says σσ-a", "ΣΣ-A", "ΣΣ-a", "ΣΣ-A"},
		{"Σ beside a digit, Java says ας1", "ΑΣ1", "αΣ1", "ΑΣ1"},
		{"Σ beside @, Java says ας@ας", "ΑΣ@ΑΣ", "αΣ@αΣ", "ΑΣ@αΣ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := user.CaseInsensitive.Key(c.id); got != c.insensitive {
				t.Errorf("CaseInsensitive.Key(%q) = %+q, want %+q", c.id, got, c.insensitive)
			}
			if got := user.CaseSensitiveEmail.Key(c.id); got != c.email {
				t.Errorf("CaseSensitiveEmail.Key(%q) = %+q, want %+q", c.id, got, c.email)
			}
			if got := user.CaseSensitive.Key(c.id); got != string(c.id) {
				t.Errorf("CaseSensitive.Key(%q) = %+q, want it as it is", c.id, got)
			}
		})
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		name                         string
		a, b                         user.ID
		insensitive, sensitive, mail bool
	}{
		{"same", "alice", "alice", true, true, true},
		{"other case", "alice", "Alice", true, false, false},
		{"other user", "alice", "alicf", false, false, false},
		{"prefix", "alice", "alic", false, false, false},
		{"@ and backtick differ by the bit of case", "a@", "a`", false, false, false},
		{"[ and { differ by the bit of case", "a[", "a{", false, false, false},
		{"domain in other case", "alice@x.org", "alice@X.ORG", true, false, true},
		{"name in other case", "alice@x.org", "Alice@x.org", true, false, false},
		{"Kelvin sign", "kelvin", "\u212Aelvin", true, false, false},
		{"İ is not i", "i", "İ", false, false, false},
		{"ı is not I", "I", "ı", false, false, false},
		{"long s is not s", "s", "ſ", false, false, false},
		{"İ is i with a dot", "i\u0307", "İ", true, false, false},
		{"final sigma", "ΟΔΥΣΣΕΥΣ", "οδυσσευς", true, false, false},
		{"sigma that should be final", "ΟΔΥΣΣΕΥΣ", "οδυσσευσ", false, false, false},
		{"umlaut composed and not", "ä", "a\u0308", false, false, false},
		{"Σ beside a sign, other case elsewhere", "ΣΣ-A", "ΣΣ-a", true, false, false},
		{"Σ beside a sign is never folded", "ΣΣ-A", "σς-a", false, false, false},
		{"look-alike", "alice", "аlice", false, false, false},
		{"empty", "", "", true, true, true},
		{"empty and not", "", "a", false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for strategy, want := range map[user.Strategy]bool{
				user.CaseInsensitive: c.insensitive, user.CaseSensitive: c.sensitive, user.CaseSensitiveEmail: c.mail,
			} {
				if got := strategy.Equal(c.a, c.b); got != want {
					t.Errorf("Strategy(%d).Equal(%q, %q) = %t, want %t", strategy, c.a, c.b, got, want)
				}
				if got := strategy.Equal(c.b, c.a); got != want {
					t.Errorf("Strategy(%d).Equal(%q, %q) = %t, want %t", strategy, c.b, c.a, got, want)
				}
				if same := strategy.Key(c.a) == strategy.Key(c.b); same != want {
					t.Errorf("Strategy(%d): keys of %q and %q equal: %t, want %t", strategy, c.a, c.b, same, want)
				}
			}
		})
	}
}

func TestParseStrategy(t *testing.T) {
	for _, c := range []struct {
		name string
		want user.Strategy
		ok   bool
	}{
		{"", user.CaseInsensitive, true},
		{"case_insensitive", user.CaseInsensitive, true},
		{"case_sensitive", user.CaseSensitive, true},
		{"case_sensitive_email", user.CaseSensitiveEmail, true},
		{"CASE_SENSITIVE", 0, false},
		{"insensitive", 0, false},
	} {
		got, err := user.ParseStrategy(c.name)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseStrategy(%q) = %v, %v, want %v, ok %t", c.name, got, err, c.want, c.ok)
		}
	}
}

func TestParseID(t *testing.T) {
	for _, c := range []struct {
		name, id string
		err      string // a part of it; "" if the id is good
	}{
		{"plain", "alice", ""},
		{"spelling is kept", "Alice", ""},
		{"address", "alice@example.org", ""},
		{"domain and backslash", `CORP\alice`, ""},
		{"slash", "team/alice", ""},
		{"blank inside", "Alice Smith", ""},
		{"not Latin", "Οδυσσεύς", ""},
		{"OpenShift's administrator", "kube:admin", ""},
		{"service account", "system:serviceaccount:ci:builder", ""},
		{"longest", strings.Repeat("a", 255), ""},
		{"a name that only begins like one of Jenkins'", "anonymous2", ""},
		{"empty", "", "empty"},
		{"blanks only", " \t ", "empty"},
		{"blank before", " alice", "blank"},
		{"blank after", "alice ", "blank"},
		{"newline after", "alice\n", "blank"},
		{"ideographic space after", "alice\u3000", "blank"},
		{"too long", strings.Repeat("a", 256), "255"},
		{"too long in bytes", strings.Repeat("ä", 128), "255"},
		{"NUL", "ali\x00ce", "U+0000"},
		{"newline", "ali\nce", "U+000A"},
		{"carriage return", "ali\rce", "U+000D"},
		{"DEL", "ali\x7fce", "U+007F"},
		{"C1 control", "ali\u0085ce", "U+0085"},
		{"zero width space", "ali\u200bce", "U+200B"},
		{"text direction", "ali\u202ece", "U+202E"},
		{"byte order mark", "\ufeffalice", "U+FEFF"},
		{"soft hyphen", "ali\u00adce", "U+00AD"},
		{"line separator", "ali\u2028ce", "U+2028"},
		{"tag character", "ali\U000E0041ce", "U+E0041"},
		{"not UTF-8", "ali\xffce", "UTF-8"},
		{"anonymous", "anonymous", "Jenkins keeps"},
		{"SYSTEM", "SYSTEM", "Jenkins keeps"},
		{"unknown", "unknown", "Jenkins keeps"},
		{"other case", "System", "Jenkins keeps"},
		{"Kelvin sign, for which Java ignores case too", "un\u212Anown", "Jenkins keeps"},
		{"long s, for which Java ignores case too", "ſystem", "Jenkins keeps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := user.ParseID(c.id)
			switch {
			case c.err == "" && (err != nil || string(id) != c.id):
				t.Errorf("ParseID(%q) = %q, %v, want it as it is", c.id, id, err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || id != ""):
				t.Errorf("ParseID(%q) = %q, %v, want an error with %q", c.id, id, err, c.err)
			}
		})
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"alice", "", " ", "a:b", "SYSTEM", "İ", "ΑΣ-1", "a\u202eb", "\xff", strings.Repeat("x", 256)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := user.ParseID(s)
		if err != nil {
			if id != "" {
				t.Errorf("ParseID(%q) = %q with the error %v", s, id, err)
			}
			return
		}
		// What stands in a header or a log: one line, no more than the limit.
		if string(id) != s || len(s) > user.MaxIDLen || !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") || s != strings.TrimSpace(s) {
			t.Errorf("ParseID(%q) = %q", s, id)
		}
		for _, strategy := range []user.Strategy{user.CaseInsensitive, user.CaseSensitive, user.CaseSensitiveEmail} {
			key := strategy.Key(id)
			if again := strategy.Key(user.ID(key)); again != key {
				t.Errorf("Strategy(%d).Key(%q) = %q, and of that %q", strategy, id, key, again)
			}
			if !strategy.Equal(id, id) || !strategy.Equal(id, user.ID(key)) {
				t.Errorf("Strategy(%d): %q is not equal to its key %q", strategy, id, key)
			}
		}
	})
}
