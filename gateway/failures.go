package gateway

import (
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// DefaultMaxFailures is how many failed credentials a network may send in a minute
// before it is told to wait.
const DefaultMaxFailures = 600

// maxFailing bounds of how many networks failures are counted.
const maxFailing = 10_000

// failures limits what failed credentials cost: a network that sends too many gets 429,
// without a line in the log for each. They have been judged by then, so that no valid
// one is ever refused for what others behind its address send.
type failures struct {
	perMinute int // below 0: no limit
	networks  *otter.Cache[string, *failing]
}

// failing is a network from which failed credentials come.
type failing struct {
	limiter *rate.Limiter
	limited atomic.Bool // the last one got 429
}

func newFailures(perMinute int) (*failures, error) {
	networks, err := otter.New(&otter.Options[string, *failing]{MaximumSize: maxFailing})
	if err != nil {
		return nil, fmt.Errorf("making the cache of failed credentials: %w", err)
	}
	return &failures{perMinute: perMinute, networks: networks}, nil
}

// isFailure reports whether a credential failed, whether it was guessed, damaged, sent
// where none may stand, or of a token that has ended. All that is answered alike counts
// alike, or the limit would tell which tokens exist.
func (d *Decision) isFailure() bool {
	switch responses[d.Reason] {
	case unauthorized:
		return d.Reason != ReasonNone
	case ambiguous, forPeople, unsigned:
		return true
	case tokenInURL:
		return d.Class == ClassNone // otherwise a valid credential came beside it
	}
	return false
}

// exceeded counts a denial, and returns for how many seconds the client is to wait, 0
// if its network has not sent too many failed credentials. first is set for the first
// such denial of a series.
func (f *failures) exceeded(d *Decision, now time.Time) (wait int, first bool) {
	if f.perMinute < 0 || !d.isFailure() {
		return 0, false
	}
	network := networkOf(d.addr)
	from, known := f.networks.GetIfPresent(network)
	if !known {
		from, _ = f.networks.SetIfAbsent(network, &failing{limiter: rate.NewLimiter(rate.Limit(float64(f.perMinute)/60), f.perMinute)})
	}
	reservation := from.limiter.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		from.limited.Store(false)
		return 0, false
	}
	reservation.CancelAt(now)
	return int(math.Ceil(delay.Seconds())), !from.limited.Swap(true)
}

// networkOf returns what one client is taken to have of addresses: an IPv4 address, or
// the /64 of an IPv6 address, as networks are assigned (RFC 6177).
func networkOf(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Unmap().Is4() {
		return addr
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.String()
}
