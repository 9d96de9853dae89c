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
	ids     []int32   // of all documents
	labels  []int32   // labels[i] belongs to ids[i], as in transformers; nil: each token is its own label
	bytes   []int32   // source bytes that ids[i] covers; nil: not kept
	weights []float32 // of ids[i] in the mean of a loss; nil: all 1
	types   []int32   // token types of ids that are taken as they are; nil: all 0
	begins  []bool    // ids[i] begins a word; nil: not kept
	start   []int     // document i is [start[i], start[i+1])
	files   []origin
	single  frame // what the tokenizer puts around a text
	pair    frame // and around two
	vocab   int   // ids are below it

	task    Task
	mask    int32          // stands for hidden tokens
	random  int32          // or a random token below it
	special map[int32]bool // tokens that are never hidden
	typed   bool           // batches have token types
	given   []bool         // Masked: the labels of document i were given, and nothing is hidden; nil: of none
	second  []int32        // Classification: where in document i its second text begins
	classes []int32        // Classification
	targets []float32      // of a regression; nil: there are classes

	rationales  []bool // document i is a rationale of style multitask; nil: there are none
	notes       []string
	told        []*Told // by document; nil: nobody asked
	fingerprint string
}

// origin is the run of documents that came from one file.
type origin struct {
	path  string
	first int  // its first document
	raw   bool // token ids that are taken as they are: no start token is put in front

	rationaleWeight float64 // of style multitask; 0: it is of none
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

// Labels returns what document i may have predicted: its class, or the labels of its tokens.
func (d *Dataset) Labels(i int) []int32 {
	if d.task == Classification {
		return d.classes[i : i+1 : i+1]
	}
	_, labels := d.Document(i)
	return labels
}

// Name says where document i comes from, for messages: "FILE, document N", N from 1 within the file.
func (d *Dataset) Name(i int) string {
	o := d.origin(i)
	return fmt.Sprintf("%s, document %d", o.path, i-o.first+1)
}

// Notes says for people what was left out, and what was chosen where nobody said.
func (d *Dataset) Notes() []string { return d.notes }

// Fingerprint identifies the documents: it changes with any token or label.
func (d *Dataset) Fingerprint() string { return d.fingerprint }

func (d *Dataset) label() []int32 {
	if d.labels == nil {
		return d.ids
	}
	return d.labels
}

// count is the number of tokens from i to j-1 that have a label and for which f holds.
func (d *Dataset) count(i, j int, f func(i int) bool) (n int) {
	labels := d.label()
	for ; i < j; i++ {
		if labels[i] != Ignore && f(i) {
			n++
		}
	}
	return n
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
	if doc.weights != nil || d.weights != nil {
		before := d.start[len(d.start)-1]
		d.weights = append(append(d.weights, slices.Repeat([]float32{1}, before-len(d.weights))...), doc.weights...)
		d.weights = append(d.weights, slices.Repeat([]float32{1}, len(d.ids)-len(d.weights))...)
	}
	if doc.types != nil || d.types != nil {
		before := d.start[len(d.start)-1]
		d.typed = true
		d.types = append(append(d.types, make([]int32, before-len(d.types))...), doc.types...)
		d.types = append(d.types, make([]int32, len(d.ids)-len(d.types))...)
	}
	if d.begins != nil {
		d.begins = append(d.begins, doc.begins...)
	}
	if doc.rationale || d.rationales != nil {
		d.rationales = append(append(d.rationales, make([]bool, d.Len()-len(d.rationales))...), doc.rationale)
	}
	if doc.given || d.given != nil {
		d.given = append(append(d.given, make([]bool, d.Len()-len(d.given))...), doc.given) // nil before the first one
	}
	if d.task == Classification {
		d.classes, d.second = append(d.classes, doc.class), append(d.second, doc.second)
		d.typed = d.typed || int(doc.second) < len(doc.ids) && doc.second > 0 && d.pair.types != [5]int32{}
		if d.targets != nil {
			d.targets = append(d.targets, doc.target)
		}
	}
	d.start = append(d.start, len(d.ids))
}

// sum computes the fingerprint.
func (d *Dataset) sum() string {
	h := sha256.New()
	fmt.Fprintln(h, d.Len(), d.task, d.single, d.pair, d.mask, d.random, d.special, d.labels != nil, d.types != nil, d.begins != nil, d.given, d.second, d.classes, d.targets)
	for _, o := range d.files {
		fmt.Fprintln(h, o.first, o.raw)
	}
	for i := range d.Len() {
		fmt.Fprintln(h, d.start[i+1])
	}
	hashInts(h, d.ids)
	hashInts(h, d.labels)
	hashInts(h, d.types)
	for _, b := range d.begins {
		fmt.Fprintln(h, b)
	}
	for _, w := range d.weights {
		fmt.Fprintln(h, w)
	}
	if d.rationales != nil {
		fmt.Fprintln(h, d.rationales)
	}
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
