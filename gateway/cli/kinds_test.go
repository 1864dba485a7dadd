package cli_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/audit"
	tokens "github.com/crumbgate/crumbgate/gateway/token"
)

// The lists of kinds, by which "audit find --kind" refuses a typing error, have every
// constant.
func TestKindsAreComplete(t *testing.T) {
	listed := make(map[string][]string)
	for _, k := range tokens.Kinds {
		listed["../token/event.go"] = append(listed["../token/event.go"], string(k))
	}
	for _, k := range audit.Kinds {
		listed["../audit/event.go"] = append(listed["../audit/event.go"], string(k))
	}
	for path, kinds := range listed {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var declared []string
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			name, typed := spec.Type.(*ast.Ident)
			if value, ok := spec.Values[0].(*ast.BasicLit); ok && typed && name.Name == "Kind" {
				text, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				declared = append(declared, text)
			}
			return true
		})
		slices.Sort(declared)
		slices.Sort(kinds)
		if len(declared) == 0 || !slices.Equal(declared, kinds) {
			t.Errorf("%s declares %q, Kinds has %q", path, declared, kinds)
		}
	}
}
