package generate

import (
	"strings"

	"kdistill/internal/tokenizer"
)

// text is a continuation as text, while its ids come.
type text struct {
	stream *tokenizer.Stream // nil: there is no tokenizer, and no text
	stops  []string
	all    string // so far, up to a stop string
	shown  int    // bytes of it that were given out: those that no stop string can begin in
}

func newText(t *tokenizer.Tokenizer, prompt []int32, stops []string) *text {
	if t == nil {
		return &text{}
	}
	x := &text{stream: t.NewStream(true), stops: stops}
	for _, id := range prompt {
		x.stream.Add(id)
	}
	return x
}

// add returns the text that an id makes certain, and whether a stop string is complete.
func (x *text) add(id int32) (fresh string, stopped bool) {
	if x.stream == nil {
		return "", false
	}
	stopped = x.append(x.stream.Add(id))
	certain := len(x.all)
	if !stopped {
		certain -= x.begun()
	}
	return x.show(certain), stopped
}

// end returns what is left where the ids have ended, and whether a stop string is complete.
func (x *text) end() (fresh string, stopped bool) {
	if x.stream == nil {
		return "", false
	}
	stopped = x.append(x.stream.Flush())
	return x.show(len(x.all)), stopped
}

// append takes a piece of text up to the first stop string, and says whether there is one.
func (x *text) append(piece string) bool {
	before := len(x.all)
	x.all += piece
	first := -1
	for _, stop := range x.stops {
		from := max(0, before-len(stop)+1)
		if i := strings.Index(x.all[from:], stop); i >= 0 && (first < 0 || from+i < first) {
			first = from + i
		}
	}
	if first >= 0 {
		x.all = x.all[:first]
	}
	return first >= 0
}

// begun is how many bytes at the end may be the beginning of a stop string.
func (x *text) begun() (longest int) {
	for _, stop := range x.stops {
		for n := min(len(stop)-1, len(x.all)-x.shown); n > longest; n-- {
			if strings.HasSuffix(x.all, stop[:n]) {
				longest = n
			}
		}
	}
	return longest
}

func (x *text) show(to int) string {
	fresh := x.all[x.shown:to]
	x.shown = to
	return fresh
}
