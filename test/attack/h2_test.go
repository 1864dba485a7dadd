package attack_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// A field is a line of a head; in HTTP/2 the pseudo-headers are among them.
type field struct{ name, value string }

// A stream is a request of HTTP/2, as it is to be sent.
type stream struct {
	fields []field
	body   string
	// open: the stream is not ended.
	open bool
	// trailers are sent after the body.
	trailers []field
	// split sends the head in frames of so many bytes.
	split int
}

// h2 returns a stream with the pseudo-headers that clients send.
func h2(method, path string, more ...field) *stream {
	return &stream{fields: append([]field{{":method", method}, {":scheme", "https"}, {":authority", "{HOST}"}, {":path", path}}, more...)}
}

// An authority is the gateway's certificate and who trusts it.
type authority struct {
	certificate, key []byte // PEM
	roots            *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		roots:       x509.NewCertPool(),
	}
	a.roots.AppendCertsFromPEM(a.certificate)
	return a
}

func (a *authority) write(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string][]byte{"cert.pem": a.certificate, "key.pem": a.key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// An h2conn is a client's end of an HTTP/2 connection.
type h2conn struct {
	*http2.Framer
	conn  net.Conn
	next  uint32 // the id of the next stream
	block bytes.Buffer
	codec *hpack.Encoder
}

func (w *world) dialH2(t *testing.T) *h2conn {
	t.Helper()
	dialer := &net.Dialer{Deadline: time.Now().Add(gatewaytest.Patience)}
	conn, err := tls.DialWithDialer(dialer, "tcp", w.tlsHost, &tls.Config{RootCAs: w.tls.roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	c := &h2conn{Framer: http2.NewFramer(conn, conn), conn: conn, next: 1}
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.codec = hpack.NewEncoder(&c.block)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	window := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20} // Jenkins' 404 page is larger than the default
	if err := errors.Join(c.WriteSettings(window), c.WriteWindowUpdate(0, 1<<30)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *h2conn) encode(fields []field) []byte {
	c.block.Reset()
	for _, f := range fields {
		_ = c.codec.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}) // to memory
	}
	return bytes.Clone(c.block.Bytes())
}

// send opens a stream. A server that has seen enough may hang up meanwhile.
func (c *h2conn) send(s *stream) (id uint32) {
	id = c.next
	c.next += 2
	head := c.encode(s.fields)
	first := head
	if s.split > 0 {
		first = head[:min(s.split, len(head))]
	}
	more := s.body != "" || s.open || s.trailers != nil
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: !more, EndHeaders: len(first) == len(head)})
	for rest := head[len(first):]; len(rest) > 0; {
		piece := rest[:min(s.split, len(rest))]
		rest = rest[len(piece):]
		_ = c.WriteContinuation(id, len(rest) == 0, piece)
	}
	if s.body != "" {
		_ = c.WriteData(id, !s.open && s.trailers == nil, []byte(s.body))
	}
	if s.trailers != nil {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(s.trailers), EndStream: true, EndHeaders: true})
	}
	return id
}

// answer reads until a stream is over, and returns its status, 0 if it was reset or
// the connection ended before there was one.
func (c *h2conn) answer(t *testing.T, id uint32) (status int, header http.Header) {
	t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	header = make(http.Header)
	for {
		frame, err := c.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("no answer, and not hung up either")
		}
		if se := (http2.StreamError{}); errors.As(err, &se) {
			t.Fatalf("the gateway sends a bad frame: %v", err)
		}
		if err != nil {
			return status, header
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.WritePing(true, f.Data)
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return status, header
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return status, header
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			for _, h := range f.Fields {
				header.Add(h.Name, h.Value)
			}
			if code, err := strconv.Atoi(f.PseudoValue("status")); err == nil && code >= 200 {
				status = code
			}
			if f.StreamEnded() {
				return status, header
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return status, header
			}
		}
	}
}

// sendH2 sends a stream, on the connection of the one before if that still lives.
func (w *world) sendH2(t *testing.T, s *stream) int {
	t.Helper()
	if w.h2 == nil {
		w.h2 = w.dialH2(t)
	}
	filled := *s
	filled.fields, filled.trailers = w.fill(s.fields), w.fill(s.trailers)
	filled.body = w.replace(s.body)
	status, header := w.h2.answer(t, w.h2.send(&filled))
	w.checkAnswer(t, header)
	if status == 0 { // at least this stream has failed
		w.h2.conn.Close()
		w.h2 = nil
	}
	return status
}

// fill replaces words; the site is the one with TLS.
func (w *world) fill(fields []field) []field {
	var filled []field
	for _, f := range fields {
		if f.value == "{HOST}" {
			f.value = w.tlsHost
		}
		filled = append(filled, field{w.replace(f.name), w.replace(f.value)})
	}
	return filled
}
