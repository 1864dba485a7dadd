package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// A TokenAPI says what becomes of requests to the endpoints with which Jenkins
// manages its own API tokens.
type TokenAPI int

// What can become of them.
const (
	// TokenAPIPass lets Jenkins answer: tokens that it makes are not the gateway's.
	TokenAPIPass TokenAPI = iota
	// TokenAPIRefuse has nobody make tokens in Jenkins.
	TokenAPIRefuse
	// TokenAPIAnswer has the gateway answer, with tokens of its own.
	TokenAPIAnswer
)

// ParseTokenAPI returns the value of a setting; the empty one is TokenAPIPass.
func ParseTokenAPI(text string) (TokenAPI, error) {
	switch text {
	case "", "pass":
		return TokenAPIPass, nil
	case "refuse":
		return TokenAPIRefuse, nil
	case "answer":
		return TokenAPIAnswer, nil
	}
	return 0, fmt.Errorf("token_api %q is neither pass, refuse nor answer", text)
}

// A tokenCall is a request to one of those endpoints.
type tokenCall struct {
	owner string // as the path names it; "" for the caller
	name  string // of the web method; "" for one that is not known
}

// tokenMethods are the web methods of ApiTokenProperty.DescriptorImpl that change
// something.
var tokenMethods = map[string]func(*tokenAnswer) error{
	"generateNewToken": (*tokenAnswer).generate,
	"addFixedToken":    (*tokenAnswer).addFixed,
	"rename":           (*tokenAnswer).rename,
	"revoke":           (*tokenAnswer).revoke,
	"revokeAll":        (*tokenAnswer).revokeAll,
	"revokeAllExcept":  (*tokenAnswer).revokeAllExcept,
	"changeToken":      (*tokenAnswer).changeToken,
}

// tokenCall tells whether a route leads to one of the endpoints, and to which. They
// are found wherever the descriptor's name stands: Jenkins takes the user from
// whatever lies before (@AncestorInPath), and the descriptor by its full name or the
// last part of it (Jenkins.getDescriptor). Only the usual ways are answered.
func (p route) tokenCall() (call tokenCall, ok bool) {
	if !strings.Contains(p.path, "iTokenProperty") && !strings.Contains(p.path, "%") { // nearly always
		return tokenCall{}, false
	}
	var names []string
	at := -1
	for name := range p.segments() {
		if name == "jenkins.security.ApiTokenProperty" || name == "ApiTokenProperty" {
			at = len(names)
		}
		names = append(names, name)
	}
	if at < 0 || at+1 >= len(names) {
		return tokenCall{}, false
	}
	method, before := names[at+1], names[:at]
	if tokenMethods[method] == nil || len(before) == 0 || before[len(before)-1] != "descriptorByName" {
		return tokenCall{}, true
	}
	before = before[:len(before)-1]
	if len(before) > 0 && before[0] == "manage" { // which falls back to Jenkins
		before = before[1:]
	}
	switch {
	case len(before) == 1 && before[0] == "me":
		return tokenCall{name: method}, true
	case len(before) == 2 && before[0] == "user":
		return tokenCall{owner: before[1], name: method}, true
	case len(before) == 3 && before[0] == "securityRealm" && before[1] == "user":
		return tokenCall{owner: before[2], name: method}, true
	}
	return tokenCall{}, true
}

// manageTokens answers a request to one of the endpoints in the place of Jenkins, or
// refuses it, and tells whether it did so. That of a signed-in user is always refused:
// a script in any of Jenkins' pages can send it, with the crumb that the page has, and
// the token would outlive the page. The gateway's own pages keep scripts out.
func (f *forward) manageTokens(w http.ResponseWriter, r *http.Request) (done bool) {
	g := f.gate
	if g.TokenAPI == TokenAPIPass {
		return false
	}
	call, found := f.route.tokenCall()
	if !found || isSafe(r.Method) && call.name == "" {
		return false
	}
	switch {
	case g.TokenAPI == TokenAPIRefuse:
		answer(w, r, noJenkinsTokens)
	case call.name == "":
		answer(w, r, noSuchEndpoint)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		answer(w, r, badMethod)
	default:
		f.answerTokens(w, r, call)
	}
	return true
}

// maxTokenForm bounds, in bytes, the form of such a request.
const maxTokenForm = 64 << 10

func (f *forward) answerTokens(w http.ResponseWriter, r *http.Request, call tokenCall) {
	g := f.gate
	if f.Class == ClassSession {
		f.referToPages(w, r, call)
		return
	}
	form, err := tokenForm(w, r)
	if err != nil {
		answer(w, r, badTokenForm)
		return
	}
	directory, err := g.Tokens()
	if err != nil {
		f.log(r, "the tokens can't be managed", err)
		answer(w, r, unavailable)
		return
	}
	a := &tokenAnswer{forward: f, r: r.WithContext(token.From(r.Context(), "jenkins endpoint", f.addr)), tokens: directory, form: form, actor: string(f.User())}
	owner := f.User()
	if call.owner != "" {
		if owner, err = user.ParseID(call.owner); err != nil {
			answer(w, r, noSuchEndpoint)
			return
		}
	}
	a.owner, a.own = owner, g.UserIDs.Equal(owner, f.User())
	a.status = http.StatusOK
	switch err := a.answer(call); {
	case err == nil:
	case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrDuplicate), errors.Is(err, token.ErrConflict):
		a.fail(err.Error())
	case errors.Is(err, token.ErrNotFound):
		a.fail("No token found, try refreshing the page")
	default:
		f.log(r, "the tokens can't be managed", err)
		answer(w, r, unavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	if a.contentType == "" {
		delete(h, "Content-Type")
	}
	write(w, r, a.status, a.body)
}

// answer does what a web method is for, unless its parameters contradict each other.
func (a *tokenAnswer) answer(call tokenCall) error {
	name := repeated(a.form)
	switch {
	case name == "":
		return tokenMethods[call.name](a)
	case readsError[call.name]:
		a.fail(name + " was sent more than once: send it once, in the query or in the form")
	default:
		a.status, a.contentType, a.body = http.StatusBadRequest, "text/plain;charset=utf-8", name+" was sent more than once: send it once, in the query or in the form\n"
	}
	return nil
}

// tokenParameters are those that the web methods read.
var tokenParameters = []string{"newTokenName", "newTokenPlainValue", "expirationDuration", "tokenExpiration", "tokenUuid", "newName"}

// repeated returns a parameter of which a form has several, in whatever case; "" if there is none. Jenkins would take one of
// them, and the client may mean the other.
func repeated(form url.Values) string {
	for _, parameter := range tokenParameters {
		count := 0
		for name, values := range form {
			if strings.EqualFold(name, parameter) {
				count += len(values)
			}
		}
		if count > 1 {
			return parameter
		}
	}
	return ""
}

// readsError are the web methods whose callers read the JSON of an answer with status
// 200. The script of Jenkins' page takes any answer of that status to the others for
// success (ApiTokenProperty/resources.js).
var readsError = map[string]bool{"generateNewToken": true, "addFixedToken": true, "rename": true}

// referToPages refuses a signed-in user's request, in the form of Jenkins' errors, and
// says where the user manages tokens. A request without a valid crumb is refused for
// that, as Jenkins does.
func (f *forward) referToPages(w http.ResponseWriter, r *http.Request, call tokenCall) {
	g := f.gate
	body := g.newReplayBody(r, maxTokenForm)
	defer body.close()
	if _, ok := f.verified(w, r, body, true); !ok {
		return
	}
	f.Reason = ReasonTokenAPI
	g.report(r, f.Decision)
	text := "API tokens are not managed here. Ask an administrator of the gateway for one."
	if g.Pages != nil {
		text = "API tokens are not managed here, but on this page: " + g.JenkinsOrigin + g.PagesPrefix
	}
	status := http.StatusForbidden
	if readsError[call.name] {
		status = http.StatusOK
	}
	a := tokenAnswer{forward: f}
	a.fail(text)
	w.Header().Set("Content-Type", a.contentType)
	write(w, r, status, a.body)
}

// tokenForm returns the parameters of such a request, from the query or an
// urlencoded body, as a servlet container reads them.
func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTokenForm))
	if err != nil {
		return nil, err
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/x-www-form-urlencoded" {
		posted, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		for name, values := range posted {
			form[name] = append(form[name], values...)
		}
	}
	return form, nil
}

// A tokenAnswer is the answer to such a request, in the shape of Jenkins'
// (ApiTokenProperty.DescriptorImpl and org.kohsuke.stapler.HttpResponses).
type tokenAnswer struct {
	*forward
	r      *http.Request
	tokens *token.Directory
	form   url.Values
	actor  string
	owner  user.ID
	own    bool // the owner is the caller

	status            int
	contentType, body string
}

const jsonType = "application/json;charset=utf-8"

func (a *tokenAnswer) json(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and booleans always encode
	}
	a.contentType, a.body = jsonType, string(text)
}

// fail is HttpResponses.errorJSON, whose status is 200.
func (a *tokenAnswer) fail(message string) {
	a.json(struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}{"error", message})
}

func (a *tokenAnswer) forbid() error {
	a.status = http.StatusForbidden
	return nil
}

// mayChange tells whether the caller may change the owner's tokens.
func (a *tokenAnswer) mayChange() bool { return a.own || a.gate.IsAdmin(a.Token.Profile()) }

func (a *tokenAnswer) request() token.Request {
	return token.Request{
		User: string(a.owner), Name: strings.TrimSpace(a.form.Get("newTokenName")), Format: "jenkins", Actor: a.actor, Renumber: true,
		Parent: a.Token, Limits: a.Token.Record().Limits,
	}
}

// expiry reads expirationDuration and tokenExpiration, of which clients from before
// 2.548 know nothing: their tokens have the default life, as ours have.
func (a *tokenAnswer) expiry() (string, error) {
	switch text := strings.TrimSpace(a.form.Get("expirationDuration")); text {
	case "":
		return "", nil
	case "never":
		return "never", nil
	case "custom":
		return strings.TrimSpace(a.form.Get("tokenExpiration")), nil
	default:
		days, err := strconv.Atoi(text)
		if err != nil || days < 0 || days > 36500 {
			return "", &token.Error{Kind: token.ErrInvalid, Text: fmt.Sprintf("expirationDuration %q is neither a number of days, custom nor never", text)}
		}
		// It works through that whole day.
		return a.gate.Now().AddDate(0, 0, days).Format(time.DateOnly), nil
	}
}

func (a *tokenAnswer) generate() error {
	if !a.own { // not even for an admin, as in Jenkins
		return a.forbid()
	}
	req := a.request()
	var err error
	if req.Expires, err = a.expiry(); err != nil {
		return err
	}
	made, secret, err := a.tokens.Create(a.r.Context(), req)
	if err != nil {
		return err
	}
	record := made.Record()
	expires := "never"
	if record.Expires != 0 {
		// The last day on which it works, as an American browser would be told.
		expires = time.Unix(record.Expires-1, 0).In(a.gate.Now().Location()).Format("1/2/06")
	}
	a.ok(struct {
		AboutToExpire bool   `json:"aboutToExpire"`
		Name          string `json:"tokenName"`
		ID            string `json:"tokenUuid"`
		Value         string `json:"tokenValue"`
		Expires       string `json:"expirationDate"`
	}{made.Marks(a.gate.Now()).Expiring, record.Name, record.ID.String(), secret.Reveal(), expires})
	return nil
}

func (a *tokenAnswer) ok(data any) {
	a.json(struct {
		Status string `json:"status"`
		Data   any    `json:"data"`
	}{"ok", data})
}

func (a *tokenAnswer) addFixed() error {
	if !a.own {
		return a.forbid()
	}
	req := a.request()
	var err error
	if req.Expires, err = a.expiry(); err != nil {
		return err
	}
	secret, err := token.ParseFixed(a.form.Get("newTokenPlainValue"))
	if err != nil {
		return &token.Error{Kind: token.ErrInvalid, Text: "newTokenPlainValue is not understood: " + err.Error()}
	}
	req.Secret = &secret
	made, _, err := a.tokens.Create(a.r.Context(), req)
	if err != nil {
		return err
	}
	a.ok(struct {
		Name string `json:"tokenName"`
		ID   string `json:"tokenUuid"`
	}{made.Record().Name, made.Record().ID.String()})
	return nil
}

// named returns the owner's token that the form names; an error of kind
// token.ErrNotFound if there is none.
func (a *tokenAnswer) named() (*token.Token, error) {
	id, err := uuid.Parse(a.form.Get("tokenUuid"))
	if err != nil {
		return nil, &token.Error{Kind: token.ErrNotFound, Text: "no such token"}
	}
	t, err := a.tokens.Get(a.r.Context(), id)
	if err == nil && !a.gate.UserIDs.Equal(t.Record().Owner, a.owner) {
		err = &token.Error{Kind: token.ErrNotFound, Text: "no such token"}
	}
	return t, err
}

func (a *tokenAnswer) rename() error {
	name := strings.TrimSpace(a.form.Get("newName"))
	switch {
	case !a.mayChange():
		return a.forbid()
	case name == "":
		a.fail("The name cannot be empty")
		return nil
	case strings.TrimSpace(a.form.Get("tokenUuid")) == "":
		a.fail("The tokenUuid cannot be empty")
		return nil
	}
	t, err := a.named()
	if err != nil {
		return err
	}
	if _, err := a.tokens.Rename(a.r.Context(), t.Record().ID, name, a.actor); err != nil {
		return err
	}
	a.json(struct {
		Status string `json:"status"`
	}{"ok"})
	return nil
}

func (a *tokenAnswer) revoke() error {
	switch {
	case !a.mayChange():
		return a.forbid()
	case strings.TrimSpace(a.form.Get("tokenUuid")) == "":
		a.status, a.contentType, a.body = http.StatusBadRequest, "text/plain;charset=utf-8", "The tokenUuid cannot be empty\n"
		return nil
	}
	t, err := a.named()
	if errors.Is(err, token.ErrNotFound) {
		return nil // as in Jenkins
	}
	if err != nil {
		return err
	}
	_, err = a.tokens.Revoke(a.r.Context(), t.Record().ID, a.actor)
	return err
}

func (a *tokenAnswer) revokeAll() error { return a.revokeBut(uuid.Nil) }

func (a *tokenAnswer) revokeAllExcept() error {
	if strings.TrimSpace(a.form.Get("tokenUuid")) == "" && a.mayChange() {
		a.status, a.contentType, a.body = http.StatusBadRequest, "text/plain;charset=utf-8", "The tokenUuid cannot be empty\n"
		return nil
	}
	kept, err := uuid.Parse(a.form.Get("tokenUuid"))
	if err != nil {
		kept = uuid.Nil // one that is not there keeps none, as in Jenkins
	}
	return a.revokeBut(kept)
}

func (a *tokenAnswer) revokeBut(kept uuid.UUID) error {
	if !a.mayChange() {
		return a.forbid()
	}
	var doomed []*token.Token
	for _, t := range a.tokens.Select(token.Filter{Owner: a.owner}) {
		if t.Record().ID != kept {
			doomed = append(doomed, t)
		}
	}
	_, err := a.tokens.RevokeAll(a.r.Context(), doomed, "", a.actor)
	return err
}

// changeToken would make a legacy token, which nobody should have any more.
func (a *tokenAnswer) changeToken() error {
	if !a.mayChange() {
		return a.forbid()
	}
	a.contentType, a.body = "text/html;charset=utf-8", "<div>Legacy API tokens can't be made any more. Make a new token with a name instead.</div>"
	return nil
}
