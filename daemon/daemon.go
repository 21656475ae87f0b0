// Package daemon is the function for any number of tasks, which connect to its
// sockets as Kapacitor does for a function with socket = "…".
//
// Each connection is as a process in function mode is: it has a handler, and the
// outbox of its task and node with a sender of its own. What they share is the API,
// whose limits they keep together. One outbox is the daemon's own: it delivers what
// tasks that are not connected have left behind, as any process does for others.
//
// Events of topics, which come by HTTP, are others' to take; their socket, and when
// they are to end, is the daemon's.
//
// The package knows no settings: Options say how to make what it needs.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bigpanda-udf/udf"
	"bigpanda-udf/wire"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// acceptAgain is how long the daemon waits when the system has no room for one
	// more connection.
	acceptAgain = 100 * time.Millisecond
	// openAgain is how often it tries to open its own outbox, when that fails.
	openAgain = time.Minute
)

// Options are what a daemon is made of.
type Options struct {
	// NewHandler makes the handler of one connection, of a task of an edge. At Init it
	// opens the outbox of that use of the function, and begins to deliver; end ends
	// both. What was not delivered is so by the next who opens it. It is called by
	// many connections at once.
	NewHandler func(edge string, log *slog.Logger) (h *udf.Handler, end func())
	// Wire returns how a connection speaks the protocol.
	Wire func(log *slog.Logger) wire.Options
	// OpenOrphans opens the outbox that takes over what tasks that are not connected
	// have left behind, until it is ended; nil: there is nothing to be left.
	OpenOrphans func() (end func(), err error)
	// TakeEvents serves whoever posts events of topics, until ctx is done. It closes
	// the listener.
	TakeEvents func(ctx context.Context, l net.Listener) error
	// InitWithin is how long a connection may go on without an Init that succeeds;
	// 0: a minute.
	InitWithin time.Duration
	// Log gets what an operator should know. Required.
	Log *slog.Logger
}

// Daemon serves connections. Its methods but Serve are safe for concurrent use.
type Daemon struct {
	options     Options
	log         *slog.Logger
	connections atomic.Int64 // that there have been
	giveBack    *time.Timer  // gives memory back; set when a connection has ended

	mu      sync.Mutex
	running map[connection]string // the tasks of connections past Init
}

// New returns a daemon that waits for Serve.
func New(o Options) *Daemon {
	o.InitWithin = cmp.Or(o.InitWithin, initWithin)
	giveBack := time.AfterFunc(math.MaxInt64, debug.FreeOSMemory)
	return &Daemon{options: o, log: o.Log, giveBack: giveBack, running: make(map[connection]string)}
}

// errStopped is what Kapacitor logs, and shows of each task, when the daemon was
// stopped: it never dials again.
var errStopped = errors.New("bigpanda-udf serve was stopped: once it runs again, kapacitor reload this task")

// Serve serves until stopping is done or a socket fails, and then until all that
// is connected has left. It closes the sockets.
func (d *Daemon) Serve(stopping context.Context, sockets []Socket) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stopping))
	defer cancel(errStopped)
	var workers sync.WaitGroup
	if d.options.OpenOrphans != nil {
		workers.Go(func() { d.deliverOrphans(ctx) })
	}
	defer d.giveBack.Stop()
	failed := make(chan error, len(sockets))
	for _, s := range sockets {
		d.log.Info("listening", "socket", s.Addr().String(), "edge", s.Edge)
		workers.Go(func() {
			if s.Edge == HTTP {
				failed <- d.options.TakeEvents(ctx, s)
			} else {
				failed <- d.accept(ctx, s)
			}
		})
	}
	d.notifySystemd(daemon.SdNotifyReady)
	var err error
	select {
	case err = <-failed:
	case <-stopping.Done():
	}
	d.sayWhatToReload()
	cancel(errStopped)
	d.notifySystemd(daemon.SdNotifyStopping)
	Close(sockets)
	workers.Wait()
	return err
}

// deliverOrphans keeps the daemon's own outbox open until ctx is done. Where it
// cannot be opened, as none can then, the log says so, and it is tried again:
// Kapacitor does not start when nobody answers Info.
func (d *Daemon) deliverOrphans(ctx context.Context) {
	said := ""
	for {
		end, err := d.options.OpenOrphans()
		if err == nil {
			<-ctx.Done()
			end()
			return
		}
		if err.Error() != said {
			said = err.Error()
			d.log.Error("every task with this function will fail at Init until this is corrected", "error", err)
		}
		select {
		case <-time.After(openAgain):
		case <-ctx.Done():
			return
		}
	}
}

// notifySystemd tells systemd, if that started the process, how it goes.
func (d *Daemon) notifySystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		d.log.Warn("systemd cannot be told how it goes", "state", state, "error", err)
	}
}

// accept serves each connection until ctx is done, and returns when all have
// ended. There is no limit to their number but that of the system: one less
// would be a task that fails, and who may connect is the socket's to say.
func (d *Daemon) accept(ctx context.Context, s Socket) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	full := false
	for {
		conn, err := s.Accept()
		switch {
		case err == nil:
			full = false
			log := d.log.With("connection", d.connections.Add(1))
			connections.Go(func() { d.serveConn(ctx, conn, s.Edge, log) })
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
	passing := []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED}
	return slices.ContainsFunc(passing, func(one error) bool { return errors.Is(err, one) })
}
