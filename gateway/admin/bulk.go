package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
)

// A BulkRequest revokes, suspends or resumes all tokens that a filter wants.
type BulkRequest struct {
	Filter
	// Except are the ids of tokens that stay as they are.
	Except []string `json:"except,omitempty"`
	// DryRun only tells what would be done. It is true unless it says false.
	DryRun *bool  `json:"dry_run,omitempty"`
	Why    string `json:"why,omitempty"` // for people; not of resuming
	Actor  string `json:"actor,omitempty"`
}

// A BulkResult lists the tokens that were changed, as they are then, or that
// would be, as they are now.
type BulkResult struct {
	Tokens []Token `json:"tokens"` // token by token
	DryRun bool    `json:"dry_run"`
}

// A changing is something that can be done to many tokens.
type changing struct {
	done  string                                   // for people
	on    func(t *token.Token, now time.Time) bool // it changes a token
	noWhy bool
	do    func(ctx context.Context, d *token.Directory, tokens []*token.Token, why, actor string) ([]*token.Token, error)
}

var (
	revoking = &changing{
		done: "revoked", on: func(t *token.Token, _ time.Time) bool { return t.Record().State != token.Revoked },
		do: func(ctx context.Context, d *token.Directory, tokens []*token.Token, why, actor string) ([]*token.Token, error) {
			return d.RevokeAll(ctx, tokens, why, actor)
		},
	}
	suspending = &changing{
		done: "suspended", on: func(t *token.Token, _ time.Time) bool { return t.Record().State == token.Active },
		do: func(ctx context.Context, d *token.Directory, tokens []*token.Token, why, actor string) ([]*token.Token, error) {
			return d.SuspendAll(ctx, tokens, token.ByAdmin, why, actor)
		},
	}
	resuming = &changing{
		done: "resumed", on: (*token.Token).Resumable, noWhy: true,
		do: func(ctx context.Context, d *token.Directory, tokens []*token.Token, _, actor string) ([]*token.Token, error) {
			return d.ResumeAll(ctx, tokens, token.ByAdmin, actor)
		},
	}
)

func (c *changing) check(why string) error {
	if c.noWhy && why != "" {
		return errorf(token.ErrInvalid, "a reason is kept only while a token is suspended or revoked: leave it out")
	}
	return checkWhy(why)
}

// selected returns the tokens that a request is about, and that it would change.
func (c *changing) selected(d *token.Directory, req *BulkRequest, now time.Time) ([]*token.Token, error) {
	texts := req.Texts()
	filter, err := token.ParseFilter(texts.Get, now)
	if err != nil {
		return nil, errorf(token.ErrInvalid, "%v", err)
	}
	if filter.Wide() && !req.All {
		return nil, errorf(token.ErrInvalid, "this is about all tokens: name a user or anything else that they share, or say all if all are meant")
	}
	except := make(map[uuid.UUID]bool)
	for i, text := range req.Except {
		id, err := ParseID(text)
		if err != nil {
			return nil, errorf(token.ErrInvalid, "exception %d: %v", i+1, err)
		}
		except[id] = true
	}
	return slices.DeleteFunc(d.Select(filter), func(t *token.Token) bool {
		return except[t.Record().ID] || !c.on(t, now)
	}), nil
}

// many returns the action that does something to all tokens that a filter wants.
func (h *handler) many(what *changing) action {
	return func(w http.ResponseWriter, r *http.Request, d *token.Directory) error {
		var req BulkRequest
		actor, err := body(w, r, &req, &req.Actor)
		if err != nil {
			return err
		}
		if err := what.check(req.Why); err != nil {
			return err
		}
		tokens, err := what.selected(d, &req, h.now())
		if err != nil {
			return err
		}
		dry := req.DryRun == nil || *req.DryRun
		if !dry {
			changed, err := what.do(r.Context(), d, tokens, req.Why, actor)
			if err != nil && len(changed) > 0 {
				return fmt.Errorf("%d of %d tokens were %s before this: %w", len(changed), len(tokens), what.done, err)
			}
			if err != nil {
				return err
			}
			tokens = changed
		}
		header(w, http.StatusOK)
		h.stream(w, tokens, fmt.Sprintf(`,"dry_run":%t`, dry))
		return nil
	}
}
