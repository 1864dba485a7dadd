package token_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

const agent = "python-requests/2.32.3"

// limited is a token with limits of each kind that a request is compared with.
func (w *world) limited() *token.Token {
	w.t.Helper()
	made, _ := w.create(token.Request{User: "alice", Name: "limited", Expires: "never", Limits: &token.Limits{
		Scopes:  []string{"read", "build:team-a/**"},
		Sources: []string{"192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8"},
		Rate:    1_000_000,
		Uses:    1 << 60,
	}})
	return made
}

// admitted is what a request asks of a token.
func admitted(t *token.Token, now time.Time) bool {
	r := t.Record()
	return t.Admit(now) == "" && r.AllowsSource("10.1.2.3") && r.Covers(policy.Classify("POST", "/job/team-a/job/app/build", ""))
}

func TestLimitsDoNotAllocate(t *testing.T) {
	w := newWorld(t)
	w.rule(token.Rules{MaxIdle: day})
	limited, now := w.limited(), w.now
	free := w.many(1)[0]
	for name, use := range map[string]func(){
		"Admit":        func() { admitted(limited, now) },
		"Use":          func() { free.Use(usage.Use{Time: now, Addr: "10.1.2.3", Agent: agent}) },
		"Use, limited": func() { now = now.Add(time.Second); limited.Use(usage.Use{Time: now, Addr: "10.1.2.3", Agent: agent}) },
	} {
		use() // the first use makes a counter
		if n := testing.AllocsPerRun(1000, use); n != 0 {
			t.Errorf("%s makes %v allocations, want none", name, n)
		}
	}
	if !admitted(limited, w.now) {
		t.Error("the token is not admitted")
	}
}

// BenchmarkAdmit is all that is asked of a token with limits before its request goes on.
func BenchmarkAdmit(b *testing.B) {
	w := newWorld(b)
	w.rule(token.Rules{MaxIdle: day})
	limited, now := w.limited(), w.now
	b.ReportAllocs()
	for b.Loop() {
		if !admitted(limited, now) {
			b.Fatal("not admitted")
		}
	}
}

// BenchmarkUse is what counting adds to a request: of one token by one client, by all
// processors with tokens of their own, and by all with the same one.
func BenchmarkUse(b *testing.B) {
	w := newWorld(b)
	tokens, now := w.many(64), w.now
	use := usage.Use{Time: now, Addr: "10.1.2.3", Agent: agent}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tokens[0].Use(use)
		}
	})
	for _, c := range []struct {
		name string
		step int64
	}{{"parallel, own tokens", 1}, {"parallel, one token", 0}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var next atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				t := tokens[next.Add(c.step)%int64(len(tokens))]
				for pb.Next() {
					t.Use(use)
				}
			})
		})
	}
	limited := w.limited()
	b.Run("with limits", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			use.Time = use.Time.Add(time.Millisecond)
			limited.Use(use)
		}
	})
}
