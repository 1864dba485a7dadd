package storekey_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/storekey"
)

// TestKindsAreComplete: a constant that is missing in Kinds would make the next start
// refuse the store.
func TestKindsAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "storekey.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				constants[text] = true
			}
		}
		return true
	})
	if len(constants) != len(storekey.Kinds()) {
		t.Errorf("there are %d constants and %d kinds", len(constants), len(storekey.Kinds()))
	}
	for _, kind := range storekey.Kinds() {
		if !constants[kind] {
			t.Errorf("kind %q is no constant", kind)
		}
	}
}
