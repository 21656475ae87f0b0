package test

import (
	"context"
	"os"
	"testing"

	"bigpanda-udf/cli"
)

func TestMain(m *testing.M) {
	switch c := child(os.Getenv(asChild)); c {
	case "", asProgram:
		InMemory()
		Main(m, func() { os.Exit(program(os.Args[1:])) })
	default:
		os.Exit(benchmarked(c))
	}
}

// program is what main does.
func program(args []string) int {
	return cli.Run(context.Background(), cli.Process{
		Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
		Times: crashTimes(),
	})
}
