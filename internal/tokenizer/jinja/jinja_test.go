package jinja

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"kdistill/internal/testutil"
)

// read returns a file of testdata/tokenizer/chat, which scripts/golden/chat-templates.py makes.
func read(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(testutil.Testdata(t, "tokenizer/chat/"+name))
	if err == nil && strings.HasSuffix(name, ".gz") {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
			data, err = io.ReadAll(z)
		}
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// expressions are the cases with the variables that they use.
type expressions struct {
	Variables json.RawMessage
	Cases     [][2]*string // an expression and its text, nil: an error
}

func variables(t testing.TB, data json.RawMessage) map[string]any {
	t.Helper()
	v, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	for i, k := range v.(*Dict).keys {
		m[k.(string)] = v.(*Dict).values[i]
	}
	return m
}

func renderText(source string, v map[string]any) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	r, err := t.Render(v, Options{steps: 1_000_000})
	return r.Text, err
}

// compare holds a template to Python's result; it returns whether it was refused though Python renders it.
func compare(t *testing.T, source string, v map[string]any, want *string) (refused bool) {
	t.Helper()
	text, err := renderText(source, v)
	switch {
	case err != nil && want != nil:
		constant := strings.Contains(err.Error(), "slice") // of a literal, which jinja2 takes as undefined
		if !strings.Contains(err.Error(), "not supported") && !constant {
			t.Errorf("%q: have error %v, want %q", source, err, *want)
		}
		return true
	case err == nil && want == nil:
		t.Errorf("%q: have %q, want an error", source, text)
	case err == nil && text != *want:
		t.Errorf("%q:\nhave %q\nwant %q", source, text, *want)
	}
	return false
}

func TestExpressions(t *testing.T) {
	var e expressions
	read(t, "expressions.json.gz", &e)
	v := variables(t, e.Variables)
	refused := 0
	for _, c := range e.Cases {
		if compare(t, "{{ "+*c[0]+" }}", v, c[1]) {
			refused++
		}
	}
	if t.Logf("%d expressions, %d refused", len(e.Cases), refused); len(e.Cases) < 20000 || refused > 900 {
		t.Error("want at least 20000 expressions, and at most 900 refused")
	}
}

func TestSnippets(t *testing.T) {
	var e expressions
	read(t, "expressions.json.gz", &e)
	var cases [][2]*string
	read(t, "snippets.json", &cases)
	refused := 0
	for _, c := range cases {
		if compare(t, *c[0], variables(t, e.Variables), c[1]) {
			refused++
		}
	}
	if t.Logf("%d snippets, %d refused", len(cases), refused); len(cases) < 300 || refused > 6 {
		t.Error("want at least 300 snippets, and at most 6 refused")
	}
}

// TestLimits renders templates that would take too long, or too much memory or stack.
func TestLimits(t *testing.T) {
	nest := func(open, middle, end string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	for source, want := range map[string]string{
		"{{ range(10 ** 9) }}": "elements",
		nest("{% for i in range(100000) %}", "x", "{% endfor %}", 5):                                "steps",
		nest("{% for i in range(100000) %}", "", "{% endfor %}", 5):                                 "steps",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}":                                           "macro calls",
		"{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}":                                  "macro calls",
		"{% for x in [[1]] recursive %}{{ loop(x) if x is iterable else loop([[1]]) }}{% endfor %}": "within each other",
		"{{ 'ab' * 10 ** 9 }}":                           "steps",
		"{{ 'ab' * 10 ** 18 }}":                          "steps",
		"{{ [1] * 10 ** 12 }}":                           "steps",
		"{{ 'a'.center(10 ** 12) }}":                     "steps",
		"{{ 'a'.zfill(10 ** 10) }}":                      "steps",
		"{{ '\\t'.expandtabs(10 ** 10) }}":               "steps",
		"{{ 'a' | indent(10 ** 10) }}":                   "steps",
		"{{ [[1]] | tojson(indent=10 ** 9) }}":           "indent",
		"{{ ('a' * 100000).replace('', 'b' * 100000) }}": "steps",
		"{{ ('a' * 100000).join('b' * 100000) }}":        "steps",
		"{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}":                                                  "steps",
		"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}":                                                   "steps",
		"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}":                                         "steps",
		"{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | tojson | length }}":                       "steps",
		"{% set n = namespace(a=[1], b=[1]) %}{% for i in range(99) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}": "steps",
		"{% set n = namespace(t=(1,)) %}{% for i in range(99) %}{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} }}":                                   "key",
		"{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}":                                              "nested",
		"{% set n = namespace() %}{% set n.n = n %}{{ n }}":                                                                                             "nested",
		"{{ " + nest("(", "1", ")", 30000) + " }}":                                                                                                      "nested",
		"{{ " + nest("[", "1", "]", 30000) + " }}":                                                                                                      "nested",
		"{{ " + nest("-", "1", "", 30000) + " }}":                                                                                                       "nested",
		"{{ " + nest("not ", "1", "", 30000) + " }}":                                                                                                    "nested",
		"{{ " + nest("1 if ", "1", "", 30000) + " }}":                                                                                                   "in a row",
		"{{ a" + nest("(a", "", ")", 30000) + " }}":                                                                                                     "nested",
		nest("{% if 1 %}", "", "{% endif %}", 30000):                                                                                                    "nested",
		"{{ 1" + strings.Repeat(" + 1", 100_000) + " }}":                                                                                                "in a row",
		"{{ a" + strings.Repeat(".a", 100_000) + " }}":                                                                                                  "in a row",
		"{{ a" + strings.Repeat("|list", 100_000) + " }}":                                                                                               "in a row",
	} {
		_, err := renderText(source, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: have %v, want an error with %q", source, err, want)
		}
	}
}

func TestFromJSON(t *testing.T) {
	v, err := FromJSON([]byte(`{"b":[1,1.0,-0,1e3,true,null,"\ud83d\ude00\\ud83d"],"a":{},"b2":"","a":7}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"b": [1, 1.0, 0, 1000.0, true, null, "😀\\ud83d"], "a": 7, "b2": ""}`
	if s, err := renderText("{{ v | tojson }}", map[string]any{"v": v}); err != nil || s != want {
		t.Errorf("have %s (%v), want %s", s, err, want)
	}
	for data, want := range map[string]string{
		`{"a":`: "EOF", `[1,]`: "invalid", `1 2`: "behind", `"\ud83d"`: "half", `"\ude00\ud83d"`: "half", `"\ud83d\u0041"`: "half", `"a\\\ud83dx"`: "half", "\"\xff\"": "UTF-8",
		`12345678901234567890`: "64 bits", `NaN`: "invalid", strings.Repeat("[", 30000): "nested", `{"a" 1}`: "invalid", `{1:2}`: "invalid", ``: "EOF",
	} {
		if v, err := FromJSON([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: have %v, %v, want an error with %q", data, v, err, want)
		}
	}
}

func TestStrftime(t *testing.T) {
	now := time.Date(2024, time.July, 6, 15, 4, 5, 0, time.UTC)
	parsed, err := Parse("{{ strftime_now('%d %b %Y|%Y-%m-%d|%A, %B %e|%H:%M:%S %p %I|%a %y %j %%') }}")
	if err != nil {
		t.Fatal(err)
	}
	r, err := parsed.Render(nil, Options{Now: func() time.Time { return now }})
	if want := "06 Jul 2024|2024-07-06|Saturday, July  6|15:04:05 PM 03|Sat 24 188 %"; err != nil || r.Text != want {
		t.Errorf("have %q (%v), want %q", r.Text, err, want)
	}
}

func TestErrors(t *testing.T) {
	for source, want := range map[string]string{
		"a\n\n{{ u.x }}":                           "line 3: u is undefined",
		"{% if x %}\n{{ m[0].a.b }}{% endif %}":    "line 2: a dict has no a",
		"\n{% include 'x' %}":                      "line 2: not supported: {% include %}",
		"{{ 1\n+\n'a' }}":                          "line 1: unsupported operand types for +: int and str",
		"\n\n{{ a b }}":                            `line 3: have "b", want the end of the tag`,
		"{% for a in b %}":                         "line 1: have the end of the template, want {% endfor %} or {% else %}",
		"\xff":                                     "the template is not UTF-8",
		"\n{{ raise_exception('no ' ~ 1) }}":       "line 2: no 1",
		"{{ 'a' }}\n{{ 'b' | nofilter }}":          "line 2: no filter is named nofilter",
		"{% macro m(a) %}{% endmacro %}{{ m(1, 2)": `line 1: have the end of the template, want the end of the tag`,
	} {
		v, _ := FromJSON([]byte(`[{"role": "user"}]`))
		_, err := renderText(source, map[string]any{"x": true, "m": v})
		if err == nil || err.Error() != want {
			t.Errorf("%q:\nhave %v\nwant %s", source, err, want)
		}
		if e, ok := err.(*Error); ok && e.Raised != strings.Contains(source, "raise") {
			t.Errorf("%q: raised %v", source, e.Raised)
		}
	}
}

func FuzzRender(f *testing.F) {
	var cases [][2]*string
	read(f, "snippets.json", &cases)
	for _, c := range cases {
		f.Add(*c[0])
	}
	var e expressions
	read(f, "expressions.json.gz", &e)
	for i := 0; i < len(e.Cases); i += 50 {
		f.Add("{{ " + *e.Cases[i][0] + " }}")
	}
	v := variables(f, e.Variables)
	f.Fuzz(func(t *testing.T, source string) {
		text, err := renderText(source, v)
		if err == nil && !utf8.ValidString(text) {
			t.Fatalf("the text is not UTF-8: %q", text)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, 2.5, "\ud83d\ude00", null, true], "a": {}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := FromJSON(data)
		if err != nil {
			return
		}
		first, err := renderText("{{ v | tojson }}", map[string]any{"v": v})
		if err != nil {
			t.Fatal(err)
		}
		again, err := FromJSON([]byte(first))
		if err != nil {
			if strings.Contains(first, "Infinity") {
				return
			}
			t.Fatalf("%s: %v", first, err)
		}
		if second, _ := renderText("{{ v | tojson }}", map[string]any{"v": again}); second != first {
			t.Fatalf("%s and then %s", first, second)
		}
	})
}
