// Command caddy is Caddy with crumbgate.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/crumbgate/crumbgate"
)

func main() {
	caddycmd.Main()
}
