//go:build crumbgate_testclock

package caddymodule

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// testClockEnv names a file with a duration by which the clock is wrong, such as 8760h.
// The file is read whenever the time is asked for. Without it the clock is right.
const testClockEnv = "CRUMBGATE_TEST_CLOCK"

func init() {
	path := os.Getenv(testClockEnv)
	if path == "" {
		return
	}
	clock = func() time.Time {
		text, err := os.ReadFile(path) //nolint:gosec // G703: a test names the file
		if err != nil {
			panic(fmt.Sprintf("reading the clock of the test: %v", err))
		}
		wrong, err := time.ParseDuration(strings.TrimSpace(string(text)))
		if err != nil {
			panic(fmt.Sprintf("reading the clock of the test: %v", err))
		}
		return time.Now().Add(wrong)
	}
}
