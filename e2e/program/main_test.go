// Package program holds the suites that are about the whole program: kills, memory, what is
// kept secret, benchmarks.
package program

import (
	"context"
	"os"
	"testing"

	"bigpanda-udf/cli"
	"bigpanda-udf/test"
)

// A child is one of the things that the test binary may be.
type child string

func TestMain(m *testing.M) {
	switch c := child(os.Getenv(test.AsChild)); c {
	case "", test.AsProgram:
		test.InMemory()
		test.Main(m, func() { os.Exit(program(os.Args[1:])) })
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
