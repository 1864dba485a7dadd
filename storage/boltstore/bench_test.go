package boltstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/crumbgate/crumbgate/storage"
	"github.com/crumbgate/crumbgate/storage/boltstore"
)

func openBench(b *testing.B) *boltstore.Store {
	s, err := boltstore.Open(filepath.Join(b.TempDir(), "tokens.db"), boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func benchChange(n int64) storage.Change {
	return storage.Change{Key: fmt.Sprintf("token/%08x", uint32(n)*2654435761), Value: make([]byte, 200), Expect: storage.Any}
}

// BenchmarkApply writes one key per batch; the time is dominated by the disk.
func BenchmarkApply(b *testing.B) {
	b.Run("sequential", func(b *testing.B) {
		s := openBench(b)
		for n := int64(0); b.Loop(); n++ {
			if _, err := s.Apply(context.Background(), benchChange(n)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel-32", func(b *testing.B) {
		s := openBench(b)
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Apply(context.Background(), benchChange(n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkOpen opens a store of 100,000 entries, which checks each of them.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tokens.db")
	s := open(b, path)
	for n := int64(0); n < 100_000; {
		var changes []storage.Change
		for range storage.MaxBatch {
			changes = append(changes, benchChange(n))
			n++
		}
		if _, err := s.Apply(context.Background(), changes...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := open(b, path).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
