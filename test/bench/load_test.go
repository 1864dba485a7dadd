package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

// The generator must take nothing but the expected answer for a success: what it
// let pass would be counted as speed.
func TestMeasure(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		err     string // part of the error, "" for none
	}{
		{"the expected answer", func(w http.ResponseWriter, _ *http.Request) { answer(w, getBody) }, ""},
		{"another status", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, crumbError, http.StatusForbidden) }, "answered with 403"},
		{"another body", func(w http.ResponseWriter, _ *http.Request) { answer(w, strings.ToUpper(getBody)) }, "answered with 200"},
		{"no length", func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, "no Content-Length"},
		{"a huge length", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "65537") }, "no Content-Length"},
		{"a broken connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.handler)
			defer s.Close()
			got, err := measure(t.Context(), variant{}.target(s.Listener.Addr().String(), "secret"), 2, 20*time.Millisecond)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("measure() = %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("measure() = %v", err)
			}
			if got.requests == 0 || got.requests != got.latency.TotalCount() || got.elapsed < 20*time.Millisecond {
				t.Errorf("measure() = %d requests, %d latencies in %v", got.requests, got.latency.TotalCount(), got.elapsed)
			}
		})
	}
}

// The requests of the bare variants are what the upstream takes; without what a
// gateway has to add they are refused, and counted.
func TestUpstream(t *testing.T) {
	tests := []struct {
		name    string
		variant variant
		gated   bool
		refused int64
	}{
		{"bare GET", variant{}, false, 0},
		{"bare POST with crumb and session", variant{post: true, crumb: true}, false, 0},
		{"POST without crumb and session", variant{post: true}, false, 1},
		{"GET without identity behind the gate", variant{}, true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := new(jenkins)
			handler := j.serve
			if tt.gated {
				handler = j.serveGated
			}
			s := httptest.NewServer(http.HandlerFunc(handler))
			defer s.Close()
			c, err := dial(t.Context(), tt.variant.target(s.Listener.Addr().String(), "secret"), 0)
			if (err != nil) != (tt.refused > 0) {
				t.Errorf("dial() = %v", err)
			}
			if err == nil {
				c.conn.Close()
			}
			if got := j.refused.Load(); got != tt.refused {
				t.Errorf("%d requests refused, want %d", got, tt.refused)
			}
		})
	}
}

func TestSpread(t *testing.T) {
	tests := []struct {
		values []float64
		want   spread
	}{
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{3, 1, 2}, spread{1.5, 2, 2.5}},
		{[]float64{5, 1, 4, 2, 3}, spread{2, 3, 4}},
	}
	for _, tt := range tests {
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spreadOf(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

// batches acknowledges before it writes; in the end everything must be there.
func TestBatches(t *testing.T) {
	const entries = 2*storage.MaxBatch + 1
	path := filepath.Join(t.TempDir(), storeName)
	file, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &batches{Store: file}
	for i := range entries {
		if _, err := b.Apply(t.Context(), storage.Change{Key: fmt.Sprintf("key/%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if file, err = boltstore.Open(path, boltstore.Options{}); err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for _, err := range file.List(t.Context(), "key/") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != entries {
		t.Errorf("the store has %d entries, want %d", n, entries)
	}
}
