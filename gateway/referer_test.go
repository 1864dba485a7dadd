package gateway

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/token"
)

func TestScrubReferer(t *testing.T) {
	secret := token.NewSecret(token.Native).Reveal()
	tests := []struct {
		name string
		in   []string
		want []string
	}{
		{"none", nil, nil},
		{"plain", []string{"http://ci/job/a/?x=1#y"}, []string{"http://ci/job/a/?x=1#y"}},
		{"user and token", []string{"http://alice:" + secret + "@ci:8000/job/a/"}, []string{"http://ci:8000/job/a/"}},
		{"user only", []string{"http://alice@ci/"}, []string{"http://ci/"}},
		{"not a URL", []string{"http://alice:" + secret + "%@ci/"}, nil},
		{"token in the query", []string{"http://ci/?token=" + secret}, nil},
		{"token behind userinfo", []string{"http://a@ci/" + secret}, nil},
		{"at sign in the path", []string{"http://ci/job/a@b/"}, nil},
		{"two of them", []string{"http://ci/", "http://alice:" + secret + "@ci/"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			if test.in != nil {
				h["Referer"] = slices.Clone(test.in)
			}
			scrubReferer(h)
			if got := h["Referer"]; !slices.Equal(got, test.want) {
				t.Errorf("%d Referer headers become %q, want %q", len(test.in), got, test.want)
			}
		})
	}
}

// A client can't say where its request comes from. A trusted proxy can, in the headers
// that it is said to overwrite, and once in each.
func TestForwardingHeaders(t *testing.T) {
	lies := http.Header{
		"Forwarded": {"host=evil.example;proto=https"}, "X-Forwarded-Port": {"6666"}, "X-Forwarded-For": {"10.0.0.1"},
		"X-Forwarded-Server": {"evil.example"}, "X-Proxied-Https": {"on"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"},
		"X_forwarded.Proto": {"https"}, "Proxy-Auth-Cert": {"MIIB"}, "Proxy-Ssl-Id": {"ab"}, "Idempotency-Key": {"1"}, "X-Idempotency-Key": {"1"},
	}
	twice := lies.Clone()
	twice["X-Forwarded-Proto"] = []string{"https", "http"}
	listed := lies.Clone()
	listed["X-Forwarded-Proto"] = []string{"https, http"}
	for _, c := range []struct {
		name    string
		trusted bool
		sets    []string
		sent    http.Header
		want    []string
	}{
		{"client", false, forwardedBy, lies, nil},
		{"trusted proxy", true, nil, lies, []string{"X-Forwarded-Proto"}},
		{"trusted proxy that sets none", true, []string{"none"}, lies, nil},
		{"trusted proxy that sets two", true, []string{"X-forwarded-host", "forwarded"}, lies, []string{"Forwarded", "X-Forwarded-Host"}},
		{"trusted proxy that adds a line", true, nil, twice, nil},
		{"trusted proxy that adds to a line", true, nil, listed, nil},
	} {
		g, err := New(Config{
			Lookup:    func(token.Digest) (*token.Token, error) { return nil, nil },
			Log:       slog.New(slog.DiscardHandler),
			Trusted:   func(*http.Request) bool { return c.trusted },
			ProxySets: c.sets,
		})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = c.sent.Clone()
		if err := g.ServeHTTP(httptest.NewRecorder(), r, nil); err != nil {
			t.Fatal(err)
		}
		if left := slices.Sorted(maps.Keys(r.Header)); !slices.Equal(left, c.want) {
			t.Errorf("%s: the headers left are %q, want %q", c.name, left, c.want)
		}
	}
}
