package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/crumbgate/crumbgate/gateway/jenkinshome/hometest"
)

// Of the home that is imported: twice, so that there are twice as many tokens to
// list.
const (
	homeUsers  = 10_000
	homeTokens = 5 // of each
)

// An importReport is what bench-import.json holds. Memory is in bytes.
type importReport struct {
	Machine machine `json:"machine"`
	Users   int     `json:"users"`
	Tokens  int     `json:"tokens"`
	Dry     command `json:"dry_run"`
	Import  command `json:"import"`
	Again   command `json:"again"` // with all of them there
	List    command `json:"list"`  // of all tokens, those of a second home included
	Listed  int     `json:"listed"`
	Gateway memory  `json:"memory_gateway"`
	Verify  command `json:"audit_verify"` // of the log of all that
}

// A command is one run of one.
type command struct {
	First   float64 `json:"first_row_s"` // until its first row on stdout but for the head
	Seconds float64 `json:"s"`
	Peak    int64   `json:"peak_bytes"` // of resident memory
}

func (r command) String() string {
	return fmt.Sprintf("%6.2f s, first row after %.2f s, at most %d MB", r.Seconds, r.First, r.Peak/1e6)
}

// imports measures how long it takes to take over a Jenkins home, and to list what was
// taken.
func imports(ctx context.Context, s settings, dir, binary string) error {
	r := importReport{Machine: describeMachine(ctx), Users: homeUsers, Tokens: homeUsers * homeTokens}
	homes := []string{filepath.Join(dir, "home1"), filepath.Join(dir, "home2")}
	for i, home := range homes {
		progress("writing the home of %d users with %d tokens", homeUsers, homeUsers*homeTokens)
		if err := (hometest.Home{Layout: hometest.Hashed, Users: homeUsers, Tokens: homeTokens, Seed: uint64(1 + i)}).Write(home); err != nil {
			return err
		}
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	gate, err := startCaddy(ctx, dir, binary, site(ports[0], "crumbgate\nrespond ok\n"), true)
	if err != nil {
		return err
	}
	defer gate.stop()
	taken := fmt.Sprintf("%s tokens of %s users taken, 0 taken before, 0 left.", humanize.Comma(int64(r.Tokens)), humanize.Comma(int64(r.Users)))
	for _, step := range []struct {
		name string
		into *command
		want string // at the end of stdout
		args []string
	}{
		{"dry run", &r.Dry, strings.Replace(taken, "taken,", "to be taken,", 1), []string{"import", "jenkins-home", homes[0]}},
		{"import", &r.Import, taken, []string{"import", "jenkins-home", homes[0], "--yes"}},
		{"again", &r.Again, "0 tokens", []string{"import", "jenkins-home", homes[0], "--yes"}},
		{"second home", new(command), taken, []string{"import", "jenkins-home", homes[1], "--yes"}},
		{"token list", &r.List, "", []string{"token", "list"}},
		{"audit verify", &r.Verify, "nothing is wrong", []string{"audit", "verify"}},
	} {
		out, got, err := gate.sample(ctx, append(step.args, "--address", gate.admin)...)
		if err != nil {
			return gate.explain(fmt.Errorf("%s: %w", step.name, err))
		}
		if step.want != "" && !bytes.Contains(out, []byte(step.want)) {
			return gate.explain(fmt.Errorf("%s: it prints %.400q, want %q", step.name, out, step.want))
		}
		if step.name == "token list" {
			r.Listed = bytes.Count(out, []byte("\n")) - 1
		}
		*step.into = got
		fmt.Printf("%-14s %v\n", step.name, got)
	}
	if r.Listed < 2*r.Tokens {
		return fmt.Errorf("only %d tokens are listed", r.Listed)
	}
	if r.Gateway, err = gate.memory(); err != nil {
		return err
	}
	fmt.Printf("%-14s %v, with %d tokens\n", "gateway", r.Gateway, 2*r.Tokens)
	return writeJSON(cmp.Or(s.out, "build/bench-import.json"), r)
}

// sample runs a command of the gateway and measures it.
func (c *caddy) sample(ctx context.Context, args ...string) (out []byte, r command, err error) {
	cmd := exec.CommandContext(ctx, c.binary, append([]string{"crumbgate"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, r, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, r, err
	}
	lines := bufio.NewReader(stdout)
	for range 2 { // the head and the first row
		line, _ := lines.ReadBytes('\n') // what is wrong Wait tells
		out = append(out, line...)
	}
	r.First = time.Since(began).Seconds()
	rest, _ := io.ReadAll(lines)
	err = cmd.Wait()
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return nil, r, fmt.Errorf("%w: %s%.400s", err, stderr.Bytes(), rest)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Peak = usage.Maxrss << 10
	}
	return append(out, rest...), r, nil
}
