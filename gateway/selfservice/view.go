package selfservice

import (
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A moment is a point in time as pages show it. The zero value is none.
type moment struct {
	ISO      string // for machines
	Full     string // in the gateway's time zone
	Date     string
	Relative string // "3 days ago"
}

func (v *visit) moment(unix int64) moment {
	if unix == 0 {
		return moment{}
	}
	return v.momentOf(time.Unix(unix, 0))
}

func (v *visit) momentOf(t time.Time) moment {
	t = t.In(v.now.Location())
	return moment{
		ISO: t.Format(time.RFC3339), Full: t.Format("2006-01-02 15:04:05 MST"), Date: t.Format(time.DateOnly),
		Relative: relative(t, v.now),
	}
}

// relative counts in days where people count the lives of tokens in them. What is left
// is rounded up.
func relative(t, now time.Time) string {
	span := now.Sub(t)
	past := span >= 0
	if !past {
		span = -span
		unit := 24 * time.Hour
		switch {
		case span <= time.Minute:
			unit = time.Second
		case span <= time.Hour:
			unit = time.Minute
		case span <= 48*time.Hour:
			unit = time.Hour
		}
		span = (span + unit - 1).Truncate(unit)
	}
	var text string
	switch {
	case span < time.Minute:
		if past {
			return "just now"
		}
		return "in a moment"
	case span < time.Hour:
		text = plural(int(span/time.Minute), "minute")
	case span < 48*time.Hour:
		text = plural(int(span/time.Hour), "hour")
	case span < 3*366*24*time.Hour:
		text = plural(int(span/(24*time.Hour)), "day")
	default:
		text = plural(int(span/(365*24*time.Hour)), "year")
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

func plural(n int, what string) string { return english.Plural(n, what, "") }

// A note is something that people should notice. Level is "ok", "warning" or
// "error", by which it gets its colour and sign; the text says it all.
type note struct{ Level, Text string }

// A row is a token as lists show it.
type row struct {
	Prefix                 string // of the pages
	ID, Short, Owner, Name string // Short is the end of ID: the beginning is a time
	State                  string // as token.Marks.State
	StateText              string
	Level                  string // of the state
	Why                    string
	Past                   bool // it will not be used again
	Scopes                 []string
	Sources                []string
	Rate, Uses             string // the bounds, "" for none
	Unlimited, Observed    bool
	Legacy                 bool
	Created, Expires       moment
	First, Last            moment
	Count                  string
	Addr, Agent            string
	Addrs                  []string // known ones, the newest first
	Notes                  []note
	Successor              string
	Parent                 string // the id of the token that created this one, "" for none
}

// stateTexts are of token.Marks.State; how much it should worry people follows.
var stateTexts = map[string][2]string{
	"active":                        {"Active", "ok"},
	string(token.RefusedSuspended):  {"Suspended", "warning"},
	string(token.RefusedRevoked):    {"Revoked", "off"},
	string(token.RefusedExpired):    {"Expired", "off"},
	string(token.RefusedSuperseded): {"Replaced, and at its end", "off"},
	string(token.RefusedOwner):      {"Refused: the user is disabled", "error"},
	string(token.RefusedLegacy):     {"Refused: a legacy token", "error"},
	string(token.RefusedParent):     {"Refused: the token that created it is not valid", "off"},
	string(token.RefusedIdle):       {"Refused: not used for too long", "warning"},
}

func (v *visit) row(t *token.Token) row {
	r, uses, marks := t.Record(), t.Uses(), t.Marks(v.now)
	id := r.ID.String()
	line := row{
		Prefix: v.Prefix, ID: id, Short: "…" + id[len(id)-8:], Owner: string(r.Owner), Name: r.Name,
		State: marks.State, StateText: stateTexts[marks.State][0], Level: stateTexts[marks.State][1], Why: r.Why,
		Unlimited: !t.Scoped(), Observed: r.Observed(), Legacy: marks.Legacy,
		Created: v.moment(r.Created), Expires: v.moment(t.Expires()), First: v.moment(uses.First), Last: v.moment(uses.Last),
		Count: humanize.Comma(int64(min(uses.Count, 1<<62))), Addr: uses.LastAddr, Agent: uses.Agent, Addrs: slices.Clone(uses.Addrs),
	}
	slices.Reverse(line.Addrs)
	if l := r.Limits; l != nil {
		line.Scopes, line.Sources = l.Scopes, l.Sources
		if l.Rate != 0 {
			line.Rate = humanize.Comma(int64(l.Rate))
		}
		if l.Uses != 0 {
			line.Uses = humanize.Comma(int64(min(l.Uses, 1<<62)))
		}
	}
	if marks.Replaced {
		line.Successor = r.Successor.String()
	}
	if r.Parent != uuid.Nil {
		line.Parent = r.Parent.String()
	}
	switch token.Refusal(marks.State) {
	case token.RefusedRevoked, token.RefusedExpired, token.RefusedSuperseded:
		line.Past = true
		return line
	}
	add := func(when bool, level token.Level, text string) {
		if when {
			line.Notes = append(line.Notes, note{level.String(), text})
		}
	}
	add(marks.Legacy, token.LevelError, "From before Jenkins 2.129: replace it")
	add(marks.Age != token.LevelOK, marks.Age, "Made "+line.Created.Relative+": rotate it")
	add(marks.Expiring && !marks.Replaced, token.LevelWarning, "Expires "+line.Expires.Relative)
	add(marks.Replaced, token.LevelWarning, "Replaced, works until "+line.Expires.Full)
	add(marks.NeverUsed, token.LevelWarning, "Never used: do you need it?")
	add(uses.Count > 0 && marks.LastUse != token.LevelOK, marks.LastUse, "Last used "+line.Last.Relative)
	add(marks.Unending, token.LevelWarning, "Never expires")
	add(line.Unlimited, token.LevelOK, "No scopes: may do all that its user may")
	add(line.Observed, token.LevelOK, "Observed: scopes are not enforced")
	return line
}

// A choice is one of several that a form offers.
type choice struct{ Value, Text string }

// lives are how long a new token can live, of those that rules allow, and which of
// them is chosen if nobody says otherwise. They are Jenkins' (ApiTokenProperty/config.jelly).
func lives(rules *token.Rules) (choices []choice, chosen string) {
	const day = 24 * time.Hour
	usual := rules.DefaultLife
	if usual == 0 {
		usual, _ = token.ParseLife(token.DefaultLife) // its own default always parses
		if rules.MaxLife != 0 {
			usual = min(usual, rules.MaxLife)
		}
	}
	all := []time.Duration{7 * day, 30 * day, 60 * day, 90 * day}
	if !slices.Contains(all, usual) && usual >= time.Hour {
		all = append(all, usual)
		slices.Sort(all)
	}
	for _, life := range all {
		if rules.MaxLife != 0 && life > rules.MaxLife {
			continue
		}
		c := choice{fmt.Sprintf("%dd", life/day), plural(int(life/day), "day")}
		if life%day != 0 {
			c = choice{fmt.Sprintf("%dh", life/time.Hour), plural(int(life/time.Hour), "hour")}
		}
		if choices = append(choices, c); life == usual {
			chosen = c.Value
		}
	}
	choices = append(choices, choice{lifeUntil, "Until a date"})
	if !rules.NoNever && rules.MaxLife == 0 {
		choices = append(choices, choice{"never", "Never"})
	}
	return choices, chosen
}

// lifeUntil is the choice of a date.
const lifeUntil = "date"
