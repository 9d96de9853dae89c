package data

// balance weighs the tokens of rationales in a batch so that the weighted mean over the labels of a file of style multitask is (A + λ R) / (1 + λ), of the means A over
// the batch's answers and R over its rationales, which are many times longer: Distilling step-by-step (Hsieh et al. 2023), whose code has α = 1/(1 + λ).
// Where a batch has no answers, or no rationales, it keeps the weights that rationales have over all documents.
func (d *Dataset) balance(b *Batch) {
	if d.rationales == nil {
		return
	}
	type counts struct{ answers, rationales int }
	labels := map[int]counts{} // by the first document of the file
	of := func(i int) (first int, lambda float64, rationale bool) {
		o := d.origin(int(b.Documents[i]))
		return o.first, o.rationaleWeight, d.rationales[b.Documents[i]]
	}
	for i, label := range b.Labels {
		if label == Ignore {
			continue
		}
		first, lambda, rationale := of(i)
		n := labels[first]
		switch {
		case lambda == 0:
		case rationale:
			n.rationales++
		default:
			n.answers++
		}
		labels[first] = n
	}
	for i, label := range b.Labels {
		if label == Ignore {
			continue
		}
		first, lambda, rationale := of(i)
		if n := labels[first]; rationale && n.answers > 0 {
			b.Weights[i] = float32(lambda * float64(n.answers) / float64(n.rationales))
		}
	}
}
