package jenkinshome

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Names of elements, in which XStream writes the $ of nested classes as _-.
const (
	propertyName    = "jenkins.security.ApiTokenProperty"
	hashedTokenName = "jenkins.security.apitoken.ApiTokenStore_-HashedToken"
)

// Limits, in bytes. Those of ids and names are above what the gateway takes, so that
// what is too long can be named.
const (
	maxID   = 1 << 10
	maxName = 1 << 10
)

// A config is what is looked for in the config.xml of a user.
type config struct {
	id     string // empty if there is none
	tokens []stored
	bad    []badToken
	secret []byte // the legacy <apiToken>, nil if there is none; to be wiped
	second bool   // there is a second ApiTokenProperty

	// Where things stand that are changed on the way back. A nil one isn't there.
	user, properties, property, store, list *span
	legacy                                  *span // the <apiToken>
}

// A stored token is a token with what only this package needs to know of it.
type stored struct {
	Token
	key string // the uuid as it is written, by which statistics are found
	at  span
}

type badToken struct {
	stored
	reason error
}

func (c *config) wipe() { clear(c.secret) }

// hasLegacy tells whether there is a stored legacy token, in place of which Jenkins
// makes one of <apiToken> otherwise (ApiTokenProperty.setUser).
func (c *config) hasLegacy() bool {
	for _, t := range c.tokens {
		if t.Legacy {
			return true
		}
	}
	return false
}

// parseConfig reads a config.xml, which it may change: see scan. If it fails, the
// config is not to be used.
func parseConfig(data []byte, zone *time.Location) (*config, error) {
	c := new(config)
	where := func(to **span) func(span) error {
		return func(at span) error {
			if *to == nil {
				*to = &at
			}
			return nil
		}
	}
	var t *tokenParser
	field := func(name string, limit int, set func(text []byte) error) *element {
		return &element{text: func(text []byte) error {
			t.field(name, limit, text, set)
			return nil
		}}
	}
	hashed := &element{
		open: func(at span) { t = &tokenParser{seen: make(map[string]bool, 6)} },
		inside: map[string]*element{
			"uuid": field("uuid", maxName, func(text []byte) error {
				t.key = string(text)
				if id, err := uuid.ParseBytes(text); err == nil && id.String() == t.key {
					t.UUID = id
				}
				return nil
			}),
			"name": field("name", maxName, func(text []byte) error {
				t.Name = string(text)
				return nil
			}),
			"creationDate": field("creationDate", 64, func(text []byte) error {
				// What can't be read is unknown, as in Jenkins: nothing depends on it.
				if created, ok := parseDate(string(text)); ok {
					t.Created = max(created.Unix(), 0)
				}
				return nil
			}),
			"expirationDate": field("expirationDate", 64, func(text []byte) (err error) {
				t.Expires, err = parseDay(string(text), zone)
				return err
			}),
			"value": {inside: map[string]*element{
				"version": field("version", 16, func(text []byte) error {
					t.Legacy = string(text) == "10"
					return nil
				}),
				"hash": field("hash", 256, func(text []byte) (err error) {
					t.Digest, err = parseHash(text)
					return err
				}),
			}},
		},
		close: func(at span) error {
			t.at = at
			if t.err == nil {
				t.err = t.check()
			}
			if t.err != nil {
				c.bad = append(c.bad, badToken{t.stored, t.err})
			} else {
				c.tokens = append(c.tokens, t.stored)
			}
			return nil
		},
	}
	property := &element{
		inside: map[string]*element{
			"apiToken": {
				text: once("apiToken", maxText, func(text []byte) error {
					c.secret = append(make([]byte, 0, len(text)), text...)
					return nil
				}),
				close: where(&c.legacy),
			},
			"tokenStore": {
				inside: map[string]*element{"tokenList": {
					inside: map[string]*element{hashedTokenName: hashed},
					close:  where(&c.list),
				}},
				close: where(&c.store),
			},
		},
	}
	properties := &element{inside: map[string]*element{propertyName: property}, close: where(&c.properties)}
	// Jenkins looks at the first of two (User.getProperty).
	property.close = func(at span) error {
		c.property = &at
		properties.inside = map[string]*element{propertyName: {close: func(span) error {
			c.second = true
			return nil
		}}}
		return nil
	}
	err := scan(data, "user", &element{
		inside: map[string]*element{
			"id": {text: once("id", maxID, func(text []byte) error {
				c.id = string(text)
				return nil
			})},
			"properties": properties,
		},
		close: where(&c.user),
	})
	if err != nil {
		c.wipe()
		return nil, err
	}
	return c, nil
}

// A tokenParser collects a token. What is wrong with it concerns only this token.
type tokenParser struct {
	stored
	seen map[string]bool
	err  error // the first
}

func (t *tokenParser) field(name string, limit int, text []byte, set func([]byte) error) {
	var err error
	switch {
	case t.seen[name]:
		err = fmt.Errorf("has two <%s> where one should be", name)
	case len(text) > limit:
		err = fmt.Errorf("has a <%s> of more than %d bytes", name, limit)
	default:
		err = set(text)
	}
	t.seen[name] = true
	if t.err == nil {
		t.err = err
	}
}

func (t *tokenParser) check() error {
	switch {
	case !t.seen["hash"]:
		return errors.New("has no hash: nobody can use it in Jenkins either")
	case t.Digest == emptyLegacy:
		return errEmptyLegacy
	}
	return nil
}

var errHash = errors.New("has a hash that is not 64 hexadecimal digits: nobody can use it in Jenkins either")

// parseHash takes capitals as well, like hudson.Util.fromHexString.
func parseHash(text []byte) (token.Digest, error) {
	var d token.Digest
	if len(text) != 2*len(d) {
		return token.Digest{}, errHash
	}
	if _, err := hex.Decode(d[:], text); err != nil || d == (token.Digest{}) {
		return token.Digest{}, errHash
	}
	return d, nil
}
