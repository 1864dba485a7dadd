package jenkinshome

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// Dirs returns the directories of users by the keys of their ids, for tokens to be
// written back. Users whose files can't be read have none.
func (h *Home) Dirs() map[string]string {
	dirs := make(map[string]string)
	for u := range h.Users() {
		key := h.options.UserIDs.Key(user.ID(u.ID))
		if _, twice := dirs[key]; u.ID != "" && !twice && h.hasConfig(u.Dir) {
			dirs[key] = u.Dir
		}
	}
	return dirs
}

// Merge returns the config.xml and apiTokenStats.xml of a user's directory with
// tokens added that are not in it yet, by their digests. All else stays as it is, to
// the byte. The second is nil if there are no uses to write.
//
// Jenkins knows a token by the SHA-256 of what follows "11" if it has 34 characters,
// and of all of it otherwise (ApiTokenStore.findMatchingToken): so it takes tokens of
// the gateway's own format as well.
func (h *Home) Merge(dir string, tokens []Token) (configXML, statsXML []byte, added int, err error) {
	file := path.Join(dir, "config.xml")
	text, err := h.readFile(file)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", file, reason(err))
	}
	c, err := parseConfig(text)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	known := make(map[token.Digest]bool)
	for i := range c.tokens {
		if t, err := c.tokens[i].token(h.options.Zone); err == nil {
			known[t.Digest] = true
		}
	}
	var fresh []Token
	for _, t := range tokens {
		if !known[t.Digest] {
			known[t.Digest] = true
			if t.ID == uuid.Nil {
				t.ID = uuid.New()
			}
			fresh = append(fresh, t)
		}
	}
	if len(fresh) == 0 {
		return text, nil, 0, nil
	}
	if configXML, err = insertTokens(text, fresh, h.options.Zone); err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	statsXML, err = h.mergeStats(dir, fresh)
	return configXML, statsXML, len(fresh), err
}

// insertTokens puts tokens into a config.xml, at the end of the list that is there, or
// into one that is made.
func insertTokens(text []byte, tokens []Token, zone *time.Location) ([]byte, error) {
	readable, err := plain(text)
	if err != nil {
		return nil, err
	}
	// The innermost element of these that is there, and what has to be made within it.
	wanted := []string{"properties", propertyName, "tokenStore", "tokenList"}
	type tag struct{ start, end int64 }
	var opens, closes tag
	depth := 0
	begin := func(e *element) error {
		if n := len(e.path) - 1; n > depth && n <= len(wanted) && e.is(wanted[:n]...) {
			depth, opens = n, tag{e.start, e.end}
		}
		return nil
	}
	end := func(e *element) error {
		if depth > 0 && e.is(wanted[:depth]...) {
			closes = tag{e.start, e.end}
		}
		return nil
	}
	if err := walk(readable, begin, end); err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, errors.New("it has no properties, into which tokens could be put: let the user save the account once")
	}
	var list bytes.Buffer
	indent := strings.Repeat("  ", depth+1)
	for i, name := range wanted[depth:] {
		fmt.Fprintf(&list, "%s<%s>\n", indent+strings.Repeat("  ", i), name)
	}
	for _, t := range tokens {
		writeToken(&list, t, zone)
	}
	for i := len(wanted) - 1; i >= depth; i-- {
		fmt.Fprintf(&list, "%s</%s>\n", indent+strings.Repeat("  ", i-depth), wanted[i])
	}
	outer := strings.Repeat("  ", depth)
	if closes.start == closes.end { // it is empty, as in <tokenList/>
		open := strings.TrimRight(strings.TrimSuffix(string(text[opens.start:opens.end]), "/>"), " ")
		made := open + ">\n" + list.String() + outer + "</" + wanted[depth-1] + ">"
		return slices.Concat(text[:opens.start], []byte(made), text[opens.end:]), nil
	}
	before := bytes.TrimRight(text[:closes.start], " \t")
	if !bytes.HasSuffix(before, []byte("\n")) {
		before = append(slices.Clone(before), '\n')
	}
	return slices.Concat(before, list.Bytes(), []byte(outer), text[closes.start:]), nil
}

func writeToken(b *bytes.Buffer, t Token, zone *time.Location) {
	version := "11"
	if t.Legacy {
		version = "10"
	}
	const at = "          "
	fmt.Fprintf(b, "%s<%s>\n", at, tokenName)
	line := func(indent, name, value string) {
		fmt.Fprintf(b, "%s%s<%s>", at, indent, name)
		_ = xml.EscapeText(b, []byte(value)) // a buffer takes all
		fmt.Fprintf(b, "</%s>\n", name)
	}
	line("  ", "uuid", t.ID.String())
	line("  ", "name", t.Name)
	if t.Created != 0 {
		line("  ", "creationDate", formatDate(t.Created))
	}
	if t.Expires != 0 {
		// It works through the day of its last second. One that ends within that day
		// would work too long, so the day before is its last.
		last := time.Unix(t.Expires-1, 0).In(zone)
		if token.EndOfDay(last, zone).Unix() != t.Expires {
			last = last.AddDate(0, 0, -1)
		}
		line("  ", "expirationDate", last.Format(time.DateOnly))
	}
	fmt.Fprintf(b, "%s  <value>\n", at)
	line("    ", "version", version)
	line("    ", "hash", hex.EncodeToString(t.Digest[:]))
	fmt.Fprintf(b, "%s  </value>\n%s</%s>\n", at, at, tokenName)
}

// formatDate writes a date as XStream does.
func formatDate(unix int64) string {
	return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05") + ".0 UTC"
}

// mergeStats returns a user's apiTokenStats.xml with the uses of tokens added.
func (h *Home) mergeStats(dir string, tokens []Token) ([]byte, error) {
	stats := make(map[uuid.UUID]use)
	if text, err := h.readFile(path.Join(dir, "apiTokenStats.xml")); err == nil {
		if stats, err = parseStats(text); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, "apiTokenStats.xml"), err)
		}
	}
	changed := false
	for _, t := range tokens {
		if t.Uses > 0 {
			stats[t.ID] = use{t.Uses, t.LastUse}
			changed = true
		}
	}
	if !changed {
		return nil, nil
	}
	ids := make([]uuid.UUID, 0, len(stats))
	for id := range stats {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	var b bytes.Buffer
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<jenkins.security.apitoken.ApiTokenStats>\n  <tokenStats>\n")
	for _, id := range ids {
		const name = "jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats"
		fmt.Fprintf(&b, "    <%s>\n      <tokenUuid>%s</tokenUuid>\n", name, id)
		if last := stats[id].last; last != 0 {
			fmt.Fprintf(&b, "      <lastUseDate>%s</lastUseDate>\n", formatDate(last))
		}
		fmt.Fprintf(&b, "      <useCounter>%d</useCounter>\n    </%s>\n", stats[id].uses, name)
	}
	b.WriteString("  </tokenStats>\n</jenkins.security.apitoken.ApiTokenStats>\n")
	return b.Bytes(), nil
}
