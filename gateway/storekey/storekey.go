// Package storekey lists the kinds of keys that the gateway stores. It is the only such
// list: a start refuses a store with any other key, and the store refuses to write one.
// So a new kind needs a constant here and a place in Kinds.
//
// A store whose keys are of a kind that an older release does not list is refused by that
// release, as written by a newer one.
package storekey

// The prefixes of keys, or whole keys where no slash stands at the end.
const (
	Tokens    = "token/"  // the records of API tokens, by their ids
	Users     = "user/"   // the profiles of users, by their ids
	Usage     = "usage/"  // the use counts of tokens, by the tokens' ids
	Needs     = "needed/" // what observed tokens have done, by the tokens' ids
	CrumbKeys = "meta/crumb-keys"
	Swept     = "meta/swept"       // when the tokens were last looked through
	Counted   = "meta/counted"     // since when uses are counted
	AuditHead = "meta/audit-head/" // the last line of an audit log, by the log's name

	AuditSettled  = "meta/audit-settled/" // the last line of an audit log whose change the store has
	AuditAccepted = "meta/audit-accepted" // up to which line a store may lack changes
	AuditWaiting  = "waiting/"            // lines that the audit log does not have yet, by their changes
)

// Kinds are the prefixes of all keys.
func Kinds() []string {
	return []string{Tokens, Users, Usage, Needs, CrumbKeys, Swept, Counted, AuditHead, AuditSettled, AuditAccepted, AuditWaiting}
}
