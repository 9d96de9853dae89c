package graph

import "slices"

// span is a range of columns of a node.
type span struct{ from, n int }

func (s span) meets(t span) bool { return s.from < t.from+t.n && t.from < s.from+s.n }

// reached reports whether the cost hangs on a weight. One of several side by side may have columns that nobody reads: the values of a layer whose scores
// alone are compared.
func (g *Graph) reached(weight *Node, unused map[*Node]bool) bool {
	for n, o := range g.byNode {
		i := slices.Index(o.in, weight)
		if i < 0 || unused[n] {
			continue
		}
		if o.makes == nil || g.readers(n, o.makes[i], unused) {
			return true
		}
	}
	return false
}

// readers reports whether an op reads some of these columns.
func (g *Graph) readers(node *Node, columns span, unused map[*Node]bool) bool {
	for n, o := range g.byNode {
		if unused[n] || !slices.Contains(o.in, node) {
			continue
		}
		switch {
		case o.inColumns:
			if g.readers(n, columns, unused) {
				return true
			}
		case o.reads == nil || slices.ContainsFunc(o.reads, columns.meets):
			return true
		}
	}
	return false
}
