package blackbox_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

const day = 24 * time.Hour

// TestWrongClockLeavesNothingBehind: while the clock is a year ahead the rules refuse
// tokens. Once it is right again the same tokens work, whatever was done meanwhile, also
// over a restart.
func TestWrongClockLeavesNothingBehind(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, withRules("max_idle 30d"))
	g.UseTestClock(t)
	g.Start(t)
	made := make(map[string]admin.CreatedToken)
	create := func(name, expires string) {
		t.Helper()
		token, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: name, Expires: expires})
		if err != nil {
			t.Fatal(err)
		}
		made[name] = token
	}
	// shown tells of a token what it must look like, whatever the clock.
	shown := func(name string) admin.Token {
		t.Helper()
		token, err := g.API().Token(t.Context(), made[name].ID)
		if err != nil {
			t.Fatal(err)
		}
		if uses := token.Uses; uses.Last < uses.First || (uses.First == 0) != (uses.Count == 0) {
			t.Errorf("token %s: %d uses, the first at %d, the last at %d", name, uses.Count, uses.First, uses.Last)
		}
		return token
	}
	// want is for tokens that are used in each step.
	want := func(name string, status int, state string, expiring bool) {
		t.Helper()
		call{user: "alice", secret: made[name].Secret}.want(t, g.URL, status)
		if token := shown(name); token.State != state || token.Marks.Expiring != expiring || token.Suspended != 0 {
			t.Errorf("token %s is %s, expiring %t, want %s, %t: %+v", name, token.State, token.Marks.Expiring, state, expiring, token)
		}
	}
	wantUnused := func(state string) {
		t.Helper()
		if token := shown("unused"); token.State != state || token.Uses.Count != 0 {
			t.Errorf("the unused token is %s after %d uses, want %s after none", token.State, token.Uses.Count, state)
		}
	}
	create("used", "600d")
	create("unused", "600d")
	create("short", "100d")
	want("used", 200, "active", false)
	want("short", 200, "active", false)
	wantUnused("active")

	g.SetClock(t, 29*day)
	wantUnused("active")
	g.SetClock(t, 31*day)
	wantUnused("idle")
	want("used", 401, "idle", false)
	g.SetClock(t, 95*day)
	if token := shown("short"); !token.Marks.Expiring {
		t.Errorf("5 days before its end a token is not marked as expiring: %+v", token)
	}

	g.SetClock(t, 365*day)
	want("used", 401, "idle", false)
	want("short", 401, "expired", false)
	wantUnused("idle")
	create("from the future", "30d")
	want("from the future", 200, "active", false)
	g.Stop(t)
	g.Start(t)
	want("used", 401, "idle", false)
	want("from the future", 200, "active", false)

	g.SetClock(t, 0)
	for range 2 {
		want("used", 200, "active", false)
		want("short", 200, "active", false)
		want("from the future", 200, "active", false)
		wantUnused("active")
		g.Stop(t)
		g.Start(t)
	}
	list, err := g.API().Tokens(t.Context(), "", true)
	if err != nil || len(list.Tokens) != len(made) {
		t.Fatalf("%d tokens (%v), want %d", len(list.Tokens), err, len(made))
	}
	for _, token := range list.Tokens {
		if token.State != "active" {
			t.Errorf("token %s is left %s", token.Name, token.State)
		}
	}
}

// TestOnlyTestsSetTheClock: the program that is shipped has no way to another clock.
func TestOnlyTestsSetTheClock(t *testing.T) {
	_, url := jenkinstest.Start(t, jenkinstest.Config{})
	g := gatewaytest.New(t, url, withRules("max_idle 30d"))
	shipped, err := os.ReadFile(gatewaytest.ReleaseBinary(t))
	if err != nil || bytes.Contains(shipped, []byte(gatewaytest.TestClockEnv)) {
		t.Errorf("the shipped program knows %s (%v)", gatewaytest.TestClockEnv, err)
	}
	g.UseTestClock(t)
	g.UseRelease(t)
	g.SetClock(t, 365*day)
	g.Start(t)
	made, err := g.API().CreateToken(t.Context(), admin.CreateRequest{User: "alice", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	if created := time.Unix(int64(made.Created), 0); time.Until(created) > day {
		t.Errorf("the shipped program takes the time from the test: %v", created)
	}
}
