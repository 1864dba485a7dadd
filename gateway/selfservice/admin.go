package selfservice

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

const (
	pageRows = 100
	// maxBulk bounds how many tokens are changed at once.
	maxBulk = 1000
)

// A warning is a number of tokens that admins should look at.
type warning struct {
	*token.Category
	Count int
}

// report counts the tokens that admins should look at.
func (v *visit) report() []warning {
	warnings := make([]warning, len(token.Categories))
	for i := range warnings {
		warnings[i].Category = &token.Categories[i]
	}
	for _, t := range v.directory.Select(token.Filter{}) {
		marks := t.Marks(v.now)
		for i := range warnings {
			if warnings[i].Has(t, marks) {
				warnings[i].Count++
			}
		}
	}
	return slices.DeleteFunc(warnings, func(w warning) bool { return w.Count == 0 })
}

// An allPage lists the tokens of all.
type allPage struct {
	base
	Legacy          string
	Warnings        []warning
	Filter          url.Values
	Filtered        bool
	Query           string // the filter
	More            bool   // filters beyond the first row are set
	States, Spans   []choice
	Looks           []choice // of categories
	Tokens          []row
	Total, From, To int
	Page            int
	// Queries of other pages of the list; encoded, which the template must not do again.
	Previous, Next template.URL
}

// Get returns the value of a filter, for the form.
func (p allPage) Get(name string) string { return p.Filter.Get(name) }

// Is tells whether a filter that is on or off is on.
func (p allPage) Is(name string) bool { return p.Filter.Get(name) == "true" }

// filter reads the filter of a query; what is empty is taken out.
func (v *visit) filter(query url.Values) (token.Filter, url.Values, error) {
	kept := make(url.Values)
	for _, name := range token.FilterFields {
		if value := query.Get(name); value != "" {
			kept.Set(name, value)
		}
	}
	f, err := token.ParseFilter(kept.Get, v.now)
	return f, kept, err
}

func (v *visit) all() error {
	filter, kept, wrong := v.filter(v.form)
	page := allPage{
		base: v.base("All tokens", "admin"), Legacy: v.directory.LegacyWarning(), Warnings: v.report(),
		Filter: kept, Filtered: len(kept) > 0, Query: kept.Encode(), Page: 1,
		States: []choice{{"", "Any"}}, Spans: []choice{{"", "Any time"}, {"30d", "30 days"}, {"90d", "90 days"}, {"180d", "180 days"}, {"360d", "360 days"}},
	}
	for _, state := range []string{
		"active", string(token.RefusedSuspended), string(token.RefusedExpired), string(token.RefusedSuperseded), string(token.RefusedParent), string(token.RefusedIdle),
		string(token.RefusedOwner), string(token.RefusedLegacy), string(token.RefusedRevoked),
	} {
		page.States = append(page.States, choice{state, stateTexts[state][0]})
	}
	page.Looks = []choice{{"", "Anything"}}
	for _, c := range token.Categories {
		page.Looks = append(page.Looks, choice{c.Name, capitalized(c.Text)})
	}
	for name := range kept {
		page.More = page.More || name != "q" && name != "user" && name != "state"
	}
	if wrong != nil {
		page.Faults = []fault{{"q", sentence(wrong)}}
		return v.render(http.StatusBadRequest, "all", page)
	}
	found := v.directory.Select(filter)
	page.Total = len(found)
	if text := v.form.Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1_000_000 {
			return badRequest("There is no such page.")
		}
		page.Page = n
	}
	first := min((page.Page-1)*pageRows, len(found))
	last := min(first+pageRows, len(found))
	for _, t := range found[first:last] {
		page.Tokens = append(page.Tokens, v.row(t))
	}
	page.From, page.To = first+1, last
	to := func(n int) template.URL {
		kept.Set("page", strconv.Itoa(n))
		defer kept.Del("page")
		return template.URL(kept.Encode()) //nolint:gosec // G203: Encode escapes all that has a meaning in HTML
	}
	if page.Page > 1 {
		page.Previous = to(page.Page - 1)
	}
	if last < len(found) {
		page.Next = to(page.Page + 1)
	}
	return v.render(http.StatusOK, "all", page)
}

// A bulk is a change of many tokens.
type bulk struct {
	Action string
	Title  string                                   // of the page that asks
	Do     string                                   // of the button
	done   string                                   // notice
	has    func(t *token.Token, now time.Time) bool // it changes a token
}

var bulks = map[string]bulk{
	"suspend": {"suspend", "Suspend these tokens?", "Suspend", "all-suspended", func(t *token.Token, _ time.Time) bool { return t.Record().State == token.Active }},
	"resume":  {"resume", "Resume these tokens?", "Resume", "all-resumed", (*token.Token).Resumable},
	"revoke":  {"revoke", "Revoke these tokens?", "Revoke", "all-revoked", func(t *token.Token, _ time.Time) bool { return t.Record().State != token.Revoked }},
}

// A previewPage shows what a change of many tokens would change.
type previewPage struct {
	base
	Bulk   bulk
	Tokens []row
	Left   int // of those chosen, which stay as they are
	Reason string
}

// preview shows what would be changed. Exactly that is what its form then asks for:
// what else fits the filter meanwhile is not touched.
func (v *visit) preview() error {
	act, ok := bulks[v.form.Get("action")]
	if !ok {
		return badRequest("There is no such action.")
	}
	var chosen []*token.Token
	switch v.form.Get("which") {
	case "chosen":
		var err error
		if chosen, err = v.chosen(); err != nil {
			return err
		}
	case "all":
		query, err := parseValues(v.form.Get("filter"), token.FilterFields)
		if err != nil {
			return err
		}
		filter, _, err := v.filter(query)
		if err != nil {
			return badRequest(sentence(err))
		}
		chosen = v.directory.Select(filter)
	default:
		return badRequest("Say which tokens are meant.")
	}
	if len(chosen) == 0 {
		return badRequest("No token was chosen. Go back and tick some.")
	}
	return v.showPreview(http.StatusOK, act, chosen)
}

// errTooMany is told to an admin who has selected more tokens than change at once.
var errTooMany = &problem{http.StatusBadRequest, "Too many tokens", fmt.Sprintf(
	"At most %d tokens change at once, and you selected more. Nothing was changed. Go back and narrow the filter, for example to one user, or use the command “caddy crumbgate token”, which takes any number.", maxBulk)}

func (v *visit) showPreview(status int, act bulk, chosen []*token.Token, faults ...fault) error {
	page := previewPage{base: v.base(act.Title, "admin"), Bulk: act, Reason: v.typed("why")}
	page.Faults = faults
	for _, t := range chosen {
		if !act.has(t, v.now) {
			page.Left++
			continue
		}
		if len(page.Tokens) == maxBulk {
			return errTooMany
		}
		page.Tokens = append(page.Tokens, v.row(t))
	}
	return v.render(status, "preview", page)
}

// chosen returns the tokens whose ids a form has.
func (v *visit) chosen() ([]*token.Token, error) {
	var tokens []*token.Token
	for _, text := range v.form["id"] {
		id, err := uuid.Parse(text)
		if err != nil || id.String() != text {
			return nil, badRequest("What was sent names no token.")
		}
		t, err := v.directory.Get(v.ctx, id)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(tokens, t) {
			tokens = append(tokens, t)
		}
	}
	return tokens, nil
}

func (v *visit) apply() error {
	act, ok := bulks[v.form.Get("action")]
	if !ok {
		return badRequest("There is no such action.")
	}
	chosen, err := v.chosen()
	if err != nil {
		return err
	}
	why, wrong := v.why()
	if wrong != nil {
		return v.showPreview(http.StatusBadRequest, act, chosen, fault{"why", sentence(wrong)})
	}
	switch act.Action {
	case "suspend":
		_, err = v.directory.SuspendAll(v.ctx, chosen, token.ByAdmin, why, v.actor())
	case "resume":
		_, err = v.directory.ResumeAll(v.ctx, chosen, token.ByAdmin, v.actor())
	case "revoke":
		_, err = v.directory.RevokeAll(v.ctx, chosen, why, v.actor())
	}
	if err != nil {
		return err
	}
	return v.redirect("admin/", act.done)
}

// A userPage shows what is known of a user.
type userPage struct {
	base
	User    token.Profile
	Since   moment // when the user was disabled
	Self    bool
	Tokens  []row
	Revoked int
}

func (v *visit) showUser() error { return v.userPage(http.StatusOK, v.form.Get("id")) }

func (v *visit) userPage(status int, id string, faults ...fault) error {
	known, err := v.directory.Profile(id)
	if err != nil {
		return err
	}
	page := userPage{base: v.base(string(known.User), "admin"), User: *known, Since: v.moment(known.Disabled), Self: v.isSelf(known)}
	page.Faults = faults
	for _, t := range v.directory.Owned(known.User) {
		if line := v.row(t); line.State == string(token.RefusedRevoked) {
			page.Revoked++
		} else {
			page.Tokens = append(page.Tokens, line)
		}
	}
	return v.render(status, "user", page)
}

// isSelf tells whether a profile is the person's own, in whatever spelling.
func (v *visit) isSelf(p *token.Profile) bool {
	known, err := v.directory.Profile(string(v.person.User))
	return err != nil || known.User == p.User
}

func (v *visit) disable() error { return v.setDisabled(true, "disabled") }
func (v *visit) enable() error  { return v.setDisabled(false, "enabled") }

func (v *visit) setDisabled(disabled bool, done string) error {
	known, err := v.directory.Profile(v.form.Get("user"))
	if err != nil {
		return err
	}
	if disabled && v.isSelf(known) {
		return v.userPage(http.StatusConflict, string(known.User), fault{"", "You can’t disable yourself: nobody might be left to enable you again."})
	}
	known, err = v.directory.SetDisabled(v.ctx, string(known.User), disabled, v.actor())
	if err != nil {
		return err
	}
	return v.redirect("admin/user?"+url.Values{"id": {string(known.User)}}.Encode(), done)
}
