package distill

import (
	"bytes"
	"context"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/data"
)

// toldLines are answers with what the live teacher of a configuration says at each of their tokens, the n likeliest ids; by text, or by id.
func toldLines(t testing.TB, c *config.Config, records []map[string]any, n int, byText bool) string {
	t.Helper()
	live := *c
	var plain []any
	for _, r := range records {
		plain = append(plain, r)
	}
	live.Data.Train, live.Data.Eval = []config.Source{{Path: lines(t, plain...), AppendEOS: "false"}}, nil
	r, err := prepare(context.Background(), &live, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	source, err := r.once()
	if err != nil {
		t.Fatal(err)
	}
	speaker := speakerOf(r)
	defer speaker.Close()
	words := tokenizerWords()
	candidate := func(id int, logProb float64) map[string]any {
		x := map[string]any{"token": words[id], "logprob": max(logProb, -1e4)}
		if !byText {
			x["id"] = id
		}
		return x
	}
	var out []any
	for {
		b, err := source.Next(1)
		if err == io.EOF {
			return lines(t, out...)
		}
		if err != nil {
			t.Fatal(err)
		}
		rows := make([][]float32, len(b.Tokens))
		if err := speaker.Speak(context.Background(), b, func(i int) bool { return b.Labels[i] != data.Ignore }, func(i int, z []float32) { rows[i] = slices.Clone(z) }); err != nil {
			t.Fatal(err)
		}
		var tokens []any
		for i, z := range rows {
			if z == nil {
				continue
			}
			sum := 0.0
			order := make([]int, len(z))
			for id, v := range z {
				sum += math.Exp(float64(v))
				order[id] = id
			}
			slices.SortFunc(order, func(x, y int) int { return int(math.Copysign(1, float64(z[y]-z[x]))) })
			var top []any
			for _, id := range order[:n] {
				top = append(top, candidate(id, float64(z[id])-math.Log(sum)))
			}
			token := candidate(int(b.Labels[i]), float64(z[b.Labels[i]])-math.Log(sum))
			token["top_logprobs"] = top
			tokens = append(tokens, token)
		}
		record := map[string]any{"teacher": "served", "finish_reason": "stop", "logprobs": tokens}
		for key, v := range records[b.Documents[0]] {
			record[key] = v
		}
		out = append(out, record)
	}
}

func prompted(n int) (all []map[string]any) {
	for i := range n {
		all = append(all, map[string]any{"prompt": strings.Repeat(string(rune('a'+i%26)), 1+i%4), "completion": strings.Repeat(string(rune('b'+i%20)), 2+i%5)})
	}
	return all
}

// TestToldIsLive: where a server tells of every id, training from what it told is training with the live teacher.
func TestToldIsLive(t *testing.T) {
	for _, byText := range []bool{false, true} {
		c := textConfig(t)
		c.Loss, c.Train.BestMetric, c.Data.Eval = only("forward_kl"), "nll", nil
		path := toldLines(t, c, prompted(30), 64, byText)
		c.Data.Train = []config.Source{{Path: path, AppendEOS: "false"}}
		want := train(t, c, Options{})
		c.Cache = config.Cache{Dir: filepath.Join(t.TempDir(), "told"), TopK: 64, Bits: 32}
		r, err := CacheAnswers(context.Background(), c, Options{Log: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Count != 64 || r.Header.Teacher.Path != "served" {
			t.Errorf("have %+v", r.Header)
		}
		told := *c
		told.Teacher.Path, told.Teacher.Cache, told.Output.Dir = "", c.Cache.Dir, filepath.Join(t.TempDir(), "run")
		told.Data.Train = []config.Source{{Path: filepath.Join(c.Cache.Dir, AnswersFile), AppendEOS: "false"}}
		have := train(t, &told, Options{})
		for i := range want {
			if !near(have[i].Loss, want[i].Loss, 1e-4) {
				t.Errorf("by text: %v, step %d: have loss %v, live %v", byText, i+1, have[i].Loss, want[i].Loss)
			}
		}
	}
}

// TestToldInPart keeps few ids and certain end tokens; what does not fit the tokenizer is left out and counted, and training from the rest goes through.
func TestToldInPart(t *testing.T) {
	c := textConfig(t)
	c.Loss, c.Train.BestMetric, c.Data.Eval = only("forward_kl"), "nll", nil
	path := toldLines(t, c, prompted(12), 5, true)
	text := string(read(t, path))
	others := []string{
		`{"prompt":"a","completion":"bc","teacher":"served","logprobs":[{"token":"bc","logprob":-1,"top_logprobs":[]}]}`,
		`{"prompt":"a","completion":"b","teacher":"served"}`,
		`{"prompt":"a","completion":"` + strings.Repeat("b", 40) + `","teacher":"served","logprobs":[{"token":"b","logprob":-1}]}`,
	}
	write(t, path, []byte(text+strings.Join(others, "\n")+"\n"))
	c.Data.Train = []config.Source{{Path: path, AppendEOS: "auto"}}
	c.Cache = config.Cache{Dir: filepath.Join(t.TempDir(), "told"), TopK: 64, Bits: 16}
	var said bytes.Buffer
	r, err := CacheAnswers(context.Background(), c, Options{Log: &said})
	if err != nil {
		t.Fatal(err)
	}
	mentions(t, said.String(), "left out: 1 answers whose tokens the student's tokenizer cuts otherwise", "left out: 1 answers without log-probabilities",
		"left out: 1 answers that are longer than data.sequence_length", "12 answers have rows")
	if r.Header.Count < 5 || r.Header.Count > 6 || r.Totals.Sequences != 12 {
		t.Errorf("have %+v, %+v", r.Header, r.Totals)
	}
	if again, err := CacheAnswers(context.Background(), c, Options{Log: io.Discard}); err != nil || again.Rows != 0 {
		t.Errorf("the second time: %v, %v", again, err)
	}
	told := *c
	told.Teacher.Path, told.Teacher.Cache, told.Output.Dir = "", c.Cache.Dir, filepath.Join(t.TempDir(), "run")
	refused(t, &told, Options{}, "lacks", "kdistill cache")
	told.Data.Train = []config.Source{{Path: filepath.Join(c.Cache.Dir, AnswersFile), AppendEOS: "auto"}}
	train(t, &told, Options{})
	told.Student.Path, told.Student.Init, told.Student.Config = "", "random", map[string]any{"num_hidden_layers": 1}
	told.Teacher.Path, told.Output.Dir = c.Teacher.Path, filepath.Join(t.TempDir(), "run")
	train(t, &told, Options{}) // made from a folder that is not the teacher
	mentions(t, CacheTable("told", r.Header, r.Totals)[6][1], "unknown: the teacher told no more")
}

func TestToldRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`{"prompt":"a","completion":"b"}`:                                                     "no answer is left",
		`{"prompt":"a","completion":"b","logprobs":{}}`:                                       `field "logprobs": want a list of tokens`,
		`{"prompt":"a","completion":"b","teacher":1}`:                                         `field "teacher": want a string, have a number`,
		`{"prompt":"a","completion":"b","teacher":"x","logprobs":[{"id":5,"logprob":-1}]}`:    "no answer is left",
		`{"prompt":"a","completion":"b","teacher":"x","logprobs":[{"id":99999,"logprob":1}]}`: "no answer is left",
		`{"prompt":"a","completion":"b","teacher":"x","logprobs":[{"token":"b","logprob":-1}]}` + "\n" +
			`{"prompt":"a","completion":"b","teacher":"y","logprobs":[{"token":"b","logprob":-1}]}`: "a cache keeps the words of one",
	} {
		c := textConfig(t)
		path := filepath.Join(t.TempDir(), "told.jsonl")
		write(t, path, []byte(line))
		c.Data.Train = []config.Source{{Path: path, AppendEOS: "auto"}}
		c.Cache.Dir = filepath.Join(t.TempDir(), "told")
		if _, err := CacheAnswers(context.Background(), c, Options{Log: io.Discard}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have error %v, want %q", line, err, want)
		}
	}
}
