package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

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
		hidden:   hidden,
		log:      newLogger(p.Stderr, s.logLevel, s.logFormat, hidden),
	}
	if err != nil {
		// Kapacitor asks for Info alone when it starts: the operator should not
		// have to wait for the first task to hear of this.
		f.log.Error("every task with this function will fail at Init", "error", err)
	}
	handler := udf.New(udf.Config{
		Defaults: s.defaults,
		Enabled:  s.enabled,
		Err:      hidden.blotError(err),
		Open:     f.open,
		Log:      f.log,
		Now:      time.Now,
	})
	in := &countingReader{Reader: p.Stdin}
	err = wire.Run(stopping, handler, in, p.Stdout, wire.Options{Log: f.log})
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
	hidden   *secrets
	log      *slog.Logger
	delivery *delivery // nil while nothing is open
}

// open is udf.Config.Open. A second call, which Kapacitor does not make, gets
// an outbox of its own; the first is emptied before that.
func (f *function) open(string, string) (udf.Store, error) {
	f.close()
	for _, warning := range f.settings.warnings {
		f.log.Warn(f.hidden.blot(warning))
	}
	client, err := f.settings.newClient(f.hidden)
	if err != nil {
		return nil, f.hidden.blotError(err)
	}
	d := &delivery{queue: outbox.NewMemory(0), ended: make(chan struct{})}
	sender := udf.NewSender(d.queue, client, udf.SenderOptions{
		BatchSize:   f.settings.batchSize,
		Connections: f.settings.connections,
		Rate:        f.settings.rate,
		Log:         f.log,
	})
	// Not the context of the signals: what is queued is still delivered when
	// the input has ended.
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		defer close(d.ended)
		defer client.Close()
		sender.Run(ctx)
	}()
	f.delivery = d
	return d.queue, nil
}

// close delivers what is queued, for as long as the settings say, and says what
// was lost. It may be called twice, and before open.
func (f *function) close() {
	d := f.delivery
	if d == nil {
		return
	}
	f.delivery = nil
	ctx, cancel := context.WithTimeout(f.hurrying, f.settings.drainTimeout)
	defer cancel()
	err := d.queue.Drain(ctx)
	d.cancel()
	<-d.ended
	left := d.queue.Stats()
	if left.Queued > 0 {
		f.log.Error(fmt.Sprintf("changes were not delivered and are lost: give --drain-timeout (now %s) more time", f.settings.drainTimeout),
			"lost", left.Queued, "error", err)
	}
	if left.GivenUp > 0 || left.Dead > 0 {
		f.log.Warn("some changes never reached BigPanda", "given_up", left.GivenUp, "refused", left.Dead)
	}
	d.queue.Close()
}

// delivery is an outbox and the sender that empties it.
type delivery struct {
	queue  *outbox.Memory
	cancel context.CancelFunc
	ended  chan struct{} // closed when the sender has
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
