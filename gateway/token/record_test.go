package token

import (
	"bytes"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"
)

var sample = Record{
	ID:     uuid.MustParse("01990000-0000-7000-8000-000000000001"),
	Digest: Digest{1, 2, 3},
	Owner:  "alice", Name: "ci", State: Active, Origin: Issued, Actor: "admin",
	Created: 1_790_000_000, Expires: 1_800_000_000,
}

// The bytes stand in files that later versions have to read.
func TestRecordOnDisk(t *testing.T) {
	const want = "\xa9\x01\x50\x01\x99\x00\x00\x00\x00\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01" +
		"\x02\x58\x20\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x03\x65alice\x04\x62ci\x05\x01\x06\x01\x07\x65admin\x08\x1a\x6a\xb1\x3b\x80\x09\x1a\x6b\x49\xd2\x00"
	if got := encode(&sample); string(got) != want {
		t.Errorf("encode = %x, want %x", got, want)
	}
	var got Record
	if err := got.decode(tokenKey(sample.ID), []byte(want)); err != nil || got != sample {
		t.Errorf("decode = %+v, %v, want %+v", got, err, sample)
	}
}

// So do the numbers of what came later.
func TestLaterFieldsOnDisk(t *testing.T) {
	r := sample
	r.Suspended, r.Resumed, r.Why, r.Family, r.Successor = 1, 2, "w", uuid.UUID{1}, uuid.UUID{2}
	r.Limits = &Limits{Scopes: []string{"read"}, Observe: true, Sources: []string{"10.0.0.0/8"}, Rate: 3, Uses: 4}
	want := "\x0b\x01\x0c\x02\x0d\x61w" +
		"\x0e\xa5\x01\x81\x64read\x02\xf5\x03\x81\x6a10.0.0.0/8\x04\x03\x05\x04" +
		"\x0f\x50\x01" + string(make([]byte, 15)) + "\x10\x50\x02" + string(make([]byte, 15))
	if got := encode(&r); !bytes.HasSuffix(got, []byte(want)) {
		t.Errorf("encode = %x, want it to end with %x", got, want)
	}
	var got Record
	if err := got.decode(tokenKey(r.ID), encode(&r)); err != nil || got.Limits.String() != r.Limits.String() || got.Family != r.Family || got.Successor != r.Successor {
		t.Errorf("decode = %+v, %v, want %+v", got, err, r)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	fields := func(change func(map[int]any)) []byte {
		m := map[int]any{1: sample.ID[:], 2: sample.Digest[:], 3: "alice", 4: "ci", 5: 1, 6: 1, 8: 1_790_000_000}
		change(m)
		b, err := cbor.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := tokenKey(sample.ID)
	if err := new(Record).decode(key, fields(func(map[int]any) {})); err != nil {
		t.Fatalf("the undamaged record: %v", err)
	}
	whole := encode(&sample)
	for _, c := range []struct {
		name, key string
		value     []byte
	}{
		{"empty", key, nil},
		{"cut short", key, whole[:len(whole)-1]},
		{"more after it", key, append(bytes.Clone(whole), 0)},
		{"zeros", key, make([]byte, len(whole))},
		{"another's key", "token/01990000-0000-7000-8000-000000000002", whole},
		{"key in capitals", "token/01990000-0000-7000-8000-00000000000A", whole},
		{"an array", key, []byte{0x80}},
		{"an unknown field", key, fields(func(m map[int]any) { m[99] = 1 })},
		{"no id", key, fields(func(m map[int]any) { delete(m, 1) })},
		{"no digest", key, fields(func(m map[int]any) { delete(m, 2) })},
		{"a digest of zeros", key, fields(func(m map[int]any) { m[2] = make([]byte, 32) })},
		{"a digest cut short", key, fields(func(m map[int]any) { m[2] = sample.Digest[:31] })},
		{"a digest too long", key, fields(func(m map[int]any) { m[2] = make([]byte, 33) })},
		{"a digest as text", key, fields(func(m map[int]any) { m[2] = "digest" })},
		{"no owner", key, fields(func(m map[int]any) { delete(m, 3) })},
		{"an owner that is not UTF-8", key, bytes.Replace(whole, []byte("alice"), []byte("ali\xffe"), 1)},
		{"no state", key, fields(func(m map[int]any) { delete(m, 5) })},
		{"an unknown state", key, fields(func(m map[int]any) { m[5] = 99 })},
		{"a state beyond a byte", key, fields(func(m map[int]any) { m[5] = 257 })},
		{"an end that is no number", key, fields(func(m map[int]any) { m[9] = "never" })},
		{"a field twice", key, []byte("\xa2\x05\x01\x05\x02")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Record
			if err := r.decode(c.key, c.value); err == nil {
				t.Errorf("decode(%q, %x) = %+v, want an error", c.key, c.value, r)
			}
		})
	}
}

// What is accepted can be admitted or refused for a reason, and is written back
// as the same record.
func FuzzDecodeRecord(f *testing.F) {
	key := tokenKey(sample.ID)
	f.Add(key, encode(&sample))
	revoked := sample
	revoked.State, revoked.Revoked, revoked.Expires = Revoked, 1_795_000_000, 0
	f.Add(key, encode(&revoked))
	limited := sample
	limited.State, limited.Suspended, limited.Resumed, limited.Why = Suspended, 1_795_000_000, 1_794_000_000, "away"
	limited.Limits = &Limits{Scopes: []string{"read", "build:team-a/**"}, Observe: true, Sources: []string{"10.0.0.0/8"}, Rate: 60, Uses: 7}
	limited.Family, limited.Successor = uuid.UUID{1}, uuid.UUID{2}
	f.Add(key, encode(&limited))
	legacy := sample
	legacy.Origin, legacy.Limits = Legacy, &Limits{Uses: 1}
	f.Add(key, encode(&legacy))
	f.Add(key, []byte{0xa0})
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		var r, again Record
		if err := r.decode(key, value); err != nil {
			return
		}
		if key != tokenKey(r.ID) || r.Digest == (Digest{}) || r.Owner == "" ||
			r.State != Active && r.State != Revoked && r.State != Suspended || r.Origin != Issued && r.Origin != FromJenkins && r.Origin != Legacy {
			t.Errorf("decode(%q, %x) = %+v", key, value, r)
		}
		// A second of the same limits is another pointer, and a zero id is left out.
		if err := again.decode(key, encode(&r)); err != nil || !bytes.Equal(encode(&again), encode(&r)) || again.Limits.String() != r.Limits.String() {
			t.Errorf("%+v is read back as %+v, %v", r, again, err)
		}
	})
}
