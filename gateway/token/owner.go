package token

import (
	"iter"
	"sync/atomic"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// An owner is a user, in one spelling of the id, who has or had tokens or of whom
// something else is known.
type owner struct {
	id        user.ID
	directory *Directory
	profile   atomic.Pointer[Profile] // never nil
	newest    *Token                  // guarded by Directory.mu, like next
	next      *owner                  // whose id differs only in case
}

// owners finds users by their id. There is more than one spelling of one user only
// in a store that was filled while case mattered.
type owners struct {
	directory *Directory

	byKey map[string]*owner // by user.CaseInsensitive.Key
	ids   user.Strategy     // what is the same user now
}

// same yields all owners who are the user id.
func (o *owners) same(id user.ID) iter.Seq[*owner] {
	return func(yield func(*owner) bool) {
		for other := o.byKey[user.CaseInsensitive.Key(id)]; other != nil; other = other.next {
			if o.ids.Equal(other.id, id) && !yield(other) {
				return
			}
		}
	}
}

// spellings yields all owners whose id is the same but for the case of letters.
func (o *owners) spellings(id user.ID) iter.Seq[*owner] {
	return func(yield func(*owner) bool) {
		for other := o.byKey[user.CaseInsensitive.Key(id)]; other != nil; other = other.next {
			if !yield(other) {
				return
			}
		}
	}
}

// first returns an owner who is the user id, or nil.
func (o *owners) first(id user.ID) *owner {
	for other := range o.same(id) {
		return other
	}
	return nil
}

// exact returns the owner of this very spelling, made if there is none.
func (o *owners) exact(id user.ID) *owner {
	key := user.CaseInsensitive.Key(id)
	for other := o.byKey[key]; other != nil; other = other.next {
		if other.id == id {
			return other
		}
	}
	made := &owner{id: id, directory: o.directory, next: o.byKey[key]}
	made.profile.Store(&Profile{User: id})
	o.byKey[key] = made
	return made
}

// canonical returns the spelling of an id that is in use, or the id itself: all
// tokens of a user shall give Jenkins one.
func (o *owners) canonical(id user.ID) user.ID {
	if known := o.first(id); known != nil {
		return known.id
	}
	return id
}

// SetUserIDs tells the directory which spellings of a user id are the same user:
// of these, names of tokens differ, and the profile is one. It is
// user.CaseInsensitive before.
func (d *Directory) SetUserIDs(s user.Strategy) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owners.ids = s
}
