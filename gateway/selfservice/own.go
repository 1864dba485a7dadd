package selfservice

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
)

// maxPast bounds how many of the tokens that are of no use any more are listed.
const maxPast = 50

// own lists the person's tokens.
func (v *visit) own() error {
	page := struct {
		base
		Tokens, Past []row
		MorePast     int
	}{base: v.base("Your API tokens", "own")}
	for _, t := range v.mine() {
		if line := v.row(t); line.Past {
			page.Past = append(page.Past, line)
		} else {
			page.Tokens = append(page.Tokens, line)
		}
	}
	slices.SortStableFunc(page.Past, func(a, b row) int { return strings.Compare(b.ID, a.ID) }) // the newest first
	if len(page.Past) > maxPast {
		page.Past, page.MorePast = page.Past[:maxPast], len(page.Past)-maxPast
	}
	return v.render(http.StatusOK, "own", page)
}

// newFields are the fields of the form that asks for a token.
var newFields = append([]string{"name", "life", "until", "format"}, limitFields...)

// A newForm is that form as a page shows it.
type newForm struct {
	base
	Name, Life, Until string
	Lives             []choice
	MinDate           string
	Jenkins           bool // in Jenkins' shape
	Limits            limitForm
}

func (v *visit) newForm() newForm {
	f := newForm{base: v.base("New token", "new"), MinDate: v.now.Format("2006-01-02")}
	f.Crumb = v.crumb(true)
	f.Lives, f.Life = lives(v.directory.Rules())
	return f
}

func (v *visit) askNew() error {
	f := v.newForm()
	f.Limits = limitForm{Permissions: permissions, Access: "limited"}
	return v.render(http.StatusOK, "new", f)
}

// create makes a token, and answers with its secret. There is no redirect: the
// secret is nowhere but in this answer.
func (v *visit) create() error {
	limits, faults := v.limits()
	name := strings.TrimSpace(v.form.Get("name"))
	if name == "" {
		faults = append([]fault{{"name", "Say what the token is for, as in “deploy”."}}, faults...)
	}
	expires := v.form.Get("life")
	if expires == lifeUntil {
		if expires = v.form.Get("until"); expires == "" {
			faults = append(faults, fault{"life", "Choose the date until which the token is to work."})
		}
	} else if choices, _ := lives(v.directory.Rules()); !slices.ContainsFunc(choices, func(c choice) bool { return c.Value == expires }) {
		faults = append(faults, fault{"life", "Choose how long the token is to live."})
	}
	status := http.StatusBadRequest
	switch {
	case v.stale:
		status = http.StatusConflict
		faults = append([]fault{{"", "Nothing was made now: this form has been used already, or you have made a token since it was opened. If you want another token, send it again."}}, faults...)
	case len(faults) == 0:
		request := token.Request{User: string(v.person.User), Name: name, Expires: expires, Limits: limits, Actor: v.actor()}
		if v.form.Get("format") != "" {
			request.Format = "jenkins"
		}
		made, secret, err := v.directory.Create(v.ctx, request)
		if err == nil {
			return v.showSecret(made, secret, nil)
		}
		f, code, err := asFault(faultyField(err), err)
		if err != nil {
			return err
		}
		faults, status = append(faults, f), code
	}
	f := v.newForm()
	f.Faults = faults
	f.Name, f.Life, f.Until = v.typed("name"), v.form.Get("life"), v.typed("until")
	f.Jenkins, f.Limits = v.form.Get("format") != "", v.typedLimits()
	return v.render(status, "new", f)
}

// faultyField returns the field that the directory has found fault with. The limits
// have been looked at before.
func faultyField(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, token.ErrDuplicate), strings.HasPrefix(text, "the name"):
		return "name"
	case strings.HasPrefix(text, "expiry"), strings.HasPrefix(text, "tokens without an end"):
		return "life"
	}
	return ""
}

func (v *visit) showSecret(made *token.Token, secret token.Secret, old *token.Token) error {
	page := struct {
		base
		Token    row
		Old      *row
		Secret   string
		Snippets []snippet
	}{base: v.base("Your new token", "own"), Token: v.row(made), Secret: secret.Reveal()}
	if old != nil {
		page.Title = "The new secret"
		line := v.row(old)
		page.Old = &line
	}
	page.Snippets = snippets(v.jenkinsURL(), page.Token.Owner, page.Secret)
	return v.render(http.StatusOK, "secret", page)
}

// A tokenPage shows one token and what can be done with it.
type tokenPage struct {
	base
	Token    row
	Own      bool
	Renamed  string // as typed
	Limits   limitForm
	Needs    []string
	Overlaps []choice
	Overlap  string
	Lives    []choice
	Life     string
	Reason   string // as typed
	CanRest  bool   // it can be suspended
	CanWake  bool   // it can be resumed
	CanTurn  bool   // it can be rotated
	Locked   string // why the person can't resume it
}

// overlaps are for how long an old token may still work after a rotation.
var overlaps = []choice{
	{"0", "Not at all: the old secret ends now"}, {"1h", "1 hour"}, {"24h", "24 hours"}, {"7d", "7 days"},
}

func (v *visit) tokenPage(t *token.Token, own bool) tokenPage {
	r := t.Record()
	line := v.row(t)
	here := "own"
	if !own {
		here = "admin"
	}
	page := tokenPage{
		base: v.base(line.Name, here), Token: line, Own: own, Renamed: line.Name, Limits: limitFormOf(r.Limits),
		Overlaps: overlaps, Overlap: token.DefaultOverlap,
		CanRest: r.State == token.Active && !line.Past, CanWake: r.State == token.Suspended && r.ResumableBy(v.authority()) || line.State == string(token.RefusedIdle),
		CanTurn: own && r.State == token.Active && !r.Superseded(),
	}
	if r.State == token.Suspended && !page.CanWake {
		page.Locked = "An administrator or the gateway has suspended this token. Only an administrator can resume it."
	}
	page.Lives = []choice{{"", "As long as the old one was to"}}
	if r.Expires == 0 || r.Created == 0 {
		page.Lives[0].Text = "As long as is usual here"
	}
	choices, _ := lives(v.directory.Rules())
	for _, c := range choices {
		if c.Value != lifeUntil {
			page.Lives = append(page.Lives, c)
		}
	}
	if seen := t.Seen(); len(seen) > 0 {
		for _, s := range seen {
			page.Needs = append(page.Needs, fmt.Sprintf("%v (%s)", s.Need, english.Plural(int(s.Count), "request", "")))
		}
		slices.Sort(page.Needs)
		page.Limits.Suggested = policy.Suggest(t.Needs())
	}
	return page
}

func (v *visit) show() error {
	t, own, err := v.named()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "token", v.tokenPage(t, own))
}

// change makes a change of the token that the path names. What is wrong with it is
// told at a field of the token's page, with what was typed.
func (v *visit) change(field, done string, act func(t *token.Token) error) error {
	t, own, err := v.named()
	if err != nil {
		return err
	}
	err = act(t)
	if err == nil {
		return v.redirect("token/"+v.id.String(), done)
	}
	f, status, err := asFault(field, err)
	if err != nil {
		return err
	}
	return v.refuse(t, own, status, f)
}

// refuse shows a token's page with what is wrong, and with what was typed.
func (v *visit) refuse(t *token.Token, own bool, status int, faults ...fault) error {
	page := v.tokenPage(t, own)
	page.Faults = faults
	if v.form.Has("name") {
		page.Renamed = v.typed("name")
	}
	if v.form.Has("access") {
		suggested := page.Limits.Suggested
		page.Limits = v.typedLimits()
		page.Limits.Suggested = suggested
	}
	if v.form.Has("overlap") {
		page.Overlap, page.Life = v.form.Get("overlap"), v.form.Get("life")
	}
	page.Reason = v.typed("why")
	return v.render(status, "token", page)
}

func (v *visit) rename() error {
	return v.change("name", "renamed", func(*token.Token) error {
		_, err := v.directory.Rename(v.ctx, v.id, strings.TrimSpace(v.form.Get("name")), v.actor())
		return err
	})
}

func (v *visit) limit() error {
	limits, faults := v.limits()
	t, own, err := v.named()
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return v.refuse(t, own, http.StatusBadRequest, faults...)
	}
	return v.change("", "limited", func(*token.Token) error {
		_, err := v.directory.ChangeLimits(v.ctx, v.id, func(old *token.Limits) *token.Limits {
			if old != nil { // the form says nothing of these
				limits.Rate, limits.Uses = old.Rate, old.Uses
			}
			return limits
		}, v.actor())
		return err
	})
}

// rotate replaces one of the person's own tokens. Nobody rotates for others, who
// alone may learn the secret.
func (v *visit) rotate() error {
	t, own, err := v.named()
	if err != nil {
		return err
	}
	if !own {
		return errNotFound
	}
	life := v.form.Get("life")
	if page := v.tokenPage(t, own); !slices.ContainsFunc(page.Lives, func(c choice) bool { return c.Value == life }) ||
		!slices.ContainsFunc(overlaps, func(c choice) bool { return c.Value == v.form.Get("overlap") }) {
		return badRequest("The form has a choice that it did not offer.")
	}
	made, secret, old, err := v.directory.Rotate(v.ctx, v.id, token.Rotation{Overlap: v.form.Get("overlap"), Expires: life, Actor: v.actor()})
	if err == nil {
		return v.showSecret(made, secret, old)
	}
	f, status, err := asFault("", err)
	if err != nil {
		return err
	}
	return v.refuse(t, own, status, f)
}

// authority returns the right by which the person suspends and resumes tokens.
func (v *visit) authority() token.Authority {
	if v.admin {
		return token.ByAdmin
	}
	return token.ByOwner
}

func (v *visit) suspend() error {
	why, wrong := v.why()
	if wrong != nil {
		t, own, err := v.named()
		if err != nil {
			return err
		}
		return v.refuse(t, own, http.StatusBadRequest, fault{"why", sentence(wrong)})
	}
	return v.change("", "suspended", func(t *token.Token) error {
		_, err := v.directory.SuspendAll(v.ctx, []*token.Token{t}, v.authority(), why, v.actor())
		return err
	})
}

func (v *visit) resume() error {
	return v.change("", "resumed", func(t *token.Token) error {
		_, err := v.directory.ResumeAll(v.ctx, []*token.Token{t}, v.authority(), v.actor())
		return err
	})
}

func (v *visit) askRevoke() error {
	t, own, err := v.named()
	if err != nil {
		return err
	}
	page := v.tokenPage(t, own)
	page.Title = "Revoke " + page.Token.Name
	return v.render(http.StatusOK, "revoke", page)
}

func (v *visit) revoke() error {
	return v.change("", "revoked", func(*token.Token) error {
		_, err := v.directory.Revoke(v.ctx, v.id, v.actor())
		return err
	})
}
