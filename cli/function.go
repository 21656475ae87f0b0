package cli

import (
	"bufio"
	"context"
	"os"
	"os/signal"
	"syscall"

	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

type functionFlags struct{ settingFlags }

// runFunction is the process that Kapacitor starts. Whatever is wrong with the
// arguments or the settings, it answers Info, and says at Init what it is (P2).
func (p Process) runFunction(ctx context.Context, c *command, argErr error) int {
	if p.IsTerminal(p.Stdin) {
		if argErr != nil {
			return p.fail(c, argErr)
		}
		p.say("%s is a Kapacitor function: kapacitord starts it and speaks to it on stdin.\n"+
			"See %[1]s --help, or try %[1]s demo.", programName)
		return exitUsage
	}
	in := p.Stdin
	if argErr != nil {
		// Kapacitor asks for Info at once. A script that mistypes a command does not, and
		// means no function.
		ahead := bufio.NewReader(in)
		if _, err := ahead.Peek(1); err != nil {
			return p.fail(c, argErr)
		}
		in = ahead
	}
	// A write to a pipe that Kapacitor has closed must not end the process: the
	// rest of the input is still read and its changes kept (P8).
	signal.Ignore(syscall.SIGPIPE)

	s, err := c.settings(p)
	if argErr != nil {
		err = argErr
	}
	stopping, hurrying, release := stopSignals(ctx)
	defer release()
	log := s.newLogger(p.Stderr)
	all := &deliveries{settings: s, times: p.Times, log: log, hurrying: hurrying, waits: "changes wait in the outbox for the next start"}
	defer all.close()
	handler, end := s.newHandler(func(u udf.Use) (*delivery, error) {
		s.logWarnings(log)
		return all.open(u, outbox.Options{}, log)
	}, c.hidden.redactError(err), log)
	if err != nil {
		// Kapacitor asks for Info alone when it starts: the operator should not have to
		// wait for the first task to hear of this.
		log.Error("every task with this function will fail at Init", "error", err)
	}
	err = wire.Run(stopping, handler, in, p.Stdout, s.wireOptions(log))
	end()
	if err != nil {
		log.Error("the function ends before its input", "error", err)
		return exitFailed
	}
	return exitOK
}

// stopSignals returns two contexts: stopping ends with ctx or the first SIGTERM,
// SIGINT or SIGHUP, hurrying with the second, for whoever will not wait any longer. That
// is no SIGHUP: of a terminal that goes, it comes from its shell and from the kernel.
func stopSignals(ctx context.Context) (stopping, hurrying context.Context, release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	if !signal.Ignored(syscall.SIGHUP) { // else nohup started this
		signal.Notify(signals, syscall.SIGHUP) // of a terminal that goes, or meant as "reload"
	}
	stopping, stop := context.WithCancel(ctx)
	hurrying, hurry := context.WithCancel(context.Background())
	go func() {
		for end := stop; ; end = hurry {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP {
					stop()
				} else {
					end()
				}
			case <-hurrying.Done():
				return
			}
		}
	}()
	return stopping, hurrying, func() {
		signal.Stop(signals)
		stop()
		hurry()
	}
}
