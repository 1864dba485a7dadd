package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// IsPreflight reports whether a browser asks, before a request that a page of another
// site wants to make, whether that may be. It sends no credential with the question, so
// a sign-in must not answer it with a redirect.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header["Origin"] != nil && r.Header["Access-Control-Request-Method"] != nil
}

// isTrustedPreflight reports whether the page is one of a trusted origin.
func (g *Gate) isTrustedPreflight(r *http.Request) bool {
	return len(g.TrustedOrigins) > 0 && IsPreflight(r) && len(r.Header["Origin"]) == 1 && slices.Contains(g.TrustedOrigins, r.Header["Origin"][0])
}

// answerPreflight permits the request of a trusted origin. Whether the user may make it
// is decided when it comes, with its credential and crumb.
func (g *Gate) answerPreflight(w http.ResponseWriter, r *http.Request) {
	headers := []string{"Authorization", "Content-Type", "Jenkins-Crumb", "X-Requested-With"}
	for _, own := range []string{g.CrumbField, g.TokenHeader} {
		if own != "" && !slices.Contains(headers, own) {
			headers = append(headers, own)
		}
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header["Origin"][0])
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", strings.Join(headers, ", "))
	h.Set("Access-Control-Max-Age", "600")
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}
