package tokenizer

import "strings"

// Stream decodes ids one by one. It is for one text and one goroutine.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	ids         []int32 // those that the next text depends on
	context     int     // how many of ids have been written, as context for the others
	written     string  // their text
}

// NewStream returns a stream that writes nothing of special tokens where skipSpecial is set.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{t: t, skipSpecial: skipSpecial}
}

// longestTail is how many ids a stream holds back for a character to be completed, before it takes them as broken.
const longestTail = 16

// Add returns the text that id makes certain: "" while it ends within a character, which then comes whole.
func (s *Stream) Add(id int32) string {
	if content, ok := s.t.decoded(id); !ok || s.skipSpecial && s.t.added.special[content] {
		return ""
	}
	s.ids = append(s.ids, id)
	decoded := s.t.Decode(s.ids, s.skipSpecial)
	if strings.HasSuffix(decoded, "\uFFFD") && len(s.ids)-s.context < longestTail {
		return ""
	}
	return s.advance(decoded)
}

// Flush returns what is left at the end of the text, a broken character as U+FFFD.
func (s *Stream) Flush() string {
	if s.context == len(s.ids) {
		return ""
	}
	return s.advance(s.t.Decode(s.ids, s.skipSpecial))
}

// advance returns what decoded, the text of all ids, has more than what was written, and keeps the ids not yet written
// as the new context.
func (s *Stream) advance(decoded string) string {
	fresh, ok := strings.CutPrefix(decoded, s.written)
	s.ids = append(s.ids[:0], s.ids[s.context:]...)
	s.context = len(s.ids)
	s.written = s.t.Decode(s.ids, s.skipSpecial)
	if !ok { // the new ids would change what was written: broken bytes after whole characters, at byte fallback
		return s.written
	}
	return fresh
}
