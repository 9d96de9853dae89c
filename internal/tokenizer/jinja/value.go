package jinja

import (
	"fmt"
	"iter"
	"math"
	"strings"
	"unicode/utf8"
)

// The values of a template. Besides these there are nil (None), bool, int64, float64 and string; a value that Python
// would have and that is none of them is an error.
type (
	// List is a Python list. Templates cannot change it: the sandbox forbids that.
	List []any
	// Tuple is a Python tuple.
	Tuple []any
	// undefined is what a missing name, key or attribute gives; its text says what is missing.
	undefined string
	// markup is a string that is marked as safe. Only what cannot depend on the mark is done with it.
	markup string
	// numbers is a range.
	numbers struct{ start, stop, step int64 }
	// view is what the dict methods keys, values and items return.
	view struct {
		dict *Dict
		kind string
	}
	// iterator can be gone through once.
	iterator struct{ next func() (any, bool) }
	// namespace is an object whose attributes can be set.
	namespace struct{ attributes *Dict }
	// function is a function, or a method that is bound to its object.
	function struct {
		name string
		call func(r *render, a *arguments) any
	}
)

// Dict is a Python dict: it keeps the order of its keys.
type Dict struct {
	keys, values []any
	index        map[any]int
}

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set sets the value of a string key.
func (d *Dict) Set(key string, v any) { d.put(key, v) }

// Delete removes a string key.
func (d *Dict) Delete(key string) {
	i, ok := d.index[key]
	if !ok {
		return
	}
	keys, values := d.keys, d.values
	*d = *NewDict()
	for j := range keys {
		if j != i {
			d.put(keys[j], values[j])
		}
	}
}

// Get returns the value of a string key.
func (d *Dict) Get(key string) (v any, ok bool) { return d.get(key) }

// Copy returns a dict with the same entries.
func (d *Dict) Copy() *Dict {
	c := NewDict()
	for i, k := range d.keys {
		c.put(k, d.values[i])
	}
	return c
}

func (d *Dict) put(key, v any) {
	h := hash(key)
	if i, ok := d.index[h]; ok {
		d.values[i] = v
		return
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, v)
}

func (d *Dict) get(key any) (any, bool) {
	i, ok := d.index[hash(key)]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

type tupleHash string

// hash returns a key of a Go map that is equal for equal keys of a dict.
func hash(v any) any {
	if h, ok := hashable(v); ok {
		return h
	}
	fail("unhashable type: %s", typeName(v))
	return nil
}

func hashable(v any) (any, bool) {
	switch v := v.(type) {
	case nil, int64, string, *namespace, *macro, *iterator, *loop:
		return v, true
	case undefined:
		return undefined(""), true
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return int64(v), true
		}
		if v != v {
			unsupported("nan as a key")
		}
		return v, true
	case markup:
		return string(v), true
	case Tuple:
		var b strings.Builder
		for _, x := range v {
			h, ok := hashable(x)
			if !ok {
				return nil, false
			}
			switch h.(type) {
			case *namespace, *macro, *iterator, *loop:
				unsupported("a tuple with a %s as a key", typeName(x))
			}
			if fmt.Fprintf(&b, "%T %#v,", h, h); b.Len() > 1<<16 {
				unsupported("a tuple of more than %d bytes as a key", 1<<16)
			}
		}
		return tupleHash(b.String()), true
	case *view:
		return v, v.kind == "values"
	case List, *Dict:
		return nil, false
	}
	unsupported("%s as a key", typeName(v))
	return nil, false
}

// typeName is Python's name of a type, for messages.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string, markup:
		return "str"
	case List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case undefined:
		return "undefined"
	case numbers:
		return "range"
	case *view:
		return "dict_" + v.kind
	case *iterator:
		return "generator"
	case *namespace:
		return "namespace"
	case *macro:
		return "macro"
	case *loop:
		return "loop"
	}
	return "function"
}

// need fails where v is undefined, as jinja2 does when something is done with it.
func need(v any) {
	if u, ok := v.(undefined); ok {
		fail("%s", string(u))
	}
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	}
	if n, ok := length(v); ok {
		return n > 0
	}
	return true
}

// length is Python's len; false where a type has none.
func length(v any) (int, bool) {
	switch v := v.(type) {
	case undefined:
		return 0, true
	case string:
		return utf8.RuneCountInString(v), true
	case markup:
		return utf8.RuneCountInString(string(v)), true
	case List:
		return len(v), true
	case Tuple:
		return len(v), true
	case *Dict:
		return len(v.keys), true
	case *view:
		return len(v.dict.keys), true
	case numbers:
		return v.len(), true
	case *loop:
		return v.length(), true
	}
	return 0, false
}

func (n numbers) len() int {
	switch {
	case n.step > 0 && n.start < n.stop:
		return int((n.stop - n.start + n.step - 1) / n.step)
	case n.step < 0 && n.start > n.stop:
		return int((n.start - n.stop - n.step - 1) / -n.step)
	}
	return 0
}

func (n numbers) at(i int) int64 { return n.start + int64(i)*n.step }

// sequence returns how many elements an indexable value has and how to get one; false for other values.
func sequence(v any) (n int, at func(i int) any, ok bool) {
	switch v := v.(type) {
	case string:
		if ascii(v) {
			return len(v), func(i int) any { return v[i : i+1] }, true
		}
		runes := []rune(v)
		return len(runes), func(i int) any { return string(runes[i]) }, true
	case markup:
		n, at, _ := sequence(string(v))
		return n, func(i int) any { return markup(at(i).(string)) }, true
	case List:
		return len(v), func(i int) any { return v[i] }, true
	case Tuple:
		return len(v), func(i int) any { return v[i] }, true
	case numbers:
		return v.len(), func(i int) any { return v.at(i) }, true
	}
	return 0, nil, false
}

// reversible is sequence for all that Python's reversed takes.
func reversible(v any) (n int, at func(i int) any, ok bool) {
	switch v := v.(type) {
	case undefined:
		return 0, nil, true
	case *Dict:
		return len(v.keys), func(i int) any { return v.keys[i] }, true
	case *view:
		return len(v.dict.keys), v.at, true
	}
	return sequence(v)
}

func (v *view) at(i int) any {
	switch v.kind {
	case "keys":
		return v.dict.keys[i]
	case "values":
		return v.dict.values[i]
	}
	return Tuple{v.dict.keys[i], v.dict.values[i]}
}

// iterable tells whether Python's iter takes v.
func iterable(v any) bool {
	switch v.(type) {
	case *iterator, *loop:
		return true
	}
	_, _, ok := reversible(v)
	return ok
}

// iterate is Python's iter.
func (r *render) iterate(v any) func() (any, bool) {
	switch x := v.(type) {
	case *iterator:
		return x.next
	case markup: // its characters are not marked
		v = string(x)
	}
	n, at, ok := reversible(v)
	if _, isLoop := v.(*loop); isLoop {
		unsupported("going through loop")
	}
	if !ok {
		fail("%s is not iterable", typeName(v))
	}
	i := 0
	return func() (any, bool) {
		if i >= n {
			return nil, false
		}
		r.charge(1)
		i++
		return at(i - 1), true
	}
}

// list is Python's list.
func (r *render) list(v any) List {
	next := r.iterate(v)
	list := List{}
	for x, ok := next(); ok; x, ok = next() {
		r.charge(1)
		list = append(list, x)
	}
	return list
}

// plain returns the text of a str; false for other types. A str that is marked as safe is refused.
func plain(v any) (string, bool) {
	if _, ok := v.(markup); ok {
		unsupported("this use of a text that is marked as safe")
	}
	s, ok := v.(string)
	return s, ok
}

// number returns an int, a bool as one, or a float.
func number(v any) (i int64, f float64, isFloat, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, false, true
		}
		return 0, 0, false, true
	case int64:
		return v, float64(v), false, true
	case float64:
		return 0, v, true, true
	}
	return 0, 0, false, false
}

// index returns what Python takes for an index: an int or a bool.
func index(v any) (int, bool) {
	i, _, isFloat, ok := number(v)
	if i != int64(int(i)) {
		unsupported("the index %d", i)
	}
	return int(i), ok && !isFloat
}

// All goes through the entries with string keys, in order.
func (d *Dict) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i, k := range d.keys {
			if name, ok := k.(string); ok && !yield(name, d.values[i]) {
				return
			}
		}
	}
}
