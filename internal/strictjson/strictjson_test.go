package strictjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/internal/strictjson"
)

type inner struct {
	Name string `json:"name"`
	When stamp  `json:"when"`
}

type stamp struct{ time.Time }

type base struct {
	User string `json:"user"`
}

type sample struct {
	base
	List  []inner   `json:"list,omitempty"`
	One   *inner    `json:"one"`
	Names *[]string `json:"names"`
	Count uint64    `json:"count"`
	Local int       `json:"-"`
}

func TestOneMeaningOnly(t *testing.T) {
	for _, c := range []struct{ name, body, err string }{
		{"all of it", `{"user":"a","list":[{"name":"x"},{"name":"y","when":"2026-01-31T00:00:00Z"}],"one":{"name":"z"},"names":["p"],"count":3}`, ""},
		{"nothing", `{}`, ""},
		{"null", `{"one":null,"names":null}`, ""},
		{"blanks around it", " {\"user\":\"a\"}\n", ""},
		{"a key twice", `{"user":"a","user":"root"}`, `has the field "user" twice`},
		{"a key twice, escaped", `{"user":"a","\u0075ser":"root"}`, `has the field "user" twice`},
		{"a key in another case", `{"user":"a","USER":"root"}`, `has the unknown field "USER": write it as "user"`},
		{"only in another case", `{"User":"root"}`, `write it as "user"`},
		{"a key of another alphabet", `{"lıst":[]}`, "unknown field"},
		{"a nested key twice", `{"one":{"name":"a","name":"b"}}`, `one has the field "name" twice`},
		{"a key in a list twice", `{"list":[{},{"name":"a","name":"b"}]}`, `list[1] has the field "name" twice`},
		{"a nested key in another case", `{"list":[{"NAME":"a"}]}`, `list[0] has the unknown field "NAME"`},
		{"an unknown field", `{"users":"a"}`, `unknown field "users"`},
		{"a field without a key", `{"local":1}`, `unknown field "local"`},
		{"more behind it", `{"user":"a"}{"user":"root"}`, "goes on after"},
		{"more of nothing behind it", `{} null`, "goes on after"},
		{"invalid UTF-8", "{\"user\":\"\xff\"}", "UTF-8"},
		{"another type", `{"user":["a"]}`, "user can't be a JSON array"},
		{"a list for it all", `[]`, "can't be a JSON array"},
		{"half of it", `{"user":"a"`, ""},
		{"empty", ``, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got sample
			err := strictjson.Unmarshal([]byte(c.body), &got)
			broken := c.name == "half of it" || c.name == "empty"
			switch {
			case (c.err != "" || broken) != (err != nil):
				t.Errorf("error %v, want %q", err, c.err)
			case err != nil && !strings.Contains(err.Error(), c.err):
				t.Errorf("error %q, want %q", err, c.err)
			}
		})
	}
}

// What is decoded is what encoding/json decodes, and encodes to the same again.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{`{}`, `{"user":"a","list":[{"name":"x"}],"count":3}`, `{"user":"a","USER":"b"}`, `{"one":{"name":"a","name":"b"}}`, `[[[[`, `{"list":[{`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, loose sample
		if err := strictjson.Unmarshal(data, &got); err != nil {
			return
		}
		if err := json.Unmarshal(data, &loose); err != nil || !reflect.DeepEqual(got, loose) {
			t.Fatalf("%q: got %+v, want %+v, %v", data, got, loose, err)
		}
		// Each key stands once, and as it is named.
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(data, &keys); err != nil {
			return // null
		}
		for key := range keys {
			switch key {
			case "user", "list", "one", "names", "count":
			default:
				t.Fatalf("%q has the key %q", data, key)
			}
		}
	})
}
