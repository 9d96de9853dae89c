package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// charClass is a character class of Oniguruma: what is in all of the operands of &&, or with negated what is not.
type charClass struct {
	negated  bool
	operands []union
}

// union is what is in one of its parts: items, the inside of a simple class, and expressions that match one character.
type union struct {
	items       string
	expressions []string
	not         string // where one of the expressions is [^…]: its inside
}

// plain returns a union that is a simple class as the inside of one, and that of its complement.
func (u *union) plain() (inside, complement string, ok bool) {
	switch {
	case len(u.expressions) == 0:
		return u.items, "^" + u.items, true
	case len(u.expressions) == 1 && u.not != "" && u.items == "":
		return "^" + u.not, u.not, true
	}
	return "", "", false
}

// expression returns the class as an expression that matches one character.
func (c *charClass) expression() string {
	if c == nil {
		return ""
	}
	if len(c.operands) == 2 && !c.negated { // a group in a loop would need memory for each character
		inside, _, ok := c.operands[0].plain()
		_, complement, ok2 := c.operands[1].plain()
		if ok && ok2 {
			return "[" + inside + "-[" + complement + "]]"
		}
	}
	var parts []string
	for _, u := range c.operands {
		var alternatives []string
		if u.items != "" {
			alternatives = []string{"[" + u.items + "]"}
		}
		s := strings.Join(append(alternatives, u.expressions...), "|")
		if len(u.expressions) > 0 {
			s = "(?:" + s + ")"
		}
		parts = append(parts, s)
	}
	last := len(parts) - 1
	if c.negated && last == 0 && len(c.operands[0].expressions) == 0 {
		return "[^" + c.operands[0].items + "]"
	}
	s := parts[last]
	for _, p := range parts[:last] {
		s = "(?=" + p + ")" + s
	}
	if c.negated {
		return "(?:(?!" + s + ")(?s:.))"
	}
	if last > 0 {
		return "(?:" + s + ")"
	}
	return s
}

// class reads what follows a '[', with its end.
func (t *onigReader) class() (*charClass, error) {
	if t.depth++; t.depth > deepestClass {
		return nil, fmt.Errorf("classes within classes, more than %d", deepestClass)
	}
	defer func() { t.depth-- }()
	c := &charClass{negated: t.accept("^")}
	if strings.HasPrefix(t.in, "]") {
		return nil, refuse("[]")
	}
	var u union
	single := "" // the last character, which can begin a range
	for t.in != "" {
		switch {
		case t.accept("]"):
			if c.operands = append(c.operands, u); u.items == "" && len(u.expressions) == 0 {
				return nil, refuse("&&]")
			}
			return c, nil
		case t.accept("&&"):
			if u.items == "" && len(u.expressions) == 0 {
				return nil, refuse("[&&")
			}
			c.operands = append(c.operands, u)
			u, single = union{}, ""
			continue
		case t.accept("[:"):
			name, rest, ok := strings.Cut(t.in, ":]")
			if !ok {
				return nil, refuse("[:")
			}
			t.in = rest
			name, not := strings.CutPrefix(name, "^")
			items, ok := bracketClasses[name]
			if !ok {
				return nil, refuse("[:" + name + ":]")
			}
			u.add(classItem{text: items, negated: not}.class())
		case t.accept("["):
			inner, err := t.class()
			if err != nil {
				return nil, err
			}
			u.add(inner)
		default:
			if single == "" && len(t.in) > 1 && t.in[0] == '-' && t.in[1] != ']' && u.items+strings.Join(u.expressions, "") != "" {
				return nil, refuse("a range that begins with a set")
			}
			if single != "" && len(t.in) > 1 && t.in[0] == '-' && t.in[1] != ']' && t.in[1] != '[' {
				t.in = t.in[1:]
				end, err := t.classItem()
				if err != nil || !end.single {
					return nil, errors.Join(err, refuse("-"+end.text+" in a class"))
				}
				u.items += "-" + end.text
				break
			}
			item, err := t.classItem()
			if err != nil {
				return nil, err
			}
			if item.single {
				u.items += item.text
				single = item.text
				continue
			}
			u.add(item.class())
		}
		single = ""
	}
	return nil, errors.New("a class without end")
}

// classItem reads a character of a class, or an escape.
func (t *onigReader) classItem() (classItem, error) {
	if t.accept(`\`) {
		return t.classEscape()
	}
	return classItem{text: literalItem(t.read()), single: true}, nil
}

// add puts a class into u.
func (u *union) add(c *charClass) {
	if !c.negated && len(c.operands) == 1 {
		u.items += c.operands[0].items
		u.expressions = append(u.expressions, c.operands[0].expressions...)
		u.not = c.operands[0].not
		return
	}
	if len(c.operands) == 1 && len(c.operands[0].expressions) == 0 {
		u.not = c.operands[0].items
	}
	u.expressions = append(u.expressions, c.expression())
}

// What Oniguruma takes for the sets that have names, as the inside of a class.
const (
	hexItems    = `0-9a-fA-F`
	spaceItems  = `\t-\r \x85\p{Z}`
	circleItems = "\u24B6-\u24E9\U0001F130-\U0001F149\U0001F150-\U0001F169\U0001F170-\U0001F189" // letters in circles and squares
	wordItems   = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}` + circleItems
	aloneItems  = wordItems + "²³¹¼-¾" // what \w matches where it is not in a class (sic)
)

// bracketClasses are those of [[:name:]].
var bracketClasses = map[string]string{
	"digit": `\p{Nd}`, "space": spaceItems, "blank": `\t\p{Zs}`, "cntrl": `\p{Cc}`, "xdigit": hexItems, "punct": `\p{P}\p{S}`,
	"word":  wordItems,
	"alpha": `\p{L}\p{Nl}` + rangeItems(unicode.Other_Alphabetic), "alnum": `\p{L}\p{Nd}\p{Nl}` + rangeItems(unicode.Other_Alphabetic),
	"upper": `\p{Lu}` + rangeItems(unicode.Other_Uppercase), "lower": `\p{Ll}` + rangeItems(unicode.Other_Lowercase),
}

// rangeItems writes a table as the inside of a class.
func rangeItems(table *unicode.RangeTable) string {
	var b strings.Builder
	add := func(low, high, stride rune) {
		for ; stride > 1 && low < high; low += stride {
			b.WriteRune(low)
		}
		fmt.Fprintf(&b, "%c-%c", low, high)
	}
	for _, r := range table.R16 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	for _, r := range table.R32 {
		add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
	}
	return b.String()
}

// property returns the characters of \p{name} as the inside of a class: a general category, a script or one of POSIX's sets.
func property(name string) (string, error) {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(s))
	}
	want := plain(name)
	switch want {
	case "any":
		return `\s\S`, nil
	case "ascii":
		return `\x00-\x7F`, nil
	case "whitespace":
		return spaceItems, nil
	case "punct":
		return `\p{P}`, nil
	}
	if items, ok := bracketClasses[want]; ok {
		return items, nil
	}
	for full, short := range unicode.CategoryAliases {
		if plain(full) == want {
			want = plain(short)
		}
	}
	for category := range unicode.Categories {
		if plain(category) == want {
			return `\p{` + category + `}`, nil
		}
	}
	for script := range unicode.Scripts {
		if plain(script) == want {
			return `\p{` + script + `}`, nil
		}
	}
	return "", refuse(`\p{` + name + `}`)
}
