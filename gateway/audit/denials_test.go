package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/crumbgate/crumbgate/gateway/audit"
)

// denied writes denials to a log of their own, and returns its lines.
func denied(t *testing.T, note func(*audit.Denials)) []audit.Record {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.denials.log")
	d := audit.NewDenials(open(t, path, audit.Options{}))
	note(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, path, audit.VerifyOptions{})
	return find(t, path, audit.Filter{Kind: "request."})
}

// A flood of denials is a few lines, which say how many there were, and it hides neither
// those of other reasons nor those of known tokens.
func TestDenialsAreSummedUp(t *testing.T) {
	leaked := uuid.New()
	lines := denied(t, func(d *audit.Denials) {
		for i := range 20_000 {
			d.Note(audit.Event{Kind: audit.RequestDenied, Client: "192.0.2.7", Reason: "no credential"})
			d.Note(audit.Event{Kind: audit.RequestDenied, Client: fmt.Sprintf("2001:db8::%x", i), Reason: "unknown token"})
			d.Note(audit.Event{Kind: audit.RequestDenied, Client: fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&0xff), Reason: "path"})
			// Values of observed requests are as many as a client likes.
			d.Note(audit.Event{Kind: audit.RequestObserved, Client: "192.0.2.8", TokenID: uuid.Max, Reason: fmt.Sprint("needs build x", i)})
		}
		d.Note(audit.Event{Kind: audit.RequestDenied, Client: "198.51.100.1", Reason: "revoked token", TokenID: leaked, TokenName: "leaked", Owner: "alice"})
	})
	if len(lines) > 2_000 {
		t.Errorf("%d lines were written", len(lines))
	}
	total := make(map[string]uint64)
	sums := make(map[string]int)
	for _, r := range lines {
		n := max(r.Count, 1)
		reason := r.Reason
		if r.Kind == audit.RequestObserved {
			reason = "observed"
		}
		total[reason] += n
		if r.Count > 0 {
			sums[reason]++
		}
		if r.Count > 0 && reason == "unknown token" && r.Client != "2001:db8::/64" {
			t.Errorf("the sum of a /64 is of %q", r.Client)
		}
		if reason == "revoked token" && (r.TokenID != leaked || r.Client != "198.51.100.1") {
			t.Errorf("the use of the leaked token is %+v", r)
		}
	}
	want := map[string]uint64{"no credential": 20_000, "unknown token": 20_000, "path": 20_000, "observed": 20_000, "revoked token": 1}
	if fmt.Sprint(total) != fmt.Sprint(want) {
		t.Errorf("there are %v, want %v", total, want)
	}
	if sums["no credential"] != 1 || sums["unknown token"] != 1 || sums["observed"] != 1 {
		t.Errorf("sums are %v, want one line for each address and reason", sums)
	}
}

// A few denials are written as they come.
func TestFewDenialsAreWrittenSingly(t *testing.T) {
	lines := denied(t, func(d *audit.Denials) {
		for i := range 10 {
			d.Note(audit.Event{Kind: audit.RequestDenied, Client: "192.0.2.7", Reason: "no credential", Method: fmt.Sprint(i)})
		}
		d.Note(audit.Event{Kind: audit.RequestDenied, Reason: "no address"})
	})
	if len(lines) != 11 {
		t.Fatalf("%d lines, want 11", len(lines))
	}
	for i, r := range lines {
		if r.Count != 0 || i < 10 && r.Method != fmt.Sprint(i) {
			t.Errorf("line %d: %+v", i, r)
		}
	}
}

// What reads the logs of a gateway sees changes and denials as one.
func TestSetIsInTheOrderOfTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	changes, d := open(t, path, audit.Options{}), audit.NewDenials(open(t, audit.DenialsName(path), audit.Options{}))
	for n := range 6 {
		appendTo(t, changes, n, n+1)
		d.Note(audit.Event{Kind: audit.RequestDenied, Client: fmt.Sprintf("192.0.2.%d", n), Reason: "no credential"})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	closeLog(t, changes)
	set := audit.SetOf(dirOf(path), "audit.log")
	kinds := func(found func(func(audit.Record, error) bool)) (list []audit.Kind) {
		last := audit.Record{}
		for r, err := range found {
			if err != nil {
				t.Fatal(err)
			}
			if r.Time.Before(last.Time) {
				t.Errorf("%v comes after %v", r.Time, last.Time)
			}
			list, last = append(list, r.Kind), r
		}
		return list
	}
	if got := kinds(set.Find(t.Context(), audit.Filter{})); len(got) != 2*6+4 {
		t.Errorf("found are %q, want all of both", got)
	}
	if got := kinds(set.Tail(t.Context(), 5, false)); len(got) != 5 {
		t.Errorf("the last are %q, want 5", got)
	}
	if err := os.Remove(audit.DenialsName(path)); err != nil {
		t.Fatal(err)
	}
	if got := kinds(audit.SetOf(dirOf(path), "audit.log").Find(t.Context(), audit.Filter{})); len(got) != 6+2 {
		t.Errorf("found are %q, want the changes", got)
	}
}

func BenchmarkDenial(b *testing.B) {
	d := audit.NewDenials(open(b, filepath.Join(b.TempDir(), "audit.denials.log"), audit.Options{}))
	e := audit.Event{Kind: audit.RequestDenied, Client: "192.0.2.7", Reason: "no credential", Method: "GET"}
	b.ReportAllocs()
	for b.Loop() {
		d.Note(e)
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
}
