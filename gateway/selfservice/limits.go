package selfservice

import (
	"slices"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// A permission is what a scope begins with, as forms offer it.
type permission struct {
	Name, Text string
	Items      bool   // it can be limited to folders and jobs
	Reach      string // how far it goes, where its name doesn't say that
}

// permissions are those of package policy, the usual first; a test compares the two.
var permissions = withReach([]permission{
	{"read", "See jobs, builds and logs", true, ""},
	{"build", "Start builds, also by webhooks", true, ""},
	{"webhook", "Deliver webhooks", true, ""},
	{"cancel", "Stop builds, empty the queue", true, ""},
	{"artifacts", "Download artifacts and files of workspaces", true, ""},
	{"configure", "Make, change and delete jobs", true, ""},
	{"credentials", "Manage credentials", true, ""},
	{"script", "Run scripts in the script console, replay builds", true, ""},
	{"cli", "Use Jenkins’ command line", false, ""},
	{"agents", "Manage agents", false, ""},
	{"admin", "Everything, and what no other scope names", false, ""},
})

func withReach(permissions []permission) []permission {
	for i := range permissions {
		for _, g := range endpoint.Grants {
			if g.Name == permissions[i].Name {
				permissions[i].Reach = g.Reach
			}
		}
	}
	return permissions
}

// limitFields are the fields of the form of limits.
var limitFields = []string{"access", "scope", "folder", "scopes", "observe", "sources"}

// A limitForm is the form of limits as a page shows it.
type limitForm struct {
	Permissions []permission
	Access      string          // "limited" or "full"; neither is chosen if empty
	Checked     map[string]bool // by name of the permission
	Folder      string
	Scopes      string // further ones, a line each
	Observe     bool
	Sources     string // a line each
	Suggested   []string
}

// limitFormOf returns the form that describes limits.
func limitFormOf(l *token.Limits) limitForm {
	f := limitForm{Permissions: permissions, Access: "full", Checked: make(map[string]bool)}
	if l == nil {
		return f
	}
	var others []string
	for _, scope := range l.Scopes {
		f.Access = "limited"
		if strings.Contains(scope, ":") {
			others = append(others, scope)
		} else {
			f.Checked[scope] = true
		}
	}
	f.Scopes, f.Observe, f.Sources = strings.Join(others, "\n"), l.Observe, strings.Join(l.Sources, "\n")
	return f
}

// typedLimits returns the form as it was sent.
func (v *visit) typedLimits() limitForm {
	f := limitForm{
		Permissions: permissions, Access: v.form.Get("access"), Checked: make(map[string]bool),
		Folder: v.typed("folder"), Scopes: v.typed("scopes"), Observe: v.form.Get("observe") != "", Sources: v.typed("sources"),
	}
	for _, name := range v.form["scope"] {
		f.Checked[name] = true
	}
	return f
}

// limits returns what the form of limits asks for, or what is wrong with it. A token
// is without scopes only if that was chosen, and not because none was.
func (v *visit) limits() (*token.Limits, []fault) {
	var faults []fault
	wrong := func(field, text string) { faults = append(faults, fault{field, text}) }
	l := &token.Limits{Sources: lines(strings.ReplaceAll(v.form.Get("sources"), ",", "\n"))}
	if len(l.Sources) > 0 {
		if _, err := policy.ParseSources(l.Sources); err != nil {
			wrong("sources", sentence(err))
		}
	}
	switch v.form.Get("access") {
	case "full":
		return l, faults
	case "limited":
	default:
		wrong("access", "Choose what the token may do.")
		return l, faults
	}
	folder := strings.TrimSpace(v.form.Get("folder"))
	for _, p := range permissions {
		switch checked := slices.Contains(v.form["scope"], p.Name); {
		case !checked:
		case folder == "":
			l.Scopes = append(l.Scopes, p.Name)
		case p.Items:
			l.Scopes = append(l.Scopes, p.Name+":"+folder)
		default:
			wrong("folder", "“"+p.Text+"” can’t be limited to folders or jobs: leave it out, or leave this empty.")
		}
	}
	for _, scope := range lines(v.form.Get("scopes")) {
		if !slices.Contains(l.Scopes, scope) {
			l.Scopes = append(l.Scopes, scope)
		}
	}
	l.Observe = v.form.Get("observe") != ""
	if len(faults) > 0 {
		return l, faults
	}
	if len(l.Scopes) == 0 {
		wrong("scope", "Choose at least one permission, or let the token do all that you may.")
	} else if _, err := policy.ParseScopes(l.Scopes); err != nil {
		wrong("scopes", sentence(err))
	}
	return l, faults
}
