// Package imports_test holds the rule of who may import whom: imports point
// towards packages that know less, and nothing below caddymodule/ knows Caddy.
package imports_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

const (
	module = "github.com/crumbgate/crumbgate/"
	caddy  = "github.com/caddyserver/"
)

func TestImportsPointTowardsPackagesThatKnowLess(t *testing.T) {
	tests := []struct {
		name    string
		pattern string // the packages that the rule binds, tests included
		never   string // prefix of the import paths that they must not reach
		allowed bool   // they do reach it: shows that the search finds what is there
	}{
		// The way of an import may lead through other packages, a third
		// party's too; what the tests import counts.
		{name: "gateway without Caddy", pattern: "gateway/...", never: caddy},
		{name: "storage without Caddy", pattern: "storage/...", never: caddy},
		{name: "gateway without the Caddy module", pattern: "gateway/...", never: module + "caddymodule"},
		{name: "storage without the gateway", pattern: "storage/...", never: module + "gateway"},
		{name: "only caddymodule knows Caddy", pattern: "caddymodule/...", never: caddy, allowed: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			roots, imports := load(t, module+tt.pattern)
			way := wayTo(roots, imports, tt.never)
			switch {
			case len(roots) == 0:
				t.Errorf("%s matches no package", tt.pattern)
			case way != nil && !tt.allowed:
				t.Errorf("%s must not import %s:\n\t%s", tt.pattern, tt.never, strings.Join(way, "\n\timports "))
			case way == nil && tt.allowed:
				t.Errorf("%s reaches no %s: this test finds nothing any more", tt.pattern, tt.never)
			}
		})
	}
}

// load returns the packages that the pattern matches, with their tests, and
// what each of them and of their dependencies imports.
func load(t *testing.T, pattern string) (roots []string, imports map[string][]string) {
	t.Helper()
	// Separated by bars: the path of a package built for a test has a blank.
	const format = `{{.DepOnly}}|{{.ImportPath}}|{{join .Imports "|"}}`
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "-f", format, pattern)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	imports = make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		imports[fields[1]] = fields[2:]
		if fields[0] == "false" {
			roots = append(roots, fields[1])
		}
	}
	return roots, imports
}

// wayTo returns the shortest chain of imports from one of the roots to a
// package whose path begins with the prefix, or nil.
func wayTo(roots []string, imports map[string][]string, prefix string) []string {
	from := make(map[string]string)
	queue := make([]string, 0, len(imports))
	visit := func(path, importer string) {
		if _, seen := from[path]; !seen {
			from[path] = importer
			queue = append(queue, path)
		}
	}
	for _, root := range roots {
		visit(root, "")
	}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if strings.HasPrefix(path, prefix) {
			var way []string
			for ; path != ""; path = from[path] {
				way = append([]string{path}, way...)
			}
			return way
		}
		for _, imported := range imports[path] {
			visit(imported, path)
		}
	}
	return nil
}
