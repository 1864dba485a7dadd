package token_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// What is observed is bounded, in number and in bytes, and is there after a restart.
// These are needs as they come from requests, for items of which any name may be long.
func TestObserve(t *testing.T) {
	for _, c := range []struct {
		name          string
		requests      int
		length        int // of an item's name
		kept          int
		most, reopens int // that the store holds
	}{
		{"one", 1, 10, 1, 1, 1},
		{"many", 512, 10, 512, 512, 512},
		{"too many", 5000, 10, 512, 512, 512},
		{"long", 512, 200, 512, 512, 100},
		{"too long", 10, 2000, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			made, _ := w.create(token.Request{User: "alice", Name: "ci"})
			other, _ := w.create(token.Request{User: "alice", Name: "other"})
			for range 2 {
				for i := range c.requests {
					name := fmt.Sprintf("%04d", i)
					made.Observe(policy.Classify("POST", "/job/"+name+strings.Repeat("x", c.length-len(name))+"/build", ""))
				}
			}
			other.Observe(policy.Classify("GET", "/job/a/api/json", ""))
			if got := len(made.Needs()); got != c.kept {
				t.Errorf("%d needs are kept, want %d", got, c.kept)
			}
			want := fmt.Sprint(other.Needs())
			w.reopen()
			if got := len(w.get(made.Record().ID).Needs()); got > c.most || got < c.reopens {
				t.Errorf("%d needs after a restart, want %d to %d", got, c.reopens, c.most)
			}
			if got := fmt.Sprint(w.get(other.Record().ID).Needs()); got != want {
				t.Errorf("needs of another token are %s after a restart, want %s", got, want)
			}
			if strings.Contains(w.log.String(), "ERROR") {
				t.Errorf("the log has %s", w.log)
			}
		})
	}
}
