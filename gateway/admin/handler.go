package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/crumb"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

const (
	maxBody      = 64 << 10 // bytes, of a request
	maxActor     = 128      // bytes
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
	{errTooLarge, http.StatusRequestEntityTooLarge},
	{errMediaType, http.StatusUnsupportedMediaType},
	{token.ErrStore, http.StatusServiceUnavailable},
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
	// Rotated is told of a new key.
	Rotated func(actor string, dropped bool)
	Now     func() time.Time // time.Now if nil
}

type handler struct {
	directory func() (*token.Directory, error)
	crumbKeys func() (*crumb.Keys, error)
	rotated   func(actor string, dropped bool)
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
	h := &handler{directory: cfg.Directory, crumbKeys: cfg.CrumbKeys, rotated: cfg.Rotated, now: cfg.Now}
	if h.now == nil {
		h.now = time.Now
	}
	mux := http.NewServeMux()
	for path, actions := range map[string]map[string]action{
		"tokens":      {http.MethodGet: h.list, http.MethodPost: h.create},
		"tokens/{id}": {http.MethodGet: h.show, http.MethodDelete: h.revoke},
		"users":       {http.MethodGet: h.showUser, http.MethodPatch: h.updateUser},
		"crumb-keys":  {http.MethodGet: h.listCrumbKeys, http.MethodPost: h.rotateCrumbKeys},
		"health":      {http.MethodGet: h.health},
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
		if err := act(w, r, directory); err != nil {
			fail(w, err)
		}
	}
}

func (h *handler) create(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	var req CreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	actor, err := parseActor(req.Actor)
	if err != nil {
		return err
	}
	wanted := token.Request{
		User: req.User, Name: req.Name, Expires: req.Expires, Format: req.Format,
		Actor: actor,
	}
	if !req.Empty() {
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
	params, err := query(r, "user", "all")
	if err != nil {
		return err
	}
	all := false
	if params.Has("all") {
		if all, err = strconv.ParseBool(params.Get("all")); err != nil {
			return errorf(token.ErrInvalid, "all=%q is neither true nor false", params.Get("all"))
		}
	}
	owner := user.ID("")
	if params.Has("user") {
		if owner, err = user.ParseID(params.Get("user")); err != nil {
			return errorf(token.ErrInvalid, "%v", err)
		}
	}
	found := d.List(func(t *token.Token) bool {
		record := t.Record()
		return (all || record.State != token.Revoked) &&
			(owner == "" || user.CaseInsensitive.Equal(owner, record.Owner))
	})

	// One by one, so that a long list is never in memory as a whole.
	header(w, http.StatusOK)
	encoder := json.NewEncoder(w)
	_, _ = io.WriteString(w, `{"tokens":[`)
	for i, t := range found {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		if err := encoder.Encode(tokenOf(t, h.now())); err != nil {
			return nil // the client has gone
		}
	}
	_, _ = io.WriteString(w, "]}\n")
	return nil
}

func (h *handler) show(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	id, err := ParseID(r.PathValue("id"))
	if err != nil {
		return errorf(token.ErrInvalid, "%v", err)
	}
	found, err := d.Get(r.Context(), id)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(found, h.now()))
	return nil
}

func (h *handler) revoke(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "actor")
	if err != nil {
		return err
	}
	actor, err := parseActor(params.Get("actor"))
	if err != nil {
		return err
	}
	id, err := ParseID(r.PathValue("id"))
	if err != nil {
		return errorf(token.ErrInvalid, "%v", err)
	}
	revoked, err := d.Revoke(r.Context(), id, actor)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, tokenOf(revoked, h.now()))
	return nil
}

func (h *handler) showUser(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "id")
	if err != nil {
		return err
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
	var update UserUpdate
	if err := decode(w, r, &update); err != nil {
		return err
	}
	actor, err := parseActor(update.Actor)
	if err != nil {
		return err
	}
	if update.Empty() {
		return errorf(token.ErrInvalid, "nothing to change: give groups, mail or display_name")
	}
	profile, err := d.SetProfile(r.Context(), params.Get("id"), update.profile(), actor)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, userOf(profile))
	return nil
}

// health is for supervisors that restart what is not healthy. So it asks for what
// a restart can mend: a store that fails later takes no token away from the
// clients, but a restart on it would.
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

func (h *handler) rotateCrumbKeys(w http.ResponseWriter, r *http.Request, _ *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	var req RotateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	actor, err := parseActor(req.Actor)
	if err != nil {
		return err
	}
	keys, err := h.crumbKeys()
	if err != nil {
		return errorf(errNotOpen, "the keys of crumbs can't be read: %v", err)
	}
	if err := keys.Rotate(r.Context(), req.Drop); err != nil {
		return errorf(token.ErrStore, "the new key could not be stored, so the old one still holds: %v", err)
	}
	h.rotated(actor, req.Drop)
	answer(w, http.StatusCreated, crumbKeysOf(keys))
	return nil
}

func crumbKeysOf(keys *crumb.Keys) CrumbKeys {
	var list CrumbKeys
	for _, k := range keys.Info() {
		list.Keys = append(list.Keys, CrumbKey{Number: k.Number, Created: Time(k.Created.Unix()), Current: k.Current})
	}
	return list
}

func (h *handler) health(w http.ResponseWriter, _ *http.Request, d *token.Directory) error {
	answer(w, http.StatusOK, Health{Status: "ok", Tokens: d.Len()})
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

// decode reads the JSON body of a request.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errorf(errMediaType, "the Content-Type is %q: send application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errorf(errTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return errorf(token.ErrInvalid, "the body can't be read: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errorf(token.ErrInvalid, "the body is not understood: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errorf(token.ErrInvalid, "the body goes on after its JSON object")
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
