package gateway

import (
	"log/slog"
	"net/http"

	"github.com/crumbgate/crumbgate/gateway/token"
	"github.com/crumbgate/crumbgate/gateway/usage"
)

// shadows tells whether Jenkins is to decide on the credential of a request: one
// that it may know, presented by Basic, which is how it takes them. Tokens that the
// gateway has made are none of these; and what somebody has forbidden a token in the
// gateway stays forbidden. Outside of the prefix such a request is refused as ReasonOutside.
func (g *Gate) shadows(r *http.Request, d *Decision) bool {
	if !g.Shadow || !isBasic(r.Header) {
		return false
	}
	if e, _ := g.openings.Signed(d.route.path); e != nil {
		return false // the forge's signature decides
	}
	if d.Token != nil && d.Token.Record().Origin == token.Issued {
		return false
	}
	switch d.Reason {
	case "":
		return d.Class == ClassToken && !d.outside
	case ReasonForeign, ReasonMalformed, ReasonUnknown, ReasonWrongUser, ReasonExpired, ReasonLegacy, ReasonIdle,
		ReasonCharset: // Jenkins knows the user by its own credential, not by a header

		if d.outside {
			d.Reason, d.Err = ReasonOutside, nil // Jenkins is not there, so it does not decide
		}
		return !d.outside
	}
	return false
}

// shadow sends a request on with its credential, for Jenkins to decide, and reports
// whether the gateway would have decided otherwise. Jenkins checks no crumb of who
// comes with one of its tokens.
func (f *forward) shadow(w http.ResponseWriter, r *http.Request) error {
	g := f.gate
	if f.Reason == "" {
		// Its count goes on from that of Jenkins. Limits that it reaches are for later.
		f.Token.Use(usage.Use{Time: g.Now(), Addr: f.addr, Agent: r.UserAgent()})
	}
	g.scrubber.token.Remove(r.Header)
	delete(r.Header, "Cookie")
	g.presentOrigin(r)
	seen := &statusWriter{ResponseWriter: w}
	err := f.send(&answerWriter{ResponseWriter: seen}, r)
	if seen.status == 0 {
		return err // nobody has decided
	}
	byGate, byJenkins := f.Reason == "", seen.status != http.StatusUnauthorized
	g.Metrics.shadowed[verdicts{byGate, byJenkins}].Inc()
	if byGate == byJenkins {
		return err
	}
	attrs := []slog.Attr{
		slog.Bool("by_gateway", byGate), slog.Bool("by_jenkins", byJenkins), slog.Int("status", seen.status),
		slog.String("client_addr", f.addr), slog.String("method", r.Method),
	}
	if f.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(f.Reason)))
	}
	if f.Token != nil {
		record := f.Token.Record()
		attrs = append(attrs, slog.String("token_id", record.ID.String()), slog.String("owner", string(record.Owner)), slog.String("token_name", record.Name))
	}
	g.Log.LogAttrs(r.Context(), slog.LevelWarn, "the gateway and Jenkins decide differently on a credential", attrs...)
	g.Shadowed(r, f.Decision, byJenkins)
	return err
}

// A statusWriter remembers the final status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	// decided is called with the status, before the client has it; nil for nothing.
	decided func(status int)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		s.status = status
		if s.decided != nil {
			s.decided(status)
		}
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	return s.ResponseWriter.Write(p)
}
