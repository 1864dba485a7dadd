package blackbox_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// killsEnv sets how often TestAcknowledgedChangesSurviveKills kills the gateway.
const killsEnv = "CRUMBGATE_KILLS"

// TestAcknowledgedChangesSurviveKills: a gateway is killed 20 times while tokens are created
// and revoked. What it has acknowledged is there at the next start; what was under way may or
// may not be. In the end the audit log tells of the same tokens that the store has.
func TestAcknowledgedChangesSurviveKills(t *testing.T) {
	const writers = 4
	kills := 20
	if text := os.Getenv(killsEnv); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, withSettings("failed_credentials off")) // all revoked tokens are tried in the end
	var mu sync.Mutex                                                    // guards states
	states := make(map[string]string)                                    // acknowledged, by id
	secrets := make(map[string]string)                                   // by id
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
	g.Stop(t)
	agrees(t, g, found)
	g.Start(t)
	asked := 0
	for id, state := range states {
		want := map[string]int{"active": 200, "revoked": 401}[state]
		if asked++; want != 0 && asked < 2000 {
			call{user: "alice", secret: secrets[id]}.want(t, g.URL, want)
		}
	}
}

// TestUseLimitHoldsOverKills: a gateway is killed while clients use tokens that have a use
// limit. Jenkins never gets more requests than the limit, and a kill costs no more uses
// than were in flight, or one block of a higher limit. Tokens are used up on the way, and
// those of the last kill after it. CRUMBGATE_KILLS sets how often; default: 12.
func TestUseLimitHoldsOverKills(t *testing.T) {
	const clients = 4
	kills := 12
	if text := os.Getenv("CRUMBGATE_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	var acted [2]atomic.Int64 // what reached Jenkins, by token
	jenkins := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if which, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/job/")); err == nil {
			acted[which].Add(1)
		}
	}))
	defer jenkins.Close()
	g := gatewaytest.New(t, jenkins.URL, withSettings("failed_credentials off")) // clients go on after the last use
	g.Start(t)
	limits, lost := [2]uint64{100, 1000}, [2]int64{clients, 10 + clients} // a kill may cost so many
	var secrets, ids [2]string
	renew := func(which, round int) {
		made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{
			User: "alice", Name: fmt.Sprintf("%d-%d", which, round), Limits: admin.Limits{MaxUses: limits[which]},
		})
		if err != nil {
			t.Fatal(err)
		}
		secrets[which], ids[which] = made.Secret, made.ID
		acted[which].Store(0)
	}
	var since [2]int // kills since the token was made
	rounds, total := [2]int{}, int64(0)
	renew(0, 0)
	renew(1, 0)
	// account compares what the gateway has counted of a token with what Jenkins got, and
	// makes another token if it is used up.
	account := func(which int) (usedUp bool) {
		t.Helper()
		token, err := g.API().Token(t.Context(), ids[which])
		if err != nil {
			t.Fatal(err)
		}
		n := acted[which].Load()
		if n > int64(token.Uses.Count) || token.Uses.Count > limits[which] {
			t.Fatalf("limit %d: Jenkins got %d requests, and %d uses are counted", limits[which], n, token.Uses.Count)
		}
		if most := n + int64(since[which])*lost[which]; int64(token.Uses.Count) > most {
			t.Errorf("limit %d: Jenkins got %d requests in %d kills, and %d uses are counted, want at most %d", limits[which], n, since[which], token.Uses.Count, most)
		}
		if token.Uses.Count < limits[which] {
			return false
		}
		call{secret: secrets[which], path: fmt.Sprintf("/job/%d", which)}.want(t, g.URL, http.StatusUnauthorized)
		total += n
		rounds[which]++
		since[which] = 0
		renew(which, rounds[which])
		return true
	}
	for range kills {
		var using, enough sync.WaitGroup
		for which := range secrets {
			// Each token gets so many answers before the kill that some kills use it up.
			left := new(atomic.Int64)
			left.Store(1 + rand.Int64N(int64(limits[which])*2/3))
			enough.Add(1)
			for range clients {
				using.Go(func() {
					for {
						reply, err := call{secret: secrets[which], path: fmt.Sprintf("/job/%d", which)}.try(g.URL)
						if err != nil {
							return // killed
						}
						if counts := reply.status == http.StatusOK || reply.status == http.StatusUnauthorized; counts && left.Add(-1) == 0 {
							enough.Done()
						}
					}
				})
			}
		}
		enough.Wait()
		g.Kill(t)
		using.Wait()
		g.Start(t)
		for which := range secrets {
			since[which]++
			account(which)
		}
	}
	if kills >= 12 && rounds[0]+rounds[1] == 0 {
		t.Errorf("in %d kills no token was used up", kills)
	}
	for which := range secrets {
		for n := 0; ; n++ {
			reply := call{secret: secrets[which], path: fmt.Sprintf("/job/%d", which)}.send(t, g.URL)
			if reply.status == http.StatusUnauthorized {
				break
			}
			if reply.status != http.StatusOK || n > int(limits[which]) {
				t.Fatalf("limit %d: use %d after the last kill has the status %d", limits[which], n, reply.status)
			}
		}
		if !account(which) {
			t.Errorf("limit %d: a token is refused before it is used up", limits[which])
		}
	}
	t.Logf("%d kills; %d and %d tokens were used up, by %d requests; no limit was exceeded", kills, rounds[0], rounds[1], total)
}

// agrees compares the audit log of a stopped gateway with the states of its tokens, by id.
func agrees(t *testing.T, g *gatewaytest.Gateway, states map[string]string) {
	t.Helper()
	created, revoked := make(map[string]int), make(map[string]int)
	failed := 0
	for r, err := range audit.Find(t.Context(), os.DirFS(filepath.Dir(g.Store)), "audit.log", audit.Filter{Kind: "token."}) {
		if err != nil {
			t.Fatal(err)
		}
		count := created
		if r.Kind == "token.revoked" {
			count = revoked
		}
		if r.Failed {
			failed++
			count[r.TokenID.String()]--
		} else {
			count[r.TokenID.String()]++
		}
	}
	for id, n := range created {
		if state := states[id]; n == 1 && state == "" || n == 0 && state != "" || n < 0 || n > 1 {
			t.Errorf("by the log, token %s was created %d times, and it is %q", id, n, state)
		}
	}
	for id, state := range states {
		want := 0
		if state == "revoked" {
			want = 1
		}
		if created[id] != 1 || revoked[id] != want {
			t.Errorf("token %s is %s, and by the log it was created %d and revoked %d times", id, state, created[id], revoked[id])
		}
	}
	t.Logf("the log tells of %d tokens created, %d revoked, and %d changes that a kill has interrupted", len(created), len(revoked), failed)
	if r := g.Run(t, "crumbgate", "audit", "verify", "--file", auditLog(g)); r.Status != 0 {
		t.Errorf("audit verify: %+v", r)
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
