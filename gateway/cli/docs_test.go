package cli_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the outputs of commands into docs/cli.md")

const manual = "../../docs/cli.md"

var (
	docID = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	// A comment of the page is a command of a script, or the one that the next
	// command line is run by: misuse or warns.
	docComment = regexp.MustCompile(`^<!-- (.*) -->$`)
)

// The examples of the manual, run one after the other, print what it says; ids and
// secrets are others each time. With -update it is written anew.
func TestManual(t *testing.T) {
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var script, written strings.Builder
	var wants []*strings.Builder // what follows each command
	runner, inside := "caddy", false
	for line := range strings.Lines(string(page)) {
		text := strings.TrimSuffix(line, "\n")
		comment := docComment.FindStringSubmatch(text)
		switch {
		case comment != nil && !strings.Contains(comment[1], " "):
			runner = comment[1]
		case comment != nil:
			fmt.Fprintln(&script, comment[1])
		case text == "```console":
			inside = true
		case inside && text == "```":
			inside = false
		case inside && strings.HasPrefix(text, "$ caddy "):
			fmt.Fprintf(&script, "%s %s\nsaid %d\n", runner, strings.TrimPrefix(text, "$ caddy "), len(wants))
			wants = append(wants, new(strings.Builder))
			runner = "caddy"
			fmt.Fprintf(&written, "%s\x00%d\x00", line, len(wants)-1)
			continue
		case inside && len(wants) > 0:
			wants[len(wants)-1].WriteString(line)
			continue
		}
		written.WriteString(line)
	}
	if len(wants) < 20 {
		t.Fatalf("only %d commands found", len(wants))
	}
	file := filepath.Join(t.TempDir(), "manual.txtar")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := func(text string) string {
		ids := make(map[string]string)
		text = docID.ReplaceAllStringFunc(text, func(id string) string {
			if ids[id] == "" {
				ids[id] = fmt.Sprintf("id-%d", len(ids))
			}
			return ids[id]
		})
		return secretPattern.ReplaceAllString(text, "secret")
	}
	outputs := make([]string, len(wants))
	params := scripts("")
	params.Files = []string{file}
	params.Cmds["said"] = func(ts *testscript.TestScript, _ bool, args []string) {
		var n int
		if _, err := fmt.Sscan(args[0], &n); err != nil {
			ts.Fatalf("%v", err)
		}
		outputs[n] = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if want := wants[n].String(); !*update && plain(outputs[n]) != plain(want) {
			ts.Fatalf("this is printed:\n%s\nthe manual says:\n%s", outputs[n], want)
		}
	}
	params.Cmds["see"] = func(ts *testscript.TestScript, _ bool, args []string) {
		of(ts).id(ts, []string{"SEEN", "ci", args[0]})
		of(ts).see(ts, append([]string{ts.Getenv("SEEN")}, args[1:]...))
	}
	t.Run("run", func(t *testing.T) { testscript.Run(t, params) })
	if !*update || t.Failed() {
		return
	}
	text := regexp.MustCompile(`\x00(\d+)\x00`).ReplaceAllStringFunc(written.String(), func(mark string) string {
		var n int
		if _, err := fmt.Sscan(strings.Trim(mark, "\x00"), &n); err != nil {
			t.Fatal(err)
		}
		return outputs[n]
	})
	if err := os.WriteFile(manual, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
