package synth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"kdistill/internal/config"
)

func TestComplete(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(5), "style: complete\nsamples: 2\nlogprobs: 2\nconcurrency: 3\nprice: [1, 2]"), nil, newClock())
	if err != nil || !rep.Complete || rep.Kept != 10 || rep.Requests != 5 || rep.Usage != (Usage{PromptTokens: 15, CompletionTokens: 50}) || rep.Cost != 115e-6 {
		t.Fatalf("%+v, %v", rep, err)
	}
	all := lines[Line](t, filepath.Join(dir, "out.jsonl"))
	for i, l := range all {
		prompt := fmt.Sprintf("prompt %d", i/2)
		if l.Prompt != prompt || l.Completion != written(prompt+"<nil>", l.Request.Seed, i%2) || l.FinishReason != "stop" || l.Teacher != "tiny" || l.Request.N != 2 || *l.Request.Prompt != prompt ||
			*l.Usage != (Usage{3, 10, 2}) || len(l.Logprobs) != 1 || l.Logprobs[0].Top[0].Logprob != -1 {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if all[0].Request.Seed == all[2].Request.Seed {
		t.Error("two prompts have one seed")
	}
}

func TestChat(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	if _, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(1), "style: complete\nchat: true\nsystem: Be brief.\nextra: {top_k: 3}\nstop: [END]"), nil, newClock()); err != nil {
		t.Fatal(err)
	}
	q := s.requests[0]
	if fmt.Sprint(q["messages"]) != "[map[content:Be brief. role:system] map[content:prompt 0 role:user]]" || fmt.Sprint(q["stop"]) != "[END]" || q["top_k"] != 3.0 || q["prompt"] != nil || q["stream"] != nil {
		t.Errorf("%v", q)
	}
	l := lines[Line](t, filepath.Join(dir, "out.jsonl"))[0]
	if len(l.Messages) != 3 || l.Messages[2] != (Message{"assistant", l.Completion}) || l.Prompt != "prompt 0" {
		t.Errorf("%+v", l)
	}
}

// TestServerIgnoresN: the rest is asked for.
func TestServerIgnoresN(t *testing.T) {
	s := newServer(t)
	s.n = false
	dir := t.TempDir()
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(2), "style: complete\nsamples: 3"), nil, newClock())
	if err != nil || rep.Kept != 6 || s.count() != 6 {
		t.Fatalf("%+v, %v", rep, err)
	}
	seen := map[float64]bool{}
	for _, q := range s.requests {
		seen[q["seed"].(float64)] = true
	}
	if len(seen) != 6 {
		t.Errorf("have %d seeds, want 6", len(seen))
	}
}

func TestBestOf(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(4), "style: complete\nsamples: 1\ncomplete: {best_of: 4}"), nil, newClock())
	if err != nil || rep.Kept != 4 || rep.Answers != 16 || rep.Removed[0].Reason != "not the likeliest" || rep.Removed[0].Count != 12 {
		t.Fatalf("%+v, %v", rep, err)
	}
	for _, l := range lines[Line](t, filepath.Join(dir, "out.jsonl")) {
		for i := range 4 { // the server's log-probability is minus the length
			if other := written(l.Prompt+"<nil>", l.Request.Seed, i); len(other) < len(l.Completion) {
				t.Errorf("%q was kept, %q is likelier", l.Completion, other)
			}
		}
	}
}

// TestResume cuts a run off at each number of answers, by an interrupt or by death in the middle of a line, and goes on: the same bytes come out,
// and the server is asked for each answer once.
func TestResume(t *testing.T) {
	const n = 6
	values := "style: complete\nconcurrency: 2\nsamples: 2"
	whole := t.TempDir()
	if _, err := attempt(t.Context(), configured(t, whole, newServer(t).URL, prompts(n), values), nil, newClock()); err != nil {
		t.Fatal(err)
	}
	want := read(t, filepath.Join(whole, "out.jsonl"))
	stored := strings.SplitAfter(read(t, filepath.Join(whole, "out.answers.jsonl")), "\n")
	for cut := range n + 1 {
		s := newServer(t)
		dir := t.TempDir()
		cfg := configured(t, dir, s.URL, prompts(n), values)
		torn := ""
		if cut < n {
			torn = stored[1+cut][:len(stored[1+cut])/2]
		}
		write(t, filepath.Join(dir, "out.answers.jsonl"), strings.Join(stored[:1+cut], "")+torn)
		rep, err := attempt(t.Context(), cfg, nil, newClock())
		if err != nil || !rep.Complete || s.count() != n-cut {
			t.Fatalf("cut %d: %+v, %v, %d requests", cut, rep, err, s.count())
		}
		if read(t, filepath.Join(dir, "out.jsonl")) != want {
			t.Errorf("cut %d: the output differs", cut)
		}
	}
	for cut := 1; cut < n; cut++ {
		ctx, interrupt := context.WithCancel(t.Context())
		s := newServer(t)
		s.script = times(cut, nil)
		s.script = append(s.script, func(http.ResponseWriter, *http.Request) { interrupt(); panic(http.ErrAbortHandler) })
		dir := t.TempDir()
		cfg := configured(t, dir, s.URL, prompts(n), values+"\nretries: 0")
		var told bytes.Buffer
		if _, err := attempt(ctx, cfg, &told, newClock()); !errors.Is(err, context.Canceled) {
			t.Fatalf("have %v, want an interrupt", err)
		}
		had := len(lines[record](t, filepath.Join(dir, "out.answers.jsonl"))) - 1
		if want := fmt.Sprintf("\n%d answers are stored in %s: run the same command again to go on\n", 2*had, filepath.Join(dir, "out.answers.jsonl")); had > 0 && !strings.HasSuffix(told.String(), want) {
			t.Errorf("have %q, want %q at the end", told.String(), want)
		}
		asked := s.count()
		if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || s.count()-asked != n-had {
			t.Errorf("interrupt after %d: %v, %d requests for the other %d", cut, err, s.count()-asked, n-had)
		}
		if read(t, filepath.Join(dir, "out.jsonl")) != want {
			t.Errorf("interrupt after %d: the output differs", cut)
		}
	}
}

func TestAnotherRun(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	values := "style: complete\ntemperature: 0.5\nlimit: 2"
	if _, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(3), values), nil, newClock()); err != nil {
		t.Fatal(err)
	}
	answers, out := read(t, filepath.Join(dir, "out.answers.jsonl")), read(t, filepath.Join(dir, "out.jsonl"))
	for name, c := range map[string]struct{ input, values, want string }{
		"setting": {prompts(3), "style: complete\ntemperature: 0.6", `synth.temperature was "0.5", is "0.6"`},
		"input":   {prompts(4), values, "the input had another content"},
		"style":   {prompts(3), "style: nothing", "synth.style"},
		"stop":    {prompts(3), values + "\nstop: [x]", `synth.stop was empty, is "x"`},
		"stops":   {prompts(3), values + "\nstop: [a, b, c, d, e]", `synth.stop was empty, is "a", "b", "c", … (5): give`},
		"extra":   {prompts(3), values + "\nextra: {a: [1, 2], b: x}\nstop: [x]", `synth.extra was empty, is b: "x", a[0]: "1", a[1]: "2"; synth.stop`},
		"words":   {prompts(3), values + "\ncomplete: {words: 1}", `synth.complete.words was "0", is "1"`},
	} {
		_, err := attempt(t.Context(), configured(t, dir, s.URL, c.input, c.values), nil, newClock())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: have %v, want %s", name, err, c.want)
		}
	}
	if read(t, filepath.Join(dir, "out.answers.jsonl")) != answers || read(t, filepath.Join(dir, "out.jsonl")) != out || s.count() != 2 {
		t.Error("something was written or asked")
	}
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(3), "style: complete\ntemperature: 0.5\nconcurrency: 1\nretries: 9\nbudget_requests: 9"), nil, newClock())
	if err != nil || rep.Kept != 3 || s.count() != 3 { // more of the same input
		t.Errorf("%+v, %v, %d requests", rep, err, s.count())
	}
	if err := os.Remove(filepath.Join(dir, "out.answers.jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(3), values), nil, newClock()); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("an output without answers was overwritten: %v", err)
	}
}

// TestTwoAtOnce: a second process is told so, and asks nothing.
func TestTwoAtOnce(t *testing.T) {
	s := newServer(t)
	var second error
	var cfg *config.Config
	s.script = []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
		_, second = attempt(t.Context(), cfg, nil, newClock())
		s.answer(w, map[string]any{"prompt": "x", "n": 1.0, "seed": 1.0})
	}}
	cfg = configured(t, t.TempDir(), s.URL, prompts(1), "style: complete")
	if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || second == nil || !strings.Contains(second.Error(), "another process is writing to") || s.count() != 1 {
		t.Errorf("%v, the second %v, %d requests", err, second, s.count())
	}
}

func TestStoreThatIsNone(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	cfg := configured(t, dir, s.URL, prompts(3), "style: complete\nconcurrency: 1")
	path := filepath.Join(dir, "out.answers.jsonl")
	if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil {
		t.Fatal(err)
	}
	good := strings.SplitAfter(read(t, path), "\n")
	for name, text := range map[string]string{
		"no header":     good[1] + good[2],
		"another file":  "some\nother\nfile\n",
		"hole":          good[0] + good[1] + "???\n" + good[2],
		"another type":  `{"format":"x"}` + "\n",
		"another promp": good[0] + strings.Replace(good[1], "prompt 0", "prompt 9", 1),
	} {
		write(t, path, text)
		if _, err := attempt(t.Context(), cfg, nil, newClock()); err == nil || read(t, path) != text {
			t.Errorf("%s: have %v, or the file has changed", name, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "torn header": good[0][:20], "zeros": good[0] + good[1] + "\x00\x00\n"} {
		write(t, path, text)
		if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || read(t, path) != strings.Join(good, "") {
			t.Errorf("%s: have %v and\n%s", name, err, read(t, path))
		}
	}
}

func TestBudget(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	input := prompts(10)
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, input, "style: complete\nconcurrency: 1\nbudget_tokens: 20"), nil, newClock())
	if err != nil || rep.Complete || rep.Kept != 3 || rep.Usage.PromptTokens+rep.Usage.CompletionTokens != 24 { // 8 each: the third begins at 16
		t.Fatalf("%+v, %v", rep, err)
	}
	if have := len(lines[Line](t, filepath.Join(dir, "out.jsonl"))); have != 3 {
		t.Errorf("have %d lines", have)
	}
	var text bytes.Buffer
	if err := rep.Print(&text); err != nil || !strings.Contains(text.String(), "the budget is used up: raise it") {
		t.Errorf("%v\n%s", err, text.String())
	}
	rep, err = attempt(t.Context(), configured(t, dir, s.URL, input, "style: complete\nconcurrency: 3\nbudget_requests: 5"), nil, newClock())
	if err != nil || rep.Complete || rep.Requests != 5 {
		t.Fatalf("%+v, %v", rep, err)
	}
	rep, err = attempt(t.Context(), configured(t, dir, s.URL, input, "style: complete"), nil, newClock())
	if err != nil || !rep.Complete || rep.Kept != 10 || s.count() != 10 {
		t.Fatalf("%+v, %v, %d requests", rep, err, s.count())
	}
	quiet := newServer(t, body(`{"choices":[{"text":"a","finish_reason":"stop"}]}`))
	if _, err := attempt(t.Context(), configured(t, t.TempDir(), quiet.URL, input, "style: complete\nconcurrency: 1\nbudget_tokens: 20"), nil, newClock()); err == nil || !strings.Contains(err.Error(), "give synth.budget_requests instead") {
		t.Errorf("a budget that cannot be kept: %v", err)
	}
}

// TestRefusedPrompt: one prompt is too long. It is kept as such, is not asked again, and the others go on.
func TestRefusedPrompt(t *testing.T) {
	s := newServer(t, nil, status(400, "This model's maximum context length is 512 tokens. However, you requested 600."))
	dir := t.TempDir()
	cfg := configured(t, dir, s.URL, prompts(3), "style: complete\nconcurrency: 1")
	for range 2 {
		rep, err := attempt(t.Context(), cfg, nil, newClock())
		if err != nil || !rep.Complete || rep.Kept != 2 || len(rep.Refused) != 1 || rep.Refused[0].Samples[0].Record != 2 || rep.Refused[0].Reason != tooLong || !strings.Contains(rep.Refused[0].Samples[0].Detail, "maximum context length") {
			t.Fatalf("%+v, %v", rep, err)
		}
	}
	if s.count() != 3 {
		t.Errorf("have %d requests, want 3", s.count())
	}
}

// TestEmptyAndCut: an empty answer goes, one that was cut stays, and is marked.
func TestEmptyAndCut(t *testing.T) {
	s := newServer(t, body(`{"choices":[{"text":" \n","finish_reason":"stop"}]}`), body(`{"choices":[{"text":"half a sen","finish_reason":"length"}]}`), body(`{"choices":[{"text":"x","finish_reason":"content_filter"}]}`))
	dir := t.TempDir()
	rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(3), "style: complete\nconcurrency: 1"), nil, newClock())
	if err != nil || rep.Kept != 1 || rep.Truncated != 1 || len(rep.Removed) != 2 || rep.Removed[1].Reason != "empty answer" {
		t.Fatalf("%+v, %v", rep, err)
	}
	if l := lines[Line](t, filepath.Join(dir, "out.jsonl"))[0]; l.FinishReason != FinishLength {
		t.Errorf("%+v", l)
	}
}

// TestSmallDisk fills a real disk, at every page: among the answers, then while the output and the report are written. Nothing that was stored is asked for
// again, and with room the next run ends as one that was never short of it.
func TestSmallDisk(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("SKIPPED, a small disk can be made by root on Linux only")
	}
	const n, values = 40, "style: complete\nconcurrency: 1"
	whole := t.TempDir()
	if _, err := attempt(t.Context(), configured(t, whole, newServer(t).URL, prompts(n), values), nil, newClock()); err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for pages := 1; !said["finished"]; pages++ {
		disk := t.TempDir()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk", 4*pages), "none", disk).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, no small disk can be made: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
		s := newServer(t)
		cfg := configured(t, t.TempDir(), s.URL, prompts(n), values)
		cfg.Synth.Output = filepath.Join(disk, "out.jsonl")
		_, err := attempt(t.Context(), cfg, nil, newClock())
		asked := s.count()
		switch {
		case err == nil:
			said["finished"] = true
		case !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("%d pages: have %v", pages, err)
		case strings.Contains(err.Error(), "an answer cannot be stored"):
			said["answers"] = true
			asked-- // that one is asked for again
		case strings.Contains(err.Error(), "all answers are stored in") && strings.Contains(err.Error(), "run the same command again"):
			said["output"] = true
		default:
			t.Errorf("%d pages: no sentence that helps: %v", pages, err)
		}
		if out, err := exec.Command("mount", "-o", "remount,size=1m", disk).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, the disk cannot be made larger: %s", out)
		}
		before := s.count()
		if rep, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || rep.Kept != n || s.count()-before != n-asked {
			t.Fatalf("%d pages: going on: %+v, %v, %d requests after %d", pages, rep, err, s.count()-before, asked)
		}
		if read(t, cfg.Synth.Output) != read(t, filepath.Join(whole, "out.jsonl")) {
			t.Errorf("%d pages: the output differs", pages)
		}
	}
	if !said["answers"] || !said["output"] {
		t.Errorf("not every way was tried: %v", said)
	}
}

func FuzzStore(f *testing.F) {
	f.Add("{\"format\":\"kdistill answers 1\",\"settings\":{}}\n{\"key\":\"1\",\"answers\":[{}]}\n{\"key\"")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		write(t, path, text)
		s, _, err := openStore(path, header{})
		if err != nil {
			if read(t, path) != text {
				t.Error("a file that is none of ours has changed")
			}
			return
		}
		if err := errors.Join(s.add(record{Key: "new"}), s.close()); err != nil {
			t.Fatal(err)
		}
		again, cut, err := openStore(path, header{})
		if err != nil || cut != 0 || len(again.get("new")) != len(s.get("new")) {
			t.Errorf("what was appended is not there: %v", err)
		}
	})
}

func TestWrongInput(t *testing.T) {
	s := newServer(t)
	for name, c := range map[string]struct{ input, values, want string }{
		"no question":   {`{"x": "a"}`, "style: cot", `in.jsonl:1: no field "question"`},
		"no input":      {`{"x": "a"}`, "style: icl", `no field "input"`},
		"no instruct":   {`{"x": "a"}`, "style: instruct", `no field "instruction"`},
		"no topics":     {`{"instruction": "a"}`, "style: instruct\ninstruct: {form: topics}", "synth.instruct.topics is missing"},
		"no records":    {"\n", "style: complete", "no records"},
		"no JSON":       {"{\"prompt\": \"a\"}\nfoo\n", "style: complete", "in.jsonl:2: not valid JSON"},
		"no field":      {`{"text": "a"}`, "style: complete", `no field "prompt", have text: name the right one in synth.fields, such as {prompt: text}`},
		"not text":      {`{"prompt": ["a"]}`, "style: complete", "want a text, have"},
		"empty":         {`{"prompt": ""}`, "style: complete", "the prompt is empty"},
		"unknown style": {prompts(1), "style: complet", `did you mean "complete"?`},
		"unknown field": {prompts(1), "style: complete\nfields: {promt: x}", `did you mean "prompt"?`},
		"no filter":     {prompts(1), "style: complete\nfilters: [{name: nonsense}]", "synth.filters[0]"},
		"UTF-8":         {"{\"prompt\": \"\xff\"}", "style: complete", "invalid UTF-8"},
	} {
		dir := t.TempDir()
		_, err := attempt(t.Context(), configured(t, dir, s.URL, c.input, c.values), nil, newClock())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "go on") {
			t.Errorf("%s: have %v, want %s", name, err, c.want)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "out*")); err != nil || left != nil {
			t.Errorf("%s: %v is left, %v", name, left, err)
		}
	}
	if s.count() > 0 {
		t.Error("the server was asked")
	}
	if rep, err := attempt(t.Context(), configured(t, t.TempDir(), s.URL, `[{"text": "a b c d"}, {"text": 12}]`, "style: complete\nfields: {prompt: text}\ncomplete: {words: 2}"), nil, newClock()); err != nil || rep.Kept != 2 || s.requests[0]["prompt"] == s.requests[1]["prompt"] {
		t.Errorf("an array with other names: %+v, %v, %v", rep, err, s.requests)
	}
}

func TestBeginning(t *testing.T) {
	for text, want := range map[string]string{"a b c": "a b", " a\n\nb  c": "a\n\nb", "a": "a", "": "", "ä ö ü": "ä ö"} {
		if have := beginning(text, 2); have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
}

// TestSettings: what the answers of a style do not hang on may change.
func TestSettings(t *testing.T) {
	for style, c := range map[string]struct{ fixed, free string }{
		"complete":               {"style seed temperature stop complete.words complete.best_of", "output concurrency budget_tokens timeout limit instruct.exclude instruct.form cot.shots icl.form"},
		"instruct answers":       {"style max_tokens instruct.form", "instruct.exclude instruct.rouge instruct.shots instruct.topics instruct.turns complete.words"},
		"instruct self_instruct": {"instruct.form instruct.exclude instruct.rouge instruct.shots", "instruct.count instruct.topics"},
		"instruct topics":        {"instruct.form instruct.exclude instruct.topics", "instruct.count instruct.turns"},
		"cot":                    {"cot.shots", "cot.answer cot.rationalize cot.shots_from icl.shots"},
		"icl":                    {"icl.form icl.shots", "icl.count cot.shots"},
	} {
		cfg := config.Default()
		cfg.Synth.Style, cfg.Synth.Instruct.Form, _ = strings.Cut(style, " ")
		settings := cfg.Settings()
		for list, want := range map[string]bool{c.fixed: true, c.free: false} {
			for key := range strings.FieldsSeq(list) {
				if _, ok := settings["synth."+key]; ok != want {
					t.Errorf("%s: %s is compared: have %v, want %v", style, key, ok, want)
				}
			}
		}
	}
}

// TestOtherStyles: answers that were stored when other styles had other settings, or defaults, are those of this run.
func TestOtherStyles(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	cfg := configured(t, dir, s.URL, prompts(3), "style: complete\nstop: [x]")
	if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "out.answers.jsonl")
	write(t, path, strings.Replace(read(t, path), `"settings":{`, `"settings":{"synth.instruct.exclude[0]":"image","synth.cot.shots":"3",`, 1))
	if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || s.count() != 3 {
		t.Errorf("%v, %d requests", err, s.count())
	}
}

// TestMore: a run that wants more of the same goes on, and asks for the rest.
func TestMore(t *testing.T) {
	seeds := `{"instruction": "Name a large city in the north."}` + "\n"
	values := func(count int) string {
		return fmt.Sprintf("style: instruct\nchat: true\ninstruct: {form: chat, turns: %d}", count)
	}
	s := newServer(t)
	dir := t.TempDir()
	for _, c := range [][2]int{{1, 1}, {3, 5}, {2, 5}} {
		if _, err := attempt(t.Context(), configured(t, dir, s.URL, seeds, values(c[0])), nil, newClock()); err != nil || s.count() != c[1] {
			t.Errorf("%d turns: %v, %d requests, want %d", c[0], err, s.count(), c[1])
		}
		if l := lines[Line](t, filepath.Join(dir, "out.jsonl"))[0]; len(l.Messages) != 2*c[0] {
			t.Errorf("%d turns: have %d messages", c[0], len(l.Messages))
		}
	}
}
