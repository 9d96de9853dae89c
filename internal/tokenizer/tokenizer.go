// Package tokenizer turns text into token ids and back, exactly as Hugging Face's tokenizers library does with the
// same tokenizer.json, or transformers with a folder that has other files instead.
//
// It does not train tokenizers, encodes one text at a time (no pairs), and refuses a file with a component that it
// does not know.
package tokenizer

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Tokenizer is safe for concurrent use.
type Tokenizer struct {
	model       model
	normalizers []normalizer
	pre         *preTokenizer
	post        *postProcessor
	decoders    []decoder // nil: pieces are joined by spaces
	added       addedTokens
	textUnk     int32 // the unknown token where trimming goes by the text that it stands for, or -1
	settings    settings
	chat        chatFiles
	sections    map[string]string // of tokenizer.json

	mu     sync.Mutex
	states []*state // idle ones
}

// Span is a range of bytes of the input, [Start, End).
type Span struct{ Start, End int }

// Encoding is an encoded text. Spans[i] is what IDs[i] stands for, always whole characters: tokens that share a
// character have the same span. A token that the post-processor put there has an empty one.
type Encoding struct {
	IDs   []int32
	Spans []Span
}

// Encode returns the tokens of text. special: with what the post-processor puts around it, usually the start and end
// tokens. Ill-formed UTF-8 is read as U+FFFD. An error means that the vocabulary has no token for a part of the text,
// that a regular expression timed out, or that the text is longer than 2 GiB.
func (t *Tokenizer) Encode(text string, special bool) (Encoding, error) {
	st := t.acquire()
	defer t.release(st)
	var out [1]Encoding
	_, err := t.encodeAll(out[:], []string{text}, special, st)
	return out[0], err
}

// batchChunk is how many texts of a batch one goroutine takes at a time, fewer where there are few.
const batchChunk = 16

// EncodeBatch encodes many texts on all cores, in order. Of several errors it returns that of the first text.
// Neighbouring encodings share memory: one that is kept for long, without the others, is better cloned.
func (t *Tokenizer) EncodeBatch(texts []string, special bool) ([]Encoding, error) {
	workers := min(runtime.GOMAXPROCS(0), len(texts))
	out := make([]Encoding, len(texts))
	if workers == 0 {
		return out, nil
	}
	size := min(batchChunk, (len(texts)-1)/(8*workers)+1)
	errs := make([]error, (len(texts)-1)/size+1)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			st := t.acquire()
			defer t.release(st)
			for chunk := int(next.Add(1) - 1); chunk < len(errs); chunk = int(next.Add(1) - 1) {
				from, to := chunk*size, min(chunk*size+size, len(texts))
				if i, err := t.encodeAll(out[from:to], texts[from:to], special, st); err != nil {
					errs[chunk] = fmt.Errorf("text %d: %w", from+i, err)
					next.Store(int64(len(errs))) // the chunks before this one are done or being done
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// encodeAll encodes texts to out, all in one allocation of ids and one of spans. After an error, failed is its text.
func (t *Tokenizer) encodeAll(out []Encoding, texts []string, special bool, st *state) (failed int, err error) {
	e := &st.result
	e.IDs, e.Spans = e.IDs[:0], e.Spans[:0]
	for i, s := range texts {
		if err := t.encode(e, s, special, st); err != nil {
			return i, err
		}
		st.ends = append(st.ends[:i], len(e.IDs))
	}
	ids, spans := make([]int32, len(e.IDs)), make([]Span, len(e.Spans))
	copy(ids, e.IDs)
	copy(spans, e.Spans)
	from := 0
	for i, to := range st.ends {
		out[i] = Encoding{ids[from:to:to], spans[from:to:to]}
		from = to
	}
	return 0, nil
}

func (t *Tokenizer) acquire() *state {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.states); n > 0 {
		st := t.states[n-1]
		t.states = t.states[:n-1]
		return st
	}
	return new(state)
}

func (t *Tokenizer) release(st *state) {
	st.shrink()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.states) < 2*runtime.GOMAXPROCS(0) {
		t.states = append(t.states, st)
	}
}

// encode appends the tokens of input to e.
func (t *Tokenizer) encode(e *Encoding, input string, special bool, st *state) error {
	if len(input) > math.MaxInt32 {
		return fmt.Errorf("text: have %d bytes, want at most %d; encode it in parts", len(input), math.MaxInt32)
	}
	if special {
		e.addSpecial(t.post.prefix, 0)
	}
	start := len(e.IDs)
	st.matched = st.matched[:0]
	err := t.walk(input, st, func(p text, i, j int) error {
		return t.encodeWord(e, p, i, j, st)
	}, func(id int32, p text, i, j int) {
		st.matched = append(st.matched, matched{len(e.IDs), p.s[i:j]})
		e.add(id, p.span(i, j))
	})
	if err != nil {
		return err
	}
	if len(t.post.trims) > 0 {
		t.post.trimSpans(e, start, input, st.matched, t.decoded)
	}
	if special {
		e.addSpecial(t.post.suffix, len(input))
	}
	return nil
}

func (e *Encoding) add(id int32, span Span) {
	e.IDs = append(e.IDs, id)
	e.Spans = append(e.Spans, span)
}

func (e *Encoding) addSpecial(ids []int32, at int) {
	for _, id := range ids {
		e.add(id, Span{at, at})
	}
}

// walk calls word with each word of the input and added with each added token in it, bytes i to j of a piece.
func (t *Tokenizer) walk(input string, st *state, word func(p text, i, j int) error, added func(id int32, p text, i, j int)) error {
	var err error
	st.origins.free()
	whole := sanitize(input)
	whole.mem = &st.origins
	t.added.raw.split(whole.s, func(i, j int) {
		if err != nil {
			return
		}
		var run text
		if run, err = applyAll(t.normalizers, whole.slice(i, j)); err != nil {
			return
		}
		t.added.normalized.split(run.s, func(i, j int) {
			if err == nil {
				err = t.cut(run.slice(i, j), st, word)
			}
		}, func(token *AddedToken, i, j int) {
			added(token.ID, run, i, j)
		})
	}, func(token *AddedToken, i, j int) {
		added(token.ID, whole, i, j)
	})
	return err
}

// cut calls word with each word of a normalized run.
func (t *Tokenizer) cut(run text, st *state, word func(p text, i, j int) error) error {
	pieces := append(st.pieces[0][:0], run)
	spare := st.pieces[1][:0]
	var err error
	for _, stage := range t.pre.stages {
		spare = spare[:0]
		for _, p := range pieces {
			if spare, err = stage(p, spare); err != nil {
				return err
			}
		}
		pieces, spare = spare, pieces
	}
	st.pieces[0], st.pieces[1] = pieces, spare
	for _, p := range pieces {
		for i := 0; i < len(p.s); {
			j := len(p.s)
			if t.pre.next != nil {
				j = t.pre.next(p.s, i)
			}
			if err := word(p, i, j); err != nil {
				return err
			}
			i = j
		}
	}
	return nil
}

// encodeWord encodes bytes i to j of p.
func (t *Tokenizer) encodeWord(e *Encoding, p text, i, j int, st *state) error {
	tokens, err := t.model.tokenize(st.tokens[:0], p.s[i:j], st)
	if err != nil {
		return err
	}
	st.tokens = tokens
	from := i
	for k := 0; k < len(tokens); k++ {
		last := k
		for tokens[last].end == sameSpan {
			last++
		}
		end := i + int(tokens[last].end)
		span := p.span(from, end)
		for ; k <= last; k++ {
			if tokens[k].id == t.textUnk {
				st.matched = append(st.matched, matched{len(e.IDs), p.s[from:end]})
			}
			e.add(tokens[k].id, span)
		}
		k--
		from = end
	}
	return nil
}

// decoded returns the token of an id as Decode writes it; false for an id that is not in use.
func (t *Tokenizer) decoded(id int32) (string, bool) {
	if a := t.added.byID[id]; a != nil {
		return a.decoded, true
	}
	return t.model.vocab().token(id)
}

// Token returns the token of an id as the file writes it; false for an id that is not in use.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if a := t.added.byID[id]; a != nil {
		return a.Content, true
	}
	return t.model.vocab().token(id)
}

// ID returns the id of a token as the file writes it.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if a := t.added.byContent[token]; a != nil {
		return a.ID, true
	}
	return t.model.vocab().id(token)
}

// Decode returns the text of ids; ids that are not in use are left out. skipSpecial leaves special tokens out.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	pieces := make([]string, 0, len(ids))
	for _, id := range ids {
		if s, ok := t.decoded(id); ok && !(skipSpecial && t.added.special[s]) {
			pieces = append(pieces, s)
		}
	}
	s := t.join(pieces)
	if t.settings.cleanUp {
		s = cleanUpSpaces(s)
	}
	return s
}

// join runs the decoders.
func (t *Tokenizer) join(pieces []string) string {
	if t.decoders == nil {
		return strings.Join(pieces, " ")
	}
	for _, decode := range t.decoders {
		pieces = decode(pieces)
	}
	return strings.Join(pieces, "")
}

// Prefix returns the ids that the post-processor puts before a text.
func (t *Tokenizer) Prefix() []int32 { return t.post.prefix }

// Suffix returns the ids that the post-processor puts after a text.
func (t *Tokenizer) Suffix() []int32 { return t.post.suffix }

// BOS returns the id of the start token, -1 where there is none.
func (t *Tokenizer) BOS() int32 { return t.settings.bos }

// EOS returns the id of the end token, -1 where there is none.
func (t *Tokenizer) EOS() int32 { return t.settings.eos }

// PAD returns the id of the padding token, -1 where there is none.
func (t *Tokenizer) PAD() int32 { return t.settings.pad }

// UNK returns the id of the unknown token, -1 where there is none.
func (t *Tokenizer) UNK() int32 { return t.settings.unk }

// MASK returns the id of the mask token, -1 where there is none.
func (t *Tokenizer) MASK() int32 { return t.settings.mask }

// Special says whether an id stands for no text: a start, end, padding, mask or unknown token, or one that the files call special.
func (t *Tokenizer) Special(id int32) bool {
	a := t.added.byID[id]
	return a != nil && a.Special
}

// VocabSize returns the largest id + 1.
func (t *Tokenizer) VocabSize() int {
	return max(len(t.model.vocab().tokens), int(t.added.end))
}

// Warnings tells what the files name that cannot be used, such as a special token that the vocabulary lacks.
func (t *Tokenizer) Warnings() []string { return t.settings.warnings }
