package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"

	"kdistill/scripts/internal/trials"
)

type prompt struct {
	Prompt string `json:"prompt"`
}

// line is what is compared of an output's lines.
type line struct {
	Prompt       string `json:"prompt"`
	Completion   string `json:"completion"`
	FinishReason string `json:"finish_reason"`
	Logprobs     []struct {
		Token string `json:"token"`
		Top   []struct {
			Logprob float64 `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"logprobs"`
}

func (o *options) stories() error {
	if err := o.split(); err != nil {
		return err
	}
	stop, err := o.serve(filepath.Join(o.shared, "models/stories260k.gguf"), "stories260k", 512)
	if err != nil {
		return err
	}
	defer stop()
	served := fmt.Sprintf("{url: %s, model: stories260k}", o.url())
	greedy := func(teacher, output, more string) string {
		return fmt.Sprintf("teacher: %s\nsynth: {style: complete, input: %q, output: %q, max_tokens: 200, temperature: 0%s}\n", teacher, o.path("prompts.jsonl"), o.path(output), more)
	}
	if err := o.killed(greedy(served, "served.jsonl", ", extra: {repeat_penalty: 1}")); err != nil { // this server's default is another one
		return err
	}
	if _, err := finish(o.command("local", "synth", greedy(fmt.Sprintf("{path: %q}", o.teacher()), "local.jsonl", ", logprobs: 2"))); err != nil {
		return err
	}
	if err := o.compare(); err != nil {
		return err
	}
	sampled := fmt.Sprintf("teacher: %s\nsynth: {style: complete, input: %q, output: %q, max_tokens: 400, temperature: 1, extra: {top_k: 0, min_p: 0, repeat_penalty: 1}}\n", served, o.path("prompts.jsonl"), o.path("sampled.jsonl"))
	begun := time.Now()
	if _, err := finish(o.command("sampled", "synth", sampled)); err != nil {
		return err
	}
	log.Printf("the teacher's text for the students: %.0f s", time.Since(begun).Seconds())
	stop()
	return o.students()
}

func (o *options) path(name string) string { return filepath.Join(o.out, name) }
func (o *options) teacher() string         { return filepath.Join(o.shared, "models/stories260k") }

// split writes test stories (the first 200), real training stories, and prompts: the first 4, 8, … words of training stories.
func (o *options) split() error {
	stories, err := trials.Stories(filepath.Join(o.shared, "data/text/tinystories_10k.txt"))
	if err != nil {
		return err
	}
	train := stories[400:]
	for name, part := range map[string][]string{"test.txt": stories[:200], "real.txt": train} {
		if err := os.WriteFile(o.path(name), []byte(strings.Join(part, trials.Separator)), 0o666); err != nil {
			return err
		}
	}
	var prompts []prompt
	seen := map[string]bool{}
	for words := 4; len(prompts) < o.prompts && words < 40; words += 4 {
		for _, s := range train {
			p := strings.Join(strings.Fields(s)[:words], " ")
			if !seen[p] && len(prompts) < o.prompts {
				seen[p] = true
				prompts = append(prompts, prompt{p})
			}
		}
	}
	return writeLines(o.path("prompts.jsonl"), prompts)
}

// killed runs a configuration, kills it (SIGKILL) when a third of the answers is there, and runs it again to the end.
func (o *options) killed(config string) error {
	answers := o.path("served.answers.jsonl")
	stored := func() int {
		text, err := os.ReadFile(answers)
		if err != nil {
			return 0
		}
		return max(strings.Count(string(text), "\n")-1, 0) // less the header
	}
	cmd := o.command("served", "synth", config)
	before := stored()
	if before < o.prompts/3 {
		if err := cmd.Start(); err != nil {
			return err
		}
		for stored() < o.prompts/3 {
			time.Sleep(5 * time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait()
		log.Printf("killed with %d answers stored", stored())
	}
	begun := time.Now()
	if _, err := finish(o.command("served", "synth", config)); err != nil {
		return err
	}
	log.Printf("resumed: %d answers stored, %.0f s", stored(), time.Since(begun).Seconds())
	type record struct {
		Key string `json:"key"`
	}
	records, err := readLines[record](answers)
	if err != nil {
		return err
	}
	times := map[string]int{}
	for _, r := range records[1:] {
		times[r.Key]++
	}
	output, err := readLines[line](o.path("served.jsonl"))
	if err != nil {
		return err
	}
	log.Printf("prompts %d, keys stored %d, records %d, lines of the output %d: lost %d, doubled %d", o.prompts, len(times), len(records)-1, len(output), o.prompts-len(times), len(records)-1-len(times))
	return nil
}

// near is how far apart the two best logits may be where two engines choose differently.
const near = 1e-3

// compare counts the greedy answers in which server and local teacher differ, and whether the two best logits lie near each other there.
func (o *options) compare() error {
	served, err := readLines[line](o.path("served.jsonl"))
	if err != nil {
		return err
	}
	local, err := readLines[line](o.path("local.jsonl"))
	if err != nil {
		return err
	}
	byPrompt := map[string]line{}
	for _, l := range local {
		byPrompt[l.Prompt] = l
	}
	same, explained, other, missing := 0, 0, 0, 0
	for _, s := range served {
		l, ok := byPrompt[s.Prompt]
		if !ok {
			missing++
			continue
		}
		if l.Completion == s.Completion && l.FinishReason == s.FinishReason {
			same++
			continue
		}
		if gap := l.gap(s.Completion); gap <= near {
			explained++
		} else {
			if other++; other > 3 {
				continue
			}
			log.Printf("differs, smallest gap %.2g: %q\n  served %q\n  local  %q", gap, s.Prompt, s.Completion, l.Completion)
		}
	}
	log.Printf("greedy, served and local: %d the same, %d differ after a place where the two best logits lie within %g, %d differ otherwise, %d missing", same, explained, near, other, missing)
	return nil
}

// gap is the least distance of the two best logits up to the place where the text parts from another one.
func (l line) gap(other string) float64 {
	at := 0
	for at < len(l.Completion) && at < len(other) && l.Completion[at] == other[at] {
		at++
	}
	least, covered := math.Inf(1), 0
	for _, t := range l.Logprobs {
		if covered > at {
			break
		}
		if len(t.Top) > 1 {
			least = min(least, t.Top[0].Logprob-t.Top[1].Logprob)
		}
		covered += len(t.Token) // at most what it adds to the text: one token too many is looked at rather than one too few
	}
	return least
}

// students trains the same student on each text, seed by seed, and measures them on real stories.
func (o *options) students() error {
	written := fmt.Sprintf("{path: %q, prompt_field: prompt, completion_field: completion, mask_prompt: false, keep_truncated: true}", o.path("sampled.jsonl"))
	arms := []struct{ name, teacher, data, loss string }{
		{"teacher's text (black-box)", "", written, "cross_entropy"},
		{"teacher's text and logits (white-box)", fmt.Sprintf("teacher: {path: %q}\n", o.teacher()), written, "forward_kl"},
		{"real text", "", fmt.Sprintf("{path: %q, separator: \"<|endoftext|>\"}", o.path("real.txt")), "cross_entropy"},
	}
	teacher, err := o.eval(o.teacher())
	if err != nil {
		return err
	}
	fmt.Printf("| | nats per token on 200 real stories |\n|---|---|\n| the teacher | %.4f |\n", teacher)
	for i, a := range arms {
		var values []float64
		for seed := 1; seed <= o.seeds; seed++ {
			dir := o.path(fmt.Sprintf("student-%d-%d", i, seed))
			if _, err := os.Stat(filepath.Join(dir, "model/model.safetensors")); err != nil {
				config := fmt.Sprintf(`%sstudent:
  init: random
  config: %s
data: {train: [%s], sequence_length: 256}
loss: [{name: %s}]
train:
  steps: %d
  batch_size: 8
  optimizer: {lr: 8e-3, betas: [0.9, 0.95], weight_decay: 0.1}
  schedule: {name: cosine, warmup_steps: %d, min_lr_ratio: 0.1}
  seed: %d
  save_every: 0
output: {dir: %q}
`, a.teacher, student, a.data, a.loss, o.steps, o.steps/20, seed, dir)
				if a.teacher == "" { // the tokenizer and the sizes that are not said are the teacher's
					config = fmt.Sprintf("teacher: {path: %q}\n", o.teacher()) + config
				}
				if _, err := finish(o.command(filepath.Base(dir), "train", config, "--overwrite")); err != nil {
					return err
				}
			}
			value, err := o.eval(filepath.Join(dir, "model"))
			if err != nil {
				return err
			}
			values = append(values, value)
		}
		mean, deviation := stat.MeanStdDev(values, nil)
		if len(values) == 1 {
			deviation = 0
		}
		fmt.Printf("| %s | %.4f ± %.4f |\n", a.name, mean, deviation/math.Sqrt(float64(len(values))))
	}
	return nil
}

const student = "{hidden_size: 40, intermediate_size: 108, num_hidden_layers: 3, num_attention_heads: 5, num_key_value_heads: 5, head_dim: 8}"

func (o *options) eval(model string) (float64, error) {
	out, err := finish(exec.Command(o.kdistill, "eval", "--model", model, "--data", o.path("test.txt"), "--separator", "<|endoftext|>", "--long-documents", "truncate", "--json"))
	if err != nil {
		return 0, err
	}
	var figures struct {
		NLL float64 `json:"nll"`
	}
	return figures.NLL, json.Unmarshal(out, &figures)
}
