package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Every reason has an answer for the client and a label of its own.
func TestReasonsAreComplete(t *testing.T) {
	seen := make(map[string]Reason)
	for reason, label := range resultLabels {
		if other, twice := seen[label]; twice {
			t.Errorf("the label %s stands for %q and %q", label, other, reason)
		}
		seen[label] = reason
		if _, answered := responses[reason]; !answered {
			t.Errorf("%q has no response", reason)
		}
	}
	for reason := range responses {
		if resultLabels[reason] == "" {
			t.Errorf("%q has no label", reason)
		}
	}
}

func TestMetricsRegisterOnce(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if _, err := NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 6 {
		t.Errorf("%d families of metrics before the first request, want 6", len(families))
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("a second registration succeeds")
	}
}
