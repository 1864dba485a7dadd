package caddymodule

import (
	"context"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// maxEvents bounds how many events wait for their handlers. What comes beyond has no
// event; it is in the log all the same.
const maxEvents = 1024

// maxHandling bounds how long the end waits for the handlers of what has happened.
const maxHandling = 10 * time.Second

// emitter hands what happens to tokens to Caddy's events app, in the order in which
// it happened and without anybody waiting for the handlers.
type emitter struct {
	queue      chan token.Event
	stop, done chan struct{}
	handling   context.Context
	cancel     context.CancelFunc // of handling
}

// newEmitter starts an emitter. The app is that of the configuration that holds at
// the moment; nil if there is none.
func newEmitter(app func() *App) *emitter {
	e := &emitter{queue: make(chan token.Event, maxEvents), stop: make(chan struct{}), done: make(chan struct{})}
	e.handling, e.cancel = context.WithCancel(context.Background())
	emit := func(event token.Event) {
		if a := app(); a != nil && a.events != nil {
			// Caddy ends the context of a configuration before the store is closed, and
			// would leave out what happened last.
			ctx := a.ctx
			var cancel context.CancelFunc
			ctx.Context, cancel = context.WithCancel(context.WithoutCancel(ctx.Context))
			defer cancel()
			defer context.AfterFunc(e.handling, cancel)()
			a.events.Emit(ctx, eventName(event.Kind), eventData(event))
		}
	}
	go func() {
		defer close(e.done)
		for e.handling.Err() == nil {
			select {
			case event := <-e.queue:
				emit(event)
			case <-e.stop:
				for len(e.queue) > 0 && e.handling.Err() == nil {
					emit(<-e.queue)
				}
				return
			}
		}
	}()
	return e
}

func (e *emitter) add(event token.Event) {
	select {
	case e.queue <- event:
	default:
	}
}

// close waits for the handlers of what has happened already, but no longer than it is
// told, and returns for how many events they have not done. The queue stays open: a
// request to the admin endpoint may still be under way.
func (e *emitter) close(wait time.Duration) (left int) {
	defer e.cancel()
	close(e.stop)
	select {
	case <-e.done:
		return 0
	case <-time.After(wait):
		return len(e.queue) + 1
	}
}

// eventName is the name of an event for `on` in the Caddyfile: token_revoked.
func eventName(kind token.Kind) string { return strings.ReplaceAll(string(kind), ".", "_") }

func eventData(e token.Event) map[string]any {
	data := map[string]any{
		"user":   string(e.User),
		"actor":  e.Actor.Name,
		"via":    e.Actor.Via,
		"addr":   e.Actor.Addr,
		"detail": e.Detail,
	}
	if e.Token != nil {
		data["token_id"], data["token_name"] = e.Token.ID.String(), e.Token.Name
	}
	return data
}

// eventsApp returns Caddy's events app, which is there without being configured.
func eventsApp(ctx caddy.Context) (*caddyevents.App, error) {
	module, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	return module.(*caddyevents.App), nil
}
