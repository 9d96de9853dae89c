package signal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/edsrzf/mmap-go"
	"kdistill/internal/loss"
)

// Reader finds sequences in a cache. Its files are mapped: what a run doesn't touch takes no memory, and the system drops what it touched when memory
// is short. The index takes 40 bytes a sequence. Its methods except Close may be called concurrently.
type Reader struct {
	dir    string
	codec  *codec
	index  []entry // sorted by key
	files  []mmap.MMap
	totals Totals
}

// entry is where the body of a sequence lies.
type entry struct {
	key   Key
	at    int64
	size  int32
	shard int32
}

// Open reads a cache once from beginning to end and checks every sum, then maps it. A damaged or unfinished file is an error.
func Open(ctx context.Context, dir string) (r *Reader, err error) {
	h, err := ReadHeader(dir)
	if err != nil {
		return nil, err
	}
	paths, err := shards(dir)
	if err != nil {
		return nil, err
	}
	r = &Reader{dir: dir, codec: newCodec(h)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := r.check(ctx, paths); err != nil {
		return r, err
	}
	if len(r.index) == 0 {
		return r, fmt.Errorf("%s: the cache is empty: kdistill cache was stopped before it wrote anything", dir)
	}
	slices.SortFunc(r.index, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.key[:], b.key[:]), cmp.Compare(a.shard, b.shard), cmp.Compare(a.at, b.at))
	})
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return r, err
		}
		mapping, err := mmap.Map(file, mmap.RDONLY, 0)
		if err := errors.Join(err, file.Close()); err != nil {
			return r, fmt.Errorf("%s: memory-mapping: %w", path, err)
		}
		r.files = append(r.files, mapping)
	}
	return r, nil
}

// check scans the files, several at a time, and fills index and totals.
func (r *Reader) check(ctx context.Context, paths []string) error {
	type found struct {
		index  []entry
		totals Totals
		err    error
	}
	all := make([]found, len(paths))
	var running sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, path := range paths {
		running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			f := &all[i]
			_, f.err = scanFile(ctx, r.codec, path, func(at int64, x record) error {
				f.index = append(f.index, entry{x.key, at, int32(x.size()), int32(i)})
				f.totals.add(r.codec, x)
				return nil
			})
			var t *torn
			if errors.As(f.err, &t) {
				f.err = fmt.Errorf("%s is damaged or unfinished, %w: run kdistill cache with the same configuration, which writes the missing part again", path, t)
			}
		})
	}
	running.Wait()
	for _, f := range all {
		if f.err != nil {
			return f.err
		}
		r.index = append(r.index, f.index...)
		r.totals.merge(f.totals)
	}
	return nil
}

// scanFile scans a file of rows and returns its length.
func scanFile(ctx context.Context, c *codec, path string, visit func(at int64, r record) error) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	records := 0
	err = c.scan(file, info.Size(), func(at int64, r record) error {
		if records++; records%256 == 1 && ctx.Err() != nil {
			return ctx.Err()
		}
		return visit(at, r)
	})
	var t *torn
	if err != nil && !errors.As(err, &t) && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return info.Size(), err
}

// Header says what the cache holds.
func (r *Reader) Header() Header { return r.codec.Header }

// Totals are sums over the whole cache.
func (r *Reader) Totals() Totals { return r.totals }

// Sequence is what the cache has of one sequence. It points into the mapping.
type Sequence struct {
	Mask Mask
	rows []byte
	c    *codec
}

// Find returns the sequence of that key whose rows cover the mask.
func (r *Reader) Find(key Key, mask Mask) (s Sequence, found bool, err error) {
	for _, e := range r.entries(key) {
		x, err := r.read(e)
		if err != nil {
			return s, false, err
		}
		if covered([]Mask{x.mask}, mask) {
			return Sequence{x.mask, x.payload, r.codec}, true, nil
		}
	}
	return s, false, nil
}

// Has says whether Find would find the sequence, and if not, whether the cache has it with other rows. It reads no rows.
func (r *Reader) Has(key Key, mask Mask) (found, partly bool) {
	for _, e := range r.entries(key) {
		if covered([]Mask{Mask(r.files[e.shard][e.at+fixedBytes:][:len(mask)])}, mask) {
			return true, false
		}
		partly = true
	}
	return false, partly
}

// entries are the places of a key.
func (r *Reader) entries(key Key) []entry {
	from, _ := slices.BinarySearchFunc(r.index, key, func(e entry, key Key) int { return bytes.Compare(e.key[:], key[:]) })
	to := from
	for to < len(r.index) && r.index[to].key == key {
		to++
	}
	return r.index[from:to]
}

// read takes a body in the mapping apart, and checks it once more: disks go bad during long runs.
func (r *Reader) read(e entry) (record, error) {
	body := r.files[e.shard][e.at : e.at+int64(e.size)]
	if have, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(r.files[e.shard][e.at-4:]); have != want {
		return record{}, fmt.Errorf("%s, byte %d: a record with CRC-32C %08x, want %08x: the file has changed since it was opened, or the disk is failing",
			shardName(int(e.shard)), e.at, have, want)
	}
	return r.codec.parse(body)
}

// Rows calls visit with the position and the bytes of every row.
func (s Sequence) Rows(visit func(position int, row []byte)) {
	rest := s.rows
	for i := range 8 * len(s.Mask) {
		if s.Mask.Has(i) {
			n, _ := s.c.size(rest)
			visit(i, rest[:n])
			rest = rest[n:]
		}
	}
}

// Decode reads a row of kind top_k or samples. kept's slices are used again.
func (r *Reader) Decode(row []byte, kept *loss.Kept) { r.codec.decode(row, kept) }

// DecodeAll reads a row of kind all: the logits [V].
func (r *Reader) DecodeAll(row []byte, logits []float32) { r.codec.decodeAll(row, logits) }

// Close ends the mapping: no row may be used afterwards.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, f.Unmap())
	}
	r.files, r.index = nil, nil
	return errors.Join(errs...)
}
