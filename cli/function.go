package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

// runFunction is the process that Kapacitor starts. Whatever is wrong with the
// arguments or the settings, it answers Info, and says at Init what it is (P2).
func (p Process) runFunction(ctx context.Context, c command, argErr error) int {
	if p.IsTerminal(p.Stdin) {
		if argErr != nil {
			return p.fail(functionMode, argErr)
		}
		p.say("%s is a Kapacitor function: kapacitord starts it and speaks to it on stdin.\n"+
			"See %[1]s --help, or try %[1]s demo.", programName)
		return exitUsage
	}
	// A write to a pipe that Kapacitor has closed must not end the process: the
	// rest of the input is still read and its changes kept (P8).
	signal.Ignore(syscall.SIGPIPE)

	s, err := resolve(c.flags, p.LookupEnv)
	if argErr != nil {
		err = argErr
	}
	hidden := new(secrets)
	hidden.add(s.secrets...)
	stopping, hurrying, release := stopSignals(ctx)
	defer release()
	f := &function{
		hurrying: hurrying,
		settings: s,
		times:    p.Times,
		hidden:   hidden,
		log:      newLogger(p.Stderr, s.logLevel, s.logFormat, hidden),
	}
	if err != nil {
		// Kapacitor asks for Info alone when it starts: the operator should not
		// have to wait for the first task to hear of this.
		f.log.Error("every task with this function will fail at Init", "error", err)
	}
	handler := s.newHandler(f.open, hidden.blotError(err), f.log)
	in := &countingReader{Reader: p.Stdin}
	err = wire.Run(stopping, handler, in, p.Stdout, s.wireOptions(f.log))
	f.close()
	if argErr != nil && in.n == 0 {
		// Kapacitor asks for Info first: this was a person or a script.
		return p.fail(functionMode, argErr)
	}
	if err != nil {
		f.log.Error("the function ends before its input", "error", err)
		return exitFailed
	}
	return exitOK
}

// function is what function mode holds open, from Init to its end.
type function struct {
	hurrying context.Context // ends when there is no time left to deliver
	settings settings
	times    Times
	hidden   *secrets
	log      *slog.Logger
	client   *bigpanda.Client
	delivery *delivery // nil while nothing is open
}

// open is udf.Config.Open.
func (f *function) open(task, node string) (udf.Store, error) {
	for _, warning := range f.settings.warnings {
		f.log.Warn(f.hidden.blot(warning))
	}
	client, err := f.settings.newClient(f.hidden)
	if err != nil {
		return nil, f.hidden.blotError(err)
	}
	d, err := f.settings.deliver(outbox.Options{Task: task, Node: node}, client, f.times, f.log)
	if err != nil {
		return nil, f.hidden.blotError(err)
	}
	f.client, f.delivery = client, d
	return d.queue, nil
}

// close ends delivery, if open began it.
func (f *function) close() {
	if f.delivery == nil {
		return
	}
	if waiting := f.delivery.close(f.hurrying); waiting > 0 {
		f.log.Info("changes wait in the outbox for the next start", "queued", waiting)
	}
	f.client.Close()
}

// countingReader counts what is read.
type countingReader struct {
	io.Reader
	n int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.n += int64(n)
	return n, err
}

// stopSignals returns two contexts: stopping ends with ctx or the first SIGTERM
// or SIGINT, hurrying with the second, for whoever will not wait any longer.
func stopSignals(ctx context.Context) (stopping, hurrying context.Context, release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	stopping, stop := context.WithCancel(ctx)
	hurrying, hurry := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, cancel := range []context.CancelFunc{stop, hurry} {
			select {
			case <-signals:
				cancel()
			case <-hurrying.Done():
				return
			}
		}
	}()
	return stopping, hurrying, func() {
		signal.Stop(signals)
		stop()
		hurry()
		<-ended
	}
}
