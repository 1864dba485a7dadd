package gateway

import (
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A refusal that package token learns one day must not let its tokens in.
func TestRefusalsHaveReasons(t *testing.T) {
	for refusal, want := range map[token.Refusal]Reason{
		"":                      "",
		token.RefusedRevoked:    ReasonRevoked,
		token.RefusedSuspended:  ReasonSuspended,
		token.RefusedExpired:    ReasonExpired,
		token.RefusedSuperseded: ReasonSuperseded,
		token.RefusedOwner:      ReasonOwner,
		token.RefusedLegacy:     ReasonLegacy,
		token.RefusedParent:     ReasonParent,
		token.RefusedIdle:       ReasonIdle,
		token.RefusedRate:       ReasonRate,
		token.RefusedUses:       ReasonUses,
		token.RefusedStore:      ReasonUnavailable,
		token.RefusedSource:     ReasonSource,
		token.RefusedScope:      ReasonScope,
		"a new one":             ReasonUnknown,
	} {
		if got := reasonOf(refusal); got != want {
			t.Errorf("reasonOf(%q) = %q, want %q", refusal, got, want)
		}
	}
}
