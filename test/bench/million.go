package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

const (
	manyTokens   = 1_000_000
	manyUsers    = 20_000
	inUse        = 1_000 // of the tokens, in turn, while there is load
	manyStarts   = 5
	loadDuration = 10 * time.Second
)

// A millionReport is what bench-million.json holds. Memory is in bytes.
type millionReport struct {
	Machine   machine   `json:"machine"`
	Tokens    int       `json:"tokens"`
	Users     int       `json:"users"`
	Store     int64     `json:"store_bytes"`
	Starts    []float64 `json:"start_s"` // from starting the process to its first authenticated answer
	Fresh     []memory  `json:"memory_fresh"`
	Loaded    memory    `json:"memory_loaded"` // after loadDuration of token GETs
	PerSecond float64   `json:"per_second"`
	Goals     []goal    `json:"goals"`
}

// million measures how the gateway starts, and what memory it takes, with a
// million tokens. The store is in the page cache: it was just written.
func million(ctx context.Context, s settings, dir, binary string, up upstream) error {
	r := millionReport{Machine: describeMachine(ctx), Tokens: manyTokens, Users: manyUsers}
	progress("writing %d tokens", manyTokens)
	store := filepath.Join(dir, storeName)
	secrets, err := fill(ctx, store)
	if err != nil {
		return err
	}
	info, err := os.Stat(store)
	if err != nil {
		return err
	}
	r.Store = info.Size()

	for i := range manyStarts {
		last := i == manyStarts-1
		if err := r.start(ctx, s, dir, binary, up, secrets, last); err != nil {
			return err
		}
		progress("start %d/%d  %.2f s  %s", i+1, manyStarts, r.Starts[i], r.Fresh[i])
	}
	r.conclude()
	r.print(os.Stdout)
	return writeJSON(cmp.Or(s.out, "build/bench-million.json"), r)
}

// start measures one start, and the memory under load if that is asked for.
func (r *millionReport) start(ctx context.Context, s settings, dir, binary string, up upstream, secrets []string, load bool) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	began := time.Now()
	gate, err := startCaddy(ctx, dir, binary, site(ports[0], "crumbgate\nreverse_proxy "+up.Gated+"\n"), true)
	if err != nil {
		return err
	}
	defer gate.stop()
	if err := gate.await(ctx, "http://"+addr+"/", basic(user, secrets[0])); err != nil {
		return gate.explain(err)
	}
	r.Starts = append(r.Starts, time.Since(began).Seconds())
	fresh, err := gate.memory()
	if err != nil {
		return err
	}
	r.Fresh = append(r.Fresh, fresh)
	if !load {
		return nil
	}
	progress("load for %v", loadDuration)
	got, err := measure(ctx, variant{}.target(addr, secrets...), s.Conns, loadDuration)
	if err != nil {
		return gate.explain(err)
	}
	r.PerSecond = got.perSecond()
	r.Loaded, err = gate.memory()
	return err
}

// fill makes a store file with tokens of many users, inUse of them of the user who
// sends the load, and returns the secrets of those.
func fill(ctx context.Context, path string) (secrets []string, err error) {
	file, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return nil, err
	}
	directory, err := token.Open(ctx, &batches{Store: file}, token.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, directory.Close()) }()
	for i := range manyTokens {
		req := token.Request{
			User:    fmt.Sprintf("service-account-%05d", i%manyUsers),
			Name:    fmt.Sprintf("pipeline %d", i/manyUsers),
			Expires: "365d",
			Actor:   "bench",
		}
		if i < inUse {
			req.User, req.Name = user, fmt.Sprintf("pipeline %d", i)
		}
		_, secret, err := directory.Create(ctx, req)
		if err != nil {
			return nil, err
		}
		if i < inUse {
			secrets = append(secrets, secret.Reveal())
		}
	}
	return secrets, nil
}

// batches writes what it is given in batches as large as a store takes, so that a
// million tokens don't cost a million fsyncs. It acknowledges what it has not
// written yet, and serves one caller at a time: for filling a file, and nothing
// else.
type batches struct {
	storage.Store
	pending []storage.Change
}

// Apply writes no later than with the batch that follows, or Close.
func (b *batches) Apply(ctx context.Context, changes ...storage.Change) (storage.Revision, error) {
	if len(b.pending)+len(changes) > storage.MaxBatch {
		if err := b.flush(ctx); err != nil {
			return 0, err
		}
	}
	b.pending = append(b.pending, changes...)
	return storage.Any, nil
}

func (b *batches) flush(ctx context.Context) error {
	_, err := b.Store.Apply(ctx, b.pending...)
	b.pending = b.pending[:0]
	return err
}

// Close writes what is left.
func (b *batches) Close() error {
	var err error
	if len(b.pending) > 0 {
		err = b.flush(context.Background())
	}
	return errors.Join(err, b.Store.Close())
}

func (r *millionReport) conclude() {
	var fresh []float64
	for _, m := range r.Fresh {
		fresh = append(fresh, float64(m.Resident)/1e6)
	}
	for _, g := range []struct {
		name     string
		goal     float64
		measured []float64
	}{
		{"start, s", 3, r.Starts},
		{"resident when started, MB", 450, fresh},
		{"resident after load, MB", 450, []float64{float64(r.Loaded.Resident) / 1e6}},
		{"resident at its highest, MB", 450, []float64{float64(r.Loaded.Peak) / 1e6}},
	} {
		measured := spreadOf(g.measured)
		r.Goals = append(r.Goals, goal{Name: g.name, Goal: g.goal, Measured: measured, Met: measured.Median <= g.goal})
	}
}

func (r *millionReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d tokens of %d users, store of %.0f MB, %d starts; then %v of load: %.0f token GETs/s\n\n",
		r.Machine, r.Tokens, r.Users, float64(r.Store)/1e6, len(r.Starts), loadDuration, r.PerSecond)
	fmt.Fprintf(w, "last start   %s\nafter load   %s\n\n", r.Fresh[len(r.Fresh)-1], r.Loaded)
	printGoals(w, "<=", r.Goals)
}
