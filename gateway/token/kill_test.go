package token_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// childEnv has a process of the test binary change the tokens of this file until it is
// killed.
const childEnv = "TOKEN_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, changeUntilKilled(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// changeUntilKilled prints a line for each change that was acknowledged.
func changeUntilKilled(path string) error {
	store, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	d, err := token.Open(ctx, store, token.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	for i := d.Len(); ; i++ {
		owner := fmt.Sprintf("user-%d", i)
		made, _, err := d.Create(ctx, token.Request{User: owner, Name: "a", Expires: "never"})
		if err != nil {
			return err
		}
		id := made.Record().ID
		fmt.Println("created", id)
		switch i % 4 {
		case 0:
			_, err = d.Revoke(ctx, id, "test")
		case 1:
			_, err = d.SuspendAll(ctx, []*token.Token{made}, token.ByAdmin, "", "test")
		case 2:
			_, err = d.SetDisabled(ctx, owner, true, "test")
		case 3:
			_, _, _, err = d.Rotate(ctx, id, token.Rotation{Overlap: "0"})
		}
		if err != nil {
			return err
		}
		fmt.Println(made.Admit(time.Now()), id)
	}
}

// What was acknowledged is so after the death of the process (SIGKILL), and what was
// not is so or not, as a whole.
func TestKill(t *testing.T) {
	const kills, lines = 8, 25
	path := filepath.Join(t.TempDir(), "tokens.db")
	acked := make(map[string]string) // the last that is known of an id
	for kill := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		deadline := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		seen := 0
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			line := scanner.Text()
			at := strings.LastIndexByte(line, ' ')
			acked[line[at+1:]] = line[:at]
			if seen++; seen == lines+kill {
				_ = cmd.Process.Kill() // what it has printed until then is still read
			}
		}
		_ = cmd.Wait() // always an error: it was killed
		deadline.Stop()
		if stderr.Len() > 0 || seen < lines {
			t.Fatalf("the child has said %d lines, and %s", seen, &stderr)
		}
		d, err := token.Open(t.Context(), openStore(t, path), token.Config{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for id, what := range acked {
			tok, err := d.Get(t.Context(), uuid.MustParse(id))
			if err != nil {
				t.Fatalf("kill %d: %v", kill, err)
			}
			r := tok.Record()
			switch got := tok.Admit(time.Now()); {
			case string(got) == what:
			case what == "created": // and maybe changed without saying so
			default:
				t.Errorf("kill %d: token %s is %q, but was acknowledged as %q", kill, id, got, what)
			}
			if r.Superseded() {
				if successor, err := d.Get(t.Context(), r.Successor); err != nil || successor.Record().Root() != r.ID {
					t.Errorf("kill %d: the successor of %s is %v, %v", kill, id, successor, err)
				}
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
