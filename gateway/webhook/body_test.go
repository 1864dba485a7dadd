package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// sign is for bodies that are too long to be written down with their signature;
// TestVerify has signatures that were computed elsewhere.
func sign(body []byte) http.Header {
	mac := hmac.New(sha256.New, []byte(hubSecret))
	mac.Write(body)
	return headers("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
}

func requestWith(header http.Header, body io.Reader, length int64) *http.Request {
	r := httptest.NewRequest("POST", "/hook", nil)
	r.Header, r.Body, r.ContentLength = header, io.NopCloser(body), length
	return r
}

func TestBody(t *testing.T) {
	const limit = 20_000
	full := bytes.Repeat([]byte("0123456789"), limit/10)
	broken := errors.New("connection reset")
	tests := []struct {
		name   string
		body   io.Reader
		length int64
		want   error
	}{
		{"as long as allowed", bytes.NewReader(full), limit, nil},
		{"as long as allowed, unknown length", bytes.NewReader(full), -1, nil},
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(full)), limit, nil},
		{"in halves, unknown length", iotest.HalfReader(bytes.NewReader(full)), -1, nil},
		{"its end comes with the last bytes", iotest.DataErrReader(bytes.NewReader(full)), limit, nil},
		{"its end comes with the last bytes, unknown length", iotest.DataErrReader(bytes.NewReader(full)), -1, nil},
		{"Content-Length over the limit", bytes.NewReader(full), limit + 1, webhook.ErrTooLarge},
		{"largest Content-Length", bytes.NewReader(full), 1<<63 - 1, webhook.ErrTooLarge},
		{"over the limit, unknown length", io.MultiReader(bytes.NewReader(full), strings.NewReader("!")), -1, webhook.ErrTooLarge},
		{"over the limit and at its end at once", iotest.DataErrReader(io.MultiReader(bytes.NewReader(full), strings.NewReader("!"))), -1, webhook.ErrTooLarge},
		{"endless, unknown length", endless{}, -1, webhook.ErrTooLarge},
		{"less than Content-Length", bytes.NewReader(full[1:]), limit, webhook.ErrBody},
		{"nothing of Content-Length", strings.NewReader(""), limit, webhook.ErrBody},
		{"more than Content-Length", bytes.NewReader(full), limit - 1, webhook.ErrBody},
		{"more than no Content-Length", bytes.NewReader(full), 0, webhook.ErrBody},
		{"endless", endless{}, limit, webhook.ErrBody},
		{"broken at once", iotest.ErrReader(broken), limit, webhook.ErrBody},
		{"broken, unknown length", io.MultiReader(bytes.NewReader(full), iotest.ErrReader(broken)), -1, webhook.ErrBody},
		{"broken at the end", io.MultiReader(bytes.NewReader(full[1:]), iotest.ErrReader(broken)), limit, webhook.ErrBody},
		{"broken after the end", io.MultiReader(bytes.NewReader(full), iotest.ErrReader(broken)), limit, webhook.ErrBody},
		{"as net/http says that it broke off", io.MultiReader(bytes.NewReader(full), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, webhook.ErrBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerifier(t, webhook.GitHub, limit, hubSecret)
			r := requestWith(sign(full), tt.body, tt.length)
			r.TransferEncoding, r.Trailer = []string{"chunked"}, http.Header{"X-Late": {"1"}}
			release, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
			if !errors.Is(err, tt.want) {
				t.Fatalf("Verify = %v, want %v", err, tt.want)
			}
			if err == nil {
				if got, err := io.ReadAll(iotest.HalfReader(r.Body)); !bytes.Equal(got, full) || err != nil {
					t.Errorf("%d bytes go on, %v, want the %d that came", len(got), err, len(full))
				}
				if r.ContentLength != limit || r.TransferEncoding != nil || r.Trailer != nil {
					t.Errorf("Content-Length %d, Transfer-Encoding %q, trailers %v go on", r.ContentLength, r.TransferEncoding, r.Trailer)
				}
				release()
			}
			wantAllFree(t, v)
		})
	}
}

// wantAllFree fails if v has memory reserved.
func wantAllFree(t *testing.T, v *webhook.Verifier) {
	t.Helper()
	if !v.AllFree() {
		t.Error("memory is reserved, or a sender is remembered")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A claim costs nothing: neither memory nor, for others, room.
func TestClaimedLengthIsNotAllocated(t *testing.T) {
	v := newVerifier(t, webhook.GitHub, webhook.DefaultLimit, hubSecret)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const requests = 100
	for range requests {
		r := requestWith(sign(nil), strings.NewReader("short"), webhook.DefaultLimit)
		if _, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1"); !errors.Is(err, webhook.ErrBody) {
			t.Fatalf("Verify = %v, want ErrBody", err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / requests; each > 64<<10 {
		t.Errorf("%d bytes allocated for each request that sent 5", each)
	}
}

// A large body is read into little more memory than it has bytes.
func TestLargeBodyIsNotCopied(t *testing.T) {
	const limit = 8 << 20
	v := newVerifier(t, webhook.GitLab, limit, gitlabToken)
	body := make([]byte, limit)
	r := requestWith(headers("X-Gitlab-Token", gitlabToken), bytes.NewReader(body), -1)
	w := httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	release, err := v.Verify(w, r, "192.0.2.1")
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if used := after.TotalAlloc - before.TotalAlloc; used > limit+256<<10 {
		t.Errorf("%d bytes allocated for a body of %d", used, len(body))
	}
}

func TestSilentSendersKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, webhook.GitHub, webhook.DefaultLimit, hubSecret)
		silent, speak := io.Pipe()
		var senders sync.WaitGroup
		for i := range 100 {
			length := int64(webhook.DefaultLimit)
			if i%2 == 0 {
				length = -1
			}
			senders.Go(func() {
				if _, err := v.Verify(httptest.NewRecorder(), requestWith(sign(nil), silent, length), "192.0.2.1"); !errors.Is(err, webhook.ErrBody) {
					t.Errorf("Verify of a silent sender = %v, want ErrBody", err)
				}
			})
		}
		synctest.Wait()
		body := bytes.Repeat([]byte("x"), 1<<20)
		began := time.Now()
		release, err := v.Verify(httptest.NewRecorder(), requestWith(sign(body), bytes.NewReader(body), int64(len(body))), "192.0.2.1")
		if err != nil || time.Since(began) > 0 {
			t.Errorf("Verify beside 100 silent senders = %v after %v, want nil at once", err, time.Since(began))
		} else {
			release()
		}
		speak.CloseWithError(io.ErrUnexpectedEOF)
		senders.Wait()
	})
}

// Senders that prove nothing can fill the room for large bodies, though one network
// alone but half of it. Small bodies don't need it.
func TestUnprovedBodiesLeaveRoom(t *testing.T) {
	const limit = 1 << 20
	for _, c := range []struct {
		name     string
		networks int
		size     int // of the forge's body
		want     error
	}{
		{"one network, small body", 1, 60_000, nil},
		{"one network, large body", 1, limit, nil},
		{"many networks, small body", 20, 60_000, nil},
		{"many networks, large body", 20, limit, webhook.ErrBusy},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, webhook.GitHub, limit, hubSecret)
				var senders sync.WaitGroup
				var pipes []*io.PipeWriter
				for i := range 20 {
					sent, write := io.Pipe()
					pipes = append(pipes, write)
					senders.Go(func() {
						v.Verify(httptest.NewRecorder(), requestWith(sign(nil), sent, limit), fmt.Sprint("network ", i%c.networks))
						sent.Close()
					})
					go write.Write(make([]byte, limit-1))
				}
				time.Sleep(6 * time.Second) // those that wait for room have given up
				body := bytes.Repeat([]byte("x"), c.size)
				began := time.Now()
				release, err := v.Verify(httptest.NewRecorder(), requestWith(sign(body), bytes.NewReader(body), int64(len(body))), "the forge")
				if !errors.Is(err, c.want) || err == nil && time.Since(began) > 0 {
					t.Errorf("the forge's body: %v after %v, want %v at once", err, time.Since(began), c.want)
				}
				if err == nil {
					release()
				}
				for _, write := range pipes {
					write.CloseWithError(io.ErrUnexpectedEOF)
				}
				senders.Wait()
				wantAllFree(t, v)
			})
		})
	}
}

// A forge may send all its bodies from one address: what is proved counts no longer
// against the share of its network.
func TestProvedBodiesAreNotCappedByNetwork(t *testing.T) {
	const limit = 1 << 20
	v := newVerifier(t, webhook.GitHub, limit, hubSecret)
	body := bytes.Repeat([]byte("x"), limit)
	for i := range 4 {
		release, err := v.Verify(httptest.NewRecorder(), requestWith(sign(body), bytes.NewReader(body), limit), "192.0.2.1")
		if err != nil {
			t.Fatalf("body %d of 4: %v", i+1, err)
		}
		defer release()
	}
}

// A sender that sends a byte now and then is cut off, too.
func TestDrippingSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, webhook.GitHub, 1<<20, hubSecret)
		client, results := serve(t, v, nil)
		began := time.Now()
		fmt.Fprintf(client, "POST /hook HTTP/1.1\r\nHost: jenkins.example\r\nContent-Type: application/json\r\nX-Hub-Signature-256: %s\r\nContent-Length: 1000\r\n\r\n", hubSignature)
		var dripping sync.WaitGroup
		dripping.Go(func() {
			for range 1000 {
				if _, err := client.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		io.ReadAll(client)
		if err := <-results; !errors.Is(err, webhook.ErrBody) {
			t.Errorf("Verify = %v, want ErrBody", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("cut off after %v, want 10s", took)
		}
		client.Close()
		dripping.Wait()
		wantAllFree(t, v)
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		v := newVerifier(t, webhook.GitHub, limit, hubSecret)
		body := bytes.Repeat([]byte("x"), limit)
		header := sign(body)
		verify := func() (func(), error) {
			return v.Verify(httptest.NewRecorder(), requestWith(header, bytes.NewReader(body), limit), "192.0.2.1")
		}
		var releases []func()
		for range 4 {
			release, err := verify()
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}

		began := time.Now()
		if _, err := verify(); !errors.Is(err, webhook.ErrBusy) || time.Since(began) != 5*time.Second {
			t.Errorf("the fifth body = %v after %v, want ErrBusy after 5s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := v.Verify(httptest.NewRecorder(), requestWith(header, bytes.NewReader(body), limit).WithContext(ctx), "192.0.2.1"); !errors.Is(err, webhook.ErrBusy) {
			t.Errorf("the fifth body, whose sender has gone = %v, want ErrBusy", err)
		}

		began = time.Now()
		time.AfterFunc(3*time.Second, releases[0])
		release, err := verify()
		if err != nil || time.Since(began) != 3*time.Second {
			t.Fatalf("the fifth body, with one released after 3s = %v after %v", err, time.Since(began))
		}
		for _, free := range append(releases, release, release) { // twice is once
			free()
		}
		wantAllFree(t, v)
	})
}

// More large bodies at once than fit must not wait for each other: some are refused
// at once, and the others get done.
func TestLargeBodiesDoNotBlockEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, senders = 1 << 20, 20
		v := newVerifier(t, webhook.GitHub, limit, hubSecret)
		body := bytes.Repeat([]byte("x"), limit)
		header := sign(body)
		began := time.Now()
		var served, refused atomic.Int64
		var running sync.WaitGroup
		pipes := make([]*io.PipeWriter, senders)
		for i := range senders {
			sent, write := io.Pipe()
			pipes[i] = write
			running.Go(func() {
				release, err := v.Verify(httptest.NewRecorder(), requestWith(header, sent, limit), fmt.Sprint("192.0.2.", i))
				switch {
				case err == nil:
					served.Add(1)
					release()
				case errors.Is(err, webhook.ErrBusy):
					refused.Add(1)
					sent.Close()
				default:
					t.Errorf("Verify = %v, want nil or ErrBusy", err)
				}
			})
		}
		for at := 0; at < limit; at += 16 << 10 { // all of them at the same pace
			for _, write := range pipes {
				write.Write(body[at : at+16<<10]) // fails if it has been refused
			}
		}
		for _, write := range pipes {
			write.Close()
		}
		running.Wait()
		if served.Load() == 0 || refused.Load() == 0 || time.Since(began) > 0 {
			t.Errorf("%d served and %d refused after %v, want some of both at once", served.Load(), refused.Load(), time.Since(began))
		}
		wantAllFree(t, v)
	})
}

func TestReleasedBodyIsGone(t *testing.T) {
	for _, how := range []string{"release", "close"} {
		t.Run(how, func(t *testing.T) {
			v := newVerifier(t, webhook.GitHub, 1000, hubSecret)
			r, _ := newRequest(headers("X-Hub-Signature-256", hubSignature), hubBody)
			release, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if how == "close" {
				r.Body.Close()
			} else {
				release()
			}
			if n, err := r.Body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("Read after %s = %d, %v", how, n, err)
			}
			wantAllFree(t, v)
		})
	}
}

// Whoever sends, and however many: no more than four bodies of the largest size
// are held at once, and honest senders get through.
func TestManySenders(t *testing.T) {
	const limit = 100_000
	v := newVerifier(t, webhook.GitHub, limit, hubSecret)
	var held, most, served atomic.Int64
	var senders sync.WaitGroup
	for i := range 40 {
		body := bytes.Repeat([]byte{byte(i)}, limit-i)
		header, length := sign(body), int64(len(body))
		forged := i%4 == 3
		if forged {
			header = sign(nil)
		}
		if i%2 == 0 {
			length = -1
		}
		senders.Go(func() {
			for {
				r := requestWith(header, iotest.HalfReader(bytes.NewReader(body)), length)
				release, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
				if errors.Is(err, webhook.ErrBusy) {
					continue // as a forge would
				}
				if forged {
					if !errors.Is(err, webhook.ErrSignature) {
						t.Errorf("Verify of a forged body = %v", err)
					}
					return
				}
				if err != nil {
					t.Errorf("Verify = %v", err)
					return
				}
				now := held.Add(r.ContentLength)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				if got, err := io.ReadAll(r.Body); !bytes.Equal(got, body) || err != nil {
					t.Errorf("body %d comes out as another, %v", i, err)
				}
				held.Add(-r.ContentLength)
				served.Add(1)
				release()
				return
			}
		})
	}
	senders.Wait()
	if most.Load() > 4*limit || served.Load() != 30 {
		t.Errorf("%d of 30 served, and up to %d bytes held at once, want at most %d", served.Load(), most.Load(), 4*limit)
	}
	wantAllFree(t, v)
}

// A pipeListener is a network inside of a synctest bubble, with its time.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// serve runs a server with v before a handler, and returns a connection to it and
// what Verify says.
func serve(t *testing.T, v *webhook.Verifier, next http.HandlerFunc) (net.Conn, <-chan error) {
	t.Helper()
	results := make(chan error, 10)
	l := &pipeListener{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release, err := v.Verify(w, r, "192.0.2.1")
		results <- err
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		defer release()
		next(w, r)
	})}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l) })
	client, remote := net.Pipe()
	l.connections <- remote
	t.Cleanup(func() {
		client.Close()
		server.Close()
		running.Wait()
	})
	return client, results
}

func TestSlowSender(t *testing.T) {
	const head = "POST /hook HTTP/1.1\r\nHost: jenkins.example\r\nContent-Type: application/json\r\nX-Hub-Signature-256: " + hubSignature + "\r\n"
	for _, tt := range []struct{ name, sent string }{
		{"nothing", head + "Content-Length: 13\r\n\r\n"},
		{"a part", head + "Content-Length: 13\r\n\r\nHello"},
		{"a part of a chunk", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nHel"},
		{"all but the last chunk", head + "Transfer-Encoding: chunked\r\n\r\nd\r\n" + hubBody + "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, webhook.GitHub, 1000, hubSecret)
				client, results := serve(t, v, nil)
				began := time.Now()
				io.WriteString(client, tt.sent)
				// Reads until the server hangs up: it must not wait for the rest either.
				answer, _ := io.ReadAll(client)
				if err := <-results; !errors.Is(err, webhook.ErrBody) {
					t.Errorf("Verify = %v, want ErrBody", err)
				}
				if took := time.Since(began); took != 5*time.Second || !bytes.HasPrefix(answer, []byte("HTTP/1.1 403 ")) {
					t.Errorf("answered %q after %v, want 403 after 5s", answer, took)
				}
				wantAllFree(t, v)
			})
		})
	}
}

// Who is refused by its headers can't keep the connection busy by not sending the
// body, nor is it asked for one.
func TestRefusedSenderIsNotWaitedFor(t *testing.T) {
	for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
		t.Run(expect, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, results := serve(t, newVerifier(t, webhook.GitHub, 1000, hubSecret), nil)
				began := time.Now()
				io.WriteString(client, "POST /hook HTTP/1.1\r\nHost: jenkins.example\r\nContent-Length: 13\r\n"+expect+"\r\n")
				answer, _ := io.ReadAll(client)
				if err := <-results; !errors.Is(err, webhook.ErrSignature) {
					t.Errorf("Verify = %v, want ErrSignature", err)
				}
				if took := time.Since(began); took > 30*time.Second || !bytes.HasPrefix(answer, []byte("HTTP/1.1 403 ")) {
					t.Errorf("answered %q after %v, want 403 within 30s", answer, took)
				}
			})
		})
	}
}

// A deadlineWriter is on a connection of another kind than net/http's own.
type deadlineWriter struct {
	http.ResponseWriter
	set []time.Time
	err error
}

func (w *deadlineWriter) SetReadDeadline(at time.Time) error {
	w.set = append(w.set, at)
	return w.err
}

func TestReadDeadline(t *testing.T) {
	closed := net.ErrClosed
	for _, tt := range []struct {
		name      string
		signature string
		err, want error
		removed   bool
	}{
		{"is taken away when all is well", hubSignature, nil, nil, true},
		{"stays for what is left of a refused body", hubSHA1, nil, webhook.ErrSignature, false},
		{"stays after a wrong signature", hubEmpty, nil, webhook.ErrSignature, false},
		{"can be unsupported", hubSignature, fmt.Errorf("wrapped: %w", http.ErrNotSupported), nil, true},
		{"on a closed connection", hubSignature, closed, webhook.ErrBody, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, webhook.GitHub, 1000, hubSecret)
				w := &deadlineWriter{ResponseWriter: httptest.NewRecorder(), err: tt.err}
				r, _ := newRequest(headers("X-Hub-Signature-256", tt.signature), hubBody)
				if _, err := v.Verify(w, r, "192.0.2.1"); !errors.Is(err, tt.want) {
					t.Errorf("Verify = %v, want %v", err, tt.want)
				}
				want := []time.Time{time.Now().Add(5 * time.Second)}
				if tt.removed {
					want = append(want, time.Time{})
				}
				if set := slices.CompactFunc(w.set, time.Time.Equal); !slices.EqualFunc(set, want, time.Time.Equal) {
					t.Errorf("read deadlines %v, want %v", set, want)
				}
			})
		})
	}
}

// The deadline is for the body only: Jenkins may take its time, and the connection
// goes on to be used.
func TestDeadlineIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, results := serve(t, newVerifier(t, webhook.GitHub, 1000, hubSecret), func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			if err := r.Context().Err(); err != nil {
				t.Errorf("the request was given up: %v", err)
			}
			io.Copy(w, r.Body)
		})
		answers := bufio.NewReader(client)
		for range 2 {
			fmt.Fprintf(client, "POST /hook HTTP/1.1\r\nHost: jenkins.example\r\nContent-Type: application/json\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n%s", hubSignature, len(hubBody), hubBody)
			if err := <-results; err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); string(got) != hubBody || err != nil {
				t.Errorf("answer %q, %v, want the body back", got, err)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestThroughProxy(t *testing.T) {
	type received struct {
		body     string
		length   int64
		chunked  bool
		trailers int
	}
	var got []received
	jenkins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, received{string(body), r.ContentLength, len(r.TransferEncoding) > 0, len(r.Trailer)})
	}))
	defer jenkins.Close()
	target, err := url.Parse(jenkins.URL)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, webhook.GitHub, 200_000, hubSecret)
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		release, err := v.Verify(w, r, "192.0.2.1")
		if err != nil {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		defer release()
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()

	long := strings.Repeat("Hello, World! ", 10_000)
	for _, tt := range []struct {
		name, body string
		header     http.Header
		chunked    bool
		want       int
	}{
		{"signed", hubBody, headers("X-Hub-Signature-256", hubSignature), false, 200},
		{"chunked with trailers", long, sign([]byte(long)), true, 200},
		{"empty", "", headers("X-Hub-Signature-256", hubEmpty), false, 200},
		{"empty chunked", "", headers("X-Hub-Signature-256", hubEmpty), true, 200},
		{"other body", hubBody + " ", headers("X-Hub-Signature-256", hubSignature), false, 403},
		{"other body, chunked", hubBody + " ", headers("X-Hub-Signature-256", hubSignature), true, 403},
		{"unsigned", hubBody, headers(), false, 403},
		{"two signatures", hubBody, headers("X-Hub-Signature-256", hubSignature, "x-hub-signature-256", hubSignature), false, 403},
		{"too large", strings.Repeat("x", 200_001), headers("X-Hub-Signature-256", hubSignature), false, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL+"/github-webhook/", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = tt.header
			if tt.chunked {
				req.Body, req.ContentLength, req.Trailer = io.NopCloser(strings.NewReader(tt.body)), -1, http.Header{"X-Late": {"1"}}
			}
			resp, err := front.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
			if tt.want != 200 {
				if len(got) > 0 {
					t.Errorf("Jenkins received %+v", got)
				}
				return
			}
			if want := (received{tt.body, int64(len(tt.body)), false, 0}); len(got) != 1 || got[0] != want {
				t.Errorf("Jenkins received other than the one body of %d bytes", len(tt.body))
			}
		})
	}
}
