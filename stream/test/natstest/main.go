package natstest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"bigpanda-udf/cli"
	"bigpanda-udf/test"

	"github.com/nats-io/nats-server/v2/server"
)

// configVariable names the nats-server.conf of a child that is to be a server.
const configVariable = "BIGPANDA_UDF_TEST_NATS"

// Main is to be called by TestMain. It runs the tests or, where this binary was started
// by Start, StartCluster or Server.Command, a NATS server, or, where it was started by
// package test (test.Start, test.Command), the program bigpanda-udf.
func Main(m *testing.M) {
	if config := os.Getenv(configVariable); config != "" {
		if err := Serve(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	test.Main(m, func() {
		os.Exit(cli.Run(context.Background(), cli.Process{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
		}))
	})
}

// Serve runs a server with a configuration file until SIGTERM, or the end of stdin.
func Serve(config string) error {
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	options.NoSigs = true
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s.Start()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}
