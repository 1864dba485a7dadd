package webhook

// AllFree reports whether v holds no body and no sender.
func (v *Verifier) AllFree() bool {
	for room, size := range map[*room]int64{v.small: smallRoom, v.large: bodies * max(v.limit-smallBody, 0)} {
		if !room.all.TryAcquire(size) {
			return false
		}
		room.all.Release(size)
		room.mu.Lock()
		senders := len(room.senders)
		room.mu.Unlock()
		if senders > 0 {
			return false
		}
	}
	return true
}
