package spelling_test

import (
	"testing"

	"github.com/crumbgate/crumbgate/internal/spelling"
)

func TestClosest(t *testing.T) {
	known := []string{"list", "revoke", "rotate", "build", "read"}
	for word, want := range map[string]string{
		"lst": "list", "revok": "revoke", "biuld": "build", "raed": "read", "LIST": "list",
		"delete": "", "": "", "x": "", "reader-of-all": "",
	} {
		if got := spelling.Closest(word, known); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}
