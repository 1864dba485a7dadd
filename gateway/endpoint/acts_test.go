package endpoint

import "testing"

func TestActsOnGet(t *testing.T) {
	for _, row := range []struct {
		path, query string
		want        bool
	}{
		{"/job/a/build", "token=x", true},
		{"/job/f/job/a/buildWithParameters", "a=b&token=x", true},
		{"/job/a/polling", "token=", true},
		{"/job/a/build/x", "token=x", true}, // a web method ignores what follows
		{"/job/a/%62uild", "token=x", true},
		{"/job/a/build", "%74oken=x", true},
		{"/job/a/build", "%zz&x", true}, // what can't be read may act
		{"/job/a/build", "delay=0sec", false},
		{"/job/a/build", "", false}, // Jenkins shows a form
		{"/job/a/1/console", "token=x", false},
		{"/generic-webhook-trigger/invoke", "", true},
		{"/generic-webhook-trigger/invoke/", "", true},
		{"/manage/generic-webhook-trigger/invoke", "", true},
		{"/static/x/generic-webhook-trigger/invoke", "", true},
		{"/job/a/parent/git/notifyCommit", "url=x", true},
		{"/multibranch-webhook-trigger/invoke", "token=x", true},
		{"/git/notifyCommit", "url=x", true},
		{"/mercurial/notifyCommit", "url=x", true},
		{"/subversion/6a2b/notifyCommit", "", true},
		{"/buildByToken/build", "job=a&token=x", true},
		{"/buildByToken/buildWithParameters", "job=a", true},
		{"/job/a/12/rebuild", "", true},
		{"/job/a/lastCompletedBuild/rebuild/", "", true},
		{"/job/a/12/rebuild/parameterized", "", false}, // a form
		{"/job/a/12/retry", "", true},
		{"/job/git/notifyCommit", "url=x", false},      // a job that is called git
		{"/job/a/ws/git/notifyCommit", "url=x", false}, // a file
		{"/job/a/1/testReport/ws/x/run/parent/parent/git/notifyCommit", "url=x", true},
		{"/git/other", "", false},
		{"/generic-webhook-trigger", "", false},
		{"/", "token=x", false},
		{"", "token=x", false},
		{"*", "", false},
	} {
		if got := ActsOnGet(row.path, row.query); got != row.want {
			t.Errorf("ActsOnGet(%q, %q) = %v, want %v", row.path, row.query, got, row.want)
		}
	}
}

func FuzzActsOnGet(f *testing.F) {
	f.Add("/job/a/build", "token=x")
	f.Add("/generic-webhook-trigger/invoke", "")
	f.Fuzz(func(t *testing.T, path, query string) {
		if ActsOnGet(path, query) && !ActsOnGet("/x"+path, query) && path[0] == '/' {
			t.Errorf("%q acts, and not below /x", path)
		}
	})
}

func TestActsOnGetAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { ActsOnGet("/job/team-a/job/app/1/console", "start=0") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// Each permission has one name, and no two have the same number.
func TestGrants(t *testing.T) {
	names, numbers := make(map[string]bool), make(map[Permission]bool)
	for _, g := range Grants {
		if names[g.Name] || numbers[g.Permission] || g.Permission == Any || g.Permission.String() != g.Name {
			t.Errorf("%+v: the name or the number is taken", g)
		}
		names[g.Name], numbers[g.Permission] = true, true
	}
	// The numbers are in stores.
	for p, want := range map[Permission]string{0: "admin", 1: "read", 2: "build", 3: "cancel", 4: "artifacts", 5: "configure", 6: "credentials", 7: "script", 8: "cli", 9: "agents", 10: "any scope", 11: "webhook"} {
		if p.String() != want {
			t.Errorf("permission %d is %q, want %q", p, p, want)
		}
	}
}
