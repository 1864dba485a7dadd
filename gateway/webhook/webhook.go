// Package webhook tells whether a request comes from the forge that it says it
// comes from: GitHub, GitLab or Bitbucket.
//
// A webhook has neither user nor crumb; what it has is a secret that the forge
// shares with its receiver. A Verifier looks at nothing else, neither at the path
// nor at what the body says, and hands on the very bytes that it has checked.
//
// Anybody can send. So what the headers alone can refuse is refused before a byte
// of the body is read, and what is read is bounded in time and, over all requests
// together, in memory.
//
// Two things it can't prove. No forge signs the other headers: the Content-Type has to
// be one that the forge sends and to fit the body, but X-GitHub-Event, by which the
// plugins tell events apart, could be another one. And only GitLab's signing tokens cover a time: any other delivery
// that is overheard can be sent again.
package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A Kind is a forge, by the name that it has in a configuration.
type Kind string

const (
	// GitHub signs the body: X-Hub-Signature-256. The SHA-1 signature that it sends
	// beside it is never looked at.
	// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
	GitHub Kind = "github"
	// GitLab sends the secret itself, X-Gitlab-Token, or with a signing token (GitLab
	// 19) signs id, time and body as Standard Webhooks has it, or both.
	// https://docs.gitlab.com/user/project/integrations/webhooks/
	GitLab Kind = "gitlab"
	// Bitbucket, Cloud and Data Center, signs the body: X-Hub-Signature, which unlike
	// GitHub's header of that name is SHA-256.
	// https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
	// https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
	Bitbucket Kind = "bitbucket"
)

// ParseKind returns the forge of a name.
func ParseKind(text string) (Kind, error) {
	switch kind := Kind(text); kind {
	case GitHub, GitLab, Bitbucket:
		return kind, nil
	}
	return "", fmt.Errorf("unknown webhook sender %q: use github, gitlab or bitbucket", text)
}

// DefaultLimit is the largest body, in bytes, that a forge sends. GitHub delivers
// no payload of more than 25 MB (its "Webhook events and payloads", payload cap),
// GitLab none of more than 25 MiB (WebHookService::REQUEST_BODY_SIZE_LIMIT).
const DefaultLimit = 25 << 20

const (
	// minSecret is in bytes. The forges take any secret, but anybody may guess here.
	minSecret = 8
	// bodies of the largest size are held at once by a Verifier, at most.
	bodies = 4
	// readTimeout is for the body, waiting for memory included; smallTimeout for its first
	// smallBody bytes, after which GitHub itself gives up.
	readTimeout  = 30 * time.Second
	smallTimeout = 10 * time.Second
	// silence is how long a sender may send nothing.
	silence = 5 * time.Second
	// patience is how long a request waits for its first memory of each room.
	patience = 5 * time.Second
)

// What Verify returns is one of these, or wraps one. What it says beyond that is
// for the log, not for the client, and holds nothing that the client has sent.
var (
	// ErrSignature says that the request does not prove where it comes from: the proof
	// is missing, malformed, ambiguous, too old or wrong, or it is not one for this
	// request.
	ErrSignature = errors.New("the request is not proved to come from the forge")
	// ErrTooLarge says that the body is larger than the limit.
	ErrTooLarge = errors.New("the body is larger than the limit for webhooks")
	// ErrBody says that the body broke off, came too slowly, or has another length
	// than it should have.
	ErrBody = errors.New("the body could not be read to its end")
	// ErrBusy says that too many bodies are held already; a later try may succeed.
	ErrBusy = errors.New("too many webhooks at once")
)

// A Verifier checks the requests of one forge. It can be used by many goroutines.
// However it is printed, logged or encoded, its secrets do not show.
type Verifier struct {
	kind Kind
	// secrets is a function because fmt asks no method of a value in an unexported
	// field, and follows pointers there for a verb that does not fit. A function is an
	// address in any case.
	secrets func() *secrets
	limit   int64
	// small is for the first bytes of each body, large for the others: bodies that arrive
	// slowly and fill the one leave the other to most webhooks.
	small, large *room
}

// secrets are what requests are checked against.
type secrets struct {
	keys   [][]byte            // of HMAC-SHA256
	tokens [][sha256.Size]byte // digests of GitLab's secret tokens
}

// New returns a Verifier for bodies of at most limit bytes. A request has to match
// any one of the secrets: during a rotation there are two.
//
// For GitLab, a secret that begins with whsec_ is a signing token and any other a
// secret token.
func New(kind Kind, texts []string, limit int64) (*Verifier, error) {
	if _, err := ParseKind(string(kind)); err != nil {
		return nil, err
	}
	if limit < 1 || limit > math.MaxInt64/bodies {
		return nil, fmt.Errorf("a webhook limit of %d bytes: use at least 1, such as %d, the most that a forge sends", limit, DefaultLimit)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("the %s webhook has no secret: give the one that is set at %[1]s", kind)
	}
	s := new(secrets)
	for i, text := range texts {
		if err := s.add(kind, text); err != nil {
			return nil, fmt.Errorf("secret %d of the %s webhook: %w", i+1, kind, err)
		}
	}
	return &Verifier{kind: kind, secrets: func() *secrets { return s }, limit: limit, small: newRoom(smallRoom), large: newRoom(bodies * max(limit-smallBody, 0))}, nil
}

// add never quotes the secret in its errors.
func (s *secrets) add(kind Kind, text string) error {
	switch {
	case text == "":
		return errors.New("it is empty: is the environment variable or file set that it comes from?")
	case strings.TrimSpace(text) != text:
		return errors.New("it begins or ends with white space, as a file read with its last line's end does: leave that out")
	case len(text) < minSecret:
		return fmt.Errorf("it has %d bytes, and anybody may guess: use at least %d, better what `openssl rand -hex 32` prints", len(text), minSecret)
	case kind != GitLab:
		s.keys = append(s.keys, []byte(text))
		return nil
	}
	if encoded, signing := strings.CutPrefix(text, "whsec_"); signing {
		// GitLab takes no other length (its Webhooks API: signing_token).
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(key) != 32 {
			return errors.New("it begins with whsec_, but no Base64 of 32 bytes follows: copy the signing token again, as a whole")
		}
		s.keys = append(s.keys, key)
		return nil
	}
	if !httpguts.ValidHeaderFieldValue(text) {
		return errors.New("it holds control characters, which no header can carry: use another one")
	}
	s.tokens = append(s.tokens, sha256.Sum256([]byte(text)))
	return nil
}

// Verify reads the body of r and returns nil if the request comes from the forge.
// r.Body then has the very same bytes, r.ContentLength says how many, and there are
// no trailers: nothing vouches for them.
//
// The body stays in memory until release is called, after which it can't be read
// any more; closing r.Body does the same. release may be called more than once. It
// is nil if there is an error; the request must then be refused, as its body has
// been read in part or not at all.
//
// Slow senders are cut off by a read deadline on the connection, if w has one. It
// is taken away again unless there is an error: the server also reads what is left
// of a refused body, and that must end as well.
//
// from is the client's address or network. While bodies from it are not proved, they get
// half of the memory at most; a forge's own count no longer once they are proved.
func (v *Verifier) Verify(w http.ResponseWriter, r *http.Request, from string) (release func(), err error) {
	control := http.NewResponseController(w)
	began := time.Now()
	if err := setReadDeadline(control, began.Add(silence)); err != nil {
		return nil, err
	}
	proof, err := v.proof(r)
	if err != nil {
		return nil, err
	}
	content, err := v.contentOf(r.Header)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > v.limit {
		return nil, fmt.Errorf("%w: Content-Length is %d, the limit %d", ErrTooLarge, r.ContentLength, v.limit)
	}
	held, err := v.hold(r, from, func(arrived int64) error {
		end := began.Add(smallTimeout)
		if arrived >= smallBody {
			end = began.Add(readTimeout)
		}
		if quiet := time.Now().Add(silence); quiet.Before(end) {
			end = quiet
		}
		return setReadDeadline(control, end)
	})
	if err != nil {
		return nil, err
	}
	if err := v.secrets().check(proof, held.data); err != nil {
		held.drop()
		return nil, err
	}
	if !content.matches(held.data) {
		held.drop()
		return nil, refuse("the body is of another type than the Content-Type says")
	}
	if err := setReadDeadline(control, time.Time{}); err != nil {
		held.drop()
		return nil, err
	}
	held.small.proved()
	held.large.proved()
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = held, held.size, nil, nil
	return held.drop, nil
}

// setReadDeadline does nothing where there is no connection to set it on.
func setReadDeadline(control *http.ResponseController, at time.Time) error {
	if err := control.SetReadDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %v", ErrBody, err)
	}
	return nil
}

// String names the forge and hides the secrets.
func (v Verifier) String() string { return "webhook " + string(v.kind) + ", secrets REDACTED" }

// Format implements fmt.Formatter, so that no verb shows the secrets.
func (v Verifier) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.String()) }

// MarshalText implements encoding.TextMarshaler, which JSON and zap use.
func (v Verifier) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// LogValue implements slog.LogValuer.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }
