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
	ServeIfChild()
	test.Main(m, func() {
		os.Exit(cli.Run(context.Background(), cli.Process{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
		}))
	})
}

// ServeIfChild is what Main does first, for a TestMain that calls something else then: it
// runs a NATS server where this binary was started for that, and does not return.
func ServeIfChild() {
	config := os.Getenv(configVariable)
	if config == "" {
		return
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server with a configuration file until SIGTERM, or the end of stdin. It reads
// the file again at SIGHUP.
func serve(config string) error {
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
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	for ctx.Err() == nil {
		select {
		case <-reload:
			if err := s.Reload(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		case <-ctx.Done():
		}
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}
