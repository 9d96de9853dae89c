package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// benchmarkTexts are TinyStories and WikiText-2 by documents, as scripts/bench-tokenizer gives them to the other side.
func benchmarkTexts(b *testing.B) (texts []string, size int) {
	for _, file := range [][2]string{{"tinystories_10k.txt", "<|endoftext|>"}, {"wikitext-2/valid.txt", " \n = "}} {
		data, err := os.ReadFile(testutil.Shared(b, "data/text/"+file[0]))
		if err != nil {
			b.Fatal(err)
		}
		texts = append(texts, strings.Split(string(data), file[1])...)
	}
	return texts, len(strings.Join(texts, ""))
}

func BenchmarkEncode(b *testing.B) {
	texts, size := benchmarkTexts(b)
	dir := testutil.Shared(b, "data/tokenizer/hf")
	for _, name := range names(b, dir) {
		tok := load(b, filepath.Join(dir, name+".tokenizer.json"))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				for _, s := range texts {
					if _, err := tok.Encode(s, true); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkEncodeBatch(b *testing.B) {
	texts, size := benchmarkTexts(b)
	dir := testutil.Shared(b, "data/tokenizer/hf")
	for _, name := range names(b, dir) {
		tok := load(b, filepath.Join(dir, name+".tokenizer.json"))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := tok.EncodeBatch(texts, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := testutil.Shared(b, "data/tokenizer/hf")
	for _, name := range names(b, dir) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				load(b, filepath.Join(dir, name+".tokenizer.json"))
			}
		})
	}
}
