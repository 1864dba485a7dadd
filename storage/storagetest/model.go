package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/crumbgate/crumbgate/storage"
)

// testModel compares the store with a map, over random batches of right and wrong
// expectations, listings and reopenings. rapid prints a shortest failing sequence.
func testModel(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		dir := t.TempDir()
		s := open(t, dir)
		defer func() { _ = s.Close() }()

		model := map[string]storage.Entry{}
		last := storage.Revision(0)
		key := rapid.Custom(func(r *rapid.T) string {
			return rapid.SampledFrom([]string{"token/", "usage/", ""}).Draw(r, "dir") + rapid.StringOfN(rapid.RuneFrom([]rune("ab/ÿ")), 1, 3, -1).Draw(r, "name")
		})
		value := rapid.Map(rapid.SampledFrom([]int{0, 1, 200, 5000}), func(n int) string { return strings.Repeat("v", n) })

		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"apply", "apply", "apply", "list", "reopen"}).Draw(r, "step") {
			case "apply":
				var changes []storage.Change
				var want *storage.ConflictError
				for _, k := range rapid.SliceOfNDistinct(key, 1, 6, rapid.ID).Draw(r, "keys") {
					c := storage.Change{Key: k, Delete: rapid.Bool().Draw(r, "delete")}
					if !c.Delete {
						c.Value = []byte(value.Draw(r, "value"))
					}
					actual := model[k].Revision
					c.Expect = rapid.SampledFrom([]storage.Revision{actual, actual, actual, storage.Any, storage.Any, storage.Absent, last}).Draw(r, "expect")
					if want == nil && c.Expect != storage.Any && c.Expect != actual {
						want = &storage.ConflictError{Key: k, Expect: c.Expect, Actual: actual}
					}
					changes = append(changes, c)
				}
				revision, err := s.Apply(t.Context(), changes...)
				if want != nil {
					var got *storage.ConflictError
					if !errors.As(err, &got) || *got != *want {
						r.Fatalf("Apply: %v, want %v", err, want)
					}
					break
				}
				nothing := !slices.ContainsFunc(changes, func(c storage.Change) bool { return !c.Delete || model[c.Key].Revision != storage.Absent })
				if err != nil || revision < last || revision == last && !nothing {
					r.Fatalf("Apply = %d, %v, after revision %d", revision, err, last)
				}
				last = revision
				for _, c := range changes {
					if c.Delete {
						delete(model, c.Key)
					} else {
						model[c.Key] = storage.Entry{Key: c.Key, Value: c.Value, Revision: revision}
					}
				}
			case "reopen":
				if err := s.Close(); err != nil {
					r.Fatalf("Close: %v", err)
				}
				s = open(t, dir)
			case "list":
				compare(t, r, s, model, rapid.SampledFrom([]string{"token/", "usage/", "t", "a"}).Draw(r, "prefix"))
			}
		}
		compare(t, r, s, model, "")
		k := key.Draw(r, "get")
		got, err := s.Get(t.Context(), k)
		if want, ok := model[k]; ok && (err != nil || show(got) != show(want)) || !ok && !errors.Is(err, storage.ErrNotFound) {
			r.Fatalf("Get(%q) = %v, %v, want %v, present: %t", k, show(got), err, show(want), ok)
		}
	})
}

func compare(t *testing.T, r *rapid.T, s storage.Store, model map[string]storage.Entry, prefix string) {
	var want []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) {
			want = append(want, show(model[k]))
		}
	}
	if got := list(t, s, prefix); !slices.Equal(got, want) {
		r.Fatalf("List(%q) = %s, want %s", prefix, abbreviate(got), abbreviate(want))
	}
}

// abbreviate keeps long values out of a message.
func abbreviate(entries []string) string {
	return strings.ReplaceAll(fmt.Sprintf("%q", entries), strings.Repeat("v", 100), "…")
}
