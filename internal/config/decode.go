package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"kdistill/internal/suggest"
)

// Error holds every problem of a configuration, each a line that says where it is and what to do.
type Error struct{ Problems []string }

func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// decoder fills structs from YAML nodes. It goes on after a problem, so that all of them are seen at once.
type decoder struct {
	file     string
	sources  map[*yaml.Node]string // where a node comes from that is not in the file
	given    map[string]*yaml.Node // what was written for each key, nulls left out
	problems []problem
}

type problem struct {
	line      int
	key, text string
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, sources: map[*yaml.Node]string{}, given: map[string]*yaml.Node{}}
}

// fail notes a problem of key; n is its value or name, nil where nothing was written.
func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	p := problem{key: key, text: d.file}
	if n != nil {
		if source, ok := d.sources[n]; ok {
			p.text = source
		} else {
			p.line = n.Line
			p.text = fmt.Sprintf("%s:%d", d.file, n.Line)
		}
	}
	if key != "" && p.text != "--set "+key { // which names the key already
		p.text += ": " + key
	}
	p.text += ": " + fmt.Sprintf(format, args...)
	d.problems = append(d.problems, p)
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	sort.SliceStable(d.problems, func(i, j int) bool { return d.problems[i].line < d.problems[j].line })
	e := &Error{}
	for _, p := range d.problems {
		e.Problems = append(e.Problems, p.text)
	}
	return e
}

// nodeDecoder is a type that is not written as its Go structure suggests.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, key string, tag reflect.StructTag)
}

// value stores n in out. A null, and a value that is wrong, leaves what is there.
func (d *decoder) value(n *yaml.Node, out reflect.Value, key string, tag reflect.StructTag) {
	if isNull(n) {
		return
	}
	d.given[key] = n
	if custom, ok := out.Addr().Interface().(nodeDecoder); ok {
		custom.decodeNode(d, n, key, tag)
		return
	}
	switch out.Kind() {
	case reflect.Struct:
		d.structure(n, out, key)
	case reflect.Slice, reflect.Array:
		d.list(n, out, key, tag)
	case reflect.Map:
		d.object(n, out, key)
	case reflect.Bool:
		if n.ShortTag() != "!!bool" || n.Decode(out.Addr().Interface()) != nil {
			d.fail(n, key, "have %s, want true or false", describe(n))
		}
	case reflect.Int, reflect.Int64:
		if i, ok := whole(n); !ok {
			d.fail(n, key, "have %s, want a whole number", describe(n))
		} else if d.inRange(n, key, float64(i), tag) {
			out.SetInt(i)
		}
	case reflect.Float64:
		if f, ok := number(n); !ok {
			d.fail(n, key, "have %s, want a number", describe(n))
		} else if d.inRange(n, key, f, tag) {
			out.SetFloat(f)
		}
	case reflect.String:
		d.text(n, out, key, tag)
	default:
		panic("config: no decoder for " + out.Type().String())
	}
}

// structure fills a struct that is an element of a list, or a mapping that stands for one value.
func (d *decoder) structure(n *yaml.Node, out reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, key, "have %s, want %s", describe(n), words("and", names(out.Type())))
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if f, ok := fieldNamed(out.Type(), name.Value); ok {
			d.value(value, out.FieldByIndex(f.Index), join(key, name.Value), f.Tag)
			continue
		}
		// A parameter of a loss: any other name with a number, unless it is a slip.
		v, isNumber := number(value)
		if values := inline(out); values.IsValid() && isNumber && habits[name.Value] == "" && !isSlip(name.Value, names(out.Type())) {
			if values.IsNil() {
				values.Set(reflect.MakeMap(values.Type()))
			}
			values.SetMapIndex(reflect.ValueOf(name.Value), reflect.ValueOf(v))
			continue
		}
		d.unknown(name, key, name.Value, names(out.Type()))
	}
}

// isSlip tells whether name is a known one misspelt, and not one that holds a known one as forward_weight does.
func isSlip(name string, known []string) bool {
	near := suggest.Nearest(name, known)
	return near != "" && !strings.Contains(name, near) && !strings.Contains(near, name)
}

func (d *decoder) list(n *yaml.Node, out reflect.Value, key string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, key, "have %s, want a list", describe(n))
		return
	}
	if out.Kind() == reflect.Slice {
		out.Set(reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content)))
	} else if len(n.Content) != out.Len() {
		d.fail(n, key, "have %d numbers, want %d", len(n.Content), out.Len())
		return
	}
	for i, element := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		if isNull(element) {
			d.fail(element, at, "is empty")
			continue
		}
		if e, ok := out.Index(i).Addr().Interface().(interface{ setDefaults() }); ok {
			e.setDefaults()
		}
		d.value(element, out.Index(i), at, tag)
	}
}

// object fills a free mapping: keys that another package knows.
func (d *decoder) object(n *yaml.Node, out reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, key, "have %s, want keys and values", describe(n))
		return
	}
	err := n.Decode(out.Addr().Interface())
	if err == nil {
		_, err = json.Marshal(out.Interface())
	}
	if err != nil {
		d.fail(n, key, "want what JSON can hold: %v", err)
	}
}

func (d *decoder) text(n *yaml.Node, out reflect.Value, key string, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, key, "have %s, want a text", describe(n))
		return
	}
	if choice := tag.Get("oneof"); choice != "" && !slices.Contains(strings.Split(choice, "|"), n.Value) {
		d.fail(n, key, "have %s, want %s", describe(n), words("or", strings.Split(choice, "|")))
		return
	}
	out.SetString(n.Value)
	if tag.Get("path") != "" {
		path, err := expand(n.Value)
		if err != nil {
			d.fail(n, key, "%v", err)
		}
		out.SetString(path)
	}
}

// inRange checks the interval that a range tag gives, such as [0,1) or (0,) .
func (d *decoder) inRange(n *yaml.Node, key string, x float64, tag reflect.StructTag) bool {
	interval := tag.Get("range")
	if interval == "" {
		return true
	}
	low, high, _ := strings.Cut(interval[1:len(interval)-1], ",")
	var want []string
	ok := true
	if l, err := strconv.ParseFloat(low, 64); err == nil {
		if interval[0] == '(' {
			ok = ok && x > l
			want = append(want, "more than "+low)
		} else {
			ok = ok && x >= l
			want = append(want, "at least "+low)
		}
	}
	if h, err := strconv.ParseFloat(high, 64); err == nil {
		if strings.HasSuffix(interval, ")") {
			ok = ok && x < h
			want = append(want, "less than "+high)
		} else {
			ok = ok && x <= h
			want = append(want, "at most "+high)
		}
	}
	if !ok {
		d.fail(n, key, "have %s, want %s", n.Value, strings.Join(want, " and "))
	}
	return ok
}

// decodeNode reads a number, or {from, to, schedule}.
func (w *Weight) decodeNode(d *decoder, n *yaml.Node, key string, _ reflect.StructTag) {
	if n.Kind == yaml.MappingNode {
		*w = Weight{Schedule: "linear"}
		d.structure(n, reflect.ValueOf(w).Elem(), key)
		for _, end := range []string{"from", "to"} {
			if d.given[join(key, end)] == nil {
				d.fail(n, key, "%s is missing: want {from: 1, to: 0, schedule: linear}", end)
			}
		}
		return
	}
	f, ok := number(n)
	if !ok {
		d.fail(n, key, "have %s, want a number or {from: 1, to: 0, schedule: linear}", describe(n))
		return
	}
	if d.inRange(n, key, f, `range:"[0,)"`) {
		*w = Constant(f)
	}
}

// MarshalYAML writes a constant as a number.
func (w Weight) MarshalYAML() (any, error) {
	if w.Schedule == "" {
		return w.From, nil
	}
	type plain Weight
	return plain(w), nil
}

// MarshalYAML writes a list in place of the keys of a single teacher.
func (t Teacher) MarshalYAML() (any, error) {
	if t.List != nil {
		return t.List, nil
	}
	type plain Teacher
	return plain(t), nil
}

// decodeNode reads a number or auto.
func (m *MicroBatch) decodeNode(d *decoder, n *yaml.Node, key string, tag reflect.StructTag) {
	if n.Value == "auto" {
		*m = 0
		return
	}
	i, ok := whole(n)
	if !ok {
		d.fail(n, key, "have %s, want a whole number or auto", describe(n))
		return
	}
	if d.inRange(n, key, float64(i), tag) {
		*m = MicroBatch(i)
	}
}

// MarshalYAML writes 0 as auto.
func (m MicroBatch) MarshalYAML() (any, error) {
	if m == 0 {
		return "auto", nil
	}
	return int(m), nil
}

// decodeNode reads a number or all.
func (k *TopK) decodeNode(d *decoder, n *yaml.Node, key string, tag reflect.StructTag) {
	if n.Value == "all" {
		*k = AllIDs
		return
	}
	i, ok := whole(n)
	switch {
	case !ok:
		d.fail(n, key, "have %s, want a whole number or all", describe(n))
	case i == 0: // as it stands beside samples; check tells whether it does
		*k = 0
	case d.inRange(n, key, float64(i), tag):
		*k = TopK(i)
	}
}

// MarshalYAML writes AllIDs as all.
func (k TopK) MarshalYAML() (any, error) {
	if k == AllIDs {
		return "all", nil
	}
	return int(k), nil
}

// decodeNode reads a list of layers or the name of a rule.
func (l *Layers) decodeNode(d *decoder, n *yaml.Node, key string, _ reflect.StructTag) {
	if n.Kind == yaml.SequenceNode {
		d.list(n, reflect.ValueOf(&l.List).Elem(), key, `range:"[0,)"`)
		return
	}
	if rules := []string{"uniform", "first", "last"}; !slices.Contains(rules, n.Value) {
		d.fail(n, key, "have %s, want a list of layers, %s", describe(n), words("or", rules))
		return
	}
	l.Rule = n.Value
}

// MarshalYAML writes the list or the rule's name.
func (l Layers) MarshalYAML() (any, error) {
	if l.Rule != "" {
		return l.Rule, nil
	}
	return l.List, nil
}

// decodeNode reads a rule, a pair, or a list of them.
func (m *LayerMap) decodeNode(d *decoder, n *yaml.Node, key string, _ reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		n = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}}
	}
	if len(n.Content) == 0 {
		d.fail(n, key, "is empty: leave it out for uniform")
	}
	*m = nil
	rules := []string{"uniform", "first", "last", "all", "embedding"}
	for _, entry := range n.Content {
		var p LayerPair
		switch {
		case entry.Kind == yaml.SequenceNode:
			d.list(entry, reflect.ValueOf(&p.Pair).Elem(), key, `range:"[0,)"`)
		case slices.Contains(rules, entry.Value):
			p.Rule = entry.Value
		default:
			d.fail(entry, key, "have %s, want %s, a pair such as [1, 2] of the student's and the teacher's layer, or a list of these", describe(entry), words("or", rules))
		}
		*m = append(*m, p)
	}
}

// MarshalYAML writes a single rule as a word.
func (m LayerMap) MarshalYAML() (any, error) {
	var list []any
	for _, p := range m {
		if p.Rule != "" {
			list = append(list, p.Rule)
		} else {
			list = append(list, p.Pair)
		}
	}
	if len(m) == 1 && m[0].Rule != "" {
		return m[0].Rule, nil
	}
	return list, nil
}

// decodeNode reads a number or last.
func (l *TeacherLayer) decodeNode(d *decoder, n *yaml.Node, key string, _ reflect.StructTag) {
	if n.Value == "last" {
		*l = -1
		return
	}
	i, ok := whole(n)
	if !ok {
		d.fail(n, key, "have %s, want a layer of the teacher's or last", describe(n))
		return
	}
	if d.inRange(n, key, float64(i), `range:"[1,)"`) {
		*l = TeacherLayer(i)
	}
}

// MarshalYAML writes -1 as last.
func (l TeacherLayer) MarshalYAML() (any, error) {
	if l < 0 {
		return "last", nil
	}
	return int(l), nil
}

// decodeNode reads average or a list of heads.
func (h *HeadMap) decodeNode(d *decoder, n *yaml.Node, key string, _ reflect.StructTag) {
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		d.list(n, reflect.ValueOf(&h.List).Elem(), key, `range:"[0,)"`)
	case n.Value == "average":
		h.Average = true
	default:
		d.fail(n, key, "have %s, want average, or a list of the teacher's heads, one for each of the student's", describe(n))
	}
}

// MarshalYAML writes the word or the list.
func (h HeadMap) MarshalYAML() (any, error) {
	if h.Average {
		return "average", nil
	}
	return h.List, nil
}

func isNull(n *yaml.Node) bool { return n.ShortTag() == "!!null" }

// number reads a finite number.
func number(n *yaml.Node) (float64, bool) {
	var f float64
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
		return 0, false
	}
	err := n.Decode(&f)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// whole reads a whole number, also one written as 1e3.
func whole(n *yaml.Node) (int64, bool) {
	if n.ShortTag() == "!!int" {
		var i int64
		return i, n.Decode(&i) == nil
	}
	f, ok := number(n)
	return int64(f), ok && f == math.Trunc(f) && math.Abs(f) < 1<<53
}

// describe names what was written in an error.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.ShortTag() == "!!str":
		return strconv.Quote(n.Value)
	}
	return n.Value
}
