package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"kdistill/internal/kernel"
)

// version is set by the linker for releases.
var version = "dev"

func init() {
	register(func(s streams) *cobra.Command {
		return &cobra.Command{
			Use: "version", Short: "Print version, platform and the kernels in use", Example: "  kdistill version", Args: checked(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintf(s.out, "kdistill %s %s/%s %s, kernels: %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version(), kernel.Path())
				return err
			},
		}
	})
}
