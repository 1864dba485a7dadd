// Package endpoint is the one table of what the gateway knows of endpoints, of Jenkins' core and of its plugins: which are
// open, which act on a GET, which need no crumb, which must be signed and by which forge, and which permission a scoped
// token needs there. Package policy asks it for permissions, package gateway for the rest, and two pages of the
// documentation are written from it.
package endpoint

import "fmt"

// A Permission is what a scope begins with. The zero value is Admin. The numbers are stored, so they never change.
type Permission uint8

const (
	// Admin is everything, and the only one to cover what isn't known.
	Admin Permission = iota
	// Read is for pages and the remote API of items and builds, consoles included.
	Read
	// Build triggers builds, indexing of branches and polling, and answers the questions that a Pipeline asks. It
	// includes Webhook. A replay needs Script, since it brings a script of its own.
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

	// Any is for the few pages that no client can do without, or that anybody may see. A token with any scope has it.
	Any

	// Webhook delivers events to the endpoints that forges and other services call.
	Webhook
)

// A Grant says what a permission is: its name in a scope, whether the scope may name items, and, for a permission that
// reaches further than its name says, how far. The text stands where a scope is chosen: in the help and the output of
// the commands, on the pages, and in docs/scopes.md.
type Grant struct {
	Permission Permission
	Name       string
	Items      bool
	Reach      string
}

// Grants are the permissions that a scope can begin with, in the order in which the documentation has them.
var Grants = []Grant{
	{Admin, "admin", false, ""},
	{Read, "read", true, ""},
	{Build, "build", true, ""},
	{Webhook, "webhook", true, ""},
	{Cancel, "cancel", true, ""},
	{Artifacts, "artifacts", true, ""},
	{Configure, "configure", true, "reads and replaces config.xml, and so the encrypted credentials that a folder or job keeps in it; " +
		"with build, a job can print them in clear, and with an administrator's token it can run any script"},
	{Credentials, "credentials", true, ""},
	{Script, "script", true, "runs Groovy as the owner, and so does a replay of one job; with an administrator's token that is all of Jenkins"},
	{CLI, "cli", false, "is all that the owner may do in Jenkins"},
	{Agents, "agents", false, "chooses how an agent is started; with an administrator's token that can be a command on the controller"},
}

// Grant returns what is known of a permission, and false for Any and for what isn't a permission.
func (p Permission) Grant() (Grant, bool) {
	for _, g := range Grants {
		if g.Permission == p {
			return g, true
		}
	}
	return Grant{}, false
}

// String returns the name that a scope has it by.
func (p Permission) String() string {
	if p == Any {
		return "any scope"
	}
	if g, known := p.Grant(); known {
		return g.Name
	}
	return fmt.Sprintf("permission %d", uint8(p))
}

// HasItems reports whether a scope may limit the permission to items. Agents belong to the controller, and what CLI and
// Admin reach can't be told from a path.
func (p Permission) HasItems() bool {
	g, known := p.Grant()
	return known && g.Items
}

// Includes reports whether a scope with permission p covers a need of permission q.
func (p Permission) Includes(q Permission) bool {
	return p == q || p == Admin || q == Any || p == Build && q == Webhook
}
