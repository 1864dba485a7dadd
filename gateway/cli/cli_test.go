package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/cli"
	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// TestScripts runs the scripts in testdata, each with a gateway of its own, whose
// clock stands at 2026-11-23 12:00 UTC. Their commands, beside testscript's own:
//
//	caddy crumbgate …      runs our command; it must end with status 0, with ! in front with 1
//	misuse crumbgate …     the same, and must end with status 2
//	full crumbgate …       the same with a stdout that takes nothing, and must end with status 1
//	id VAR USER NAME       sets VAR to the id of a token
//	warns crumbgate …      the same, and must end with status 3
//	use ID ADDRESS         uses a token once, from an address
//	see ID METHOD PATH     has a token seen to do something
//	legacy USER NAME       imports a token from before Jenkins 2.129
//	many USER N            makes N tokens
//	clock DURATION         moves the clock on
//	requests REGEXP        the gateway has received such a request; with ! it has not
//	log REGEXP             the same for the gateway's log
//	stop                   stops the gateway
//	edit FILE OLD NEW      replaces the first of a text in a file
//	cutlast FILE           removes the last line of a file
//	recorded               waits until the audit log has the lines of all changes
//	close                  the gateway goes on without its store
//
// After a creation SECRET is the secret. Whatever the script does, a secret must
// be on stdout once, when it is made, and nowhere else.
func TestScripts(t *testing.T) { testscript.Run(t, scripts("testdata")) }

func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               startGateway,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"caddy": func(ts *testscript.TestScript, neg bool, args []string) {
				want := 0
				if neg {
					want = 1
				}
				of(ts).run(ts, want, args, nil)
			},
			"misuse":   func(ts *testscript.TestScript, _ bool, args []string) { of(ts).run(ts, 2, args, nil) },
			"full":     func(ts *testscript.TestScript, _ bool, args []string) { of(ts).run(ts, 1, args, syscall.ENOSPC) },
			"id":       func(ts *testscript.TestScript, _ bool, args []string) { of(ts).id(ts, args) },
			"use":      func(ts *testscript.TestScript, _ bool, args []string) { of(ts).use(ts, args) },
			"clock":    func(ts *testscript.TestScript, _ bool, args []string) { of(ts).move(ts, args) },
			"requests": func(ts *testscript.TestScript, neg bool, args []string) { of(ts).requests.match(ts, neg, args) },
			"log":      func(ts *testscript.TestScript, neg bool, args []string) { of(ts).log.match(ts, neg, args) },
			"stop":     func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).server.Close() },
			"case-matters": func(ts *testscript.TestScript, _ bool, _ []string) {
				of(ts).directory.SetUserIDs(user.CaseSensitive)
			},
			"case-matters-not": func(ts *testscript.TestScript, _ bool, _ []string) {
				of(ts).directory.SetUserIDs(user.CaseInsensitive)
			},
			"warns":  func(ts *testscript.TestScript, _ bool, args []string) { of(ts).run(ts, 3, args, nil) },
			"see":    func(ts *testscript.TestScript, _ bool, args []string) { of(ts).see(ts, args) },
			"legacy": func(ts *testscript.TestScript, _ bool, args []string) { of(ts).legacy(ts, args) },
			"many":   func(ts *testscript.TestScript, _ bool, args []string) { of(ts).many(ts, args) },
			"edit": func(ts *testscript.TestScript, _ bool, args []string) {
				path := ts.MkAbs(args[0])
				ts.Check(os.WriteFile(path, []byte(strings.Replace(ts.ReadFile(path), args[1], args[2], 1)), 0o600))
			},
			"cutlast": func(ts *testscript.TestScript, _ bool, args []string) {
				path := ts.MkAbs(args[0])
				lines := strings.SplitAfter(ts.ReadFile(path), "\n")
				ts.Check(os.WriteFile(path, []byte(strings.Join(lines[:len(lines)-2], "")), 0o600))
			},
			"recorded": func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).recorded(ts) },
			"close":    func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).closed.Store(true) },
		},
	}
}

type gateway struct {
	server    *httptest.Server
	directory *token.Directory
	keys      *crumb.Keys
	closed    atomic.Bool  // to the handler
	now       atomic.Int64 // Unix seconds
	requests  transcript   // method and URI, as Caddy's admin endpoint logs them
	log       transcript
	secrets   []string
}

// recorded waits for the lines of changes that were stored before the log had them.
func (g *gateway) recorded(ts *testscript.TestScript) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		switch lines, err := g.directory.Waiting(); {
		case lines == 0:
			return
		case time.Now().After(deadline):
			ts.Fatalf("%d lines still wait for the audit log: %v", lines, err)
		}
	}
}

type key struct{}

func of(ts *testscript.TestScript) *gateway { return ts.Value(key{}).(*gateway) }

// startGateway starts the gateway of a script and stops it when that ends.
func startGateway(env *testscript.Env) error {
	g := new(gateway)
	env.Values[key{}] = g
	g.now.Store(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Unix())
	store, err := boltstore.Open(filepath.Join(env.WorkDir, ".store", "tokens.db"), boltstore.Options{})
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	auditFile := filepath.Join(env.WorkDir, "audit.log")
	auditLog, err := audit.Open(auditFile, audit.Options{Log: logger})
	if err != nil {
		return err
	}
	g.directory, err = token.Open(context.Background(), store, token.Config{
		Log: logger,
		Now: g.clock,
		Audit: func(ctx context.Context, events ...token.Event) (storage.Change, error) {
			for _, e := range events {
				event := audit.Event{Time: g.clock(), Kind: audit.Kind(e.Kind), Actor: e.Actor.Name, Via: audit.Via(e.Actor.Via), Owner: string(e.User), After: e.Detail}
				if e.Token != nil {
					event.TokenID, event.TokenName = e.Token.ID, e.Token.Name
				}
				if _, err := auditLog.Append(ctx, event); err != nil {
					return storage.Change{}, err
				}
			}
			return storage.Change{}, nil
		},
	})
	if err != nil {
		return err
	}
	if g.keys, err = crumb.OpenKeys(context.Background(), store, g.clock); err != nil {
		return err
	}
	handler := admin.NewHandler(admin.Config{
		Now: g.clock,
		Directory: func() (*token.Directory, error) {
			if g.closed.Load() {
				return nil, errors.New("the configuration has no crumbgate in it")
			}
			return g.directory, nil
		},
		CrumbKeys: func() (*crumb.Keys, error) { return g.keys, nil },
		Audit: func() (admin.AuditStatus, error) {
			return admin.AuditStatus{File: auditFile, Head: auditLog.Head().String()}, nil
		},
	})
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(&g.requests, r.Method, r.RequestURI)
		handler.ServeHTTP(w, r)
	}))
	env.Setenv("ADDRESS", g.server.Listener.Addr().String())
	env.Setenv("CONTROL", "a\x1b[2J")
	env.Setenv("BROKEN", "a\xff")
	env.Defer(func() {
		g.server.Close()
		if err := errors.Join(g.directory.Close(), auditLog.Close()); err != nil {
			env.T().Fatal(err)
		}
		for _, secret := range g.secrets {
			if strings.Contains(g.requests.String()+g.log.String(), secret) {
				env.T().Fatal("the log of the gateway holds a secret")
			}
		}
	})
	return nil
}

func (g *gateway) clock() time.Time { return time.Unix(g.now.Load(), 0).UTC() }

// dial takes the file for the address itself: how Caddy reads it is not ours.
func (g *gateway) dial(ts *testscript.TestScript) func(address, configFile, adapter string) (admin.Do, error) {
	return func(address, configFile, adapter string) (admin.Do, error) {
		switch {
		case address != "":
		case adapter != "":
			return nil, fmt.Errorf("unrecognized config adapter: %s", adapter)
		case configFile != "":
			address = strings.TrimSpace(ts.ReadFile(configFile))
		default:
			address = g.server.Listener.Addr().String()
		}
		return admin.Dial("tcp", address), nil
	}
}

type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

var secretPattern = regexp.MustCompile(`\b(cg_[0-9A-Za-z]{36}|11[0-9a-f]{32})\b`)

// An output is a buffer that fails to take anything if err is not nil.
type output struct {
	bytes.Buffer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	return o.Buffer.Write(p)
}

// run runs a command line and looks at its status and for secrets.
func (g *gateway) run(ts *testscript.TestScript, want int, args []string, writing error) {
	stdout, stderr := output{err: writing}, output{}
	group := &cobra.Command{Use: "crumbgate"}
	cli.Setup(group, cli.Env{
		Stdout: &stdout, Stderr: &stderr,
		Now:      g.clock,
		Username: "operator",
		Dial:     g.dial(ts),
		Exit:     func(status int, _ error) error { return exitError(status) },
	})
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(group)
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)

	status := exitError(0)
	if err := root.Execute(); err != nil && !errors.As(err, &status) {
		ts.Fatalf("caddy %q: %v, which the command did not print", args, err)
	}
	ts.Stdout().Write(stdout.Bytes())
	ts.Stderr().Write(stderr.Bytes())

	for _, secret := range g.secrets {
		if strings.Contains(stdout.String()+stderr.String(), secret) {
			ts.Fatalf("the secret of an older token is printed")
		}
	}
	made := secretPattern.FindAllString(stdout.String(), -1)
	if len(made) > 1 || secretPattern.MatchString(stderr.String()) {
		ts.Fatalf("a secret is printed more than once, or on stderr")
	}
	if len(made) == 1 {
		ts.Setenv("SECRET", made[0])
		g.secrets = append(g.secrets, made[0])
	}
	if int(status) != want {
		ts.Fatalf("caddy %q ends with status %d, want %d\n%s", args, status, want, stderr.String())
	}
}

func (g *gateway) find(ts *testscript.TestScript, want func(*token.Record) bool) *token.Token {
	found := g.directory.List(func(t *token.Token) bool { return want(t.Record()) })
	if len(found) != 1 {
		ts.Fatalf("%d tokens match, want 1", len(found))
	}
	return found[0]
}

func (g *gateway) id(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], g.find(ts, func(r *token.Record) bool {
		return string(r.Owner) == args[1] && r.Name == args[2]
	}).Record().ID.String())
}

func (g *gateway) use(ts *testscript.TestScript, args []string) {
	g.find(ts, func(r *token.Record) bool { return r.ID.String() == args[0] }).Use(usage.Use{Time: time.Unix(g.now.Load(), 0), Addr: args[1]})
}

func (g *gateway) see(ts *testscript.TestScript, args []string) {
	g.find(ts, func(r *token.Record) bool { return r.ID.String() == args[0] }).Observe(policy.Classify(args[1], args[2], ""))
}

func (g *gateway) legacy(ts *testscript.TestScript, args []string) {
	item := token.Import{User: args[0], Name: args[1], Digest: token.Digest{1}, Legacy: true}
	imported, err := g.directory.Import(context.Background(), []token.Import{item}, false, "operator")
	ts.Check(err)
	if imported[0].Outcome != token.Taken {
		ts.Fatalf("imported: %+v", imported)
	}
}

func (g *gateway) many(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		_, _, err := g.directory.Create(context.Background(), token.Request{User: args[0], Name: fmt.Sprintf("n%03d", i), Actor: "operator"})
		ts.Check(err)
	}
}

func (g *gateway) move(ts *testscript.TestScript, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	g.now.Add(int64(d / time.Second))
}

// A transcript is a log that tests look at while it is written.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *transcript) match(ts *testscript.TestScript, neg bool, args []string) {
	if re := regexp.MustCompile(`(?m)` + args[0]); re.MatchString(t.String()) == neg {
		ts.Fatalf("match of %q: %v\n%s", args[0], !neg, t)
	}
}
