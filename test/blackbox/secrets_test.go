package blackbox_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestModeOfKeyFile: a key that other users could replace signs nothing. One that they can
// read is what orchestrators mount.
func TestModeOfKeyFile(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	keyed := strings.Replace(gatewaytest.Smallest, "crumbgate {\n", "crumbgate {\n\t\taudit {\n\t\t\tkey_file {$DIR}/key\n\t\t}\n", 1)
	for _, test := range []struct {
		mode    fs.FileMode
		refused bool
		says    string
	}{
		{0o660, true, "can be written by others than its owner"},
		{0o606, true, "can be written by others than its owner"},
		{0o644, false, "can be read by all users"},
		{0o440, false, ""},
	} {
		g := gatewaytest.New(t, url, keyed)
		key := filepath.Join(g.Dir, "key")
		if err := os.WriteFile(key, bytes.Repeat([]byte{7}, 32), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(key, test.mode); err != nil {
			t.Fatal(err)
		}
		if test.refused {
			if r := g.Run(t, "run", "--config", g.Config); r.Status != 1 || !strings.Contains(r.Stderr, test.says) {
				t.Errorf("mode %#o: status %d and %q, want 1 and %q", test.mode, r.Status, tailOf(r.Stderr), test.says)
			}
			continue
		}
		g.Start(t)
		if warned := strings.Contains(g.Log(), "can be read by all users"); warned != (test.says != "") {
			t.Errorf("mode %#o: warned: %t", test.mode, warned)
		}
	}
}
