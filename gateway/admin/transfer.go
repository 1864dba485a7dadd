package admin

import (
	"encoding/hex"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// maxImportBody bounds, in bytes, the body of an import: names in Jenkins have no
// bound.
const maxImportBody = 1 << 20

// An ImportRequest takes over tokens of Jenkins or of another gateway, at most
// token.MaxImport at once.
type ImportRequest struct {
	Tokens []TransferToken `json:"tokens"`
	DryRun bool            `json:"dry_run,omitempty"` // only tells what would be done
	Actor  string          `json:"actor,omitempty"`
}

// A TransferToken is a token on its way from or to Jenkins or another gateway. It
// holds the digest, by which the secret is recognised: nobody can tell the secret
// from it, but whoever can write it into a gateway has made a token.
type TransferToken struct {
	User    string `json:"user"`
	ID      string `json:"id,omitempty"` // "": a new one
	Name    string `json:"name"`
	Digest  string `json:"digest"` // SHA-256 of the secret, as 64 hex digits
	Legacy  bool   `json:"legacy,omitempty"`
	Created Time   `json:"created"` // never: unknown
	Expires Time   `json:"expires"`
	Uses    uint64 `json:"uses,omitempty"`
	LastUse Time   `json:"last_use"`
	// Limited is that the token is limited here, which does not travel. Such a token is
	// not taken over: it could do more than it should.
	Limited bool `json:"limited,omitempty"`
	// Gone is that the token is not let in. Such a token is not taken over either.
	Gone bool `json:"gone,omitempty"`
}

// An ImportResult tells what has become of the tokens of an ImportRequest, in
// their order.
type ImportResult struct {
	DryRun   bool            `json:"dry_run"`
	Outcomes []ImportOutcome `json:"outcomes"`
}

// An ImportOutcome is that of token.Imported.
type ImportOutcome struct {
	ID      string `json:"id,omitempty"`
	Outcome string `json:"outcome"` // taken, present or left
	Detail  string `json:"detail,omitempty"`
}

// An ExportList is the answer to an export: the tokens that are let in, and on demand
// the others, marked, so that they can be taken out elsewhere. It comes token by token.
type ExportList struct {
	Tokens []TransferToken `json:"tokens"`
}

func (t *TransferToken) parse() (token.Import, error) {
	item := token.Import{
		User: t.User, Name: t.Name, Legacy: t.Legacy,
		Created: int64(t.Created), Expires: int64(t.Expires), Uses: t.Uses, LastUse: int64(t.LastUse),
	}
	// Errors never quote what may be a secret.
	digest, err := hex.DecodeString(t.Digest)
	if err == nil {
		err = item.Digest.UnmarshalBinary(digest)
	}
	switch {
	case err != nil:
		return item, errorf(token.ErrInvalid, "the digest is not 64 hex digits")
	case t.Gone:
		return item, errorf(token.ErrInvalid, "the token is not let in where it comes from: leave it out")
	case t.Limited:
		return item, errorf(token.ErrInvalid, "the token is limited, and its limits do not travel: leave it out, and make another")
	case min(item.Created, item.Expires, item.LastUse) < 0:
		return item, errorf(token.ErrInvalid, "a time is before 1970: leave it out if it is not known")
	}
	if t.ID != "" {
		if item.ID, err = ParseID(t.ID); err != nil {
			return item, errorf(token.ErrInvalid, "%v", err)
		}
	}
	return item, nil
}

func (h *handler) importTokens(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	if _, err := query(r); err != nil {
		return err
	}
	var req ImportRequest
	if err := decode(w, r, &req, maxImportBody); err != nil {
		return err
	}
	actor, err := parseActor(req.Actor)
	if err != nil {
		return err
	}
	if len(req.Tokens) == 0 {
		return errorf(token.ErrInvalid, "there are no tokens to import")
	}
	list := make([]token.Import, len(req.Tokens))
	for i := range req.Tokens {
		if list[i], err = req.Tokens[i].parse(); err != nil {
			return errorf(token.ErrInvalid, "token %d: %v", i+1, err)
		}
	}
	imported, err := d.Import(r.Context(), list, req.DryRun, actor)
	if err != nil {
		return err
	}
	result := ImportResult{DryRun: req.DryRun, Outcomes: make([]ImportOutcome, len(imported))}
	for i, out := range imported {
		result.Outcomes[i] = ImportOutcome{ID: idText(out.ID), Outcome: string(out.Outcome), Detail: out.Detail}
		if req.DryRun && out.Outcome == token.Taken && list[i].ID == uuid.Nil {
			result.Outcomes[i].ID = "" // it will be another
		}
	}
	answer(w, http.StatusOK, result)
	return nil
}

func (h *handler) export(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
	params, err := query(r, "user", "gone", "actor")
	if err != nil {
		return err
	}
	actor, err := parseActor(params.Get("actor"))
	if err != nil {
		return err
	}
	if params.Has("user") && params.Get("user") == "" {
		return errorf(token.ErrInvalid, "the user is empty: leave it out to export everybody's tokens")
	}
	filter, err := token.ParseFilter(func(name string) string {
		switch name {
		case "user":
			return params.Get(name)
		case "all":
			return params.Get("gone")
		}
		return ""
	}, h.now())
	if err != nil {
		return errorf(token.ErrInvalid, "%v", err)
	}
	now := h.now()
	tokens := slices.DeleteFunc(d.Select(filter), func(t *token.Token) bool { return !filter.Revoked && t.Admit(now) != "" })
	if err := d.Exported(r.Context(), tokens, actor); err != nil {
		return err
	}
	header(w, http.StatusOK)
	each(w, len(tokens), func(i int) any {
		record, uses := tokens[i].Record(), tokens[i].Uses()
		return TransferToken{
			User: string(record.Owner), ID: record.ID.String(), Name: record.Name,
			Digest: hex.EncodeToString(record.Digest[:]), Legacy: record.Origin == token.Legacy,
			Created: Time(record.Created), Expires: Time(record.Expires),
			Uses: uses.Count, LastUse: Time(uses.Last), Limited: record.Limits != nil || record.Parent != uuid.Nil, Gone: tokens[i].Admit(now) != "",
		}
	}, "")
	return nil
}
