package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

func (e *Env) token() *cobra.Command {
	return e.group(&cobra.Command{
		Use:   "token",
		Short: "Makes, lists and revokes API tokens",
		Long: `Makes, lists and revokes the API tokens with which scripts and programs use
Jenkins through the gateway. The gateway must be running.`,
		Example: `  caddy crumbgate token create --user alice --name deploy
  caddy crumbgate token list
  caddy crumbgate token revoke --user alice --name deploy`,
	}, e.tokenCreate(), e.tokenList(), e.tokenShow(), e.tokenRevoke())
}

func (e *Env) tokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --user USER [--name NAME]",
		Short: "Makes a token and prints its secret",
		Long: `Makes a token with which a program acts in Jenkins as a user.

The secret is printed on stdout, this once only: the gateway keeps no more than a
digest of it. With --quiet nothing else is printed.

What is said of the user (--groups, --mail, --display-name) holds for all of the
user's tokens, and can be changed by "user set".`,
		Example: `  caddy crumbgate token create --user alice --name deploy
  caddy crumbgate token create --user ci --name nightly --expires 2027-01-31
  caddy crumbgate token create --user ci --name old-tool --format jenkins --expires never
  TOKEN=$(caddy crumbgate token create --user ci --name build --quiet)`,
	}
	flags := cmd.Flags()
	dial := e.connection(cmd)
	owner := flags.String("user", "", "id of the Jenkins user as whom the token acts (required)")
	name := flags.String("name", "", "name by which to tell the user's tokens apart (default: made up from the time)")
	expires := flags.String("expires", "", "end of the token: a life (12h, 90d, 8w), a last day (2027-01-31), a moment (RFC 3339) or never (default 90d)")
	format := flags.String("format", "", "shape of the secret: native, or jenkins for tools that insist on it (default native)")
	update := profileFlags(cmd)
	asJSON := jsonFlag(cmd)
	quiet := flags.BoolP("quiet", "q", false, "print the secret and nothing else")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if !flags.Changed("user") {
			return usagef("name the Jenkins user as whom the token acts, as in: caddy crumbgate token create --user alice --name deploy")
		}
		if *asJSON && *quiet {
			return usagef("--json and --quiet can't be given together")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		profile := update()
		profile.Actor = e.Username
		created, err := client.CreateToken(ctx, admin.CreateRequest{
			User: *owner, Name: *name, Expires: *expires, Format: *format, UserUpdate: profile,
		})
		if err != nil {
			return err
		}
		switch {
		case *asJSON:
			err = e.printJSON(created)
		case *quiet:
			err = e.printf("%s\n", created.Secret)
		default:
			err = e.printCreated(created)
		}
		if err != nil {
			return fmt.Errorf("token %s was made, but its secret could not be printed (%w): revoke it and make another", created.ID, err)
		}
		return nil
	})
}

// printCreated shows the secret once, in a line for a shell, which the line that
// uses it can follow as it stands.
func (e *Env) printCreated(t admin.CreatedToken) error {
	return e.printf(`Made token %q of %s.
Id:      %s
Expires: %s

This is its secret. It is not shown again:

TOKEN=%s

To try it, with the address of the gateway in JENKINS_URL:

curl --user %s:"$TOKEN" "$JENKINS_URL/whoAmI/api/json"
`, t.Name, t.User, t.ID, e.when(t.Expires), t.Secret, shellQuote(t.User))
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_@%+=,./-]+$`)

// shellQuote returns s as a word of a POSIX shell.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (e *Env) tokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens",
		Long:  `Lists the tokens, those of one user with --user, by user and name. Revoked ones are shown with --all.`,
		Example: `  caddy crumbgate token list
  caddy crumbgate token list --user alice --all
  caddy crumbgate token list --json`,
	}
	flags := cmd.Flags()
	dial := e.connection(cmd)
	owner := flags.String("user", "", "only tokens of this user")
	all := flags.Bool("all", false, "revoked tokens too")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if flags.Changed("user") && *owner == "" {
			return usagef("--user is empty: name a user, or leave it out to list all tokens")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		list, err := client.Tokens(ctx, *owner, *all)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return e.printJSON(list)
		case len(list.Tokens) == 0:
			e.printNoTokens(*owner, *all)
			return nil
		}
		return e.printTable(list.Tokens)
	})
}

// printNoTokens says so on stderr, and leaves stdout empty for a script.
func (e *Env) printNoTokens(owner string, all bool) {
	what, example := "There are no tokens", "alice"
	if owner != "" {
		what, example = owner+" has no tokens", shellQuote(owner)
	}
	if !all {
		what += " (revoked ones are shown with --all)"
	}
	fmt.Fprintf(e.Stderr, "%s.\nTo make one: caddy crumbgate token create --user %s --name deploy\n", what, example)
}

func (e *Env) printTable(tokens []admin.Token) error {
	table := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "USER\tNAME\tSTATE\tEXPIRES\tLAST USED\tID")
	for _, t := range tokens {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", t.User, t.Name, t.State, e.since(t.Expires), e.since(t.Uses.Last), t.ID)
	}
	return table.Flush()
}

func (e *Env) tokenShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show {ID | --user USER --name NAME}",
		Short: "Shows what is known of a token",
		Example: `  caddy crumbgate token show 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate token show --user alice --name deploy`,
	}
	dial := e.connection(cmd)
	which := selectionFlags(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := which.check(args); err != nil {
			return err
		}
		if len(args) > 1 {
			return usagef("unexpected argument %q: one token is shown at a time", args[1])
		}
		client, err := dial()
		if err != nil {
			return err
		}
		var shown admin.Token
		if len(args) == 1 {
			shown, err = client.Token(ctx, args[0])
		} else {
			shown, err = which.find(ctx, client)
		}
		switch {
		case err != nil:
			return err
		case *asJSON:
			return e.printJSON(shown)
		}
		return e.printToken(shown)
	})
}

func (e *Env) printToken(t admin.Token) error {
	table := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "Id:\t%s\n", t.ID)
	fmt.Fprintf(table, "User:\t%s\n", t.User)
	fmt.Fprintf(table, "Name:\t%s\n", t.Name)
	fmt.Fprintf(table, "State:\t%s\n", t.State)
	fmt.Fprintf(table, "Created:\t%s by %s\n", e.when(t.Created), t.CreatedBy)
	fmt.Fprintf(table, "Expires:\t%s\n", e.when(t.Expires))
	if t.Revoked != 0 {
		fmt.Fprintf(table, "Revoked:\t%s\n", e.when(t.Revoked))
	}
	if t.Uses.Count == 0 {
		fmt.Fprintf(table, "Used:\tnever\n")
	} else {
		fmt.Fprintf(table, "Used:\t%s\n", english.Plural(int(t.Uses.Count), "time", ""))
		fmt.Fprintf(table, "First use:\t%s\n", e.when(t.Uses.First))
		fmt.Fprintf(table, "Last use:\t%s from %s\n", e.when(t.Uses.Last), t.Uses.LastAddress)
	}
	return table.Flush()
}

func (e *Env) tokenRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke {ID… | --user USER --name NAME}",
		Short: "Revokes tokens, from the next request on",
		Long: `Revokes tokens: from the next request on the gateway refuses them. This can't be
undone. A token that is revoked already stays so, and is no error.`,
		Example: `  caddy crumbgate token revoke 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate token revoke --user alice --name deploy`,
	}
	dial := e.connection(cmd)
	which := selectionFlags(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := which.check(args); err != nil {
			return err
		}
		client, err := dial()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			found, err := which.find(ctx, client)
			if err != nil {
				return err
			}
			args = []string{found.ID}
		}
		revoked := []admin.Token{} // [] in JSON, and not null
		var failed []error
		for _, id := range args { // all that can be revoked is, whatever is wrong with others
			t, err := client.RevokeToken(ctx, id, e.Username)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			revoked = append(revoked, t)
			if !*asJSON {
				failed = append(failed, e.printf("Revoked token %q of %s (%s).\n", t.Name, t.User, t.ID))
			}
		}
		if *asJSON {
			failed = append(failed, e.printJSON(admin.TokenList{Tokens: revoked}))
		}
		return errors.Join(failed...)
	})
}

// A selection names a token by its user and name.
type selection struct{ user, name string }

func selectionFlags(cmd *cobra.Command) *selection {
	s := new(selection)
	cmd.Flags().StringVar(&s.user, "user", "", "the user whose token it is, instead of an id")
	cmd.Flags().StringVar(&s.name, "name", "", "the name of the user's token, instead of an id")
	return s
}

// check refuses all but ids, or both flags.
func (s *selection) check(ids []string) error {
	flags := s.user != "" || s.name != ""
	switch {
	case flags && len(ids) > 0:
		return usagef("give either ids or --user and --name")
	case !flags && len(ids) == 0, flags && (s.user == "" || s.name == ""):
		return usagef("say which token by its id, or by --user and --name (caddy crumbgate token list shows them)")
	}
	for i, id := range ids {
		if _, err := admin.ParseID(id); err != nil {
			return usagef("argument %d: %w", i+1, err)
		}
	}
	return nil
}

// find returns the one token of the name that is not revoked.
func (s *selection) find(ctx context.Context, client *admin.Client) (admin.Token, error) {
	list, err := client.Tokens(ctx, s.user, false)
	if err != nil {
		return admin.Token{}, err
	}
	var found []admin.Token
	var ids []string
	for _, t := range list.Tokens {
		if t.Name == s.name {
			found = append(found, t)
			ids = append(ids, t.ID)
		}
	}
	switch len(found) {
	case 0:
		return admin.Token{}, fmt.Errorf("%s has no token named %q, except perhaps a revoked one: caddy crumbgate token list --user %s --all shows them", s.user, s.name, shellQuote(s.user))
	case 1:
		return found[0], nil
	}
	// The user is spelt in several ways, under each of which the name is free.
	return admin.Token{}, fmt.Errorf("%s has several tokens named %q: say which by its id, %s", s.user, s.name, english.WordSeries(ids, "or"))
}
