package synth

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/testutil"
)

// demoTeacher is a small model with a tokenizer.
func demoTeacher(t testing.TB) string {
	return filepath.Join(testutil.Root(t), "configs", "demo", "teacher")
}

// local is attempt with a teacher in this process.
func local(t testing.TB, dir, input, values string) (*Report, []Line, error) {
	t.Helper()
	c := configured(t, dir, "http://x", input, values)
	c.Teacher.Path = demoTeacher(t)
	rep, err := Make(t.Context(), c, Options{Log: io.Discard, Teacher: NewTeacher, now: func() time.Time { return time.Time{} }})
	if err != nil {
		return rep, nil, err
	}
	return rep, lines[Line](t, filepath.Join(dir, "out.jsonl")), nil
}

// TestLocal: the output's bytes don't hang on how many rows there are, and samples of one prompt differ.
func TestLocal(t *testing.T) {
	input := `{"prompt": "Once upon a time"}` + "\n" + `{"prompt": "The"}` + "\n" + `{"prompt": "One day"}`
	var want string
	for _, rows := range []int{1, 2, 7} {
		dir := t.TempDir()
		rep, all, err := local(t, dir, input, fmt.Sprintf("style: complete\nmax_tokens: 12\nsamples: 3\nlogprobs: 2\nconcurrency: %d", rows))
		if err != nil || rep.Kept != 9 || rep.Requests != 3 || !strings.HasPrefix(rep.Teacher, "sha256:") {
			t.Fatalf("%+v, %v", rep, err)
		}
		if all[0].Completion == all[1].Completion || all[0].FinishReason != FinishLength || rep.Truncated != 9 {
			t.Errorf("%+v", all[0])
		}
		if l := all[0].Logprobs; len(l) != 12 || l[0].ID == nil || len(l[0].Top) != 2 || l[0].Logprob > l[0].Top[0].Logprob || l[0].Top[0].Token == "" {
			t.Errorf("%+v", l)
		}
		text := read(t, filepath.Join(dir, "out.jsonl"))
		if want == "" {
			want = text
		} else if text != want {
			t.Errorf("%d rows: other bytes", rows)
		}
	}
}

// TestLocalStop: a stop string ends the answer, prompts longer than the context are refused for one reason, and others go on.
func TestLocalStop(t *testing.T) {
	long := strings.Repeat("the cat sat on the mat ", 500)
	input := fmt.Sprintf("{\"prompt\": %q}\n{\"prompt\": %q}\n{\"prompt\": \"Once upon a time\"}", long, long+"again")
	rep, all, err := local(t, t.TempDir(), input, "style: complete\nmax_tokens: 40\ntemperature: 0\nstop: [\" \"]")
	if err != nil || rep.Kept+len(rep.Removed) != 1 || len(rep.Refused) != 1 || rep.Refused[0].Count != 2 || rep.Refused[0].Reason != tooLong || !strings.Contains(rep.Refused[0].Samples[1].Detail, "tokens, the teacher has") {
		t.Fatalf("%+v, %v", rep, err)
	}
	for _, l := range all {
		if strings.Contains(l.Completion, " ") || l.FinishReason != FinishStop {
			t.Errorf("%+v", l)
		}
	}
}

func TestLocalWrong(t *testing.T) {
	for want, c := range map[string]config.Teacher{
		"no such":               {Path: filepath.Join(t.TempDir(), "nothing")},
		"only decoders":         {Path: filepath.Join(testutil.Testdata(t, "golden/models"), "bert-mlm")},
		"set synth.chat: false": {Path: demoTeacher(t)},
	} {
		cfg := configured(t, t.TempDir(), "http://x", prompts(1), "style: complete\nchat: true")
		c.DType = "auto"
		cfg.Teacher = c
		if _, err := Make(context.Background(), cfg, Options{Log: io.Discard, Teacher: NewTeacher}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}
