package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
)

// A snapshot is a request, and the header of its answer, as they were before the
// handlers behind us changed them. All POSTs need one and few use it, so it is
// kept in slices that are used again, and not in maps.
type snapshot struct {
	request http.Request
	url     url.URL
	sent    fields
	answer  fields
}

var snapshots = sync.Pool{New: func() any { return new(snapshot) }}

func takeSnapshot(r *http.Request, answer http.Header) *snapshot {
	s := snapshots.Get().(*snapshot)
	s.request, s.url = *r, *r.URL
	s.sent.keep(r.Header)
	s.answer.keep(answer)
	return s
}

// drop forgets what the snapshot holds, and makes room for another.
func (s *snapshot) drop() {
	s.request, s.url = http.Request{}, url.URL{}
	s.sent.forget()
	s.answer.forget()
	snapshots.Put(s)
}

// again returns the request as it was. It has no body.
func (s *snapshot) again() *http.Request {
	r, u := s.request, s.url
	r.URL, r.Header, r.Body = &u, make(http.Header, len(s.sent.names)), http.NoBody
	s.sent.restore(r.Header)
	return &r
}

// fields are those of a header: the values of all names, one after the other.
type fields struct {
	names  []string
	ends   []int // in values, of each name's
	values []string
}

func (f *fields) keep(h http.Header) {
	for name, values := range h {
		f.names = append(f.names, name)
		f.values = append(f.values, values...)
		f.ends = append(f.ends, len(f.values))
	}
}

func (f *fields) forget() {
	clear(f.names)
	clear(f.values)
	f.names, f.ends, f.values = f.names[:0], f.ends[:0], f.values[:0]
}

// restore makes h what it was.
func (f *fields) restore(h http.Header) {
	clear(h)
	from := 0
	for i, name := range f.names {
		h[name] = slices.Clone(f.values[from:f.ends[i]])
		from = f.ends[i]
	}
}
