package jenkinstest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

// CrumbState says what the crumb filter made of a request.
type CrumbState string

const (
	CrumbUnchecked CrumbState = ""        // not a POST, or refused before the filter
	CrumbOff       CrumbState = "off"     // a POST while CSRF protection was off
	CrumbExempt    CrumbState = "exempt"  // a POST excluded by its path or by Jenkins' own API token
	CrumbValid     CrumbState = "valid"   // accepted
	CrumbMissing   CrumbState = "missing" // refused: none sent
	CrumbInvalid   CrumbState = "invalid" // refused: sent, but not that user's and session's
)

// NoValidCrumb is the message of the refusal (hudson.security.csrf.CrumbFilter).
const NoValidCrumb = "No valid crumb was included in the request"

// checkCrumb is hudson.security.csrf.CrumbFilter: exclusions, then the header, then a parameter, for POST alone. It
// reports whether to go on.
func (x *exchange) checkCrumb() bool {
	if x.r.Method != http.MethodPost {
		return true
	}
	if !x.j.csrf.Load() {
		x.crumb = CrumbOff
		return true
	}
	if x.apiToken || excluded(canonicalPath(x.raw)) {
		x.crumb = CrumbExempt
		return true
	}
	crumb, present := "", false
	if values := x.r.Header.Values(x.j.cfg.CrumbField); len(values) > 0 {
		crumb, present = values[0], true // even if wrong: a right parameter doesn't rescue it
	} else {
		crumb, present = x.lookup(x.j.cfg.CrumbField)
	}
	switch {
	case !present:
		x.crumb = CrumbMissing // and no session comes of it
	case x.validCrumb(crumb):
		x.crumb = CrumbValid
		return true
	default:
		x.crumb = CrumbInvalid
	}
	x.reportOnlyPolicy()
	x.sendError(http.StatusForbidden, NoValidCrumb)
	return false
}

// excluded tells the paths that need no crumb: core's CrumbExclusions and those of common webhook plugins. The path is
// canonical but keeps its percent-escapes and its /static/x prefix (SECURITY-1774).
func excluded(path string) bool {
	switch path {
	case "/cli", "/git/notifyCommit", "/github-webhook", "/github-webhook/", "/bitbucket-hook", "/bitbucket-hook/",
		"/gitea-webhook/post", "/ghprbhook/", "/mercurial/notifyCommit", "/mercurial/notifyCommit/":
		return true
	}
	for _, prefix := range []string{
		"/content-security-policy-reporting-endpoint/", "/generic-webhook-trigger/", "/project/", "/gitlab-webhook/post",
		"/gitlab-systemhook/post", "/bitbucket-scmsource-hook/notify", "/buildByToken/", "/multibranch-webhook-trigger/",
	} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// Salt is what the default issuer appends to what it hashes; it survives a Restart.
func (j *Jenkins) Salt() string { return j.salt }

// issueCrumb returns the crumb of the caller, making a session when it needs one.
func (x *exchange) issueCrumb() string {
	if x.j.cfg.Strict != nil {
		return x.j.cfg.Strict.issue(x)
	}
	return x.defaultCrumb()
}

func (x *exchange) validCrumb(crumb string) bool {
	if x.j.cfg.Strict != nil {
		return x.j.cfg.Strict.valid(x, crumb)
	}
	return subtle.ConstantTimeCompare([]byte(x.defaultCrumb()), []byte(crumb)) == 1
}

// defaultCrumb is hudson.security.csrf.DefaultCrumbIssuer. The client's address left the hash with 2.543.
func (x *exchange) defaultCrumb() string {
	hashed := x.user + ";"
	if x.j.minor < 543 {
		hashed += x.clientIP() + ";"
	}
	hashed += x.getSession() + x.j.salt
	sum := sha256.Sum256([]byte(hashed))
	return hex.EncodeToString(sum[:])
}

// issuerClass is the Java class of the crumb issuer.
func (j *Jenkins) issuerClass() string {
	if j.cfg.Strict != nil {
		return "org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer"
	}
	return "hudson.security.csrf.DefaultCrumbIssuer"
}
