package boltstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
)

// bbolt trusts its file: on a damaged page it panics, loops until the stack ends,
// or reads other entries than were written. So all pages are checked before bbolt
// follows any of them. The format is that of bbolt's internal/common, version 2,
// in the byte order of the machine.

const (
	pageHeaderLen    = 16 // id 8, flags 2, count 2, overflow 4
	branchElementLen = 16 // pos 4, key size 4, page 8
	leafElementLen   = 16 // flags 4, pos 4, key size 4, value size 4
	bucketHeaderLen  = 16 // root page 8, sequence 8
	metaLen          = 64

	branchFlag, leafFlag, freelistFlag = 0x01, 0x02, 0x10

	bucketEntry = 0x01 // of a leaf element

	metaMagic  = 0xED0CDAED
	noFreelist = math.MaxUint64

	// maxDepth bounds the levels of a tree. Each page has at least two entries, but
	// for the root, so 32 levels hold more than any file.
	maxDepth = 32
)

var native = binary.NativeEndian

// A meta is bbolt's head of a database. A file has two, of the last transaction and
// of the one before.
type meta struct {
	root, freelist, pages, txid uint64
}

// decodeMeta decodes the head in a page.
func decodeMeta(page []byte) (meta, error) {
	b := page[pageHeaderLen:][:metaLen]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaLen-8])
	if native.Uint32(b) != metaMagic || native.Uint64(b[metaLen-8:]) != sum.Sum64() {
		return meta{}, errors.New("its checksum is wrong")
	}
	return meta{root: native.Uint64(b[16:]), freelist: native.Uint64(b[32:]), pages: native.Uint64(b[40:]), txid: native.Uint64(b[48:])}, nil
}

// An inspector reads the pages of a bbolt file and checks that they form the trees
// that bbolt expects: each page is used once, is not listed as free, and holds its
// keys in order and in the range that the page above it names.
type inspector struct {
	file     io.ReaderAt
	pageSize int64
	meta     meta
	used     bitmap // reached so far, or free
	leaf     []byte // the buffer of the leaf at hand
}

// bitmap has a bit for each page.
type bitmap []uint64

func (m bitmap) set(i uint64) (was bool) {
	was = m[i/64]&(1<<(i%64)) != 0
	m[i/64] |= 1 << (i % 64)
	return was
}

// inspect reads the heads and the list of free pages.
func inspect(file io.ReaderAt, size, pageSize int64) (*inspector, error) {
	in := &inspector{file: file, pageSize: pageSize}
	var heads [2]meta
	for i := range int64(2) {
		page := make([]byte, pageHeaderLen+metaLen)
		if _, err := file.ReadAt(page, i*pageSize); err != nil {
			return nil, err
		}
		m, err := decodeMeta(page)
		if err == nil && native.Uint64(page) != uint64(i) {
			err = errors.New("it is a copy of the other one")
		}
		if err != nil {
			// bbolt goes on with the other head, and so with an older state.
			return nil, fmt.Errorf("head %d of 2: %w", i+1, err)
		}
		heads[i] = m
	}
	// They are of successive transactions. In a copy by bbolt's Tx.WriteTo the next commit
	// may replace the newer one, so that one is left out.
	slices.SortFunc(heads[:], func(a, b meta) int { return cmp.Compare(a.txid, b.txid) })
	if apart := heads[1].txid - heads[0].txid; apart != 1 && apart != 2 {
		return nil, fmt.Errorf("its heads are of the transactions %d and %d", heads[0].txid, heads[1].txid)
	}
	in.meta = heads[1]
	if in.meta.pages > uint64(size/pageSize) {
		return nil, fmt.Errorf("it has %d bytes of %d", size, int64(in.meta.pages)*pageSize)
	}
	in.used = make(bitmap, in.meta.pages/64+1)
	return in, in.readFreelist()
}

func (in *inspector) readFreelist() error {
	if in.meta.freelist == noFreelist {
		return nil // bbolt computes it from the pages in use
	}
	p, err := in.page(in.meta.freelist, nil)
	if err != nil {
		return err
	}
	if p.flags != freelistFlag {
		return fmt.Errorf("page %d is not the list of free pages", p.id)
	}
	ids, count := p.data[pageHeaderLen:], uint64(p.count)
	if count == 0xFFFF && len(ids) >= 8 {
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d lists %d free pages, more than fit", p.id, count)
	}
	for i := range count {
		if err := in.use(native.Uint64(ids[8*i:]), 1); err != nil {
			return fmt.Errorf("the list of free pages: %w", err)
		}
	}
	return nil
}

// use notes that pages are reached.
func (in *inspector) use(id, count uint64) error {
	if id < 2 || id >= in.meta.pages || count > in.meta.pages-id {
		return fmt.Errorf("page %d and %d more are outside of the file", id, count-1)
	}
	for i := range count {
		if in.used.set(id + i) {
			return fmt.Errorf("page %d is used twice", id+i)
		}
	}
	return nil
}

// A page is one with its overflow, or one that is kept in a value.
type page struct {
	id    uint64
	flags uint16
	count uint16
	data  []byte // with the header
}

func newPage(id uint64, data []byte) page {
	return page{id: id, flags: native.Uint16(data[8:]), count: native.Uint16(data[10:]), data: data}
}

// page reads a page into buf, if that suffices, and notes that it is in use.
func (in *inspector) page(id uint64, buf []byte) (page, error) {
	if id < 2 || id >= in.meta.pages {
		return page{}, in.use(id, 1)
	}
	if int64(cap(buf)) < in.pageSize {
		buf = make([]byte, in.pageSize)
	}
	buf = buf[:in.pageSize]
	at := int64(id) * in.pageSize
	if _, err := in.file.ReadAt(buf, at); err != nil {
		return page{}, err
	}
	overflow := uint64(native.Uint32(buf[12:]))
	if got := native.Uint64(buf); got != id {
		return page{}, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	if err := in.use(id, 1+overflow); err != nil {
		return page{}, err
	}
	if overflow > 0 {
		whole := make([]byte, int64(1+overflow)*in.pageSize)
		if _, err := in.file.ReadAt(whole, at); err != nil {
			return page{}, err
		}
		buf = whole
	}
	return newPage(id, buf), nil
}

// A bound is a range of keys: from is the first one, and to the first one behind it;
// nil is none.
type bound struct{ from, to []byte }

// check returns an error unless key is in the range and comes after last, which is
// nil for the first key.
func (b bound) check(id uint64, last, key []byte) error {
	if last != nil && bytes.Compare(last, key) >= 0 {
		return fmt.Errorf("page %d: key %q stands after %q", id, key, last)
	}
	if b.from != nil && bytes.Compare(key, b.from) < 0 || b.to != nil && bytes.Compare(key, b.to) >= 0 {
		return fmt.Errorf("page %d: key %q belongs to another page", id, key)
	}
	return nil
}

// A visit is called with each leaf element. Key and value are only valid during the
// call.
type visit func(flags uint32, key, value []byte) error

// walk visits all elements below the page id.
func (in *inspector) walk(id uint64, within bound, depth int, f visit) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is on level %d", id, depth)
	}
	p, err := in.page(id, in.leaf)
	if err != nil {
		return err
	}
	switch p.flags {
	case leafFlag:
		in.leaf = p.data
		return walkLeaf(p, within, f)
	case branchFlag:
		in.leaf = nil // p has it while its children are visited
		return in.walkBranch(p, within, depth, f)
	default:
		return fmt.Errorf("page %d is of the unknown kind %#x", id, p.flags)
	}
}

// elements returns the elements of a page, or an error if they don't fit into it.
func (p page) elements(size int) ([]byte, error) {
	n := pageHeaderLen + int(p.count)*size
	if n > len(p.data) {
		return nil, fmt.Errorf("page %d has %d elements, more than fit", p.id, p.count)
	}
	return p.data[pageHeaderLen:n], nil
}

// slice returns the key and value of the element at an offset of the page.
func (p page) slice(element int, pos, ksize, vsize uint32) (key, value []byte, err error) {
	from := uint64(element) + uint64(pos)
	behind := uint64(pageHeaderLen) + uint64(p.count)*uint64(leafElementLen) // elements have one size
	if from < behind || from+uint64(ksize)+uint64(vsize) > uint64(len(p.data)) {
		return nil, nil, fmt.Errorf("page %d: an element reaches out of it", p.id)
	}
	data := p.data[from:]
	return data[:ksize:ksize], data[ksize:][:vsize:vsize], nil
}

func walkLeaf(p page, within bound, f visit) error {
	elements, err := p.elements(leafElementLen)
	if err != nil {
		return err
	}
	var last []byte
	for at := 0; at < len(elements); at += leafElementLen {
		e := elements[at:]
		key, value, err := p.slice(pageHeaderLen+at, native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:]))
		if err != nil {
			return err
		}
		if err := within.check(p.id, last, key); err != nil {
			return err
		}
		if err := f(native.Uint32(e), key, value); err != nil {
			return err
		}
		last = key
	}
	return nil
}

func (in *inspector) walkBranch(p page, within bound, depth int, f visit) error {
	elements, err := p.elements(branchElementLen)
	if err != nil {
		return err
	}
	if len(elements) == 0 {
		return fmt.Errorf("page %d leads nowhere", p.id)
	}
	keys := make([][]byte, p.count)
	var last []byte
	for i := range keys {
		e := elements[i*branchElementLen:]
		if keys[i], _, err = p.slice(pageHeaderLen+i*branchElementLen, native.Uint32(e), native.Uint32(e[4:]), 0); err != nil {
			return err
		}
		if err := within.check(p.id, last, keys[i]); err != nil {
			return err
		}
		last = keys[i]
	}
	for i, key := range keys {
		child := bound{from: key, to: within.to}
		if i+1 < len(keys) {
			child.to = keys[i+1]
		}
		if err := in.walk(native.Uint64(elements[i*branchElementLen+8:]), child, depth+1, f); err != nil {
			return err
		}
	}
	return nil
}

// A bucket is a named tree of a file: its root page, or one that its entry holds.
type bucket struct {
	root   uint64
	inline []byte
}

// buckets returns the buckets of the file by their names.
func (in *inspector) buckets() (map[string]bucket, error) {
	found := make(map[string]bucket)
	err := in.walk(in.meta.root, bound{}, 1, func(flags uint32, name, value []byte) error {
		if flags != bucketEntry || len(value) < bucketHeaderLen {
			return fmt.Errorf("%q is not a bucket", name)
		}
		b := bucket{root: native.Uint64(value)}
		if b.root == 0 {
			if len(value) < bucketHeaderLen+pageHeaderLen {
				return fmt.Errorf("bucket %q has no page", name)
			}
			b.inline = bytes.Clone(value[bucketHeaderLen:])
		}
		found[string(name)] = b
		return nil
	})
	return found, err
}

// entries visits all entries of a bucket.
func (in *inspector) entries(b bucket, f func(key, value []byte) error) error {
	visit := func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return fmt.Errorf("key %q has the flags %#x", key, flags)
		}
		return f(key, value)
	}
	if b.inline == nil {
		return in.walk(b.root, bound{}, 1, visit)
	}
	p := newPage(0, b.inline)
	if p.flags != leafFlag {
		return fmt.Errorf("a page in a bucket is of the unknown kind %#x", p.flags)
	}
	return walkLeaf(p, bound{}, visit)
}
