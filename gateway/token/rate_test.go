package token

import (
	"math/rand/v2"
	"testing"
)

// Any RateWindow seconds hold at most the limit, however requests come, and the announced
// wait is right.
func TestAnyMinuteHoldsTheRate(t *testing.T) {
	const limit = 30
	for range 200 {
		var w window
		var allowed []int64
		second := int64(1_790_000_000)
		for range 400 {
			second += rand.Int64N(3) * rand.Int64N(12)
			before := window{counts: w.counts, last: w.last, total: w.total}
			if w.allow(second, limit) {
				allowed = append(allowed, second)
				continue
			}
			wait := before.wait(second, limit)
			if before.allow(second+wait-1, limit) || !before.allow(second+wait, limit) {
				t.Fatalf("a wait of %d s is not right", wait)
			}
		}
		for i, from := range allowed {
			n := 0
			for _, at := range allowed[i:] {
				if at-from <= RateWindow {
					n++
				}
			}
			if n > limit {
				t.Fatalf("%d requests within %d s, want at most %d", n, RateWindow, limit)
			}
		}
	}
}

// A clock that was ahead blocks no token.
func TestRateAfterTheClockWasAhead(t *testing.T) {
	var w window
	const now = int64(1_790_000_000)
	for _, second := range []int64{now, now + 366*24*3600, now + 1} {
		if !w.allow(second, 1) {
			t.Errorf("the request in second %d is refused", second)
		}
	}
	if w.allow(now, 1) {
		t.Error("a request of the second before is not counted")
	}
}
