package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"kdistill/internal/checkpoint"
	"kdistill/internal/report"
)

func init() { register(newPull) }

func newPull(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "pull ORG/NAME[@REVISION]",
		Short: "Fetch a model into the Hugging Face cache",
		Long: `Fetch a model's config.json, tokenizer and safetensors into the Hugging Face cache, and print its folder there. Other commands then
find it by its name. A pull that was cut off goes on where it stopped; every file is checked against the hub's hash.

Environment: HF_TOKEN (for private and gated models), HF_ENDPOINT (another hub), HF_HUB_CACHE, HF_HOME (the cache),
HF_HUB_OFFLINE=1 (look into the cache only).`,
		Example: `  kdistill pull HuggingFaceTB/SmolLM2-135M
  kdistill inspect "$(kdistill pull Qwen/Qwen2.5-0.5B@main)"`,
		Args: checked(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := newPullProgress(s.err)
			dir, err := checkpoint.Pull(cmd.Context(), args[0], p.show)
			p.done()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, dir)
			return err
		},
	}
}

// pullProgress shows how far a pull is: one living line on a terminal, a line for each file elsewhere.
type pullProgress struct {
	w        io.Writer
	terminal bool
	file     string
	written  time.Time
	width    int // of the living line
}

func newPullProgress(w io.Writer) *pullProgress {
	f, ok := w.(*os.File)
	return &pullProgress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *pullProgress) show(at checkpoint.Progress) {
	if !p.terminal {
		if at.File != p.file {
			fmt.Fprintf(p.w, "%s (%s in all)\n", at.File, report.Bytes(at.Total))
		}
		p.file = at.File
		return
	}
	if at.File == p.file && at.Done < at.Total && time.Since(p.written) < 100*time.Millisecond {
		return
	}
	p.file, p.written = at.File, time.Now()
	line := fmt.Sprintf("%s  %s of %s (%.0f %%)", at.File, report.Bytes(at.Done), report.Bytes(at.Total), 100*float64(at.Done)/float64(max(1, at.Total)))
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

func (p *pullProgress) done() {
	if p.width > 0 {
		fmt.Fprintln(p.w)
	}
}
