package token

import (
	"errors"
	"time"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// A Refusal is the reason for which a token that exists is not admitted, or for which
// its in-flight request ends.
type Refusal string

// The reasons that end in-flight requests, too: Continue returns them.
const (
	RefusedRevoked    Refusal = "revoked"
	RefusedSuspended  Refusal = "suspended"
	RefusedExpired    Refusal = "expired"
	RefusedSuperseded Refusal = "superseded" // expired, because another has replaced it
	RefusedOwner      Refusal = "owner disabled"
	RefusedLegacy     Refusal = "legacy"
	RefusedParent     Refusal = "parent" // the token that created it is not valid
	RefusedSource     Refusal = "source"
	RefusedScope      Refusal = "scope"
)

// The reasons that refuse new requests only. Only Use knows the rate and the store, and
// only Use is exact about the number of uses.
const (
	RefusedIdle  Refusal = "idle"
	RefusedRate  Refusal = "rate"
	RefusedUses  Refusal = "used up"
	RefusedStore Refusal = "store" // a bounded use can't be reserved
)

// Admit returns "" if a new request may use the token at now, else the reason.
func (t *Token) Admit(now time.Time) Refusal {
	if refusal := t.standing(now); refusal != "" {
		return refusal
	}
	if t.idle(now) {
		return RefusedIdle
	}
	for a := t; a != nil; a = a.parent.Load() {
		if bound := a.bound(); bound != 0 && a.Uses().Count >= bound {
			return RefusedUses
		}
	}
	return ""
}

// standing returns "" if the token is valid at now, however much it is used, else the
// reason.
func (t *Token) standing(now time.Time) Refusal {
	if refusal := t.standingAlone(now); refusal != "" {
		return refusal
	}
	for a := t.parent.Load(); a != nil; a = a.parent.Load() {
		if a.standingAlone(now) != "" {
			return RefusedParent
		}
	}
	return ""
}

// standingAlone is standing without the tokens above.
func (t *Token) standingAlone(now time.Time) Refusal {
	r := t.Record()
	if t.Profile().Disabled != 0 && r.State != Revoked {
		return RefusedOwner
	}
	if refusal := r.Admit(now); refusal != "" {
		return refusal
	}
	if r.Origin == Legacy && !t.owner.directory.Rules().allowsLegacy(now) {
		return RefusedLegacy
	}
	return ""
}

// Admit returns "" if the record alone allows a use at now, else the reason.
func (r *Record) Admit(now time.Time) Refusal {
	switch {
	case r.State == Suspended:
		return RefusedSuspended
	case r.State != Active:
		return RefusedRevoked
	case r.Expires == 0 || now.Unix() < r.Expires:
		return ""
	case r.Superseded():
		return RefusedSuperseded
	}
	return RefusedExpired
}

// An Access is what a request asks of its token. It is not for concurrent use.
type Access struct {
	Method, Path, Query string // as policy.Classify takes them
	Addr                string // of the client
	// Open marks a request that goes on as it would without any credential, so that the
	// token's scopes don't end it.
	Open bool

	need       policy.Need
	classified bool // need is set
}

// Continue returns "" if an in-flight request may go on at now, else the reason to end
// it. The number of uses, the rate and idleness are no such reasons: they count requests
// that begin, and an open request is itself a use.
func (t *Token) Continue(now time.Time, a *Access) Refusal {
	if refusal := t.standing(now); refusal != "" {
		return refusal
	}
	if !t.AllowsSource(a.Addr) {
		return RefusedSource
	}
	if a.Open || !t.Scoped() {
		return ""
	}
	if !a.classified { // the token may have had no scopes when the request began
		a.need, a.classified = policy.Classify(a.Method, a.Path, a.Query), true
	}
	if covered, uncovered := t.Covers(a.need); !covered && !uncovered {
		return RefusedScope
	}
	return ""
}

// InUse notes that a request of the token is open at now, so that the token is not idle.
// It keeps the moment to the minute, since each change of it is stored.
func (t *Token) InUse(now time.Time) {
	if c := t.uses.Load(); c != nil {
		c.Touch(now, time.Minute)
	}
}

// Use counts a use of a token that has been admitted, in memory, or tells why this
// one is not allowed. A legacy token is warned of in the log, if the rules say so, once
// for each start of the gateway.
func (t *Token) Use(u usage.Use) Refusal {
	d, record := t.owner.directory, t.Record()
	rules := d.Rules()
	if record.Origin == Legacy && rules.Legacy == LegacyWarned && t.warned.CompareAndSwap(false, true) {
		d.config.Log.Warn("a token from before Jenkins 2.129 is in use: replace it by a new one",
			"token_id", record.ID, "owner", string(record.Owner), "name", record.Name, "client_addr", u.Addr)
	}
	for a := t; a != nil; a = a.parent.Load() {
		if rate := a.Record().perMinute(); rate != 0 && !a.window().allow(u.Time.Unix(), rate) {
			return RefusedRate
		}
	}
	refusal := t.count(u, record)
	for a := t.parent.Load(); a != nil && refusal == ""; a = a.parent.Load() {
		// A use of a token is one of those that created it, too.
		if bound := a.bound(); bound != 0 {
			refusal = a.spending(a.counter().Take(bound))
		}
	}
	return refusal
}

// count counts a use of the token, but not of those above it.
func (t *Token) count(u usage.Use, record *Record) Refusal {
	d := t.owner.directory
	bound := t.bound()
	if d.Rules().UsageOff && bound == 0 {
		return ""
	}
	fresh, err := t.counter().Add(u, bound)
	if err != nil {
		return t.spending(err)
	}
	if fresh {
		d.happen(Event{
			Kind: KindNewAddress, Actor: Actor{Name: string(record.Owner), Via: "gateway", Addr: u.Addr},
			Token: record, User: record.Owner,
		})
	}
	return ""
}

// counter returns what counts the uses of the token.
func (t *Token) counter() *usage.Counter {
	counter := t.uses.Load()
	if counter == nil {
		t.uses.CompareAndSwap(nil, t.owner.directory.tracker.Counter(t.Record().ID, usage.Total{}))
		counter = t.uses.Load()
	}
	return counter
}

// spending returns the refusal for what came of counting a use within a bound.
func (t *Token) spending(err error) Refusal {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, usage.ErrSpent):
		return RefusedUses
	}
	t.owner.directory.config.Log.Error("request refused, because a use of its token can't be reserved", "token_id", t.Record().ID, "error", err)
	return RefusedStore
}

// window returns what counts the last requests of the token.
func (t *Token) window() *window {
	w := t.rate.Load()
	if w == nil {
		t.rate.CompareAndSwap(nil, new(window))
		w = t.rate.Load()
	}
	return w
}

// RetryAfter returns after how many seconds, at least 1, a token that was refused for its
// rate may make its next request.
func (t *Token) RetryAfter(now time.Time) int64 {
	seconds := int64(1)
	for a := t; a != nil; a = a.parent.Load() {
		if rate := a.Record().perMinute(); rate != 0 {
			seconds = max(seconds, a.window().wait(now.Unix(), rate))
		}
	}
	return seconds
}

// Ended reports whether a use of the token at now shows that its secret is in other hands:
// another token has replaced it, and it was not to work any more.
func (t *Token) Ended(now time.Time) bool {
	r := t.Record()
	return r.Superseded() && r.Admit(now) != ""
}

// Reused raises the alarm when a token is used that another has replaced: somebody
// has it who should not. It does so once for each token and start of the gateway.
func (t *Token) Reused(addr string) {
	if !t.alarmed.CompareAndSwap(false, true) {
		return
	}
	r := t.Record()
	raised := t.owner.directory.happen(Event{
		Kind: KindReused, Actor: Actor{Name: "whoever has the secret", Via: "gateway", Addr: addr}, Token: r, User: r.Owner,
		Detail: "replaced by " + r.Successor.String(),
	})
	if !raised {
		t.alarmed.Store(false)
	}
}
