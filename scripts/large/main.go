// Command large writes what a big run needs: a teacher of 1.2 billion random parameters in bfloat16, in shards, tokens to train on, and a configuration
// for a student of 104 million. `kdistill bench --config DIR/config.yaml` then tells whether that fits in memory, and how fast it is.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"kdistill/internal/kernel"
	"kdistill/internal/model"
	"kdistill/internal/safetensors"
)

// teacherConfig has the shapes of Llama 3.2 1B.
const teacherConfig = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32,
 "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128256, "max_position_embeddings": 2048, "rope_theta": 500000.0,
 "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "hidden_act": "silu", "torch_dtype": "bfloat16"}
`

const runConfig = `teacher: {path: %[1]s/teacher}
student:
  init: random
  config: {num_hidden_layers: 10, hidden_size: 512, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 64, intermediate_size: 2048}
data:
  train: [{path: %[1]s/tokens.jsonl, format: tokens}]
  sequence_length: 512
loss:
  - {name: forward_kl, weight: 0.5}
  - {name: cross_entropy, weight: 0.5}
train: {batch_size: 8, steps: 100}
output: {dir: %[1]s/run}
`

func main() {
	log.SetFlags(0)
	dir := flag.String("out", "", "`DIR` that does not exist yet; takes 2.5 GB")
	shard := flag.Int("shard", 1<<30, "bytes of a shard, about")
	flag.Parse()
	if *dir == "" {
		log.Fatal("large: -out is missing")
	}
	if err := write(*dir, *shard); err != nil {
		log.Fatal("large: ", err)
	}
}

func write(dir string, shard int) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	teacher := filepath.Join(dir, "teacher")
	if err := os.Mkdir(teacher, 0o777); err != nil {
		return err
	}
	vocabulary, err := writeModel(teacher, shard)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 0))
	var tokens []byte
	for range 64 {
		ids := make([]int, 512)
		for i := range ids {
			ids[i] = random.IntN(vocabulary)
		}
		line, err := json.Marshal(map[string][]int{"input_ids": ids})
		if err != nil {
			return err
		}
		tokens = append(append(tokens, line...), '\n')
	}
	if err := os.WriteFile(filepath.Join(dir, "tokens.jsonl"), tokens, 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.yaml"), fmt.Appendf(nil, runConfig, dir), 0o666)
}

// writeModel writes a Hugging Face folder with an index, a shard after the other, and returns the size of its vocabulary.
func writeModel(dir string, shard int) (vocabulary int, err error) {
	m, err := model.New([]byte(teacherConfig))
	if err != nil {
		return 0, err
	}
	specs, err := model.Parameters(m)
	if err != nil {
		return 0, err
	}
	var shards [][]model.Spec
	size, total := shard, 0
	for _, s := range specs {
		bytes := 2
		for _, n := range s.Shape {
			bytes *= n
		}
		if size += bytes; size > shard {
			shards, size = append(shards, nil), bytes
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], s)
		total += bytes
	}
	places := map[string]string{}
	for i, specs := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if err := writeShard(filepath.Join(dir, name), specs); err != nil {
			return 0, err
		}
		for _, s := range specs {
			places[s.Name] = name
		}
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]int{"total_size": total}, "weight_map": places}, "", "  ")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), index, 0o666); err != nil {
		return 0, err
	}
	return m.Info().Vocab, os.WriteFile(filepath.Join(dir, "config.json"), []byte(teacherConfig), 0o666)
}

func writeShard(path string, specs []model.Spec) error {
	var tensors []safetensors.Tensor
	for i, s := range specs {
		random := rand.New(rand.NewPCG(uint64(i), uint64(len(s.Name))))
		t := safetensors.Tensor{Name: s.Name, DType: safetensors.BF16, Shape: s.Shape}
		for range t.Len() {
			bits := kernel.BF16(float32(s.Init.Const + s.Init.Std*random.NormFloat64()))
			t.Data = append(t.Data, byte(bits), byte(bits>>8))
		}
		tensors = append(tensors, t)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(safetensors.Write(f, tensors, map[string]string{"format": "pt"}), f.Close())
}
