package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// timeout bounds a whole exchange with the gateway.
	timeout = 30 * time.Second
	// changeTimeout bounds the wait for a change of many tokens: each hundred or so
	// have to reach the disk.
	changeTimeout = 10 * time.Minute
	// maxAnswer bounds, in bytes, what the client reads at once: about 100,000 tokens.
	maxAnswer = 64 << 20
	// maxRow bounds, in bytes, each row of a list that is read row by row.
	maxRow = 1 << 20
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
	list := TokenList{Tokens: []Token{}}
	for t, err := range c.List(ctx, Query{Filter: Filter{User: Text(user), All: all}}) {
		if err != nil {
			return TokenList{}, err
		}
		list.Tokens = append(list.Tokens, t)
	}
	return list, nil
}

// List yields the tokens that a query wants as they come, and ends with an error
// if not all do.
func (c *Client) List(ctx context.Context, q Query) iter.Seq2[Token, error] {
	params := q.Texts()
	if q.Sort != "" {
		params.Set("sort", q.Sort)
	}
	if q.Limit != 0 {
		params.Set("limit", strconv.Itoa(q.Limit))
	}
	return rows[Token](ctx, c, http.MethodGet, "tokens?"+params.Encode(), nil)
}

// RevokeTokens revokes the tokens that a request wants, if it is no dry run, and yields
// them.
func (c *Client) RevokeTokens(ctx context.Context, req BulkRequest) iter.Seq2[Token, error] {
	return rows[Token](ctx, c, http.MethodPost, "tokens/revoke", req)
}

// SuspendTokens suspends the tokens that a request wants, if it is no dry run, and yields
// them.
func (c *Client) SuspendTokens(ctx context.Context, req BulkRequest) iter.Seq2[Token, error] {
	return rows[Token](ctx, c, http.MethodPost, "tokens/suspend", req)
}

// ResumeTokens resumes the tokens that a request wants, if it is no dry run, and yields
// them.
func (c *Client) ResumeTokens(ctx context.Context, req BulkRequest) iter.Seq2[Token, error] {
	return rows[Token](ctx, c, http.MethodPost, "tokens/resume", req)
}

// Token returns the token of an id.
func (c *Client) Token(ctx context.Context, id string) (Token, error) {
	return callOne[Token](ctx, c, http.MethodGet, id, "", nil)
}

// RevokeToken revokes the token of an id, if it is not revoked already.
func (c *Client) RevokeToken(ctx context.Context, id, actor string) (Token, error) {
	return c.RevokeTokenFor(ctx, id, "", actor)
}

// RevokeTokenFor is RevokeToken for a reason, which people are told.
func (c *Client) RevokeTokenFor(ctx context.Context, id, why, actor string) (Token, error) {
	params := url.Values{"actor": {actor}}
	if why != "" {
		params.Set("why", why)
	}
	return callOne[Token](ctx, c, http.MethodDelete, id, "?"+params.Encode(), nil)
}

// RenameToken gives the token of an id another name.
func (c *Client) RenameToken(ctx context.Context, id string, req RenameRequest) (Token, error) {
	return callOne[Token](ctx, c, http.MethodPost, id, "/rename", req)
}

// RotateToken makes a token in place of the one of an id.
func (c *Client) RotateToken(ctx context.Context, id string, req Rotation) (RotatedToken, error) {
	return callOne[RotatedToken](ctx, c, http.MethodPost, id, "/rotate", req)
}

// SuspendToken suspends the token of an id, if it is not suspended already.
func (c *Client) SuspendToken(ctx context.Context, id string, req StateRequest) (Token, error) {
	return callOne[Token](ctx, c, http.MethodPost, id, "/suspend", req)
}

// ResumeToken resumes the token of an id, if it is suspended.
func (c *Client) ResumeToken(ctx context.Context, id string, req StateRequest) (Token, error) {
	return callOne[Token](ctx, c, http.MethodPost, id, "/resume", req)
}

// LimitToken changes the limits of the token of an id.
func (c *Client) LimitToken(ctx context.Context, id string, update LimitsUpdate) (Token, error) {
	return callOne[Token](ctx, c, http.MethodPatch, id, "/limits", update)
}

// SuggestScopes returns the scopes that the token of an id needs, item by item.
func (c *Client) SuggestScopes(ctx context.Context, id string) (Suggestion, error) {
	return callOne[Suggestion](ctx, c, http.MethodGet, id, "/suggest", nil)
}

// SuggestFolders returns the same, with folder/* for four or more items in one folder.
func (c *Client) SuggestFolders(ctx context.Context, id string) (Suggestion, error) {
	return callOne[Suggestion](ctx, c, http.MethodGet, id, "/suggest?folders=true", nil)
}

// Report tells what should be done about tokens, and lists the first few of each
// category: as many as limit says, or 100 if it is negative.
func (c *Client) Report(ctx context.Context, limit int) (Report, error) {
	path := "report"
	if limit >= 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	return call[Report](ctx, c, http.MethodGet, path, nil)
}

// ImportTokens takes over tokens of Jenkins, at most token.MaxImport.
func (c *Client) ImportTokens(ctx context.Context, req ImportRequest) (ImportResult, error) {
	return call[ImportResult](ctx, c, http.MethodPost, "import", req)
}

// Export yields the tokens of a user, or of all if user is "", with their digests: those
// that are let in, and with gone the others too.
func (c *Client) Export(ctx context.Context, user string, gone bool, actor string) iter.Seq2[TransferToken, error] {
	params := url.Values{"actor": {actor}}
	if gone {
		params.Set("gone", "true")
	}
	if user != "" {
		params.Set("user", user)
	}
	return rows[TransferToken](ctx, c, http.MethodGet, "export?"+params.Encode(), nil)
}

// User returns what is known of a user.
func (c *Client) User(ctx context.Context, id string) (User, error) {
	return call[User](ctx, c, http.MethodGet, "users?"+url.Values{"id": {id}}.Encode(), nil)
}

// Users lists all users.
func (c *Client) Users(ctx context.Context) (UserList, error) {
	return call[UserList](ctx, c, http.MethodGet, "users", nil)
}

// UpdateUser changes what is known of a user.
func (c *Client) UpdateUser(ctx context.Context, id string, update UserUpdate) (User, error) {
	return call[User](ctx, c, http.MethodPatch, "users?"+url.Values{"id": {id}}.Encode(), update)
}

// DisableUser refuses all tokens of a user, or lets them in again. A user of whom nothing
// is known is an error.
func (c *Client) DisableUser(ctx context.Context, id string, disabled bool, actor string) (User, error) {
	return c.ChangeUser(ctx, id, UserChange{UserUpdate: UserUpdate{Actor: actor}, Disabled: &disabled})
}

// ChangeUser makes a change of a user.
func (c *Client) ChangeUser(ctx context.Context, id string, change UserChange) (User, error) {
	return call[User](ctx, c, http.MethodPatch, "users?"+url.Values{"id": {id}}.Encode(), change)
}

// CrumbKeys lists the keys of the gateway's crumbs.
func (c *Client) CrumbKeys(ctx context.Context) (CrumbKeys, error) {
	return call[CrumbKeys](ctx, c, http.MethodGet, "crumb-keys", nil)
}

// RotateCrumbKeys makes a new key for the gateway's crumbs.
func (c *Client) RotateCrumbKeys(ctx context.Context, req RotateRequest) (CrumbKeys, error) {
	return call[CrumbKeys](ctx, c, http.MethodPost, "crumb-keys", req)
}

// AuditStatus tells where changes and denials are noted.
func (c *Client) AuditStatus(ctx context.Context) (AuditStatus, error) {
	return call[AuditStatus](ctx, c, http.MethodGet, "audit", nil)
}

// Health asks whether the gateway can look up tokens.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return call[Health](ctx, c, http.MethodGet, "health", nil)
}

// callOne sends a request about the token of an id, to the path of the token and
// what follows that.
func callOne[Answer any](ctx context.Context, c *Client, method, id, rest string, body any) (answer Answer, err error) {
	parsed, err := ParseID(id) // a wrong one could be a secret, and paths are logged
	if err != nil {
		return answer, err
	}
	return call[Answer](ctx, c, method, "tokens/"+parsed.String()+rest, body)
}

// call sends one request and reads its answer. A nil body sends none.
func call[Answer any](ctx context.Context, c *Client, method, path string, body any) (answer Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	text, err := readAll(resp)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, misunderstood(err)
	}
	return answer, nil
}

// send sends one request and returns its answer if that is no refusal. The caller
// closes the body.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	header := http.Header{"Accept": {"application/json"}}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		header.Set("Content-Type", "application/json")
		content = bytes.NewReader(encoded)
	}
	resp, err := c.do(ctx, method, Prefix+path, header, content)
	if err != nil || resp.StatusCode < 300 {
		return resp, err
	}
	defer resp.Body.Close()
	text, err := readAll(resp)
	if err != nil {
		return nil, err
	}
	failure := &Error{Status: resp.StatusCode}
	if json.Unmarshal(text, failure) != nil || failure.Text == "" {
		failure.Text = fmt.Sprintf("the admin endpoint answered %s, which no crumbgate does: is it of a Caddy that has the crumbgate module?", resp.Status)
	}
	return nil, failure
}

func readAll(resp *http.Response) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("the gateway's answer has more than %d MiB: ask about fewer tokens at once", maxAnswer>>20)
	}
	return text, nil
}

// misunderstood says so in place of a decoder's error, which tells an operator nothing.
// That of a connection which broke off stays.
func misunderstood(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.EOF) || errors.Is(err, errOtherAnswer) {
		return errors.New("the gateway's answer is not understood: is it of another version? Check also that --address is a gateway's")
	}
	return fmt.Errorf("the gateway's answer is not understood: is it of another version? (%w)", err)
}

// errOtherAnswer means that an answer is JSON, but of another kind.
var errOtherAnswer = errors.New("another answer")

// rows yields the rows of {"tokens":[…], …} as they come. Each has to come in time,
// and what the caller does with it may take any.
func rows[Row any](ctx context.Context, c *Client, method, path string, body any) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		patience := timeout
		if method != http.MethodGet {
			patience = changeTimeout
		}
		late := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
		defer late.Stop()
		var none Row
		fail := func(err error) { yield(none, err) }

		resp, err := c.send(ctx, method, path, body)
		if err != nil {
			fail(err)
			return
		}
		defer resp.Body.Close()
		limited := &io.LimitedReader{R: resp.Body, N: maxRow}
		decoder := json.NewDecoder(limited)
		for _, want := range []json.Token{json.Delim('{'), "tokens", json.Delim('[')} {
			switch got, err := decoder.Token(); {
			case err != nil:
				fail(misunderstood(err))
				return
			case got != want:
				fail(misunderstood(errOtherAnswer))
				return
			}
		}
		for decoder.More() {
			var row Row
			if err := decoder.Decode(&row); err != nil {
				fail(fmt.Errorf("reading the gateway's answer, which is not complete: %w", err))
				return
			}
			late.Stop()
			if !yield(row, nil) {
				return
			}
			late.Reset(timeout)
			limited.N = maxRow
		}
		// A list that was cut off has no end.
		if _, err := decoder.Token(); err != nil {
			fail(fmt.Errorf("reading the gateway's answer, which is not complete: %w", err))
		}
	}
}
