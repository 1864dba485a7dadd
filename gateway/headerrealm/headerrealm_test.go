package headerrealm_test

import (
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func TestIDIsISO88591(t *testing.T) {
	for _, c := range []struct{ id, want, err string }{
		{"alice", "alice", ""},
		{"jörg", "j\xf6rg", ""},
		{"ÿ", "\xff", ""},
		{"kube:admin", "kube:admin", ""},
		{"Οδυσσεύς", "", "U+039F"},
		{"jo\u0308rg", "", "U+0308"}, // another ID than jörg, so it must not become jörg
		{"Łukasz", "", "U+0141"},
		{"a\u0085b", "", "U+0085"},
		{"a\u00adb", "", "U+00AD"},
		{"a\xffb", "", "UTF-8"},
		{"a\nb", "", "U+000A"},
	} {
		got, err := headerrealm.ID(user.ID(c.id))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ID(%q) = %q, %v, want %q and an error with %q", c.id, got, err, c.want, c.err)
		}
	}
}

func TestMailIsNeverChanged(t *testing.T) {
	for _, mail := range []string{"ali\u200bce@example.org", "аlice@example.org", " alice@example.org", "alice@example.org\r\n", "alice@\xff", strings.Repeat("a", 256)} {
		if got, err := headerrealm.Mail(mail); got != "" || err == nil {
			t.Errorf("Mail(%q) = %q, %v, want it left out", mail, got, err)
		}
	}
	for mail, want := range map[string]string{"alice@example.org": "alice@example.org", "jörg@example.org": "j\xf6rg@example.org", "": ""} {
		if got, err := headerrealm.Mail(mail); got != want || err != nil {
			t.Errorf("Mail(%q) = %q, %v, want %q", mail, got, err, want)
		}
	}
}

func TestDisplayNames(t *testing.T) {
	for _, c := range []struct {
		name, want string
		changed    bool
	}{
		{"Alice Smith", "Alice Smith", false},
		{"Jörg Größe", "J\xf6rg Gr\xf6\xdfe", false},
		{"Jo\u0308rg", "J\xf6rg", false},
		{"Alice \U0001F469\u200d\U0001F4BB", "Alice", true},
		{"Ali\u200dce", "Alice", true},
		{"Alice\u202e", "Alice", true},
		{"Alice\nSmith\x00", "Alice Smith", true},
		{"  Alice   Smith ", "Alice Smith", true},
		{"Łukasz Dvořák", "Lukasz Dvor\xe1k", true},
		{"Nguyễn Thị", "Nguyen Thi", true},
		{"O’Neill – Ops", "O'Neill - Ops", true},
		{"Οδυσσεύς", "", true},
		{"中文 Smith", "", true},
		{"\U0001F469\u200d\U0001F4BB", "", true},
		{"J\xf6rg", "", true},
		{"J\ufffdrg", "", true},
		{strings.Repeat("ä", 300), strings.Repeat("\xe4", 255), true},
		{"", "", false},
	} {
		got, err := headerrealm.DisplayName(c.name)
		if got != c.want || (err != nil) != c.changed {
			t.Errorf("DisplayName(%q) = %q, %v, want %q, changed %t", c.name, got, err, c.want, c.changed)
		}
	}
}

func TestGroupsThatCannotBeSentAreLeftOut(t *testing.T) {
	long := "CN=" + strings.Repeat("x", 298)
	got, omitted := headerrealm.Groups([]string{"dev", "R|D", long, "Gruppe Ä", "开发", " ops", "", "a\tb", "ops"}, 4096)
	if want := "dev|" + long + "|Gruppe \xc4|ops"; got != want || omitted.Unreadable != 5 || omitted.NoRoom != 0 || omitted.Why == nil {
		t.Errorf("Groups = %q, %+v, want %q and five left out", got, omitted, want)
	}
}

func TestGroupsFillTheHeaderInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		groups string
		max    int
		want   string
		noRoom int
	}{
		{"a b c", 5, "a|b|c", 0},
		{"a b c", 4, "a|b", 1},
		{"long a b", 3, "a|b", 1},
		{"a long b", 3, "a|b", 1},
		{"long", 3, "", 1},
		{"", 3, "", 0},
	} {
		got, omitted := headerrealm.Groups(strings.Fields(c.groups), c.max)
		if got != c.want || omitted.NoRoom != c.noRoom || omitted.Unreadable != 0 {
			t.Errorf("Groups(%q, %d) = %q, %+v, want %q and %d without room", c.groups, c.max, got, omitted, c.want, c.noRoom)
		}
	}
}

// FuzzHeaders: whatever a sign-in says, a header value is one line of printable
// ISO-8859-1, within its bounds, and no group becomes another one.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{"alice", "jörg", "a\xffb", "R|D", " a ", "\U0001F469\u200d\U0001F4BB x", "Łukasz", "a\r\nb", "(null)", "\u00a0a"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		const bound = 64
		groups, _ := headerrealm.Groups([]string{one, two}, bound)
		if len(groups) > bound {
			t.Errorf("groups have %d bytes", len(groups))
		}
		for part := range strings.SplitSeq(groups, headerrealm.GroupDelimiter) {
			if groups != "" && part != latin1(one) && part != latin1(two) {
				t.Errorf("%q and %q became the group %q", one, two, part)
			}
		}
		id, err := headerrealm.ID(user.ID(one))
		if err == nil && id != latin1(one) {
			t.Errorf("the ID %q became %q", one, id)
		}
		mail, err := headerrealm.Mail(one)
		if err == nil && mail != latin1(one) {
			t.Errorf("the mail %q became %q", one, mail)
		}
		name, _ := headerrealm.DisplayName(one)
		if len(name) > headerrealm.MaxText || strings.Trim(name, " ") != name {
			t.Errorf("the display name %q became %q", one, name)
		}
		for _, value := range []string{groups, id, mail, name} {
			for i := range len(value) {
				if c := value[i]; c < ' ' || 0x7f <= c && c < 0xa0 {
					t.Errorf("%q and %q became %q", one, two, value)
				}
			}
		}
	})
}

// latin1 returns s in ISO-8859-1, or what no header value is.
func latin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return "\x00"
		}
		b = append(b, byte(r))
	}
	return string(b)
}
