package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinshome"
	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/secretfile"
)

func (e *Env) importing() *cobra.Command {
	return e.group(&cobra.Command{
		Use:     "import",
		Short:   "Takes over API tokens that Jenkins has made",
		Example: `  caddy crumbgate import jenkins-home /var/lib/jenkins`,
	}, e.importHome())
}

func (e *Env) exporting() *cobra.Command {
	return e.group(&cobra.Command{
		Use:     "export",
		Short:   "Gives tokens back to Jenkins",
		Example: `  caddy crumbgate export jenkins /var/lib/jenkins --out /tmp/users`,
	}, e.exportJenkins())
}

// homeFlags adds what has to be known of a Jenkins home beside the home.
func homeFlags(cmd *cobra.Command) (options func() (jenkinshome.Options, error)) {
	flags := cmd.Flags()
	zone := flags.String("zone", "", "time zone of the Jenkins, such as Europe/Berlin, in which its tokens expire (default: that of this machine)")
	ids := flags.String("user-ids", "", "which spellings are the same user, as the setting user_ids (default case_insensitive)")
	return func() (o jenkinshome.Options, err error) {
		o.Zone = time.Local
		if *zone != "" {
			if o.Zone, err = time.LoadLocation(*zone); err != nil {
				return o, usagef("--zone: %w", err)
			}
		}
		if o.UserIDs, err = user.ParseStrategy(*ids); err != nil {
			return o, usagef("--user-ids: %w", err)
		}
		return o, nil
	}
}

// openHome opens a Jenkins home, out of which no link leads.
func openHome(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("opening the Jenkins home: %w", err)
	}
	if err := checkHome(root, path); err != nil {
		_ = root.Close()
		return nil, err
	}
	return root, nil
}

// checkHome returns an error unless users can be read in a home. What a link leads to
// outside of the home is not read.
func checkHome(root *os.Root, path string) error {
	info, err := root.Stat("users")
	link, linkErr := root.Readlink("users")
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is no Jenkins home: users is not a directory", path)
	case linkErr == nil:
		return fmt.Errorf("%s: users is a link to %s, which leads out of the home or to nothing (%w): mount that directory at users, or copy the home", path, link, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is no Jenkins home: it has no directory users", path)
	default:
		return fmt.Errorf("%s: users can't be read: %w", path, err)
	}
}

// progress returns what shows how far a long command is, if somebody looks on, and what
// ends that.
func (e *Env) progress(what string) (show func(done, total int), finish func()) {
	file, isFile := e.Stderr.(*os.File)
	bar := progressbar.NewOptions(-1,
		progressbar.OptionSetWriter(e.Stderr), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetVisibility(isFile && term.IsTerminal(int(file.Fd()))))
	// What can't be shown is not missed.
	return func(done, total int) {
		if done == 0 {
			bar.ChangeMax(total)
		}
		_ = bar.Set(done)
	}, func() { _ = bar.Finish() }
}

func (e *Env) importHome() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jenkins-home PATH [--yes]",
		Short: "Takes over the tokens in the home directory of a Jenkins",
		Long: `Takes over the tokens in the home directory of a Jenkins, or in a copy of it: their
holders go on using the very same strings. Only digests are read, which is all that
Jenkins has since 2.129; of a legacy token the home's secrets are needed to make one.

Without --yes it only tells what would be done. It can be run again: what has been
taken stays as it is. One file that can't be read does not stop the others.

The exit status is 0 if all was taken, 1 for a failure, 2 for a wrong command line,
and 3 if something was left.`,
		Example: `  caddy crumbgate import jenkins-home /var/lib/jenkins
  caddy crumbgate import jenkins-home /var/lib/jenkins --zone Europe/Berlin --yes`,
	}
	dial := e.connection(cmd)
	options := homeFlags(cmd)
	flags := cmd.Flags()
	yes := flags.Bool("yes", false, "do it, and don't only tell what would be done")
	verbose := flags.BoolP("verbose", "v", false, "list what was taken, too")
	asJSON := cmd.Flags().Bool("json", false, "print what has become of each token as JSON")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return usagef("name the home directory of the Jenkins, as in: caddy crumbgate import jenkins-home /var/lib/jenkins")
		}
		o, err := options()
		if err != nil {
			return err
		}
		root, err := openHome(args[0])
		if err != nil {
			return err
		}
		defer root.Close()
		client, err := dial()
		if err != nil {
			return err
		}
		i := &importer{env: e, client: client, dry: !*yes, verbose: *verbose}
		var finish func()
		o.Progress, finish = e.progress("users")
		for r := range jenkinshome.Read(root.FS(), o) {
			if err = i.add(ctx, r); err != nil {
				break
			}
		}
		finish()
		if err == nil {
			err = i.flush(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w; %s had been taken before, and running the command again goes on from there", err, english.Plural(i.taken, "token", ""))
		}
		if *asJSON {
			err = e.printJSON(i.result())
		} else {
			err = i.print()
		}
		if err == nil && i.left > 0 {
			return errWarnings
		}
		return err
	})
}

// An importer sends tokens to the gateway, as many at once as it takes.
type importer struct {
	env     *Env
	client  *admin.Client
	dry     bool
	verbose bool

	pending              []admin.TransferToken
	users                int
	taken, present, left int
	rows                 []importRow
}

// An importRow is what has become of a token, or of what might have held one.
type importRow struct {
	User    string `json:"user,omitempty"`
	Token   string `json:"token,omitempty"`
	File    string `json:"file,omitempty"`
	ID      string `json:"id,omitempty"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
}

func (i *importer) add(ctx context.Context, r jenkinshome.Result) error {
	if p := r.Problem; p != nil {
		i.left++
		i.rows = append(i.rows, leftRow(p))
		return nil
	}
	u := r.User
	i.users++
	for _, t := range u.Tokens {
		item := admin.TransferToken{
			User: string(u.ID), Name: t.Name, Digest: hex.EncodeToString(t.Digest[:]), Legacy: t.Legacy,
			Created: admin.Time(t.Created), Expires: admin.Time(t.Expires), Uses: t.Uses, LastUse: admin.Time(t.LastUse),
		}
		if t.UUID != uuid.Nil {
			item.ID = t.UUID.String()
		}
		if i.pending = append(i.pending, item); len(i.pending) == token.MaxImport {
			if err := i.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// leftRow is a problem as a row of a table.
func leftRow(p *jenkinshome.Problem) importRow {
	return importRow{User: string(p.User), Token: p.Token, File: p.Path, Outcome: string(token.Left), Detail: p.Reason}
}

func (i *importer) flush(ctx context.Context) error {
	if len(i.pending) == 0 {
		return nil
	}
	result, err := i.client.ImportTokens(ctx, admin.ImportRequest{Tokens: i.pending, DryRun: i.dry, Actor: i.env.Username})
	if err != nil {
		return err
	}
	if len(result.Outcomes) != len(i.pending) {
		return errors.New("the gateway has answered for other tokens than it was sent: it is of another version")
	}
	for n, out := range result.Outcomes {
		switch token.Outcome(out.Outcome) {
		case token.Taken:
			i.taken++
		case token.Present:
			i.present++
		default:
			i.left++
		}
		if i.verbose || token.Outcome(out.Outcome) == token.Left || out.Detail != "" {
			i.rows = append(i.rows, importRow{User: i.pending[n].User, Token: i.pending[n].Name, ID: out.ID, Outcome: out.Outcome, Detail: out.Detail})
		}
	}
	i.pending = i.pending[:0]
	return nil
}

func (i *importer) result() any {
	return struct {
		DryRun  bool        `json:"dry_run"`
		Users   int         `json:"users"`
		Taken   int         `json:"taken"`
		Present int         `json:"present"`
		Left    int         `json:"left"`
		Rows    []importRow `json:"rows"`
	}{i.dry, i.users, i.taken, i.present, i.left, append([]importRow{}, i.rows...)}
}

func (e *Env) printRows(rows []importRow) error {
	if len(rows) == 0 {
		return nil
	}
	t := &table{out: e.Stdout}
	if err := t.row("USER", "TOKEN", "OUTCOME", "WHY"); err != nil {
		return err
	}
	for _, r := range rows {
		why := r.Detail
		if r.File != "" {
			why = printable(r.File) + ": " + why
		}
		if err := t.row(printable(r.User), printable(r.Token), r.Outcome, why); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	return e.printf("\n")
}

func (i *importer) print() error {
	e := i.env
	if err := e.printRows(i.rows); err != nil {
		return err
	}
	verb := "taken"
	if i.dry {
		verb = "to be taken"
	}
	if err := e.printf("%s of %s %s, %s taken before, %s left.\n", english.Plural(i.taken, "token", ""), english.Plural(i.users, "user", ""), verb, humanize.Comma(int64(i.present)), humanize.Comma(int64(i.left))); err != nil {
		return err
	}
	if i.dry && i.taken > 0 {
		fmt.Fprintln(e.Stderr, "Nothing was changed. To do it, add --yes.")
	}
	return nil
}

// printable returns a text of a home for a terminal, which it is not to command.
func printable(s string) string {
	if user.CheckText("text", s) == nil {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func (e *Env) exportJenkins() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jenkins PATH --out DIRECTORY [--user USER]",
		Short: "Writes the users' files of a Jenkins anew, with the tokens of the gateway in them",
		Long: `Writes the users' files of a Jenkins anew, with the tokens of the gateway in them, so
that Jenkins takes them itself: the way back. The home is only read. What is written
has the names that it has there: stop Jenkins, copy it over the home, start Jenkins.

Tokens that the gateway does not let in are taken out, also if the home still has them.
So are those that it limits, because Jenkins knows no limits. Tokens that only Jenkins
knows stay. Users without a directory in the home have to sign in to Jenkins once.

The exit status is 0 if all was written, 1 for a failure, 2 for a wrong command line,
and 3 if something was left.`,
		Example: `  caddy crumbgate export jenkins /var/lib/jenkins --out /tmp/back`,
	}
	dial := e.connection(cmd)
	options := homeFlags(cmd)
	flags := cmd.Flags()
	out := flags.String("out", "", "directory to write to, which must not exist, or be empty, yours and closed to others (required)")
	owner := flags.String("user", "", "only tokens of this user")
	ownerIsUser(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 || *out == "" {
			return usagef("name the home directory of the Jenkins and where to write to, as in: caddy crumbgate export jenkins /var/lib/jenkins --out /tmp/back")
		}
		o, err := options()
		if err != nil {
			return err
		}
		root, err := openHome(args[0])
		if err != nil {
			return err
		}
		defer root.Close()
		to, err := secretfile.OpenDir(*out)
		if err != nil {
			return usagef("--out: %w", err)
		}
		defer to.Close()
		client, err := dial()
		if err != nil {
			return err
		}
		changed := make(map[string]*jenkinshome.Changed) // by the key of the user's id
		var left []importRow
		for t, err := range client.Export(ctx, *owner, true, e.Username) {
			if err != nil {
				return err
			}
			item, err := homeToken(t)
			if err != nil {
				return err
			}
			key := o.UserIDs.Key(user.ID(t.User))
			if changed[key] == nil {
				changed[key] = &jenkinshome.Changed{ID: user.ID(t.User)}
			}
			switch c := changed[key]; {
			case t.Gone:
				c.Gone = append(c.Gone, item)
			case t.Limited:
				c.Gone = append(c.Gone, item)
				left = append(left, importRow{User: t.User, Token: t.Name, Outcome: string(token.Left), Detail: "it is limited, and Jenkins knows no limits: make another in Jenkins"})
			default:
				c.Live = append(c.Live, item)
			}
		}
		users := make([]jenkinshome.Changed, 0, len(changed))
		for _, key := range slices.Sorted(maps.Keys(changed)) {
			users = append(users, *changed[key])
		}
		return e.writeHome(root.FS(), users, o, to, left)
	})
}

// homeToken is a token of the gateway as Jenkins knows it.
func homeToken(t admin.TransferToken) (jenkinshome.Token, error) {
	item := jenkinshome.Token{Name: t.Name, Legacy: t.Legacy, Created: int64(t.Created), Expires: int64(t.Expires), Uses: t.Uses, LastUse: int64(t.LastUse)}
	digest, err := hex.DecodeString(t.Digest)
	if err == nil {
		err = item.Digest.UnmarshalBinary(digest)
	}
	if err == nil {
		item.UUID, err = admin.ParseID(t.ID)
	}
	if err != nil {
		return item, errors.New("the gateway has answered something that is no token: it is of another version")
	}
	return item, nil
}

// writeHome writes the files of users into a directory, and tells what was left.
func (e *Env) writeHome(home fs.FS, users []jenkinshome.Changed, o jenkinshome.Options, to *os.Root, left []importRow) error {
	var finish func()
	o.Progress, finish = e.progress("users")
	written, tokens := 0, 0
	write := func(name string, data []byte) error {
		file := filepath.FromSlash(name)
		if err := to.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return to.WriteFile(file, data, 0o600)
	}
	for r := range jenkinshome.Export(home, users, o, write) {
		if r.Problem != nil {
			left = append(left, leftRow(r.Problem))
			continue
		}
		written, tokens = written+1, tokens+len(r.User.Tokens)
	}
	finish()
	if err := e.printRows(left); err != nil {
		return err
	}
	if err := e.printf("%s of %s written to %s.\n", english.Plural(tokens, "token", ""), english.Plural(written, "user", ""), to.Name()); err != nil {
		return err
	}
	if len(left) > 0 {
		return errWarnings
	}
	return nil
}
