package token

import "sync"

// RateWindow is the span, in seconds, in which a token with a rate makes at most that
// many requests.
const RateWindow = 60

// A window counts the requests of the last seconds. They may come in a burst, but any
// RateWindow seconds hold at most the limit: a request counts until the second after it
// has ended RateWindow times.
type window struct {
	mu     sync.Mutex // guards the rest; requests of other tokens don't take it
	counts [RateWindow + 1]uint32
	last   int64 // the second of the newest count
	total  uint32
}

// allow counts a request in a second, unless there have been limit requests already.
func (w *window) allow(second int64, limit uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(second)
	if w.total >= limit {
		return false
	}
	w.counts[w.last%int64(len(w.counts))]++
	w.total++
	return true
}

// wait returns after how many seconds the next request is allowed, if none comes before.
func (w *window) wait(second int64, limit uint32) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(second)
	left, size := w.total, int64(len(w.counts))
	for seconds := range size {
		if left < limit {
			return seconds
		}
		left -= w.counts[(w.last+seconds+1)%size] // the oldest count ends next
	}
	return size
}

// advance makes second the newest one. The caller holds mu.
func (w *window) advance(second int64) {
	size := int64(len(w.counts))
	switch {
	case second < w.last-size || second >= w.last+size: // long ago, or the clock was set back
		w.counts, w.total = [RateWindow + 1]uint32{}, 0
		w.last = second
	case second > w.last:
		for w.last < second {
			w.last++
			count := &w.counts[w.last%size]
			w.total -= *count
			*count = 0
		}
	}
}
