package gateway

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
)

// A response is what a client is told for a reason.
type response struct {
	status int
	text   string
}

var (
	unauthorized    = response{http.StatusUnauthorized, "Unauthorized: send a valid API token, with its user by Basic authentication or alone as a Bearer token.\n"}
	ambiguous       = response{http.StatusBadRequest, "Bad request: it presents more than one credential. Send one token, in one header.\n"}
	tokenInURL      = response{http.StatusBadRequest, "Bad request: a token came in the URL, where logs keep it. Revoke that token, and send its successor in the Authorization header.\n"}
	badPath         = response{http.StatusBadRequest, "Bad request: the path is ambiguous. Send it without semicolons, backslashes, control characters and encoded dot segments.\n"}
	outside         = response{http.StatusNotFound, "Not found: Jenkins is below another path of this address.\n"}
	badMethod       = response{http.StatusMethodNotAllowed, "Method not allowed: Jenkins has no use for it.\n"}
	crossOrigin     = response{http.StatusForbidden, "Forbidden: a browser made this request for a page of another site.\n"}
	unavailable     = response{http.StatusServiceUnavailable, "Service unavailable: tokens can't be checked at the moment. Try again soon.\n"}
	badGateway      = response{http.StatusBadGateway, "Bad gateway: Jenkins did not give a crumb, so the request was not sent. The gateway's log has the reason.\n"}
	timedOut        = response{http.StatusGatewayTimeout, "Gateway timeout: Jenkins did not give a crumb in time, so the request was not sent.\n"}
	noCrumbRight    = response{http.StatusForbidden, "Forbidden: Jenkins gives this user no crumb, because the permission Overall/Read is missing.\n"}
	untrusted       = response{http.StatusForbidden, "Forbidden: who you are came in a header that anybody could have sent. The gateway's log says what its administrator has to set.\n"}
	noIdentity      = response{http.StatusForbidden, "Forbidden: your user ID can't be sent to Jenkins. The gateway's log has the reason.\n"}
	unreadableUser  = response{http.StatusForbidden, "Forbidden: Jenkins can't read your user ID. It reads headers as ISO-8859-1, and the ID has a character beyond that. Ask the gateway's administrator for another ID.\n"}
	noUser          = response{http.StatusForbidden, "Forbidden: you have signed in, but the sign-in did not say under which user ID. The gateway's log names the attribute that is missing.\n"}
	noOrigin        = response{http.StatusForbidden, "Forbidden: a WebSocket needs an Origin header, or an API token.\n"}
	badForm         = response{http.StatusBadRequest, "Bad request: no crumb was found in the part of the form that is looked at. Send it in the Jenkins-Crumb header, or first in the form.\n"}
	slowForm        = response{http.StatusRequestTimeout, "Request timeout: the crumb in the form did not arrive within a minute. Send it in the Jenkins-Crumb header, or first in the form.\n"}
	busyForms       = response{http.StatusServiceUnavailable, "Service unavailable: the gateway keeps too many request bodies at once. Send the request again, with the crumb in the Jenkins-Crumb header.\n"}
	unsigned        = response{http.StatusForbidden, "Forbidden: this webhook needs a valid signature. Set the same secret on both sides.\n"}
	webhookBody     = response{http.StatusBadRequest, "Bad request: the webhook's body did not arrive.\n"}
	webhookLarge    = response{http.StatusRequestEntityTooLarge, "Content too large: the webhook's body has more bytes than max_body allows.\n"}
	busy            = response{http.StatusServiceUnavailable, "Service unavailable: too many webhooks at once. Send it again.\n"}
	crumbRefused    = response{http.StatusForbidden, noCrumb} // see refuseCrumb
	tooOften        = response{http.StatusTooManyRequests, "Too many requests: this token has made as many in the last 60 seconds as it may. Retry-After says when to try again.\n"}
	outOfScope      = response{http.StatusForbidden, "Forbidden: the scopes of this API token don't cover this request.\n"}
	forPeople       = response{http.StatusForbidden, "Forbidden: these pages are for people who have signed in, not for API tokens.\n"}
	noJenkinsTokens = response{http.StatusForbidden, "Forbidden: API tokens are not made in Jenkins here, but in the gateway.\n"}
	noCrumbHere     = response{http.StatusNotFound, "Not found: ask for a crumb at /crumbIssuer/api/json, below Jenkins' context path.\n"}
	noSuchEndpoint  = response{http.StatusNotFound, "Not found: the gateway manages API tokens here, at /user/<id>/ or /me/descriptorByName/jenkins.security.ApiTokenProperty/.\n"}
	badTokenForm    = response{http.StatusBadRequest, "Bad request: the form is too large or not urlencoded.\n"}
	tooManyFailures = response{http.StatusTooManyRequests, "Too many requests: too many failed credentials came from this network. Requests with a valid API token still pass.\n"}
	tooEarly        = response{http.StatusTooEarly, "Too early: send this request again after the TLS handshake.\n"}
	notReplayed     = response{http.StatusBadGateway, "Bad gateway: Jenkins ended the session of this request and refused it. The body is too large for the gateway to send it again. Send the request again.\n"}
)

// responses maps reasons to what clients are told. All that is wrong with a
// credential looks alike, whether the token exists or not, but for ends.
var responses = map[Reason]response{
	ReasonNone:         unauthorized,
	ReasonForeign:      unauthorized,
	ReasonMalformed:    unauthorized,
	ReasonUnknown:      unauthorized,
	ReasonWrongUser:    unauthorized,
	ReasonExpired:      unauthorized,
	ReasonRevoked:      unauthorized,
	ReasonSuspended:    unauthorized,
	ReasonSuperseded:   unauthorized,
	ReasonOwner:        unauthorized,
	ReasonLegacy:       unauthorized,
	ReasonParent:       unauthorized,
	ReasonIdle:         unauthorized,
	ReasonSource:       unauthorized,
	ReasonUses:         unauthorized,
	ReasonRate:         tooOften,
	ReasonScope:        outOfScope,
	ReasonPages:        forPeople,
	ReasonTokenAPI:     noJenkinsTokens,
	ReasonAmbiguous:    ambiguous,
	ReasonTokenInURL:   tokenInURL,
	ReasonPath:         badPath,
	ReasonOutside:      outside,
	ReasonCrossOrigin:  crossOrigin,
	ReasonUnavailable:  unavailable,
	ReasonMethod:       badMethod,
	ReasonUntrusted:    untrusted,
	ReasonIdentity:     noIdentity,
	ReasonCharset:      unreadableUser,
	ReasonNoUser:       noUser,
	ReasonNoOrigin:     noOrigin,
	ReasonNoCrumb:      crumbRefused,
	ReasonCrumb:        crumbRefused,
	ReasonCrumbSession: crumbRefused,
	ReasonCrumbExpired: crumbRefused,
	ReasonCrumbForm:    badForm,
	ReasonCrumbSlow:    slowForm,
	ReasonCrumbBusy:    busyForms,
	ReasonSignature:    unsigned,
	ReasonWebhookBody:  webhookBody,
	ReasonWebhookLarge: webhookLarge,
	ReasonWebhookBusy:  busy,
	ReasonFailures:     tooManyFailures,
	ReasonEarlyData:    tooEarly,
}

// ends are the reasons that the holder of a token may learn, as its second challenge
// names them. All others stay alike: they would tell a thief what caught him.
var ends = map[Reason]string{
	ReasonExpired:    "expired",
	ReasonSuperseded: "expired",
	ReasonRevoked:    "revoked",
}

// refuse answers a request. Told is that the client may learn how its token has ended.
func refuse(w http.ResponseWriter, r *http.Request, d Decision, told bool, now time.Time) {
	if end := ends[d.Reason]; end != "" && told {
		// Basic comes first, for clients that look at one challenge only (RFC 6750,
		// section 3).
		h := w.Header()
		h["Www-Authenticate"] = []string{basicChallenge, `Bearer error="invalid_token", error_description="` + end + `"`}
		h.Set("Content-Type", "text/plain; charset=utf-8")
		write(w, r, http.StatusUnauthorized, "Unauthorized: this API token is "+end+". Create a new one.\n")
		return
	}
	switch response := responses[d.Reason]; response {
	case crumbRefused:
		refuseCrumb(w, r)
	case outOfScope:
		// Whoever has the token may know what it lacks, and be able to ask for it.
		// Many clients show the text alone.
		needs := d.Need.Scope()
		w.Header().Set("X-Crumbgate-Needs", needs)
		response.text += "It needs " + needs + ".\n"
		answer(w, r, response)
	case badPath:
		// The cause is one of a few texts of ours and holds nothing of the path.
		if cause, found := strings.CutPrefix(fmt.Sprint(d.Err), ErrPath.Error()+": "); found {
			response.text = "Bad request: the path is ambiguous (" + cause + "). Send it without semicolons, backslashes, control characters and encoded dot segments, " +
				"and other characters than ASCII percent-encoded, as in %C3%A9 for é.\n"
		}
		answer(w, r, response)
	case tooOften:
		w.Header().Set("Retry-After", strconv.FormatInt(d.Token.RetryAfter(now), 10))
		answer(w, r, response)
	case busyForms:
		w.Header().Set("Retry-After", "5")
		answer(w, r, response)
	default:
		answer(w, r, response)
	}
}

// noCrumb is what Jenkins says (hudson.security.csrf.CrumbFilter), and what its
// clients look for.
const noCrumb = "No valid crumb was included in the request"

// refuseCrumb says that in the form that the client reads: a page for people,
// which tells them what to do, and JSON for machines.
func refuseCrumb(w http.ResponseWriter, r *http.Request) {
	accept := r.Header.Get("Accept")
	h := w.Header()
	var text string
	switch {
	case strings.Contains(accept, "text/html") || !strings.Contains(accept, "json"):
		text = page(h, "Error 403 "+noCrumb, "HTTP ERROR 403 "+noCrumb,
			"Nothing was done. The page that you came from is too old, or another site sent you here. Go back, reload the page, and try again.")
	default:
		h.Set("Content-Type", "application/json")
		text = `{"servlet":"crumbgate","message":"` + noCrumb + `","status":"403"}` + "\n"
	}
	write(w, r, http.StatusForbidden, text)
}

const basicChallenge = `Basic realm="Jenkins"`

func answer(w http.ResponseWriter, r *http.Request, a response) {
	h := w.Header()
	if a == unauthorized {
		h.Set("WWW-Authenticate", basicChallenge)
	}
	if (a == noUser || a == unreadableUser || a == noIdentity) && strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/html; charset=utf-8")
		title := strconv.Itoa(a.status) + " " + http.StatusText(a.status)
		write(w, r, a.status, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>"+title+"</title></head>\n"+
			"<body><h1>"+title+"</h1>\n<p>"+html.EscapeString(strings.TrimSpace(a.text))+"</p></body></html>\n")
		return
	}
	text := a.text
	if strings.Contains(r.Header.Get("Accept"), "text/html") { // a browser that opens a page
		title, detail, _ := strings.Cut(strings.TrimSuffix(a.text, "\n"), ": ")
		text = page(h, title, title, capitalized(detail))
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	write(w, r, a.status, text)
}

// pageStyle is what a page in a browser needs to be read on a desk and on a phone.
const pageStyle = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:0 auto;padding:2rem 1rem;overflow-wrap:anywhere}" +
	"h1{font-size:1.5rem;line-height:1.3}@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"

// pagePolicy lets a page load nothing, and have no style but its own.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// page returns a page for browsers, and sets its headers.
func page(h http.Header, title, heading, text string) string {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">" +
		"<title>" + html.EscapeString(title) + "</title><style>" + pageStyle + "</style></head>\n" +
		"<body><main><h1>" + html.EscapeString(heading) + "</h1>\n<p>" + html.EscapeString(text) + "</p></main></body></html>\n"
}

func capitalized(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] // all texts begin with ASCII
}

// passOn answers with what Jenkins has answered to the question for a crumb.
func passOn(w http.ResponseWriter, r *http.Request, e *crumb.UnreadyError) {
	maps.Copy(w.Header(), e.Header)
	if e.Body == nil {
		answer(w, r, response{e.Status, fmt.Sprintf("%s: Jenkins is not ready. Try again soon.\n", http.StatusText(e.Status))})
		return
	}
	write(w, r, e.Status, string(e.Body))
}

func write(w http.ResponseWriter, r *http.Request, status int, text string) {
	h := w.Header()
	if r.ProtoMajor == 1 && r.Header.Get("Expect") != "" {
		// The client waits to be asked for its body, and the server would wait for that.
		h.Set("Connection", "close")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, text) //nolint:errcheck // the client may have left
	}
}
