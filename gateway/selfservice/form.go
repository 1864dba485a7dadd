package selfservice

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

const (
	maxBody   = 64 << 10 // bytes, of a form or a query
	maxValue  = 20 << 10 // bytes, of one field: what scopes may have, and some
	maxWhy    = 200      // bytes
	bodyWait  = 20 * time.Second
	crumbName = "crumb"

	// formPurpose stands in place of the session in the crumbs of forms. It can't be
	// the id of one, as it has blanks: neither kind of crumb holds for the other.
	formPurpose = "form of the pages"
)

// lists are the fields that may be there more than once.
var lists = []string{"id", "scope"}

// parseValues reads a form or a query. What is not known is an error, like what is
// there twice: it would be something else than what the page has meant.
func parseValues(text string, known []string) (url.Values, error) {
	if len(text) > maxBody {
		return nil, errTooLarge
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, badRequest("What was sent is not understood.")
	}
	for name, all := range values {
		if !slices.Contains(known, name) {
			return nil, badRequest("What was sent has a field that is not known here.")
		}
		if len(all) > 1 && !slices.Contains(lists, name) {
			return nil, badRequest("The field " + name + " was sent twice.")
		}
		if len(all) > maxBulk {
			return nil, errTooMany
		}
		for i, value := range all {
			if len(value) > maxValue {
				return nil, badRequest("The field " + name + " is too long.")
			}
			value = strings.ReplaceAll(value, "\r\n", "\n") // HTML's line breaks
			if !utf8.ValidString(value) || strings.ContainsAny(value, "\x00\r") {
				return nil, badRequest("The field " + name + " is not valid text.")
			}
			all[i] = value
		}
	}
	return values, nil
}

// readForm reads the body of a POST and verifies its crumb.
func (v *visit) readForm(found route) error {
	if v.r.URL.RawQuery != "" {
		return badRequest("A form has no query.")
	}
	media, params, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != "application/x-www-form-urlencoded" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &problem{http.StatusUnsupportedMediaType, "Not a form", "Only forms are taken here."}
	}
	// Not all servers have deadlines, and then what bounds the wait is theirs.
	_ = http.NewResponseController(v.w).SetReadDeadline(time.Now().Add(bodyWait))
	body, err := io.ReadAll(http.MaxBytesReader(v.w, v.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errTooLarge
	}
	if err != nil {
		return badRequest("The form did not arrive as a whole.")
	}
	if v.form, err = parseValues(string(body), append([]string{crumbName}, found.fields...)); err != nil {
		return err
	}
	// Verify compares in constant time.
	switch standing := v.keys.Verify(v.form.Get(crumbName), v.person.User, v.purpose(found.once), v.now, crumb.DefaultLifetime); {
	case standing == crumb.Valid:
		return nil
	case found.once && standing != crumb.Foreign:
		v.stale = true // and what was typed is shown again
		return nil
	default:
		v.Log.Warn("a form of the pages was refused for its crumb", "user", string(v.person.User), "crumb", standing.String())
		return &problem{http.StatusForbidden, "This form doesn't hold any more", "It was opened too long ago, or by somebody else. Nothing was changed. Go back, reload the page, and send it again."}
	}
}

// purpose is what the crumb of a form is for. One that makes a token is for the
// person's next one: there is no next one twice, so that sending it again, after a
// reload or a restart, makes nothing.
func (v *visit) purpose(once bool) string {
	if once {
		return fmt.Sprintf("%s: token number %d", formPurpose, len(v.mine())+1)
	}
	return formPurpose
}

func (v *visit) crumb(once bool) string {
	return v.keys.Issue(v.person.User, v.purpose(once), v.now)
}

// typed returns what to show again of a field: not what may be a secret that was
// pasted at the wrong place.
func (v *visit) typed(name string) string {
	text := v.form.Get(name)
	if token.ContainsSecret(text) {
		return ""
	}
	return text
}

// lines returns the lines of a field that are not empty.
func lines(text string) []string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			found = append(found, line)
		}
	}
	return found
}

// why returns the reason that a person gives for a change.
func (v *visit) why() (string, error) {
	why := strings.TrimSpace(v.form.Get("why"))
	if token.ContainsSecret(why) {
		return "", errors.New("the reason holds a token: others can read it, and that token should be revoked")
	}
	if len(why) > maxWhy {
		return "", fmt.Errorf("the reason has %d bytes, at most %d are allowed", len(why), maxWhy)
	}
	return why, user.CheckText("reason", why)
}
