package gateway

import (
	"fmt"
	"testing"
	"time"
)

// Failures from more networks than are counted take no more memory.
func TestFailuresOfManyNetworksAreBounded(t *testing.T) {
	f, err := newFailures(1)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for n := range 3 * maxFailing {
		d := Decision{Reason: ReasonUnknown, addr: fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff)}
		if wait, _ := f.exceeded(&d, now); wait != 0 {
			t.Fatalf("the first failure from network %d has to wait %d s", n, wait)
		}
	}
	f.networks.CleanUp()
	if n := f.networks.EstimatedSize(); n > maxFailing {
		t.Errorf("%d networks are kept, want at most %d", n, maxFailing)
	}
}

// All that a client can present without a valid credential counts as a failure, and
// nothing else does.
func TestFailuresAreCredentialsAlone(t *testing.T) {
	want := make(map[Reason]bool)
	for _, reason := range []Reason{
		ReasonForeign, ReasonMalformed, ReasonUnknown, ReasonAmbiguous, ReasonTokenInURL, ReasonPages, ReasonSignature,
		ReasonWrongUser, ReasonExpired, ReasonRevoked, ReasonSuspended, ReasonSuperseded, ReasonOwner, ReasonLegacy, ReasonParent, ReasonIdle, ReasonSource, ReasonUses,
	} {
		want[reason] = true
	}
	for reason := range responses {
		if d := (Decision{Reason: reason}); d.isFailure() != want[reason] {
			t.Errorf("%s: counts %t, want %t", reason, d.isFailure(), want[reason])
		}
	}
	for _, d := range []Decision{{}, {Class: ClassToken}, {Class: ClassSession, Reason: ReasonCrumb}, {Class: ClassToken, Reason: ReasonScope},
		{Class: ClassToken, Reason: ReasonRate}, {Class: ClassToken, Reason: ReasonTokenInURL}, {Class: ClassSession, Reason: ReasonTokenInURL}} {
		if d.isFailure() {
			t.Errorf("%s, %q: a valid credential counts as failed", d.Class, d.Reason)
		}
	}
}
