// Package policy says what an API token may do in Jenkins: a token has scopes, a request has a need.
//
// Both are about names and paths alone. The package does no I/O, knows no clock and asks Jenkins nothing, and what Jenkins
// itself permits the token's user is decided there: a scope only takes away.
//
// It denies by default. Stapler, Jenkins' dispatcher, reaches an object by many ways, and plugins add more, so Classify
// knows a list of ways and pages; all else needs admin on the whole controller. A zero Need, a zero Scopes and a nil one
// are the strictest of their kind.
package policy

import "fmt"

// A Permission is what a scope begins with. The zero value is Admin.
type Permission uint8

const (
	// Admin is everything, and the only one to cover what isn't known.
	Admin Permission = iota
	// Read is for pages and the remote API of items and builds, consoles included.
	Read
	// Build triggers builds, indexing of branches and polling, and answers the questions that a Pipeline asks. A replay
	// needs Script, since it brings a script of its own.
	Build
	// Cancel stops builds and takes items off the queue.
	Cancel
	// Artifacts downloads artifacts and files of workspaces.
	Artifacts
	// Configure makes, changes, moves and deletes items, views and builds, and reads config.xml: Jenkins as well asks
	// more than Read for that (Item.EXTENDED_READ).
	Configure
	// Credentials is the credentials plugin.
	Credentials
	// Script runs Groovy: the script console, replays, approval of scripts.
	Script
	// CLI is /cli, all or nothing: the command travels in the body.
	CLI
	// Agents makes, changes, connects and disconnects agents.
	Agents

	// free is for the few pages that no client can do without. A token with any scope has it.
	free
)

var names = [...]string{
	Admin: "admin", Read: "read", Build: "build", Cancel: "cancel", Artifacts: "artifacts", Configure: "configure",
	Credentials: "credentials", Script: "script", CLI: "cli", Agents: "agents", free: "any scope",
}

// String returns the name that a scope has it by.
func (p Permission) String() string {
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("permission %d", uint8(p))
}

// hasItems tells whether a scope may limit the permission to items. Agents belong to the controller, and what CLI and
// Admin reach can't be told from a path.
func (p Permission) hasItems() bool {
	switch p {
	case Read, Build, Cancel, Artifacts, Configure, Credentials, Script:
		return true
	}
	return false
}

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
