package cli

import (
	"context"
	"iter"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
)

func (e *Env) report() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Tells what should be done about tokens",
		Long: `Tells what should be done about tokens, by category. Categories with a ! in front
are warnings; the others may be so on purpose.

The exit status is 0 if there are no warnings and 3 if there are, so that cron or a
build can tell; 1 is that the report could not be made.`,
		Example: `  caddy crumbgate report
  caddy crumbgate report --json --limit 1000
  caddy crumbgate report >report.txt || mail -s 'API tokens' admin@example.com <report.txt`,
	}
	dial := e.connection(cmd)
	limit := cmd.Flags().Int("limit", 20, "how many tokens of each category to list, at most 1000")
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		if *limit < 0 || *limit > 1000 {
			return usagef("--limit %d is no number from 0 to 1000", *limit)
		}
		client, err := dial()
		if err != nil {
			return err
		}
		report, err := client.Report(ctx, *limit)
		if err != nil {
			return err
		}
		if *asJSON {
			err = e.printJSON(report)
		} else {
			err = e.printReport(report)
		}
		if err == nil && report.Warnings > 0 {
			return errWarnings
		}
		return err
	})
}

func (e *Env) printReport(r admin.Report) error {
	if err := e.printf("%s about %s.\n", english.Plural(r.Warnings, "warning", ""), english.Plural(r.Tokens, "token", "")); err != nil {
		return err
	}
	if r.Legacy != "" {
		if err := e.printf("%s\n", r.Legacy); err != nil {
			return err
		}
	}
	for _, c := range r.Categories {
		if c.Count == 0 {
			continue
		}
		mark := " "
		if c.Warns {
			mark = "!"
		}
		if err := e.printf("\n%s %s, %s: %s\n", mark, c.Name, english.Plural(c.Count, "token", ""), c.Text); err != nil {
			return err
		}
		if _, err := e.printTokens(known(c.Tokens), "    "); err != nil {
			return err
		}
		if more := c.Count - len(c.Tokens); more > 0 {
			if err := e.printf("    and %d more\n", more); err != nil {
				return err
			}
		}
	}
	return nil
}

func known(tokens []admin.Token) iter.Seq2[admin.Token, error] {
	return func(yield func(admin.Token, error) bool) {
		for _, t := range tokens {
			if !yield(t, nil) {
				return
			}
		}
	}
}
