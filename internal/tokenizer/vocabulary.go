package tokenizer

import (
	"fmt"
	"hash/maphash"
	"math/bits"
)

// vocabulary maps tokens to ids and back. Its keys are the tokens as the file writes them, or, with raw set, the bytes
// that a byte-level token stands for; one that stands for no bytes has an ill-formed byte before it, which no text can
// hold.
type vocabulary struct {
	tokens []string // by id
	known  []bool   // ids that are in use
	raw    bool
	buffer [2][]byte // for building

	// A hash table with linear probing, at most half full: much smaller than a map, so that the half million look-ups
	// of loading the merges stay in the cache.
	slots []vocabularySlot
	keys  []string
	ids   []int32 // of keys
}

type vocabularySlot struct {
	hash uint32
	key  int32 // index in keys + 1; 0: free
}

// entry is a token of the file.
type entry struct {
	token string
	id    int32
}

func newVocabulary(entries []entry, raw bool) (*vocabulary, error) {
	size := int32(0)
	for _, e := range entries {
		size = max(size, e.id+1)
	}
	if int(size) > 4*len(entries)+1<<16 {
		return nil, fmt.Errorf("vocabulary: have token id %d among %d tokens, want ids without such gaps", size-1, len(entries))
	}
	v := &vocabulary{
		tokens: make([]string, size), known: make([]bool, size), raw: raw,
		slots: make([]vocabularySlot, 1<<bits.Len(uint(2*len(entries)))),
		keys:  make([]string, 0, len(entries)), ids: make([]int32, 0, len(entries)),
	}
	var all []byte // keys of a raw vocabulary, one after the other
	for _, e := range entries {
		key := e.token
		if raw {
			start := len(all)
			if all = v.key(all, e.token); string(all[start:]) != key {
				key = string(all[start:])
			}
			all = all[:start]
		}
		v.put(key, e.id)
		v.tokens[e.id], v.known[e.id] = e.token, true
	}
	return v, nil
}

var vocabularySeed = maphash.MakeSeed()

// put adds a key; of two equal ones the later counts.
func (v *vocabulary) put(key string, id int32) {
	hash := uint32(maphash.String(vocabularySeed, key))
	i := int(hash) & (len(v.slots) - 1)
	for ; v.slots[i].key != 0; i = (i + 1) & (len(v.slots) - 1) {
		if k := v.slots[i].key - 1; v.slots[i].hash == hash && v.keys[k] == key {
			v.ids[k] = id
			return
		}
	}
	v.keys, v.ids = append(v.keys, key), append(v.ids, id)
	v.slots[i] = vocabularySlot{hash, int32(len(v.keys))}
}

// lookup returns the id of a word of the text.
func (v *vocabulary) lookup(word string) (int32, bool) {
	return find(v, uint32(maphash.String(vocabularySeed, word)), word)
}

// lookupBytes is lookup for bytes.
func (v *vocabulary) lookupBytes(word []byte) (int32, bool) {
	return find(v, uint32(maphash.Bytes(vocabularySeed, word)), word)
}

func find[T string | []byte](v *vocabulary, hash uint32, key T) (int32, bool) {
	for i := int(hash) & (len(v.slots) - 1); v.slots[i].key != 0; i = (i + 1) & (len(v.slots) - 1) {
		if k := v.slots[i].key - 1; v.slots[i].hash == hash && v.keys[k] == string(key) {
			return v.ids[k], true
		}
	}
	return 0, false
}

// key appends to dst what ids has token under.
func (v *vocabulary) key(dst []byte, token string) []byte {
	if !v.raw {
		return append(dst, token...)
	}
	start := len(dst)
	for _, r := range token {
		b, ok := runeByte(r)
		if !ok {
			return append(append(dst[:start], 0xFF), token...)
		}
		dst = append(dst, b)
	}
	return dst
}

// id returns the id of a token as the file writes it.
func (v *vocabulary) id(token string) (int32, bool) {
	if !v.raw {
		return v.lookup(token)
	}
	return v.lookupBytes(v.key(nil, token))
}

// token returns the token of an id; false for an id that is not in use.
func (v *vocabulary) token(id int32) (string, bool) {
	if id < 0 || int(id) >= len(v.tokens) || !v.known[id] {
		return "", false
	}
	return v.tokens[id], true
}

// byteIDs returns the ids of 256 tokens, -1 where there is none.
func (v *vocabulary) byteIDs(token func(b byte) string) *[256]int32 {
	ids := new([256]int32)
	for b := range ids {
		ids[b] = -1
		if id, ok := v.id(token(byte(b))); ok {
			ids[b] = id
		}
	}
	return ids
}

func (v *vocabulary) vocab() *vocabulary { return v }

// GPT-2's byte level: each byte is written as a printable character, itself where it is one.
var (
	byteRunes  [256]rune
	runeBytes  [0x144]int16 // -1: no byte
	byteTokens [256]string  // SentencePiece's byte tokens, <0x00> … <0xFF>
)

func init() {
	for r := range runeBytes {
		runeBytes[r] = -1
	}
	next := rune(0x100)
	for b := range byteRunes {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r = next
			next++
		}
		byteRunes[b], runeBytes[r] = r, int16(b)
		byteTokens[b] = fmt.Sprintf("<0x%02X>", b)
	}
}

func runeByte(r rune) (byte, bool) {
	if r < 0 || int(r) >= len(runeBytes) || runeBytes[r] < 0 {
		return 0, false
	}
	return byte(runeBytes[r]), true
}
