package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Marshal writes the effective configuration. Read gives an equal Config.
func Marshal(c *Config) ([]byte, error) { return encode(c) }

func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}

// Change is a key that differs between two configurations, as YAML ("" where it is not set).
type Change struct {
	Key, Old, New string
	// Free: the key may change when a run goes on, since it does not alter what is learnt.
	Free bool
}

// Diff lists the keys that differ, in the order of Config; entries of lists one by one.
func Diff(old, new *Config) []Change {
	var changes []Change
	other := map[string]reflect.Value{}
	leaves(reflect.ValueOf(new).Elem(), "", func(key string, v reflect.Value, _ reflect.StructTag) { other[key] = v })
	leaves(reflect.ValueOf(old).Elem(), "", func(key string, v reflect.Value, tag reflect.StructTag) {
		was, now := scalars(key, v), scalars(key, other[key])
		all := maps.Clone(was)
		maps.Copy(all, now)
		for _, at := range slices.Sorted(maps.Keys(all)) {
			if was[at] != now[at] {
				changes = append(changes, Change{Key: at, Old: was[at], New: now[at], Free: tag.Get("resume") == "free"})
			}
		}
	})
	return changes
}

// scalars maps the key of every scalar in v to its text.
func scalars(key string, v reflect.Value) map[string]string {
	all := map[string]string{}
	var walk func(n *yaml.Node, key string)
	walk = func(n *yaml.Node, key string) {
		switch n.Kind {
		case yaml.SequenceNode:
			for i, element := range n.Content {
				walk(element, fmt.Sprintf("%s[%d]", key, i))
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				walk(n.Content[i+1], join(key, n.Content[i].Value))
			}
		default:
			all[key] = n.Value
		}
	}
	var root yaml.Node
	if err := root.Encode(v.Interface()); err != nil {
		panic(err) // a Config is always encodable
	}
	walk(&root, key)
	return all
}
