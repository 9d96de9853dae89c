package data

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

func init() {
	register("tokens", format{
		read: func(f *File, src *os.File, emit func(record) error) error {
			return readJSON(f, src, parseTokens, emit)
		},
	})
}

// parseTokens reads input_ids with optional labels, attention_mask and token_type_ids, as transformers takes them: labels[i] belongs to token i, and
// Classification needs one label, which is the document's.
// Tokens whose mask is 0 are cut out, wherever they stand; other fields are not read. What a token means (padding, end) is never guessed from its id.
func parseTokens(f *File, o object) (example, error) {
	raw, ok := o["input_ids"]
	if !ok {
		have := strings.Join(slices.Sorted(maps.Keys(o)), ", ")
		return example{}, fmt.Errorf("no field \"input_ids\" (there is: %s): for documents of text set format: jsonl", have)
	}
	ids, err := parseIntegers(raw)
	if err != nil {
		return example{}, fmt.Errorf("input_ids%w", err)
	}
	optional := func(name string) ([]int32, error) {
		if !o.has(name) {
			return nil, nil
		}
		list, err := parseIntegers(o[name])
		if err != nil {
			return nil, fmt.Errorf("%s%w", name, err)
		}
		if len(list) != len(ids) {
			return nil, fmt.Errorf("%s: have %d entries, want %d, one for each of input_ids", name, len(list), len(ids))
		}
		return list, nil
	}
	var label string
	var labels []int32
	if f.task == Classification {
		raw, ok := o[tokensLabel]
		if !ok {
			return example{}, fmt.Errorf("no field %q: want the class of the document", tokensLabel)
		}
		if label, err = parseField(raw, true); err != nil {
			return example{}, fmt.Errorf("%s: %w", tokensLabel, err)
		}
	} else if labels, err = optional(tokensLabel); err != nil {
		return example{}, err
	}
	types, err := optional("token_type_ids")
	if err != nil {
		return example{}, err
	}
	mask, err := optional("attention_mask")
	if err != nil {
		return example{}, err
	}
	if mask != nil {
		kept := 0
		for i, m := range mask {
			if m != 0 && m != 1 {
				return example{}, fmt.Errorf("attention_mask[%d]: have %d, want 0 or 1", i, m)
			}
			if m == 0 {
				continue
			}
			for _, list := range [][]int32{ids, labels, types} {
				if list != nil {
					list[kept] = list[i]
				}
			}
			kept++
		}
		for _, list := range []*[]int32{&ids, &labels, &types} {
			if *list != nil {
				*list = (*list)[:kept]
			}
		}
	}
	return example{ids: ids, labels: labels, types: types, label: label}, nil
}

const tokensLabel = "labels"

// parseIntegers reads a JSON list of int32. Its error continues the name of the list. (encoding/json would take null for 0.)
func parseIntegers(raw []byte) ([]int32, error) {
	raw = bytes.TrimSpace(raw)
	if have := kind(raw); have != "a list" {
		return nil, fmt.Errorf(": want a list of integers, have %s", have)
	}
	raw = raw[1 : len(raw)-1]
	list := make([]int32, 0, bytes.Count(raw, []byte(","))+1)
	if len(bytes.TrimSpace(raw)) == 0 {
		return list, nil
	}
	for item := range bytes.SplitSeq(raw, []byte(",")) {
		item = bytes.TrimSpace(item)
		n, err := strconv.ParseInt(string(item), 10, 32)
		if errors.Is(err, strconv.ErrRange) {
			return nil, fmt.Errorf("[%d]: %s is too large for an id", len(list), item)
		}
		if err != nil {
			return nil, fmt.Errorf("[%d]: want an integer, have %.40s", len(list), item)
		}
		list = append(list, int32(n))
	}
	return list, nil
}
