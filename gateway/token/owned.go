package token

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// Owned returns the tokens of a user, whatever has become of them, by name in
// lower case, as Jenkins lists them, and age.
// Unlike Select it does not look at anybody else's.
func (d *Directory) Owned(id user.ID) []*Token {
	var owned []*Token
	d.mu.Lock()
	for o := range d.owners.same(id) {
		for t := o.newest; t != nil; t = t.older {
			owned = append(owned, t)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(owned, func(a, b *Token) int {
		ra, rb := a.Record(), b.Record()
		return cmp.Or(strings.Compare(strings.ToLower(ra.Name), strings.ToLower(rb.Name)), bytes.Compare(ra.ID[:], rb.ID[:]))
	})
	return owned
}
