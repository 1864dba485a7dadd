package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/token"
)

var key = bytes.Repeat([]byte{7}, 32)

// written returns the files of a log of several files, and its head.
func written(t testing.TB, o audit.Options) (fstest.MapFS, audit.Head) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	o.MaxSize = 1500
	l := open(t, path, o)
	appendTo(t, l, 0, 12)
	closeLog(t, l)
	files := fstest.MapFS{}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = &fstest.MapFile{Data: data}
	}
	if len(files) < 3 {
		t.Fatalf("only %d files", len(files))
	}
	return files, l.Head()
}

func aside(first int) string { return fmt.Sprintf("audit-%020d.log", first) }

func TestTamper(t *testing.T) {
	// lines changes the lines of a file.
	lines := func(files fstest.MapFS, name string, change func([]string) []string) {
		all := strings.SplitAfter(string(files[name].Data), "\n")
		files[name] = &fstest.MapFile{Data: []byte(strings.Join(change(all[:len(all)-1]), ""))}
	}
	second := func(files fstest.MapFS) string { // the name of the second file
		n := bytes.Count(files[aside(1)].Data, []byte("\n"))
		return aside(n + 1)
	}
	for _, test := range []struct {
		name   string
		tamper func(fstest.MapFS)
		want   string // in the error
	}{
		{"nothing", func(fstest.MapFS) {}, ""},
		{"a line is edited", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { l[1] = strings.Replace(l[1], "alice", "mallory", 1); return l })
		}, aside(1) + ", line 2: the line was changed"},
		{"the last line is edited", func(f fstest.MapFS) {
			lines(f, "audit.log", func(l []string) []string {
				l[len(l)-1] = strings.Replace(l[len(l)-1], "gateway", "Gateway", 1)
				return l
			})
		}, "the line was changed"},
		{"a line is deleted", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { return append(l[:1], l[2:]...) })
		}, aside(1) + ", line 2: lines 2 to 2 of the log are missing"},
		{"the first line is deleted", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { return l[1:] })
		}, "by the name of its file"},
		{"the last line of a file is deleted", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { return l[:len(l)-1] })
		}, "are missing before it"},
		{"lines are swapped", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { l[0], l[1] = l[1], l[0]; return l })
		}, aside(1) + ", line 1: "},
		{"a copy of a line is inserted", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { return append(l[:2], l[1:]...) })
		}, "it is a copy, or was moved"},
		{"a foreign line is inserted", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { l[1] = "{}\n" + l[1]; return l })
		}, "line 2: the line is not a line of an audit log"},
		{"an endless line", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { l[1] = strings.Repeat("x", 1<<20) + "\n"; return l })
		}, "line 2: the line is longer than"},
		{"the first file is deleted", func(f fstest.MapFS) { delete(f, aside(1)) }, "does not say that it has removed them"},
		{"a file is deleted", func(f fstest.MapFS) { delete(f, second(f)) }, "are missing before it"},
		{"the newest file is deleted", func(f fstest.MapFS) { delete(f, "audit.log") }, "audit.log: the file is missing"},
		{"the newest file is emptied", func(f fstest.MapFS) { f["audit.log"] = &fstest.MapFile{} }, "the file has no line"},
		{"a file is copied", func(f fstest.MapFS) { f[aside(2)] = f[aside(1)] }, "it is a copy"},
		{"files are swapped", func(f fstest.MapFS) { s := second(f); f[aside(1)], f[s] = f[s], f[aside(1)] }, "broken"},
		{"the end is cut off within a line", func(f fstest.MapFS) {
			d := f["audit.log"].Data
			f["audit.log"] = &fstest.MapFile{Data: d[:len(d)-1]}
		}, "the line is incomplete"},
		{"the last line is cut off", func(f fstest.MapFS) {
			lines(f, "audit.log", func(l []string) []string { return l[:len(l)-1] })
		}, "missing at its end: they were cut off"},
		{"a MAC is taken off", func(f fstest.MapFS) {
			lines(f, aside(1), func(l []string) []string { l[1] = l[1][:strings.Index(l[1], `,"mac"`)] + "}\n"; return l })
		}, "has no MAC"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, head := written(t, audit.Options{Key: key})
			test.tamper(files)
			_, err := audit.Verify(t.Context(), files, "audit.log", audit.VerifyOptions{Key: key, Head: head})
			var broken *audit.Broken
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &broken) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Verify: %v, want %q", err, test.want)
			}
		})
	}
}

func TestTamperAnyByte(t *testing.T) {
	for _, o := range []audit.Options{{}, {Key: key}} {
		files, head := written(t, o)
		for name, file := range files {
			for i := range file.Data {
				if i%3 != 0 && i < len(file.Data)-100 {
					continue
				}
				file.Data[i] ^= 1
				if _, err := audit.Verify(t.Context(), files, "audit.log", audit.VerifyOptions{Key: o.Key, Head: head}); err == nil {
					t.Errorf("byte %d of %s was changed, and Verify says nothing", i, name)
				}
				file.Data[i] ^= 1
			}
		}
	}
}

// Who can write everything, and has no key, writes everything anew.
func TestForgery(t *testing.T) {
	files, _ := written(t, audit.Options{})
	_, head := written(t, audit.Options{}) // of the true log
	if _, err := audit.Verify(t.Context(), files, "audit.log", audit.VerifyOptions{}); err != nil {
		t.Errorf("without head and key a forged log passes, as documented: %v", err)
	}
	if _, err := audit.Verify(t.Context(), files, "audit.log", audit.VerifyOptions{Head: head}); err == nil || !strings.Contains(err.Error(), "written anew") {
		t.Errorf("with the head: %v", err)
	}
	if _, err := audit.Verify(t.Context(), files, "audit.log", audit.VerifyOptions{Key: key}); err == nil || !strings.Contains(err.Error(), "has no MAC") {
		t.Errorf("with the key: %v", err)
	}
	forged, _ := written(t, audit.Options{Key: bytes.Repeat([]byte{8}, 32)})
	if _, err := audit.Verify(t.Context(), forged, "audit.log", audit.VerifyOptions{Key: key}); err == nil || !strings.Contains(err.Error(), "not of this key") {
		t.Errorf("with another key: %v", err)
	}
	if _, err := audit.ParseHead(head.String()); err != nil {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	line := func(t *testing.T, path string) []byte {
		l := open(t, path, audit.Options{})
		appendTo(t, l, 0, 3)
		closeLog(t, l)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		o       audit.Options
		want    string // in the error; "": it opens
		lines   uint64 // then
	}{
		{"new", func(*testing.T, string) {}, audit.Options{}, "", 3},
		{"after a clean stop", func(t *testing.T, path string) { line(t, path) }, audit.Options{}, "", 5 + 3},
		{"a torn line", func(t *testing.T, path string) {
			data := line(t, path)
			_ = os.WriteFile(path, data[:len(data)-20], 0o600)
		}, audit.Options{}, "", 4 + 1 + 3},
		{"only a torn line", func(t *testing.T, path string) { _ = os.WriteFile(path, []byte(`{"time":"20`), 0o600) }, audit.Options{}, "", 1 + 3},
		{"zeros at the end", func(t *testing.T, path string) {
			_ = os.WriteFile(path, append(line(t, path), make([]byte, 1<<20)...), 0o600)
		}, audit.Options{}, "", 5 + 1 + 3},
		{"killed within a rotation", func(t *testing.T, path string) {
			line(t, path)
			_ = os.Rename(path, filepath.Join(filepath.Dir(path), aside(1)))
		}, audit.Options{}, "", 5 + 3},
		{"killed later in a rotation", func(t *testing.T, path string) {
			line(t, path)
			_ = os.Rename(path, filepath.Join(filepath.Dir(path), aside(1)))
			_ = os.WriteFile(path, nil, 0o600)
		}, audit.Options{}, "", 5 + 3},
		{"another file", func(t *testing.T, path string) { _ = os.WriteFile(path, []byte("hello\n"), 0o600) }, audit.Options{}, "is not a line of an audit log", 0},
		{"an edited last line", func(t *testing.T, path string) {
			_ = os.WriteFile(path, bytes.ReplaceAll(line(t, path), []byte("gateway"), []byte("somehow")), 0o600)
		}, audit.Options{}, "was changed", 0},
		{"a key for a log without", func(t *testing.T, path string) { line(t, path) }, audit.Options{Key: key}, "has no MAC", 0},
		{"a short key", func(*testing.T, string) {}, audit.Options{Key: key[1:]}, "at least 32 random bytes", 0},
		{"a directory", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, audit.Options{}, "is not a regular file", 0},
		{"a link", func(t *testing.T, path string) { _ = os.Symlink("/etc/passwd", path) }, audit.Options{}, "is not a regular file", 0},
		{"a negative size", func(*testing.T, string) {}, audit.Options{Sizes: audit.Sizes{MaxSize: -1}}, "can't be negative", 0},
		{"in use", func(t *testing.T, path string) { open(t, path, audit.Options{}) }, audit.Options{LockTimeout: -1}, fmt.Sprintf("in use by process %d", os.Getpid()), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			test.prepare(t, path)
			l, err := audit.Open(path, test.o)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("Open: %v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			appendTo(t, l, 7, 8)
			closeLog(t, l)
			if r := mustVerify(t, path, audit.VerifyOptions{Head: l.Head()}); r.Lines != test.lines || r.Head != l.Head() {
				t.Errorf("%d lines, want %d; head %v, want %v", r.Lines, test.lines, r.Head, l.Head())
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			for _, r := range find(t, path, audit.Filter{Kind: audit.LogRepaired}) {
				torn, err := os.ReadFile(fmt.Sprintf("%s.torn-%d", path, r.Seq))
				if err != nil || !strings.Contains(r.Reason, fmt.Sprint(len(torn), " bytes")) {
					t.Errorf("%q, and the bytes put aside are %d: %v", r.Reason, len(torn), err)
				}
			}
		})
	}
}

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 1500, Keep: 2}})
	appendTo(t, l, 0, 40)
	closeLog(t, l)
	r := mustVerify(t, path, audit.VerifyOptions{})
	if r.Files != 3 || r.FirstSeq == 1 {
		t.Errorf("%d files from line %d, want 3, and the first removed", r.Files, r.FirstSeq)
	}
	first, err := filepath.Glob(filepath.Join(filepath.Dir(path), "audit-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(path, audit.VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "does not say that it has removed them") {
		t.Errorf("one more removed by hand: %v", err)
	}
}

// How much is kept can be changed while lines are written.
func TestResize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{})
	appendTo(t, l, 0, 20)
	if err := l.Resize(audit.Sizes{MaxSize: -1}); err == nil {
		t.Error("a negative size is taken")
	}
	if err := l.Resize(audit.Sizes{MaxSize: 1500, Keep: 2}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 20, 60)
	closeLog(t, l)
	if err := l.Resize(audit.Sizes{}); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if r := mustVerify(t, path, audit.VerifyOptions{Head: l.Head()}); r.Files != 3 || r.FirstSeq == 1 {
		t.Errorf("%d files from line %d, want the newest and two", r.Files, r.FirstSeq)
	}
}

// The file is not writable any more in the way that root meets too: it is gone.
func TestMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{})
	appendTo(t, l, 0, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), change(1)); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("Append to a file that was moved away: %v", err)
	}
	if err := os.Rename(path+".1", path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, 2, 3)
	closeLog(t, l)
	mustVerify(t, path, audit.VerifyOptions{})
	if _, err := l.Append(t.Context(), change(4)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
}

// A file system that is read-only is met when a new file is begun.
func TestReadOnlyDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may write everywhere; a name that is taken by a directory stops it too.
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.log")
		l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 1000}})
		if err := os.Mkdir(filepath.Join(dir, aside(1)), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		for n := 0; n < 10 && err == nil; n++ {
			_, err = l.Append(t.Context(), change(n))
		}
		if err == nil || !strings.Contains(err.Error(), "putting the full file aside") {
			t.Fatalf("Append: %v", err)
		}
		if err := os.Remove(filepath.Join(dir, aside(1))); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, 10, 12)
		closeLog(t, l)
		mustVerify(t, path, audit.VerifyOptions{})
		return
	}
	dir := filepath.Join(t.TempDir(), "ro")
	path := filepath.Join(dir, "audit.log")
	l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 1000}})
	_ = os.Chmod(dir, 0o500)
	defer os.Chmod(dir, 0o700)
	var err error
	for n := 0; n < 10 && err == nil; n++ {
		_, err = l.Append(t.Context(), change(n))
	}
	if err == nil {
		t.Error("a new file was begun in a directory that is read-only")
	}
}

func TestNoSecret(t *testing.T) {
	native, jenkins := token.NewSecret(token.Native).Reveal(), token.NewSecret(token.Jenkins).Reveal()
	for _, test := range []struct{ name, text, want string }{
		{"plain", "deploy", "deploy"},
		{"native", native, "[redacted]"},
		{"within a text", "Bearer " + native + "!", "[redacted]"},
		{"of Jenkins' format", "user:" + jenkins, "[redacted]"},
		{"across the limit", strings.Repeat("x ", 250) + native, "[redacted]"},
		{"long", strings.Repeat("ä", 600), strings.Repeat("ä", 252) + "…[cut]"},
		{"unprintable", "a\x1b[2J\u202e\nb\x80", "a\ufffd[2J\ufffd\ufffdb\ufffd"},
		{"of JSON", `"}<&>\`, `"}<&>\`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			l := open(t, path, audit.Options{})
			e := audit.Event{Kind: "token.renamed", Actor: test.text, Via: audit.Via(test.text), Client: test.text, Owner: test.text,
				TokenName: test.text, Before: test.text, After: test.text, Reason: test.text, PathClass: test.text, Method: test.text}
			l.Note(e)
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			found := find(t, path, audit.Filter{Kind: "token.renamed"})
			want := audit.Event{Kind: "token.renamed", Actor: test.want, Via: audit.Via(test.want), Client: test.want, Owner: test.want,
				TokenName: test.want, Before: test.want, After: test.want, Reason: test.want, PathClass: test.want, Method: test.want}
			if len(found) != 2 {
				t.Fatalf("%d events, want 2", len(found))
			}
			for _, r := range found {
				want.Time = r.Time
				if r.Event != want {
					t.Errorf("%+v, want %+v", r.Event, want)
				}
				if strings.Contains(r.Line, native) || strings.Contains(r.Line, jenkins) {
					t.Error("the line holds a secret")
				}
			}
			mustVerify(t, path, audit.VerifyOptions{})
		})
	}
}

func TestDropped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{})
	for range 50_000 {
		l.Note(audit.Event{Kind: audit.RequestDenied})
	}
	l.Note(audit.Event{Kind: "log.closed"}) // not for callers
	if _, err := l.Append(t.Context(), audit.Event{Kind: "log.closed"}); err == nil {
		t.Error("Append takes a kind of the log's own")
	}
	closeLog(t, l)
	r := mustVerify(t, path, audit.VerifyOptions{})
	if r.Missing == 0 || r.Missing != l.Dropped() || r.Lines+r.Missing != 2+50_001 {
		t.Errorf("%d lines and %d missing, %d dropped", r.Lines, r.Missing, l.Dropped())
	}
}

func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	id := uuid.MustParse("0198c0de-0000-7000-8000-000000000001")
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 1000}})
	for n, e := range []audit.Event{
		{Kind: "token.created", Owner: "alice", TokenID: id, TokenName: "deploy"},
		{Kind: "token.revoked", Owner: "alice", TokenID: id},
		{Kind: audit.RequestDenied, Owner: "bob", Reason: "revoked token"},
		{Kind: "user.changed", Owner: "bob", Before: "dev", After: "ops", Failed: true},
	} {
		e.Time = start.Add(time.Duration(n) * time.Hour)
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	until := start.Add(24 * time.Hour)
	for _, test := range []struct {
		name   string
		filter audit.Filter
		want   string // the kinds
	}{
		{"id", audit.Filter{TokenID: id}, "token.created token.revoked"},
		{"owner", audit.Filter{Owner: "bob"}, "request.denied user.changed"},
		{"kind", audit.Filter{Kind: "token.revoked"}, "token.revoked"},
		{"kinds", audit.Filter{Kind: "token."}, "token.created token.revoked"},
		{"time", audit.Filter{Since: start.Add(time.Hour), Until: start.Add(3 * time.Hour)}, "token.revoked request.denied"},
		{"text", audit.Filter{Text: "revoked t"}, "request.denied"},
		{"all", audit.Filter{Until: until}, "token.created token.revoked request.denied user.changed"},
		{"none", audit.Filter{Owner: "carol"}, ""},
	} {
		var kinds []string
		for _, r := range find(t, path, test.filter) {
			if !strings.HasPrefix(string(r.Kind), "log.") {
				kinds = append(kinds, string(r.Kind))
			}
		}
		if got := strings.Join(kinds, " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	for _, err := range audit.Find(t.Context(), dirOf(path), "none.log", audit.Filter{}) {
		if err == nil || !strings.Contains(err.Error(), "none.log") {
			t.Errorf("a log that is not there: %v", err)
		}
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, audit.Options{Sizes: audit.Sizes{MaxSize: 1500}})
	appendTo(t, l, 0, 20)
	for _, n := range []int{0, 1, 5, 1000} {
		var seqs []uint64
		for r, err := range audit.Tail(t.Context(), dirOf(path), "audit.log", n, false) {
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, r.Seq)
		}
		if want := min(n, 21); len(seqs) != want || want > 0 && seqs[want-1] != 21 {
			t.Errorf("Tail(%d): lines %v", n, seqs)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next, written := uint64(20), make(chan struct{})
	for r, err := range audit.Tail(ctx, dirOf(path), "audit.log", 2, true) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != next {
			t.Fatalf("line %d, want %d", r.Seq, next)
		}
		if next == 21 {
			go func() { appendTo(t, l, 20, 60); close(written) }()
		}
		if next++; next > 61 {
			break
		}
	}
	<-written
}

// TestFollowShowsOnlyWhatComes: behind the lines that were asked for, which may be none, come
// those that are written from then on, also where there are lines that can't be read.
func TestFollowShowsOnlyWhatComes(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		for _, broken := range []int{0, 2} {
			path := filepath.Join(t.TempDir(), "audit.log")
			changes, l := open(t, path, audit.Options{}), open(t, audit.DenialsName(path), audit.Options{})
			appendTo(t, changes, 0, 20)
			appendTo(t, l, 0, 5)
			set, there := audit.SetOf(dirOf(path), "audit.log"), make(map[string]bool)
			for r, err := range set.Find(t.Context(), audit.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				there[r.Line] = true
			}
			file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString(strings.Repeat("broken\n", broken)); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			var appending sync.WaitGroup
			appending.Go(func() {
				for i := 5; ctx.Err() == nil; i++ {
					appendTo(t, l, i, i+1)
					time.Sleep(50 * time.Millisecond)
				}
			})
			shown, old, bad := make(map[string]bool), 0, 0
			for r, err := range set.Tail(ctx, n, true) {
				switch {
				case err != nil:
					bad++
				case shown[r.Line]:
					t.Errorf("n=%d: shown twice: %s", n, r.Line)
				case there[r.Line]:
					old++
				}
				if shown[r.Line] = true; len(shown) >= n+3 {
					break
				}
			}
			cancel()
			appending.Wait()
			if old+bad > n {
				t.Errorf("n=%d, %d broken lines: %d old lines and %d broken ones are shown", n, broken, old, bad)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	files, _ := written(f, audit.Options{})
	for _, file := range files {
		f.Add(file.Data, file.Data)
	}
	keyed, _ := written(f, audit.Options{Key: key})
	f.Add(keyed["audit.log"].Data, []byte("{}\n"))
	f.Fuzz(func(t *testing.T, first, newest []byte) {
		files := fstest.MapFS{aside(1): {Data: first}, "audit.log": {Data: newest}}
		for _, o := range []audit.VerifyOptions{{}, {Key: key}} {
			_, _ = audit.Verify(t.Context(), files, "audit.log", o)
		}
		for range audit.Find(t.Context(), files, "audit.log", audit.Filter{Text: "x"}) {
		}
		n := 0
		for range audit.Tail(t.Context(), files, "audit.log", 3, false) {
			n++
		}
		if n > 3 {
			t.Errorf("Tail yields %d lines, want 3", n)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	b.Run("serial", func(b *testing.B) {
		l := open(b, filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
		for b.Loop() {
			appendTo(b, l, 0, 1)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		l := open(b, filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := l.Append(context.Background(), change(1)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkNote(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
	e := audit.Event{Kind: audit.RequestDenied, Client: "192.0.2.1", Owner: "alice", Reason: "revoked token", PathClass: "api", Method: "POST"}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 { // the queue has room again: a dropped note costs less
			b.StopTimer()
			appendTo(b, l, 0, 1)
			b.StartTimer()
		}
		l.Note(e)
	}
	if l.Dropped() > 0 {
		b.Errorf("%d notes were dropped", l.Dropped())
	}
}

func BenchmarkVerifyMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "audit.log")
	l := open(b, path, audit.Options{})
	const million = 1_000_000
	for n := range million {
		l.Note(change(n))
		if n%1000 == 0 { // the queue has room again
			appendTo(b, l, 0, 1)
		}
	}
	closeLog(b, l)
	for b.Loop() {
		mustVerify(b, path, audit.VerifyOptions{})
	}
	b.ReportMetric(float64(million)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// Files of changes are removed by their age, which does not depend on how many there are.
func TestKeepFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	o := audit.Options{Sizes: audit.Sizes{MaxSize: 1500, KeepFor: 48 * time.Hour}}
	l := open(t, path, o)
	appendTo(t, l, 0, 40)
	aside := func() []string {
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "audit-*.log"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before := aside()
	for i, file := range before[:4] {
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Duration(-47-i%2*2)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, l, 40, 60)
	if after := aside(); len(before) < 5 || after[0] != before[0] {
		t.Errorf("%s was removed, which is not old enough", before[0])
	}
	for _, file := range before[:3] {
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-49*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, l, 60, 80)
	closeLog(t, l)
	if after := aside(); after[0] != before[4] {
		t.Errorf("the oldest file is %s, want %s", after[0], before[4])
	}
	mustVerify(t, path, audit.VerifyOptions{})
}
