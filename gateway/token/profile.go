package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	maxGroups      = 256
	maxProfileText = headerrealm.MaxText // bytes, of a mail address or a display name
	maxGroupsBytes = 4096                // of all groups joined: Jenkins refuses a request head over 8192
)

// A ProfileUpdate says what is to become known of a user. A nil field leaves what
// is known; an empty one removes it.
type ProfileUpdate struct {
	Groups      *[]string
	Mail        *string
	DisplayName *string

	disabled *int64 // as Profile.Disabled; one that is disabled stays so since then
}

// String tells, for people, what is to change.
func (u *ProfileUpdate) String() string {
	var parts []string
	if u.Groups != nil {
		parts = append(parts, fmt.Sprintf("groups=%q", *u.Groups))
	}
	if u.Mail != nil {
		parts = append(parts, fmt.Sprintf("mail=%q", *u.Mail))
	}
	if u.DisplayName != nil {
		parts = append(parts, fmt.Sprintf("display_name=%q", *u.DisplayName))
	}
	return strings.Join(parts, " ")
}

func (u *ProfileUpdate) apply(old *Profile) (*Profile, error) {
	p := *old
	if u.Groups != nil {
		p.Groups = slices.Clone(*u.Groups)
	}
	if u.Mail != nil {
		p.Mail = *u.Mail
	}
	if u.DisplayName != nil {
		p.DisplayName = *u.DisplayName
	}
	if u.disabled != nil && (*u.disabled == 0 || p.Disabled == 0) {
		p.Disabled = *u.disabled
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &p, nil
}

// Check returns an error that says what is wrong with a profile that is to be stored.
// It does not look at the user's id. Jenkins may still be unable to read some of it:
// package headerrealm decides that for each request.
func (p *Profile) Check() error {
	joined := max(len(p.Groups)-1, 0) * len(headerrealm.GroupDelimiter)
	for _, g := range p.Groups {
		joined += len(g)
		// Jenkins answers 500 to a group of blanks only.
		if g == "" || g != strings.TrimSpace(g) || strings.Contains(g, headerrealm.GroupDelimiter) {
			return fmt.Errorf("group %q is empty, begins or ends with a blank, or holds %q: leave that out", g, headerrealm.GroupDelimiter)
		}
		if err := user.CheckText("group", g); err != nil {
			return err
		}
	}
	if len(p.Groups) > maxGroups || joined > maxGroupsBytes {
		return fmt.Errorf("%d groups with %d bytes in all are too many: at most %d groups and %d bytes are allowed", len(p.Groups), joined, maxGroups, maxGroupsBytes)
	}
	if err := checkProfileText("mail address", p.Mail); err != nil {
		return err
	}
	return checkProfileText("display name", p.DisplayName)
}

func checkProfileText(what, s string) error {
	if len(s) > maxProfileText {
		return fmt.Errorf("the %s has %d bytes, at most %d are allowed", what, len(s), maxProfileText)
	}
	if s != strings.TrimSpace(s) {
		return fmt.Errorf("the %s %q begins or ends with a blank: leave it out", what, s)
	}
	return user.CheckText(what, s)
}

// updated returns the profiles of all spellings of a user, changed. The caller
// holds mu.
func (d *Directory) updated(id user.ID, update ProfileUpdate) ([]*Profile, error) {
	var profiles []*Profile
	for o := range d.owners.same(id) {
		p, err := update.apply(o.profile.Load())
		if err != nil {
			return nil, err
		}
		profiles = append(profiles, p)
	}
	if profiles != nil {
		return profiles, nil
	}
	p, err := update.apply(&Profile{User: id})
	return []*Profile{p}, err
}

func profileChanges(profiles []*Profile) []storage.Change {
	changes := make([]storage.Change, len(profiles))
	for i, p := range profiles {
		changes[i] = storage.Change{Key: profilePrefix + string(p.User), Value: encode(p), Expect: storage.Any}
	}
	return changes
}

// show makes stored profiles visible. The caller holds mu.
func (d *Directory) show(profiles []*Profile) {
	for _, p := range profiles {
		d.owners.exact(p.User).profile.Store(p)
	}
}

// Profile returns what is known of a user, or an *Error of kind ErrInvalid for an
// id that is nobody's.
func (d *Directory) Profile(id string) (*Profile, error) {
	who, err := user.ParseID(id)
	if err != nil {
		return nil, errorf(ErrInvalid, "%v", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.owners.first(who); o != nil {
		return o.profile.Load(), nil
	}
	return &Profile{User: who}, nil
}

// Known reports whether a user has or had tokens, or a profile of which something is set.
func (d *Directory) Known(id string) bool {
	who, err := user.ParseID(id)
	if err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.owners.first(who) != nil
}

// A UserSummary is what a list tells of a user.
type UserSummary struct {
	*Profile
	Tokens int // those that are not revoked
}

// Users returns all known users by their ids.
func (d *Directory) Users() []UserSummary {
	var users []UserSummary
	d.mu.Lock()
	for _, first := range d.owners.byKey {
		for o := first; o != nil; o = o.next {
			summary := UserSummary{Profile: o.profile.Load()}
			for t := o.newest; t != nil; t = t.older {
				if t.Record().State != Revoked {
					summary.Tokens++
				}
			}
			users = append(users, summary)
		}
	}
	d.mu.Unlock()
	slices.SortFunc(users, func(a, b UserSummary) int { return strings.Compare(string(a.User), string(b.User)) })
	return users
}

// SetProfile changes what is known of a user, for all of the user's tokens from
// the next request on. Errors are of type *Error.
func (d *Directory) SetProfile(ctx context.Context, id string, update ProfileUpdate, actor string) (*Profile, error) {
	return d.changeUser(ctx, id, KindUser, update, actor)
}

// SetDisabled refuses all tokens of a user from the next request on, and new ones,
// or lets them in again: what becomes of the tokens of somebody who leaves. Errors
// are of type *Error.
func (d *Directory) SetDisabled(ctx context.Context, id string, disabled bool, actor string) (*Profile, error) {
	kind, since := KindEnabled, int64(0)
	if disabled {
		kind, since = KindDisabled, d.config.Now().Unix()
	}
	return d.changeUser(ctx, id, kind, ProfileUpdate{disabled: &since}, actor)
}

func (d *Directory) changeUser(ctx context.Context, id string, kind Kind, update ProfileUpdate, actor string) (*Profile, error) {
	who, err := user.ParseID(id)
	if err != nil {
		return nil, errorf(ErrInvalid, "%v", err)
	}
	defer d.begin(kind)()
	profiles, err := d.updated(who, update)
	if err != nil {
		return nil, errorf(ErrInvalid, "%v", err)
	}
	p := profiles[0]
	event := Event{Kind: kind, Actor: actorOf(ctx, actor), User: p.User, Detail: update.String()}
	err = d.apply(ctx, []Event{event}, profileChanges(profiles)...)
	if err != nil && !errors.Is(err, errInMemory) {
		return nil, err
	}
	d.show(profiles)
	d.tell(event)
	return p, err
}
