package signal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// A file of rows is a preamble, then records, one for each sequence (numbers little-endian):
//
//	preamble  "kdistill rows 1\n", the header's identity (16 bytes)
//	record    bytes of its body (4), CRC-32C of the body (4), body
//	body      key (16), tokens (4), rows (4), Σ divergence (8), Σ rounding (8), mask (a bit for each token, in whole bytes), rows
const (
	magic         = "kdistill rows 1\n"
	preambleBytes = len(magic) + 16
	frameBytes    = 8
	fixedBytes    = 40 // of a body
	maxBody       = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a body taken apart; its slices point into the body.
type record struct {
	key                  Key
	tokens, rows         int
	divergence, rounding float64
	mask                 Mask
	payload              []byte
}

// size is that of the body.
func (r *record) size() int64 { return int64(fixedBytes + len(r.mask) + len(r.payload)) }

func (h Header) preamble() []byte {
	id := h.id()
	return append([]byte(magic), id[:]...)
}

// append adds the record with its frame.
func (r *record) append(dst []byte) []byte {
	begin := len(dst)
	dst = append(dst, make([]byte, frameBytes)...)
	dst = append(dst, r.key[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.tokens))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.rows))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(r.divergence))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(r.rounding))
	dst = append(append(dst, r.mask...), r.payload...)
	seal(dst[begin:])
	return dst
}

// seal fills in the frame of a body.
func seal(record []byte) {
	body := record[frameBytes:]
	binary.LittleEndian.PutUint32(record, uint32(len(body)))
	binary.LittleEndian.PutUint32(record[4:], crc32.Checksum(body, castagnoli))
}

// parse takes a body apart and checks that its rows fill it.
func (c *codec) parse(body []byte) (record, error) {
	var r record
	if len(body) < fixedBytes {
		return r, fmt.Errorf("a record of %d bytes, want at least %d", len(body), fixedBytes)
	}
	r.key = Key(body)
	tokens, rows := binary.LittleEndian.Uint32(body[16:]), binary.LittleEndian.Uint32(body[20:])
	r.divergence = math.Float64frombits(binary.LittleEndian.Uint64(body[24:]))
	r.rounding = math.Float64frombits(binary.LittleEndian.Uint64(body[32:]))
	rest := body[fixedBytes:]
	if tokens > maxBody || rows > tokens || len(rest) < (int(tokens)+7)/8 {
		return r, fmt.Errorf("a record of %d bytes has %d tokens and %d rows", len(body), tokens, rows)
	}
	r.tokens, r.rows = int(tokens), int(rows)
	r.mask, r.payload = rest[:(r.tokens+7)/8], rest[(r.tokens+7)/8:]
	if n := r.mask.Rows(); n != r.rows {
		return r, fmt.Errorf("a record with %d rows marks %d", r.rows, n)
	}
	if spare := r.tokens % 8; spare > 0 && r.mask[len(r.mask)-1]>>spare != 0 {
		return r, errors.New("a record marks rows beyond its tokens")
	}
	rest = r.payload
	for range r.rows {
		n, ok := c.size(rest)
		if !ok {
			return r, errors.New("the rows of a record are longer than it")
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return r, fmt.Errorf("a record has %d bytes more than its rows", len(rest))
	}
	return r, nil
}

// torn is how a file ends of which the last part was not written, or was altered.
type torn struct {
	at    int64 // where the last good record ends
	cause error
}

func (t *torn) Error() string { return fmt.Sprintf("from byte %d on: %v", t.at, t.cause) }

// scan reads a file of rows of so many bytes and calls visit with each record and where its body begins. What does not check is a *torn.
func (c *codec) scan(file io.Reader, size int64, visit func(at int64, r record) error) error {
	in := bufio.NewReaderSize(file, int(min(size, 1<<20)))
	head := make([]byte, preambleBytes)
	if _, err := io.ReadFull(in, head); err != nil {
		return &torn{0, fmt.Errorf("have %d bytes, want a beginning of %d: %w", size, preambleBytes, unexpected(err))}
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return errors.New("not a file of rows of this version of kdistill")
	}
	if !bytes.Equal(head, c.preamble()) {
		return errors.New("its rows belong to another cache: they were made with other settings, or by another teacher")
	}
	var body []byte
	for at := int64(preambleBytes); at < size; {
		var frame [frameBytes]byte
		if _, err := io.ReadFull(in, frame[:]); err != nil {
			return &torn{at, unexpected(err)}
		}
		n, want := binary.LittleEndian.Uint32(frame[:]), binary.LittleEndian.Uint32(frame[4:])
		if n > maxBody || int64(n) > size-at-frameBytes {
			return &torn{at, fmt.Errorf("a record of %d bytes, where the file has %d", n, size-at-frameBytes)}
		}
		if cap(body) < int(n) {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(in, body); err != nil {
			return &torn{at, unexpected(err)}
		}
		if have := crc32.Checksum(body, castagnoli); have != want {
			return &torn{at, fmt.Errorf("a record with CRC-32C %08x, want %08x", have, want)}
		}
		r, err := c.parse(body)
		if err != nil {
			return &torn{at, err}
		}
		if err := visit(at+frameBytes, r); err != nil {
			return err
		}
		at += frameBytes + int64(n)
	}
	return nil
}

// unexpected words the end of a file.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle")
	}
	return err
}
