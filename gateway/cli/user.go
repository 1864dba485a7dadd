package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/headerrealm"
	"github.com/crumbgate/crumbgate/gateway/user"
)

func (e *Env) user() *cobra.Command {
	return e.group(&cobra.Command{
		Use:   "user",
		Short: "Shows and sets what Jenkins is told of a token's user, and disables users",
		Long: `Shows and sets what the gateway tells Jenkins of a user beside the id: groups,
mail address and display name. It holds for all tokens of the user, which are
refused while the user is disabled.`,
		Example: `  caddy crumbgate user show alice
  caddy crumbgate user set alice --groups dev,release
  caddy crumbgate user disable alice`,
	}, e.userList(), e.userShow(), e.userSet(),
		e.userDisable("disable", true, "Refuses all tokens of a user, from the next request on", `Refuses all tokens of a user from the next request on, and new ones, until "user
enable" lets them in again. It is for somebody who leaves, or whose secrets may
be in other hands.`),
		e.userDisable("enable", false, "Lets the tokens of a disabled user in again", `Lets the tokens of a disabled user in again, but for those that are revoked,
suspended or expired.`))
}

func (e *Env) userList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the users that have tokens or of whom something is set",
		Long: `Lists the users that have or had tokens, or of whom something is set. TOKENS counts
those that are not revoked.`,
		Example: `  caddy crumbgate user list
  caddy crumbgate user list --disabled`,
	}
	dial := e.connection(cmd)
	disabled := cmd.Flags().Bool("disabled", false, "list disabled users only")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		client, err := dial()
		if err != nil {
			return err
		}
		list, err := client.Users(ctx)
		if err != nil {
			return err
		}
		if *disabled {
			list.Users = slices.DeleteFunc(list.Users, func(u admin.ListedUser) bool { return u.Disabled == 0 })
		}
		if *asJSON {
			return e.printJSON(list)
		}
		if len(list.Users) == 0 {
			fmt.Fprintln(e.Stderr, "There are no users.")
			return nil
		}
		rows := &table{out: e.Stdout}
		if err := rows.row("USER", "TOKENS", "DISABLED", "GROUPS", "MAIL"); err != nil {
			return err
		}
		for _, u := range list.Users {
			since := "-"
			if u.Disabled != 0 {
				since = e.since(u.Disabled)
			}
			if err := rows.row(u.ID, strconv.Itoa(u.Tokens), since, cmp.Or(strings.Join(u.Groups, ","), "-"), cmp.Or(u.Mail, "-")); err != nil {
				return err
			}
		}
		return rows.flush()
	})
}

func (e *Env) userShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show USER",
		Short:   "Shows what is known of a user",
		Example: `  caddy crumbgate user show alice`,
	}
	dial := e.connection(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return usagef("name one user, as in: caddy crumbgate user show alice")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		user, err := client.User(ctx, args[0])
		if err != nil {
			return err
		}
		return e.printUser(user, *asJSON)
	})
}

func (e *Env) userSet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set USER [--groups GROUP,…] [--mail ADDRESS] [--display-name NAME]",
		Short: "Sets what is known of a user",
		Long: `Sets what is known of a user, for all of the user's tokens and from the next
request on. What is not given stays as it is; what is given empty is removed.`,
		Example: `  caddy crumbgate user set alice --groups dev,release --mail alice@example.com
  caddy crumbgate user set alice --groups ""`,
	}
	dial := e.connection(cmd)
	update := profileFlags(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return usagef("name one user, as in: caddy crumbgate user set alice --groups dev,release")
		}
		profile := update()
		if profile.Empty() {
			return usagef("say what to set: --groups, --mail or --display-name")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		profile.Actor = e.Username
		updated, err := client.UpdateUser(ctx, args[0], profile)
		if err != nil {
			return err
		}
		if err := e.printUser(updated, *asJSON); err != nil {
			return err
		}
		e.warnOf(updated)
		return nil
	})
}

func (e *Env) userDisable(verb string, disabled bool, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " USER",
		Short:   short,
		Long:    long,
		Example: "  caddy crumbgate user " + verb + " alice",
	}
	dial := e.connection(cmd)
	unknown := cmd.Flags().Bool("unknown", false, verb+" the user although the gateway knows of no such user")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return usagef("name one user, as in: caddy crumbgate user %s alice", verb)
		}
		client, err := dial()
		if err != nil {
			return err
		}
		change := admin.UserChange{UserUpdate: admin.UserUpdate{Actor: e.Username}, Disabled: &disabled, Unknown: *unknown}
		user, err := client.ChangeUser(ctx, args[0], change)
		var failed *admin.Error
		if errors.As(err, &failed) && failed.Status == http.StatusNotFound {
			return fmt.Errorf("no user %q is known, so there are no tokens: check the spelling, or give --unknown", args[0])
		}
		if err != nil {
			return err
		}
		return e.printUser(user, *asJSON)
	})
}

// warnOf says what of a user Jenkins could not read.
func (e *Env) warnOf(u admin.User) {
	for _, warning := range headerrealm.Warnings(user.ID(u.ID), u.Groups, u.Mail, u.DisplayName) {
		fmt.Fprintf(e.Stderr, "Warning: %s\n", warning)
	}
	if !user.FitsBasic(user.ID(u.ID)) {
		fmt.Fprintf(e.Stderr, "Warning: Basic authentication can't carry a user ID with a colon: send this user's tokens as \"Authorization: Bearer\".\n")
	}
}

// profileFlags adds the flags for what is known of a user. The update holds those
// that were given.
func profileFlags(cmd *cobra.Command) (update func() admin.UserUpdate) {
	flags := cmd.Flags()
	groups := flags.StringSlice("groups", nil, "groups of the user, separated by commas")
	mail := flags.String("mail", "", "mail address of the user")
	displayName := flags.String("display-name", "", "name of the user as Jenkins shows it")
	return func() admin.UserUpdate {
		var u admin.UserUpdate
		if flags.Changed("groups") {
			u.Groups = groups
		}
		if flags.Changed("mail") {
			u.Mail = mail
		}
		if flags.Changed("display-name") {
			u.DisplayName = displayName
		}
		return u
	}
}

func (e *Env) printUser(u admin.User, asJSON bool) error {
	if asJSON {
		return e.printJSON(u)
	}
	table := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "User:\t%s\n", u.ID)
	fmt.Fprintf(table, "Groups:\t%s\n", noneIfEmpty(strings.Join(u.Groups, ", ")))
	fmt.Fprintf(table, "Mail:\t%s\n", noneIfEmpty(u.Mail))
	fmt.Fprintf(table, "Display name:\t%s\n", noneIfEmpty(u.DisplayName))
	if u.Disabled != 0 {
		fmt.Fprintf(table, "Disabled:\t%s\n", e.when(u.Disabled))
	}
	return table.Flush()
}

func noneIfEmpty(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
