package cli

import (
	"runtime"

	"github.com/spf13/cobra"
	"kdistill/internal/config"
)

// configured are the flags of commands that do what a configuration says.
type configured struct {
	config  string
	sets    []string
	threads int
}

func (o *configured) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "a YAML `FILE`, or the name of an embedded configuration")
	f.StringArrayVar(&o.sets, "set", nil, "override a key, as `KEY=VALUE`; may be repeated")
	addThreads(c, &o.threads)
}

// check checks and applies the flags.
func (o *configured) check() error {
	if o.config == "" {
		return usagef("--config is missing: name a YAML file or an embedded configuration (kdistill config lists them)")
	}
	return setThreads(o.threads)
}

// load returns the configuration, with its embedded files in place.
func (o *configured) load() (*config.Config, error) { return o.loadBy(config.Load) }

func (o *configured) loadBy(load func(name string, sets []string) (*config.Config, error)) (*config.Config, error) {
	c, err := load(o.config, o.sets)
	if err != nil {
		return nil, err
	}
	return c, c.Unpack()
}

// addThreads adds --threads.
func addThreads(c *cobra.Command, threads *int) {
	c.Flags().IntVar(threads, "threads", 0, "cores to use; 0: all that the system grants. Results don't depend on it")
}

func setThreads(n int) error {
	if n < 0 {
		return usagef("--threads: have %d, want 0 or more", n)
	}
	if n > 0 {
		runtime.GOMAXPROCS(n)
	}
	return nil
}
