package selfservice_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/selfservice"
)

func TestAuditFiles(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "audit.log"), audit.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	id := uuid.New()
	for i := range 30 {
		e := audit.Event{Kind: "token.created", Actor: "carol", Via: audit.ViaPage, Owner: "carol", TokenName: fmt.Sprint(i), After: "expires=never"}
		if i == 7 {
			e.TokenID, e.Owner, e.Kind = id, "mal", "token.revoked"
		}
		if _, err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	read := selfservice.AuditFiles(audit.SetOf(os.DirFS(dir), "audit.log"))
	tests := []struct {
		name  string
		query selfservice.AuditQuery
		want  string // names of tokens
	}{
		{"last", selfservice.AuditQuery{Limit: 3}, "[29 28 27]"},
		{"owner", selfservice.AuditQuery{Owner: "carol", Limit: 2}, "[29 28]"},
		{"token", selfservice.AuditQuery{Token: id, Limit: 9}, "[7]"},
		{"kind", selfservice.AuditQuery{Kind: "token.revoked", Limit: 9}, "[7]"},
		{"kinds", selfservice.AuditQuery{Kind: "token.", Owner: "mal", Limit: 9}, "[7]"},
		{"none", selfservice.AuditQuery{Owner: "nobody", Limit: 9}, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entries, err := read(t.Context(), tt.query)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]string, len(entries))
			for i, e := range entries {
				got[i] = e.TokenName
				if e.Actor != "carol" || e.Via != "page" || e.Detail != "– → expires=never" || e.Time.IsZero() {
					t.Errorf("the entry is %+v", e)
				}
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("%+v: %v, want %s", tt.query, got, tt.want)
			}
		})
	}
	if _, err := selfservice.AuditFiles(audit.SetOf(os.DirFS(dir), "elsewhere.log"))(t.Context(), tests[0].query); err == nil {
		t.Error("a log that is not there has no error")
	}
}
