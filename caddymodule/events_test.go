package caddymodule

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

func init() { caddy.RegisterModule(new(recorder)) }

// A recorder is an event handler that notes what it is told. Caddy comes with none.
type recorder struct {
	// Mark says of which configuration it is.
	Mark string `json:"mark"`
}

func (*recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.crumbgate_test", New: func() caddy.Module { return new(recorder) }}
}

// UnmarshalCaddyfile reads crumbgate_test <mark>.
func (r *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&r.Mark) {
		return d.ArgErr()
	}
	return nil
}

// recorded are the events since the test began, of all recorders. Each waits for gate
// before it notes one, if that isn't nil.
var recorded struct {
	mu    sync.Mutex // guards the rest
	texts []string
	gate  chan struct{}
}

func (r *recorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.mu.Lock()
	gate := recorded.gate
	recorded.mu.Unlock()
	if gate != nil {
		<-gate
	}
	recorded.mu.Lock()
	defer recorded.mu.Unlock()
	recorded.texts = append(recorded.texts, fmt.Sprintf("%s %s %v %v", r.Mark, e.Name(), e.Data["token_name"], e.Data["addr"]))
	return nil
}

// awaitEvents waits for events, and fails the test unless they come in this order.
func awaitEvents(t *testing.T, want ...string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		recorded.mu.Lock()
		got := slices.Clone(recorded.texts)
		recorded.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if len(got) >= len(want) || time.Since(began) > 30*time.Second {
			t.Fatalf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// run makes Caddy run a Caddyfile, with STORE replaced by the path of a store, until the
// test ends.
func run(t *testing.T, store, caddyfile string) *App {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.ReplaceAll(caddyfile, "STORE", store)), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("crumbgate")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

func (a *App) mustDirectory(t *testing.T) *token.Directory {
	t.Helper()
	d, err := a.directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// quiet begins a test that runs Caddy in this process: it stops it in the end, and fails
// the test if a goroutine is left.
func quiet(t *testing.T) (store string) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, running) })
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(t.TempDir(), "tokens.db")
}

const recording = `{
	admin off
	persist_config off
	log {
		output discard
	}
	events {
		on token_created crumbgate_test MARK
		on token_revoked crumbgate_test MARK
		on token_new_address crumbgate_test MARK
	}
	crumbgate {
		storage bbolt STORE
	}
}
`

func withMark(mark string) string { return strings.ReplaceAll(recording, "MARK", mark) }

func TestEvents(t *testing.T) {
	store := quiet(t)
	recorded.texts = nil
	d := run(t, store, withMark("first")).mustDirectory(t)
	create := func(name string) *token.Token {
		t.Helper()
		made, _, err := d.Create(t.Context(), token.Request{User: "alice", Name: name, Actor: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	revoke := func(made *token.Token) {
		t.Helper()
		if _, err := d.Revoke(t.Context(), made.Record().ID, "test"); err != nil {
			t.Fatal(err)
		}
	}
	use := func(made *token.Token, addr string) {
		t.Helper()
		if refused := made.Use(usage.Use{Time: time.Now(), Addr: addr}); refused != "" {
			t.Fatal(refused)
		}
	}

	a := create("a")
	use(a, "192.0.2.1")
	want := []string{"first token_created a ", "first token_new_address a 192.0.2.1"}
	awaitEvents(t, want...)
	use(a, "192.0.2.1")
	revoke(a)
	want = append(want, "first token_revoked a ")
	awaitEvents(t, want...)

	// The store stays open over a reload; its events go to the new configuration.
	if again := run(t, store, withMark("second")).mustDirectory(t); again != d {
		t.Fatal("the store was opened again")
	}
	b := create("b")
	want = append(want, "second token_created b ")
	awaitEvents(t, want...)

	// A handler that takes its time holds up nobody but those of later events.
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open() // or a failure would wait for the handler forever
	recorded.mu.Lock()
	recorded.gate = gate
	recorded.mu.Unlock()
	for _, name := range []string{"c", "d", "e"} {
		create(name)
		want = append(want, "second token_created "+name+" ")
	}
	revoke(b)
	want = append(want, "second token_revoked b ")

	// What has happened before the end is told, though the configuration has ended.
	ending := caddy.ActiveContext()
	stopped := make(chan error, 1)
	go func() { stopped <- caddy.Stop() }()
	<-ending.Done()
	open()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, want...)
}

// As many events wait as there is room for, and nobody waits for more.
func TestEventsBeyondTheBound(t *testing.T) {
	gate, handled := make(chan struct{}), 0
	e := newEmitter(func() *App {
		<-gate
		handled++
		return nil
	})
	for range 3 * maxEvents {
		e.add(token.Event{Kind: token.KindCreated})
	}
	close(gate)
	if left := e.close(time.Minute); left != 0 {
		t.Errorf("%d events are left", left)
	}
	if handled < maxEvents || handled > maxEvents+1 {
		t.Errorf("%d events are handled, want %d and the one at hand", handled, maxEvents)
	}
}

// A handler that hangs does not hold up the end: it is told to stop, and left if it
// doesn't.
func TestEventsEndWithoutTheirHandlers(t *testing.T) {
	quiet(t)
	gate := make(chan struct{})
	reached := make(chan struct{}, 3)
	e := newEmitter(func() *App {
		reached <- struct{}{}
		<-gate
		return nil
	})
	for range 3 {
		e.add(token.Event{Kind: token.KindCreated})
	}
	<-reached
	if left := e.close(10 * time.Millisecond); left != 3 {
		t.Errorf("%d events are left, want 3", left)
	}
	if e.handling.Err() == nil {
		t.Error("handlers are not told to stop")
	}
	close(gate)
	<-e.done
	if len(reached) > 0 {
		t.Error("another event is handled after the end")
	}
}
