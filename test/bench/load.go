package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// A target is what one round of load is sent to, and the only answer to it that
// counts.
type target struct {
	addr     string
	requests [][]byte // as on the wire; connection i begins with the i-th and goes round
	status   int
	body     string
}

// A sample is what one round measured.
type sample struct {
	requests int64
	elapsed  time.Duration
	latency  *hdrhistogram.Histogram // microseconds
}

func (s sample) perSecond() float64 { return float64(s.requests) / s.elapsed.Seconds() }

// newLatency covers 1 µs to a minute with two significant digits.
func newLatency() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Minute.Microseconds(), 2) }

// measure keeps conns connections busy for d, each with one request at a time
// (a closed loop), and fails at the first answer that isn't the expected one. It
// speaks HTTP by hand: on a small machine the generator shares the cores with
// what it measures, and net/http's client would cost as much as Caddy does.
func measure(ctx context.Context, t target, conns int, d time.Duration) (sample, error) {
	clients := make([]*client, conns)
	for i := range clients {
		c, err := dial(ctx, t, i)
		if err != nil {
			return sample{}, err
		}
		defer c.conn.Close()
		clients[i] = c
	}
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	end := start.Add(d)
	for _, c := range clients {
		group.Go(func() error { return c.loop(ctx, t, end) })
	}
	err := group.Wait()
	s := sample{elapsed: time.Since(start), latency: newLatency()}
	for _, c := range clients {
		s.requests += c.latency.TotalCount()
		s.latency.Merge(c.latency)
	}
	return s, err
}

// A client is one connection.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	next    int
	body    []byte
	latency *hdrhistogram.Histogram
}

// dial opens a connection and proves it with one request, which isn't measured.
func dial(ctx context.Context, t target, i int) (*client, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, in: bufio.NewReader(conn), next: i, latency: newLatency()}
	if err := c.exchange(t, 30*time.Second); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) loop(ctx context.Context, t target, end time.Time) error {
	before := time.Now()
	for before.Before(end) && ctx.Err() == nil {
		if err := c.exchange(t, 10*time.Second); err != nil {
			return err
		}
		after := time.Now()
		if err := c.latency.RecordValue(after.Sub(before).Microseconds()); err != nil {
			return err
		}
		before = after
	}
	return ctx.Err()
}

// exchange sends the next request and checks the answer.
func (c *client) exchange(t target, timeout time.Duration) error {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	request := t.requests[c.next%len(t.requests)]
	c.next++
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	status, err := c.read()
	if err != nil {
		return fmt.Errorf("reading the answer to %q: %w", firstLine(request), err)
	}
	if status != t.status || string(c.body) != t.body {
		return fmt.Errorf("%q was answered with %d %.200q, expected %d %.200q",
			firstLine(request), status, c.body, t.status, t.body)
	}
	return nil
}

// read takes one response off the connection and leaves its body in c.body. It
// knows only responses with a Content-Length, as all of the expected ones are.
func (c *client) read() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("not a status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if len(name) == 0 {
			break
		}
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 || length > 64<<10 {
		return 0, errors.New("no Content-Length, or one above 64 KiB")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.in, c.body)
	return status, err
}

func firstLine(request []byte) []byte {
	line, _, _ := bytes.Cut(request, []byte("\r\n"))
	return line
}
