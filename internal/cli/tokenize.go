package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"kdistill/internal/tokenizer"
)

func init() { register(newTokenize) }

type tokenizeOptions struct {
	tokenizer, input, template string
	noSpecial, decode          bool
	offsets, chat, json        bool
}

func newTokenize(s streams) *cobra.Command {
	var o tokenizeOptions
	c := &cobra.Command{
		Use:   "tokenize --tokenizer FILE|DIR",
		Short: "Turn text into token ids, and back",
		Long: `Turn lines of text into token ids, one line of output for each, or with --decode ids into text. A line ends with \n or \r\n.

With --json the lines are JSON. A line of input has text; with --decode it is a list of ids, or has ids; a line of output has ids and
text, and with --offsets the bytes of the text that each token stands for, [start, end).
With --chat a line of input is JSON in any case: messages, and where wanted tools, documents, add_generation_prompt and
chat_template_kwargs, as Hugging Face's apply_chat_template takes them. The prompt that the tokenizer's chat template makes of it is
encoded without special tokens, since it has them; with --json the line of output has ids and prompt.`,
		Example: `  kdistill tokenize --tokenizer models/stories260k --input text.txt
  kdistill tokenize --tokenizer models/stories260k --input ids.txt --decode --no-special
  kdistill tokenize --tokenizer models/x --input conversations.jsonl --chat --json`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	f := c.Flags()
	f.StringVar(&o.tokenizer, "tokenizer", "", "a tokenizer.json, or a folder with one: `FILE|DIR`")
	f.StringVar(&o.input, "input", "", "read `FILE` instead of the standard input")
	f.BoolVar(&o.noSpecial, "no-special", false, "add no special tokens; with --decode: leave special tokens out")
	f.BoolVar(&o.decode, "decode", false, "turn ids into text")
	f.BoolVar(&o.offsets, "offsets", false, "write the bytes that each token stands for; without --json as ID:START:END")
	f.BoolVar(&o.chat, "chat", false, "turn conversations into prompts and encode these")
	f.StringVar(&o.template, "chat-template", "", "with --chat: the tokenizer's template `NAME`, or a built-in one: "+strings.Join(tokenizer.ChatTemplates(), ", "))
	f.BoolVar(&o.json, "json", false, "read and write JSON lines")
	return c
}

func (o *tokenizeOptions) check() error {
	switch {
	case o.tokenizer == "":
		return usagef("--tokenizer is missing: name a tokenizer.json or a folder with one")
	case o.decode && (o.chat || o.offsets):
		return usagef("--decode goes with neither --chat nor --offsets")
	case o.template != "" && !o.chat:
		return usagef("--chat-template goes with --chat")
	}
	return nil
}

func (o *tokenizeOptions) run(ctx context.Context, s streams) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	t, err := tokenizer.Load(o.tokenizer)
	if err != nil {
		return err
	}
	for _, w := range t.Warnings() {
		fmt.Fprintln(s.err, "warning:", w)
	}
	convert, err := o.converter(t)
	if err != nil {
		return err
	}
	in := s.in
	if o.input != "" {
		file, err := os.Open(o.input)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	return convertLines(ctx, in, s.out, convert)
}

// tokenizeLine is a line of JSON that comes or goes.
type tokenizeLine struct {
	tokenizer.Chat
	Text *string `json:"text"`
	IDs  []int32 `json:"ids"`
}

// converter returns what turns a line of input into a line of output. It is safe for concurrent use.
func (o *tokenizeOptions) converter(t *tokenizer.Tokenizer) (func(line []byte) ([]byte, error), error) {
	if o.decode {
		return func(line []byte) ([]byte, error) { return o.decodeLine(t, line) }, nil
	}
	if !o.chat {
		return func(line []byte) ([]byte, error) {
			text := string(line)
			if o.json {
				var in tokenizeLine
				if err := json.Unmarshal(line, &in); err != nil {
					return nil, err
				}
				if in.Text == nil {
					return nil, errors.New(`want an object with "text"`)
				}
				text = *in.Text
			}
			return o.encode(t, "text", text, !o.noSpecial)
		}, nil
	}
	template, err := t.ChatTemplate(o.template)
	if err != nil {
		return nil, err
	}
	return func(line []byte) ([]byte, error) {
		var in tokenizeLine
		if err := json.Unmarshal(line, &in); err != nil {
			return nil, err
		}
		prompt, err := template.Prompt(in.Chat)
		if err != nil {
			return nil, err
		}
		return o.encode(t, "prompt", prompt, false)
	}, nil
}

// encode returns the line for a text, which JSON calls name.
func (o *tokenizeOptions) encode(t *tokenizer.Tokenizer, name, text string, special bool) ([]byte, error) {
	e, err := t.Encode(text, special)
	if err != nil {
		return nil, err
	}
	if o.json {
		line := map[string]any{"ids": e.IDs, name: text}
		if o.offsets {
			offsets := make([][2]int, len(e.Spans))
			for i, span := range e.Spans {
				offsets[i] = [2]int{span.Start, span.End}
			}
			line["offsets"] = offsets
		}
		return jsonLine(line)
	}
	var b []byte
	for i, id := range e.IDs {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(id), 10)
		if o.offsets {
			b = fmt.Appendf(b, ":%d:%d", e.Spans[i].Start, e.Spans[i].End)
		}
	}
	return append(b, '\n'), nil
}

func (o *tokenizeOptions) decodeLine(t *tokenizer.Tokenizer, line []byte) ([]byte, error) {
	var ids []int32
	if o.json {
		var in tokenizeLine
		err := json.Unmarshal(line, &in.IDs)
		if err != nil && bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) {
			err = json.Unmarshal(line, &in)
		}
		if err != nil {
			return nil, err
		}
		if ids = in.IDs; ids == nil {
			return nil, errors.New(`want a list of ids, or an object with "ids"`)
		}
	} else {
		for _, field := range strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\r' }) {
			id, err := strconv.ParseInt(field, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("have %q, want a token id", field)
			}
			ids = append(ids, int32(id))
		}
	}
	text := t.Decode(ids, o.noSpecial)
	if o.json {
		return jsonLine(map[string]any{"ids": ids, "text": text})
	}
	return append([]byte(text), '\n'), nil
}

func jsonLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// batchBytes is about how much input is converted at once.
const batchBytes = 1 << 20

// batch is a part of the input.
type batch struct {
	lines [][]byte // without their ends, \n or \r\n
	err   error    // of the reader
}

// convertLines converts lines as they come, on all cores, and keeps their order. What comes before a line that cannot be
// converted is written.
func convertLines(ctx context.Context, in io.Reader, out io.Writer, convert func([]byte) ([]byte, error)) error {
	batches := make(chan batch)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(batches)
		r := bufio.NewReaderSize(in, 1<<16)
		for {
			b := readBatch(r)
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
			if b.err != nil {
				return
			}
		}
	}()
	number := 0
	for {
		var b batch
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b = <-batches:
		}
		text, done, err := convertBatch(b.lines, convert)
		if _, err := out.Write(text); err != nil {
			return err
		}
		number += done
		switch {
		case err != nil:
			return fmt.Errorf("line %d: %w", number+1, err)
		case b.err == io.EOF:
			return nil
		case b.err != nil:
			return b.err
		}
	}
}

// readBatch reads one line, and those that are at hand.
func readBatch(r *bufio.Reader) (b batch) {
	whole := func() bool { // there is another line that needs no waiting
		ready, _ := r.Peek(r.Buffered())
		return bytes.IndexByte(ready, '\n') >= 0
	}
	for n := 0; b.err == nil && n < batchBytes && (n == 0 || whole()); {
		var line []byte
		line, b.err = r.ReadBytes('\n')
		if n += len(line); len(line) > 0 {
			if whole, ok := bytes.CutSuffix(line, []byte("\n")); ok {
				line = bytes.TrimSuffix(whole, []byte("\r"))
			}
			b.lines = append(b.lines, line)
		}
	}
	return b
}

// convertBatch returns the output of the lines up to the first that cannot be converted, and how many they are.
func convertBatch(lines [][]byte, convert func([]byte) ([]byte, error)) (text []byte, done int, err error) {
	converted := make([][]byte, len(lines))
	errs := make([]error, len(lines))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(lines)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(lines)); i = next.Add(1) - 1 {
				converted[i], errs[i] = convert(lines[i])
			}
		})
	}
	wg.Wait()
	for i := range lines {
		if errs[i] != nil {
			return text, i, errs[i]
		}
		text = append(text, converted[i]...)
	}
	return text, len(lines), nil
}
