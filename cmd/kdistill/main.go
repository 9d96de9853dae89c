// Command kdistill distils language models.
package main

import (
	"os"

	"kdistill/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
