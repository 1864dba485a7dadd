package audit

import "time"

// KeepHeadEvery sets how often the head is kept.
func KeepHeadEvery(d time.Duration) { headInterval = d }
