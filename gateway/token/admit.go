package token

import (
	"errors"
	"time"

	"golang.org/x/time/rate"

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
	r, rules := t.Record(), t.owner.directory.Rules()
	switch {
	case rules.MaxIdle != 0 && t.idleSince()+int64(rules.MaxIdle/time.Second) <= now.Unix():
		return RefusedIdle
	case r.Limits != nil && r.Limits.Uses != 0 && t.Uses().Count >= r.Limits.Uses:
		return RefusedUses
	}
	return ""
}

// standing returns "" if the token is valid at now, however much it is used, else the
// reason.
func (t *Token) standing(now time.Time) Refusal {
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
	r := t.Record()
	if !r.AllowsSource(a.Addr) {
		return RefusedSource
	}
	if a.Open || !r.Scoped() || r.Observed() {
		return ""
	}
	if !a.classified { // the token may have had no scopes when the request began
		a.need, a.classified = policy.Classify(a.Method, a.Path, a.Query), true
	}
	if !r.Covers(a.need) {
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

// idleSince returns the Unix second from which on the token has not been used.
func (t *Token) idleSince() int64 {
	r := t.Record()
	since := max(r.Created, r.Resumed)
	if c := t.uses.Load(); c != nil {
		since = max(since, c.Last())
	}
	return since
}

// Use counts a use of a token that has been admitted, in memory, or tells why this
// one is not allowed. A legacy token is warned of in the log, if the rules say so, once
// for each start of the gateway.
func (t *Token) Use(u usage.Use) Refusal {
	d, record := t.owner.directory, t.Record()
	rules, limits := d.Rules(), record.Limits
	if record.Origin == Legacy && rules.Legacy == LegacyWarned && t.warned.CompareAndSwap(false, true) {
		d.config.Log.Warn("a token from before Jenkins 2.129 is in use: replace it by a new one",
			"token_id", record.ID, "owner", string(record.Owner), "name", record.Name, "client_addr", u.Addr)
	}
	if limits != nil && limits.Rate != 0 && !t.limiter(limits.Rate).AllowN(u.Time, 1) {
		return RefusedRate
	}
	capped := limits != nil && limits.Uses != 0
	if rules.UsageOff && !capped {
		return ""
	}
	counter := t.uses.Load()
	if counter == nil {
		t.uses.CompareAndSwap(nil, d.tracker.Counter(record.ID, usage.Total{}))
		counter = t.uses.Load()
	}
	bound := uint64(0)
	if capped {
		bound = limits.Uses
	}
	fresh, err := counter.Add(u, bound)
	switch {
	case errors.Is(err, usage.ErrSpent):
		return RefusedUses
	case err != nil:
		d.config.Log.Error("request refused, because a use of its token can't be reserved", "token_id", record.ID, "error", err)
		return RefusedStore
	}
	if fresh {
		d.happen(Event{
			Kind: KindNewAddress, Actor: Actor{Name: string(record.Owner), Via: "gateway", Addr: u.Addr},
			Token: record, User: record.Owner,
		})
	}
	return ""
}

// limiter returns what bounds the rate of the token's uses: a minute's worth at
// once, and then evenly.
func (t *Token) limiter(perMinute uint32) *rate.Limiter {
	limit := rate.Limit(float64(perMinute) / 60)
	for {
		old := t.rate.Load()
		if old != nil && old.Burst() == int(perMinute) {
			return old
		}
		if t.rate.CompareAndSwap(old, rate.NewLimiter(limit, int(perMinute))) {
			continue // and load it
		}
	}
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
