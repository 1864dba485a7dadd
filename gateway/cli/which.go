package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/internal/shellword"
)

// A selection names a token by its user and name.
type selection struct{ user, name string }

func selectionFlags(cmd *cobra.Command) *selection {
	s := new(selection)
	cmd.Flags().StringVar(&s.user, "user", "", "the user whose token it is, instead of an id")
	cmd.Flags().StringVar(&s.name, "name", "", "the name of the user's token, instead of an id")
	ownerIsUser(cmd)
	return s
}

// ownerIsUser takes --owner for --user.
func ownerIsUser(cmd *cobra.Command) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "owner" {
			name = "user"
		}
		return pflag.NormalizedName(name)
	})
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
	return checkIDs("argument", ids)
}

// checkOne refuses all but one id, or both flags.
func (s *selection) checkOne(ids []string) error {
	if err := s.check(ids); err != nil {
		return err
	}
	if len(ids) > 1 {
		return usagef("unexpected argument %q: this is for one token at a time", ids[1])
	}
	return nil
}

func checkIDs(what string, ids []string) error {
	for i, id := range ids {
		if _, err := admin.ParseID(id); err != nil {
			return usagef("%s %d: %w", what, i+1, err)
		}
	}
	return nil
}

// id returns the id of the one token, which checkOne has found no fault with.
func (s *selection) id(ctx context.Context, client *admin.Client, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	found, _, err := s.find(ctx, client)
	return found.ID, err
}

// find returns the one token of the name that is not revoked, and those of the
// same name that it has replaced and that still work, or are suspended.
func (s *selection) find(ctx context.Context, client *admin.Client) (found admin.Token, replaced []admin.Token, err error) {
	var named []admin.Token
	for t, err := range client.List(ctx, admin.Query{Filter: admin.Filter{User: admin.Text(s.user)}}) {
		switch {
		case err != nil:
			return found, nil, err
		case t.Name != s.name:
		case !t.Marks.Replaced:
			named = append(named, t)
		case t.State == "active" || t.State == "suspended":
			replaced = append(replaced, t)
		}
	}
	if len(named) == 0 {
		named, replaced = replaced, nil
	}
	switch len(named) {
	case 0:
		return found, nil, fmt.Errorf("%s has no token named %q, except perhaps a revoked one: caddy crumbgate token list --user %s --all shows them", s.user, s.name, shellword.Quote(s.user))
	case 1:
		return named[0], replaced, nil
	}
	// The user is spelt in several ways, under each of which the name is free.
	ids := make([]string, len(named))
	for i, t := range named {
		ids[i] = t.ID
	}
	return found, nil, fmt.Errorf("%s has several tokens named %q: say which by its id, %s", s.user, s.name, english.WordSeries(ids, "or"))
}

// filtering are the flags of a filter.
type filtering struct {
	admin.Filter
	flags *pflag.FlagSet
	names []string // of the flags
}

// filterFlags adds the flags by which tokens are chosen; all says what --all does.
func filterFlags(cmd *cobra.Command, all string) *filtering {
	f := &filtering{flags: cmd.Flags()}
	text := func(value *admin.Text, name, usage string) {
		f.flags.StringVar((*string)(value), name, "", usage)
		f.names = append(f.names, name)
	}
	yes := func(value *bool, name, usage string) {
		f.flags.BoolVar(value, name, false, usage)
		f.names = append(f.names, name)
	}
	text(&f.User, "user", "tokens of this user (--owner is the same)")
	text(&f.Name, "name", "tokens of this name; * stands for any characters, ? for one")
	text(&f.Search, "search", "tokens with this text in id, user, name or scopes")
	text(&f.State, "state", "tokens in this state: active, suspended, revoked, expired, superseded, \"owner disabled\", legacy, parent, idle or \"used up\"")
	text(&f.UnusedFor, "unused-for", "tokens not used for this long, as in 90d")
	text(&f.CreatedBefore, "created-before", "tokens made before this day, as in 2026-01-31")
	text(&f.ExpiresWithin, "expires-within", "tokens that end within this time, as in 7d")
	yes(&f.Legacy, "legacy", "tokens from before Jenkins 2.129")
	yes(&f.NeverUsed, "never-used", "tokens not used since they were made, more than a week ago")
	yes(&f.Unending, "unending", "tokens without an end")
	yes(&f.Unlimited, "unlimited", "tokens without scopes, or only observed")
	yes(&f.DisabledUser, "disabled-users", "tokens of disabled users")
	text(&f.Category, "category", "tokens in this category of the report, as in old or over_privileged")
	yes(&f.All, "all", all)
	ownerIsUser(cmd)
	return f
}

// check refuses a flag that was to say something and is empty.
func (f *filtering) check() error {
	for _, name := range f.names {
		if flag := f.flags.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return usagef("--%s is empty: leave it out", name)
		}
	}
	return nil
}

// given tells whether any flag is given but those.
func (f *filtering) given(but ...string) bool {
	return slices.ContainsFunc(f.names, func(name string) bool {
		return f.flags.Changed(name) && !slices.Contains(but, name)
	})
}

// exact tells whether the flags name one token by its user and name.
func (f *filtering) exact() bool {
	return f.User != "" && f.Name != "" && !f.given("user", "name") && !strings.ContainsAny(string(f.Name), `*?[\`)
}
