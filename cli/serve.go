package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bigpanda-udf/bigpanda"
	"bigpanda-udf/udf"

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
	sockets, err := f.listen(s)
	if err != nil {
		return err
	}
	d := newServer(s, c.hidden, newLogger(p.Stderr, s.LogLevel, s.LogFormat, c.hidden), hurrying)
	return d.serve(stopping, sockets)
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
	ended    chan struct{}   // capacity 1: a connection has

	initWithin time.Duration // the constant, but in tests

	connections atomic.Int64 // that there have been

	// folders is held while outboxes are looked into, and for reading while one
	// is opened: a lock that the look holds would hide what is in it.
	folders sync.RWMutex

	mu      sync.Mutex
	running map[string]int // connections past Init, by task

	lock   *os.File // on the folder of the outboxes; nil until it was got
	noLock string   // why it was not, as the log has it
	client *bigpanda.Client
	way    way // nil until the settings made one
	tasks  tasks
}

func newServer(s settings, hidden *secrets, log *slog.Logger, hurrying context.Context) *server {
	return &server{
		settings: s, hidden: hidden, log: log, hurrying: hurrying,
		look: make(chan struct{}, 1), ended: make(chan struct{}, 1), tasks: make(tasks), running: make(map[string]int), initWithin: initWithin,
	}
}

// errStopped is what Kapacitor logs, and shows of each task, when the daemon was
// stopped: it never dials again.
var errStopped = errors.New("bigpanda-udf serve was stopped: once it runs again, kapacitor reload this task")

// serve serves until stopping is done or a socket fails, and then until all that
// is connected has left. It closes the sockets.
func (d *server) serve(stopping context.Context, sockets []socket) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stopping))
	defer cancel(errStopped)
	for _, warning := range d.settings.Warnings {
		d.log.Warn(d.hidden.redact(warning))
	}
	if d.settings.Enabled {
		switch _, err := d.connect(stopping, daemonLeaves); {
		case errors.Is(err, errTwoDaemons):
			closeAll(sockets)
			return err
		case err != nil:
			// Kapacitor does not start when nobody answers Info: what can be
			// mended while this runs does not end it.
			d.log.Error("every task with this function will fail at Init until this is mended", "error", err)
		}
	}
	defer d.disown()
	var workers sync.WaitGroup
	workers.Go(func() { d.deliverLeftovers(ctx) })
	workers.Go(func() { d.giveMemoryBack(ctx) })
	failed := make(chan error, len(sockets))
	for _, s := range sockets {
		d.log.Info("listening", "socket", s.Addr().String(), "edge", s.edge)
		workers.Go(func() { failed <- d.accept(ctx, s) })
	}
	d.tell(daemon.SdNotifyReady)
	var err error
	select {
	case err = <-failed:
	case <-stopping.Done():
	}
	d.sayWhatToReload()
	cancel(errStopped)
	d.tell(daemon.SdNotifyStopping)
	closeAll(sockets)
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
func (d *server) accept(ctx context.Context, s socket) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	full := false
	for {
		conn, err := s.Accept()
		switch {
		case err == nil:
			full = false
			log := d.log.With("connection", d.connections.Add(1))
			connections.Go(func() { d.converse(ctx, conn, s.edge, log) })
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
			return fmt.Errorf("accept connections at %s: %w", s.Addr(), err)
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

// connect returns the way to BigPanda, which it makes once that is possible and
// no other daemon has the outboxes; that one gets wait to leave them.
func (d *server) connect(ctx context.Context, wait time.Duration) (way, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.own(ctx, wait); err != nil {
		return nil, err
	}
	if d.way == nil {
		client, err := d.settings.newClient(d.hidden)
		if err != nil {
			return nil, d.hidden.redactError(err)
		}
		if client.ShortToken() {
			d.log.Warn(shortToken + ": " + mendShortToken)
		}
		d.client = client
		d.way = newSharedWay(client, d.settings.Connections, d.settings.Rate)
	}
	return d.way, nil
}

// deliver opens the outbox of one use of the function, and begins to deliver.
func (d *server) deliver(u udf.Use, wait time.Duration, log *slog.Logger) (*delivery, error) {
	to, err := d.connect(d.hurrying, 0)
	if err != nil {
		return nil, err
	}
	s := d.settings
	s.Rate = 0 // that is the way's to keep, for all of them
	d.folders.RLock()
	defer d.folders.RUnlock()
	delivery, err := s.deliver(u, to, wait, log)
	return delivery, d.hidden.redactError(err)
}
