package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

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
		Edge:     s.edgeType(),
		Enabled:  s.enabled,
		Err:      hidden.blotError(err),
		Open:     f.open,
		Log:      f.log,
		Now:      time.Now,
	})
	in := &countingReader{Reader: p.Stdin}
	err = wire.Run(stopping, handler, in, p.Stdout, wire.Options{MaxFrame: int(s.maxFrame), Log: f.log})
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

// open is udf.Config.Open. A second call, which Kapacitor does not make, closes
// what the first has opened.
func (f *function) open(task, node string) (udf.Store, error) {
	f.close()
	for _, warning := range f.settings.warnings {
		f.log.Warn(f.hidden.blot(warning))
	}
	client, err := f.settings.newClient(f.hidden)
	if err != nil {
		return nil, f.hidden.blotError(err)
	}
	queue, err := f.settings.openOutbox(task, node, client, f.log)
	if err != nil {
		return nil, f.hidden.blotError(err)
	}
	sender := udf.NewSender(queue, client, udf.SenderOptions{
		BatchSize:   f.settings.batchSize,
		Connections: f.settings.connections,
		Rate:        f.settings.rate,
		Log:         f.log,
	})
	// Not the context of the signals: requests that are under way when the
	// input has ended may end, too.
	ctx, cancel := context.WithCancel(context.Background())
	d := &delivery{queue: queue, cancel: cancel}
	if disk, ok := queue.(*outbox.Disk); ok {
		disk.Report(sender.Report)
	}
	d.workers.Go(func() {
		defer client.Close()
		sender.Run(ctx)
	})
	d.workers.Go(func() { watch(ctx, queue, sender, f.log) })
	f.delivery = d
	return queue, nil
}

// summaryEvery is how often the log says that alerts wait.
const summaryEvery = time.Minute

// watch logs a line from time to time while alerts wait or are held.
func watch(ctx context.Context, queue anOutbox, sender *udf.Sender, log *slog.Logger) {
	again := time.NewTicker(summaryEvery)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		stats, report := queue.Stats(), sender.Report()
		if stats.Queued == 0 && len(report.Held) == 0 {
			continue
		}
		line := []any{"queued", stats.Queued, "in_flight", stats.InFlight, "dead", stats.Dead, "given_up", stats.GivenUp}
		for _, held := range report.Held {
			line = append(line, "held_app_key", held.AppKey, "held_since", held.Since, "held_for", held.Reason)
		}
		if !report.LastSuccess.IsZero() {
			line = append(line, "last_success", report.LastSuccess)
		}
		if report.LastError != "" {
			line = append(line, "last_error", report.LastError)
		}
		log.Info("alerts wait for delivery", line...)
	}
}

// anOutbox is what handler, sender and process together need of one.
type anOutbox interface {
	udf.Store
	udf.Queue
	Drain(ctx context.Context) error
	Stats() outbox.Stats
	Close() error
}

// openOutbox opens the outbox of one use of the function in one task.
func (s settings) openOutbox(task, node string, client *bigpanda.Client, log *slog.Logger) (anOutbox, error) {
	switch s.outbox {
	case outboxMemory:
		return outbox.NewMemory(0), nil
	case "":
		return nil, usagef("no folder for the outbox, as neither HOME nor XDG_STATE_HOME is set: set --outbox (BIGPANDA_OUTBOX) to one")
	}
	return outbox.Open(s.outbox, outbox.Options{
		Task: task, Node: node,
		URL: s.url, Fingerprint: client.Fingerprint,
		MaxSize: s.outboxMaxSize,
		Wait:    predecessorLeaves,
		Log:     log,
	})
}

// close ends delivery. What is in a memory outbox is delivered before, for as
// long as the settings say, since nothing else would keep it; what was lost is
// said. It may be called twice, and before open.
func (f *function) close() {
	d := f.delivery
	if d == nil {
		return
	}
	f.delivery = nil
	var err error
	if f.settings.outbox == outboxMemory {
		ctx, cancel := context.WithTimeout(f.hurrying, f.settings.drainTimeout)
		defer cancel()
		err = d.queue.Drain(ctx)
	}
	d.cancel()
	d.workers.Wait()
	left := d.queue.Stats()
	switch {
	case left.Queued > 0 && f.settings.outbox == outboxMemory:
		f.log.Error(fmt.Sprintf("changes were not delivered and are lost: give --drain-timeout (now %s) more time", f.settings.drainTimeout),
			"lost", left.Queued, "error", err)
	case left.Queued > 0:
		f.log.Info("changes wait in the outbox for the next start", "queued", left.Queued)
	}
	if left.GivenUp > 0 || left.Dead > 0 {
		f.log.Warn("some changes never reached BigPanda", "given_up", left.GivenUp, "refused", left.Dead)
	}
	if err := d.queue.Close(); err != nil {
		f.log.Error("the outbox was not closed well", "error", err)
	}
}

// predecessorLeaves is how long a process that has been told to end may take to
// let go of its outbox.
const predecessorLeaves = 2 * time.Second

// delivery is an outbox and the sender that empties it.
type delivery struct {
	queue   anOutbox
	cancel  context.CancelFunc
	workers sync.WaitGroup
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
