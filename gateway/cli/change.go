package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/policy"
	"github.com/crumbgate/crumbgate/internal/shellword"
)

// ofOneToken makes a command do something with the one token that its argument or its
// flags name. Check looks at its other flags before the gateway is asked; nil: there is
// nothing to look at.
func (e *Env) ofOneToken(cmd *cobra.Command, check func() error, do func(ctx context.Context, client *admin.Client, id string) error) *cobra.Command {
	dial := e.connection(cmd)
	which := selectionFlags(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := which.checkOne(args); err != nil {
			return err
		}
		if check != nil {
			if err := check(); err != nil {
				return err
			}
		}
		client, err := dial()
		if err != nil {
			return err
		}
		id, err := which.id(ctx, client, args)
		if err != nil {
			return err
		}
		return do(ctx, client, id)
	})
}

func (e *Env) tokenRename() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rename {ID | --user USER --name NAME} --to NAME",
		Short: "Gives a token another name",
		Example: `  caddy crumbgate token rename 01890a5d-ac96-774b-bcce-b302099a8057 --to deploy-prod
  caddy crumbgate token rename --user alice --name deploy --to deploy-prod`,
	}
	to := cmd.Flags().String("to", "", "the new name (required)")
	asJSON := jsonFlag(cmd)
	check := func() error {
		if *to == "" {
			return usagef("say what the token is to be called, as in --to deploy-prod")
		}
		return nil
	}
	return e.ofOneToken(cmd, check, func(ctx context.Context, client *admin.Client, id string) error {
		renamed, err := client.RenameToken(ctx, id, admin.RenameRequest{Name: *to, Actor: e.Username})
		switch {
		case err != nil:
			return err
		case *asJSON:
			return e.printJSON(renamed)
		}
		return e.printf("Renamed token %s of %s: it is %q now.\n", renamed.ID, renamed.User, renamed.Name)
	})
}

func (e *Env) tokenRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate {ID | --user USER --name NAME} [--overlap 24h]",
		Short: "Replaces a token by a new one and prints its secret",
		Long: `Makes a token in place of another, with its user, name and limits. Both work for
the time of --overlap, so that the new secret can be put where the old one is.

The secret is printed on stdout, this once only. With --quiet nothing else is
printed. The new token lives as long as the old one was to, from now on; in place
of one without an end comes one with the usual life, unless --expires says never.`,
		Example: `  caddy crumbgate token rotate --user alice --name deploy
  caddy crumbgate token rotate --user alice --name leaked --overlap 0
  TOKEN=$(caddy crumbgate token rotate --user ci --name build --quiet)`,
	}
	flags := cmd.Flags()
	overlap := flags.String("overlap", "", "for how long the old token still works (1h, 7d), or 0 (default 24h)")
	expires := flags.String("expires", "", "end of the new token: a life (12h, 90d, 8w), a last day (2027-01-31), a moment (RFC 3339) or never")
	asJSON := jsonFlag(cmd)
	quiet := quietFlag(cmd)
	check := func() error {
		if *asJSON && *quiet {
			return usagef("--json and --quiet can't be given together")
		}
		return nil
	}
	return e.ofOneToken(cmd, check, func(ctx context.Context, client *admin.Client, id string) error {
		rotated, err := client.RotateToken(ctx, id, admin.Rotation{Overlap: *overlap, Expires: *expires, Actor: e.Username})
		if err != nil {
			return err
		}
		switch {
		case *asJSON:
			err = e.printJSON(rotated)
		case *quiet:
			err = e.printf("%s\n", rotated.Secret)
		default:
			err = e.printCreated(rotated.CreatedToken)
			if err == nil {
				err = e.printf("\nThe old token, %s, ends %s.\n", rotated.Old.ID, e.when(rotated.Old.Expires))
			}
		}
		if err != nil {
			return fmt.Errorf("token %s was made in place of %s, but its secret could not be printed (%w): rotate the new one", rotated.ID, rotated.Old.ID, err)
		}
		return nil
	})
}

// limitFlags adds the flags of what a token is limited to. The update holds those
// that were given.
func limitFlags(cmd *cobra.Command) (update func() admin.LimitsUpdate) {
	flags := cmd.Flags()
	scopes := flags.StringArray("scope", nil, "what the token may do, as in read or build:team-a/**; may be given several times")
	observe := flags.Bool("observe", false, "let pass what the scopes don't cover, and note it for token suggest")
	sources := flags.StringArray("source", nil, "network that the token may be used from, as in 10.0.0.0/8; may be given several times")
	rate := flags.Uint32("rate", 0, "how many requests it may make in any 60 seconds, also all at once; 0: any number")
	uses := flags.Uint64("max-uses", 0, "how often it may be used in all; 0: any number")
	return func() admin.LimitsUpdate {
		var u admin.LimitsUpdate
		if flags.Changed("scope") {
			u.Scopes = scopes
		}
		if flags.Changed("observe") {
			u.Observe = observe
		}
		if flags.Changed("source") {
			u.Sources = sources
		}
		if flags.Changed("rate") {
			u.Rate = rate
		}
		if flags.Changed("max-uses") {
			u.MaxUses = uses
		}
		return u
	}
}

func (e *Env) tokenLimit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit {ID | --user USER --name NAME} [--scope SCOPE…] [--source NETWORK…] …",
		Short: "Sets what a token is limited to",
		Long: `Sets what a token is limited to, from the next request on. What is not given stays
as it is; scopes and networks that are given replace those of before.

A token whose needs nobody knows is given scopes with --observe: it goes on as
before, and what it does beyond its scopes is noted. "token suggest" tells then
which scopes it needs, and --enforce ends what is beyond.

` + scopeHelp(),
		Example: `  caddy crumbgate token limit --user ci --name build --scope read --scope 'build:team-a/**'
  caddy crumbgate token limit --user ci --name build --scope read --observe
  caddy crumbgate token limit --user ci --name build --enforce --source 10.0.0.0/8 --rate 600`,
	}
	flags := cmd.Flags()
	update := limitFlags(cmd)
	noScopes := flags.Bool("no-scopes", false, "let the token do all that its user may")
	enforce := flags.Bool("enforce", false, "refuse what the scopes don't cover: the opposite of --observe")
	anySource := flags.Bool("any-source", false, "let the token be used from everywhere")
	asJSON := jsonFlag(cmd)
	var limits admin.LimitsUpdate
	check := func() error {
		limits = update()
		limits.Actor = e.Username
		switch {
		case *noScopes && limits.Scopes != nil:
			return usagef("--scope and --no-scopes can't be given together")
		case *enforce && limits.Observe != nil:
			return usagef("--observe and --enforce can't be given together")
		case *anySource && limits.Sources != nil:
			return usagef("--source and --any-source can't be given together")
		}
		if *noScopes {
			limits.Scopes = &[]string{}
		}
		if *enforce {
			limits.Observe = new(bool)
		}
		if *anySource {
			limits.Sources = &[]string{}
		}
		if limits.Empty() {
			return usagef("say what to limit: --scope, --no-scopes, --observe, --enforce, --source, --any-source, --rate or --max-uses")
		}
		return nil
	}
	return e.ofOneToken(cmd, check, func(ctx context.Context, client *admin.Client, id string) error {
		limited, err := client.LimitToken(ctx, id, limits)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return e.printJSON(limited)
		}
		if limits.Scopes != nil {
			e.caution(limited.Scopes)
		}
		return e.printToken(limited)
	})
}

// scopeHelp lists the scopes, and how far those reach whose names don't say it.
func scopeHelp() string {
	var b strings.Builder
	b.WriteString("Scopes, alone or with items as in build:team-a/** (docs/scopes.md has what each covers):\n")
	for _, g := range endpoint.Grants {
		fmt.Fprintf(&b, "  %s", g.Name)
		if g.Reach != "" {
			fmt.Fprintf(&b, ": %s", g.Reach)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// caution says of scopes how far they reach, where their names don't say it.
func (e *Env) caution(scopes []string) {
	for _, caution := range policy.Cautions(scopes) {
		fmt.Fprintf(e.Stderr, "Note: the scope %s.\n", caution)
	}
}

func (e *Env) tokenSuggest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest {ID | --user USER --name NAME}",
		Short: "Tells which scopes a token needs",
		Long: `Tells which scopes cover what a token has been seen to do while it was observed,
one a line. What Jenkins refused does not count. Items are named one by one, unless
--folders is given. Nothing is changed.`,
		Example: `  caddy crumbgate token suggest --user ci --name build`,
	}
	folders := cmd.Flags().Bool("folders", false, "suggest folder/* for four or more items in one folder, which covers their neighbours too")
	asJSON := jsonFlag(cmd)
	return e.ofOneToken(cmd, nil, func(ctx context.Context, client *admin.Client, id string) error {
		suggest := client.SuggestScopes
		if *folders {
			suggest = client.SuggestFolders
		}
		suggestion, err := suggest(ctx, id)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return e.printJSON(suggestion)
		}
		command := "caddy crumbgate token limit " + id
		for _, scope := range suggestion.Scopes {
			if err := e.printf("%s\n", scope); err != nil {
				return err
			}
			command += " --scope " + shellword.Quote(scope)
		}
		for _, seen := range suggestion.Seen {
			fmt.Fprintf(e.Stderr, "%s: %s\n", seen.Scope, english.Plural(int(seen.Requests), "request", ""))
		}
		if len(suggestion.Scopes) > policy.MaxScopes {
			fmt.Fprintf(e.Stderr, "A token has at most %d scopes. With --folders there are fewer.\n", policy.MaxScopes)
			return nil
		}
		fmt.Fprintf(e.Stderr, "It was seen to do %s. To let it do no more:\n%s --enforce\n", english.Plural(suggestion.Needs, "different thing", ""), command)
		return nil
	})
}

// A doing is what can be done to many tokens.
type doing struct {
	verb, does, done string // revoke, Revokes, revoked
	long             string
	examples         string
	why              bool // can be given
	one              func(ctx context.Context, client *admin.Client, id, why, actor string) (admin.Token, error)
	many             func(ctx context.Context, client *admin.Client, req admin.BulkRequest) iter.Seq2[admin.Token, error]
}

func (e *Env) tokenRevoke() *cobra.Command {
	return e.tokenDo(doing{
		verb: "revoke", does: "Revokes", done: "revoked", why: true,
		long: `Revokes tokens: from the next request on the gateway refuses them. This can't be
undone. A token that is revoked already stays so, and is no error.`,
		examples: `  caddy crumbgate token revoke 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate token revoke --user alice --name deploy
  caddy crumbgate token revoke --user alice --except 01890a5d-ac96-774b-bcce-b302099a8057
  caddy crumbgate token revoke --unused-for 180d --why 'not used' --yes`,
		one: func(ctx context.Context, client *admin.Client, id, why, actor string) (admin.Token, error) {
			return client.RevokeTokenFor(ctx, id, why, actor)
		},
		many: func(ctx context.Context, client *admin.Client, req admin.BulkRequest) iter.Seq2[admin.Token, error] {
			return client.RevokeTokens(ctx, req)
		},
	})
}

func (e *Env) tokenSuspend() *cobra.Command {
	return e.tokenDo(doing{
		verb: "suspend", does: "Suspends", done: "suspended", why: true,
		long: `Suspends tokens: from the next request on the gateway refuses them, until "token
resume" lets them in again. A token that is suspended already stays so.`,
		examples: `  caddy crumbgate token suspend --user alice --name deploy --why 'who uses it?'
  caddy crumbgate token suspend --user alice --yes`,
		one: func(ctx context.Context, client *admin.Client, id, why, actor string) (admin.Token, error) {
			return client.SuspendToken(ctx, id, admin.StateRequest{Why: why, Actor: actor})
		},
		many: func(ctx context.Context, client *admin.Client, req admin.BulkRequest) iter.Seq2[admin.Token, error] {
			return client.SuspendTokens(ctx, req)
		},
	})
}

func (e *Env) tokenResume() *cobra.Command {
	return e.tokenDo(doing{
		verb: "resume", does: "Resumes", done: "resumed",
		long: `Lets suspended tokens in again, from the next request on.`,
		examples: `  caddy crumbgate token resume --user alice --name deploy
  caddy crumbgate token resume --user alice --yes`,
		one: func(ctx context.Context, client *admin.Client, id, _, actor string) (admin.Token, error) {
			return client.ResumeToken(ctx, id, admin.StateRequest{Actor: actor})
		},
		many: func(ctx context.Context, client *admin.Client, req admin.BulkRequest) iter.Seq2[admin.Token, error] {
			return client.ResumeTokens(ctx, req)
		},
	})
}

func (e *Env) tokenDo(d doing) *cobra.Command {
	cmd := &cobra.Command{
		Use:   d.verb + " {ID… | --user USER --name NAME | FILTER… [--except ID…] [--yes]}",
		Short: d.does + " tokens, from the next request on",
		Long: d.long + `

Tokens that are named, by ids or by --user and --name, are ` + d.done + ` at once; with
a token, those of its name that it has replaced and that still work. With other
flags, or a --name with * or ?, all tokens that they want are listed and nothing
is done, unless --yes is given.`,
		Example: d.examples,
	}
	flags := cmd.Flags()
	dial := e.connection(cmd)
	filter := filterFlags(cmd, "mean all tokens, if nothing else is asked for")
	except := flags.StringArray("except", nil, "id of a token that stays as it is; may be given several times")
	yes := flags.Bool("yes", false, "do it, and don't only list the tokens")
	why := new(string)
	if d.why {
		why = flags.String("why", "", "reason, for people to read")
	}
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := errors.Join(filter.check(), checkIDs("argument", args), checkIDs("--except", *except)); err != nil {
			return err
		}
		switch {
		case len(args) > 0 && (filter.given() || len(*except) > 0):
			return usagef("give either ids or flags that say which tokens")
		case len(args) == 0 && !filter.given():
			return usagef("say which tokens by their ids, by --user and --name, or by other flags; all of them are --all")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		if len(args) == 0 && (!filter.exact() || len(*except) > 0) {
			dry := !*yes
			tokens := d.many(ctx, client, admin.BulkRequest{
				Filter: filter.Filter, Except: *except, DryRun: &dry, Why: *why, Actor: e.Username,
			})
			return e.printDone(d, tokens, true, dry, *asJSON)
		}
		if len(args) == 0 {
			found, replaced, err := (&selection{string(filter.User), string(filter.Name)}).find(ctx, client)
			if err != nil {
				return err
			}
			for _, t := range append([]admin.Token{found}, replaced...) {
				args = append(args, t.ID)
			}
		}
		var failed []error
		// All that can be done is, whatever is wrong with others.
		each := func(yield func(admin.Token, error) bool) {
			for _, id := range args {
				t, err := d.one(ctx, client, id, *why, e.Username)
				if err != nil {
					failed = append(failed, err)
					continue
				}
				if !yield(t, nil) {
					return
				}
			}
		}
		err = e.printDone(d, each, false, false, *asJSON)
		return errors.Join(append(failed, err)...)
	})
}

// printDone tells what was done to tokens as they come, or would be. With bulk they were
// asked for by what they are, so that there may be none.
func (e *Env) printDone(d doing, tokens iter.Seq2[admin.Token, error], bulk, dry, asJSON bool) error {
	if asJSON {
		rest := ""
		if dry {
			rest = ",\n  \"dry_run\": true"
		}
		return e.printTokensJSON(tokens, rest)
	}
	if dry {
		n, err := e.printTokens(tokens, "")
		switch {
		case err != nil:
			return err
		case n == 0:
			fmt.Fprintf(e.Stderr, "There are no tokens to %s.\n", d.verb)
		default:
			fmt.Fprintf(e.Stderr, "%s would be %s. Nothing is done yet: add --yes to do it.\n", english.Plural(n, "token", ""), d.done)
		}
		return nil
	}
	n := 0
	var printing error // the rest is done all the same
	for t, err := range tokens {
		if err != nil {
			return err
		}
		n++
		if err := e.printf("%s token %q of %s (%s).\n", strings.ToUpper(d.done[:1])+d.done[1:], t.Name, t.User, t.ID); printing == nil {
			printing = err
		}
	}
	if n == 0 && bulk {
		fmt.Fprintf(e.Stderr, "No token was %s.\n", d.done)
	}
	return printing
}
