package gateway

import (
	"strconv"
	"testing"
	"time"
)

func TestNoticesAreLoggedOnceADayAndBounded(t *testing.T) {
	d := daily{limit: 3}
	day := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		n := notice{strconv.Itoa(i), "mail"}
		if first := d.first(day, n); first != (i < 3) {
			t.Errorf("notice %d of the day is logged: %t", i, first)
		}
		if d.first(day.Add(23*time.Hour), n) {
			t.Errorf("notice %d is logged twice in a day", i)
		}
	}
	if !d.first(day.Add(24*time.Hour), notice{"0", "mail"}) {
		t.Error("a notice of yesterday is not logged again")
	}
	if len(d.said) != 1 {
		t.Errorf("%d notices are kept of two days, want those of today", len(d.said))
	}
}
