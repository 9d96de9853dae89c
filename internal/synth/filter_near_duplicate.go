package synth

import (
	"fmt"
	"hash/fnv"
	"math"

	"kdistill/internal/config"
)

func init() {
	registerFilter("near_duplicate", filter{params: map[string]float64{"n": 3, "threshold": 0.7}, build: func(f config.Filter) (removes, error) {
		n, threshold := int(f.Values["n"]), f.Values["threshold"]
		if n < 1 || !(threshold > 0 && threshold <= 1) {
			return nil, fmt.Errorf("have n %d and threshold %v, want n of at least 1 and a threshold above 0, up to 1", n, threshold)
		}
		d := &duplicates{n: n, threshold: threshold, bands: map[[2]uint64][]int{}}
		return func(l Line) bool { return d.near(l.Prompt + "\n" + l.Completion) }, nil
	}})
}

// MinHash: bands of a few rows each find pairs from a Jaccard similarity of a half on; at 0.7 one pair in 5,000 is missed.
const (
	minhashBands = 32
	minhashRows  = 4
)

// duplicates finds texts whose sets of n words in a row resemble that of an earlier text: candidates by MinHash (Broder 1997), then exactly.
type duplicates struct {
	n         int
	threshold float64 // Jaccard similarity from which a text is a duplicate
	kept      []map[uint64]bool
	bands     map[[2]uint64][]int // number and hash of a band to texts in kept
}

// near tells whether a text resembles one that was kept; else it is kept.
func (d *duplicates) near(text string) bool {
	set := shingles(words(text), d.n)
	keys := minhash(set)
	seen := map[int]bool{}
	for _, key := range keys {
		for _, i := range d.bands[key] {
			if !seen[i] && jaccard(set, d.kept[i]) >= d.threshold {
				return true
			}
			seen[i] = true
		}
	}
	for _, key := range keys {
		d.bands[key] = append(d.bands[key], len(d.kept))
	}
	d.kept = append(d.kept, set)
	return false
}

// shingles are the hashes of all n words in a row; of fewer words, of all.
func shingles(words []string, n int) map[uint64]bool {
	set := map[uint64]bool{}
	n = min(n, len(words))
	for i := 0; n > 0 && i+n <= len(words); i++ {
		h := fnv.New64a()
		for _, w := range words[i : i+n] {
			h.Write([]byte(w))
			h.Write([]byte{0})
		}
		set[h.Sum64()] = true
	}
	return set
}

// minhash returns the hash of each band.
func minhash(set map[uint64]bool) (keys [][2]uint64) {
	for band := range minhashBands {
		sum := uint64(band)
		for row := range minhashRows {
			least := uint64(math.MaxUint64)
			for x := range set {
				least = min(least, mix(x+uint64(band*minhashRows+row+1)*0x9e3779b97f4a7c15))
			}
			sum = mix(sum ^ least)
		}
		keys = append(keys, [2]uint64{uint64(band), sum})
	}
	return keys
}

// mix is the finalizer of SplitMix64 (Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func jaccard(a, b map[uint64]bool) float64 {
	both := 0
	for x := range a {
		if b[x] {
			both++
		}
	}
	if union := len(a) + len(b) - both; union > 0 {
		return float64(both) / float64(union)
	}
	return 1 // two texts without words
}
