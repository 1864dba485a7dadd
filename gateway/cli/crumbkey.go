package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

func (e *Env) crumbKey() *cobra.Command {
	return e.group(&cobra.Command{
		Use:   "crumb-key",
		Short: "Lists and replaces the keys of the gateway's crumbs",
		Long: `Lists and replaces the keys with which the gateway signs the crumbs that it gives
to people. They are kept in the token store.`,
		Example: `  caddy crumbgate crumb-key list
  caddy crumbgate crumb-key rotate`,
	}, e.crumbKeyList(), e.crumbKeyRotate())
}

func (e *Env) crumbKeyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Lists the keys, without the keys themselves",
		Example: `  caddy crumbgate crumb-key list`,
	}
	dial := e.connection(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) > 0 {
			return usagef("this command takes no arguments")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		keys, err := client.CrumbKeys(ctx)
		if err != nil {
			return err
		}
		return e.printCrumbKeys(keys, *asJSON)
	})
}

func (e *Env) crumbKeyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate [--drop-old]",
		Short: "Makes a new key",
		Long: `Makes a new key. Crumbs by the old ones are good until they expire; if a key may
have leaked, --drop-old ends them at once, and open pages have to be loaded again.`,
		Example: `  caddy crumbgate crumb-key rotate
  caddy crumbgate crumb-key rotate --drop-old`,
	}
	dial := e.connection(cmd)
	drop := cmd.Flags().Bool("drop-old", false, "end all crumbs by older keys at once")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if len(args) > 0 {
			return usagef("this command takes no arguments")
		}
		client, err := dial()
		if err != nil {
			return err
		}
		keys, err := client.RotateCrumbKeys(ctx, admin.RotateRequest{Drop: *drop, Actor: e.Username})
		if err != nil {
			return err
		}
		return e.printCrumbKeys(keys, *asJSON)
	})
}

func (e *Env) printCrumbKeys(keys admin.CrumbKeys, asJSON bool) error {
	if asJSON {
		return e.printJSON(keys)
	}
	table := tabwriter.NewWriter(e.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tCREATED\tUSED FOR")
	for _, k := range keys.Keys {
		use := "crumbs of before"
		if k.Current {
			use = "new crumbs"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", k.Number, e.when(k.Created), use)
	}
	return table.Flush()
}
