package caddymodule

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/storage"
)

// The store outlives a configuration, its rules don't.
func TestRulesAreOfTheConfiguration(t *testing.T) {
	const caddyfile = `{
	admin off
	persist_config off
	log {
		output discard
	}
	crumbgate {
		storage bbolt STORE
		RULES
	}
}
`
	store := quiet(t)
	attempts := []struct {
		name string
		req  token.Request
	}{
		{"an end in a year", token.Request{User: "alice", Name: "year", Expires: "366d"}},
		{"no end", token.Request{User: "alice", Name: "never", Expires: "never"}},
		{"no name", token.Request{User: "alice", Expires: "1d"}},
	}
	var first *token.Directory
	for i, config := range []struct {
		rules   string
		refused []string      // what the errors say, "" for none
		life    time.Duration // of a token whose request doesn't say
	}{
		{"", []string{"", "", ""}, 90 * 24 * time.Hour},
		{"tokens {\nmax_life 30d\nnames required\n}", []string{"30d", "30d", "name"}, 30 * 24 * time.Hour},
		{"tokens {\nunending refuse\ndefault_life 7d\n}", []string{"", "end", ""}, 7 * 24 * time.Hour},
		{"", []string{"", "", ""}, 90 * 24 * time.Hour},
	} {
		d := run(t, store, strings.Replace(caddyfile, "RULES", config.rules, 1)).mustDirectory(t)
		if first == nil {
			first = d
		}
		if d != first {
			t.Fatal("the store was opened again")
		}
		for n, attempt := range attempts {
			if attempt.req.Name != "" {
				attempt.req.Name += string(rune('a' + i))
			}
			_, _, err := d.Create(t.Context(), attempt.req)
			switch want := config.refused[n]; {
			case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("with %q, %s: %v, want an error with %q", config.rules, attempt.name, err, want)
			}
		}
		made, _, err := d.Create(t.Context(), token.Request{User: "alice", Name: "unsaid" + string(rune('a'+i))})
		if err != nil {
			t.Fatal(err)
		}
		r := made.Record()
		if got := time.Duration(r.Expires-r.Created) * time.Second; got != config.life {
			t.Errorf("with %q a token lives for %v, want %v", config.rules, got, config.life)
		}
	}
}

// The audit log goes on over reloads, whatever becomes of its settings: in the same file
// by other sizes, in another one and back, and not at all.
func TestAuditOverReloads(t *testing.T) {
	const caddyfile = `{
	admin off
	persist_config off
	log {
		output discard
	}
	crumbgate {
		storage bbolt STORE
		AUDIT
	}
}
`
	store := quiet(t)
	dir := filepath.Dir(store)
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, bytes.Repeat([]byte{7}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"audit.log": nil, "other.log": nil}
	for i, step := range []struct{ setting, file string }{
		{"", "audit.log"},
		{"audit {\nmax_size 10MiB\n}", "audit.log"},
		{"audit {\nkeep 3\n}", "audit.log"},
		{"audit " + filepath.Join(dir, "other.log") + " {\nkey_file " + keyFile + "\n}", "other.log"},
		{"audit off", ""},
		{"audit", "audit.log"},
	} {
		name := "token-" + strconv.Itoa(i)
		d := run(t, store, strings.Replace(caddyfile, "AUDIT", step.setting, 1)).mustDirectory(t)
		if _, _, err := d.Create(t.Context(), token.Request{User: "alice", Name: name}); err != nil {
			t.Fatalf("with %q: %v", step.setting, err)
		}
		if step.file != "" {
			want[step.file] = append(want[step.file], name)
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(strings.NewReplacer("STORE", store, "AUDIT", "audit {\nkey_file "+keyFile+"\n}").Replace(caddyfile)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err == nil || !strings.Contains(err.Error(), "has its key from its first line on") {
		t.Errorf("a key for a log without: %v", err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for file, names := range want {
		var got []string
		for r, err := range audit.Find(t.Context(), os.DirFS(dir), file, audit.Filter{Kind: "token.created"}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.TokenName)
		}
		if !slices.Equal(got, names) {
			t.Errorf("%s has %q, want %q", file, got, names)
		}
		if report, err := audit.Verify(t.Context(), os.DirFS(dir), file, audit.VerifyOptions{}); err != nil || report.Unclean > 0 || !report.Closed {
			t.Errorf("%s: %+v, %v", file, report, err)
		}
	}
}

// slowStorage is one whose file another process does not let go of.
type slowStorage struct {
	opening chan struct{} // closed when Open waits
	give    chan error    // what Open returns
}

func (slowStorage) Key() string { return "slow" }
func (slowStorage) Dir() string { return "" }
func (s slowStorage) Open() (storage.Store, error) {
	close(s.opening)
	return nil, <-s.give
}

// A request that comes while the store is being opened, or when that has failed, is
// refused at once.
func TestRequestsDontWaitForTheStore(t *testing.T) {
	listenersChecked.Store(true)
	slow := slowStorage{make(chan struct{}), make(chan error)}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	app := &App{storage: slow, ctx: ctx}
	refused := func(when string) {
		t.Helper()
		if _, err := app.directory(); !errors.Is(err, errNotOpen) {
			t.Errorf("%s: %v, want %v", when, err, errNotOpen)
		}
		if _, err := app.crumbKeys(); !errors.Is(err, errNotOpen) {
			t.Errorf("%s: %v, want %v", when, err, errNotOpen)
		}
	}
	refused("before the start")
	started := make(chan error)
	go func() { started <- app.Start() }()
	<-slow.opening
	refused("during the start")
	locked := errors.New("is in use")
	slow.give <- locked
	if err := <-started; !errors.Is(err, locked) {
		t.Errorf("Start: %v", err)
	}
	refused("after the start has failed")
}
