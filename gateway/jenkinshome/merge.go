package jenkinshome

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Merge returns the config.xml of a user with other tokens. Those of live are in it
// as they are given, also if they were there before; those of gone are not, nor is
// the <apiToken> of a legacy one, from which Jenkins would make it again. Tokens that
// are neither stay, as does every other byte. The zone is that of the Jenkins server.
//
// Jenkins finds each of them again: it takes two characters off what is presented only
// if that has 34, hashes anything else as a whole, and compares with all tokens of the
// user whatever their version (ApiTokenStore.findMatchingToken, since 2.129). So what
// the gateway stores of its own "cg_" tokens, the SHA-256 of all 39 characters, is what
// Jenkins looks for.
//
// Jenkins ends tokens with a day, so one that expires within a day ends with the day
// before. Versions before 2.548 know no expiry: there each token lives for ever.
func Merge(config []byte, live, gone []Token, zone *time.Location) ([]byte, error) {
	c, err := parseConfig(bytes.Clone(config), zone)
	if err != nil {
		return nil, fmt.Errorf("config.xml %w", err)
	}
	defer c.wipe()

	old := make(map[token.Digest]bool) // what does not stay
	ids := make(map[uuid.UUID]bool)
	for _, t := range live {
		if old[t.Digest] || t.UUID != uuid.Nil && ids[t.UUID] {
			return nil, fmt.Errorf("token %q is there twice", t.Name)
		}
		old[t.Digest] = true
		ids[t.UUID] = t.UUID != uuid.Nil
	}
	var edits []edit
	dropSecret := false
	for _, t := range gone {
		if slices.ContainsFunc(live, func(l Token) bool { return l.Digest == t.Digest }) {
			return nil, fmt.Errorf("token %q is both to be there and to be gone", t.Name)
		}
		old[t.Digest] = true
		dropSecret = dropSecret || t.Legacy
	}
	for _, t := range c.bad {
		if old[t.Digest] && t.Digest != (token.Digest{}) {
			edits = append(edits, remove(config, t.at))
		}
	}
	for _, t := range c.tokens {
		switch {
		case old[t.Digest]:
			edits = append(edits, remove(config, t.at))
		case ids[t.UUID]:
			return nil, fmt.Errorf("token %q has the UUID %s of another token in config.xml", t.Name, t.UUID)
		}
	}
	if dropSecret && c.legacy != nil {
		edits = append(edits, remove(config, *c.legacy))
	}
	if len(live) > 0 {
		added, err := add(config, c, live, zone)
		if err != nil {
			return nil, err
		}
		edits = append(edits, added)
	}
	return apply(config, edits), nil
}

// An edit puts text in place of what is in [from, to).
type edit struct {
	from, to int
	text     string
}

func apply(data []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		// What is removed up to the end of a list may reach over blanks after which
		// something is added.
		if e.from > at {
			out.Write(data[at:e.from])
		}
		out.WriteString(e.text)
		at = max(at, e.to)
	}
	out.Write(data[at:])
	return out.Bytes()
}

// remove takes an element away, with the blanks before it.
func remove(data []byte, at span) edit {
	return edit{len(bytes.TrimRight(data[:at.start], " \t\r\n")), at.after, ""}
}

// add puts tokens at the end of the list, and what is around a list where there is
// none (hudson.model.User, jenkins.security.ApiTokenProperty).
func add(data []byte, c *config, tokens []Token, zone *time.Location) (edit, error) {
	into, around := c.user, []string{"properties", propertyName, "tokenStore", "tokenList"}
	for i, s := range []*span{c.properties, c.property, c.store, c.list} {
		if s != nil {
			into, around = s, []string{"properties", propertyName, "tokenStore", "tokenList"}[i+1:]
		}
	}
	line := data[bytes.LastIndexByte(data[:into.start], '\n')+1 : into.start]
	indent := ""
	if len(bytes.TrimLeft(line, " \t")) == 0 {
		indent = string(line)
	}
	var b strings.Builder
	inner := indent + "  "
	for _, name := range around {
		b.WriteString("\n" + inner + "<" + name + ">")
		inner += "  "
	}
	for _, t := range tokens {
		if err := writeToken(&b, inner, t, zone); err != nil {
			return edit{}, err
		}
	}
	for _, name := range slices.Backward(around) {
		inner = inner[:len(inner)-2]
		b.WriteString("\n" + inner + "</" + name + ">")
	}
	if into.selfClosed() {
		b.WriteString("\n" + indent + "</" + tagName.FindString(string(data[into.start:into.inside])) + ">")
		return edit{into.inside - len("/>"), into.inside, ">" + b.String()}, nil
	}
	// Before the blanks that stand before the end tag.
	at := into.inside + len(bytes.TrimRight(data[into.inside:into.end], " \t\r\n"))
	if at == into.end {
		b.WriteString("\n" + indent)
	}
	return edit{at, at, b.String()}, nil
}

var tagName = regexp.MustCompile(`[^<\s/>]+`)

// writeToken writes a token as XStream does.
func writeToken(b *strings.Builder, indent string, t Token, zone *time.Location) error {
	if len(t.Name) > maxName {
		return fmt.Errorf("a token has a name of %d bytes", len(t.Name))
	}
	if err := user.CheckText("name", t.Name); err != nil {
		return fmt.Errorf("token %s: %w", t.UUID, err)
	}
	if t.Digest == (token.Digest{}) || t.Digest == emptyLegacy {
		return fmt.Errorf("token %q has no digest that is anybody's secret", t.Name)
	}
	line := func(depth int, format string, args ...any) {
		b.WriteString("\n" + indent + strings.Repeat("  ", depth))
		fmt.Fprintf(b, format, args...)
	}
	line(0, "<%s>", hashedTokenName)
	if t.UUID != uuid.Nil {
		line(1, "<uuid>%s</uuid>", t.UUID)
	}
	line(1, "<name>%s</name>", escape(t.Name))
	if t.Created > 0 && t.Created <= maxUnix {
		line(1, "<creationDate>%s</creationDate>", formatDate(t.Created))
	}
	if t.Expires != 0 {
		day, err := formatDay(t.Expires, zone)
		if err != nil {
			return fmt.Errorf("token %q %w", t.Name, err)
		}
		line(1, "<expirationDate>%s</expirationDate>", day)
	}
	version := 11
	if t.Legacy {
		version = 10
	}
	line(1, "<value>")
	line(2, "<version>%d</version>", version)
	line(2, "<hash>%s</hash>", hex.EncodeToString(t.Digest[:]))
	line(1, "</value>")
	line(0, "</%s>", hashedTokenName)
	return nil
}
