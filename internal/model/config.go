package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Config reads a config.json of transformers 4 or 5. The first error sticks; Err returns it.
type Config struct {
	ModelType string
	Notes     []string // what a user should know: dropout that is not applied, …

	values  map[string]any
	section string // "rope_scaling." in front of a nested key, in errors
	err     error
}

// ParseConfig reads the JSON text of a config.json.
func ParseConfig(text []byte) (*Config, error) {
	c := &Config{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&c.values); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	c.ModelType = c.Text("model_type", "")
	if c.err == nil && c.ModelType == "" {
		c.err = errors.New("config.json: model_type is missing")
	}
	if c.Has("quantization_config") {
		c.Refuse("quantization_config", "quantized weights are not supported; save the model in float32, float16 or bfloat16 first")
	}
	if c.Has("per_layer_config") {
		c.Refuse("per_layer_config", "layers of different settings are not supported")
	}
	c.Must("is_causal", true, "attention to later tokens is not supported")
	return c, c.err
}

// Err returns the first error.
func (c *Config) Err() error { return c.err }

// Refuse records that a key's value is not supported, and why.
func (c *Config) Refuse(key, why string) {
	c.fail(fmt.Errorf("config.json: %s%s = %s: %s", c.section, key, c.show(key), why))
}

func (c *Config) show(key string) string {
	text, _ := json.Marshal(c.values[key])
	return string(text)
}

func (c *Config) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Has reports whether the key is there with a value other than null.
func (c *Config) Has(key string) bool { return c.values[key] != nil }

func get[T any](c *Config, key, want string, def T, convert func(any) (T, bool)) T {
	v := c.values[key]
	if v == nil {
		return def
	}
	x, ok := convert(v)
	if !ok {
		c.fail(fmt.Errorf("config.json: %s%s: have %s, want %s", c.section, key, c.show(key), want))
		return def
	}
	return x
}

// Int returns a whole number; an absent key or null gives def.
func (c *Config) Int(key string, def int) int {
	return get(c, key, "a whole number", def, func(v any) (int, bool) {
		n, ok := v.(json.Number)
		if !ok {
			return 0, false
		}
		f, err := n.Float64()
		return int(f), err == nil && f == float64(int(f))
	})
}

// Limits far above every published model: what lies beyond is a mistake in config.json, not a model to make room for.
const (
	maxSize   = 1 << 24
	maxLayers = 1 << 10
)

// Size is an Int from 1 to maxSize.
func (c *Config) Size(key string, def int) int { return c.within(key, def, maxSize) }

// Layers is an Int from 1 to maxLayers.
func (c *Config) Layers(key string, def int) int { return c.within(key, def, maxLayers) }

func (c *Config) within(key string, def, most int) int {
	n := c.Int(key, def)
	if n < 1 || n > most {
		c.fail(fmt.Errorf("config.json: %s%s: have %d, want 1 to %d", c.section, key, n, most))
		return 1
	}
	return n
}

// Padding is the row of the embedding that gets no gradient (torch's padding_idx), -1: none. A negative id counts from the end, as in torch.
func (c *Config) Padding(def, vocab int) int32 {
	const key = "pad_token_id"
	id := def
	if hasKey(c, key) {
		if !c.Has(key) {
			return -1 // null
		}
		id = c.Int(key, def)
	} else if def < 0 {
		return -1
	}
	if id < -vocab || id >= vocab {
		c.fail(fmt.Errorf("config.json: %s: have %d, want a row of the embedding, which has vocab_size %d", key, id, vocab))
		return -1
	}
	return int32((id + vocab) % vocab)
}

// Positive is a Float that must be above 0.
func (c *Config) Positive(key string, def float64) float64 {
	x := c.Float(key, def)
	if !(x > 0) {
		c.fail(fmt.Errorf("config.json: %s%s: have %v, want a number above 0", c.section, key, x))
		return 1
	}
	return x
}

// Float returns a number.
func (c *Config) Float(key string, def float64) float64 {
	return get(c, key, "a number", def, func(v any) (float64, bool) {
		n, ok := v.(json.Number)
		if !ok {
			return 0, false
		}
		f, err := n.Float64()
		return f, err == nil
	})
}

// Bool returns true or false.
func (c *Config) Bool(key string, def bool) bool {
	return get(c, key, "true or false", def, func(v any) (bool, bool) { b, ok := v.(bool); return b, ok })
}

// Text returns a string.
func (c *Config) Text(key, def string) string {
	return get(c, key, "a text", def, func(v any) (string, bool) { s, ok := v.(string); return s, ok })
}

// Texts returns a list of strings, nil when absent.
func (c *Config) Texts(key string) []string {
	return get(c, key, "a list of texts", nil, func(v any) ([]string, bool) {
		list, ok := v.([]any)
		var out []string
		for _, x := range list {
			s, isText := x.(string)
			ok = ok && isText
			out = append(out, s)
		}
		return out, ok
	})
}

// Floats returns a list of numbers, nil when absent.
func (c *Config) Floats(key string) []float64 {
	return get(c, key, "a list of numbers", nil, func(v any) ([]float64, bool) {
		list, ok := v.([]any)
		var out []float64
		for _, x := range list {
			n, isNumber := x.(json.Number)
			f, err := n.Float64()
			ok = ok && isNumber && err == nil
			out = append(out, f)
		}
		return out, ok
	})
}

// Section returns a nested object as a Config of its own, nil when absent or null. Its errors must be passed on with Take.
func (c *Config) Section(key string) *Config {
	return get(c, key, "an object", nil, func(v any) (*Config, bool) {
		m, ok := v.(map[string]any)
		return &Config{values: m, section: key + "."}, ok
	})
}

// Take passes on the error of a section.
func (c *Config) Take(section *Config) {
	if section.err != nil {
		c.fail(section.err)
	}
}

// OneOf returns a text that must be among the allowed ones.
func (c *Config) OneOf(key, def string, allowed ...string) string {
	s := c.Text(key, def)
	if c.err == nil && !slices.Contains(allowed, s) {
		c.Refuse(key, "supported: "+strings.Join(allowed, ", "))
	}
	return s
}

// Must refuses any value but want (or an absent key).
func (c *Config) Must(key string, want bool, why string) {
	if c.Bool(key, want) != want {
		c.Refuse(key, why)
	}
}

func number(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// Dropout notes dropout rates that are above 0, def where a key is absent: training applies none.
func (c *Config) Dropout(def float64, keys ...string) {
	var set []string
	for _, k := range keys {
		if p := c.Float(k, def); p > 0 {
			set = append(set, fmt.Sprintf("%s %g", k, p))
		}
	}
	if len(set) > 0 {
		c.Notes = append(c.Notes, "dropout is not applied ("+strings.Join(set, ", ")+")")
	}
}
