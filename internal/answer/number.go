package answer

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

var (
	hashes = regexp.MustCompile(`####[^\n]*`)
	turn   = regexp.MustCompile(`(?m)^\s*A:\s*(.*)$`)
	closed = regexp.MustCompile(`^\s*(?:$|[.,;:!()])`)
	// a sign, a currency in front or behind it; digits with commas, narrow blanks or the like between thousands or without, decimals; a power of ten
	numeral   = regexp.MustCompile(`^([-−–+]?[$€£¥₹]?[-−–]?)((?:\d{1,3}(?:(?:[,'’_\x{a0}\x{2009}\x{202f}]|\{,\})\d{3})+|\d+)(?:\.\d+)?|\.\d+)([eE][-+]?\d{1,3})?`)
	thousands = strings.NewReplacer(",", "", "'", "", "’", "", "_", "", "\u00a0", "", "\u2009", "", "\u202f", "", "{,}", "")
	// what makes a mixed number of a whole one: "2 1/2"
	fraction = regexp.MustCompile(`^ (\d{1,9})/(\d{1,9})\b`)
	ratio    = regexp.MustCompile(`^/(\d+)\b`)
	power    = regexp.MustCompile(`^( ?(?:[×x*]|\\times) ?10)?\^(?:(-?\d{1,2})\b|\{(-?\d{1,2})\})`)
	// fractions as TeX and Unicode have them, perhaps behind a whole number
	stacked = regexp.MustCompile(`(\d ?)?(?:\\[dt]?frac\{(-?[\d.,]+)\}\{([\d.,]+)\}|([\x{bc}-\x{be}\x{2150}-\x{215e}]))`)
	// what an equation's left side may still have: "+3 ="
	equation = regexp.MustCompile(`^(?: *[-−–+*/×÷x^] *[$(]*[\d.,]*\d[)%]*)* *= *`)
)

// FindNumber returns the final number of a text: the first behind the first "####" (GSM8K), else the first behind the last "answer is" or "answer:",
// where an expression such as "( 84.0 / 2.0 )" counts as its value and "5 + 3 = 8" as what follows the last "=", else the one that follows "A:" at once,
// (where a sentence goes on behind that, the last of the line), else the last of the text. Separators of thousands, currencies and % are dropped; decimals, powers
// (1e6, 10^6), fractions (3/4, ¾, \frac{3}{4}) and mixed numbers (2 1/2) are exact. Full-width characters count as those of ASCII.
func FindNumber(text string) (*big.Rat, bool) {
	text = Cut(flat(width.Narrow.String(text)))
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
			rest := m[1][n:]
			if y, ok := last(rest); ok && !closed.MatchString(rest) {
				return y, true
			}
			return after(rest, x), true
		}
	}
	return last(text)
}

// flat writes fractions on one line: 2½ as 2 1/2.
func flat(text string) string {
	return stacked.ReplaceAllStringFunc(text, func(found string) string {
		m := stacked.FindStringSubmatch(found)
		whole := strings.TrimSpace(m[1])
		if whole != "" {
			whole += " "
		}
		if m[4] != "" {
			return whole + strings.ReplaceAll(norm.NFKC.String(m[4]), "⁄", "/")
		}
		return whole + m[2] + "/" + m[3]
	})
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
		left := equation.FindString(rest)
		y, n := expression(rest[len(left):], 0)
		if left == "" || n == 0 {
			return x
		}
		x, rest = y, rest[len(left)+n:]
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
	s := numeral.FindStringSubmatch(text)
	if s == nil {
		return nil, 0
	}
	n, negative := len(s[0]), strings.ContainsAny(s[1], "-−–")
	x, ok := new(big.Rat).SetString(thousands.Replace(s[2]) + s[3])
	if !ok {
		return nil, 0
	}
	if m := power.FindStringSubmatch(text[n:]); m != nil && x.Sign() != 0 && len(s[2]) <= maxPowered {
		e, err := strconv.Atoi(m[2] + m[3])
		switch {
		case err != nil:
			return nil, 0
		case m[1] != "": // 3 × 10^5
			x.Mul(x, raised(big.NewRat(10, 1), e))
		default:
			x = raised(x, e)
		}
		n += len(m[0])
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

// raised is a power of x, which is not 0.
func raised(x *big.Rat, e int) *big.Rat {
	if e < 0 {
		x, e = new(big.Rat).Inv(x), -e
	}
	by := big.NewInt(int64(e))
	return new(big.Rat).SetFrac(new(big.Int).Exp(x.Num(), by, nil), new(big.Int).Exp(x.Denom(), by, nil))
}

const (
	maxDepth   = 50 // of parentheses within parentheses
	maxPowered = 20 // digits of a number that is raised
)

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
