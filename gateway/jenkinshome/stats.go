package jenkinshome

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

const (
	statsName       = "jenkins.security.apitoken.ApiTokenStats"
	singleStatsName = "jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats"
)

// use is what Jenkins has counted of a token.
type use struct {
	count uint64
	last  int64 // Unix seconds; 0: never
}

// less is the order in which Jenkins prefers one of two entries of a token
// (ApiTokenStats.keepLastUpdatedUnique).
func (u use) less(other use) bool {
	return u.last < other.last || u.last == other.last && u.count < other.count
}

// parseStats reads an apiTokenStats.xml, by uuid as it is written there.
func parseStats(data []byte) (map[string]use, error) {
	all := make(map[string]use)
	var key string
	var one use
	// Of what stands there twice, the last counts; of what can't be read, nothing does.
	err := scan(data, statsName, &element{inside: map[string]*element{"tokenStats": {inside: map[string]*element{
		singleStatsName: {
			open: func(span) { key, one = "", use{} },
			inside: map[string]*element{
				"tokenUuid": {text: func(text []byte) error {
					key = string(text)
					return nil
				}},
				"lastUseDate": {text: func(text []byte) error {
					if last, ok := parseDate(string(text)); ok {
						one.last = max(last.Unix(), 0)
					}
					return nil
				}},
				"useCounter": {text: func(text []byte) error {
					if n, err := strconv.ParseInt(string(text), 10, 32); err == nil {
						one.count = uint64(max(n, 0))
					}
					return nil
				}},
			},
			close: func(span) error {
				if old, ok := all[key]; key != "" && (!ok || old.less(one)) {
					all[key] = one
				}
				return nil
			},
		},
	}}}})
	return all, err
}

// Stats returns an apiTokenStats.xml with the uses of tokens. What old, the file as it
// is, counts of others is kept; nil stands for no file. Of a token in both the one
// that was used later counts, as in Jenkins. Tokens without UUID can't be counted. It
// returns nil if there is nothing to say.
func Stats(old []byte, tokens []Token) ([]byte, error) {
	all := make(map[string]use)
	if old != nil {
		var err error
		if all, err = parseStats(slices.Clone(old)); err != nil {
			return nil, fmt.Errorf("apiTokenStats.xml %w", err)
		}
	}
	for _, t := range tokens {
		one := use{javaInt(t.Uses), t.LastUse}
		if t.UUID == uuid.Nil || one == (use{}) {
			continue
		}
		if t.LastUse < 0 || t.LastUse > maxUnix {
			return nil, errors.New("a token was last used in a year that Jenkins can't be told")
		}
		if had, ok := all[t.UUID.String()]; !ok || had.less(one) {
			all[t.UUID.String()] = one
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var b strings.Builder
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<" + statsName + ">\n  <tokenStats>\n")
	for _, key := range keys {
		b.WriteString("    <" + singleStatsName + ">\n      <tokenUuid>" + escape(key) + "</tokenUuid>\n")
		if last := all[key].last; last != 0 {
			b.WriteString("      <lastUseDate>" + formatDate(last) + "</lastUseDate>\n")
		}
		fmt.Fprintf(&b, "      <useCounter>%d</useCounter>\n    </%s>\n", all[key].count, singleStatsName)
	}
	b.WriteString("  </tokenStats>\n</" + statsName + ">\n")
	return []byte(b.String()), nil
}

// escape returns a text for XML in any encoding that has ASCII.
func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer takes everything
	var out strings.Builder
	for _, r := range b.String() {
		if r < 0x80 {
			out.WriteRune(r)
		} else {
			fmt.Fprintf(&out, "&#x%X;", r)
		}
	}
	return out.String()
}
