package signal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"kdistill/internal/checkpoint"
)

// Writer adds sequences to a cache. What it has added survives the death of the process, and that of the machine after the next Sync.
type Writer struct {
	Notes []string // what was repaired at the beginning, for people

	lock   *checkpoint.Lock
	codec  *codec
	dir    string
	have   map[Key][]Mask
	totals Totals
	disk   disk
	limit  int64 // bytes of a file, above which another one begins

	shard    int // number of the file that grows, -1: none yet
	file     file
	size     int64 // of that file
	unsynced int64
	buffer   []byte
	failed   error // after it nothing more is written
}

// file is what a Writer does to a file of rows; disk opens one at its end, after at bytes. Tests let both fail.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

type disk func(path string, at int64) (file, error)

func openAt(path string, at int64) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(at); err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

const syncBytes = 64 << 20 // written at most before a sync

// Row is what is kept of one position.
type Row struct {
	Bytes []byte
	Measures
}

// Create begins a cache in dir, or goes on with the one that is there: its header must be the same. What a dead writer left unfinished is cut off.
func Create(ctx context.Context, dir string, h Header) (*Writer, error) {
	return create(ctx, dir, h, openAt)
}

func create(ctx context.Context, dir string, h Header, d disk) (w *Writer, err error) {
	h.Version = Version
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := examine(dir, h); err != nil { // before anything is written there
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	lock, err := checkpoint.LockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := examine(dir, h); err != nil { // again: another process may have been here since
		return nil, err
	}
	if !Is(dir) {
		if err := h.write(dir); err != nil {
			return nil, err
		}
	}
	w = &Writer{lock: lock, codec: newCodec(h), dir: dir, have: map[Key][]Mask{}, disk: d, limit: shardBytes}
	paths, err := shards(dir)
	if err != nil {
		return nil, err
	}
	w.shard = len(paths) - 1
	for _, path := range paths {
		if err := w.adopt(ctx, path); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// examine refuses a folder that holds another cache or what is none.
func examine(dir string, h Header) error {
	if Is(dir) {
		old, err := ReadHeader(dir)
		if err != nil {
			return err
		}
		if d := old.Difference(h); d != "" {
			return fmt.Errorf("cache %s was begun with other settings (%s): choose another folder", dir, d)
		}
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != checkpoint.LockFile && name != headerFile+".tmp" { // all that there is of a writer that died as it began
			return fmt.Errorf("cache %s is not empty and holds no cache, but %s: choose another folder", dir, name)
		}
	}
	return nil
}

// adopt notes what a file holds, and cuts off what is damaged: those sequences are then written again.
func (w *Writer) adopt(ctx context.Context, path string) error {
	size := int64(preambleBytes)
	length, err := scanFile(ctx, w.codec, path, func(at int64, r record) error {
		w.note(r)
		size = at + r.size()
		return nil
	})
	var t *torn
	if errors.As(err, &t) {
		w.Notes = append(w.Notes, fmt.Sprintf("%s: the last %d bytes are unfinished or damaged (%v) and are written again", path, length-t.at, t.cause))
		f, err := w.disk(path, t.at)
		if err != nil {
			return err
		}
		if t.at == 0 {
			size = 0
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	w.size = size // that of the last file counts
	return nil
}

func (w *Writer) note(r record) {
	w.have[r.key] = append(w.have[r.key], append(Mask(nil), r.mask...))
	w.totals.add(w.codec, r)
}

// Has says whether the cache already has every row of the mask for that sequence.
func (w *Writer) Has(key Key, mask Mask) bool { return covered(w.have[key], mask) }

func covered(have []Mask, mask Mask) bool {
	for _, m := range have {
		if len(m) == len(mask) && m.covers(mask) {
			return true
		}
	}
	return false
}

// Encode turns the logits [V] at a position of a sequence into what is kept of them. It is safe for concurrent use.
func (w *Writer) Encode(logits []float32, key Key, position int) (Row, error) {
	uniform := 0.0
	if w.codec.Kind == Samples { // of its own for each position, so that nothing hangs on order, batches or interruptions
		high, low := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
		uniform = rand.New(rand.NewPCG(high^w.codec.Seed, low+uint64(position))).Float64()
	}
	b, m, err := w.codec.encode(nil, logits, uniform)
	return Row{b, m}, err
}

// Add appends a sequence of so many tokens, with a row for each position of the mask. After an error the cache holds what was added before.
func (w *Writer) Add(key Key, tokens int, mask Mask, rows []Row) error {
	if w.failed != nil {
		return w.failed
	}
	size := int64(fixedBytes + len(mask))
	for _, row := range rows {
		size += int64(len(row.Bytes))
	}
	if size > maxBody {
		return fmt.Errorf("cache %s: a sequence of %d tokens takes %d bytes, a record holds up to %d: shorten data.sequence_length, or keep less of each row (cache.top_k, cache.bits)",
			w.dir, tokens, size, maxBody)
	}
	r := record{key: key, tokens: tokens, rows: len(rows), mask: mask}
	for _, row := range rows {
		r.payload = append(r.payload, row.Bytes...)
		r.divergence += row.Divergence
		r.rounding += row.Rounding
	}
	w.buffer = r.append(w.buffer[:0])
	if err := w.write(w.buffer); err != nil {
		w.failed = fmt.Errorf("write cache %s: %w (what was written before is kept: free some space and go on with the same command)", w.dir, err)
		return w.failed
	}
	w.note(r)
	return nil
}

func (w *Writer) write(b []byte) error {
	if w.file == nil || w.size+int64(len(b)) > w.limit && w.size > int64(preambleBytes) {
		if err := w.next(int64(len(b))); err != nil {
			return err
		}
	}
	if err := w.put(b); err != nil {
		return err
	}
	if w.unsynced > syncBytes {
		return w.Sync()
	}
	return nil
}

// put writes at the end of the file, all of b or nothing.
func (w *Writer) put(b []byte) error {
	if _, err := w.file.Write(b); err != nil {
		return errors.Join(err, w.file.Truncate(w.size))
	}
	w.size += int64(len(b))
	w.unsynced += int64(len(b))
	return nil
}

// next opens the last file where it has room for n bytes, or begins another one.
func (w *Writer) next(n int64) error {
	if err := w.close(); err != nil {
		return err
	}
	if w.shard < 0 || w.size+n > w.limit && w.size > int64(preambleBytes) {
		w.shard++
		w.size = 0
	}
	f, err := w.disk(filepath.Join(w.dir, shardName(w.shard)), w.size)
	if err != nil {
		return err
	}
	w.file = f
	if w.size > 0 {
		return nil
	}
	if err := w.put(w.codec.preamble()); err != nil {
		return err
	}
	return checkpoint.SyncDir(w.dir)
}

// Sync puts everything on the disk.
func (w *Writer) Sync() error {
	if w.file == nil {
		return nil
	}
	w.unsynced = 0
	return w.file.Sync()
}

func (w *Writer) close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.Sync(), w.file.Close())
	w.file = nil
	return err
}

// Close syncs, and gives the folder back. It can be read from the beginning on; it need not be closed for that.
func (w *Writer) Close() error { return errors.Join(w.close(), w.lock.Close()) }

// Totals tells what the cache holds so far.
func (w *Writer) Totals() Totals { return w.totals }
