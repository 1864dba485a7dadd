package token

import "time"

// Ages, in days, from which on Jenkins marks a token, and one that has never been
// used (ApiTokenProperty/config.jelly).
const (
	ageWarning   = 180
	ageError     = 360
	unusedMarked = 7
)

// A Level says how much a mark should worry people.
type Level int

// The levels of marks.
const (
	LevelOK Level = iota
	LevelWarning
	LevelError
)

func (l Level) String() string { return [...]string{"ok", "warning", "error"}[l] }

// active is the state of a token that is not refused.
const active = "active"

// Marks are what people should notice of a token, as Jenkins shows it and beyond.
type Marks struct {
	// State is "active", or why the token is refused.
	State string
	// Age is of the token, LevelOK if its creation date is unknown.
	Age Level
	// LastUse is the age of its last use.
	LastUse Level
	// NeverUsed is that it has not been used, more than a week after its creation.
	NeverUsed bool
	// Expiring is that it ends soon, and Unending that it has no expiration.
	Expiring, Unending bool
	// Legacy is that it is from before Jenkins 2.129.
	Legacy bool
	// Unlimited is that it has no scopes, or is only observed.
	Unlimited bool
	// Replaced is that another token has replaced it.
	Replaced bool
}

// Marks returns what people should notice of a token at now.
func (t *Token) Marks(now time.Time) Marks {
	r, uses := t.Record(), t.Uses()
	state := active
	if refusal := t.Admit(now); refusal != "" {
		state = string(refusal)
	}
	return Marks{
		State:     state,
		Age:       level(r.Created, now),
		LastUse:   level(uses.Last, now),
		NeverUsed: uses.Count == 0 && days(r.Created, now) > unusedMarked && !t.owner.directory.Rules().UsageOff,
		Expiring:  r.Expires != 0 && now.Unix() < r.Expires && now.Unix() >= r.expiresSoonFrom(),
		Unending:  t.Expires() == 0,
		Legacy:    r.Origin == Legacy,
		Unlimited: !t.Scoped() || r.Observed(),
		Replaced:  r.Superseded(),
	}
}

// maxSoon is how long before its end a token is said to end soon at most, as in Jenkins
// (ApiTokenStore.HashedToken.isAboutToExpire).
const maxSoon = 7 * 24 * time.Hour

// expiresSoonFrom returns from when on the token is said to end soon, in Unix seconds: for
// the last tenth of its life, at most maxSoon.
func (r *Record) expiresSoonFrom() int64 {
	soon := int64(maxSoon / time.Second)
	if r.Created != 0 {
		soon = min(soon, (r.Expires-r.Created)/10)
	}
	return r.Expires - soon
}

func level(since int64, now time.Time) Level {
	switch d := days(since, now); {
	case d > ageError:
		return LevelError
	case d > ageWarning:
		return LevelWarning
	}
	return LevelOK
}

// days counts calendar days, as Jenkins does; an unknown moment counts as today.
func days(since int64, now time.Time) int {
	if since == 0 {
		return 0
	}
	date := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	}
	return int(date(now).Sub(date(time.Unix(since, 0).In(now.Location()))) / (24 * time.Hour))
}

// LegacyWarning tells, for admins, what is to be done about tokens from before
// Jenkins 2.129; "" if there is nothing: they are not let in, and there are none.
func (d *Directory) LegacyWarning() string {
	now := d.config.Now()
	n := 0
	for t := range d.index.all() {
		if r := t.Record(); r.Origin == Legacy && r.State != Revoked {
			n++
		}
	}
	allowed := d.Rules().allowsLegacy(now)
	switch {
	case n == 0 && !allowed:
		return ""
	case n == 0:
		return "The settings let in tokens from before Jenkins 2.129, but there are none: set legacy to refuse."
	case !allowed:
		return plural(n, "token") + " from before Jenkins 2.129 can't be used any more: revoke what is left."
	}
	return plural(n, "token") + " from before Jenkins 2.129 can still be used. Anybody who could see a user's page may know them: replace each by a new token."
}
