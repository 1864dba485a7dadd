package usage

// Asking returns how many requests wait for a reservation.
func (c *Counter) Asking() uint64 { return c.asking.Load() }
