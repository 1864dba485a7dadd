package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/audit"
	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/internal/secretfile"
	"github.com/crumbgate/crumbgate/internal/spelling"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

func (e *Env) auditing() *cobra.Command {
	return e.group(&cobra.Command{
		Use:   "audit",
		Short: "Reads and verifies the audit log",
		Long: `Reads and verifies the audit log, in which the gateway notes each change of the
tokens and each request that it refuses. The files are read here: on the machine of
the gateway, or where copies of them are (--file).`,
		Example: `  caddy crumbgate audit verify
  caddy crumbgate audit tail --follow
  caddy crumbgate audit find --token 01890a5d-ac96-774b-bcce-b302099a8057`,
	}, e.auditVerify(), e.auditTail(), e.auditFind(), e.auditAccept())
}

// An auditSource is a log to be read.
type auditSource struct {
	logs audit.Set
	// heads are the last lines as the gateway says, of each log; empty if it was not asked.
	heads []audit.Head
}

// auditFlags adds the flags by which a command finds the log: a file, or the gateway
// that writes it.
func (e *Env) auditFlags(cmd *cobra.Command) (find func(context.Context) (auditSource, error)) {
	dial := e.connection(cmd)
	file := cmd.Flags().String("file", "", "newest file of the log (default: as the running gateway says)")
	return func(ctx context.Context) (auditSource, error) {
		if *file != "" {
			if _, err := os.Stat(*file); err != nil {
				return auditSource{}, fmt.Errorf("reading the audit log: %w", err)
			}
			return auditSource{logs: audit.SetOf(os.DirFS(filepath.Dir(*file)), filepath.Base(*file))}, nil
		}
		client, err := dial()
		if err != nil {
			return auditSource{}, err
		}
		status, err := client.AuditStatus(ctx)
		if err != nil {
			return auditSource{}, fmt.Errorf("%w (--file names a log without asking the gateway)", err)
		}
		if status.File == "" {
			return auditSource{}, errors.New("this gateway notes nothing: its setting audit is off")
		}
		source := auditSource{logs: audit.Set{FS: os.DirFS(filepath.Dir(status.File))}}
		for _, log := range []struct{ file, head string }{{status.File, status.Head}, {status.Denials, status.DenialsHead}} {
			if log.file == "" {
				continue
			}
			head, err := audit.ParseHead(log.head)
			if err != nil {
				return auditSource{}, err
			}
			source.logs.Names, source.heads = append(source.logs.Names, filepath.Base(log.file)), append(source.heads, head)
		}
		return source, nil
	}
}

func (e *Env) auditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [--file FILE] [--key-file FILE] [--head HEAD] [--lost HEAD…]",
		Short: "Finds whatever was changed in the audit log",
		Long: `Finds what was changed, removed, inserted or put in another order in the audit log.

What was cut off at the end is found by comparing with the last line that the running
gateway knows, or with a head that was kept elsewhere (--head): each run prints it.
What was cut off while the gateway was stopped it notes in the log when it starts. Once
you know why, --lost with the head that is named there lets the rest be verified.

Who can write all of the files can compute all hashes anew, unless the log has a key
(--key-file).

The exit status is 0 if nothing is wrong and 1 if something is.`,
		Example: `  caddy crumbgate audit verify
  caddy crumbgate audit verify --file /backup/audit.log --key-file /etc/crumbgate/audit.key`,
	}
	find := e.auditFlags(cmd)
	flags := cmd.Flags()
	keyFile := flags.String("key-file", "", "file with the key of the log, if it has one")
	headText := flags.String("head", "", "last line that is known to have been there, as an earlier run has printed it")
	lost := flags.StringArray("lost", nil, "last line of what is known to be gone; may be given several times")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		options := audit.VerifyOptions{Wait: 2 * time.Second}
		for _, text := range *lost {
			head, err := audit.ParseHead(text)
			if err != nil {
				return usagef("--lost: %w", err)
			}
			options.Lost = append(options.Lost, head)
		}
		if *headText != "" {
			head, err := audit.ParseHead(*headText)
			if err != nil {
				return usagef("--head: %w", err)
			}
			options.Head = head
		}
		if *keyFile != "" {
			key, warning, err := secretfile.Read(*keyFile)
			if err != nil {
				return fmt.Errorf("reading the key: %w", err)
			}
			if warning != "" {
				fmt.Fprintf(e.Stderr, "Warning: --key-file: %s\n", warning)
			}
			options.Key = key
		}
		source, err := find(ctx)
		if err != nil {
			return err
		}
		reports := make([]audit.Report, len(source.logs.Names))
		wrong := make([]error, len(reports))
		for i, name := range source.logs.Names {
			switch {
			case i > 0 && source.heads == nil:
				options.Head = audit.Head{} // that of --head is the changes'
			case *headText == "" && source.heads != nil, i > 0:
				options.Head = source.heads[i]
			}
			reports[i], wrong[i] = audit.Verify(ctx, source.logs.FS, name, options)
		}
		if *asJSON {
			if err := errors.Join(wrong...); err != nil {
				return err
			}
			all := auditReports{Report: reports[0]}
			if len(reports) > 1 {
				all.Denials = &reports[1]
			}
			return e.printJSON(all)
		}
		return e.printAuditReports(source.logs.Names, reports, wrong)
	})
}

// auditReports are what verify prints as JSON.
type auditReports struct {
	audit.Report
	Denials *audit.Report `json:",omitempty"`
}

// printAuditReports prints the reports of logs with which nothing is wrong, and returns what
// is wrong with the others.
func (e *Env) printAuditReports(names []string, reports []audit.Report, wrong []error) error {
	printed := false
	for i, r := range reports {
		if wrong[i] != nil {
			continue
		}
		if printed {
			if err := e.printf("\n"); err != nil {
				return err
			}
		}
		if err := e.printAuditReport(names[i], r); err != nil {
			return err
		}
		printed = true
	}
	return errors.Join(wrong...)
}

func (e *Env) printAuditReport(name string, r audit.Report) error {
	t := &table{out: e.Stdout}
	rows := [][]string{
		{"File:", name},
		{"Lines:", fmt.Sprintf("%s in %s, nothing is wrong with them", humanize.Comma(int64(r.Lines)), english.Plural(r.Files, "file", ""))},
		{"From:", e.when(admin.Time(r.First.Unix()))},
		{"To:", e.when(admin.Time(r.Last.Unix()))},
		{"Head:", r.Head.String()},
	}
	if r.FirstSeq > 1 {
		rows = append(rows, []string{"Removed:", fmt.Sprintf("the first %s, as was noted", english.Plural(int(r.FirstSeq-1), "line", ""))})
	}
	if r.Missing > 0 {
		rows = append(rows, []string{"Missing:", english.Plural(int(r.Missing), "event", "") + " that could not be written"})
	}
	if r.Failed > 0 {
		rows = append(rows, []string{"Failed:", english.Plural(int(r.Failed), "change", "") + " that was announced and not made"})
	}
	if r.Accepted > 0 {
		rows = append(rows, []string{"Accepted:", "an older token store, " + english.Plural(r.Accepted, "time", "") + ": changes before it are lost"})
	}
	if r.Unclean > 0 {
		rows = append(rows, []string{"Unclean:", english.Plural(r.Unclean, "start", "") + " after the gateway was killed, or the end was cut off"})
	}
	if !r.MACs {
		rows = append(rows, []string{"Key:", "none, so who can write all files could have written them anew"})
	}
	for _, row := range rows {
		if err := t.row(row...); err != nil {
			return err
		}
	}
	return t.flush()
}

func (e *Env) auditAccept() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept --store FILE LINE",
		Short: "Accepts a token store that is older than the audit log",
		Long: `Accepts a token store that is older than the audit log, such as a backup. The gateway
refuses to start with it, names the changes that the store lacks, and the line for this
command. It must be stopped.

At its next start the gateway applies the revocations, suspensions and disablings that the
store lacks. All other changes are lost: created tokens don't exist, and limits are the old
ones. The log gets a line that says so.`,
		Example: `  caddy crumbgate audit accept --store /var/lib/crumbgate/tokens.db 17:ab…`,
	}
	file := cmd.Flags().String("store", "", "file of the token store")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 || *file == "" {
			return usagef("name the file of the store and the line, as the gateway has said: accept --store FILE LINE")
		}
		if _, err := audit.ParseHead(args[0]); err != nil {
			return usagef("%w", err)
		}
		if _, err := os.Stat(*file); err != nil {
			return fmt.Errorf("opening the token store: %w", err)
		}
		store, err := boltstore.Open(*file, boltstore.Options{LockTimeout: -1, Known: storekey.Kinds()})
		if err != nil {
			return err
		}
		if err := errors.Join(token.AcceptStore(ctx, store, args[0]), store.Close()); err != nil {
			return err
		}
		return e.printf("Accepted. Start the gateway.\n")
	})
}

func (e *Env) auditTail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail [--follow] [--lines N]",
		Short: "Shows the newest events, and those to come",
		Example: `  caddy crumbgate audit tail
  caddy crumbgate audit tail --follow --json`,
	}
	find := e.auditFlags(cmd)
	flags := cmd.Flags()
	follow := flags.BoolP("follow", "f", false, "go on with what comes, until interrupted")
	lines := flags.IntP("lines", "n", 10, "how many of the newest to show")
	asJSON := cmd.Flags().Bool("json", false, "print the lines as they stand in the log")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if *lines < 0 {
			return usagef("--lines %d is negative", *lines)
		}
		source, err := find(ctx)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		return e.printAudit(source.logs.Tail(ctx, *lines, *follow), *asJSON)
	})
}

func (e *Env) auditFind() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find [--token ID] [--user USER] [--kind KIND] [--since TIME] [--until TIME] [TEXT]",
		Short: "Shows the events of a token, a user, a kind or a time",
		Long: `Shows the events that are all of what is given, the oldest first. A kind that ends
with a dot stands for all that begin so. Times are dates (2026-11-01) or moments
(RFC 3339).`,
		Example: `  caddy crumbgate audit find --token 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate audit find --user alice --kind token. --since 2026-11-01
  caddy crumbgate audit find --kind request.denied 192.0.2.7`,
	}
	find := e.auditFlags(cmd)
	flags := cmd.Flags()
	tokenID := flags.String("token", "", "id of a token")
	owner := flags.String("user", "", "user whose token, profile or request it is")
	kind := flags.String("kind", "", "kind, such as token.revoked, or token. for all of tokens")
	since := flags.String("since", "", "from this time on")
	until := flags.String("until", "", "before this time")
	asJSON := cmd.Flags().Bool("json", false, "print the lines as they stand in the log")
	ownerIsUser(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		filter := audit.Filter{Owner: *owner, Kind: audit.Kind(*kind)}
		if err := checkKind(*kind); err != nil {
			return err
		}
		switch {
		case len(args) > 1:
			return usagef("unexpected argument %q: search for one text", args[1])
		case len(args) == 1:
			filter.Text = args[0]
		}
		if *tokenID != "" {
			id, err := admin.ParseID(*tokenID)
			if err != nil {
				return usagef("--token: %w", err)
			}
			filter.TokenID = id
		}
		for _, moment := range []struct {
			flag, text string
			into       *time.Time
		}{{"since", *since, &filter.Since}, {"until", *until, &filter.Until}} {
			if moment.text == "" {
				continue
			}
			var err error
			if *moment.into, err = e.moment(moment.text); err != nil {
				return usagef("--%s: %w", moment.flag, err)
			}
		}
		if filter == (audit.Filter{}) {
			return usagef("say what to find: --token, --user, --kind, --since, --until or a text (audit tail shows the newest)")
		}
		source, err := find(ctx)
		if err != nil {
			return err
		}
		return e.printAudit(source.logs.Find(ctx, filter), *asJSON)
	})
}

// checkKind refuses a kind that no event has, or begins with.
func checkKind(kind string) error {
	if kind == "" {
		return nil
	}
	var known []string
	for _, k := range token.Kinds {
		known = append(known, string(k))
	}
	for _, k := range audit.Kinds {
		known = append(known, string(k))
	}
	for _, k := range known {
		if kind == k || strings.HasSuffix(kind, ".") && strings.HasPrefix(k, kind) {
			return nil
		}
	}
	slices.Sort(known)
	return usagef("--kind %q is no kind of event: use one of %s, or the part up to the dot%s", kind, strings.Join(known, ", "), hint("", spelling.Closest(kind, known)))
}

// moment reads a date or a moment.
func (e *Env) moment(text string) (time.Time, error) {
	if day, err := time.ParseInLocation(time.DateOnly, text, e.Now().Location()); err == nil {
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is neither a date such as 2026-11-01 nor a moment such as 2026-11-01T12:00:00Z", text)
	}
	return t, nil
}

// printAudit prints events as they come. A line that can't be read is told of on
// stderr, and ends the command with an error after all others.
func (e *Env) printAudit(records iter.Seq2[audit.Record, error], asJSON bool) error {
	unread := 0
	for r, err := range records {
		switch {
		case errors.Is(err, context.Canceled):
			return nil // interrupted
		case err != nil:
			unread++
			fmt.Fprintf(e.Stderr, "Error: %v\n", err)
		case asJSON:
			err = e.printf("%s\n", r.Line)
		default:
			err = e.printf("%s\n", e.auditLine(r))
		}
		if err != nil && unread == 0 {
			return err
		}
	}
	if unread > 0 {
		return fmt.Errorf("%s could not be read: caddy crumbgate audit verify tells what is wrong", english.Plural(unread, "line", ""))
	}
	return nil
}

// auditLine is an event for a person to read, in one line.
func (e *Env) auditLine(r audit.Record) string {
	parts := []string{r.Time.In(e.Now().Location()).Format("2006-01-02 15:04:05"), string(r.Kind)}
	add := func(name, value string) {
		if value != "" {
			quoted, _ := json.Marshal(value) // strings always encode
			if !strings.ContainsAny(value, " \"\\") {
				quoted = []byte(value)
			}
			parts = append(parts, name+"="+string(quoted))
		}
	}
	if r.Failed {
		parts = append(parts, "FAILED")
	}
	add("user", r.Owner)
	add("token", r.TokenName)
	if r.TokenID != uuid.Nil {
		add("id", r.TokenID.String())
	}
	add("by", r.Actor)
	add("via", string(r.Via))
	add("from", r.Client)
	add("asks", r.PathClass)
	add("method", r.Method)
	add("reason", r.Reason)
	add("before", r.Before)
	add("detail", r.After)
	if r.Count > 0 {
		add("count", strconv.FormatUint(r.Count, 10))
	}
	if r.Missing > 0 {
		parts = append(parts, fmt.Sprintf("(%d before it could not be written)", r.Missing))
	}
	return strings.Join(parts, "  ")
}
