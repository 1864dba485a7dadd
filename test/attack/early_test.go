package attack_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// A relay stands between a client and the gateway and lets nothing through but the
// client's first flight, so that no handshake completes. The answer is held back until
// the client has sent early data.
type relay struct {
	client *net.UDPConn // the client sends to it
	early  chan struct{}
	mu     sync.Mutex // guards flight
	flight [][]byte   // the client's datagrams until early data, and those with early data
}

// relayTo starts a relay. With hold it only records.
func relayTo(t *testing.T, gateway string, hold bool) *relay {
	t.Helper()
	target, err := net.ResolveUDPAddr("udp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{early: make(chan struct{})}
	if r.client, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	server, err := net.DialUDP("udp", nil, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.client.Close(); server.Close() })
	var client *net.UDPAddr // written before early is closed
	go func() {
		for b, sent := make([]byte, 65536), false; ; {
			n, from, err := r.client.ReadFromUDP(b)
			if err != nil {
				return
			}
			early := hasEarlyData(b[:n])
			if sent && !early {
				continue // it could end the handshake
			}
			r.mu.Lock()
			r.flight = append(r.flight, append([]byte{}, b[:n]...))
			r.mu.Unlock()
			if !hold {
				server.Write(b[:n])
			}
			if early && !sent {
				client, sent = from, true
				close(r.early)
			}
		}
	}()
	go func() {
		for b := make([]byte, 65536); ; {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			<-r.early
			r.client.WriteToUDP(b[:n], client)
		}
	}()
	return r
}

// hasEarlyData reports whether a client's datagram has a 0-RTT packet in it (RFC 9000,
// sections 12.2 and 17.2).
func hasEarlyData(b []byte) bool {
	number := func() int {
		if len(b) == 0 || len(b) < 1<<(b[0]>>6) {
			b = nil
			return 0
		}
		size := 1 << (b[0] >> 6)
		n := int(b[0] & 0x3f)
		for _, c := range b[1:size] {
			n = n<<8 | int(c)
		}
		b = b[size:]
		return n
	}
	skip := func(n int) { b = b[min(n, len(b)):] }
	for len(b) > 6 && b[0]&0x80 != 0 {
		kind := b[0] >> 4 & 3
		if kind == 1 {
			return true
		}
		skip(5)
		for range 2 { // connection ids
			if len(b) > 0 {
				skip(1 + int(b[0]))
			}
		}
		if kind == 0 {
			skip(number()) // token
		}
		skip(number())
	}
	return false
}

func (r *relay) recorded() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte{}, r.flight...)
}

// sent waits until the client has sent early data.
func (r *relay) sent(t *testing.T) {
	t.Helper()
	select {
	case <-r.early:
	case <-time.After(gatewaytest.Patience):
		t.Fatal("the client has sent no early data")
	}
}

// An earlyClient holds a ticket of the gateway, with which it sends early data.
type earlyClient struct {
	w   *world
	tls *tls.Config
}

func newEarlyClient(t *testing.T, w *world) *earlyClient {
	t.Helper()
	c := &earlyClient{w: w, tls: &tls.Config{
		RootCAs: w.tls.roots, ServerName: "127.0.0.1", NextProtos: []string{http3.NextProtoH3}, ClientSessionCache: &tickets{},
	}}
	transport := &http3.Transport{TLSClientConfig: c.tls}
	defer transport.Close()
	gatewaytest.Eventually(t, "the client has a ticket", func() error {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + w.tlsHost + "/login")
		if err != nil {
			return err
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if c.tls.ClientSessionCache.(*tickets).last() == nil {
			return fmt.Errorf("no ticket yet")
		}
		return nil
	})
	return c
}

// tickets keeps the newest ticket, and gives it out more than once, as an attacker may.
type tickets struct {
	mu     sync.Mutex // guards ticket
	ticket *tls.ClientSessionState
}

func (s *tickets) last() *tls.ClientSessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ticket
}

func (s *tickets) Get(string) (*tls.ClientSessionState, bool) {
	last := s.last()
	return last, last != nil
}

func (s *tickets) Put(_ string, ticket *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ticket != nil {
		s.ticket = ticket
	}
}

// ask sends a request in early data and returns its answer. The relay passes on no acknowledgement, without
// which the server may run out of what it may send to an address that is not proved: then it asks again.
func (c *earlyClient) ask(t *testing.T, method, path, body string, header http.Header) (resp *http.Response, err error) {
	t.Helper()
	for range 5 {
		r := relayTo(t, c.w.tlsHost, false)
		if resp, err = c.send(t, r.client.LocalAddr().String(), method, path, body, header).ReadResponse(); err == nil {
			return resp, nil
		}
	}
	return nil, err
}

// send sends a request in early data to an address and returns the stream for its answer.
func (c *earlyClient) send(t *testing.T, address, method, path, body string, header http.Header) *http3.RequestStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Patience)
	t.Cleanup(cancel)
	conn, err := quic.DialAddrEarly(ctx, address, c.tls, &quic.Config{HandshakeIdleTimeout: gatewaytest.Patience, MaxIdleTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	stream, err := new(http3.Transport).NewClientConn(conn).OpenRequestStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(path, "?")
	err = stream.SendRequestHeader(&http.Request{
		Method: method, Host: c.w.tlsHost, URL: &url.URL{Scheme: "https", Host: c.w.tlsHost, Path: path, RawQuery: query}, Header: header,
	})
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		if _, err := stream.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	stream.Close()
	return stream
}

// tooEarly returns how many requests the gateway has refused for coming in early data.
func (w *world) tooEarly(t *testing.T) int {
	t.Helper()
	resp, err := gatewaytest.Client.Get("http://" + w.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int
		if _, err := fmt.Sscanf(line, `caddy_crumbgate_requests_total{class="",result="early_data"} %d`, &n); err == nil {
			return n
		}
	}
	t.Fatal("no metric of requests in early data")
	return 0
}

const guarded = `	basic_auth @people {
		carol $2a$04$YV.k0jNMCWBrj2tKm2tzM.Q2mLR2cDlxr7K6NwI8kM0mVIVTn0cXi
	}
	@people header X-Person *
	crumbgate {
		session {
			user {http.auth.user.id}
		}
		webhook gitlab {
			secret a-secret-of-gitlab
		}
		public generic-webhook-trigger
	}`

// Until the handshake is complete, a request may be a copy, from any address. Nothing
// that could act, or that has a credential, goes on.
func TestEarlyData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site(guarded))
	secret := w.token(t, "alice", "--max-uses", "1")
	c := newEarlyClient(t, w)
	basicAuth := http.Header{"Authorization": {"Basic " + basic("alice", secret)}}
	w.jenkins.ResetRequests()
	for _, test := range []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
	}{
		{"POST with a token", "POST", "/quietDown", "", basicAuth, 425},
		{"GET with a token", "GET", "/whoAmI/api/json", "", basicAuth, 425},
		{"GET with a Bearer token", "GET", "/api/json", "", http.Header{"Authorization": {"Bearer " + secret}}, 425},
		{"GET that starts a build", "GET", "/job/a/build?token=x", "", nil, 425},
		{"GET of a page of the gateway", "GET", "/crumbgate/", "", nil, 425},
		{"POST without a credential", "POST", "/quietDown", "", nil, 425},
		{"GET without a credential", "GET", "/api/json", "", nil, 425},
		{"GET with a cookie", "GET", "/login", "", http.Header{"Cookie": {"a=b"}}, 425},
		{"webhook", "POST", "/project/x", "{}", http.Header{"X-Gitlab-Token": {"a-secret-of-gitlab"}, "Content-Type": {"application/json"}}, 425},
		{"GET that the configuration has opened", "GET", "/generic-webhook-trigger/invoke?token=x", "", nil, 425},
		{"POST of a report that anybody may send", "POST", "/content-security-policy-reporting-endpoint/x", "{}", nil, 425},
	} {
		t.Run(test.name, func(t *testing.T) {
			tally.tried.Add(1)
			if resp, err := c.ask(t, test.method, test.path, test.body, test.header); err != nil || resp.StatusCode != test.status {
				t.Errorf("the client got %+v, %v", resp, err)
			}
			before := w.tooEarly(t)
			// The same, recorded, from another address.
			held := relayTo(t, w.tlsHost, true)
			c.send(t, held.client.LocalAddr().String(), test.method, test.path, test.body, test.header)
			held.sent(t)
			target, err := net.ResolveUDPAddr("udp", w.tlsHost)
			if err != nil {
				t.Fatal(err)
			}
			thief, err := net.DialUDP("udp", nil, target)
			if err != nil {
				t.Fatal(err)
			}
			defer thief.Close()
			gatewaytest.Eventually(t, "the gateway refuses the copy", func() error {
				for _, datagram := range held.recorded() {
					thief.Write(datagram)
				}
				time.Sleep(50 * time.Millisecond)
				if w.tooEarly(t) == before {
					return errors.New("it has refused none")
				}
				return nil
			})
			if got := w.jenkins.Requests(); len(got) != 0 {
				t.Errorf("Jenkins got %d requests, first %s %s", len(got), got[0].Method, got[0].RequestURI)
			}
			tally.refused.Add(1)
		})
	}

	// What is open to all is read, and the only use of the token is left for a request
	// after the handshake.
	resp, err := c.ask(t, "GET", "/login", "", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET /login in early data: %+v, %v", resp, err)
	}
	transport := &http3.Transport{TLSClientConfig: c.tls}
	defer transport.Close()
	req, err := http.NewRequest("POST", "https://"+w.tlsHost+"/quietDown", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = basicAuth
	resp, err = transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusFound {
		t.Fatalf("POST after the handshake: %+v, %v", resp, err)
	}
	resp.Body.Close()
}

// A proxy in front says that it has not seen the end of the handshake.
func TestEarlyDataBeforeAProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jenkinstest.Config{}, site("\tcrumbgate"))
	w.token(t, "alice")
	tooEarly := []int{425}
	var attacks []attack
	for _, value := range []string{"1", "0", "", "1, 1"} {
		early := "Early-Data: " + value + "\n"
		attacks = append(attacks,
			attack{name: "GET with a token, " + value, h1: "GET /whoAmI/api/json HTTP/1.1\nHost: {HOST}\nAuthorization: Basic {BASIC}\n" + early + "\n", status: tooEarly},
			attack{name: "POST with a token, " + value, h1: "POST /quietDown HTTP/1.1\nHost: {HOST}\nContent-Length: 0\nAuthorization: Basic {BASIC}\n" + early + "\n", status: tooEarly},
			attack{name: "HTTP/2, " + value, h2: h2("GET", "/whoAmI/api/json", field{"authorization", "Basic {BASIC}"}, field{"early-data", value}), status: tooEarly},
		)
	}
	w.run(t, caller{}, attacks)
}
