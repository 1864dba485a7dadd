package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/crumbgate/crumbgate/gateway/endpoint"
	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// checkOrigin tells why a request of somebody who has signed in must not go on
// because of where it comes from: a browser sends what it has of the person with
// every page's requests.
func (g *Gate) checkOrigin(r *http.Request, p route) (Reason, error) {
	switch {
	case isUpgrade(r.Header):
		// Any page may open a WebSocket, by GET: to Jenkins' CLI, which does all that the
		// user may do. Browsers always say for which page.
		if r.Header.Get("Origin") == "" {
			return ReasonNoOrigin, nil
		}
		if err := g.checkAsPost(r); err != nil {
			return ReasonCrossOrigin, err
		}
	case endpoint.ActsOnGet(p.path, r.URL.RawQuery):
		// There is no crumb in a link, so the page has to be known.
		if !g.provesOrigin(r) {
			return ReasonCrossOrigin, errors.New("a link that starts a build, and nothing that tells which page it is on")
		}
	}
	if err := g.cors.Check(r); err != nil {
		return ReasonCrossOrigin, err
	}
	return "", nil
}

// checkPassword is the same for a request with a token in the place of a password,
// which a browser can have been given. What is no browser sends none of the headers
// that this looks at, but for the Origin of a WebSocket; that may be another name
// of the gateway.
func (g *Gate) checkPassword(r *http.Request, p route) error {
	if isUpgrade(r.Header) {
		if !fromBrowser(r.Header) {
			return nil
		}
		return g.checkAsPost(r)
	}
	// A link that starts a build is only followed by a browser.
	if r.Header["Sec-Fetch-Site"] != nil && endpoint.ActsOnGet(p.path, r.URL.RawQuery) {
		return g.checkAsPost(r)
	}
	return g.cors.Check(r)
}

func (g *Gate) checkAsPost(r *http.Request) error {
	return g.cors.Check(&http.Request{Method: http.MethodPost, URL: r.URL, Host: r.Host, Header: r.Header})
}

// isUpgrade reports whether a request opens a WebSocket. The scrub removes any other
// Upgrade, such as the h2c that Java's HttpClient offers with each request.
func isUpgrade(h http.Header) bool {
	upgrade := h["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket")
}

// fromBrowser tells whether a WebSocket is opened by a page. All browsers have
// called themselves Mozilla since 1994, and no page can change that here.
func fromBrowser(h http.Header) bool {
	return strings.HasPrefix(h.Get("User-Agent"), "Mozilla/") || h["Sec-Fetch-Site"] != nil || h["Sec-Fetch-Mode"] != nil
}

// provesOrigin tells whether a browser says that a request comes from a page of
// this site, or from no page at all: typed, or a bookmark.
func (g *Gate) provesOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		// Browsers don't say it over plain HTTP. A page can hide its address, but not put
		// another one in its place.
		page, err := url.Parse(r.Header.Get("Referer"))
		own := err == nil && page.Host != "" && strings.EqualFold(page.Host, r.Host)
		origin := r.Header.Get("Origin")
		return origin == "" && own || origin != "" && g.checkAsPost(r) == nil
	}
	return g.checkAsPost(r) == nil // a trusted origin
}

// sameOrigin tells whether a browser vouches for it that a request was made by a
// page of this site.
func sameOrigin(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "same-origin" }

// isSafe tells whether a method changes nothing (RFC 9110, section 9.2.1). What is
// not known is not safe.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Opens returns what tells whether a gate with these settings lets requests for a
// path in without a user, at least if they are signed, or an error that says which
// setting is wrong.
func Opens(prefix string, public []string, signed []webhook.Kind) (func(*http.Request) bool, error) {
	o, err := endpoint.Open(public, nil, signed)
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) bool {
		p, err := dispatchPath(r, prefix)
		if err != nil {
			return false
		}
		_, open := o.Signed(p.path)
		return open || o.Public(p.path, r.URL.RawQuery) != nil
	}, nil
}
