package audit

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// sumWindow is for how long denials are counted before their number is written.
	sumWindow = time.Minute
	// singlesPerKey and singlesPerClass bound the denials of a window that are written one
	// by one: of the same address and reason, and of all.
	singlesPerKey   = 10
	singlesPerClass = 300
	// maxSums bounds the different addresses and reasons of a window. What is beyond is
	// summed up without its address.
	maxSums = 512
)

// Denials write what is seen of requests to a log of its own, which strangers may fill
// without pushing out any change. Beyond a rate they are summed up by address (IPv6 by /64),
// reason, and token or user, with one line a minute for each. Denials of known tokens and
// users have a room of their own, so that strangers can't hide them.
//
// It is safe for concurrent use. Its owner closes it, which closes the log, too.
type Denials struct {
	log  *Log
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu               sync.Mutex // guards what follows; held for a look-up in a map
	strangers, known sums
}

// NewDenials returns what writes to log, which it closes.
func NewDenials(log *Log) *Denials {
	d := &Denials{log: log, stop: make(chan struct{}), done: make(chan struct{})}
	go d.run()
	return d
}

// Log returns the log that is written to.
func (d *Denials) Log() *Log { return d.log }

// sums are what was seen in a window.
type sums struct {
	singles int
	seen    map[sumKey]*sum
}

type sumKey struct {
	network netip.Prefix
	several bool // addresses, for which there is no room
	kind    Kind
	reason  string
	token   uuid.UUID
	owner   string
}

type sum struct {
	singles int
	count   uint64 // of those that were not written singly
	name    string // of the token
}

// Note records an event like Log.Note, or counts it.
func (d *Denials) Note(e Event) {
	key := sumKey{network: network(e.Client), kind: e.Kind, token: e.TokenID, owner: e.Owner}
	if e.Kind == RequestDenied {
		key.reason = e.Reason // of other kinds, reasons are as many as items in Jenkins
	}
	d.mu.Lock()
	class := &d.strangers
	if e.TokenID != uuid.Nil || e.Owner != "" {
		class = &d.known
	}
	single := class.note(key, e.TokenName)
	d.mu.Unlock()
	if single {
		d.log.Note(e)
	}
}

// note counts an event and reports whether it is to be written singly.
func (s *sums) note(key sumKey, name string) (single bool) {
	found := s.seen[key]
	if found == nil && len(s.seen) >= maxSums {
		key.network, key.several = netip.Prefix{}, true
		found = s.seen[key]
	}
	if found == nil {
		if s.seen == nil {
			s.seen = make(map[sumKey]*sum)
		}
		found = &sum{name: name}
		s.seen[key] = found
	}
	if found.singles < singlesPerKey && s.singles < singlesPerClass && !key.several {
		found.singles++
		s.singles++
		return true
	}
	found.count++
	return false
}

// network returns what addresses are summed up by; the zero Prefix if text is no address.
func network(text string) netip.Prefix {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // of so many bits, every address has one
	return prefix
}

// write writes the numbers of the window and begins a new one.
func (d *Denials) write() {
	d.mu.Lock()
	known, strangers := d.known, d.strangers
	d.known, d.strangers = sums{}, sums{}
	d.mu.Unlock()
	now := time.Now()
	for _, class := range []sums{known, strangers} {
		var events []Event
		for key, s := range class.seen {
			if s.count == 0 {
				continue
			}
			e := Event{Time: now, Kind: key.kind, Via: ViaGateway, Reason: key.reason, TokenID: key.token, TokenName: s.name, Owner: key.owner, Count: s.count}
			switch {
			case !key.network.IsValid(): // of several addresses, or of none
			case key.network.IsSingleIP():
				e.Client = key.network.Addr().String()
			default:
				e.Client = key.network.String()
			}
			events = append(events, e)
		}
		slices.SortFunc(events, func(a, b Event) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Client, b.Client), cmp.Compare(a.Reason, b.Reason))
		})
		for _, e := range events {
			d.log.Note(e)
		}
	}
}

func (d *Denials) run() {
	defer close(d.done)
	window := time.NewTicker(sumWindow)
	defer window.Stop()
	for {
		select {
		case <-window.C:
			d.write()
		case <-d.stop:
			d.write()
			return
		}
	}
}

// Close writes the numbers so far and closes the log.
func (d *Denials) Close() error {
	d.once.Do(func() { close(d.stop) })
	<-d.done
	return d.log.Close()
}
