package cli

import (
	"context"
	"errors"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"

	"bigpanda-udf/config"
	"bigpanda-udf/daemon"
	"bigpanda-udf/outbox"
	"bigpanda-udf/topic"
	"bigpanda-udf/udf"

	"github.com/prometheus/client_golang/prometheus"
)

type serveFlags struct {
	settingFlags

	daemon.Sockets

	MetricsListen string `placeholder:"ADDRESS" help:"Also do what the subcommand metrics does, at this address, such as 127.0.0.1:9786."`
	Deliver       bool   `group:"nats" help:"Also do what the subcommand deliver does, with its probe and metrics at --metrics-listen."`

	HTTPTokenFile string `name:"http-token-file" group:"topics" placeholder:"FILE" help:"Take events only with the token in this file, as bearer or as password."`
	HTTPCert      string `name:"http-cert" group:"topics" placeholder:"FILE" help:"Take events by HTTPS with this certificate, a PEM file."`
	HTTPKey       string `name:"http-key" group:"topics" placeholder:"FILE" help:"The key of the certificate, a PEM file."`
	Handlers      string `group:"topics" placeholder:"DIR" help:"The folder of the handlers' files, NAME.yaml or NAME.json."`
}

// Help is what kong prints above the flags.
func (serveFlags) Help() string {
	return `Is one function for any number of tasks, those of streams at --socket and those of
batches at --batch-socket. In kapacitor.conf the functions then have socket and
timeout, and neither prog, args nor env:

  [udf.functions.bigpanda]
    socket = "/run/bigpanda-udf/bigpanda.sock"
    timeout = "10s"
  [udf.functions.bigpandaBatch]
    socket = "/run/bigpanda-udf/bigpanda-batch.sock"
    timeout = "10s"

Start it before Kapacitor, which waits for each socket for five minutes. Kapacitor
dials once for each use in each task: when this ends, so does every task that is
connected, until "kapacitor reload TASK". SIGTERM ends it after the input that is
on its way. Sockets of systemd are taken over, and systemd is told when all is
ready.

With --http it takes the alerts of topics, too, with or without such sockets: see
"bigpanda-udf topic-handler --help".`
}

// run serves until a signal.
func (f *serveFlags) run(ctx context.Context, p Process, c *command) error {
	// As in function mode, and also when whoever reads the log is gone.
	signal.Ignore(syscall.SIGPIPE)
	s, err := c.settings(p)
	if err != nil {
		return err
	}
	stopping, hurrying, release := stopSignals(ctx)
	defer release()
	log := s.newLogger(p.Stderr)
	var d *deliverer
	if f.Deliver {
		if d, err = s.newDeliverer(log); err != nil {
			return err
		}
		defer d.close()
	}
	endMetrics, err := f.startMetrics(stopping, s, d, log)
	if err != nil {
		return err
	}
	defer endMetrics()
	f.Edge, f.EdgeFrom, f.CheckHTTP = s.Edge, s.Where["edge"], f.access(c.hidden).Check
	sockets, err := f.Listen()
	if errors.As(err, new(daemon.UsageError)) {
		err = usageError{err}
	}
	if err != nil {
		return err
	}
	if err := f.checkHandlers(sockets); err != nil {
		daemon.Close(sockets)
		return err
	}
	s.logWarnings(log)
	all := &deliveries{settings: s, times: p.Times, log: log, hurrying: hurrying, waits: "changes wait in the outbox"}
	defer all.close()
	if d != nil {
		all.nats = d.conn
		// It ends last: outboxes in memory are emptied into the stream before.
		defer beside(context.Background(), d.Run)()
	}
	options := all.daemonOptions()
	options.TakeEvents = topic.New(all.topicOptions(f)).Serve
	return daemon.New(options).Serve(stopping, sockets)
}

// startMetrics serves metrics beside the daemon, and those of its deliverer, if that is
// asked for, until ctx is done or end is called.
func (f *serveFlags) startMetrics(ctx context.Context, s settings, d *deliverer, log *slog.Logger) (end func(), err error) {
	if f.MetricsListen == "" {
		return func() {}, nil
	}
	var ready func() error
	var all []prometheus.Collector
	if d != nil {
		ready, all = d.Ready, append(all, d.collector)
	}
	// A deliverer has something to tell also where nobody can ask about the outbox.
	if d == nil || s.Outbox != config.OutboxMemory {
		collector, err := s.newCollector(log)
		if err != nil {
			return nil, err
		}
		all = append(all, collector)
	}
	l, err := listen("metrics-listen", f.MetricsListen)
	if err != nil {
		return nil, err
	}
	return beside(ctx, func(ctx context.Context) {
		if err := serveMetrics(ctx, l, log, ready, all...); err != nil {
			log.Error("metrics are no longer served: start this anew", "error", err)
		}
	}), nil
}

// beside runs something beside the daemon until ctx is done or end is called, which waits
// until it has ended.
func beside(ctx context.Context, run func(ctx context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// daemonOptions makes what the daemon needs out of the settings.
func (a *deliveries) daemonOptions() daemon.Options {
	o := daemon.Options{
		Log: a.log, Wire: a.settings.wireOptions,
		NewHandler: func(edge string, log *slog.Logger) (*udf.Handler, func()) {
			s := a.settings
			s.Edge = edge
			return s.newHandler(func(u udf.Use) (*delivery, error) {
				return a.open(u, outbox.Options{LeaveOrphans: true}, log.With("task", u.Task, "node", u.Node))
			}, nil, log)
		},
	}
	if a.settings.Enabled && a.settings.Outbox != config.OutboxMemory {
		o.OpenOrphans = func() (func(), error) {
			// No task of Kapacitor has a blank in its name.
			d, err := a.open(udf.Use{Task: "bigpanda-udf serve", Node: "orphans"}, outbox.Options{}, a.log)
			if err != nil {
				return nil, err
			}
			return d.Close, nil
		}
	}
	return o
}
