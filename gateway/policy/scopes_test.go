package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/policy"
)

func parse(t testing.TB, texts ...string) *policy.Scopes {
	t.Helper()
	s, err := policy.ParseScopes(texts)
	if err != nil {
		t.Fatalf("ParseScopes(%q): %v", texts, err)
	}
	return s
}

func TestParseScopesRefuses(t *testing.T) {
	many := make([]string, policy.MaxScopes+1)
	for i := range many {
		many[i] = "read:a/" + strings.Repeat("x", i+1)
	}
	long := make([]string, 10)
	for i := range long {
		long[i] = "read:" + strings.Repeat("x", 480+i)
	}
	for _, row := range []struct {
		name  string
		texts []string
		want  string // in the error
	}{
		{"none", nil, "give at least one"},
		{"empty", []string{""}, "use one of admin, read, build, webhook, cancel, artifacts, configure, credentials, script, cli, agents"},
		{"unknown", []string{"biuld"}, "use one of"},
		{"capitals", []string{"Build"}, "use one of"},
		{"the free pages are no scope", []string{"any scope"}, "use one of"},
		{"everything", []string{"build:**"}, "leave the pattern out and write build"},
		{"no pattern", []string{"build:"}, "empty name"},
		{"leading slash", []string{"build:/a"}, "empty name"},
		{"trailing slash", []string{"build:a/"}, "empty name"},
		{"empty folder", []string{"build:a//b"}, "empty name"},
		{"parent", []string{"build:a/../b"}, "from the top"},
		{"dot", []string{"build:./a"}, "from the top"},
		{"star within", []string{"build:*/a"}, "last segment"},
		{"stars within", []string{"build:a/**/b"}, "last segment"},
		{"part of a name", []string{"build:a/b*"}, "last segment"},
		{"backslash", []string{`build:a\b`}, "backslash"},
		{"small escape", []string{"build:a/x%2fy"}, "%2F"},
		{"space at the end", []string{"build:a "}, "space"},
		{"control character", []string{"build:a\n"}, "control"},
		{"not UTF-8", []string{"build:\xff"}, "UTF-8"},
		{"admin of a folder", []string{"admin:a/**"}, "write admin alone"},
		{"CLI of a folder", []string{"cli:a"}, "write cli alone"},
		{"twice", []string{"read", "build:a", "build:a"}, "twice"},
		{"too long", []string{"read:" + strings.Repeat("x", policy.MaxScopeBytes)}, "at most 512"},
		{"too many", many, "at most 32"},
		{"too long together", long, "4096 bytes together"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := policy.ParseScopes(row.texts)
			if err == nil || !strings.Contains(err.Error(), row.want) || s != nil {
				t.Errorf("ParseScopes(%.60q) = %v, %v, want an error with %q", row.texts, s, err, row.want)
			}
		})
	}
}

func TestAllows(t *testing.T) {
	for _, row := range []struct {
		scope, method, path string
		want                bool
	}{
		{"build", "POST", "/job/a/build", true},
		{"build", "GET", "/job/a/api/json", false},
		{"build:a", "POST", "/job/a/build", true},
		{"build:a", "POST", "/job/A/build", false},
		{"build:a", "POST", "/job/a/job/b/build", false},
		{"build:a", "POST", "/job/ab/build", false},
		{"build:team-a/*", "POST", "/job/team-a/build", false},
		{"build:team-a/*", "POST", "/job/team-a/job/app/build", true},
		{"build:team-a/*", "POST", "/job/team-a/job/app/job/main/build", false},
		{"build:team-a/**", "POST", "/job/team-a/build", true},
		{"build:team-a/**", "POST", "/job/team-a/job/app/job/main/build", true},
		{"build:team-a/**", "POST", "/job/team-b/job/app/build", false},
		{"build:team-a/**", "POST", "/job/team-a%2Fapp/build", false},
		{"build:*", "POST", "/job/a/build", true},
		{"build:*", "POST", "/job/a/job/b/build", false},
		{"build:mb/feature%2Fx", "POST", "/job/mb/job/feature%252Fx/build", true},
		{"build:mb/feature%2Fx", "POST", "/job/mb/job/feature%2Fx/build", true},
		{"build:mb/feature%2Fx", "POST", "/job/mb/job/feature/job/x/build", false},
		{"build:mb/feature/x", "POST", "/job/mb/job/feature%2Fx/build", false},
		{"build:my job", "POST", "/job/my%20job/build", true},
		{"webhook", "POST", "/project/f/a", true},
		{"webhook", "POST", "/gitlab-webhook/post", true},
		{"webhook", "POST", "/job/a/build", false},
		{"webhook:f/a", "POST", "/project/f/a", true},
		{"webhook:f/a", "POST", "/project/f/b", false},
		{"webhook:f/**", "POST", "/github-webhook", false},
		{"build", "POST", "/github-webhook", true},
		{"build:f/a", "POST", "/project/f/a", true},
		{"build:f/*", "POST", "/project/f/a", true},
		{"build:f/**", "POST", "/project/g/a", false},
		{"build:f", "POST", "/project/f%2Fa", false},
		{"read", "POST", "/project/f/a", false},
		{"configure:f/**", "POST", "/project/f/a", false},
		{"agents", "GET", "/plugin/swarm/slaveInfo", true},
		{"agents", "GET", "/swarm/swarm-client.jar", true},
		{"agents", "POST", "/computer/(built-in)/configSubmit", false},
		{"read", "GET", "/computer/configure", false},
		{"read", "GET", "/computer/checkName?value=x", false},
		{"read", "GET", "/user/bob/my-views/view/all", false},
		{"read:f", "GET", "/job/f/api/json", true},
		{"read:f", "GET", "/job/f/api/json?tree=jobs[name]", false},
		{"read:f/*", "GET", "/job/f/job/g/api/json?tree=jobs[name]", false},
		{"read:f/**", "GET", "/job/f/api/json?tree=jobs[name]", true},
		{"read:f/**", "GET", "/job/f/api/json?depth=1", false},
		{"read:f/**", "GET", "/view/all/api/json", false},
		{"read:f/**", "GET", "/queue/item/1/api/json", true},
		{"build:f/**", "GET", "/queue/item/1/api/json", true},
		{"cancel", "GET", "/queue/item/1/api/json", false},
		{"artifacts:f", "GET", "/crumbIssuer/api/json", true},
		{"artifacts:f", "GET", "/api/json", true},
		{"configure:f/**", "POST", "/createItem?name=x", false},
		{"configure:f/**", "POST", "/job/f/createItem?name=x", true},
		{"configure", "GET", "/something", false},
		{"script", "GET", "/something", false},
		{"admin", "GET", "/something", true},
		{"admin", "PATCH", "/job/a", true},
		{"admin", "GET", "/queue/item/1/api/json", true},
	} {
		need := classify(row.method, row.path)
		if got := parse(t, row.scope).Allows(need); got != row.want {
			t.Errorf("%s: %s %s, which needs %q: allowed %v, want %v", row.scope, row.method, row.path, need, got, row.want)
		}
	}
}

func TestZeroIsStrict(t *testing.T) {
	for _, s := range []*policy.Scopes{nil, new(policy.Scopes)} {
		for _, path := range []string{"/api/json", "/crumbIssuer/api/json", "/job/a", "/x"} {
			if need := classify("GET", path); s.Allows(need) {
				t.Errorf("%v allows %q", s, need)
			}
		}
		if got := s.Strings(); len(got) != 0 {
			t.Errorf("Strings() = %q", got)
		}
	}
	if (policy.Need{}).String() != "admin" || parse(t, "read", "script", "configure").Allows(policy.Need{}) {
		t.Error("a zero Need isn't admin's")
	}
}

// The requests of a client that triggers a build, follows it through the queue and reads its console.
func TestTriggerScopes(t *testing.T) {
	s := parse(t, "build:team-a/**", "read:team-a/**")
	for _, request := range []string{
		"GET /crumbIssuer/api/json", "GET /crumbIssuer/api/json/api/json", "GET /me/api/json", "GET /api/json",
		"GET /job/team-a/job/app/api/json?depth=0", "POST /job/team-a/job/app/build", "POST /job/team-a/job/app/buildWithParameters?delay=0",
		"GET /queue/item/7/api/json?depth=0", "GET /job/team-a/job/app/3/api/json?depth=-1", "GET /job/team-a/job/app/3/consoleText",
		"GET /job/team-a/job/app/3/logText/progressiveText?start=0", "POST /job/team-a/job/app/3/logText/progressiveText",
	} {
		method, target, _ := strings.Cut(request, " ")
		if need := classify(method, target); !s.Allows(need) {
			t.Errorf("%s is refused: it needs %q", request, need)
		}
	}
	for _, request := range []string{
		"POST /job/team-b/job/app/build", "POST /job/team-a/job/app/3/stop", "GET /job/team-a/job/app/config.xml", "GET /job/team-a/job/app/3/artifact/x",
		"GET /queue/api/json", "POST /scriptText", "GET /api/json?tree=jobs[name]", "POST /job/team-a/job/app/3/replay/run",
	} {
		method, target, _ := strings.Cut(request, " ")
		if need := classify(method, target); s.Allows(need) {
			t.Errorf("%s is allowed: it needs %q", request, need)
		}
	}
}

func TestSuggest(t *testing.T) {
	for _, row := range []struct {
		name     string
		requests []string
		want     []string
	}{
		{"nothing", nil, nil},
		{"free pages only", []string{"GET /api/json"}, nil},
		{"one job", []string{"POST /job/a/job/b/build", "POST /view/x/job/a/job/b/build", "GET /job/a/job/b/1/api/json"}, []string{"build:a/b", "read:a/b"}},
		{"three jobs of a folder", []string{"POST /job/f/job/a/build", "POST /job/f/job/b/build", "POST /job/f/job/c/build"}, []string{"build:f/a", "build:f/b", "build:f/c"}},
		{"four jobs of a folder", []string{"POST /job/f/job/a/build", "POST /job/f/job/b/build", "POST /job/f/job/c/build", "POST /job/f/job/d/build"}, []string{"build:f/a", "build:f/b", "build:f/c", "build:f/d"}},
		{"hooks and builds of a job", []string{"POST /job/a/build", "POST /project/a", "POST /project/b"}, []string{"build:a", "webhook:b"}},
		{"hooks of all and builds of all", []string{"POST /git/notifyCommit", "POST /buildByToken/build"}, []string{"build"}},
		{"four jobs at the top", []string{"POST /job/a/build", "POST /job/b/build", "POST /job/c/build", "POST /job/d/build"}, []string{"build:a", "build:b", "build:c", "build:d"}},
		{"a folder's view covers its jobs", []string{"GET /job/f/view/x", "GET /job/f/job/a", "GET /job/g"}, []string{"read:f/**", "read:g"}},
		{"folder in a folder", []string{"GET /job/f/view/x", "GET /job/f/job/g/view/x"}, []string{"read:f/**"}},
		{"the whole covers items", []string{"GET /queue/api/json", "GET /job/a"}, []string{"read"}},
		{"queue item beside a build", []string{"POST /job/a/build", "GET /queue/item/1/api/json"}, []string{"build:a"}},
		{"queue item alone", []string{"GET /queue/item/1/api/json"}, []string{"read"}},
		{"unknown", []string{"GET /x", "POST /job/a/build"}, []string{"admin"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var needs []policy.Need
			for _, request := range row.requests {
				method, target, _ := strings.Cut(request, " ")
				needs = append(needs, classify(method, target))
			}
			got := policy.Suggest(needs)
			if !slices.Equal(got, row.want) {
				t.Fatalf("Suggest(%v) = %q, want %q", needs, got, row.want)
			}
			if len(got) == 0 {
				return
			}
			s := parse(t, got...)
			for _, need := range needs {
				if !s.Allows(need) {
					t.Errorf("%q doesn't allow %q", got, need)
				}
			}
		})
	}
}

// Neighbours that weren't needed are in a suggestion only if they are asked for.
func TestSuggestFolders(t *testing.T) {
	var needs []policy.Need
	for _, path := range []string{"/job/f/job/a/build", "/job/f/job/b/build", "/job/f/job/c/build", "/job/f/job/d/build", "/job/a/build", "/job/b/build", "/job/c/build", "/job/d/build"} {
		needs = append(needs, classify("POST", path))
	}
	if got, want := policy.SuggestFolders(needs), []string{"build:a", "build:b", "build:c", "build:d", "build:f/*"}; !slices.Equal(got, want) {
		t.Errorf("SuggestFolders = %q, want %q", got, want)
	}
	other := classify("POST", "/job/f/job/x/build")
	if parse(t, policy.Suggest(needs)...).Allows(other) || !parse(t, policy.SuggestFolders(needs)...).Allows(other) {
		t.Error("want build of a neighbour by folders alone")
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, text := range []string{"build", "build:a", "build:a/*", "build:a/**", "read:mb/feature%2Fx", "admin", "cli:x", "build:**", "read\nbuild:a b", "read:*"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		texts := strings.Split(joined, "\n")
		s, err := policy.ParseScopes(texts)
		if err != nil {
			if s != nil {
				t.Fatalf("ParseScopes(%q) returns scopes and %v", texts, err)
			}
			return
		}
		if got := s.Strings(); !slices.Equal(got, texts) {
			t.Fatalf("ParseScopes(%q).Strings() = %q", texts, got)
		}
		for _, text := range texts {
			name, pattern, limited := strings.Cut(text, ":")
			if limited && parse(t, text).Allows(policy.Need{}) {
				t.Fatalf("%q allows everything", text)
			}
			if item := pattern; limited && !strings.Contains(item, "*") {
				for _, need := range []policy.Need{classify("POST", "/job/zz/build"), classify("GET", "/job/zz"), classify("GET", "/job/zz/config.xml")} {
					if item != "zz" && parse(t, text).Allows(need) {
						t.Fatalf("%q (%s) allows %q", text, name, need)
					}
				}
			}
		}
	})
}

var requests = []struct{ method, path, query string }{
	{"POST", "/job/team-a/job/app/buildWithParameters", "VERSION=1"},
	{"GET", "/job/team-a/job/app/job/feature%252Fx/12/logText/progressiveText", "start=0"},
	{"GET", "/view/all/job/team-a/view/x%20y/job/app/api/json", "tree=builds%5Bnumber%5D"},
	{"GET", "/blue/rest/organizations/jenkins/pipelines/team-a/pipelines/app/runs/1", ""},
	{"GET", "/queue/item/12/api/json", ""},
	{"GET", "/pluginManager/api/json", "depth=1"},
}

func TestNoAllocation(t *testing.T) {
	s := parse(t, "read:team-b/**", "build:team-a/**", "read:team-a/app/feature%2Fx", "cancel:team-a/*")
	for _, r := range requests {
		if n := testing.AllocsPerRun(100, func() { s.Allows(policy.Classify(r.method, r.path, r.query)) }); n != 0 {
			t.Errorf("%s %s: %v allocations, want 0", r.method, r.path, n)
		}
	}
}

func BenchmarkAllows(b *testing.B) {
	s := parse(b, "read:team-b/**", "build:team-a/**", "read:team-a/app/feature%2Fx", "cancel:team-a/*")
	for _, r := range requests {
		b.Run(strings.ReplaceAll(r.path[1:], "/", "."), func(b *testing.B) {
			need := policy.Classify(r.method, r.path, r.query)
			b.ReportAllocs()
			for b.Loop() {
				s.Allows(need)
			}
		})
	}
}

// What a need asks for can be typed as a scope, and that scope covers it.
func TestNeedsAreScopesOneCanType(t *testing.T) {
	for _, row := range rows {
		path, query, _ := strings.Cut(row.path, "?")
		need := policy.Classify(row.method, path, query)
		scopes, err := policy.ParseScopes([]string{need.Scope()})
		if err != nil {
			t.Errorf("%s %s needs %q: %v", row.method, row.path, need.Scope(), err)
		} else if !scopes.Allows(need) {
			t.Errorf("%s %s needs %q, which does not cover it", row.method, row.path, need.Scope())
		}
	}
	if got := policy.Classify("POST", "/job/team-b/job/x/build", "").Scope(); got != "build:team-b/x" {
		t.Errorf("Scope = %q", got)
	}
}
