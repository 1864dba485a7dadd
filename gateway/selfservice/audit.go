package selfservice

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
)

// maxEntries bounds how many entries of the audit log the page shows.
const maxEntries = 200

// An AuditQuery says which entries of the audit log are wanted. What is zero does
// not matter.
type AuditQuery struct {
	Owner user.ID
	Token uuid.UUID
	Kind  string // one that ends with a dot is for all that begin so: "token."
	Limit int    // how many at most; never zero
}

// An AuditEntry is an entry of the audit log as the page shows it. Its texts may hold
// anything, but no secret.
type AuditEntry struct {
	Time      time.Time
	Kind      string
	Failed    bool // the change was announced, and then not made
	Actor     string
	Via       string
	Addr      string
	Owner     string
	TokenID   uuid.UUID // uuid.Nil if it is not about a token
	TokenName string
	Detail    string
}

type auditRow struct {
	AuditEntry
	When moment
	ID   string
}

// auditKinds are offered where one can be typed.
var auditKinds = []token.Kind{
	token.KindCreated, token.KindImported, token.KindExported, token.KindRenamed, token.KindLimited, token.KindRotated, token.KindSuspended,
	token.KindResumed, token.KindRevoked, token.KindUser, token.KindDisabled, token.KindEnabled, token.KindReused, token.KindNewAddress, token.KindExpiring,
}

func (v *visit) audit() error {
	if v.Config.Audit == nil {
		return errNotFound
	}
	page := struct {
		base
		Owner, Token, Kind string
		Kinds              []token.Kind
		Entries            []auditRow
		Max                int
	}{
		base: v.base("Audit log", "audit"), Owner: v.typed("owner"), Token: v.typed("token"), Kind: v.typed("kind"),
		Kinds: auditKinds, Max: maxEntries,
	}
	query := AuditQuery{Kind: page.Kind, Limit: maxEntries}
	if page.Owner != "" {
		var err error
		if query.Owner, err = user.ParseID(page.Owner); err != nil {
			page.Faults = append(page.Faults, fault{"owner", sentence(err)})
		}
	}
	if page.Token != "" {
		var err error
		if query.Token, err = uuid.Parse(page.Token); err != nil {
			page.Faults = append(page.Faults, fault{"token", "This is not the id of a token."})
		}
	}
	if len(page.Faults) > 0 {
		return v.render(http.StatusBadRequest, "audit", page)
	}
	entries, err := v.Config.Audit(v.ctx, query)
	if err != nil {
		v.Log.Error("the audit log can't be shown", "error", err)
		return &problem{http.StatusServiceUnavailable, "The audit log can’t be read", "The gateway’s log says why."}
	}
	for _, e := range entries[:min(len(entries), maxEntries)] {
		line := auditRow{AuditEntry: e, When: v.momentOf(e.Time)}
		if e.TokenID != uuid.Nil {
			line.ID = e.TokenID.String()
		}
		page.Entries = append(page.Entries, line)
	}
	return v.render(http.StatusOK, "audit", page)
}
