package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

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
				Now:      clock,
				Username: username(),
				Dial:     dialAdmin,
				Serve:    serve,
				Program:  os.Args[0] + " crumbgate",
				Exit:     exit,
			})
		},
	})
}

// dialAdmin finds the admin endpoint as Caddy's own commands do, except that it never
// takes another gateway's for that of a configuration which has none.
func dialAdmin(address, configFile, adapter string) (admin.Do, error) {
	source := fmt.Sprintf("--address %q", address)
	if address == "" && configFile != "" {
		var err error
		if address, err = configuredAdmin(configFile, adapter); err != nil {
			return nil, fmt.Errorf("find the admin endpoint in --config %q: %w", configFile, err)
		}
		source = fmt.Sprintf("the admin address %q in --config %q", address, configFile)
	}
	if address == "" {
		address = caddy.DefaultAdminListen
	}
	network, host, err := adminAddress(address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: use one such as %s or unix//run/caddy.sock", source, err, caddy.DefaultAdminListen)
	}
	return admin.Dial(network, host), nil
}

// configuredAdmin returns the address of the admin endpoint that a configuration sets,
// "" for the default.
func configuredAdmin(file, adapter string) (string, error) {
	config, used, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return "", err
	}
	if used == "" {
		return "", errors.New("there is no such file: name the gateway's Caddyfile")
	}
	var parsed struct {
		Admin *struct {
			Disabled bool   `json:"disabled"`
			Listen   string `json:"listen"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return "", errors.New("it is not Caddy's JSON: name the adapter with --adapter")
	}
	switch {
	case parsed.Admin == nil:
		return "", nil
	case parsed.Admin.Disabled:
		return "", errors.New(`it says "admin off", so that gateway takes no commands: give it an admin address, or name another gateway's with --address`)
	}
	listen, err := caddy.NewReplacer().ReplaceOrErr(parsed.Admin.Listen, true, true)
	if err != nil {
		return "", fmt.Errorf("admin address %q: its placeholder has no value here: set the variable, or use --address", parsed.Admin.Listen)
	}
	return listen, nil
}

// adminAddress reads an address as people write it: as Caddy has it, as a URL, or as the
// path of a socket.
func adminAddress(text string) (network, address string, err error) {
	if scheme, rest, found := strings.Cut(text, "://"); found && scheme != "unix" {
		if scheme != "http" {
			return "", "", fmt.Errorf("the admin endpoint does not speak %q", scheme)
		}
		if text = strings.TrimSuffix(rest, "/"); text == "" || strings.ContainsAny(text, "/?#@") {
			return "", "", errors.New("more than a host and a port")
		}
	} else if found {
		text = "unix/" + rest // unix:///run/caddy.sock
	} else if text[0] == '/' || text[0] == '.' {
		text = "unix/" + text
	}
	parsed, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", defaultAdminPort)
	switch {
	case err != nil || parsed.PortRangeSize() > 1:
		return "", "", errors.New("not one address")
	case parsed.IsUnixNetwork():
		return parsed.Network, parsed.Host, nil
	case !strings.HasPrefix(parsed.Network, "tcp") || parsed.StartPort == 0:
		return "", "", errors.New("not an address of TCP or of a Unix socket")
	}
	if parsed.Host == "" {
		parsed.Host = "localhost"
	}
	return parsed.Network, parsed.JoinHostPort(0), nil
}

// defaultAdminPort is the port of caddy.DefaultAdminListen.
const defaultAdminPort = 2019

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
