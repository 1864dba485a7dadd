// Package policy says what an API token may do in Jenkins: a token has scopes, a request has a need.
//
// Both are about names and paths alone. The package does no I/O, knows no clock and asks Jenkins nothing, and what Jenkins
// itself permits the token's user is decided there: a scope only takes away.
//
// It denies by default. Stapler, Jenkins' dispatcher, reaches an object by many ways, and plugins add more, so Classify
// knows a list of ways and pages; all else needs admin on the whole controller. A zero Need, a zero Scopes and a nil one
// are the strictest of their kind.
package policy

import "github.com/crumbgate/crumbgate/gateway/endpoint"

// A Permission is what a scope begins with. The zero value is Admin.
type Permission = endpoint.Permission

// The permissions, as the table of endpoints has them.
const (
	Admin       = endpoint.Admin
	Read        = endpoint.Read
	Build       = endpoint.Build
	Webhook     = endpoint.Webhook
	Cancel      = endpoint.Cancel
	Artifacts   = endpoint.Artifacts
	Configure   = endpoint.Configure
	Credentials = endpoint.Credentials
	Script      = endpoint.Script
	CLI         = endpoint.CLI
	Agents      = endpoint.Agents

	free = endpoint.Any
)

// A Reach says how much of an item is asked for. The zero value is the item itself.
type Reach uint8

const (
	// Itself is the item and its builds.
	Itself Reach = iota
	// Below is the item and all below it: views of a folder, or a query that unfolds its jobs.
	Below
	// Somewhere is an item that the path doesn't tell, as with /queue/item/12: a token has to have Read or Build on any
	// item at all.
	Somewhere
)

// A Need is what a request asks for. The zero value is Admin on the whole controller.
type Need struct {
	Permission Permission
	Item       Item
	Reach      Reach
}

// String is for logs and tests: build team-a/app.
func (n Need) String() string {
	text := n.Permission.String()
	switch {
	case n.Reach == Somewhere:
		text += " somewhere"
	case n.Item != (Item{}):
		text += " " + n.Item.String()
		if n.Reach == Below {
			text += "/**"
		}
	}
	return text
}

// Scope returns a scope that covers the need, as a person types it: build:team-a/app.
// Where no item can be named it is the permission alone.
func (n Need) Scope() string {
	name := n.Permission.String()
	if n.Permission == free {
		return endpoint.Read.String() // any scope would do
	}
	if n.Reach == Somewhere || n.Item == (Item{}) {
		return name
	}
	text := name + ":" + n.Item.String()
	if n.Reach == Below {
		text += "/**"
	}
	if _, err := parseScope(text); err != nil { // such as a name that ends with a space
		return name
	}
	return text
}
