package cli

import (
	"context"
	"errors"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/config"
	"bigpanda-udf/daemon"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

type serveFlags struct {
	settingFlags

	Socket      string `placeholder:"PATH" help:"Where to listen for stream tasks, or for those that --edge says; the same as socket of the function in kapacitor.conf. Not needed where systemd listens."`
	BatchSocket string `placeholder:"PATH" help:"Where to listen for batch tasks, alone or beside --socket."`
	SocketMode  string `placeholder:"MODE" help:"Who may connect, as the octal mode of the sockets (0660)."`
	SocketGroup string `placeholder:"GROUP" help:"The group of the sockets, by name or number (that of the process)."`
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
ready.`
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
	sockets, err := daemon.Sockets{
		Path: f.Socket, BatchPath: f.BatchSocket, Mode: f.SocketMode, Group: f.SocketGroup, Edge: s.Edge, EdgeFrom: s.Where["edge"],
	}.Listen()
	if errors.As(err, new(daemon.UsageError)) {
		err = usageError{err}
	}
	if err != nil {
		return err
	}
	log := newLogger(p.Stderr, s.LogLevel, s.LogFormat, c.hidden)
	for _, warning := range s.Warnings {
		log.Warn(c.hidden.redact(warning))
	}
	v := &server{settings: s, times: p.Times, hidden: c.hidden, log: log, hurrying: hurrying}
	err = daemon.New(v.options()).Serve(stopping, sockets)
	if v.client != nil {
		v.client.Close()
	}
	return err
}

// A server makes what the daemon needs out of the settings.
type server struct {
	settings settings
	times    Times
	hidden   *secrets
	log      *slog.Logger
	hurrying context.Context // ends when there is no time left to deliver

	mu     sync.Mutex
	client *bigpanda.Client // nil until the settings made one
	api    *limitedAPI
}

func (v *server) options() daemon.Options {
	o := daemon.Options{
		Log: v.log, Wire: v.settings.wireOptions,
		NewHandler: func(edge string, open func(udf.Use) (udf.Store, error), log *slog.Logger) *udf.Handler {
			s := v.settings
			s.Edge = edge
			return s.newHandler(open, nil, log)
		},
		Open: func(u udf.Use, log *slog.Logger) (daemon.Delivery, error) {
			return v.deliver(u, outbox.Options{LeaveOrphans: true}, log)
		},
	}
	if v.settings.Enabled && v.settings.Outbox != config.OutboxMemory {
		o.OpenOwn = func() (daemon.Delivery, error) {
			// No task of Kapacitor has a blank in its name.
			return v.deliver(udf.Use{Task: "bigpanda-udf serve", Node: "orphans"}, outbox.Options{}, v.log)
		}
	}
	return o
}

// connect returns the API, which it makes once that is possible.
func (v *server) connect() (*limitedAPI, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.api == nil {
		client, err := v.settings.newClient(v.hidden)
		if err != nil {
			return nil, err
		}
		if client.ShortToken() {
			v.log.Warn(shortToken + ": " + mendShortToken)
		}
		v.client = client
		v.api = newLimitedAPI(client, v.settings.Connections, v.settings.Rate)
	}
	return v.api, nil
}

// deliver opens an outbox, and begins to deliver.
func (v *server) deliver(u udf.Use, o outbox.Options, log *slog.Logger) (daemon.Delivery, error) {
	api, err := v.connect()
	if err != nil {
		return nil, v.hidden.redactError(err)
	}
	d, err := v.settings.deliver(u, o, api, v.times, log)
	if err != nil {
		return nil, v.hidden.redactError(err)
	}
	return serverDelivery{d, v.hurrying}, nil
}

// serverDelivery is daemon.Delivery.
type serverDelivery struct {
	*delivery
	hurrying context.Context
}

func (d serverDelivery) Store() udf.Store { return d.queue }

func (d serverDelivery) Close() {
	if waiting := d.close(d.hurrying); waiting > 0 {
		d.log.Info("changes wait in the outbox", "queued", waiting)
	}
}
