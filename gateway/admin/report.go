package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// Bounds of how many tokens a report lists in each category.
const (
	defaultListed = 100
	maxListed     = 1000
)

// A Report tells what should be done about tokens.
type Report struct {
	Tokens   int `json:"tokens"`   // that are not revoked
	Warnings int `json:"warnings"` // sum of the counts of categories that warn
	// Legacy says what is to be done about tokens from before Jenkins 2.129, if anything
	// is.
	Legacy     string     `json:"legacy,omitempty"`
	Categories []Category `json:"categories"` // all, the most urgent first
}

// A Category is tokens that have something in common. One token can be in several.
type Category struct {
	Name string `json:"name"`
	// Warns is that something is to be done. The other categories are for people to
	// know of: they may be so on purpose.
	Warns bool   `json:"warns"`
	Text  string `json:"text"` // for people: what it means, and what to do
	Count int    `json:"count"`
	// Tokens are the first of them, by user, name and age.
	Tokens []Token `json:"tokens"`
}

func reportOf(d *token.Directory, now time.Time, listed int) Report {
	tokens := d.Select(token.Filter{})
	report := Report{Tokens: len(tokens), Legacy: d.LegacyWarning(), Categories: make([]Category, len(token.Categories))}
	for i, c := range token.Categories {
		text := c.Text
		if c.To != "" {
			text += "; " + c.To
		}
		report.Categories[i] = Category{Name: c.Name, Warns: c.Level > token.LevelOK, Text: text, Tokens: []Token{}}
	}
	for _, t := range tokens {
		marks := t.Marks(now)
		for i := range token.Categories {
			if !token.Categories[i].Has(t, marks) {
				continue
			}
			into := &report.Categories[i]
			if into.Count++; into.Count <= listed {
				into.Tokens = append(into.Tokens, tokenOf(t, now))
			}
			if into.Warns {
				report.Warnings++
			}
		}
	}
	return report
}

func (h *handler) report(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "limit")
	if err != nil {
		return err
	}
	listed := defaultListed
	if params.Has("limit") {
		if listed, err = strconv.Atoi(params.Get("limit")); err != nil || listed < 0 || listed > maxListed {
			return errorf(token.ErrInvalid, "limit=%q is no number of tokens from 0 to %d", params.Get("limit"), maxListed)
		}
	}
	answer(w, http.StatusOK, reportOf(d, h.now(), listed))
	return nil
}
