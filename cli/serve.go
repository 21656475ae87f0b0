package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"bigpanda-udf/bigpanda"

	"github.com/coreos/go-systemd/v22/daemon"
)

// lookEvery is how often the daemon looks for outboxes that hold changes while
// no task is connected to which they belong.
const lookEvery = time.Minute

// lookRest is how long it does not look again after it has: where something goes
// wrong again and again, it costs little.
const lookRest = time.Second

// acceptAgain is how long the daemon waits when the system has no room for one
// more connection.
const acceptAgain = 100 * time.Millisecond

type serveFlags struct {
	functionFlags

	Socket      string `placeholder:"PATH" help:"Where to listen; the same as socket of the function in kapacitor.conf. Not needed where systemd listens."`
	SocketMode  string `placeholder:"MODE" help:"Who may connect, as the octal mode of the socket (0660)."`
	SocketGroup string `placeholder:"GROUP" help:"The group of the socket, by name or number (that of the process)."`
}

// Help is what kong prints above the flags.
func (serveFlags) Help() string {
	return `Is one function for any number of tasks. In kapacitor.conf the function then has
socket and timeout, and neither prog, args nor env:

  [udf.functions.bigpanda]
    socket = "/run/bigpanda-udf/bigpanda.sock"
    timeout = "10s"

Start it before Kapacitor, which waits for the socket for five minutes. Kapacitor
dials once for each use in each task: when this ends, so does every task that is
connected, until it is enabled again. SIGTERM ends it after the input that is on
its way. A socket of systemd is taken over, and systemd is told when all is ready.`
}

// serve serves until a signal.
func (p Process) serve(ctx context.Context, c command) error {
	// As in function mode, and also when whoever reads the log is gone.
	signal.Ignore(syscall.SIGPIPE)
	s, err := resolve(c.flags, p.LookupEnv)
	hidden := new(secrets)
	hidden.add(s.secrets...)
	if err != nil {
		return hidden.blotError(err)
	}
	stopping, hurrying, release := stopSignals(ctx)
	defer release()
	listeners, err := c.Serve.listen()
	if err != nil {
		return hidden.blotError(err)
	}
	d := newServer(s, hidden, newLogger(p.Stderr, s.logLevel, s.logFormat, hidden), hurrying)
	return hidden.blotError(d.serve(stopping, listeners))
}

// server is the function for any number of tasks. Each connection is as a
// process in function mode is: it has a handler, and the outbox of its task and
// node with a sender of its own. What they share is the way to BigPanda. The
// outboxes that no connection has are emptied, too.
type server struct {
	settings settings
	hidden   *secrets
	log      *slog.Logger
	hurrying context.Context // ends when there is no time left to deliver
	look     chan struct{}   // capacity 1: outboxes may have been left with changes

	// folders is held while outboxes are looked into, and for reading while one
	// is opened: a lock that the look holds would hide what is in it.
	folders sync.RWMutex

	mu     sync.Mutex
	client *bigpanda.Client
	way    way // nil until the settings made one
	tasks  tasks
}

func newServer(s settings, hidden *secrets, log *slog.Logger, hurrying context.Context) *server {
	return &server{
		settings: s, hidden: hidden, log: log, hurrying: hurrying,
		look: make(chan struct{}, 1), tasks: make(tasks),
	}
}

// errStopped is what Kapacitor logs, and shows of each task, when the daemon was
// stopped: it never dials again.
var errStopped = errors.New("bigpanda-udf serve was stopped: once it runs again, kapacitor reload this task")

// serve serves until stopping is done or a listener fails, and then until all
// that is connected has left.
func (d *server) serve(stopping context.Context, listeners []net.Listener) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stopping))
	defer cancel(errStopped)
	for _, warning := range d.settings.warnings {
		d.log.Warn(d.hidden.blot(warning))
	}
	if d.settings.enabled {
		if _, err := d.connect(); err != nil {
			// Kapacitor does not start when nobody answers Info: what can be
			// mended while this runs does not end it.
			d.log.Error("every task with this function will fail at Init until this is mended", "error", err)
		}
	}
	var workers sync.WaitGroup
	workers.Go(func() { d.deliverLeftovers(ctx) })
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		d.log.Info("listening", "socket", l.Addr().String())
		workers.Go(func() { failed <- d.accept(ctx, l) })
	}
	d.tell(daemon.SdNotifyReady)
	var err error
	select {
	case err = <-failed:
	case <-stopping.Done():
	}
	cancel(errStopped)
	d.tell(daemon.SdNotifyStopping)
	for _, l := range listeners {
		l.Close() // and removes its socket, unless that is systemd's
	}
	workers.Wait()
	if d.client != nil {
		d.client.Close()
	}
	return err
}

// tell tells systemd, if that started the process, how it goes.
func (d *server) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		d.log.Warn("systemd cannot be told how it goes", "state", state, "error", err)
	}
}

// accept serves each connection until ctx is done, and returns when all have
// ended. There is no limit to their number but that of the system: one less
// would be a task that fails, and who may connect is the socket's to say.
func (d *server) accept(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	full := false
	for n := 1; ; n++ {
		conn, err := l.Accept()
		switch {
		case err == nil:
			full = false
			connections.Go(func() { d.converse(ctx, conn, d.log.With("connection", n)) })
		case ctx.Err() != nil:
			return nil
		case isNoRoom(err):
			if !full {
				full = true
				d.log.Error("no more connections can be taken: raise the limit of open files (LimitNOFILE= of systemd)", "error", err)
			}
			select {
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("accept connections at %s: %w", l.Addr(), err)
		}
	}
}

// isNoRoom says that Accept may work the next time.
func isNoRoom(err error) bool {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// connect returns the way to BigPanda, which it makes once that is possible.
func (d *server) connect() (way, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.way == nil {
		client, err := d.settings.newClient(d.hidden)
		if err != nil {
			return nil, d.hidden.blotError(err)
		}
		d.client = client
		d.way = newSharedWay(client, d.settings.connections, d.settings.rate)
	}
	return d.way, nil
}

// deliver opens the outbox of one use of the function, and begins to deliver.
func (d *server) deliver(task, node string, wait time.Duration, log *slog.Logger) (*delivery, error) {
	to, err := d.connect()
	if err != nil {
		return nil, err
	}
	s := d.settings
	s.rate = 0 // that is the way's to keep, for all of them
	d.folders.RLock()
	defer d.folders.RUnlock()
	delivery, err := s.deliver(task, node, to, wait, log)
	return delivery, d.hidden.blotError(err)
}
