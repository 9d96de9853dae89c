package synth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// Served is a teacher behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, a vendor's API. Streaming is off.
type Served struct {
	url, model, key string
	timeout         time.Duration
	completions     openai.CompletionService
	chats           openai.ChatCompletionService
	models          openai.ModelService
	otherModel      sync.Once
	*retrier
}

// ServedOptions describe a server. KeyEnv names the environment variable of its key; "": it needs none.
type ServedOptions struct {
	URL, Model, KeyEnv string
	Timeout            time.Duration // of one try
	Retries            int
	Notice             func(format string, args ...any) // of requests that are sent again

	now   func() time.Time // tests have their own time
	sleep func(ctx context.Context, d time.Duration) error
}

// NewServed finds the server and its model: where the server lists its models, the model must be one of them, and may be left out where there is one.
func NewServed(ctx context.Context, o ServedOptions) (*Served, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("teacher.url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("teacher.url: have %q, want the server's base such as http://127.0.0.1:8000/v1", o.URL)
	case u.User != nil || u.RawQuery != "":
		return nil, errors.New("teacher.url: a user, a password or a query would be written to files: put the key into an environment variable and name that in teacher.key_env")
	}
	s := &Served{url: strings.TrimSuffix(o.URL, "/"), model: o.Model, timeout: o.Timeout, retrier: newRetrier(o.Retries, o.Notice)}
	if o.sleep != nil {
		s.now, s.sleep = o.now, o.sleep
	}
	if o.KeyEnv != "" {
		if s.key = strings.TrimSpace(os.Getenv(o.KeyEnv)); s.key == "" {
			return nil, fmt.Errorf("teacher.key_env: the environment variable %s is not set: put the server's key into it", o.KeyEnv)
		}
	}
	// The services alone, since a whole client would take keys from OPENAI_… variables that nobody named.
	options := []option.RequestOption{option.WithBaseURL(s.url + "/"), option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{})}
	if s.key != "" {
		options = append(options, option.WithAPIKey(s.key))
	}
	s.completions, s.chats, s.models = openai.NewCompletionService(options...), openai.NewChatCompletionService(options...), openai.NewModelService(options...)
	return s, s.findModel(ctx)
}

// findModel checks the model's name against the server's list, where it has one.
func (s *Served) findModel(ctx context.Context) error {
	var names []string
	err := s.do(ctx, func() (err error) {
		names, err = s.list(ctx)
		return err
	})
	var status *statusError
	switch {
	case errors.As(err, &status) && status.code != http.StatusUnauthorized && status.code != http.StatusForbidden:
		err = nil // it has no list
	case err != nil:
		return err
	}
	switch {
	case s.model == "" && len(names) == 1:
		s.model = names[0]
	case s.model == "":
		return fmt.Errorf("teacher.model is missing: %s", s.has(names))
	case len(names) > 0 && !slices.Contains(names, s.model):
		return fmt.Errorf("teacher.model: no model %q: %s", s.model, s.has(names))
	}
	return nil
}

func (s *Served) has(names []string) string {
	if len(names) == 0 {
		return fmt.Sprintf("%s lists no models: ask who runs it", s.url)
	}
	if len(names) > 20 {
		names = append(slices.Clip(names[:20]), "…")
	}
	return fmt.Sprintf("%s has %s", s.url, strings.Join(names, ", "))
}

func (s *Served) list(ctx context.Context) (names []string, err error) {
	body, err := s.call(ctx, "models", func(ctx context.Context, o ...option.RequestOption) error {
		_, err := s.models.List(ctx, o...)
		return err
	})
	if err != nil {
		return nil, err
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &list) != nil {
		return nil, &statusError{code: http.StatusOK, text: "no list of models"}
	}
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	return names, nil
}

// Identity is the model's name.
func (s *Served) Identity() string { return s.model }

// Answers asks once, and again as long as that may help.
func (s *Served) Answers(ctx context.Context, r Request) (answers []Answer, u *Usage, err error) {
	err = s.do(ctx, func() (err error) {
		answers, u, err = s.once(ctx, r)
		return err
	})
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		err = fmt.Errorf("%w; %s", err, s.hint(ctx, r))
	}
	return answers, u, err
}

// hint says what may be meant where the server does not know the model or the address.
func (s *Served) hint(ctx context.Context, r Request) string {
	names, err := s.list(ctx)
	if err == nil && !slices.Contains(names, s.model) {
		return s.has(names)
	}
	said := "if it knows no chats, set synth.chat: false"
	if r.Messages == nil {
		said = "if it only knows chats, set synth.chat: true"
	}
	if !strings.HasSuffix(s.url, "/v1") {
		said += "; teacher.url ends with /v1 as a rule"
	}
	return said
}

func (s *Served) once(ctx context.Context, r Request) ([]Answer, *Usage, error) {
	set := []option.RequestOption{option.WithJSONSet("model", s.model)}
	add := func(key string, value any) { set = append(set, option.WithJSONSet(key, value)) }
	add("max_tokens", r.MaxTokens)
	add("temperature", r.Temperature)
	add("top_p", r.TopP)
	add("n", r.N)
	add("seed", r.Seed)
	if len(r.Stop) > 0 {
		add("stop", r.Stop)
	}
	if r.TopK > 0 {
		add("top_k", r.TopK)
	}
	if r.MinP > 0 {
		add("min_p", r.MinP)
	}
	if r.RepetitionPenalty != 0 && r.RepetitionPenalty != 1 {
		add("repetition_penalty", r.RepetitionPenalty)
	}
	var name string
	var send func(ctx context.Context, o ...option.RequestOption) error
	if r.Messages != nil {
		name = "chat/completions"
		add("messages", r.Messages)
		if r.Logprobs > 0 {
			add("logprobs", true)
			add("top_logprobs", r.Logprobs)
		}
		send = func(ctx context.Context, o ...option.RequestOption) error {
			_, err := s.chats.New(ctx, openai.ChatCompletionNewParams{}, o...)
			return err
		}
	} else {
		name = "completions"
		add("prompt", *r.Prompt)
		if r.Logprobs > 0 {
			add("logprobs", r.Logprobs)
		}
		send = func(ctx context.Context, o ...option.RequestOption) error {
			_, err := s.completions.New(ctx, openai.CompletionNewParams{}, o...)
			return err
		}
	}
	for _, key := range sortedKeys(r.Extra) {
		if r.Extra[key] == nil { // not every server knows every key
			set = append(set, option.WithJSONDel(key))
		} else {
			add(key, r.Extra[key])
		}
	}
	body, err := s.call(ctx, name, func(ctx context.Context, o ...option.RequestOption) error { return send(ctx, append(set, o...)...) })
	if err != nil {
		return nil, nil, err
	}
	answers, u, model, err := parseAnswers(body)
	if err != nil {
		return nil, nil, &transient{error: fmt.Errorf("%s/%s: %w", s.url, name, s.hide(err))}
	}
	if model != "" && model != s.model {
		s.otherModel.Do(func() {
			s.notice("note: %s was asked for model %q, and says that %q answered", s.url, s.model, excerpt(s.scrub(model)))
		})
	}
	return answers[:min(len(answers), r.N)], u, nil
}

// call sends a request once and returns the answer's body. Failures that may pass are transient.
func (s *Served) call(ctx context.Context, name string, send func(ctx context.Context, o ...option.RequestOption) error) ([]byte, error) {
	limited, stop := context.WithTimeout(ctx, s.timeout)
	defer stop()
	var body []byte
	var response *http.Response
	err := send(limited, option.WithResponseBodyInto(&body), option.WithResponseInto(&response))
	at := s.url + "/" + name
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, &transient{error: fmt.Errorf("%s: no answer within %s (synth.timeout)", at, s.timeout)}
	case response == nil:
		var network *net.OpError
		return nil, &transient{error: fmt.Errorf("%s: no answer: %w", at, s.hide(err)), general: errors.As(err, &network) && network.Op == "dial"}
	case response.StatusCode >= 400:
		text, _ := io.ReadAll(response.Body) // as far as it came
		return nil, s.failure(at, response, string(text))
	case err != nil:
		return nil, &transient{error: fmt.Errorf("%s: the answer broke off: %w", at, s.hide(err))}
	}
	return body, nil
}

// statusError is an answer that is none.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// failure words an answer of status 400 or more, and decides what it means.
func (s *Served) failure(at string, response *http.Response, text string) error {
	code := response.StatusCode
	message := errorMessage(s.scrub(text))
	e := &statusError{code, fmt.Sprintf("%s: %d %s: %s", at, code, http.StatusText(code), message)}
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		if s.key == "" {
			e.text += ": the server wants a key: put it into an environment variable and name that in teacher.key_env"
		} else {
			e.text += ": the server does not take the key in the variable that teacher.key_env names"
		}
		return e
	case meansTooLong(message):
		return &Refused{tooLong, message}
	case code == http.StatusTooManyRequests && strings.Contains(text, "insufficient_quota"):
		return e
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code == http.StatusConflict || code == http.StatusTooEarly ||
		code >= 500 && code != http.StatusNotImplemented:
		return &transient{error: e, after: retryAfter(response.Header, s.now()), general: code == http.StatusTooManyRequests}
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		return &Failed{e}
	}
	return e
}

// tooLong is the reason of a refusal.
const tooLong = "the prompt is longer than the context"

// meansTooLong recognises the words of vLLM, llama.cpp, OpenAI and others for a prompt that does not fit.
func meansTooLong(message string) bool {
	message = strings.ToLower(message)
	for _, words := range []string{"context_length", "context length", "context window", "context size", "maximum context", "exceed_context", "too many tokens", "prompt is too long"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// errorMessage is the message in an error's JSON, else the beginning of the text.
func errorMessage(text string) string {
	var body struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal([]byte(text), &body) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		var plain string
		switch {
		case json.Unmarshal(body.Error, &inner) == nil && inner.Message != "":
			return excerpt(inner.Message)
		case json.Unmarshal(body.Error, &plain) == nil && plain != "":
			return excerpt(plain)
		case body.Message != "":
			return excerpt(body.Message)
		case len(body.Detail) > 0:
			return excerpt(string(body.Detail))
		}
	}
	return excerpt(text)
}

// excerpt is the beginning of a text on one line.
func excerpt(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " ")
	if text == "" {
		return "(nothing)"
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}

// retryAfter reads the pause that a server wants: milliseconds, seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < 1e12 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	after := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(after, 64); err == nil && s >= 0 && s < 1e9 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// scrub takes the key out of what a server or the library says.
func (s *Served) scrub(text string) string {
	if s.key == "" {
		return text
	}
	return strings.ReplaceAll(text, s.key, "[key]")
}

func (s *Served) hide(err error) error {
	if s.key == "" || !strings.Contains(err.Error(), s.key) {
		return err
	}
	return errors.New(s.scrub(err.Error()))
}
