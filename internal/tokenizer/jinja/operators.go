package jinja

import (
	"math"
	"math/big"
	"math/bits"
	"strings"
)

// chargeValue takes the steps of looking at a value off the budget.
func (r *render) chargeValue(v any) {
	switch v := v.(type) {
	case string:
		r.chargeText(len(v))
	case markup:
		r.chargeText(len(v))
	case List:
		r.chargeText(len(v))
	case Tuple:
		r.chargeText(len(v))
	}
}

// arithmetic is a binary operator of Python.
func (r *render) arithmetic(op string, a, b any) any {
	r.chargeValue(a)
	r.chargeValue(b)
	if s, ok := a.(string); ok && op == "%" {
		return r.printf(s, b)
	}
	if _, ok := a.(markup); ok && op == "%" {
		unsupported("formatting a text that is marked as safe")
	}
	need(a)
	need(b)
	i, f, iFloat, ok1 := number(a)
	j, g, jFloat, ok2 := number(b)
	switch {
	case ok1 && ok2 && (iFloat || jFloat):
		return floatArithmetic(op, f, g)
	case ok1 && ok2:
		return intArithmetic(op, i, j)
	case op == "+":
		return r.add(a, b)
	case op == "*" && ok2 && !jFloat:
		return r.repeat(a, j)
	case op == "*" && ok1 && !iFloat:
		return r.repeat(b, i)
	}
	fail("unsupported operand types for %s: %s and %s", op, typeName(a), typeName(b))
	return nil
}

func (r *render) add(a, b any) any {
	switch x := a.(type) {
	case string:
		switch y := b.(type) {
		case string:
			return x + y
		case markup:
			return markup(escapeHTML(x)) + y
		}
	case markup:
		switch y := b.(type) {
		case string:
			return x + markup(escapeHTML(y))
		case markup:
			return x + y
		}
	case List:
		if y, ok := b.(List); ok {
			r.charge(len(x) + len(y))
			return append(append(make(List, 0, len(x)+len(y)), x...), y...)
		}
	case Tuple:
		if y, ok := b.(Tuple); ok {
			r.charge(len(x) + len(y))
			return append(append(make(Tuple, 0, len(x)+len(y)), x...), y...)
		}
	}
	fail("unsupported operand types for +: %s and %s", typeName(a), typeName(b))
	return nil
}

func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;").Replace(s)
}

// times returns how often to repeat n elements, and charges for it.
func (r *render) times(n int, count int64) int {
	count = max(count, 0)
	if n > 0 && count > baseSteps {
		r.charge(-1)
	}
	if n == 0 {
		return 0
	}
	r.charge(n * int(count))
	return int(count)
}

func (r *render) repeat(v any, count int64) any {
	switch v := v.(type) {
	case string:
		return strings.Repeat(v, r.times(len(v), count))
	case markup:
		return markup(strings.Repeat(string(v), r.times(len(v), count)))
	case List:
		list := List{}
		for range r.times(len(v), count) {
			list = append(list, v...)
		}
		return list
	case Tuple:
		tuple := Tuple{}
		for range r.times(len(v), count) {
			tuple = append(tuple, v...)
		}
		return tuple
	}
	fail("unsupported operand types for *: %s and int", typeName(v))
	return nil
}

func intArithmetic(op string, i, j int64) any {
	overflow := func(bad bool) {
		if bad {
			unsupported("an integer of more than 64 bits")
		}
	}
	switch op {
	case "+":
		sum := i + j
		overflow((sum > i) != (j > 0) && j != 0)
		return sum
	case "-":
		difference := i - j
		overflow((difference < i) != (j > 0) && j != 0)
		return difference
	case "*":
		high, low := bits.Mul64(magnitude(i), magnitude(j))
		overflow(high != 0 || low > math.MaxInt64)
		return i * j
	case "**":
		if j < 0 {
			unsupported("a power that is not an integer")
		}
		power := big.NewInt(1)
		for range j {
			if power.Mul(power, big.NewInt(i)); !power.IsInt64() {
				overflow(true)
			}
			if i == 0 || i == 1 {
				break
			}
			if i == -1 {
				return 1 - 2*(j%2)
			}
		}
		return power.Int64()
	}
	if j == 0 {
		fail("division by zero")
	}
	switch op {
	case "/":
		f, _ := new(big.Rat).SetFrac64(i, j).Float64()
		if i == 0 && j < 0 {
			return math.Copysign(0, -1)
		}
		return f
	case "//":
		overflow(i == math.MinInt64 && j == -1)
		quotient := i / j
		if i%j != 0 && (i < 0) != (j < 0) {
			quotient--
		}
		return quotient
	case "%":
		if j == -1 {
			return int64(0)
		}
		remainder := i % j
		if remainder != 0 && (remainder < 0) != (j < 0) {
			remainder += j
		}
		return remainder
	}
	return nil
}

func magnitude(i int64) uint64 {
	if i < 0 {
		return -uint64(i)
	}
	return uint64(i)
}

func floatArithmetic(op string, f, g float64) any {
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "**":
		unsupported("a power that is not an integer")
	}
	if g == 0 {
		fail("division by zero")
	}
	if op == "/" {
		return f / g
	}
	remainder := math.Mod(f, g)
	quotient := (f - remainder) / g
	if remainder != 0 {
		if (g < 0) != (remainder < 0) {
			remainder += g
			quotient--
		}
	} else {
		remainder = math.Copysign(0, g)
	}
	if op == "%" {
		return remainder
	}
	if quotient == 0 {
		return math.Copysign(0, f/g)
	}
	floor := math.Floor(quotient)
	if quotient-floor > 0.5 {
		floor++
	}
	return floor
}
