package policy

import (
	"strings"
	"unicode/utf8"
)

// An Item is a job or folder by its full name (hudson.model.Item.getFullName). The zero value is the controller. The same
// item can come by many paths, so compare Strings rather than Items.
//
// A slash in a name is %2F: a branch feature/x of a multibranch project has the name feature%2Fx in Jenkins too. It is
// reached by job/feature%2Fx as by job/feature%252Fx (jenkins.branch.MultiBranchProject.getItem), and no other item may
// have a slash or a percent sign in its name (jenkins.model.Jenkins.checkGoodName).
type Item struct {
	// text is either a full name or, to save the allocation, a piece of a path: pairs of a keyword and an escaped name,
	// of which those of views don't count, or if it is bare the escaped names alone.
	text string
	path bool
	bare bool
}

// ItemNamed returns the item with a full name, such as team-a/app.
func ItemNamed(fullName string) Item { return Item{text: fullName} }

// String returns the full name, or "" for the controller.
func (i Item) String() string {
	if !i.path {
		return i.text
	}
	var full strings.Builder
	for rest := i.text; rest != ""; {
		var name string
		if name, rest = i.next(rest); name == "" {
			break
		}
		if full.Len() > 0 {
			full.WriteByte('/')
		}
		for at := 0; at < len(name); {
			var c byte
			c, at, _ = unescape(name, at)
			if c == '/' {
				full.WriteString("%2F")
			} else {
				full.WriteByte(c)
			}
		}
	}
	return full.String()
}

// next returns the first name in what is left of i.text, or "".
func (i Item) next(text string) (name, rest string) {
	if !i.path {
		name, rest, _ = strings.Cut(text, "/")
		return name, rest
	}
	if i.bare {
		return cut(text)
	}
	for text != "" {
		var keyword string
		keyword, text = cut(text)
		name, text = cut(text)
		if keyword != "view" {
			return name, text
		}
	}
	return "", ""
}

// is tells whether a name that next has returned is the one of a pattern.
func (i Item) is(name, want string) bool {
	if !i.path || strings.IndexByte(name, '%') < 0 {
		return name == want
	}
	for at := 0; at < len(name); {
		var c byte
		c, at, _ = unescape(name, at)
		if c == '/' {
			if !strings.HasPrefix(want, "%2F") {
				return false
			}
			want = want[3:]
			continue
		}
		if want == "" || want[0] != c {
			return false
		}
		want = want[1:]
	}
	return want == ""
}

// cut takes the first segment off a path such as /job/a.
func cut(path string) (segment, rest string) {
	if path == "" {
		return "", ""
	}
	path = path[1:]
	if slash := strings.IndexByte(path, '/'); slash >= 0 {
		return path[:slash], path[slash:]
	}
	return path, ""
}

// unescape returns the byte at a place, and the place after it.
func unescape(text string, at int) (c byte, after int, ok bool) {
	if text[at] != '%' {
		return text[at], at + 1, true
	}
	if at+2 >= len(text) {
		return '%', at + 1, false
	}
	high, okHigh := unhex(text[at+1])
	low, okLow := unhex(text[at+2])
	if !okHigh || !okLow {
		return '%', at + 1, false
	}
	return high<<4 | low, at + 3, true
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// named tells whether an escaped segment can be the name of an item or a view, and can be written in a scope: a star would
// be a pattern there. Jenkins has no such items.
func named(segment string) bool {
	var (
		window [utf8.UTFMax]byte // a rune that isn't whole yet
		size   int
		dots   = true
		before [2]byte
	)
	for at := 0; at < len(segment); {
		c, after, ok := unescape(segment, at)
		switch {
		case !ok, c < ' ', c == 0x7f, c == '*', c == '\\':
			return false
		case c == ' ' && (at == 0 || after == len(segment)):
			return false
		case c == 'f' && before == [2]byte{'%', '2'}: // %2f, another spelling of %2F
			return false
		}
		before = [2]byte{before[1], c}
		dots = dots && c == '.' // Jenkins has no item of dots alone
		at = after
		if size == 0 && c < utf8.RuneSelf {
			continue
		}
		window[size] = c
		size++
		if !utf8.FullRune(window[:size]) {
			continue
		}
		if r, width := utf8.DecodeRune(window[:size]); r == utf8.RuneError && width < 2 || '\u0080' <= r && r < '\u00a0' {
			return false
		}
		size = 0
	}
	return segment != "" && size == 0 && !dots
}
