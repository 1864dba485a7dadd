package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/strictjson"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	maxBody  = 64 << 10 // bytes, of a request
	maxActor = 128      // bytes
	maxWhy   = 255      // bytes

	via          = "admin api" // in the audit log
	defaultActor = "admin api"
)

// Kinds of token.Error that only the handler knows.
var (
	errMethod    = errors.New("method")
	errTooLarge  = errors.New("too large")
	errMediaType = errors.New("media type")
	errNotOpen   = errors.New("not open")
)

// statuses is how the kinds of errors are answered; what has none is 500.
var statuses = []struct {
	kind   error
	status int
}{
	{token.ErrInvalid, http.StatusBadRequest},
	{token.ErrNotFound, http.StatusNotFound},
	{errMethod, http.StatusMethodNotAllowed},
	{token.ErrDuplicate, http.StatusConflict},
	{token.ErrConflict, http.StatusConflict},
	{errTooLarge, http.StatusRequestEntityTooLarge},
	{errMediaType, http.StatusUnsupportedMediaType},
	{token.ErrStore, http.StatusServiceUnavailable},
	{token.ErrAudit, http.StatusServiceUnavailable},
	{errNotOpen, http.StatusServiceUnavailable},
}

func errorf(kind error, format string, args ...any) error {
	return &token.Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Config is what a Handler needs of the outside world.
type Config struct {
	// Directory returns the directory, or the reason for which there is none now.
	Directory func() (*token.Directory, error)
	// CrumbKeys does the same for the keys of the gateway's crumbs.
	CrumbKeys func() (*crumb.Keys, error)
	// Audit tells of the audit log.
	Audit func() (AuditStatus, error)
	Now   func() time.Time // time.Now if nil
}

type handler struct {
	directory func() (*token.Directory, error)
	crumbKeys func() (*crumb.Keys, error)
	audit     func() (AuditStatus, error)
	now       func() time.Time
}

// An action answers a request, or returns why not before it has written anything.
type action func(http.ResponseWriter, *http.Request, *token.Directory) error

// NewHandler returns the handler of all paths under Prefix.
//
// It takes no measure of its own against requests that a web page makes the
// browser of an administrator send: Caddy's admin endpoint, in which it is
// mounted, checks Host and Origin before. What creates or changes must be JSON in
// addition, which no HTML form can send.
func NewHandler(cfg Config) http.Handler {
	h := &handler{directory: cfg.Directory, crumbKeys: cfg.CrumbKeys, audit: cfg.Audit, now: cfg.Now}
	if h.now == nil {
		h.now = time.Now
	}
	mux := http.NewServeMux()
	for path, actions := range map[string]map[string]action{
		"tokens":              {http.MethodGet: h.list, http.MethodPost: h.create},
		"tokens/revoke":       {http.MethodPost: h.many(revoking)},
		"tokens/suspend":      {http.MethodPost: h.many(suspending)},
		"tokens/resume":       {http.MethodPost: h.many(resuming)},
		"tokens/{id}":         {http.MethodGet: h.show, http.MethodDelete: h.revoke},
		"tokens/{id}/rename":  {http.MethodPost: h.rename},
		"tokens/{id}/rotate":  {http.MethodPost: h.rotate},
		"tokens/{id}/suspend": {http.MethodPost: h.suspend},
		"tokens/{id}/resume":  {http.MethodPost: h.resume},
		"tokens/{id}/limits":  {http.MethodPatch: h.limit},
		"tokens/{id}/suggest": {http.MethodGet: h.suggest},
		"users":               {http.MethodGet: h.showUser, http.MethodPatch: h.updateUser},
		"report":              {http.MethodGet: h.report},
		"import":              {http.MethodPost: h.importTokens},
		"export":              {http.MethodGet: h.export},
		"crumb-keys":          {http.MethodGet: h.listCrumbKeys, http.MethodPost: h.rotateCrumbKeys},
		"audit":               {http.MethodGet: h.auditStatus},
		"health":              {http.MethodGet: h.health},
	} {
		mux.Handle(Prefix+path, h.serve(actions))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, errorf(token.ErrNotFound, "there is nothing at %q", r.URL.Path))
	})
	return mux
}

// serve returns the handler of one path, with its actions by method.
func (h *handler) serve(actions map[string]action) http.HandlerFunc {
	allowed := strings.Join(slices.Sorted(maps.Keys(actions)), ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves out the body
		}
		act, known := actions[method]
		if !known {
			w.Header().Set("Allow", allowed)
			fail(w, errorf(errMethod, "%s is not possible here, use %s", r.Method, allowed))
			return
		}
		directory, err := h.directory()
		if err != nil {
			fail(w, errorf(errNotOpen, "the token store is not open: %v", err))
			return
		}
		r = r.WithContext(token.From(r.Context(), via, r.RemoteAddr))
		if err := act(w, r, directory); err != nil {
			fail(w, err)
		}
	}
}

func (h *handler) create(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	var req CreateRequest
	actor, err := body(w, r, &req, &req.Actor)
	if err != nil {
		return err
	}
	wanted := token.Request{
		User: req.User, Name: req.Name, Expires: req.Expires, Format: req.Format,
		Limits: req.limits(), Actor: actor,
	}
	if !req.UserUpdate.Empty() {
		profile := req.profile()
		wanted.Profile = &profile
	}
	made, secret, err := d.Create(r.Context(), wanted)
	if err != nil {
		return err
	}
	created := CreatedToken{Token: tokenOf(made, h.now()), Secret: secret.Reveal()}
	w.Header().Set("Location", Prefix+"tokens/"+created.ID)
	answer(w, http.StatusCreated, created)
	return nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, append([]string{"sort", "limit"}, token.FilterFields...)...)
	if err != nil {
		return err
	}
	filter, arrange, err := parseQuery(params, h.now())
	if err != nil {
		return err
	}
	header(w, http.StatusOK)
	h.stream(w, arrange(d.Select(filter)), "")
	return nil
}

// stream writes tokens one by one, so that a long list is never in memory as a
// whole, and then the other fields of the object.
func (h *handler) stream(w http.ResponseWriter, tokens []*token.Token, rest string) {
	now := h.now()
	each(w, len(tokens), func(i int) any { return tokenOf(tokens[i], now) }, rest)
}

// each answers with a list of n rows, the first of which does not wait for the
// others.
func each(w http.ResponseWriter, n int, row func(int) any, rest string) {
	encoder := json.NewEncoder(w)
	_, _ = io.WriteString(w, `{"tokens":[`)
	for i := range n {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		if err := encoder.Encode(row(i)); err != nil {
			return // the client has gone
		}
		if i == 0 {
			_ = http.NewResponseController(w).Flush() // all the same if w can't
		}
	}
	_, _ = io.WriteString(w, "]"+rest+"}\n")
}

func (h *handler) show(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	found, err := one(r, d)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(found, h.now()))
	return nil
}

// one returns the token that a path names.
func one(r *http.Request, d *token.Directory) (*token.Token, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	return d.Get(r.Context(), id)
}

func pathID(r *http.Request) (uuid.UUID, error) {
	id, err := ParseID(r.PathValue("id"))
	if err != nil {
		return id, errorf(token.ErrInvalid, "%v", err)
	}
	return id, nil
}

// change reads a request to change the token that its path names.
func change(w http.ResponseWriter, r *http.Request, req any, actor *string) (id uuid.UUID, by string, err error) {
	if by, err = body(w, r, req, actor); err != nil {
		return id, by, err
	}
	id, err = pathID(r)
	return id, by, err
}

func (h *handler) revoke(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "actor", "why")
	if err != nil {
		return err
	}
	actor, err := parseActor(params.Get("actor"))
	if err != nil {
		return err
	}
	why := params.Get("why")
	if err := checkWhy(why); err != nil {
		return err
	}
	found, err := one(r, d)
	if err != nil {
		return err
	}
	if _, err := d.RevokeAll(r.Context(), []*token.Token{found}, why, actor); err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(found, h.now()))
	return nil
}

func (h *handler) rename(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	var req RenameRequest
	id, actor, err := change(w, r, &req, &req.Actor)
	if err != nil {
		return err
	}
	renamed, err := d.Rename(r.Context(), id, req.Name, actor)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(renamed, h.now()))
	return nil
}

func (h *handler) rotate(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	var req Rotation
	id, actor, err := change(w, r, &req, &req.Actor)
	if err != nil {
		return err
	}
	made, secret, old, err := d.Rotate(r.Context(), id, token.Rotation{Overlap: req.Overlap, Expires: req.Expires, Actor: actor})
	if err != nil {
		return err
	}
	now := h.now()
	rotated := RotatedToken{CreatedToken: CreatedToken{Token: tokenOf(made, now), Secret: secret.Reveal()}, Old: tokenOf(old, now)}
	w.Header().Set("Location", Prefix+"tokens/"+rotated.ID)
	answer(w, http.StatusCreated, rotated)
	return nil
}

func (h *handler) suspend(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	return h.setState(w, r, d, suspending)
}

func (h *handler) resume(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	return h.setState(w, r, d, resuming)
}

func (h *handler) setState(w http.ResponseWriter, r *http.Request, d *token.Directory, what *changing) error {
	var req StateRequest
	actor, err := body(w, r, &req, &req.Actor)
	if err != nil {
		return err
	}
	if err := what.check(req.Why); err != nil {
		return err
	}
	found, err := one(r, d)
	if err != nil {
		return err
	}
	if _, err := what.do(r.Context(), d, []*token.Token{found}, req.Why, actor); err != nil {
		return err
	}
	if found.Record().State == token.Revoked { // nothing ever makes it another
		return errorf(token.ErrConflict, "token %s is revoked, which can't be undone", found.Record().ID)
	}
	answer(w, http.StatusOK, tokenOf(found, h.now()))
	return nil
}

func (h *handler) limit(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	var update LimitsUpdate
	id, actor, err := change(w, r, &update, &update.Actor)
	if err != nil {
		return err
	}
	if update.Empty() {
		return errorf(token.ErrInvalid, "nothing to change: give scopes, observe, sources, rate or max_uses")
	}
	limited, err := d.ChangeLimits(r.Context(), id, func(now *token.Limits) *token.Limits {
		limits := update.apply(limitsOf(now))
		return limits.limits()
	}, actor)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(limited, h.now()))
	return nil
}

func (h *handler) suggest(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "folders")
	if err != nil {
		return err
	}
	suggest := policy.Suggest
	switch folders := params.Get("folders"); folders {
	case "", "false":
	case "true":
		suggest = policy.SuggestFolders
	default:
		return errorf(token.ErrInvalid, "folders %q is neither true nor false", folders)
	}
	found, err := one(r, d)
	if err != nil {
		return err
	}
	record, needs := found.Record(), found.Needs()
	switch {
	case len(needs) > 0:
	case record.Observed():
		return errorf(token.ErrConflict, "token %s has not been seen to do anything yet: ask again after it has done its work", record.ID)
	default:
		return errorf(token.ErrConflict, "token %s isn't observed, so nobody knows what it does: give it scopes and observe, "+
			"as in token limit %[1]s --scope read --observe, and ask again after it has done its work", record.ID)
	}
	scopes := suggest(needs)
	answer(w, http.StatusOK, Suggestion{
		Scopes: append([]string{}, scopes...), Seen: requestsOf(scopes, found.Seen()), Now: append([]string{}, limitsOf(record.Limits).Scopes...), // [] and not null
		Observe: record.Observed(), Needs: len(needs),
	})
	return nil
}

// requestsOf returns how many of the requests that were seen each scope covers.
func requestsOf(scopes []string, seen []token.Seen) []Seen {
	counts := make([]Seen, 0, len(scopes))
	for _, text := range scopes {
		count := Seen{Scope: text}
		if scope, err := policy.ParseScopes([]string{text}); err == nil {
			for _, s := range seen {
				if scope.Allows(s.Need) {
					count.Requests += s.Count
				}
			}
		}
		counts = append(counts, count)
	}
	return counts
}

func (h *handler) showUser(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "id")
	if err != nil {
		return err
	}
	if !params.Has("id") {
		list := UserList{Users: []ListedUser{}}
		for _, u := range d.Users() {
			list.Users = append(list.Users, ListedUser{User: userOf(u.Profile), Tokens: u.Tokens})
		}
		answer(w, http.StatusOK, list)
		return nil
	}
	profile, err := d.Profile(params.Get("id"))
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, userOf(profile))
	return nil
}

func (h *handler) updateUser(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "id")
	if err != nil {
		return err
	}
	var change UserChange
	if err := decode(w, r, &change, maxBody); err != nil {
		return err
	}
	actor, err := parseActor(change.Actor)
	if err != nil {
		return err
	}
	var profile *token.Profile
	switch {
	case change.Disabled == nil && change.Empty():
		return errorf(token.ErrInvalid, "nothing to change: give groups, mail or display_name, or disabled")
	case change.Disabled == nil:
		profile, err = d.SetProfile(r.Context(), params.Get("id"), change.profile(), actor)
	case change.Empty():
		if id := params.Get("id"); !change.Unknown && !d.Known(id) {
			if _, err := user.ParseID(id); err != nil {
				return errorf(token.ErrInvalid, "%v", err)
			}
			return errorf(token.ErrNotFound, "no user %q is known, so there are no tokens: check the spelling, or send \"unknown\": true", id)
		}
		profile, err = d.SetDisabled(r.Context(), params.Get("id"), *change.Disabled, actor)
	default:
		return errorf(token.ErrInvalid, "disabled is changed on its own: leave the rest to another request")
	}
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, userOf(profile))
	return nil
}

func (h *handler) listCrumbKeys(w http.ResponseWriter, r *http.Request, _ *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	keys, err := h.crumbKeys()
	if err != nil {
		return errorf(errNotOpen, "the keys of crumbs can't be read: %v", err)
	}
	answer(w, http.StatusOK, crumbKeysOf(keys))
	return nil
}

func (h *handler) rotateCrumbKeys(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	var req RotateRequest
	actor, err := body(w, r, &req, &req.Actor)
	if err != nil {
		return err
	}
	keys, err := h.crumbKeys()
	if err != nil {
		return errorf(errNotOpen, "the keys of crumbs can't be read: %v", err)
	}
	kind, detail := token.KindCrumbKeyRotated, "old keys hold"
	if req.Drop {
		kind, detail = token.KindCrumbKeysDropped, "old keys are dropped"
	}
	err = d.Store(r.Context(), kind, detail, actor, func(ctx context.Context, with ...storage.Change) error {
		return keys.Rotate(ctx, req.Drop, with...)
	})
	if err != nil {
		return err
	}
	answer(w, http.StatusCreated, crumbKeysOf(keys))
	return nil
}

func (h *handler) auditStatus(w http.ResponseWriter, r *http.Request, _ *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	status, err := h.audit()
	if err != nil {
		return errorf(errNotOpen, "the audit log is not open: %v", err)
	}
	answer(w, http.StatusOK, status)
	return nil
}

func crumbKeysOf(keys *crumb.Keys) CrumbKeys {
	var list CrumbKeys
	for _, k := range keys.Info() {
		list.Keys = append(list.Keys, CrumbKey{Number: k.Number, Created: Time(k.Created.Unix()), Current: k.Current})
	}
	return list
}

// health is for supervisors that restart what is not healthy. So it asks for what
// a restart can mend: a store that fails later takes no token away from the
// clients, but a restart on it would. A store or an audit log that can't be written is named, and
// the status stays 200, since a restart would not mend it.
func (h *handler) health(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	health := Health{Status: "ok", Tokens: d.Len()}
	if err := d.Check(r.Context()); err != nil {
		health.StoreError = err.Error()
	}
	if h.audit != nil {
		status, err := h.audit()
		if err != nil {
			return errorf(errNotOpen, "the audit log is not open: %v", err)
		}
		health.AuditError, health.AuditWaiting = status.Error, status.Waiting
	}
	answer(w, http.StatusOK, health)
	return nil
}

// ParseID returns the token id of a text. The error does not repeat the text: it
// may be a secret, pasted at the wrong place, and errors are logged.
func ParseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err == nil {
		return id, nil
	}
	if token.ContainsSecret(text) {
		return id, errors.New("this is the secret of a token and not its id: list the tokens to find the id, and revoke the token if others may have seen the secret here")
	}
	return id, errors.New("this is not the id of a token, which looks like 01890a5d-ac96-774b-bcce-b302099a8057: list the tokens to find it")
}

func parseActor(actor string) (string, error) {
	if actor == "" {
		return defaultActor, nil
	}
	if len(actor) > maxActor {
		return "", errorf(token.ErrInvalid, "the actor has %d bytes, at most %d are allowed", len(actor), maxActor)
	}
	if err := user.CheckText("actor", actor); err != nil {
		return "", errorf(token.ErrInvalid, "%v", err)
	}
	return actor, nil
}

func checkWhy(why string) error {
	if len(why) > maxWhy {
		return errorf(token.ErrInvalid, "the reason has %d bytes, at most %d are allowed", len(why), maxWhy)
	}
	if token.ContainsSecret(why) {
		return errorf(token.ErrInvalid, "the reason holds a token: reasons are not secret, and that token should be revoked")
	}
	if err := user.CheckText("reason", why); err != nil {
		return errorf(token.ErrInvalid, "%v", err)
	}
	return nil
}

// query returns the parameters of a request, which must be among the known ones
// and not be given twice: a misspelt filter would quietly list everything.
func query(r *http.Request, known ...string) (url.Values, error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errorf(token.ErrInvalid, "the query is not understood: %v", err)
	}
	for name, values := range params {
		if !slices.Contains(known, name) {
			return nil, errorf(token.ErrInvalid, "unknown query parameter %q", name)
		}
		if len(values) > 1 {
			return nil, errorf(token.ErrInvalid, "query parameter %q is given twice", name)
		}
	}
	return params, nil
}

// body reads the JSON body of a request that has no query, and the actor in it.
func body(w http.ResponseWriter, r *http.Request, into any, actor *string) (string, error) {
	if _, err := query(r); err != nil {
		return "", err
	}
	if err := decode(w, r, into, maxBody); err != nil {
		return "", err
	}
	return parseActor(*actor)
}

// decode reads the JSON body of a request, of at most limit bytes.
func decode(w http.ResponseWriter, r *http.Request, into any, limit int64) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errorf(errMediaType, "the Content-Type is %q: send application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errorf(errTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return errorf(token.ErrInvalid, "the body can't be read: %v", err)
	}
	if err := strictjson.Unmarshal(body, into); err != nil {
		return errorf(token.ErrInvalid, "the body is not understood: %v", err)
	}
	return nil
}

func header(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

func answer(w http.ResponseWriter, status int, body any) {
	header(w, status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	for _, s := range statuses {
		if errors.Is(err, s.kind) {
			status = s.status
			break
		}
	}
	answer(w, status, &Error{Text: err.Error()})
}
