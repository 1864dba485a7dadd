package token

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
)

// MaxImport is how many tokens Import takes at once.
const MaxImport = (storage.MaxBatch - 1) / 2 // each is a record and a count; one change more is Audit's

// An Import is a token of Jenkins, of which only the digest is known.
type Import struct {
	User    string
	ID      uuid.UUID // uuid.Nil if Jenkins has none
	Name    string
	Digest  Digest
	Legacy  bool  // from before Jenkins 2.129
	Created int64 // Unix seconds; 0: unknown
	Expires int64 // Unix seconds, the first at which it is refused; 0: never
	Uses    uint64
	LastUse int64 // Unix seconds; 0: never
}

// An Imported is what has become of an Import.
type Imported struct {
	ID      uuid.UUID
	Outcome Outcome
	Detail  string // for people; why it was left, or what was changed
}

// An Outcome is what becomes of a token of Jenkins.
type Outcome string

// The outcomes of an import.
const (
	Taken   Outcome = "taken"
	Present Outcome = "present" // it was taken before
	Left    Outcome = "left"
)

// Import takes over tokens of Jenkins, at most MaxImport: all that can be, or none
// if the store fails. Those that were taken before stay as they are, whatever has
// become of them since. With dry it only tells what would be done. Errors are of
// type *Error.
func (d *Directory) Import(ctx context.Context, list []Import, dry bool, actor string) ([]Imported, error) {
	if len(list) > MaxImport {
		return nil, errorf(ErrInvalid, "%d tokens at once are too many: at most %d are taken", len(list), MaxImport)
	}
	now := d.config.Now()
	defer d.begin(KindImported)()
	var (
		outcomes = make([]Imported, len(list))
		tokens   []*Token
		uses     []usage.Total
		events   []Event
		changes  []storage.Change
		digests  = make(map[Digest]bool)
		owners   = make(map[string]user.ID) // the spelling that is used, by key
		names    = make(map[user.ID]map[string]bool)
		ids      = make(map[uuid.UUID]bool)
	)
	for i, item := range list {
		out := &outcomes[i]
		leave := func(format string, args ...any) { out.Outcome, out.Detail = Left, fmt.Sprintf(format, args...) }
		owner, err := user.ParseID(item.User)
		switch {
		case err != nil:
			leave("%v", err)
			continue
		case item.Digest == Digest{}:
			leave("it has no digest")
			continue
		case item.Expires != 0 && item.Expires <= now.Unix():
			leave("it has expired")
			continue
		case item.Expires > now.Add(maxLife).Unix():
			leave("its end is more than 100 years ahead")
			continue
		case digests[item.Digest]:
			leave("another token has the same secret")
			continue
		}
		key := d.owners.ids.Key(owner)
		if owners[key] == "" {
			owners[key] = d.owners.canonical(owner)
		}
		owner = owners[key]
		if known := d.Find(item.Digest); known != nil {
			out.ID, out.Outcome = known.Record().ID, Present
			if !d.owners.ids.Equal(known.Record().Owner, owner) {
				leave("%s has a token with the same secret", known.Record().Owner)
			}
			continue
		}
		digests[item.Digest] = true
		if names[owner] == nil {
			names[owner] = d.namesOf(owner)
		}
		var details []string
		name := freeName(item.Name, names[owner])
		if name != item.Name {
			details = append(details, fmt.Sprintf("named %q", name))
		}
		names[owner][name] = true
		// An id that is taken by another token, or came without one, is replaced.
		id := item.ID
		if _, err := d.Get(ctx, id); id == uuid.Nil || ids[id] || err == nil {
			id = newID()
		}
		ids[id] = true
		origin := FromJenkins
		if item.Legacy {
			origin = Legacy
		}
		t := &Token{first: Record{
			ID: id, Digest: item.Digest, Owner: owner, Name: name, State: Active, Origin: origin,
			Actor: actor, Created: past(item.Created, now), Expires: item.Expires, Resumed: now.Unix(),
		}}
		out.ID, out.Outcome = id, Taken
		if item.Legacy && !d.Rules().allowsLegacy(now) {
			details = append(details, "refused until the setting legacy allows it")
		}
		if _, err := headerrealm.ID(owner); err != nil {
			details = append(details, fmt.Sprintf("refused: %v", err))
		}
		if !user.FitsBasic(owner) {
			if item.Legacy {
				details = append(details, "can't be used, as Basic authentication can't carry a user ID with a colon")
			} else {
				details = append(details, "works as a Bearer token only, as Basic authentication can't carry a user ID with a colon")
			}
		}
		if o := d.owners.first(owner); o != nil && o.profile.Load().Disabled != 0 {
			details = append(details, fmt.Sprintf("refused while %s is disabled", owner))
		}
		out.Detail = strings.Join(details, ", ")
		tokens = append(tokens, t)
		uses = append(uses, usage.Total{Count: item.Uses, Last: past(item.LastUse, now)})
		events = append(events, Event{Kind: KindImported, Actor: actorOf(ctx, actor), Token: &t.first, User: owner, Detail: t.first.Origin.String() + " " + describe(&t.first)})
		changes = append(changes, storage.Change{Key: tokenKey(id), Value: encode(&t.first), Expect: storage.Absent})
		if item.Uses > 0 {
			changes = append(changes, usage.Change(id, uses[len(uses)-1]))
		}
	}
	if dry || len(tokens) == 0 {
		return outcomes, nil
	}
	if err := d.apply(ctx, events, changes...); err != nil {
		return nil, err
	}
	for i, t := range tokens {
		if uses[i].Count > 0 {
			t.uses.Store(d.tracker.Counter(t.first.ID, uses[i]))
		}
		d.insert(t)
	}
	d.tell(events...)
	return outcomes, nil
}

// past returns a moment that can have been, in Unix seconds, 0 for one that is unknown.
func past(unix int64, now time.Time) int64 { return min(max(unix, 0), now.Unix()) }

// namesOf returns the names that a user's tokens have. The caller holds mu.
func (d *Directory) namesOf(owner user.ID) map[string]bool {
	names := make(map[string]bool)
	for o := range d.owners.same(owner) {
		for t := o.newest; t != nil; t = t.older {
			if r := t.Record(); r.State != Revoked && !r.Superseded() {
				names[r.Name] = true
			}
		}
	}
	return names
}

// freeName makes of a name that Jenkins had one that we can have: Jenkins allows
// all characters, and the same name twice.
func freeName(name string, taken map[string]bool) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, name))
	if ContainsSecret(name) {
		name = ""
	}
	if name == "" {
		name = "from Jenkins"
	}
	for n, base := 2, cut(name, MaxNameLen); ; n++ {
		if name = base; n > 2 {
			suffix := fmt.Sprintf(" (%d)", n-1)
			name = cut(base, MaxNameLen-len(suffix)) + suffix
		}
		if !taken[name] {
			return name
		}
	}
}

// cut returns the beginning of a text that has at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimSpace(s[:n])
}

// Exported audits that the digests of tokens are given away, for another gateway
// or Jenkins to know them by, and returns them.
func (d *Directory) Exported(ctx context.Context, tokens []*Token, actor string) error {
	var events []Event
	for _, t := range tokens {
		r := t.Record()
		events = append(events, Event{Kind: KindExported, Actor: actorOf(ctx, actor), Token: r, User: r.Owner})
	}
	if len(events) == 0 {
		return nil
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	for part := range slices.Chunk(events, maxRevised) {
		if _, err := d.announce(ctx, part); err != nil {
			return errorf(ErrAudit, "nothing was exported, because it can't be audited: %v", err)
		}
	}
	d.tell(events...)
	return nil
}
