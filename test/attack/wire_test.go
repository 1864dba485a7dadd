package attack_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A wire stands between the gateway and Jenkins and keeps the bytes of each
// connection, so that they can be read stricter than any server does: what is
// smuggled is what two readers understand differently.
type wire struct {
	address string

	mu      sync.Mutex // guards what follows
	pending []*flow
	closers []io.Closer
	closed  bool
}

// A flow is what one connection has carried towards Jenkins and nobody has read yet.
type flow struct {
	bytes    []byte
	switched bool // to WebSocket
}

func tap(t *testing.T, jenkins string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: listener.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			gateway, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", jenkins)
			if err != nil {
				gateway.Close()
				continue
			}
			f := w.add(gateway, server)
			all.Go(func() {
				_, _ = io.Copy(io.MultiWriter(keeper{w, f}, server), gateway)
				_ = server.(*net.TCPConn).CloseWrite()
			})
			all.Go(func() {
				_, _ = io.Copy(gateway, server)
				gateway.Close()
				server.Close()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		w.mu.Lock()
		w.closed = true
		for _, c := range w.closers {
			c.Close()
		}
		w.mu.Unlock()
		all.Wait()
	})
	return w
}

func (w *wire) add(conns ...io.Closer) *flow {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := new(flow)
	w.pending = append(w.pending, f)
	w.closers = append(w.closers, conns...)
	if w.closed {
		for _, c := range conns {
			c.Close()
		}
	}
	return f
}

// keeper writes to a flow.
type keeper struct {
	wire *wire
	flow *flow
}

func (k keeper) Write(p []byte) (int, error) {
	k.wire.mu.Lock()
	defer k.wire.mu.Unlock()
	k.flow.bytes = append(k.flow.bytes, p...)
	return len(p), nil
}

// check reads what has come since the last time. Requests that are not whole yet
// stay.
func (w *wire) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.pending {
		for !f.switched {
			n, upgrade, err := message(f.bytes)
			if err != nil {
				t.Errorf("the gateway sends %q: %v", f.bytes, err)
				f.bytes = nil
			}
			if n == 0 {
				break
			}
			f.switched = upgrade
			f.bytes = f.bytes[n:]
		}
	}
}

// message returns the length of the first request in b, 0 if b holds less. It knows
// nothing of what RFC 9112 lets a recipient forgive.
func message(b []byte) (n int, upgrade bool, err error) {
	head, rest, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return 0, false, nil
	}
	n = len(head) + 4
	lines := strings.Split(string(head), "\r\n")
	if line := strings.Split(lines[0], " "); len(line) != 3 || !token(line[0]) || !strings.HasPrefix(line[1], "/") && line[1] != "*" || line[2] != "HTTP/1.1" {
		return 0, false, fmt.Errorf("request line %q", lines[0])
	}
	once := make(map[string]string)
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n\x00") {
			return 0, false, fmt.Errorf("a control character in %q", line)
		}
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if !token(name) {
			return 0, false, fmt.Errorf("the field name %q", name)
		}
		switch name = plain(name); name {
		case "content-length", "transfer-encoding", "host", "cookie", "connection", "upgrade":
			if _, twice := once[name]; twice {
				return 0, false, fmt.Errorf("%s twice", name)
			}
			once[name] = strings.TrimSpace(value)
		}
	}
	length, hasLength := once["content-length"]
	coding, hasCoding := once["transfer-encoding"]
	switch _, hasHost := once["host"]; {
	case !hasHost:
		return 0, false, fmt.Errorf("no Host")
	case hasLength && hasCoding:
		return 0, false, fmt.Errorf("both a length and a coding")
	case hasCoding && coding != "chunked":
		return 0, false, fmt.Errorf("the coding %q", coding)
	case hasCoding:
		size, err := chunks(rest)
		if size == 0 {
			n = 0
		}
		return n + size, false, err
	case hasLength:
		size, err := strconv.ParseUint(length, 10, 31)
		if err != nil {
			return 0, false, err
		}
		if uint64(len(rest)) < size {
			return 0, false, nil
		}
		n += int(size)
	}
	return n, once["upgrade"] != "", nil
}

// chunks returns the length of a chunked body that b begins with, 0 if b holds less.
func chunks(b []byte) (int, error) {
	n := 0
	for {
		line, rest, whole := bytes.Cut(b[n:], []byte("\r\n"))
		if !whole {
			return 0, nil
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return 0, fmt.Errorf("the chunk size %q", line)
		}
		n += len(line) + 2
		if size == 0 {
			switch {
			case len(rest) < 2:
				return 0, nil
			case string(rest[:2]) != "\r\n":
				return 0, fmt.Errorf("a trailer: %q", rest)
			}
			return n + 2, nil
		}
		if uint64(len(rest)) < size+2 {
			return 0, nil
		}
		n += int(size)
		if string(b[n:n+2]) != "\r\n" {
			return 0, fmt.Errorf("no line break after a chunk")
		}
		n += 2
	}
}

func token(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}
