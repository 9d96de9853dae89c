package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"kdistill/internal/suggest"
)

// Load reads a file, or the embedded configuration of that name where no such file exists. Environment variables
// (EnvName) lie above it, and above them sets such as "train.steps=10" or "loss[0].weight={from: 1, to: 0}".
// Every error is an *Error.
func Load(name string, sets []string) (*Config, error) { return load(name, sets, false) }

// LoadSynth is Load for kdistill synth, which needs a teacher and the section synth, and no student, data or output.
func LoadSynth(name string, sets []string) (*Config, error) { return load(name, sets, true) }

func load(name string, sets []string, synth bool) (*Config, error) {
	text, file, err := Text(name)
	if err != nil {
		return nil, &Error{[]string{err.Error()}}
	}
	l := newLoader(file)
	l.readFile(text)
	l.readEnvironment()
	for _, s := range sets {
		l.set(s)
	}
	if synth {
		l.check = l.checkSynth
	}
	return l.config()
}

// Read reads a file alone, without overrides: the effective configuration of an earlier run.
func Read(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{[]string{err.Error()}}
	}
	l := newLoader(path)
	l.readFile(text)
	return l.config()
}

// loader holds the layers in viper: --set over environment over file over default. The values are YAML nodes, which
// know their lines; viper decides which of them counts.
type loader struct {
	*decoder
	layers   *viper.Viper
	unusable bool // the file holds nothing that could be checked
	check    func(*Config)
}

const fromDefault = "default"

func newLoader(file string) *loader {
	l := &loader{decoder: newDecoder(file), layers: viper.New()}
	l.check = l.checkTraining
	var root yaml.Node
	if err := root.Encode(Default()); err != nil {
		panic(err) // the defaults are ours
	}
	l.mark(&root, fromDefault)
	for section, values := range l.split(&root, reflect.TypeFor[Config](), "") {
		l.layers.SetDefault(section, values)
	}
	return l
}

// readFile fills the layer of the file.
func (l *loader) readFile(text []byte) {
	var root, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	err := decoder.Decode(&root)
	switch {
	case err == io.EOF || err == nil && isNull(root.Content[0]):
	case err != nil:
		l.unusable = true
		l.fail(nil, "", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	case decoder.Decode(&second) != io.EOF:
		l.unusable = true
		l.fail(nil, "", "want one YAML document, have more")
	case !l.plain(root.Content[0], ""):
		l.unusable = true
	default:
		l.unusable = root.Content[0].Kind != yaml.MappingNode
		_ = l.layers.MergeConfigMap(l.split(root.Content[0], reflect.TypeFor[Config](), "")) // never fails
	}
}

// plain refuses what has no place in a configuration: a key given twice, and references, which hide what is set.
func (l *loader) plain(n *yaml.Node, key string) bool {
	ok := true
	switch n.Kind {
	case yaml.AliasNode:
		l.fail(n, key, "have the reference *%s: write the value out", n.Value)
		return false
	case yaml.SequenceNode:
		for i, element := range n.Content {
			ok = l.plain(element, fmt.Sprintf("%s[%d]", key, i)) && ok
		}
	case yaml.MappingNode:
		lines := map[string]int{}
		for i := 0; i < len(n.Content); i += 2 {
			name := n.Content[i]
			at := join(key, name.Value)
			if name.Kind != yaml.ScalarNode {
				l.fail(name, key, "have %s as a key, want a name", describe(name))
				ok = false
			} else if first := lines[name.Value]; first != 0 {
				l.fail(name, at, "given twice, first in line %d", first)
				ok = false
			}
			lines[name.Value] = max(name.Line, 1)
			ok = l.plain(n.Content[i+1], at) && ok
		}
	}
	return ok
}

// wanted names what section t may hold.
func wanted(t reflect.Type) string {
	if hasList(t) {
		return words("and", names(t)) + ", or a list of teachers"
	}
	return words("and", names(t))
}

// split turns the sections of a mapping into nested maps that end in the leaves' nodes; nulls are left out.
func (l *loader) split(n *yaml.Node, t reflect.Type, key string) map[string]any {
	values := map[string]any{}
	if n.Kind != yaml.MappingNode {
		l.fail(n, key, "have %s, want %s", describe(n), wanted(t))
		return values
	}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		f, ok := fieldNamed(t, name.Value)
		switch {
		case !ok:
			l.unknown(name, key, name.Value, names(t))
		case isNull(value):
		case value.Kind == yaml.SequenceNode && isSection(f.Type) && hasList(f.Type):
			values[name.Value] = map[string]any{inPlace: value}
		case isSection(f.Type):
			values[name.Value] = l.split(value, f.Type, join(key, name.Value))
		default:
			values[name.Value] = value
		}
	}
	return values
}

// readEnvironment binds a variable to every leaf, and refuses variables that only look as if they were one.
func (l *loader) readEnvironment() {
	var known []string
	leaves(reflect.ValueOf(Default()).Elem(), "", func(key string, _ reflect.Value, _ reflect.StructTag) {
		known = append(known, EnvName(key))
		_ = l.layers.BindEnv(layered(key), EnvName(key)) // fails without a key only
	})
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		ours := slices.ContainsFunc(names(reflect.TypeFor[Config]()), func(section string) bool {
			return strings.HasPrefix(name, EnvName(section)+"_")
		})
		if !ours || slices.Contains(known, name) {
			continue
		}
		hint := "kdistill config shows the keys; use --set for entries of a list"
		if near := suggest.Nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		l.fail(nil, "environment variable "+name, "no such key: %s", hint)
	}
}

// inPlace is how viper knows the list that stands in place of a section's keys.
const inPlace = "[]"

// layered is how viper knows a leaf.
func layered(key string) string {
	if f, ok := fieldNamed(reflect.TypeFor[Config](), key); ok && isSection(f.Type) {
		return join(key, inPlace)
	}
	return key
}

// leaf returns the value of a leaf in the highest layer that has one.
func (l *loader) leaf(key string) *yaml.Node {
	switch value := l.layers.Get(layered(key)).(type) {
	case *yaml.Node:
		return value
	case string:
		return l.parse(value, EnvName(key))
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
}

// parse reads a value given outside of the file.
func (l *loader) parse(text, source string) *yaml.Node {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		l.fail(nil, "", "%s: not a YAML value (quote it?): %s", source, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	if len(root.Content) > 0 {
		n = root.Content[0]
	}
	l.mark(n, source)
	if !l.plain(n, "") {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	return n
}

func (l *loader) mark(n *yaml.Node, source string) {
	l.sources[n] = source
	for _, child := range n.Content {
		l.mark(child, source)
	}
}

var step = regexp.MustCompile(`^([^.\[\]]+)((?:\[\d+\])*)$`)

// set applies one KEY=VALUE.
func (l *loader) set(assignment string) {
	key, text, ok := strings.Cut(assignment, "=")
	source := "--set " + key
	var path []string // names, and indices as [0]
	for _, part := range strings.Split(key, ".") {
		m := step.FindStringSubmatch(part)
		if m == nil {
			ok = false
			break
		}
		path = append(path, m[1])
		if m[2] != "" {
			path = append(path, strings.SplitAfter(m[2], "]")...)
			path = path[:len(path)-1] // what is after the last ]
		}
	}
	if !ok {
		l.fail(nil, "", "--set %s: want KEY=VALUE, such as train.steps=10 or loss[0].weight=1", assignment)
		return
	}
	l.assign(path, l.parse(text, source), source)
}

// assign puts a value at a path into the layer of --set: a section key by key, a leaf or a part of one.
func (l *loader) assign(path []string, value *yaml.Node, source string) {
	at := &yaml.Node{}
	l.sources[at] = source
	t, key := reflect.TypeFor[Config](), ""
	for i, name := range path {
		f, ok := fieldNamed(t, name)
		if !ok {
			l.unknown(at, key, name, names(t))
			return
		}
		t, key = f.Type, join(key, name)
		list := isSection(t) && hasList(t) && (i+1 < len(path) && strings.HasPrefix(path[i+1], "[") || i+1 == len(path) && value.Kind == yaml.SequenceNode)
		if isSection(t) && !list {
			continue
		}
		if rest := path[i+1:]; len(rest) > 0 {
			var err error
			if value, err = l.replace(l.leaf(key), key, rest, value, source); err != nil {
				l.fail(at, "", "%v", err)
				return
			}
		}
		l.layers.Set(layered(key), value)
		return
	}
	if value.Kind != yaml.MappingNode {
		l.fail(at, "", "have %s, want %s", describe(value), wanted(t))
		return
	}
	for i := 0; i < len(value.Content); i += 2 {
		l.assign(append(slices.Clone(path), value.Content[i].Value), value.Content[i+1], source)
	}
}

// replace returns a copy of n in which the value at path is another one. The index after the last one appends.
func (l *loader) replace(n *yaml.Node, key string, path []string, value *yaml.Node, source string) (*yaml.Node, error) {
	if len(path) == 0 {
		return value, nil
	}
	kind, name := yaml.MappingNode, path[0]
	if strings.HasPrefix(name, "[") {
		kind = yaml.SequenceNode
	}
	out := &yaml.Node{Kind: kind}
	if n != nil && !isNull(n) {
		if n.Kind != kind {
			return nil, fmt.Errorf("%s is %s, and has no %s", key, describe(n), name)
		}
		copied := *n
		out = &copied
		out.Content = slices.Clone(n.Content)
	}
	switch from := l.sources[n]; {
	case from == "" && n != nil: // the file
	case from == "" || from == fromDefault:
		l.sources[out] = source
	default:
		l.sources[out] = from
	}
	var place int
	if kind == yaml.SequenceNode {
		place, _ = strconv.Atoi(strings.Trim(name, "[]")) // the pattern allows digits only
		if place > len(out.Content) {
			return nil, fmt.Errorf("%s has %d entries: %s[%d] would add the next", key, len(out.Content), key, len(out.Content))
		}
		key += name
	} else {
		key = join(key, name)
		for place = 1; place < len(out.Content) && out.Content[place-1].Value != name; place += 2 {
		}
		if place > len(out.Content) {
			label := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}
			l.sources[label] = source
			out.Content = append(out.Content, label)
		}
	}
	var old *yaml.Node
	if place < len(out.Content) {
		old = out.Content[place]
	} else {
		out.Content = append(out.Content, nil)
	}
	changed, err := l.replace(old, key, path[1:], value, source)
	out.Content[place] = changed
	return out, err
}

// config decodes the effective layers and checks them.
func (l *loader) config() (*Config, error) {
	c := Default()
	leaves(reflect.ValueOf(c).Elem(), "", func(key string, v reflect.Value, tag reflect.StructTag) {
		if n := l.leaf(key); l.sources[n] != fromDefault {
			l.value(n, v, key, tag)
		}
	})
	c.settle(l.given)
	if !l.unusable {
		l.check(c)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return c, nil
}
