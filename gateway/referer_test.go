package gateway

import (
	"log/slog"
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

// What a client says of where it comes from does not reach Jenkins, unless a
// trusted proxy says it.
func TestForwardedIsScrubbed(t *testing.T) {
	lies := http.Header{
		"Forwarded": {"for=10.0.0.1;host=evil.example;proto=https"}, "X-Forwarded-Port": {"6666"},
		"X-Forwarded-Server": {"evil.example"}, "X-Proxied-Https": {"on"},
	}
	for _, trusted := range []bool{false, true} {
		g, err := New(Config{
			Lookup:  func(token.Digest) (*token.Token, error) { return nil, nil },
			Log:     slog.New(slog.DiscardHandler),
			Trusted: func(*http.Request) bool { return trusted },
		})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = lies.Clone()
		if err := g.ServeHTTP(httptest.NewRecorder(), r, nil); err != nil {
			t.Fatal(err)
		}
		want := 0
		if trusted {
			want = len(lies)
		}
		if len(r.Header) != want {
			t.Errorf("from a proxy that is trusted (%v), %d of %d headers are left: %v", trusted, len(r.Header), len(lies), r.Header)
		}
	}
}
