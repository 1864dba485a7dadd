package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func kept(g *Gate, length int64, body io.Reader) *replayBody {
	return g.newReplayBody(&http.Request{ContentLength: length, Body: io.NopCloser(body)}, 1000)
}

// TestBodiesShareMemory: what is kept of all bodies has one bound, and all of it is given back.
func TestBodiesShareMemory(t *testing.T) {
	g := new(Gate)
	g.bodies.limit = 2500
	body := strings.Repeat("x", 1000)
	var open []*replayBody
	for i := range 4 {
		b := kept(g, 1000, strings.NewReader(body))
		open = append(open, b)
		if want := i >= 2; b.mayOutgrow != want {
			t.Errorf("body %d: can't be kept: %v, want %v", i, b.mayOutgrow, want)
		}
	}
	for i, b := range open {
		for try := range 2 {
			r, complete := b.open()
			if want := try == 0 || !b.mayOutgrow; complete != want {
				t.Fatalf("body %d, attempt %d: complete %v, want %v", i, try, complete, want)
			}
			if got, err := io.ReadAll(r); complete && (err != nil || string(got) != body) {
				t.Errorf("body %d, attempt %d: read %d bytes, %v", i, try, len(got), err)
			}
		}
		if size := cap(b.kept); b.mayOutgrow && size > 0 || size > 1000 {
			t.Errorf("body %d keeps %d bytes", i, size)
		}
		b.close()
		b.close()
	}
	if n := g.bodies.used.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
	if b := kept(g, 1000, strings.NewReader(body)); b.mayOutgrow {
		t.Error("no memory although all was given back")
	}
}

// Of a body that may be too large nothing is kept but what was searched, until that is read again.
func TestOnlyWhatIsSearchedIsKept(t *testing.T) {
	for name, length := range map[string]int64{"large": 5000, "unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			g := new(Gate)
			g.bodies.limit = 1500
			content := bytes.Repeat([]byte("0123456789"), 500)
			b := kept(g, length, iotest.OneByteReader(bytes.NewReader(content)))
			defer b.close()
			if _, err := io.ReadFull(b.search(), make([]byte, 900)); err != nil {
				t.Fatal(err)
			}
			if n := g.bodies.used.Load(); n < 900 || n > 1500 || len(b.kept) != 900 {
				t.Errorf("%d bytes are kept, %d counted, after 900", len(b.kept), n)
			}
			// A second search begins anew, and finds no memory for all of it.
			if n, err := io.Copy(io.Discard, io.LimitReader(b.search(), 900)); n != 900 || err != nil {
				t.Errorf("read %d bytes again, %v", n, err)
			}
			r, complete := b.open()
			got, err := io.ReadAll(r)
			if !complete || err != nil || !bytes.Equal(got, content) {
				t.Errorf("complete %v, read %d bytes, %v", complete, len(got), err)
			}
			if n := g.bodies.used.Load(); n != 0 || b.kept != nil {
				t.Errorf("%d bytes are still counted, %d kept", n, len(b.kept))
			}
			if _, complete := b.open(); complete {
				t.Error("what was not kept can be read again")
			}
		})
	}
}

func TestNoMemoryForASearch(t *testing.T) {
	g := new(Gate)
	g.bodies.limit = 100
	b := kept(g, -1, strings.NewReader(strings.Repeat("x", 500)))
	if n, err := io.Copy(io.Discard, b.search()); !errors.Is(err, errNoMemory) || n > 100 {
		t.Errorf("read %d bytes, %v; want errNoMemory", n, err)
	}
	r, _ := b.open()
	if _, err := io.ReadAll(r); !errors.Is(err, errNoMemory) {
		t.Errorf("afterwards: %v, want errNoMemory, as something was lost", err)
	}
	b.close()
	if n := g.bodies.used.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}
