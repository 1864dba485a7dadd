package caddymodule

import (
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/cli"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "crumbgate",
		Short: "Manages the API tokens of a Jenkins gateway, or shows one at work",
		Long: `
Manages the API tokens that a running gateway accepts, over Caddy's admin
endpoint, or shows a gateway at work in front of a stand-in Jenkins.`,
		CobraFunc: func(cmd *cobra.Command) {
			cli.Setup(cmd, cli.Env{
				Stdout:   os.Stdout,
				Stderr:   os.Stderr,
				Now:      time.Now,
				Username: username(),
				Dial:     dialAdmin,
				Serve:    serve,
				Program:  os.Args[0] + " crumbgate",
				Exit:     exit,
			})
		},
	})
}

// dialAdmin finds the admin endpoint as Caddy's own commands do.
func dialAdmin(address, configFile, adapter string) (admin.Do, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(address, nil, configFile, adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("the admin address %q is not one address: use one such as %s", address, caddy.DefaultAdminListen)
	}
	if parsed.IsUnixNetwork() {
		return admin.Dial(parsed.Network, parsed.Host), nil
	}
	return admin.Dial(parsed.Network, parsed.JoinHostPort(0)), nil
}

// serve runs Caddy in this process.
func serve(text, dir string) (stop func() error, err error) {
	// Beside its storage Caddy keeps an id of the installation and the like where
	// these say; a demo shall leave nothing there.
	for _, variable := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		if err := os.Setenv(variable, dir); err != nil {
			return nil, err
		}
	}
	caddy.DefaultStorage.Path = caddy.AppDataDir()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return nil, err
	}
	if err := caddy.Load(config, true); err != nil {
		return nil, err
	}
	return caddy.Stop, nil
}

func username() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// exit lets a command end with a status of its own. The error has been printed,
// which Caddy would do again.
func exit(status int, _ error) error {
	os.Exit(status)
	return nil
}
