package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"sort"
)

// Dataset holds the tokens of all documents, in the order of their files, without the tokenizer's start tokens
// (except where a tokens file or the text itself brings them). It is not changed after Load.
type Dataset struct {
	ids    []int32 // of all documents
	labels []int32 // labels[i] belongs to ids[i], as in transformers; nil: each token is its own label
	bytes  []int32 // source bytes that ids[i] covers; nil: not kept
	start  []int   // document i is [start[i], start[i+1])
	files  []origin
	prefix []int32 // the tokenizer's start tokens
	vocab  int     // ids are below it

	fingerprint string
}

// origin is the run of documents that came from one file.
type origin struct {
	path  string
	first int  // its first document
	raw   bool // token ids that are taken as they are: no start token is put in front
}

// Len returns the number of documents.
func (d *Dataset) Len() int { return len(d.start) - 1 }

// Tokens returns the number of tokens of all documents, start tokens not counted.
func (d *Dataset) Tokens() int { return len(d.ids) }

// Document returns the tokens of document i and their labels (labels[j] belongs to ids[j], as in transformers). Both are read-only and may be one slice.
func (d *Dataset) Document(i int) (ids, labels []int32) {
	lo, hi := d.start[i], d.start[i+1]
	return d.ids[lo:hi:hi], d.label()[lo:hi:hi]
}

// Name says where document i comes from, for messages: "FILE, document N", N from 1 within the file.
func (d *Dataset) Name(i int) string {
	o := d.origin(i)
	return fmt.Sprintf("%s, document %d", o.path, i-o.first+1)
}

// Fingerprint identifies the documents: it changes with any token or label.
func (d *Dataset) Fingerprint() string { return d.fingerprint }

func (d *Dataset) label() []int32 {
	if d.labels == nil {
		return d.ids
	}
	return d.labels
}

func (d *Dataset) origin(document int) origin {
	return d.files[sort.Search(len(d.files), func(i int) bool { return d.files[i].first > document })-1]
}

// add appends a document. Labels are kept only from when the first document differs from its ids.
func (d *Dataset) add(doc document) {
	if doc.labels != nil && d.labels == nil {
		d.labels = append([]int32{}, d.ids...) // not nil, even when this is the first document
	}
	d.ids = append(d.ids, doc.ids...)
	if d.labels != nil {
		if doc.labels == nil {
			doc.labels = doc.ids
		}
		d.labels = append(d.labels, doc.labels...)
	}
	if d.bytes != nil {
		d.bytes = append(d.bytes, doc.bytes...)
	}
	d.start = append(d.start, len(d.ids))
}

// sum computes the fingerprint.
func (d *Dataset) sum() string {
	h := sha256.New()
	fmt.Fprintln(h, d.Len(), d.prefix, d.labels != nil)
	for _, o := range d.files {
		fmt.Fprintln(h, o.first, o.raw)
	}
	for i := range d.Len() {
		fmt.Fprintln(h, d.start[i+1])
	}
	hashInts(h, d.ids)
	hashInts(h, d.labels)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func hashInts(h hash.Hash, values []int32) {
	buffer := make([]byte, 0, 1<<16)
	for chunk := range slices.Chunk(values, cap(buffer)/4) {
		buffer = buffer[:0]
		for _, v := range chunk {
			buffer = binary.LittleEndian.AppendUint32(buffer, uint32(v))
		}
		h.Write(buffer)
	}
}
