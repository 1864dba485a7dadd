package gateway

import (
	"sync"
	"time"
)

// maxOmittedNotices bounds how many parts of identities the log has in a day.
const maxOmittedNotices = 10_000

// A notice is something that the log says of a subject, such as a user.
type notice struct{ subject, what string }

// daily remembers what the log has said on this day (UTC), so that it says each thing
// once a day. It is safe for concurrent use.
type daily struct {
	limit int // of notices a day; further ones are not logged

	mu   sync.Mutex
	day  int64
	said map[notice]struct{}
}

// first reports whether a notice is new today, and notes it.
func (d *daily) first(now time.Time, n notice) bool {
	day := now.Unix() / (24 * 60 * 60)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.said == nil || d.day != day {
		d.day, d.said = day, make(map[notice]struct{})
	}
	if _, said := d.said[n]; said || len(d.said) >= d.limit {
		return false
	}
	d.said[n] = struct{}{}
	return true
}
