// Package suggest words the error for a name that is not known, with the nearest one that is.
// It compares spelling only and knows nothing of what the names mean.
package suggest

import (
	"fmt"
	"strings"
)

// Unknown returns the error for a name that is not among known, for example
// `loss: have "forward_lk", did you mean "forward_kl"? known: cross_entropy, forward_kl`.
func Unknown(what, name string, known []string) error {
	hint := ""
	if near := Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q? ", near)
	}
	if len(known) == 0 {
		return fmt.Errorf("%s: have %q, want none", what, name)
	}
	return fmt.Errorf("%s: have %q, %sknown: %s", what, name, hint, strings.Join(known, ", "))
}

// Nearest returns the known name that is spelt most like name, the first of equals, or "" where none is near:
// at most two fifths of the longer one's letters may differ. Where there is none, the only name that holds name or that name holds
// counts as near ("jsd" is generalized_jsd; "kl" may be many). Case, '-', '_' and spaces are not compared.
func Nearest(name string, known []string) string {
	best, bestCost := "", 0
	var related []string
	have := plain(name)
	for _, k := range known {
		want := plain(k)
		longer := max(len(have), len(want))
		cost := distance(have, want)
		if 5*cost <= 2*longer && cost < longer && (best == "" || cost < bestCost) {
			best, bestCost = k, cost
		}
		if len(have) >= 2 && (strings.Contains(want, have) || strings.Contains(have, want)) {
			related = append(related, k)
		}
	}
	if best == "" && len(related) == 1 {
		return related[0]
	}
	return best
}

func plain(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the inserted, deleted, replaced and swapped neighbouring bytes between a and b (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d := min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
