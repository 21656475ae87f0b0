package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"bigpanda-udf/udf"
	"bigpanda-udf/wire"
)

// initWithin is how long a connection may go on without an Init that succeeds.
// Kapacitor sends Info and hangs up, or Init, as soon as it has dialled (udf.go,
// services/udf/service.go), and gives up when an answer takes longer than the
// function's timeout, 10 s unless set: a minute is for a machine that swaps.
const initWithin = time.Minute

// giveBackAfter is how long after the last end of a connection what connections had is
// given back to the system: by itself, Go keeps it for minutes. Sooner, more may end,
// and looking for it is a collection of all garbage.
const giveBackAfter = 5 * time.Second

// A connection is one use of the function in one task, from Kapacitor's dialling
// to the end of its input: its handler, and the daemon, which it tells which task it
// serves. Its goroutine owns it.
type connection struct {
	*udf.Handler
	daemon *Daemon
}

// serveConn serves one connection. It closes it before the outbox, so that
// Kapacitor, which holds up all its task operations meanwhile, need not wait for
// that; whoever opens that outbox next does.
func (d *Daemon) serveConn(ctx context.Context, conn net.Conn, edge string, log *slog.Logger) {
	handler, end := d.options.NewHandler(edge, log)
	err := connection{handler, d}.run(ctx, conn, log)
	switch {
	case err == errStopped: // and nothing has failed beside it, which would be joined
		log.Info("the daemon ends before a connection's input")
	case err != nil:
		log.Error("a connection ends before its input", "error", err)
	}
	conn.Close()
	end()
	d.giveBack.Reset(giveBackAfter)
}

// run speaks the protocol. A panic is the connection's end and nobody else's,
// though what wire.Run had begun to read and write is then in memory for good.
func (c connection) run(ctx context.Context, conn net.Conn, log *slog.Logger) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v; please report this", v)
			log.Error("handling a connection failed", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	w := c.daemon.options.Wire(log)
	w.InitWithin = c.daemon.options.InitWithin
	defer c.serves("")
	return wire.Run(ctx, c, conn, conn, w)
}
