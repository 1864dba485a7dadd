package crumb

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/crumbgate/crumbgate/gateway/storekey"
	"github.com/crumbgate/crumbgate/internal/strictcbor"
	"github.com/crumbgate/crumbgate/storage"
)

const (
	keysKey     = storekey.CrumbKeys
	keysVersion = 1

	// maxKeys bounds the ring: the current key and four old ones. With a rotation a
	// day, that is more than any sensible lifetime of crumbs.
	maxKeys = 5

	// maxConflicts bounds how often Rotate tries again because another process has
	// changed the keys at the same moment. People rotate keys, and rarely.
	maxConflicts = 8
)

// Keys are what crumbs of the gateway are made and verified by. However they are
// printed, logged or encoded, they do not show. All methods are safe for concurrent
// use; Issue and Verify take no lock.
type Keys struct {
	ring  atomic.Pointer[ring]
	store storage.Store // nil: in memory only
	now   func() time.Time

	mu       sync.Mutex       // orders changes, and guards revision
	revision storage.Revision // of the ring in the store
}

// A ring holds keys, the current one first, and is not changed once it is made.
type ring []*key

// A key has a number that is one more than that of the key before it. Crumbs carry
// its last byte, which is enough to pick one of a few.
type key struct {
	number  uint64
	created int64 // Unix seconds
	secret  [sha256.Size]byte
	signers sync.Pool // of *signer
}

func newKey(number uint64, created int64, secret [sha256.Size]byte) *key {
	k := &key{number: number, created: created, secret: secret}
	k.signers.New = func() any { return newSigner(k.secret[:]) }
	return k
}

func (r ring) current() *key { return r[0] }

func (r ring) find(number byte) *key {
	for _, k := range r {
		if byte(k.number) == number {
			return k
		}
	}
	return nil
}

// next returns the ring after a rotation. A ring of no keys becomes one of the first.
func (r ring) next(created time.Time, drop bool) ring {
	var secret [sha256.Size]byte
	rand.Read(secret[:])
	number := uint64(1)
	if len(r) > 0 {
		number = r[0].number + 1
	}
	next := ring{newKey(number, created.Unix(), secret)}
	if drop {
		return next
	}
	return append(next, r[:min(len(r), maxKeys-1)]...)
}

// NewKeys makes a key that is nowhere but in memory, for a gateway without a store: its
// crumbs do not outlive it.
func NewKeys() *Keys {
	k := &Keys{now: time.Now}
	first := ring(nil).next(k.now(), false)
	k.ring.Store(&first)
	return k
}

// OpenKeys reads the keys of a store, and makes the first one if there is none yet. The
// store stays the caller's, who closes it after the last call of Rotate. A record that
// can't be read is an error rather than a reason for new keys: each crumb in an open page
// would be worth nothing, and a crumbgate that is newer could not read its own any more.
func OpenKeys(ctx context.Context, store storage.Store, now func() time.Time) (*Keys, error) {
	k := &Keys{store: store, now: now}
	err := k.load(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		err = k.put(ctx, ring(nil).next(now(), false))
		if isConflict(err) {
			err = k.load(ctx) // another process was first
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the crumb keys: %w", err)
	}
	return k, nil
}

// Rotate makes a new key, by which all crumbs are issued from then on. It is durable
// before it takes effect. Crumbs by older keys hold until they expire, or until the fourth
// rotation after; with drop none of them holds any longer, which is for a key that others
// may have seen, since with it they can make crumbs of any age.
//
// If another process has changed the keys, its change is taken over first. After an error
// no new key is in use here. The store may have one nevertheless; the next Rotate, or
// OpenKeys, goes on from what it has. Changes with are stored in the same transaction.
func (k *Keys) Rotate(ctx context.Context, drop bool, with ...storage.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range maxConflicts {
		err := k.put(ctx, k.ring.Load().next(k.now(), drop), with...)
		if err == nil {
			return nil
		}
		if isConflict(err) {
			err = k.load(ctx)
		}
		if err != nil {
			return fmt.Errorf("rotating the crumb keys: %w", err)
		}
	}
	return fmt.Errorf("rotating the crumb keys: other processes have changed them %d times meanwhile, try again", maxConflicts)
}

func isConflict(err error) bool {
	var conflict *storage.ConflictError
	return errors.As(err, &conflict)
}

// put stores a ring, and then puts it in the place of the one at hand. The caller holds mu
// or is alone.
func (k *Keys) put(ctx context.Context, next ring, with ...storage.Change) error {
	if k.store != nil {
		changes := append([]storage.Change{{Key: keysKey, Value: next.encode(), Expect: k.revision}}, with...)
		revision, err := k.store.Apply(ctx, changes...)
		if err != nil {
			return err
		}
		k.revision = revision
	}
	k.ring.Store(&next)
	return nil
}

// load takes the ring of the store. The caller holds mu or is alone.
func (k *Keys) load(ctx context.Context) error {
	entry, err := k.store.Get(ctx, keysKey)
	if err != nil {
		return err
	}
	r, err := decodeRing(entry.Value)
	if err != nil {
		return fmt.Errorf("record %q: %w", entry.Key, err)
	}
	k.revision = entry.Revision
	k.ring.Store(&r)
	return nil
}

// KeyInfo is what may be told of a key.
type KeyInfo struct {
	Number  uint64
	Created time.Time
	Current bool // crumbs are issued by it
}

// Info returns what may be told of the keys, the current one first.
func (k *Keys) Info() []KeyInfo {
	var infos []KeyInfo
	for i, key := range *k.ring.Load() {
		infos = append(infos, KeyInfo{Number: key.number, Created: time.Unix(key.created, 0).UTC(), Current: i == 0})
	}
	return infos
}

const redacted = "REDACTED"

// String returns "REDACTED".
func (*Keys) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb shows a key.
func (*Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON and zap use.
func (*Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (*Keys) LogValue() slog.Value { return slog.StringValue(redacted) }

// The keys are stored as CBOR (RFC 8949) under small numbers, as tokens are.
type storedRing struct {
	Version uint64      `cbor:"1,keyasint"`
	Keys    []storedKey `cbor:"2,keyasint"`
}

type storedKey struct {
	Number  uint64 `cbor:"1,keyasint"`
	Created int64  `cbor:"2,keyasint"`
	Secret  []byte `cbor:"3,keyasint"`
}

func (r ring) encode() []byte {
	stored := storedRing{Version: keysVersion}
	for _, k := range r {
		stored.Keys = append(stored.Keys, storedKey{k.number, k.created, k.secret[:]})
	}
	b, err := cbor.Marshal(stored)
	if err != nil {
		panic(err) // our own plain structs always encode
	}
	return b
}

// decodeRing checks what everything else relies on: a damaged record must not become a
// key that others can guess. Its errors quote nothing of the record.
func decodeRing(value []byte) (ring, error) {
	// Before all else, as a later version has fields that this one doesn't know.
	var later struct {
		Version uint64 `cbor:"1,keyasint"`
	}
	if err := cbor.Unmarshal(value, &later); err == nil && later.Version > keysVersion {
		return nil, fmt.Errorf("it is of version %d, and this crumbgate knows up to %d: run the release that wrote it, or a later one",
			later.Version, keysVersion)
	}
	var stored storedRing
	if err := strictcbor.Decoding.Unmarshal(value, &stored); err != nil {
		return nil, errDamaged
	}
	if stored.Version != keysVersion || len(stored.Keys) == 0 || len(stored.Keys) > maxKeys {
		return nil, errDamaged
	}
	var r ring
	for i, k := range stored.Keys {
		if len(k.Secret) != sha256.Size || [sha256.Size]byte(k.Secret) == [sha256.Size]byte{} {
			return nil, errDamaged
		}
		if k.Number == 0 || k.Number != stored.Keys[0].Number-uint64(i) {
			return nil, errDamaged
		}
		r = append(r, newKey(k.Number, k.Created, [sha256.Size]byte(k.Secret)))
	}
	return r, nil
}

var errDamaged = errors.New("it is damaged: restore the store from a backup")
