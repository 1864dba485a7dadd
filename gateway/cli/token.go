package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/user"
	"github.com/crumbgate/crumbgate/internal/shellword"
)

func (e *Env) token() *cobra.Command {
	return e.group(&cobra.Command{
		Use:   "token",
		Short: "Makes, lists, changes and revokes API tokens",
		Long: `Makes, lists, changes and revokes the API tokens with which scripts and programs
use Jenkins through the gateway. The gateway must be running.`,
		Example: `  caddy crumbgate token create --user alice --name deploy
  caddy crumbgate token list
  caddy crumbgate token revoke --user alice --name deploy`,
	}, e.tokenCreate(), e.tokenList(), e.tokenShow(), e.tokenRename(), e.tokenRotate(), e.tokenLimit(), e.tokenSuggest(),
		e.tokenSuspend(), e.tokenResume(), e.tokenRevoke())
}

func (e *Env) tokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --user USER [--name NAME]",
		Short: "Makes a token and prints its secret",
		Long: `Makes a token with which a program acts in Jenkins as a user.

The secret is printed on stdout, this once only: the gateway keeps no more than a
digest of it. With --quiet nothing else is printed.

What is said of the user (--groups, --mail, --display-name) holds for all of the
user's tokens, and can be changed by "user set".

` + scopeHelp(),
		Example: `  caddy crumbgate token create --user alice --name deploy
  caddy crumbgate token create --user ci --name nightly --expires 2027-01-31
  caddy crumbgate token create --user ci --name old-tool --format jenkins --expires never
  caddy crumbgate token create --user ci --name build --scope read --scope 'build:team-a/**' --source 10.0.0.0/8
  TOKEN=$(caddy crumbgate token create --user ci --name build --quiet)`,
	}
	flags := cmd.Flags()
	dial := e.connection(cmd)
	owner := flags.String("user", "", "id of the Jenkins user as whom the token acts (required)")
	name := flags.String("name", "", "name by which to tell the user's tokens apart (default: made up from the time)")
	expires := flags.String("expires", "", "end of the token: a life (12h, 90d, 8w), a last day (2027-01-31), a moment (RFC 3339) or never (default 90d)")
	format := flags.String("format", "", "shape of the secret: native, or jenkins for tools that insist on it (default native)")
	limits := limitFlags(cmd)
	update := profileFlags(cmd)
	asJSON := jsonFlag(cmd)
	quiet := quietFlag(cmd)
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
		profile, limited := update(), limits()
		profile.Actor = e.Username
		created, err := client.CreateToken(ctx, admin.CreateRequest{
			User: *owner, Name: *name, Expires: *expires, Format: *format, Limits: limited.Limits(), UserUpdate: profile,
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
			e.caution(created.Scopes)
		}
		e.warnOf(admin.User{ID: created.User, Groups: valueOf(profile.Groups), Mail: valueOf(profile.Mail), DisplayName: valueOf(profile.DisplayName)})
		if err != nil {
			return fmt.Errorf("token %s was made, but its secret could not be printed (%w): revoke it and make another", created.ID, err)
		}
		return nil
	})
}

// printCreated shows the secret once, in a line for a shell, which the line that
// uses it can follow as it stands.
func (e *Env) printCreated(t admin.CreatedToken) error {
	// Basic authentication ends a user ID at its first colon.
	credential := "--user " + shellword.Quote(t.User) + `:"$TOKEN"`
	if !user.FitsBasic(user.ID(t.User)) {
		credential = `--header "Authorization: Bearer $TOKEN"`
	}
	return e.printf(`Made token %q of %s.
Id:      %s
Expires: %s
%s
This is its secret. It is not shown again:

TOKEN=%s

To try it, with the address of the gateway in JENKINS_URL:

curl %s "$JENKINS_URL/whoAmI/api/json"
`, t.Name, t.User, t.ID, e.when(t.Expires), limitLines(t.Limits), t.Secret, credential)
}

// valueOf returns what p points to, or the zero value.
func valueOf[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// limitLines tells, a line each, what a token is limited to.
func limitLines(l admin.Limits) string {
	var lines strings.Builder
	for _, limit := range limitTexts(l) {
		fmt.Fprintf(&lines, "%-8s %s\n", limit[0], limit[1])
	}
	return lines.String()
}

// limitTexts returns what a token is limited to, each with what to call it.
func limitTexts(l admin.Limits) (texts [][2]string) {
	if len(l.Scopes) > 0 {
		observed := ""
		if l.Observe {
			observed = " (observed: the rest is let pass, and noted)"
		}
		texts = append(texts, [2]string{"Scopes:", strings.Join(l.Scopes, " ") + observed})
	}
	if len(l.Sources) > 0 {
		texts = append(texts, [2]string{"From:", strings.Join(l.Sources, " ")})
	}
	if l.Rate > 0 {
		texts = append(texts, [2]string{"Rate:", english.Plural(int(l.Rate), "request", "") + " a minute"})
	}
	if l.MaxUses > 0 {
		texts = append(texts, [2]string{"Uses:", fmt.Sprintf("at most %d", l.MaxUses)})
	}
	return texts
}

func (e *Env) tokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens",
		Long: `Lists the tokens that all flags want, by user and name unless --sort says
otherwise. Revoked ones are shown with --all. What should be noticed is marked by
! or !!, and explained below the list.

--json and --csv print more of each token. They come row by row, however many
there are. In CSV a ' is put before what a spreadsheet would take for a formula.`,
		Example: `  caddy crumbgate token list
  caddy crumbgate token list --user alice --all
  caddy crumbgate token list --name 'ci-*' --unused-for 90d --sort last_used
  caddy crumbgate token list --legacy --csv`,
	}
	flags := cmd.Flags()
	dial := e.connection(cmd)
	filter := filterFlags(cmd, "revoked tokens too")
	sort := flags.String("sort", "", "order: "+strings.Join(admin.SortKeys, ", ")+"; with - in front the other way round (default user)")
	limit := flags.Int("limit", 0, "how many tokens to list at most (default all)")
	asJSON := jsonFlag(cmd)
	asCSV := flags.Bool("csv", false, "print the tokens as CSV")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := errors.Join(noArguments(args), filter.check()); err != nil {
			return err
		}
		switch {
		case *asJSON && *asCSV:
			return usagef("--json and --csv can't be given together")
		case *sort != "" && !slices.Contains(admin.SortKeys, strings.TrimPrefix(*sort, "-")):
			return usagef("--sort %q is none of %s, with or without a - in front", *sort, strings.Join(admin.SortKeys, ", "))
		case flags.Changed("limit") && *limit < 1:
			return usagef("--limit %d is no number of tokens: give 1 or more", *limit)
		}
		client, err := dial()
		if err != nil {
			return err
		}
		tokens := client.List(ctx, admin.Query{Filter: filter.Filter, Sort: *sort, Limit: *limit})
		switch {
		case *asJSON:
			return e.printTokensJSON(tokens, "")
		case *asCSV:
			return e.printTokensCSV(tokens)
		}
		n, err := e.printTokens(tokens, "")
		if err == nil && n == 0 {
			e.printNoTokens(filter)
		}
		return err
	})
}

// printNoTokens says so on stderr, and leaves stdout empty for a script.
func (e *Env) printNoTokens(filter *filtering) {
	revoked := ""
	if !filter.All {
		revoked = " (revoked ones are shown with --all)"
	}
	if filter.given("user", "all") {
		fmt.Fprintf(e.Stderr, "There are no such tokens%s.\n", revoked)
		return
	}
	what, example := "There are no tokens", "alice"
	if filter.User != "" {
		what, example = string(filter.User)+" has no tokens", shellword.Quote(string(filter.User))
	}
	fmt.Fprintf(e.Stderr, "%s%s.\nTo make one: caddy crumbgate token create --user %s --name deploy\n", what, revoked, example)
}

func (e *Env) tokenShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show {ID | --user USER --name NAME}",
		Short: "Shows what is known of a token",
		Example: `  caddy crumbgate token show 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate token show --user alice --name deploy`,
	}
	asJSON := jsonFlag(cmd)
	return e.ofOneToken(cmd, nil, func(ctx context.Context, client *admin.Client, id string) error {
		shown, err := client.Token(ctx, id)
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
	if t.Why != "" {
		fmt.Fprintf(table, "Why:\t%s\n", t.Why)
	}
	if t.Origin != "issued" {
		fmt.Fprintf(table, "Origin:\t%s\n", t.Origin)
	}
	fmt.Fprintf(table, "Created:\t%s by %s\n", e.when(t.Created), t.CreatedBy)
	fmt.Fprintf(table, "Expires:\t%s\n", e.when(t.Expires))
	if t.Suspended != 0 {
		fmt.Fprintf(table, "Suspended:\t%s\n", e.when(t.Suspended))
	}
	if t.Revoked != 0 {
		fmt.Fprintf(table, "Revoked:\t%s\n", e.when(t.Revoked))
	}
	if t.Parent != "" {
		fmt.Fprintf(table, "Parent:\t%s (bounds this token)\n", t.Parent)
	}
	if t.ReplacedBy != "" {
		fmt.Fprintf(table, "Replaced by:\t%s\n", t.ReplacedBy)
	}
	for _, limit := range limitTexts(t.Limits) {
		fmt.Fprintf(table, "%s\t%s\n", limit[0], limit[1])
	}
	if t.Uses.Count == 0 {
		fmt.Fprintf(table, "Used:\tnever\n")
	} else {
		fmt.Fprintf(table, "Used:\t%s\n", english.Plural(int(t.Uses.Count), "time", ""))
		fmt.Fprintf(table, "First use:\t%s\n", e.when(t.Uses.First))
		agent := ""
		if t.Uses.Agent != "" {
			agent = " by " + t.Uses.Agent
		}
		fmt.Fprintf(table, "Last use:\t%s from %s%s\n", e.when(t.Uses.Last), t.Uses.LastAddress, agent)
	}
	return table.Flush()
}
