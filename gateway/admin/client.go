package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// timeout bounds a whole exchange with the gateway.
	timeout = 30 * time.Second
	// maxAnswer bounds, in bytes, what the client reads: about 150,000 tokens.
	maxAnswer = 64 << 20
)

// Do sends a request to the admin endpoint of a gateway. It returns what the
// gateway answers, whatever the status; the caller closes the body.
type Do func(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error)

// Dial returns a Do for the endpoint at a network ("tcp", "unix", …) and address
// as net.Dial takes them. What Caddy appends to the path of a Unix socket to set
// its mode ("|0222") is left out. Nothing is sent before the first request.
//
// It does what Caddy's own commands do to get past the checks of the admin
// endpoint, but passes on what they make an error text of: the status and body
// of a refusal.
func Dial(network, address string) Do {
	origin := "http://" + address
	local := strings.HasPrefix(network, "unix")
	if local {
		address, _, _ = strings.Cut(address, "|")
		origin = "http://127.0.0.1" // any; a Unix socket has none
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
			DisableKeepAlives: true, // a command sends few requests and ends
		},
		// Nothing of the API redirects: what does is not a gateway.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, origin+path, body)
		if err != nil {
			return nil, err
		}
		req.Header = header.Clone()
		if !local {
			req.Header.Set("Origin", origin)
		}
		resp, err := client.Do(req)
		dialing := (*net.OpError)(nil)
		switch {
		case err == nil:
			return resp, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("the gateway can't be reached at %s: run the command as a user who may (%v)", address, errors.Unwrap(err))
		case errors.As(err, &dialing) && dialing.Op == "dial", errors.Is(err, context.DeadlineExceeded):
			return nil, fmt.Errorf("the gateway does not answer at %s: is it running (caddy run --config Caddyfile)? Another address is given with --address (%v)", address, errors.Unwrap(err))
		}
		return nil, fmt.Errorf("asking the gateway at %s: %w", address, err)
	}
}

// A Client is the API as functions. Errors of type *Error are the gateway's.
type Client struct{ do Do }

// NewClient returns a client that sends its requests by do.
func NewClient(do Do) *Client { return &Client{do} }

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, req CreateRequest) (CreatedToken, error) {
	return call[CreatedToken](ctx, c, http.MethodPost, "tokens", req)
}

// Tokens lists the tokens of a user, or all if user is "", the revoked ones only
// if all is set.
func (c *Client) Tokens(ctx context.Context, user string, all bool) (TokenList, error) {
	params := url.Values{}
	if user != "" {
		params.Set("user", user)
	}
	if all {
		params.Set("all", "true")
	}
	return call[TokenList](ctx, c, http.MethodGet, "tokens?"+params.Encode(), nil)
}

// Token returns the token of an id.
func (c *Client) Token(ctx context.Context, id string) (Token, error) {
	parsed, err := ParseID(id) // a wrong one could be a secret, and paths are logged
	if err != nil {
		return Token{}, err
	}
	return call[Token](ctx, c, http.MethodGet, "tokens/"+parsed.String(), nil)
}

// RevokeToken revokes the token of an id, if it is not revoked already.
func (c *Client) RevokeToken(ctx context.Context, id, actor string) (Token, error) {
	parsed, err := ParseID(id)
	if err != nil {
		return Token{}, err
	}
	params := url.Values{"actor": {actor}}
	return call[Token](ctx, c, http.MethodDelete, "tokens/"+parsed.String()+"?"+params.Encode(), nil)
}

// User returns what is known of a user.
func (c *Client) User(ctx context.Context, id string) (User, error) {
	return call[User](ctx, c, http.MethodGet, "users?"+url.Values{"id": {id}}.Encode(), nil)
}

// UpdateUser changes what is known of a user.
func (c *Client) UpdateUser(ctx context.Context, id string, update UserUpdate) (User, error) {
	return call[User](ctx, c, http.MethodPatch, "users?"+url.Values{"id": {id}}.Encode(), update)
}

// CrumbKeys lists the keys of the gateway's crumbs.
func (c *Client) CrumbKeys(ctx context.Context) (CrumbKeys, error) {
	return call[CrumbKeys](ctx, c, http.MethodGet, "crumb-keys", nil)
}

// RotateCrumbKeys makes a new key for the gateway's crumbs.
func (c *Client) RotateCrumbKeys(ctx context.Context, req RotateRequest) (CrumbKeys, error) {
	return call[CrumbKeys](ctx, c, http.MethodPost, "crumb-keys", req)
}

// Health asks whether the gateway can look up tokens.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, http.MethodGet, "health", nil)
}

// call sends one request and reads its answer. A nil body sends none.
func call[Answer any](ctx context.Context, c *Client, method, path string, body any) (answer Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	header := http.Header{"Accept": {"application/json"}}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		header.Set("Content-Type", "application/json")
		content = bytes.NewReader(encoded)
	}
	resp, err := c.do(ctx, method, Prefix+path, header, content)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	if len(text) > maxAnswer {
		return answer, fmt.Errorf("the gateway's answer has more than %d MiB: name a user to list fewer tokens", maxAnswer>>20)
	}
	if resp.StatusCode >= 300 {
		failure := &Error{Status: resp.StatusCode}
		if json.Unmarshal(text, failure) != nil || failure.Text == "" {
			failure.Text = fmt.Sprintf("the admin endpoint answered %s, which no crumbgate does: is it of a Caddy that has the crumbgate module?", resp.Status)
		}
		return answer, failure
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("the gateway's answer is not understood: is it of another version? (%w)", err)
	}
	return answer, nil
}
