package audit_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// childEnv tells a process of the test binary which part of a test it is, and
// CHILD_PATH which file is meant.
const childEnv = "AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch child := os.Getenv(childEnv); child {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "append":
		err = appendUntilKilled(os.Getenv("CHILD_PATH"))
	case "fill the disk":
		err = fillDisk(os.Getenv("CHILD_PATH"))
	default:
		err = fmt.Errorf("no child %q", child)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func childCommand(t *testing.T, name, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, "CHILD_PATH="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func open(t testing.TB, path string, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func openStore(t testing.TB, path string) storage.Store {
	t.Helper()
	store, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func closeLog(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// change is an event whose TokenName is a number that tests find again.
func change(n int) audit.Event {
	return audit.Event{Kind: "token.created", Actor: "root", Via: audit.ViaAdmin, Owner: "alice", TokenName: fmt.Sprint(n)}
}

func appendTo(t testing.TB, l *audit.Log, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if _, err := l.Append(context.Background(), change(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func dirOf(path string) fs.FS { return os.DirFS(filepath.Dir(path)) }

func verify(path string, o audit.VerifyOptions) (audit.Report, error) {
	return audit.Verify(context.Background(), dirOf(path), filepath.Base(path), o)
}

func mustVerify(t testing.TB, path string, o audit.VerifyOptions) audit.Report {
	t.Helper()
	r, err := verify(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func find(t testing.TB, path string, f audit.Filter) []audit.Record {
	t.Helper()
	var found []audit.Record
	for r, err := range audit.Find(context.Background(), dirOf(path), filepath.Base(path), f) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, r)
	}
	return found
}

// storeOf names a token store for the head of a log.
func storeOf(path string) string { return filepath.Join(filepath.Dir(path), "tokens.db") }

const appenders = 4

// appendUntilKilled prints a number once it is acknowledged; rotation is frequent.
func appendUntilKilled(path string) error {
	store, err := boltstore.Open(storeOf(path), boltstore.Options{})
	if err != nil {
		return err
	}
	audit.KeepHeadEvery(time.Millisecond)
	l, err := audit.Open(path, audit.Options{Sizes: audit.Sizes{MaxSize: 4 << 10}, Store: store})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range appenders {
		go func() {
			for n := 0; ; n++ {
				e := change(n)
				e.Actor = fmt.Sprintf("%d/%d", os.Getpid(), w)
				l.Note(audit.Event{Kind: audit.RequestDenied, Reason: "unknown token"})
				if _, err := l.Append(context.Background(), e); err != nil {
					failed <- err
					return
				}
				fmt.Printf("%s %d\n", e.Actor, n)
			}
		}()
	}
	return <-failed
}

// TestKill kills a process that appends (SIGKILL) again and again: every line that
// it has acknowledged is there, the chain holds, and nothing seems to have been cut off.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "audit.log")
	acked := map[string]bool{}
	const kills = 25
	for kill := range kills {
		cmd := childCommand(t, "append", path)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stdout)
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			acked[strings.TrimSpace(line)] = true
			if n == kill*3 {
				time.AfterFunc(time.Duration(kill)*100*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
	}
	closeLog(t, open(t, path, audit.Options{Store: openStore(t, storeOf(path))}))
	report := mustVerify(t, path, audit.VerifyOptions{})
	if report.Unclean != kills || !report.Closed {
		t.Errorf("%d unclean starts, want %d; closed: %t", report.Unclean, kills, report.Closed)
	}
	for _, r := range find(t, path, audit.Filter{Kind: "token.created"}) {
		delete(acked, r.Actor+" "+r.TokenName)
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged lines are missing", len(acked))
	}
}

// TestDiskFull fills a disk, played by a limit on the size of files, for which the
// process must be one of its own. The kernel's error is EFBIG and not ENOSPC, but
// it comes from the same call, after part of the line has been written.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := childCommand(t, "fill the disk", path).Run(); err != nil {
		t.Fatal(err)
	}
	report := mustVerify(t, path, audit.VerifyOptions{})
	if got := len(find(t, path, audit.Filter{Kind: "token.created"})); got != 20 || report.Missing != 7 {
		t.Errorf("%d events and %d missing, want 20 and 7", got, report.Missing)
	}
}

func fillDisk(path string) error {
	signal.Ignore(syscall.SIGXFSZ) // Go ends the process on it
	l, err := audit.Open(path, audit.Options{})
	if err != nil {
		return err
	}
	for n := range 10 {
		if _, err := l.Append(context.Background(), change(n)); err != nil {
			return err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	// There is room for part of a line.
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) + 50, Max: old.Max}); err != nil {
		return err
	}
	for range 7 {
		l.Note(audit.Event{Kind: audit.RequestDenied})
		if _, err := l.Append(context.Background(), change(99)); err == nil || !strings.Contains(err.Error(), "was not recorded") {
			return fmt.Errorf("Append on a full disk: %w", err)
		}
	}
	if after, err := os.Stat(path); err != nil || after.Size() != info.Size() {
		return fmt.Errorf("half a line is left: %d bytes, before %d, %w", after.Size(), info.Size(), err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	for n := range 10 {
		if _, err := l.Append(context.Background(), change(10+n)); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
	}
	return l.Close()
}

func TestRotationUnderConcurrency(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 3000}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 { // a reader meanwhile
			if _, err := verify(path, audit.VerifyOptions{Wait: 5 * time.Second}); err != nil {
				t.Errorf("while it is written: %v", err)
			}
		}
	}()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 50 {
				l.Note(audit.Event{Kind: audit.RequestDenied, Client: fmt.Sprint(w), Reason: fmt.Sprint(n)})
				if _, err := l.Append(context.Background(), change(w*50+n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	<-done
	closeLog(t, l)
	report := mustVerify(t, path, audit.VerifyOptions{Head: l.Head()})
	if report.Lines != 2+2*400 || report.Files < 50 || !report.HeadFound || !report.Closed || report.Unclean != 0 || l.Dropped() != 0 {
		t.Errorf("report %+v, %d dropped", report, l.Dropped())
	}
	// A note comes before what its caller has appended later.
	notes := map[string]int{}
	for _, r := range find(t, path, audit.Filter{}) {
		if r.Kind == audit.RequestDenied {
			notes[r.Client]++
		}
		if r.Kind == "token.created" {
			var n int
			fmt.Sscan(r.TokenName, &n)
			if notes[fmt.Sprint(n/50)] < n%50+1 {
				t.Fatalf("append %d of writer %d comes before its note", n%50, n/50)
			}
		}
	}
}
