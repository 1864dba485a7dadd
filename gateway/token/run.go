package token

import (
	"context"
	"errors"
	"time"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	// maxHappened bounds how many events of requests wait. What comes beyond is lost,
	// but for the log of the requests themselves.
	maxHappened = 1024
	// SweepInterval is how often tokens are looked through for what has become due.
	SweepInterval = 10 * time.Minute

	sweptKey = storekey.Swept
)

// happen has something done about an event of a request, which does not wait. It tells
// whether there is room for that.
func (d *Directory) happen(e Event) bool {
	select {
	case d.happened <- e:
		return true
	default:
		return false
	}
}

// run does what requests don't wait for, until the directory is closed.
func (d *Directory) run() {
	defer close(d.done)
	ctx := From(context.Background(), "gateway", "")
	flush, sweep := time.NewTicker(usage.Interval), time.NewTicker(SweepInterval)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		select {
		case e := <-d.happened:
			d.handle(ctx, e)
		case <-flush.C:
			d.flush(ctx)
		case <-sweep.C:
			d.Sweep(ctx)
		case <-d.stop:
			for len(d.happened) > 0 {
				d.handle(ctx, <-d.happened)
			}
			d.flush(ctx)
			return
		}
	}
}

func (d *Directory) flush(ctx context.Context) {
	if err := d.storeObserved(ctx); err != nil {
		d.config.Log.Error("it is tried again", "error", err)
	}
}

// handle does what is to be done about what has happened to a token.
func (d *Directory) handle(ctx context.Context, e Event) {
	if e.Kind != KindReused {
		d.tell(e)
		return
	}
	d.config.Log.Warn("a token that was replaced is still in use: find out who has it", "token_id", e.Token.ID, "owner", string(e.User), "name", e.Token.Name, "client_addr", e.Actor.Addr)
	d.config.Told(e)
	if !d.Rules().ReuseSuspends {
		return
	}
	root := e.Token.Root()
	for {
		family := d.List(func(t *Token) bool { return t.Record().Root() == root })
		done, err := d.SuspendAll(ctx, family, ByGateway, "a token of its family was used after it had been replaced", "gateway")
		if err != nil {
			d.config.Log.Error("the family of a token that was used after it had been replaced could not be suspended", "token_id", e.Token.ID, "error", err)
			d.Find(e.Token.Digest).alarmed.Store(false) // its next use tries again
			return
		}
		if len(done) == 0 {
			return // nor can a token that was active have been rotated since it was listed
		}
	}
}

// Sweep reports tokens that will end soon, and mends what a clock that was ahead has left:
// from a last use in the future on, a token would not count as idle for too long. It is
// called every SweepInterval.
func (d *Directory) Sweep(ctx context.Context) {
	now := d.config.Now()
	before, err := d.swept(ctx)
	if err != nil {
		d.config.Log.Error("tokens were not looked through for what has become due", "error", err)
		return
	}
	if before > now.Unix() {
		before = 0 // the clock was ahead: it is better to tell twice than not at all
	}
	var ending []*Token
	for t := range d.index.all() {
		if c := t.uses.Load(); c != nil {
			c.NotAfter(now)
		}
		r := t.Record()
		if r.Expires == 0 || r.Superseded() || t.Admit(now) != "" {
			continue
		}
		due := r.expiresSoonFrom()
		if r.Resumed <= now.Unix() { // else the clock was ahead
			due = max(due, r.Resumed)
		}
		if due <= now.Unix() && due > before {
			ending = append(ending, t)
		}
	}
	for _, t := range ending {
		r := t.Record()
		d.tell(Event{Kind: KindExpiring, Actor: Actor{Name: "gateway", Via: "gateway"}, Token: r, User: r.Owner, Detail: "expires=" + expiryText(r.Expires)})
	}
	// Only what has been told of has to be remembered, and a day of none of it.
	if len(ending) > 0 || now.Unix()-before > 24*60*60 {
		if _, err := d.store.Apply(ctx, storage.Change{Key: sweptKey, Value: encode(now.Unix()), Expect: storage.Any}); err != nil {
			d.config.Log.Error("tokens that end soon will be told of again", "error", err)
		}
	}
}

// swept returns up to when tokens have been looked through, in Unix seconds.
func (d *Directory) swept(ctx context.Context) (unix int64, _ error) {
	entry, err := d.store.Get(ctx, sweptKey)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = strictcbor.Decoding.Unmarshal(entry.Value, &unix)
	return unix, err
}
