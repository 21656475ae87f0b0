//go:build kapacitord

// Command kapacitord runs Kapacitor's server for the end-to-end tests: the real
// one, but for Flux tasks and for the command line of the released program. It
// reads the TOML file named by -config, serves until SIGTERM or an interrupt,
// and then closes as the released program does.
//
// It builds only with the C library that the tests provide, hence the build
// tag: "go test ./..." and "go vet ./..." must not trip over it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/BurntSushi/toml"
	furl "github.com/influxdata/flux/dependencies/url"
	khttp "github.com/influxdata/kapacitor/http"
	"github.com/influxdata/kapacitor/server"
	"github.com/influxdata/kapacitor/services/diagnostic"
)

// version is what the server says of itself: that of the module it is built from.
const version = "1.8.3"

func main() {
	config := flag.String("config", "", "the server's configuration `file`, TOML")
	flag.Parse()
	if err := run(*config); err != nil {
		fmt.Fprintln(os.Stderr, "kapacitord:", err)
		os.Exit(1)
	}
}

// run serves until a signal asks it to stop. It returns an error when the
// server could not be started, or not be closed.
func run(path string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)

	config := server.NewConfig()
	if _, err := toml.DecodeFile(path, config); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	// The native handlers of the tests post to loopback, which the server's
	// default validator is there to allow, as the released program sets it.
	khttp.DefaultValidator = furl.PassValidator{}

	diag := diagnostic.NewService(config.Logging, os.Stdout, os.Stderr)
	if err := diag.Open(); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	s, err := server.New(config, server.BuildInfo{Version: version}, diag, map[string]struct{}{})
	if err != nil {
		return fmt.Errorf("create server: %w", err)
	}
	if err := s.Open(); err != nil {
		return fmt.Errorf("open server: %w", err)
	}
	for {
		select {
		case err := <-s.Err():
			if err != nil {
				fmt.Fprintln(os.Stderr, "kapacitord:", err)
			}
		case <-stop:
			if err := s.Close(); err != nil {
				return fmt.Errorf("close server: %w", err)
			}
			return nil
		}
	}
}
