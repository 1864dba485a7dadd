package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// The test of crashes: a child process writes batches and prints a line for each
// that Apply has acknowledged, the parent kills it (SIGKILL) at some moment, opens
// the file and compares. What a batch holds follows from its writer and number
// alone, so that both know it. Writers have keys of their own, and each waits for
// one batch before the next: after a crash the keys of a writer are as after its
// last acknowledged batch, or as after the one it was about to write.
//
// This is about the death of a process: the kernel keeps what was written. That
// it outlives the machine rests on bbolt's two calls of fdatasync per commit.

const (
	kills      = 240
	killers    = 2  // files, and children, at a time
	killsAFile = 12 // then begins a new one; its first child dies early, at its creation
	writers    = 4
	writerKeys = 24
)

// number is the value that all keys of a batch have in front.
func number(n int) string { return fmt.Sprintf("%08d:", n) }

// batchOf returns batch n of a writer: one to all of its keys, written or removed,
// with values from nothing to several pages. The expectations are left to the
// writer.
func batchOf(writer, n int) []storage.Change {
	r := rand.New(rand.NewPCG(uint64(writer), uint64(n)))
	keys := r.Perm(writerKeys)[:1+r.IntN(writerKeys)]
	if r.IntN(2) == 0 {
		keys = keys[:1+len(keys)/8]
	}
	var changes []storage.Change
	for _, k := range keys {
		c := storage.Change{Key: fmt.Sprintf("%d/%02d", writer, k), Delete: r.IntN(4) == 0}
		if !c.Delete {
			size := []int{0, 20, 200, 200, 3000, 15000}[r.IntN(6)]
			c.Value = append([]byte(number(n)), bytes.Repeat([]byte{byte(n)}, size)...)
		}
		changes = append(changes, c)
	}
	return changes
}

// A lie is what a child does wrong, for the test of the test: one writer tells it
// at batch lieAt, and the child kills itself.
type lie string

const (
	honest        lie = ""
	earlyAck      lie = "acknowledges before it applies"
	lostBatch     lie = "acknowledges and does not apply, then goes on"
	halfBatch     lie = "applies half a batch"
	wrongRevision lie = "acknowledges with a wrong revision"

	lieAt = 12 // a batch with several keys
)

// opening is the first line of a child, before it opens or creates the file.
const opening = "opening"

// writeUntilKilled is the child: writers go on from the batches in next, and
// print "writer number revision" after each.
func writeUntilKilled(path string, next [writers]int, l lie) error {
	fmt.Println(opening)
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range writers {
		go func() {
			for n := next[w]; ; n++ {
				if l != honest && (w > 0 || n > lieAt+1) {
					return
				}
				changes, err := expectNow(s, batchOf(w, n))
				if err != nil {
					failed <- err
					return
				}
				var r storage.Revision
				told := honest
				if n == lieAt {
					told = l
				}
				switch told {
				case honest, wrongRevision:
					r, err = s.Apply(context.Background(), changes...)
				case halfBatch:
					_, err = s.Apply(context.Background(), changes[:len(changes)/2]...)
				case earlyAck, lostBatch:
					r = 1 << 32
				}
				if err != nil {
					failed <- fmt.Errorf("batch %d of writer %d: %w", n, w, err)
					return
				}
				if told == wrongRevision {
					r++
				}
				// One write(2) a line, so that a line is whole or not there.
				if told != halfBatch {
					fmt.Printf("%d %d %d\n", w, n, r)
				}
				if l != honest && (told != honest && told != lostBatch || n > lieAt) {
					self, _ := os.FindProcess(os.Getpid())
					failed <- self.Kill()
				}
			}
		}()
	}
	return <-failed
}

// expectNow sets the expectations of changes to what the store has.
func expectNow(s storage.Store, changes []storage.Change) ([]storage.Change, error) {
	for i := range changes {
		e, err := s.Get(context.Background(), changes[i].Key)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		changes[i].Expect = e.Revision // Absent if there is none
	}
	return changes, nil
}

// A witness knows what the file must hold.
type witness struct {
	next    [writers]int                // the number of each writer's next batch
	entries [writers]map[string][]byte  // keys and values after the batch before
	acked   map[string]storage.Revision // revisions of keys as acknowledged
	last    storage.Revision            // the highest acknowledged or seen
}

func newWitness() *witness {
	w := &witness{acked: map[string]storage.Revision{}}
	for i := range w.entries {
		w.entries[i] = map[string][]byte{}
	}
	return w
}

// after returns the keys of a writer after its batch next.
func (w *witness) after(writer int) map[string][]byte {
	entries := maps.Clone(w.entries[writer])
	for _, c := range batchOf(writer, w.next[writer]) {
		if c.Delete {
			delete(entries, c.Key)
		} else {
			entries[c.Key] = c.Value
		}
	}
	return entries
}

// acknowledge takes in the lines of a child.
func (w *witness) acknowledge(lines []string) error {
	newest := w.last
	seen := map[storage.Revision]bool{}
	for _, line := range lines {
		var writer, n int
		var r storage.Revision
		if _, err := fmt.Sscan(line, &writer, &n, &r); err != nil {
			return fmt.Errorf("the child prints %q: %w", line, err)
		}
		if n != w.next[writer] {
			return fmt.Errorf("writer %d acknowledges batch %d, expected %d", writer, n, w.next[writer])
		}
		if r <= w.last || seen[r] {
			return fmt.Errorf("revision %d comes again, or after %d", r, w.last)
		}
		seen[r], newest = true, max(newest, r)
		for _, c := range batchOf(writer, n) {
			delete(w.acked, c.Key)
			if !c.Delete {
				w.acked[c.Key] = r
			}
		}
		w.entries[writer] = w.after(writer)
		w.next[writer]++
	}
	w.last = newest
	return nil
}

// check compares the file with what was acknowledged, and takes the batches that
// were written without the acknowledgement getting through for acknowledged.
func (w *witness) check(path string) error {
	s, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	var got [writers]map[string][]byte
	revisions := map[string]storage.Revision{}
	for i := range got {
		got[i] = map[string][]byte{}
		for e, err := range s.List(context.Background(), fmt.Sprintf("%d/", i)) {
			if err != nil {
				return err
			}
			got[i][e.Key], revisions[e.Key] = bytes.Clone(e.Value), e.Revision
		}
	}
	for i := range got {
		unacked := map[string]bool{}
		if !same(got[i], w.entries[i]) {
			after := w.after(i)
			if !same(got[i], after) {
				return fmt.Errorf("writer %d, after batch %d: the file has %s; expected %s, or after one more %s",
					i, w.next[i]-1, numbers(got[i]), numbers(w.entries[i]), numbers(after))
			}
			for _, c := range batchOf(i, w.next[i]) {
				unacked[c.Key] = true
			}
			w.entries[i] = after
			w.next[i]++
		}
		for k := range got[i] {
			if !unacked[k] && revisions[k] != w.acked[k] {
				return fmt.Errorf("key %q is at revision %d, acknowledged was %d", k, revisions[k], w.acked[k])
			}
			w.acked[k] = revisions[k]
			w.last = max(w.last, revisions[k])
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	return checkPages(path)
}

func same(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

func numbers(entries map[string][]byte) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		fmt.Fprintf(&b, "%s=%.8s ", k, entries[k])
	}
	return b.String()
}

// checkPages has bbolt look at every page of the file.
func checkPages(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
}

// never is a number of lines that no child comes to.
const never = -1

// runChild starts a child on path and kills it a while after its acknowledgement
// number acks; number 0 is the line opening. It returns the acknowledgements.
func runChild(t *testing.T, path string, w *witness, l lie, acks int, while time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=write", "CHILD_PATH="+path, "CHILD_LIE="+string(l),
		"CHILD_NEXT="+strings.Trim(fmt.Sprint(w.next), "[]"))
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
	defer deadline.Stop()
	out := bufio.NewReader(stdout)
	var lines []string
	for {
		line, err := out.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if line != opening+"\n" {
			lines = append(lines, line)
		}
		if len(lines) == acks {
			time.AfterFunc(while, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // always an error: it was killed
	if stderr.Len() > 0 {
		t.Fatalf("the child says: %s", &stderr)
	}
	return lines
}

func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CRUMBGATE_KILL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CRUMBGATE_KILL_SEED=%d repeats the moments of these kills, as near as time allows", seed)

	var mu sync.Mutex
	killed, acked, unborn, unheard := 0, 0, 0, 0
	t.Run("files", func(t *testing.T) {
		for k := range killers {
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, uint64(k)))
				var w *witness
				var path string
				for i := range kills / killers {
					if i%killsAFile == 0 {
						w, path = newWitness(), filepath.Join(t.TempDir(), "new", "tokens.db")
					}
					acks, while := r.IntN(40), time.Duration(r.Int64N(int64(3*time.Millisecond)))
					if i%killsAFile == 0 || acks < 4 {
						acks, while = 0, time.Duration(r.Int64N(int64(5*time.Millisecond)))
					}
					lines := runChild(t, path, w, honest, acks, while)
					_, statErr := os.Stat(path)
					if err := w.acknowledge(lines); err != nil {
						t.Fatalf("kill %d: %v", i, err)
					}
					next := w.next
					if err := w.check(path); err != nil {
						t.Fatalf("kill %d: %v", i, err)
					}
					mu.Lock()
					killed++
					acked += len(lines)
					if statErr != nil {
						unborn++
					}
					if w.next != next {
						unheard++
					}
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d kills, %d acknowledged batches; %d times there was no file yet, %d times a batch was stored and not acknowledged", killed, acked, unborn, unheard)
	if !t.Failed() && (killed != kills || acked < kills || unheard == 0) {
		t.Error("the kills have missed the moments that they are for")
	}
}

// TestKillFindsLies shows that the test above can fail.
func TestKillFindsLies(t *testing.T) {
	for _, test := range []struct {
		lie  lie
		want string // in the error, none if empty
	}{
		{honest, ""},
		{earlyAck, "writer 0, after batch 12: the file has"},
		{lostBatch, "writer 0, after batch 13: the file has"},
		{halfBatch, "writer 0, after batch 11: the file has"},
		{wrongRevision, "acknowledged was"},
	} {
		t.Run(string(test.lie), func(t *testing.T) {
			t.Parallel()
			w, path, acks := newWitness(), filepath.Join(t.TempDir(), "tokens.db"), never
			if test.lie == honest {
				acks = 4 * lieAt
			}
			lines := runChild(t, path, w, test.lie, acks, 0)
			err := w.acknowledge(lines)
			if err == nil {
				err = w.check(path)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("a child that %s: %v, want an error with %q", test.lie, err, test.want)
			}
		})
	}
}
