package data

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Classes are what a document can be. One class is a regression: the label is a number.
type Classes struct {
	Count int
	Names []string // [Count]; nil: the labels are the classes' numbers
}

// parse reads a label: a class's name or number, or the target of a regression.
func (c Classes) parse(label string) (class int32, target float32, err error) {
	if c.Count == 1 {
		x, err := strconv.ParseFloat(strings.TrimSpace(label), 32)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, 0, fmt.Errorf("label: have %.40q, want a number: the model has one output, a regression", label)
		}
		return 0, float32(x), nil
	}
	if i := slices.Index(c.Names, label); i >= 0 {
		return int32(i), 0, nil
	}
	if n, err := strconv.Atoi(label); err == nil && n >= 0 && n < c.Count {
		return int32(n), 0, nil
	}
	want := fmt.Sprintf("a class from 0 to %d", c.Count-1)
	if len(c.Names) > 0 {
		want += " or its name: " + strings.Join(c.Names[:min(8, len(c.Names))], ", ")
	}
	return 0, 0, fmt.Errorf("label: have %.40q, want %s", label, want)
}

// FindClasses makes classes of the labels in files: numbers are the classes themselves, numbers with a fraction are targets of a regression, and
// names are put in alphabetical order.
func FindClasses(ctx context.Context, files []File) (Classes, error) {
	files = slices.Clone(files)
	if err := checkTask(files, Classification); err != nil {
		return Classes{}, err
	}
	found := map[string]bool{}
	for i := range files {
		err := readRecords(&files[i], func(r record) error {
			ex, err := r.parse()
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			if strings.TrimSpace(ex.label) == "" {
				return fmt.Errorf("%s: label: have %q, want a class's name or number, or the number to predict", r, ex.label)
			}
			found[ex.label] = true
			return ctx.Err()
		})
		if err != nil {
			return Classes{}, err
		}
	}
	return classesOf(slices.Sorted(maps.Keys(found)))
}

func classesOf(labels []string) (Classes, error) {
	whole, numbers, most := true, true, 0
	for _, label := range labels {
		n, err := strconv.Atoi(label)
		whole = whole && err == nil && n >= 0
		most = max(most, n)
		_, err = strconv.ParseFloat(label, 32)
		numbers = numbers && err == nil
	}
	switch {
	case len(labels) == 0:
		return Classes{}, errors.New("there are no documents, so no labels: classes are found in those of data.train")
	case len(labels) < 2:
		return Classes{}, fmt.Errorf("every label is %q: want at least two classes, or name them in data.labels", strings.Join(labels, ""))
	case whole && most > maxFound:
		return Classes{}, fmt.Errorf("the largest label is %d: too many classes to make a head of, name them in data.labels", most)
	case whole:
		return Classes{Count: most + 1}, nil
	case numbers:
		return Classes{Count: 1}, nil
	}
	return Classes{Count: len(labels), Names: labels}, nil
}

// maxFound is the largest class that is believed to be one.
const maxFound = 1 << 16

// encodeClassified encodes one text or two, without what the tokenizer puts around them: that follows when they have been truncated.
func encodeClassified(ex example, encoder Encoder, classes Classes) (document, error) {
	doc := document{ids: ex.ids, types: ex.types}
	var err error
	if doc.class, doc.target, err = classes.parse(ex.label); err != nil {
		return document{}, err
	}
	if ex.ids != nil {
		return doc, nil
	}
	first, err := encodeValid(ex.text, encoder)
	if err != nil {
		return document{}, err
	}
	doc.ids, doc.second = first.IDs, int32(len(first.IDs))
	if ex.paired {
		second, err := encodeValid(ex.second, encoder)
		if err != nil {
			return document{}, fmt.Errorf("second text: %w", err)
		}
		doc.ids = append(doc.ids, second.IDs...)
	}
	return doc, nil
}

// longestFirst shortens two texts to `room` tokens together as Hugging Face's tokenizers do: the longer one first, then both alike.
func longestFirst(a, b, room int) (int, int) {
	short, long := min(a, b), max(a, b)
	if short+long > room {
		long = max(short, room-short)
	}
	if short+long > room {
		short, long = room/2, room-room/2
	}
	if a > b {
		return long, short
	}
	return short, long
}

// cutTexts makes the one piece of document i: its text, or its two texts, as much as fits. It returns the number of tokens that are dropped.
func (c *cutter) cutTexts(d *Dataset, i int, emit func(piece)) (dropped int, err error) {
	lo, hi := d.start[i], d.start[i+1]
	p := piece{document: int32(i), start: lo, end: hi}
	if d.origin(i).raw {
		p.end = min(hi, lo+c.length)
		emit(p)
		return hi - p.end, nil
	}
	p.framed = true
	first, second := int(d.second[i]), hi-lo-int(d.second[i])
	if second == 0 {
		room := c.length - c.single.size()
		if room < 1 {
			return 0, fmt.Errorf("sequence_length: have %d, want at least %d: what the tokenizer puts around a text and one token", c.length, c.single.size()+1)
		}
		p.end = min(hi, lo+room)
		emit(p)
		return hi - p.end, nil
	}
	room := c.length - c.pair.size()
	if room < 2 {
		return 0, fmt.Errorf("sequence_length: have %d, want at least %d: what the tokenizer puts around two texts and a token of each", c.length, c.pair.size()+2)
	}
	a, b := longestFirst(first, second, room)
	p.end = lo + a
	p.second, p.secondEnd = lo+first, lo+first+b
	emit(p)
	return first + second - a - b, nil
}
