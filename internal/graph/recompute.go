package graph

// Recompute makes the backward pass compute again what leads to the kept nodes, instead of keeping it: of everything that they are made of,
// only their own values live on (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost). Kept are the hidden states between a model's blocks.
// Results have the same bits as without it.
func (g *Graph) Recompute(kept ...*Node) {
	if g.err != nil {
		return
	}
	g.recompute = map[*Node]bool{}
	var add func(n *Node)
	add = func(n *Node) {
		if g.byNode[n] == nil || g.recompute[n] {
			return
		}
		g.recompute[n] = true
		for _, c := range g.byNode[n].in {
			add(c)
		}
	}
	for _, n := range kept {
		add(n)
	}
	for _, n := range kept {
		delete(g.recompute, n)
	}
}

// beginBackward settles which values the backward pass computes again: those of cheap ops always. Values that outlive the run are there anyway,
// and what an op left in its working memory cannot be had twice.
func (g *Graph) beginBackward(keep []*Node) {
	if g.recompute == nil {
		g.recompute = map[*Node]bool{}
	}
	for n, o := range g.byNode {
		if o.cheap {
			g.recompute[n] = true
		}
		if o.scratch > 0 || o.fixed {
			delete(g.recompute, n)
		}
	}
	for _, n := range keep {
		delete(g.recompute, n)
	}
	g.gradient, g.more = map[*Node]*Node{}, map[*Node][]*Node{}
	g.again = map[*Node]*Node{}
}

// forBackward returns the node from which a backward op reads the value of a forward node: itself, or one that computes it again.
// Nodes run in the order in which they are added, so that it runs when its first reader is about to, and what it is made of, too.
func (g *Graph) forBackward(n *Node) *Node {
	if g.again == nil || !g.recompute[n] {
		return n
	}
	if g.again[n] == nil {
		o := g.byNode[n]
		// Its run saves the same numbers for the backward op as the first one did.
		g.again[n] = g.apply(&op{name: o.name, shape: o.shape, inPlace: o.inPlace, run: o.run}, o.in...)
	}
	return g.again[n]
}
