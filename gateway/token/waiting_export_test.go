package token

import "slices"

// WaitingEvents returns the events whose lines wait for the log.
func (d *Directory) WaitingEvents() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.waiting)
}
