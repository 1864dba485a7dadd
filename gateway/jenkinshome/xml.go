package jenkinshome

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// maxNesting bounds how far elements are nested.
const maxNesting = 256

var (
	prolog   = regexp.MustCompile(`^(?:\xef\xbb\xbf)?<\?xml([^?>]*)\?>`)
	encoding = regexp.MustCompile(`encoding\s*=\s*["']([^"']*)["']`)
	// control is a reference to a character that XML 1.0 does not have and 1.1 does.
	control = regexp.MustCompile(`&#(?:x0*(?:[0-8bcBCeEfF]|1[0-9a-fA-F])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));`)
)

// plain returns an XML text as package xml reads it, each byte at its place: Jenkins
// has written XML 1.1 since 2.105, of which that knows nothing.
func plain(text []byte) ([]byte, error) {
	text = bytes.Clone(text)
	if at := prolog.FindSubmatchIndex(text); at != nil {
		if m := encoding.FindSubmatch(text[at[2]:at[3]]); m != nil && !strings.EqualFold(string(m[1]), "UTF-8") && !strings.EqualFold(string(m[1]), "US-ASCII") {
			return nil, fmt.Errorf("it is in the encoding %.20q: only UTF-8 is read", m[1])
		}
		blank(text[:at[1]])
	}
	for _, at := range control.FindAllIndex(text, -1) {
		blank(text[at[0]:at[1]])
	}
	return text, nil
}

func blank(text []byte) {
	for i := range text {
		text[i] = ' '
	}
}

// An element is where a walk through a document is.
type element struct {
	path       []string // names from the root to the element
	text       string   // of an element that ends
	start, end int64    // of the element's tags
}

// is tells whether the element is at a path below the root.
func (e *element) is(path ...string) bool {
	if len(e.path) != len(path)+1 {
		return false
	}
	for i := range path {
		if e.path[i+1] != path[i] {
			return false
		}
	}
	return true
}

// walk goes through a document, and calls begin and end for each element. Document
// types are refused, as no file of Jenkins has one.
func walk(text []byte, begin, end func(*element) error) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	var e element
	var texts [][]byte // of the elements that are open
	roots := 0
	for {
		e.start = d.InputOffset()
		t, err := d.Token()
		e.end = d.InputOffset()
		switch {
		case err == io.EOF && roots == 0:
			return errors.New("it is empty")
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("it is no whole XML document: %w", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("it has a document type, which no file of Jenkins has")
		case xml.StartElement:
			if len(e.path) == 0 {
				if roots++; roots > 1 {
					return errors.New("it has two root elements")
				}
			}
			if len(e.path) == maxNesting {
				return fmt.Errorf("its elements are nested more than %d times", maxNesting)
			}
			e.path = append(e.path, t.Name.Local)
			texts = append(texts, nil)
			if err := begin(&e); err != nil {
				return err
			}
		case xml.CharData:
			if len(texts) > 0 {
				if b := &texts[len(texts)-1]; len(*b)+len(t) <= maxText {
					*b = append(*b, t...)
				} // a longer text is none of ours
			}
		case xml.EndElement:
			e.text = strings.TrimSpace(string(texts[len(texts)-1]))
			if err := end(&e); err != nil {
				return err
			}
			e.path, texts = e.path[:len(e.path)-1], texts[:len(texts)-1]
		}
	}
}

// A config is what a user's config.xml says of tokens.
type config struct {
	id     string
	legacy string // encrypted
	tokens []rawToken
}

// A rawToken is an ApiTokenStore.HashedToken as it is written.
type rawToken struct {
	uuid, name, created, expires, version, hash string
}

const (
	propertyName = "jenkins.security.ApiTokenProperty"
	tokenName    = "jenkins.security.apitoken.ApiTokenStore_-HashedToken"
)

var errForeign = errors.New("it is not the file of a user: its root element is another")

// maxTokens bounds how many tokens of a user are read.
const maxTokens = 10_000

func parseConfig(text []byte) (*config, error) {
	text, err := plain(text)
	if err != nil {
		return nil, err
	}
	c := new(config)
	begin := func(e *element) error {
		switch {
		case len(e.path) == 1 && e.path[0] != "user" && e.path[0] != "hudson.model.User":
			return errForeign
		case e.is("properties", propertyName, "tokenStore", "tokenList", tokenName):
			if len(c.tokens) == maxTokens {
				return fmt.Errorf("it has more than %d tokens", maxTokens)
			}
			c.tokens = append(c.tokens, rawToken{})
		}
		return nil
	}
	end := func(e *element) error {
		switch {
		case e.is("id"):
			c.id = e.text
		case e.is("properties", propertyName, "apiToken"):
			c.legacy = e.text
		case len(c.tokens) == 0:
		default:
			t := &c.tokens[len(c.tokens)-1]
			const root = 6 // elements down to that of the token
			if len(e.path) <= root || e.path[root-1] != tokenName || e.path[2] != propertyName {
				break
			}
			switch path := strings.Join(e.path[root:], "/"); path {
			case "uuid":
				t.uuid = e.text
			case "name":
				t.name = e.text
			case "creationDate":
				t.created = e.text
			case "expirationDate":
				t.expires = e.text
			case "value/version":
				t.version = e.text
			case "value/hash":
				t.hash = e.text
			}
		}
		return nil
	}
	return c, walk(text, begin, end)
}

// token makes sense of a token, as ApiTokenStore does. A zone is where it expires.
func (r *rawToken) token(zone *time.Location) (Token, error) {
	t := Token{Name: r.name, Legacy: r.version == "10"}
	if r.version != "10" && r.version != "11" {
		return t, fmt.Errorf("its version %.20q is neither 10 nor 11", r.version)
	}
	digest, err := hex.DecodeString(r.hash)
	if err == nil {
		err = t.Digest.UnmarshalBinary(digest)
	}
	if err != nil || t.Digest == (token.Digest{}) {
		return t, errors.New("its hash is not 64 hex digits, so Jenkins skips it")
	}
	if id, err := uuid.Parse(r.uuid); err == nil {
		t.ID = id
	}
	if r.created != "" {
		if created, err := parseDate(r.created); err == nil {
			t.Created = max(created.Unix(), 0)
		}
	}
	if r.expires != "" {
		day, err := time.Parse(time.DateOnly, r.expires)
		if err != nil {
			return t, fmt.Errorf("its expiration date %.40q is none, such as 2026-12-31", r.expires)
		}
		t.Expires = token.EndOfDay(day, zone).Unix()
	}
	return t, nil
}

var dateForm = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2} \d{1,2}:\d{2}:\d{2})(?:\.(\d{1,9}))? ?(UTC|GMT|Z|AM|PM|am|pm)?$`)

// parseDate reads a date as XStream writes it (DateConverter): what follows the
// point is the number of milliseconds, so that .5 is five of them.
func parseDate(text string) (time.Time, error) {
	m := dateForm.FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, fmt.Errorf("%.40q is not a date of Jenkins", text)
	}
	layout := "2006-01-02 15:04:05"
	if strings.EqualFold(m[3], "AM") || strings.EqualFold(m[3], "PM") {
		layout, m[1] = "2006-01-02 3:04:05 PM", m[1]+" "+strings.ToUpper(m[3])
	}
	t, err := time.Parse(layout, m[1])
	if err != nil {
		return t, err
	}
	ms, _ := strconv.Atoi(m[2]) // at most nine digits, or none
	return t.Add(time.Duration(ms) * time.Millisecond), nil
}

// A mapped is an entry of users.xml.
type mapped struct{ key, dir string }

// parseMapping reads users.xml (hudson.model.UserIdMapper). Of two entries of one key
// the last counts, as in a map.
func parseMapping(text []byte) ([]mapped, error) {
	text, err := plain(text)
	if err != nil {
		return nil, err
	}
	var list []mapped
	at := make(map[string]int)
	var pair []string
	begin := func(e *element) error {
		if len(e.path) == 1 && e.path[0] != "hudson.model.UserIdMapper" {
			return errors.New("its root element is not hudson.model.UserIdMapper")
		}
		if e.is("idToDirectoryNameMap", "entry") {
			pair = nil
		}
		return nil
	}
	end := func(e *element) error {
		switch {
		case e.is("idToDirectoryNameMap", "entry", "string"):
			pair = append(pair, e.text)
		case e.is("idToDirectoryNameMap", "entry"):
			if len(pair) != 2 {
				return fmt.Errorf("an entry has %d texts, not an id and a directory", len(pair))
			}
			if i, twice := at[pair[0]]; twice {
				list[i].dir = pair[1]
				return nil
			}
			at[pair[0]] = len(list)
			list = append(list, mapped{pair[0], pair[1]})
		}
		return nil
	}
	return list, walk(text, begin, end)
}

// A use is what is known of the uses of a token.
type use struct {
	uses uint64
	last int64
}

// parseStats reads apiTokenStats.xml. Of two entries of one token the one used last
// counts, and then the one used more often (ApiTokenStats).
func parseStats(text []byte) (map[uuid.UUID]use, error) {
	text, err := plain(text)
	if err != nil {
		return nil, err
	}
	const entry = "jenkins.security.apitoken.ApiTokenStats_-SingleTokenStats"
	stats := make(map[uuid.UUID]use)
	var id uuid.UUID
	var u use
	begin := func(e *element) error {
		if len(e.path) == 1 && e.path[0] != "jenkins.security.apitoken.ApiTokenStats" {
			return errors.New("its root element is not jenkins.security.apitoken.ApiTokenStats")
		}
		if e.is("tokenStats", entry) {
			id, u = uuid.Nil, use{}
		}
		return nil
	}
	end := func(e *element) error {
		switch {
		case e.is("tokenStats", entry, "tokenUuid"):
			id, _ = uuid.Parse(e.text) // of no token, if it is none
		case e.is("tokenStats", entry, "lastUseDate"):
			if last, err := parseDate(e.text); err == nil {
				u.last = max(last.Unix(), 0)
			}
		case e.is("tokenStats", entry, "useCounter"):
			n, _ := strconv.ParseInt(e.text, 10, 64) // a negative one is none, too
			u.uses = uint64(max(n, 0))
		case e.is("tokenStats", entry):
			old, twice := stats[id]
			if id != uuid.Nil && (!twice || u.last > old.last || u.last == old.last && u.uses > old.uses) {
				stats[id] = u
			}
		}
		return nil
	}
	return stats, walk(text, begin, end)
}
