package tokenizer

import (
	"errors"
	"maps"

	sugarme "github.com/sugarme/tokenizer"
	normalized "github.com/sugarme/tokenizer/normalizer"
)

// Sugarme returns the tokenizer as a pipeline of github.com/sugarme/tokenizer, for code that is written for that
// library. All of its parts are ours, so that ids, offsets (in bytes) and decoded text are those of Encode and Decode;
// only trim_offsets and clean_up_tokenization_spaces are not applied. The batch methods of that library have a data
// race: call EncodeBatch here instead.
func (t *Tokenizer) Sugarme() *sugarme.Tokenizer {
	s := sugarme.NewTokenizer(sugarmeModel{t})
	s.WithPreTokenizer(sugarmePreTokenizer{t})
	s.WithPostProcessor(sugarmePostProcessor{t})
	s.WithDecoder(sugarmeDecoder{t})
	return s
}

var (
	_ sugarme.Model         = sugarmeModel{}
	_ sugarme.PreTokenizer  = sugarmePreTokenizer{}
	_ sugarme.PostProcessor = sugarmePostProcessor{}
	_ sugarme.Decoder       = sugarmeDecoder{}
)

type sugarmeModel struct{ t *Tokenizer }

// Tokenize returns the tokens of one word as the pre-tokenizer gives it; offsets are bytes of the word.
func (m sugarmeModel) Tokenize(word string) ([]sugarme.Token, error) {
	st := m.t.acquire()
	defer m.t.release(st)
	ends := []int{0} // by byte of the word that our model takes
	taken := word
	if m.t.pre.raw {
		var raw []byte
		for i, r := range word {
			if b, ok := runeByte(r); ok {
				raw = append(raw, b)
				ends = append(ends, i+len(string(r)))
			}
		}
		taken = string(raw)
	}
	tokens, err := m.t.model.tokenize(nil, taken, st)
	if err != nil {
		return nil, err
	}
	end := func(n int32) int {
		if m.t.pre.raw {
			return ends[n]
		}
		return int(n)
	}
	out := make([]sugarme.Token, len(tokens))
	from := 0
	for i := 0; i < len(tokens); {
		last := i
		for tokens[last].end == sameSpan {
			last++
		}
		to := end(tokens[last].end)
		for ; i <= last; i++ {
			content, _ := m.t.Token(tokens[i].id)
			out[i] = sugarme.NewToken(int(tokens[i].id), content, []int{from, to})
		}
		from = to
	}
	return out, nil
}

func (m sugarmeModel) TokenToId(token string) (int, bool) {
	id, ok := m.t.ID(token)
	return int(id), ok
}

func (m sugarmeModel) IdToToken(id int) (string, bool) {
	if id < 0 || id >= m.t.VocabSize() {
		return "", false
	}
	return m.t.Token(int32(id))
}

func (m sugarmeModel) GetVocab() map[string]int {
	return maps.Collect(func(yield func(string, int) bool) {
		for id := range int32(m.t.VocabSize()) {
			if token, ok := m.t.Token(id); ok && !yield(token, int(id)) {
				return
			}
		}
	})
}

func (m sugarmeModel) GetVocabSize() int { return m.t.VocabSize() }

// Save is not there: the tokenizer's files are the model's folder.
func (m sugarmeModel) Save(string, ...string) error {
	return errors.New("save: not supported; copy the tokenizer's files instead")
}

type sugarmePreTokenizer struct{ t *Tokenizer }

// PreTokenize normalizes the text and cuts it into words; added tokens come out as tokens.
func (p sugarmePreTokenizer) PreTokenize(in *sugarme.PreTokenizedString) (*sugarme.PreTokenizedString, error) {
	st := p.t.acquire()
	defer p.t.release(st)
	var err error
	out := in.Split(func(_ int, n *normalized.NormalizedString) []sugarme.SplitIdx {
		var splits []sugarme.SplitIdx
		failed := p.t.walk(n.GetNormalized(), st, func(t text, i, j int) error {
			word := t.slice(i, j)
			from := word.origins()
			if p.t.pre.raw {
				word = byteLevel(word)
				from = word.from
			}
			splits = append(splits, sugarme.SplitIdx{Normalized: part(n, word.s, from)})
			return nil
		}, func(id int32, t text, i, j int) {
			at := t.span(i, j)
			content := n.GetNormalized()[at.Start:at.End]
			whole := text{s: content, start: at.Start}
			splits = append(splits, sugarme.SplitIdx{
				Normalized: part(n, content, whole.origins()),
				Tokens:     []sugarme.Token{sugarme.NewToken(int(id), content, []int{0, len(content)})},
			})
		})
		err = errors.Join(err, failed)
		return splits
	})
	return out, err
}

// part returns the word s of n, given where its bytes come from in n.
func part(n *normalized.NormalizedString, s string, from []origin) *normalized.NormalizedString {
	align := n.Alignments() // of n in the original text
	start, end := len(n.GetOriginal()), 0
	spans := make([][]int, len(from))
	for i, o := range from {
		spans[i] = []int{align[o.start][0], align[max(o.start, o.end-1)][1]}
		start, end = min(start, spans[i][0]), max(end, spans[i][1])
	}
	back := make([][]int, end-start)
	for i, span := range spans {
		span[0], span[1] = span[0]-start, span[1]-start
		for k := span[0]; k < span[1]; k++ {
			if back[k] == nil {
				back[k] = []int{i, i}
			}
			back[k][1] = i + 1
		}
	}
	for k := range back {
		if back[k] == nil {
			back[k] = []int{0, 0}
		}
	}
	return normalized.NewNormalizedString(n.GetOriginal()[start:end], s, spans, back, n.Shift()+start)
}

type sugarmePostProcessor struct{ t *Tokenizer }

func (p sugarmePostProcessor) AddedTokens(isPair bool) int {
	n := len(p.t.post.prefix) + len(p.t.post.suffix)
	if isPair {
		n *= 2
	}
	return n
}

// Process puts the special tokens around each text; the second one has type 1.
func (p sugarmePostProcessor) Process(e, pair *sugarme.Encoding, special bool) *sugarme.Encoding {
	if special {
		e = p.surround(e, 0)
		if pair != nil {
			pair = p.surround(pair, 1)
		}
	}
	return sugarme.DefaultProcess(e, pair, special)
}

func (p sugarmePostProcessor) surround(e *sugarme.Encoding, kind int) *sugarme.Encoding {
	before, after := p.specials(p.t.post.prefix, kind), p.specials(p.t.post.suffix, kind)
	return before.MergeWith(e, false).MergeWith(after, false)
}

func (p sugarmePostProcessor) specials(ids []int32, kind int) *sugarme.Encoding {
	e := sugarme.DefaultEncoding()
	for _, id := range ids {
		content, _ := p.t.Token(id)
		e.Ids = append(e.Ids, int(id))
		e.TypeIds = append(e.TypeIds, kind)
		e.Tokens = append(e.Tokens, content)
		e.Offsets = append(e.Offsets, []int{0, 0})
		e.SpecialTokenMask = append(e.SpecialTokenMask, 1)
		e.AttentionMask = append(e.AttentionMask, 1)
		e.Words = append(e.Words, -1)
	}
	return e
}

type sugarmeDecoder struct{ t *Tokenizer }

func (d sugarmeDecoder) Decode(tokens []string) string {
	return d.t.join(append([]string(nil), tokens...))
}

func (d sugarmeDecoder) DecodeChain(tokens []string) []string { return []string{d.Decode(tokens)} }
