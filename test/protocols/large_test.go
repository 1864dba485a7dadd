package protocols_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// block is what large bodies consist of, again and again.
var block = sync.OnceValue(func() []byte {
	random := rand.NewChaCha8([32]byte{})
	b := make([]byte, 1<<20)
	random.Read(b)
	return b
})

// large is a body of a size in bytes, a multiple of the block's.
func large(size int64) io.Reader {
	blocks := make([]io.Reader, size/int64(len(block())))
	for i := range blocks {
		blocks[i] = bytes.NewReader(block())
	}
	return io.MultiReader(blocks...)
}

// TestLargeBodies: uploads and downloads take no memory that grows with them. The
// gateway is the released one: the race detector takes memory of its own.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	const most, less, allowed = 2 << 30, 96 << 20, 32 << 20
	g := gatewaytest.New(t, "", caddyfile)
	g.UseRelease(t)
	s := startGateway(t, g)
	s.jenkins.Handle("/pluginManager/uploadPlugin", http.HandlerFunc(see))
	sums := make(map[int64]string)
	for _, tt := range []struct {
		version      int // of versions
		size, length int64
	}{
		{0, most, most},
		{0, less, -1},
		// The race detector makes clients of these, in this process, very slow.
		{3, less, less},
		{4, less, less},
	} {
		if sums[tt.size] == "" {
			hash := sha256.New()
			io.Copy(hash, large(tt.size))
			sums[tt.size] = hex.EncodeToString(hash.Sum(nil))
		}
		s.jenkins.Handle("/job/a/1/artifact/large.bin", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.Copy(w, large(tt.size))
		}))
		for _, who := range s.clients {
			c := caller{s, who, s.versions(t)[tt.version]}
			t.Run(fmt.Sprintf("%s by %s, length %d", who.name, c.version.name, tt.length), func(t *testing.T) {
				// A first request opens the connections and gets the crumb.
				if resp, _ := c.send(t, c.request(t, "POST", "/quietDown", nil)); resp.StatusCode != 302 {
					t.Fatalf("quietDown: %s", resp.Status)
				}
				measure := func(name string, do func()) {
					t.Helper()
					s.ResetPeak(t)
					before, begun := s.Memory(t, "VmRSS"), time.Now()
					do()
					took, peak := time.Since(begun), s.Memory(t, "VmHWM")
					t.Logf("%s of %d MiB: %.0f MB/s, memory from %d to at most %d MiB", name, tt.size>>20, float64(tt.size)/1e6/took.Seconds(), before>>20, peak>>20)
					if peak > before+allowed {
						t.Errorf("the %s made the gateway grow from %d to %d MiB", name, before>>20, peak>>20)
					}
				}
				measure("upload", func() {
					req := c.request(t, "POST", "/pluginManager/uploadPlugin", large(tt.size))
					req.ContentLength = tt.length
					resp, body := c.send(t, req)
					var got seen
					if err := json.Unmarshal([]byte(body), &got); err != nil || got.Length != tt.length || got.Sum != sums[tt.size] {
						t.Errorf("%s: Jenkins has got a body of length %d with the sum %s, want %s (%v)", resp.Status, got.Length, got.Sum, sums[tt.size], err)
					}
				})
				measure("download", func() {
					resp, hash := c.open(t, c.request(t, "GET", "/job/a/1/artifact/large.bin", nil)), sha256.New()
					n, err := io.Copy(hash, resp.Body)
					if got := hex.EncodeToString(hash.Sum(nil)); err != nil || n != tt.size || got != sums[tt.size] {
						t.Errorf("%d bytes have come with the sum %s, want %d with %s (%v)", n, got, tt.size, sums[tt.size], err)
					}
				})
			})
		}
	}
}
