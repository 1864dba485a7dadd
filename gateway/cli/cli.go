// Package cli has the commands with which an operator manages tokens and users,
// for a command line made with cobra. They speak to a running gateway through its
// admin endpoint and keep nothing themselves.
//
// Results are printed on stdout, errors and hints on stderr. The exit status is 0
// if all was done, 1 if something failed, 2 if the command line is wrong and
// nothing was tried, and 3 if there are warnings, or something was left.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/internal/spelling"
)

// Env is what the commands need of the outside world. All fields are required.
type Env struct {
	Stdout, Stderr io.Writer
	Now            func() time.Time // in the time zone in which times are printed
	Username       string           // who runs the command, for the records; may be empty

	// Dial returns the way to the admin endpoint at an address, if it is not "", or
	// else at the one that a configuration file, read by an adapter, sets; both may
	// be "".
	Dial func(address, configFile, adapter string) (admin.Do, error)

	// Serve runs a gateway from a Caddyfile until stop is called. What Caddy itself
	// writes goes into a directory.
	Serve func(caddyfile, dir string) (stop func() error, err error)
	// Program is how the command was called, to be told to people.
	Program string

	// Exit returns what a command has to return for the process to end with a status
	// of 1, 2 or 3. The error err has been printed, if it is for people.
	Exit func(status int, err error) error
}

// Setup makes a command of the program the one that the others are below.
func Setup(cmd *cobra.Command, env Env) {
	env.group(cmd, env.token(), env.user(), env.report(), env.importing(), env.exporting(), env.crumbKey(), env.auditing(), env.health(), env.demo())
}

// A usageError says what is wrong with a command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errWarnings is that what has been printed has warnings, or tells of what was left.
var errWarnings = errors.New("there are warnings")

// fail prints an error and returns what the command returns for it.
func (e *Env) fail(cmd *cobra.Command, err error) error {
	if errors.Is(err, errWarnings) {
		return e.Exit(3, err)
	}
	fmt.Fprintf(e.Stderr, "Error: %v\n", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(e.Stderr, "See: %s --help\n", cmd.CommandPath())
		return e.Exit(2, err)
	}
	return e.Exit(1, err)
}

// runs makes a command do something, and print its errors once and in our way.
func (e *Env) runs(cmd *cobra.Command, do func(ctx context.Context, args []string) error) *cobra.Command {
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	cmd.Args = cobra.ArbitraryArgs // do refuses what it does not take
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return e.fail(cmd, flagError(cmd, err))
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := do(cmd.Context(), args); err != nil {
			return e.fail(cmd, err)
		}
		return nil
	}
	return cmd
}

// flagError says what is wrong with a flag, without what a parser says to programmers.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		return usagef("%w%s", err, hint("--", spelling.Closest(unknown.GetSpecifiedName(), known)))
	case errors.As(err, &invalid):
		flag := invalid.GetFlag()
		what, known := map[string]string{
			"int": "give a whole number", "uint32": "give a whole number from 0 to 4294967295", "uint64": "give a whole number, 0 or more",
			"bool": "give true or false", "stringSlice": "give values with commas between them, and quotes in pairs",
		}[flag.Value.Type()]
		if !known {
			what = "see what the flag takes"
		}
		return usagef("invalid argument %q for --%s: %s", invalid.GetValue(), flag.Name, what)
	}
	return usageError{err}
}

// hint asks, on a line of its own, whether a word was meant; "" if no word is close.
func hint(before, closest string) string {
	if closest == "" {
		return ""
	}
	return "\nDid you mean " + before + closest + "?"
}

// group makes a command of others. A misspelt one is an error: cobra would print
// the help and exit with 0, which a script takes for success.
func (e *Env) group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(commands...)
	return e.runs(cmd, func(_ context.Context, args []string) error {
		if len(args) > 0 {
			names := make([]string, len(commands))
			for i, c := range commands {
				names[i] = c.Name()
			}
			return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint(cmd.CommandPath()+" ", spelling.Closest(args[0], names)))
		}
		return cmd.Help()
	})
}

// noArguments refuses the arguments of a command that takes flags only.
func noArguments(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q: everything is given by flags", args[0])
	}
	return nil
}

// connection adds the flags by which a command finds the gateway, as Caddy's own
// commands have them.
func (e *Env) connection(cmd *cobra.Command) (dial func() (*admin.Client, error)) {
	var address, configFile, adapter string
	flags := cmd.Flags()
	flags.StringVar(&address, "address", "", "address of Caddy's admin endpoint (default: that of --config, or localhost:2019)")
	flags.StringVarP(&configFile, "config", "c", "", "configuration file to take the address of the admin endpoint from")
	flags.StringVarP(&adapter, "adapter", "a", "", "name of the adapter for --config, unless it is a Caddyfile or JSON")
	return func() (*admin.Client, error) {
		do, err := e.Dial(address, configFile, adapter)
		if err != nil {
			return nil, err
		}
		return admin.NewClient(do), nil
	}
}

func (e *Env) health() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tells whether the gateway is running and its token store is open",
		Long: `Tells whether the gateway is running and its token store is open.

The exit status is 0 if so and 1 if not, as a container's health check takes it. It
also says when the audit log can't be written: then only changes that take rights away
go on. The status stays 0, since a restart would not mend that.`,
		Example: `  caddy crumbgate health`,
	}
	dial := e.connection(cmd)
	asJSON := jsonFlag(cmd)
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		client, err := dial()
		if err != nil {
			return err
		}
		health, err := client.Health(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return e.printJSON(health)
		}
		text := fmt.Sprintf("%s, %s\n", health.Status, english.Plural(health.Tokens, "token", ""))
		if health.StoreError != "" {
			text += fmt.Sprintf("Warning: %s\n", health.StoreError)
		}
		if health.AuditError != "" {
			text += fmt.Sprintf("Warning: the audit log can't be written: %s\n", health.AuditError)
		}
		if n := health.AuditWaiting; n == 1 {
			text += "Warning: 1 line waits for the audit log\n"
		} else if n > 1 {
			text += fmt.Sprintf("Warning: %d lines wait for the audit log\n", n)
		}
		return e.printf("%s", text)
	})
}

func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print the answer of the gateway as JSON")
}

func quietFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("quiet", "q", false, "print the secret and nothing else")
}

func (e *Env) printJSON(v any) error {
	encoder := json.NewEncoder(e.Stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

func (e *Env) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(e.Stdout, format, args...)
	return err
}

const day = 24 * time.Hour

// spans are the units of time. Days go further than humanize's own, which would
// call both 60 days and 89 two months.
var spans = []humanize.RelTimeMagnitude{
	{D: time.Minute, Format: "now"},
	{D: 2 * time.Minute, Format: "1 minute %s"},
	{D: time.Hour, Format: "%d minutes %s", DivBy: time.Minute},
	{D: 2 * time.Hour, Format: "1 hour %s"},
	{D: day, Format: "%d hours %s", DivBy: time.Hour},
	{D: 2 * day, Format: "1 day %s"},
	{D: 730 * day, Format: "%d days %s", DivBy: day},
	{D: math.MaxInt64, Format: "%d years %s", DivBy: 365 * day},
}

// since tells how long ago, or how far ahead, a moment is.
func (e *Env) since(t admin.Time) string {
	if t == 0 {
		return "never"
	}
	then, now := time.Unix(int64(t), 0), e.Now()
	if left := then.Sub(now); left > 0 { // a token of 90 days has 90 days left, a minute later too
		unit := day
		switch {
		case left <= time.Hour:
			unit = time.Minute
		case left <= day:
			unit = time.Hour
		}
		then = now.Add((left + unit - 1).Truncate(unit))
	}
	return humanize.CustomRelTime(then, now, "ago", "from now", spans)
}

// when tells a moment in full.
func (e *Env) when(t admin.Time) string {
	if t == 0 {
		return "never"
	}
	now := e.Now()
	return fmt.Sprintf("%s (%s)", time.Unix(int64(t), 0).In(now.Location()).Format("2006-01-02 15:04 MST"), e.since(t))
}
