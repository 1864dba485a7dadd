package caddymodule

import "time"

// clock tells the time to all that the gateway decides by. Only programs that are built
// for tests can set another (testclock.go).
var clock = time.Now
