package endpoint

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/scopes.md")

// objectPaths are how the documentation writes the object of a page.
var objectPaths = map[Object]string{TheRoot: "", AView: "/view/v", AnItem: "/job/x", ABuild: "…", AStep: "…/execution/node/7", AnAgent: "/computer/c"}

func pagesTable() string {
	var b strings.Builder
	b.WriteString("| plugin | scope | pages |\n|---|---|---|\n")
	row := func(plugin string, pages []Page) {
		type key struct {
			scope Permission
			below bool
		}
		cells := make(map[key][]string)
		var order []key
		for _, page := range pages {
			k := key{page.Scope, page.How == ShownBelow}
			if cells[k] == nil {
				order = append(order, k)
			}
			for path := range strings.FieldsSeq(page.Paths) {
				first, rest, _ := strings.Cut(path[1:], "/")
				if slices.Contains(strings.Fields(tools), first) {
					if path = "/TOOL"; rest != "" {
						path += "/" + rest
					}
				}
				path = objectPaths[page.Of] + path
				switch page.How {
				case Remote:
					path += "/api/…"
				case Tree, Files:
					path += "/…"
				}
				text := "`" + path + "`"
				if page.How == Posted {
					text += " by POST"
				}
				if !slices.Contains(cells[k], text) {
					cells[k] = append(cells[k], text)
				}
			}
		}
		for _, k := range order {
			scope := "`" + k.scope.String() + "`"
			if k.scope == Any {
				scope = "any"
			}
			if k.below {
				scope += " of all below"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", plugin, scope, strings.Join(cells[k], ", "))
		}
	}
	for _, group := range Pages {
		row(group.Plugin, group.Pages)
	}
	for _, entry := range Catalogue {
		plugin := entry.Plugin
		if plugin == "" {
			plugin = "core"
		}
		row(plugin, entry.Pages)
	}
	return b.String()
}

func grantsTable() string {
	var b strings.Builder
	b.WriteString("| scope | reaches further than its name says |\n|---|---|\n")
	for _, g := range Grants {
		if g.Reach != "" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", g.Name, g.Reach)
		}
	}
	return b.String()
}

// TestScopesDocs keeps the tables of docs/scopes.md as the table of endpoints is.
func TestScopesDocs(t *testing.T) {
	const file = "../../docs/scopes.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, table := range map[string]string{"pages": pagesTable(), "reach": grantsTable()} {
		begin, end := "<!-- begin "+name+", written by go test ./gateway/endpoint -run TestScopesDocs -update -->\n", "<!-- end "+name+" -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the table of %s", file, name)
		}
		want = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s differs from the table of endpoints: run go test ./gateway/endpoint -run TestScopesDocs -update", file)
	}
}
