// Package docs_test holds the documentation to what the program does.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/caddymodule"
	"github.com/crumbgate/crumbgate/gateway/cli"
)

const root = "../.."

// pages returns all Markdown files by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docker/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(text)
		}
	}
	if len(found) < 8 {
		t.Fatalf("only %d pages found", len(found))
	}
	return found
}

var fence = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")

// blocks returns the code blocks of a language.
func blocks(text, language string) []string {
	var found []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[2] == language {
			found = append(found, strings.ReplaceAll("\n"+m[3], "\n"+m[1], "\n")[1:])
		}
	}
	return found
}

func validate(t *testing.T, name, text string) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("GITHUB_WEBHOOK_SECRET", "for pages with a webhook")
	adapter := caddyconfig.GetAdapter("caddyfile")
	config, warnings, err := adapter.Adapt([]byte(text), map[string]any{"filename": name})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, warning := range warnings {
		t.Errorf("%s: %v", name, warning)
	}
	var parsed *caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(parsed); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func TestCaddyfilesAreValid(t *testing.T) {
	count := 0
	for page, text := range pages(t) {
		for _, block := range blocks(text, "caddyfile") {
			count++
			validate(t, page, block)
		}
	}
	if count < 4 {
		t.Errorf("only %d Caddyfiles found in the pages", count)
	}
	for _, file := range []string{"Caddyfile.example", "docker/Caddyfile"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		validate(t, file, string(text))
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

var invocation = regexp.MustCompile(`caddy crumbgate ([^\n#|)` + "`" + `]+)`)

// Every command that a page shows exists, with every flag that it shows.
func TestCommandsExist(t *testing.T) {
	count := 0
	for page, text := range pages(t) {
		for _, m := range invocation.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(m[1])
			if strings.Contains(m[1], "…") || words[len(words)-1] == "\\" {
				continue // a sketch
			}
			count++
			program := &cobra.Command{Use: "crumbgate"}
			cli.Setup(program, cli.Env{})
			command, arguments, err := program.Find(words)
			if err != nil || command == program {
				t.Errorf("%s shows %q: no such command (%v)", page, m[0], err)
				continue
			}
			command.InitDefaultHelpFlag()
			for _, word := range arguments {
				flag, long := strings.CutPrefix(word, "--")
				if name, _, _ := strings.Cut(flag, "="); long && command.Flags().Lookup(strings.TrimRight(name, ",.;:")) == nil {
					t.Errorf("%s shows %q, but %s has no flag %s", page, m[0], command.CommandPath(), word)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d commands found", count)
	}
}

var field = regexp.MustCompile(`(?m)^\t(?:[A-Z]\w+, )*[A-Z]\w+ .*json:"([a-z_]+)`)

// Every setting of the handler is in the reference: with a row of its own, or named
// in one, where JSON has another name for it.
func TestSettingsAreDocumented(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "caddymodule/handler.go"))
	if err != nil {
		t.Fatal(err)
	}
	reference := pages(t)["docs/configuration.md"]
	names := field.FindAllStringSubmatch(string(source), -1)
	if len(names) < 11 {
		t.Fatalf("only %d settings found in the source of %T", len(names), caddymodule.Handler{})
	}
	for _, name := range names {
		row := regexp.MustCompile("(?m)^\\| (`" + name[1] + "[ `]|.*JSON: .*`" + name[1] + "`)")
		if !row.MatchString(reference) {
			t.Errorf("docs/configuration.md has no row for %s", name[1])
		}
	}
}
