package blackbox_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// TestAcknowledgedChangesSurviveKills: a gateway is killed 20 times while tokens
// are made and revoked. What it has acknowledged is there at the next start; what
// was under way may or may not be.
func TestAcknowledgedChangesSurviveKills(t *testing.T) {
	const kills, writers = 20, 4
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, gatewaytest.Smallest)
	var mu sync.Mutex                  // guards states
	states := make(map[string]string)  // acknowledged, by id
	secrets := make(map[string]string) // by id
	for kill := range kills {
		g.Start(t)
		// The kill comes when so many changes have been acknowledged, and the other
		// writers are wherever they are.
		left := 1 + rand.N(30)
		enough := make(chan struct{})
		acknowledged := func(id, state string) {
			mu.Lock()
			defer mu.Unlock()
			states[id] = state
			if left--; left == 0 {
				close(enough)
			}
		}
		var writing sync.WaitGroup
		for writer := range writers {
			writing.Go(func() {
				api := g.API()
				for n := 0; ; n++ {
					made, err := api.CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: fmt.Sprintf("%d-%d-%d", kill, writer, n)})
					if err != nil {
						return // killed
					}
					acknowledged(made.ID, "active")
					mu.Lock()
					secrets[made.ID] = made.Secret
					if n%2 == 1 {
						states[made.ID] = "either"
					}
					mu.Unlock()
					if n%2 == 0 {
						continue
					}
					if _, err := api.RevokeToken(t.Context(), made.ID, "test"); err != nil {
						return
					}
					acknowledged(made.ID, "revoked")
				}
			})
		}
		<-enough
		g.Kill(t)
		writing.Wait()
	}

	g.Start(t)
	list, err := g.API().Tokens(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, token := range list.Tokens {
		found[token.ID] = token.State
	}
	revoked := 0
	for id, want := range states {
		if got := found[id]; got == "" || want != "either" && got != want {
			t.Errorf("token %s is %q, it was %s", id, got, want)
		}
		if want == "revoked" {
			revoked++
		}
	}
	t.Logf("%d tokens acknowledged, %d of them revoked, %d found", len(states), revoked, len(found))
	if len(found)-len(states) > kills*writers {
		t.Errorf("%d tokens were found that nobody was told of", len(found)-len(states))
	}
	for id, state := range states {
		want := map[string]int{"active": 200, "revoked": 401}[state]
		if want != 0 {
			call{user: "alice", secret: secrets[id]}.want(t, g.URL, want)
		}
	}
}

func TestCleanStopLosesNoUseCount(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.Start(t, url, gatewaytest.Smallest)
	made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	used := uint64(0)
	for range 3 {
		for range 17 {
			call{user: "alice", secret: made.Secret}.want(t, g.URL, 200)
			used++
		}
		g.Stop(t)
		g.Start(t)
		if shown, err := g.API().Token(t.Context(), made.ID); err != nil || shown.Uses.Count != used || shown.Uses.LastAddress != "127.0.0.1" {
			t.Errorf("%d uses are known, the last from %q (%v), there were %d", shown.Uses.Count, shown.Uses.LastAddress, err, used)
		}
	}
}
