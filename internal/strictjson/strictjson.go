// Package strictjson decodes JSON that has one meaning only. Package encoding/json takes
// the last of several keys, and keys in any case: one reader of a request sees another
// user than the next.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Unmarshal decodes one JSON value into v, a pointer to a struct. It refuses duplicate
// keys, keys that differ from the name of a field in any way, invalid UTF-8, and anything
// behind the value.
func Unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("it is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := check(decoder, reflect.TypeOf(v), ""); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("it goes on after its JSON object")
	}
	decoder = json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// check reads the next value, of type t, and returns an error for keys that are not those
// of t. At is the path of the value, for errors. Its depth is that of t, since an unknown
// key ends it.
func check(decoder *json.Decoder, t reflect.Type, at string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	token, err := decoder.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	delim, isDelim := token.(json.Delim)
	switch {
	case !isDelim:
		return nil // Decode compares it with t
	case delim == '{' && t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textUnmarshaler):
		return checkObject(decoder, t, at)
	case delim == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for i := 0; decoder.More(); i++ {
			if err := check(decoder, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		_, err := decoder.Token()
		return err
	}
	return fmt.Errorf("%s can't be a JSON %s", named(at), map[json.Delim]string{'{': "object", '[': "array"}[delim])
}

func checkObject(decoder *json.Decoder, t reflect.Type, at string) error {
	known := make(map[string]reflect.Type)
	fields(t, known)
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // a decoder takes nothing else for a key
		field, ok := known[key]
		switch {
		case seen[key]:
			return fmt.Errorf("%s has the field %q twice", named(at), key)
		case !ok:
			for name := range known {
				if strings.EqualFold(name, key) {
					return fmt.Errorf("%s has the unknown field %q: write it as %q", named(at), key, name)
				}
			}
			return fmt.Errorf("%s has the unknown field %q", named(at), key)
		}
		seen[key] = true
		if err := check(decoder, field, strings.TrimPrefix(at+"."+key, ".")); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

func named(at string) string {
	if at == "" {
		return "the JSON object"
	}
	return at
}

// fields adds the keys of a struct, with those of embedded structs.
func fields(t reflect.Type, known map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if embedded.Kind() == reflect.Struct {
				fields(embedded, known)
			}
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			known[name] = f.Type
		}
	}
}
