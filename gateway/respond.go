package gateway

import (
	"io"
	"net/http"
	"strconv"
)

// A response is what a client is told for a reason.
type response struct {
	status int
	text   string
}

var (
	unauthorized = response{http.StatusUnauthorized, "Unauthorized: send a valid API token, with its user by Basic authentication or alone as a Bearer token.\n"}
	ambiguous    = response{http.StatusBadRequest, "Bad request: it presents more than one credential. Send one token, in one header.\n"}
	tokenInURL   = response{http.StatusBadRequest, "Bad request: a token came in the URL, where logs keep it. Revoke that token, and send its successor in the Authorization header.\n"}
	badPath      = response{http.StatusBadRequest, "Bad request: the path is ambiguous. Send it without semicolons, backslashes, control characters and encoded dot segments.\n"}
	outside      = response{http.StatusNotFound, "Not found: Jenkins is below another path of this address.\n"}
	crossOrigin  = response{http.StatusForbidden, "Forbidden: a browser made this request for a page of another site.\n"}
	unavailable  = response{http.StatusServiceUnavailable, "Service unavailable: tokens can't be checked at the moment. Try again soon.\n"}
	badGateway   = response{http.StatusBadGateway, "Bad gateway: Jenkins did not give a crumb, so the request was not sent. The gateway's log has the reason.\n"}
	timedOut     = response{http.StatusGatewayTimeout, "Gateway timeout: Jenkins did not give a crumb in time, so the request was not sent.\n"}
	noCrumbRight = response{http.StatusForbidden, "Forbidden: Jenkins gives this user no crumb, because the permission Overall/Read is missing.\n"}
	notReplayed  = response{http.StatusBadGateway, "Bad gateway: Jenkins refused the crumb that it had just given, and did nothing. Try again.\n"}
)

// responses maps reasons to what clients are told. All that is wrong with a
// credential looks alike, whether the token exists or not.
var responses = map[Reason]response{
	ReasonNone:         unauthorized,
	ReasonForeign:      unauthorized,
	ReasonMalformed:    unauthorized,
	ReasonUnknown:      unauthorized,
	ReasonWrongUser:    unauthorized,
	ReasonExpired:      unauthorized,
	ReasonRevoked:      unauthorized,
	ReasonAmbiguous:    ambiguous,
	ReasonTokenInQuery: tokenInURL,
	ReasonPath:         badPath,
	ReasonOutside:      outside,
	ReasonCrossOrigin:  crossOrigin,
	ReasonUnavailable:  unavailable,
}

func refuse(w http.ResponseWriter, r *http.Request, reason Reason) {
	answer(w, r, responses[reason])
}

func answer(w http.ResponseWriter, r *http.Request, a response) {
	h := w.Header()
	if a.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="Jenkins"`)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(a.text)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		io.WriteString(w, a.text) //nolint:errcheck // the client may have left
	}
}
