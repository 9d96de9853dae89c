package synth

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// times is a script that answers so many times alike.
func times(n int, h http.HandlerFunc) []http.HandlerFunc {
	var all []http.HandlerFunc
	for range n {
		all = append(all, h)
	}
	return all
}

// halfABody promises more than it sends.
func halfABody(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	w.Write([]byte(`{"choices":[{"text":"ha`))
}

// never answers when the client has gone.
func never(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestWrongAnswers lets the second request fail in every way. What would be the same for every prompt ends the run with a sentence, and the answer before it is
// kept; what may be a matter of this prompt is reported, and the others go on. The next run asks what has no answer, and nothing else.
func TestWrongAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		tries  int
		want   []string
		ends   bool
	}{
		"401":          {status(401, "bad key sk-secret"), 1, []string{"401 Unauthorized: bad key", "teacher.key_env"}, true},
		"403":          {status(403, "not you"), 1, []string{"403 Forbidden: not you"}, true},
		"404":          {status(404, "no such thing"), 1, []string{"404 Not Found: no such thing", "synth.chat: true"}, true},
		"400":          {status(400, "temperature is too high"), 1, []string{"400 Bad Request: temperature is too high"}, false},
		"429":          {status(429, "slow down"), 3, []string{"429 Too Many Requests: slow down", "tried 3 times"}, true},
		"429 for long": {status(429, "slow down", "Retry-After", "7200"), 1, []string{"come back in 2h0m0s"}, true},
		"no money":     {status(429, "insufficient_quota: pay"), 1, []string{"insufficient_quota"}, true},
		"500":          {status(500, "oops"), 3, []string{"500 Internal Server Error: oops", "tried 3 times"}, false},
		"502 page": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>bad\n gateway</html>", http.StatusBadGateway)
		}, 3, []string{"502 Bad Gateway: <html>bad gateway</html>"}, false},
		"garbage":        {body("\x00\x01 not JSON"), 3, []string{"not what the API gives", "not JSON"}, false},
		"a page":         {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>welcome")) }, 3, []string{"not what the API gives", "<html>welcome"}, false},
		"half a body":    {halfABody, 3, []string{"broke off"}, false},
		"nothing":        {body(""), 3, []string{"not what the API gives"}, false},
		"no choices":     {body(`{"choices":[]}`), 3, []string{"no choices"}, false},
		"error in a 200": {body(`{"error":{"message":"overloaded"}}`), 3, []string{"no choices: overloaded"}, false},
		"strange choice": {body(`{"choices":[{"index":0,"finish_reason":"stop"}]}`), 3, []string{"without text or message"}, false},
		"too slow":       {never, 3, []string{"no answer within 50ms", "synth.timeout"}, false},
		"hung up":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3, []string{"no answer: ", "tried 3 times"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, append([]http.HandlerFunc{nil}, times(c.tries, c.handle)...)...)
			cfg := configured(t, t.TempDir(), s.URL, prompts(3), "style: complete\nconcurrency: 1\nretries: 2\ntimeout: 0.05")
			if name != "too slow" {
				cfg.Synth.Timeout = 60
			}
			k := newClock()
			rep, err := attempt(t.Context(), cfg, nil, k)
			said := ""
			switch {
			case c.ends && err == nil || !c.ends && (err != nil || rep.Complete || rep.Failed != 1 || rep.Kept != 2 || len(rep.Refused) != 1 || rep.Refused[0].Samples[0].Record != 2):
				t.Fatalf("have %+v, %v", rep, err)
			case c.ends:
				said = err.Error()
				c.want = append(c.want, "1 answers are stored in")
			default:
				said = rep.Refused[0].Samples[0].Detail + rep.Stopped
				c.want = append(c.want, "1 requests failed: run the same command again")
			}
			for _, want := range append(c.want, s.URL) {
				if !strings.Contains(said, want) {
					t.Errorf("have %q, want it to hold %q", said, want)
				}
			}
			asked, kept := 1+c.tries, 1
			if !c.ends {
				asked, kept = asked+1, 2
			}
			if have := s.count(); have != asked {
				t.Errorf("have %d requests, want %d", have, asked)
			}
			if have := len(lines[Line](t, cfg.Synth.Output)); have != kept {
				t.Errorf("have %d lines, want %d", have, kept)
			}
			cfg.Synth.Timeout = 60
			rep, err = attempt(t.Context(), cfg, nil, k)
			if err != nil || !rep.Complete || rep.Kept != 3 || rep.Failed != 0 || s.count() != asked+3-kept {
				t.Errorf("going on: %+v, %v, %d requests", rep, err, s.count())
			}
		})
	}
}

// TestSickServer: where one request after another fails, it is not the prompts, and the run ends; an answer between them means that it goes on.
func TestSickServer(t *testing.T) {
	s := newServer(t, append([]http.HandlerFunc{nil}, times(100, status(500, "oops"))...)...)
	cfg := configured(t, t.TempDir(), s.URL, prompts(20), "style: complete\nconcurrency: 1\nretries: 0")
	_, err := attempt(t.Context(), cfg, nil, newClock())
	for _, want := range []string{"5 requests in a row failed", "500 Internal Server Error: oops", "1 answers are stored in"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want it to hold %q", err, want)
		}
	}
	if have := s.count(); have != 6 {
		t.Errorf("have %d requests, want 6", have)
	}
	four := append(times(4, status(500, "oops")), nil)
	s.script = append(four, four...)
	if rep, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || rep.Failed != 8 || rep.Kept != 12 {
		t.Errorf("have %+v, %v", rep, err)
	}
	s.script = nil
	if rep, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || !rep.Complete || rep.Kept != 20 {
		t.Errorf("have %+v, %v", rep, err)
	}
	none := newServer(t, times(3, status(500, "oops"))...)
	if _, err := attempt(t.Context(), configured(t, t.TempDir(), none.URL, prompts(3), "style: complete\nretries: 0"), nil, newClock()); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("nothing but failures: have %v", err)
	}
}

// TestDiesBetween: a server that is gone ends the run with the first request that nobody takes.
func TestDiesBetween(t *testing.T) {
	s := newServer(t)
	s.script = []http.HandlerFunc{nil, func(w http.ResponseWriter, r *http.Request) {
		s.Listener.Close()
		panic(http.ErrAbortHandler)
	}}
	cfg := configured(t, t.TempDir(), s.URL, prompts(9), "style: complete\nconcurrency: 1\nretries: 2")
	_, err := attempt(t.Context(), cfg, nil, newClock())
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "in a row") || !strings.Contains(err.Error(), "1 answers are stored") {
		t.Errorf("have %v", err)
	}
}

// TestPassingFailures need no second run.
func TestPassingFailures(t *testing.T) {
	s := newServer(t, status(500, "x"), halfABody, status(429, "x", "Retry-After", "30"), body("garbage"), nil)
	k := newClock()
	var log bytes.Buffer
	rep, err := attempt(t.Context(), configured(t, t.TempDir(), s.URL, prompts(2), "style: complete\nconcurrency: 1"), &log, k)
	if err != nil || rep.Kept != 2 || s.count() != 6 {
		t.Fatalf("%+v, %v, %d requests", rep, err, s.count())
	}
	if len(k.slept) != 4 || k.slept[2] != 30*time.Second {
		t.Errorf("slept %v", k.slept)
	}
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 0, 8 * time.Second} {
		if want > 0 && (k.slept[i] < want/2 || k.slept[i] > want) {
			t.Errorf("pause %d: have %v, want %v to %v", i, k.slept[i], want/2, want)
		}
	}
	if !strings.Contains(log.String(), "429 Too Many Requests: x; again in 30s") {
		t.Error(log.String())
	}
}

// TestEverybodyWaits: where one request was told to come back later, the others wait as long.
func TestEverybodyWaits(t *testing.T) {
	k := newClock()
	r := newRetrier(1, func(string, ...any) {})
	r.now, r.sleep = k.now, func(context.Context, time.Duration) error { return context.Canceled } // the first one gives up
	if err := r.do(t.Context(), func() error { return &transient{error: context.DeadlineExceeded, after: time.Minute} }); err == nil {
		t.Fatal("no error")
	}
	r.sleep = k.sleep
	if err := r.do(t.Context(), func() error { return nil }); err != nil || len(k.slept) != 1 || k.slept[0] != time.Minute {
		t.Errorf("%v, slept %v", err, k.slept)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "3", 3 * time.Second}, {"Retry-After", "0.5", time.Second / 2}, {"Retry-After-Ms", "20", 20 * time.Millisecond},
		{"Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT", time.Minute}, {"Retry-After", "Fri, 02 Jan 2025 03:05:05 GMT", 0},
		{"Retry-After", "-1", 0}, {"Retry-After", "soon", 0}, {"Retry-After", "", 0}, {"Retry-After", "1e300", 0},
	} {
		if have := retryAfter(http.Header{c.name: {c.value}}, now); have != c.want {
			t.Errorf("%s: %s: have %v, want %v", c.name, c.value, have, c.want)
		}
	}
}

func TestServerAndModel(t *testing.T) {
	s := newServer(t)
	down := httptest.NewServer(nil)
	down.Close()
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	for name, c := range map[string]struct{ url, model, key, want string }{
		"down":        {down.URL, "", "", "no answer: "},
		"wrong model": {s.URL, "huge", "", `teacher.model: no model "huge": ` + s.URL + "/v1 has tiny"},
		"no list":     {empty.URL, "", "", "teacher.model is missing"},
		"no key":      {s.URL, "", "KDISTILL_TEST_NO_KEY", "KDISTILL_TEST_NO_KEY is not set"},
		"scheme":      {"ftp://x", "", "", "have \"ftp://x/v1\", want the server's base"},
		"password":    {"http://me:secret@127.0.0.1:1", "", "", "environment variable"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configured(t, t.TempDir(), c.url, prompts(1), "style: complete\nretries: 1")
			cfg.Teacher.Model, cfg.Teacher.KeyEnv = c.model, c.key
			_, err := attempt(t.Context(), cfg, nil, newClock())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "me:secret") {
				t.Errorf("have %v, want %s", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.Synth.Output), "out*")); left != nil {
				t.Errorf("%v is left", left)
			}
		})
	}
	cfg := configured(t, t.TempDir(), empty.URL, prompts(1), "style: complete\nretries: 1") // a server without a list takes any name
	cfg.Teacher.Model = "x"
	for url, want := range map[string]bool{empty.URL + "/v1": false, empty.URL: true} {
		cfg.Teacher.URL = url
		if _, err := attempt(t.Context(), cfg, nil, newClock()); err == nil || !strings.Contains(err.Error(), "404") || strings.Contains(err.Error(), "teacher.url ends with /v1") != want {
			t.Error(err)
		}
	}
}

// TestOtherModel: an answer by another model than was asked for is told, once.
func TestOtherModel(t *testing.T) {
	s := newServer(t)
	s.script = times(2, body(`{"model": "tiny-2", "choices": [{"text": "a", "finish_reason": "stop"}]}`))
	var told bytes.Buffer
	_, err := attempt(t.Context(), configured(t, t.TempDir(), s.URL, prompts(3), "style: complete"), &told, newClock())
	if n := strings.Count(told.String(), `was asked for model "tiny", and says that "tiny-2" answered`); err != nil || n != 1 {
		t.Errorf("told %d times, %v: %s", n, err, told.String())
	}
}

// TestLeftOut: null in synth.extra takes a key out of the request.
func TestLeftOut(t *testing.T) {
	s := newServer(t)
	_, err := attempt(t.Context(), configured(t, t.TempDir(), s.URL, prompts(1), "style: complete\nextra: {top_p: null, max_tokens: null, max_completion_tokens: 7}"), nil, newClock())
	q := s.requests[0]
	_, most := q["max_tokens"]
	_, top := q["top_p"]
	if err != nil || most || top || q["max_completion_tokens"] != 7.0 || q["temperature"] == nil {
		t.Errorf("%v: %v", err, q)
	}
}

// TestKey: the key is sent, and is nowhere else, not even where the server repeats it.
func TestKey(t *testing.T) {
	const secret = "sk-very-secret-4711"
	t.Setenv("KDISTILL_TEST_KEY", secret)
	var header string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("Authorization")
		status(500, "what is "+secret+"?")(w, r)
	}, nil, status(401, "wrong key "+secret))
	dir := t.TempDir()
	cfg := configured(t, dir, s.URL, prompts(2), "style: complete\nconcurrency: 1")
	cfg.Teacher.KeyEnv = "KDISTILL_TEST_KEY"
	var log bytes.Buffer
	_, err := attempt(t.Context(), cfg, &log, newClock())
	if header != "Bearer "+secret {
		t.Errorf("have %q", header)
	}
	if err == nil || strings.Contains(err.Error()+log.String(), secret) || !strings.Contains(log.String(), "what is [key]?") {
		t.Errorf("%v\n%s", err, log.String())
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if strings.Contains(read(t, f), secret) {
			t.Errorf("%s holds the key", f)
		}
	}
	t.Setenv("OPENAI_API_KEY", secret) // nobody named it
	cfg.Teacher.KeyEnv = ""
	s.script = []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("Authorization")
		s.answer(w, map[string]any{"n": 1.0, "seed": 1.0})
	}}
	if _, err := attempt(t.Context(), cfg, nil, newClock()); err != nil || header != "" {
		t.Errorf("%v, header %q", err, header)
	}
}

func TestParseAnswers(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"order":      {`{"choices":[{"index":1,"text":"b","finish_reason":"stop"},{"index":0,"text":"a","finish_reason":"length"}]}`, "a b"},
		"chat":       {`{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}`, "a"},
		"refusal":    {`{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}]}`, "no"},
		"nothing":    {`{"choices":[{"message":{"content":null},"finish_reason":"tool_calls"}]}`, ""},
		"unfinished": {`{"choices":[{"text":"a","finish_reason":null}]}`, "error"},
	} {
		answers, _, _, err := parseAnswers([]byte(c.body))
		var texts []string
		for _, a := range answers {
			texts = append(texts, a.Text)
		}
		if have := strings.Join(texts, " "); (err != nil) != (c.want == "error") || err == nil && have != c.want {
			t.Errorf("%s: have %q, %v", name, have, err)
		}
	}
	chat := `{"choices":[{"text":"a","finish_reason":"stop","logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[{"token":"a","logprob":-1}]}]}}]}`
	old := `{"choices":[{"text":"a","finish_reason":"stop","logprobs":{"tokens":["a"],"token_logprobs":[-1],"top_logprobs":[{"a":-1}],"text_offset":[0]}}]}`
	for _, body := range []string{chat, old} {
		answers, _, _, err := parseAnswers([]byte(body))
		if err != nil || len(answers[0].Logprobs) != 1 {
			t.Fatal(answers, err)
		}
		if l := answers[0].Logprobs[0]; l.Token != "a" || l.Logprob != -1 || len(l.Top) != 1 || l.Top[0].Token != "a" || l.Top[0].Logprob != -1 {
			t.Errorf("%+v", l)
		}
	}
}

func FuzzParseAnswers(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"text":"b","finish_reason":"stop","logprobs":{"tokens":["a","b"],"token_logprobs":[null],"top_logprobs":[]}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		answers, _, _, err := parseAnswers(body)
		if err == nil && len(answers) == 0 {
			t.Error("neither answers nor an error")
		}
	})
}
