// Package crumbgate adds crumbgate, the authentication gateway for Jenkins, to a
// Caddy that imports it, as xcaddy does.
package crumbgate

import (
	_ "github.com/crumbgate/crumbgate/caddymodule" // registers the modules
)
