package jenkinstest

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault makes Jenkins misbehave. Delay and Drip alone slow down an answer that is otherwise right; Status, Body,
// ContentType or Size replace it.
type Fault struct {
	Method      string        // only this method; empty: any
	PathPrefix  string        // of the canonical path less the context path; empty: all paths
	Delay       time.Duration // before anything else
	Hang        bool          // no answer until the client goes or Close is called
	Abort       bool          // cut the connection without an answer
	Status      int           // default 200 when Body or Size is set
	ContentType string        // default text/html
	Body        string
	Size        int64 // pad the body with blanks to so many bytes; negative: without end
	Drip        Drip
	Times       int // after so many requests the fault is over; 0: never
}

// Drip sends a body in pieces of so many bytes with a pause before each.
type Drip struct {
	Bytes    int
	Interval time.Duration
}

type faults struct {
	mu   sync.Mutex // guards list
	list []Fault
}

// Fail adds a fault; of several that match a request the first added one acts. The zero Fault removes all.
func (j *Jenkins) Fail(f Fault) {
	if f == (Fault{}) {
		j.ClearFaults()
		return
	}
	j.faults.mu.Lock()
	defer j.faults.mu.Unlock()
	j.faults.list = append(j.faults.list, f)
}

// ClearFaults removes all faults.
func (j *Jenkins) ClearFaults() {
	j.faults.mu.Lock()
	defer j.faults.mu.Unlock()
	j.faults.list = nil
}

// take returns the fault for a request and counts it.
func (f *faults) take(method, path string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		fault := &f.list[i]
		if fault.Method != "" && fault.Method != method || !strings.HasPrefix(path, fault.PathPrefix) {
			continue
		}
		taken := *fault
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.list = append(f.list[:i:i], f.list[i+1:]...)
			}
		}
		return taken, true
	}
	return Fault{}, false
}

// fault lets a matching fault act and reports whether that was the answer.
func (x *exchange) fault() bool {
	f, ok := x.j.faults.take(x.r.Method, canonicalPath(x.raw))
	if !ok {
		return false
	}
	if f.Delay > 0 && !x.wait(f.Delay) {
		x.abort()
	}
	if f.Hang {
		select {
		case <-x.r.Context().Done():
		case <-x.j.done:
		}
		x.abort()
	}
	if f.Abort {
		x.abort()
	}
	x.drip = f.Drip
	if f.Status == 0 && f.Body == "" && f.ContentType == "" && f.Size == 0 {
		return false
	}
	setDefault(&f.Status, http.StatusOK)
	setDefault(&f.ContentType, "text/html;charset=utf-8")
	x.Header().Set("Content-Type", f.ContentType)
	x.WriteHeader(f.Status)
	x.write(f.Body)
	padding := bytes.Repeat([]byte(" "), 64<<10)
	for left := f.Size - int64(len(f.Body)); f.Size < 0 || left > 0; left -= int64(len(padding)) {
		if f.Size > 0 && left < int64(len(padding)) {
			padding = padding[:left]
		}
		if _, err := x.Write(padding); err != nil {
			break // the client has seen enough
		}
		select {
		case <-x.j.done:
			x.abort()
		default:
		}
	}
	return true
}

func (x *exchange) writeDrip(b []byte) (written int, err error) {
	for len(b) > 0 {
		if !x.wait(x.drip.Interval) {
			x.abort()
		}
		piece := b[:min(len(b), x.drip.Bytes)]
		n, err := x.ResponseWriter.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
		if err := x.flush(); err != nil {
			return written, err
		}
		b = b[len(piece):]
	}
	return written, nil
}
