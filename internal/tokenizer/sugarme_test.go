package tokenizer

import (
	"path/filepath"
	"reflect"
	"testing"

	"kdistill/internal/testutil"
)

// TestSugarme holds the pipeline of the other library, made of our parts, to our results.
func TestSugarme(t *testing.T) {
	dir := testutil.Testdata(t, "tokenizer/clean")
	var lines []corpusLine
	readJSON(t, filepath.Join(dir, "corpus.json"), &lines)
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			tok := clean(t, name)
			pipeline := tok.Sugarme()
			for i, line := range lines {
				if line.Text == "" || i%4 != 0 {
					continue
				}
				want, err := tok.Encode(line.Text, true)
				if err != nil {
					t.Fatal(err)
				}
				have, err := pipeline.EncodeSingle(line.Text, true)
				if err != nil {
					t.Fatalf("%q: %v", line.Text, err)
				}
				var ids []int32
				var spans []Span
				inside := want.Spans[len(tok.Prefix()) : len(want.Spans)-len(tok.Suffix())]
				for k, id := range have.Ids {
					ids = append(ids, int32(id))
					if have.SpecialTokenMask[k] == 0 {
						spans = append(spans, Span{have.Offsets[k][0], have.Offsets[k][1]})
					}
				}
				if !reflect.DeepEqual(ids, want.IDs) {
					t.Errorf("%q: have %v, want %v", line.Text, ids, want.IDs)
				}
				if len(inside) > 0 && !reflect.DeepEqual(spans, inside) {
					t.Errorf("%q: have offsets %v, want %v", line.Text, spans, inside)
				}
				if have, want := pipeline.Decode(have.Ids, false), tok.Decode(want.IDs, false); have != want {
					t.Errorf("decoded %q, want %q", have, want)
				}
			}
		})
	}
}
