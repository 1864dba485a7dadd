package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what the gates of one configuration do. Their labels are closed
// sets: no user, token or path is in them.
type Metrics struct {
	admitted map[Class]prometheus.Counter
	refused  map[Reason]prometheus.Counter
	fetched  prometheus.Counter
	unissued prometheus.Counter
	replays  prometheus.Counter
	// uncovered counts what scopes would have refused, were it not observed.
	uncovered prometheus.Counter
	shadowed  map[verdicts]prometheus.Counter
	ended     prometheus.Counter
}

// verdicts are what the gateway and Jenkins make of a credential.
type verdicts struct{ gateway, jenkins bool }

func verdict(admits bool) string {
	if admits {
		return "admitted"
	}
	return "refused"
}

// resultLabels are the values of the label result of requests_total, beside
// "admitted".
var resultLabels = map[Reason]string{
	ReasonNone:         "no_credential",
	ReasonForeign:      "foreign",
	ReasonMalformed:    "malformed",
	ReasonUnknown:      "unknown",
	ReasonWrongUser:    "wrong_user",
	ReasonExpired:      "expired",
	ReasonRevoked:      "revoked",
	ReasonSuspended:    "suspended",
	ReasonSuperseded:   "superseded",
	ReasonOwner:        "disabled_user",
	ReasonLegacy:       "legacy",
	ReasonParent:       "parent",
	ReasonIdle:         "idle",
	ReasonSource:       "source_address",
	ReasonScope:        "scope",
	ReasonRate:         "rate",
	ReasonUses:         "used_up",
	ReasonPages:        "pages",
	ReasonTokenAPI:     "token_endpoint",
	ReasonAmbiguous:    "ambiguous",
	ReasonTokenInURL:   "token_in_url",
	ReasonPath:         "path",
	ReasonOutside:      "outside",
	ReasonCrossOrigin:  "cross_origin",
	ReasonUnavailable:  "unavailable",
	ReasonMethod:       "method",
	ReasonUntrusted:    "untrusted_identity",
	ReasonIdentity:     "invalid_identity",
	ReasonCharset:      "unreadable_user",
	ReasonNoUser:       "no_user",
	ReasonNoOrigin:     "no_origin",
	ReasonNoCrumb:      "no_crumb",
	ReasonCrumb:        "invalid_crumb",
	ReasonCrumbSession: "crumb_of_another_session",
	ReasonCrumbExpired: "expired_crumb",
	ReasonCrumbForm:    "form",
	ReasonCrumbSlow:    "slow_form",
	ReasonCrumbBusy:    "forms_busy",
	ReasonSignature:    "webhook_signature",
	ReasonWebhookBody:  "webhook_body",
	ReasonWebhookLarge: "webhook_too_large",
	ReasonWebhookBusy:  "webhook_busy",
	ReasonFailures:     "too_many_failures",
	ReasonEarlyData:    "early_data",
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "requests_total",
		Help: "Requests by what was decided about them.",
	}, []string{"result", "class"})
	fetches := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "crumb_fetches_total",
		Help: "Requests to Jenkins for a crumb, by their outcome.",
	}, []string{"outcome"})
	replays := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "replays_total",
		Help: "Requests sent again because Jenkins had forgotten the session.",
	})
	uncovered := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "uncovered_total",
		Help: "Requests that went on although the scopes of their token, which is observed, don't cover them.",
	})
	shadowed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "shadow_total",
		Help: "Requests on whose credential Jenkins has decided, by what the gateway would have and what Jenkins did.",
	}, []string{"gateway", "jenkins"})
	ended := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "crumbgate", Name: "ended_total",
		Help: "Requests that were ended under way, because their token was not admitted any more.",
	})
	for _, c := range []prometheus.Collector{requests, fetches, replays, uncovered, shadowed, ended} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m := &Metrics{
		admitted: make(map[Class]prometheus.Counter),
		refused:  make(map[Reason]prometheus.Counter),
		fetched:  fetches.WithLabelValues("issued"),
		unissued: fetches.WithLabelValues("failed"),
		replays:  replays,

		uncovered: uncovered,
		ended:     ended,
		shadowed:  make(map[verdicts]prometheus.Counter),
	}
	for _, v := range []verdicts{{true, true}, {true, false}, {false, true}, {false, false}} {
		m.shadowed[v] = shadowed.WithLabelValues(verdict(v.gateway), verdict(v.jenkins))
	}
	for reason, label := range resultLabels {
		m.refused[reason] = requests.WithLabelValues(label, "")
	}
	for class := ClassToken; class <= ClassAnonymous; class++ {
		m.admitted[class] = requests.WithLabelValues("admitted", class.String())
	}
	return m, nil
}

// Ended counts a request that was under way when its token ended.
func (m *Metrics) Ended() { m.ended.Inc() }
