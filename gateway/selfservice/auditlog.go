package selfservice

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/audit"
)

// auditWait bounds how long the audit log is searched, which may have many files.
const auditWait = 15 * time.Second

// AuditFiles returns what reads entries of the audit logs, for Config.Audit.
func AuditFiles(logs audit.Set) func(context.Context, AuditQuery) ([]AuditEntry, error) {
	return func(ctx context.Context, q AuditQuery) ([]AuditEntry, error) {
		ctx, cancel := context.WithTimeout(ctx, auditWait)
		defer cancel()
		found := logs.Find(ctx, audit.Filter{TokenID: q.Token, Owner: string(q.Owner), Kind: audit.Kind(q.Kind)})
		if q.Token == uuid.Nil && q.Owner == "" && q.Kind == "" {
			found = logs.Tail(ctx, q.Limit, false) // from near the end
		}
		var last []AuditEntry
		for r, err := range found {
			if err != nil {
				return nil, err
			}
			if len(last) >= 2*q.Limit {
				last = append(last[:0], last[len(last)-q.Limit:]...)
			}
			last = append(last, auditEntry(r))
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		last = last[max(0, len(last)-q.Limit):]
		slices.Reverse(last)
		return last, nil
	}
}

func auditEntry(r audit.Record) AuditEntry {
	detail := []string{r.Reason}
	if r.Count > 1 {
		detail = append(detail, fmt.Sprintf("(%d times)", r.Count))
	}
	if r.Before != "" || r.After != "" {
		detail = append(detail, cmp.Or(r.Before, "–")+" → "+cmp.Or(r.After, "–"))
	}
	detail = append(detail, r.Method, r.PathClass)
	return AuditEntry{
		Time: r.Time, Kind: string(r.Kind), Failed: r.Failed, Actor: r.Actor, Via: string(r.Via), Addr: r.Client, Owner: r.Owner,
		TokenID: r.TokenID, TokenName: r.TokenName,
		Detail: strings.Join(slices.DeleteFunc(detail, func(s string) bool { return s == "" }), " "),
	}
}
