package answer

import (
	"math/big"
	"regexp"
	"strings"
)

var (
	hashes = regexp.MustCompile(`####[^\n]*`)
	turn   = regexp.MustCompile(`(?m)^\s*A:\s*(.*)$`)
	// a sign, a currency in front or behind it, digits with commas between thousands or without, decimals
	numeral = regexp.MustCompile(`^[-−+]?[$€£]?[-−]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)`)
	// what makes a mixed number of a whole one: "2 1/2"
	fraction = regexp.MustCompile(`^ (\d{1,9})/(\d{1,9})\b`)
	ratio    = regexp.MustCompile(`^/(\d+)\b`)
)

// FindNumber returns the final number of a text: the first behind the first "####" (GSM8K), else the first behind the last "answer is" or "answer:",
// where an expression such as "( 84.0 / 2.0 )" counts as its value and "5 + 3 = 8" as what follows the last "=", else the one that follows "A:" at once,
// else the last of the text. Thousands commas, currencies and % are dropped; decimals, fractions (3/4) and mixed numbers (2 1/2) are exact.
func FindNumber(text string) (*big.Rat, bool) {
	text = Cut(text)
	if whole := strings.TrimRight(strings.TrimSpace(text), ".%"); whole != "" {
		if x, n := expression(whole, 0); n == len(whole) {
			return x, true
		}
	}
	for _, line := range hashes.FindAllString(text, -1) {
		if x, ok := first(line); ok {
			return x, true
		}
	}
	for _, line := range afterMarks(text) {
		if x, ok := first(line); ok {
			return x, true
		}
	}
	for _, m := range turn.FindAllStringSubmatch(text, -1) {
		if x, n := expression(m[1], 0); n > 0 {
			return after(m[1][n:], x), true
		}
	}
	return last(text)
}

// first returns the value of the first expression of a line.
func first(line string) (*big.Rat, bool) {
	for i := range line {
		if x, n := expression(line[i:], 0); n > 0 && !continues(line, i) {
			return after(line[i+n:], x), true
		}
	}
	return nil, false
}

// after returns what x equals where an equation goes on, else x.
func after(rest string, x *big.Rat) *big.Rat {
	for {
		right, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), "=")
		if !ok {
			return x
		}
		right = strings.TrimLeft(right, " ")
		y, n := expression(right, 0)
		if n == 0 {
			return x
		}
		x, rest = y, right[n:]
	}
}

// last returns the value of the last number of a text.
func last(text string) (x *big.Rat, ok bool) {
	for i := 0; i < len(text); {
		y, n := number(text[i:])
		if n == 0 || continues(text, i) {
			i++
			continue
		}
		i += n
		if m := ratio.FindStringSubmatch(text[i:]); m != nil {
			if d, _ := new(big.Rat).SetString(m[1]); d.Sign() != 0 {
				y.Quo(y, d)
			}
			i += len(m[0])
		}
		x = y
	}
	return x, x != nil
}

// continues says that the sign or point at i belongs to a word or number before it: 20-30, a-1.
func continues(text string, i int) bool {
	if i == 0 || text[i] >= '0' && text[i] <= '9' {
		return false
	}
	c := text[i-1]
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == ')'
}

// number reads the number at the beginning of a text and returns how many bytes it takes; 0: there is none.
func number(text string) (*big.Rat, int) {
	s := numeral.FindString(text)
	if s == "" {
		return nil, 0
	}
	n, negative := len(s), strings.ContainsAny(s, "-−")
	x, ok := new(big.Rat).SetString(strings.Trim(strings.ReplaceAll(s, ",", ""), "-−+$€£"))
	if !ok {
		return nil, 0
	}
	if m := fraction.FindStringSubmatch(text[n:]); m != nil && x.IsInt() {
		if part, ok := new(big.Rat).SetString(m[1] + "/" + m[2]); ok && part.Cmp(big.NewRat(1, 1)) < 0 {
			x.Add(x, part)
			n += len(m[0])
		}
	}
	if negative {
		x.Neg(x)
	}
	return x, n
}

// maxDepth bounds parentheses within parentheses.
const maxDepth = 50

// expression reads sums and products of numbers at the beginning of a text; the + and - of a sum stand between blanks.
func expression(text string, depth int) (*big.Rat, int) {
	x, n := product(text, depth)
	for n > 0 {
		rest := text[n:]
		if len(rest) < 3 || rest[0] != ' ' || rest[1] != '+' && rest[1] != '-' || rest[2] != ' ' {
			break
		}
		y, m := product(rest[3:], depth)
		if m == 0 {
			break
		}
		if rest[1] == '-' {
			y.Neg(y)
		}
		x.Add(x, y)
		n += 3 + m
	}
	return x, n
}

var times = regexp.MustCompile(`^ *([*/×÷]) *`)

func product(text string, depth int) (*big.Rat, int) {
	x, n := factor(text, depth)
	for n > 0 {
		m := times.FindStringSubmatch(text[n:])
		if m == nil {
			break
		}
		y, k := factor(text[n+len(m[0]):], depth)
		divide := m[1] == "/" || m[1] == "÷"
		if k == 0 || divide && y.Sign() == 0 {
			break
		}
		if divide {
			y.Inv(y)
		}
		x.Mul(x, y)
		n += len(m[0]) + k
	}
	return x, n
}

func factor(text string, depth int) (*big.Rat, int) {
	inner, ok := strings.CutPrefix(text, "(")
	if !ok {
		return number(text)
	}
	if depth == maxDepth {
		return nil, 0
	}
	trimmed := strings.TrimLeft(inner, " ")
	x, n := expression(trimmed, depth+1)
	rest := strings.TrimLeft(trimmed[n:], " ")
	if n == 0 || !strings.HasPrefix(rest, ")") {
		return nil, 0
	}
	return x, len(text) - len(rest) + 1
}
