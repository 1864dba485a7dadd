package shellword_test

import (
	"os/exec"
	"testing"

	"github.com/crumbgate/crumbgate/internal/shellword"
)

// TestQuote: a shell reads each text as it was.
func TestQuote(t *testing.T) {
	for _, s := range []string{"", "plain", "/var/lib/a.db", "with space", "$HOME", "it's", `"quoted"`, "a;b", "`id`", "line\nbreak", "~", "*", `back\slash`, "ümlaut"} {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+shellword.Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("a shell reads %s as %q (%v), want %q", shellword.Quote(s), out, err, s)
		}
	}
}
