// Command bigpanda-udf is a user-defined function for Kapacitor, @bigpanda(),
// that delivers a BigPanda alert for every change of an alert's level.
package main

import (
	"context"
	"os"

	"bigpanda-udf/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), cli.Process{
		Args:      os.Args[1:],
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
	}))
}
