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
// to the end of its input. Its goroutine owns it.
type connection struct {
	daemon   *Daemon
	edge     string // of its task
	log      *slog.Logger
	delivery Delivery // nil while no outbox is open
}

// serveConn serves one connection. It closes it before the outbox, so that
// Kapacitor, which holds up all its task operations meanwhile, need not wait for
// that; whoever opens that outbox next does.
func (d *Daemon) serveConn(ctx context.Context, conn net.Conn, edge string, log *slog.Logger) {
	c := &connection{daemon: d, edge: edge, log: log}
	err := c.run(ctx, conn)
	switch {
	case err == errStopped: // and nothing has failed beside it, which would be joined
		log.Info("the daemon ends before a connection's input")
	case err != nil:
		log.Error("a connection ends before its input", "error", err)
	}
	conn.Close()
	if c.delivery != nil {
		c.delivery.Close()
	}
	d.giveBack.Reset(giveBackAfter)
}

// run speaks the protocol. A panic is the connection's end and nobody else's,
// though what wire.Run had begun to read and write is then in memory for good.
func (c *connection) run(ctx context.Context, conn net.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v; please report this", v)
			c.log.Error("handling a connection failed", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	o := c.daemon.options
	w := o.Wire(c.log)
	w.InitWithin = o.InitWithin
	h := namedHandler{o.NewHandler(c.edge, c.open, c.log), c.serves}
	defer c.serves("")
	return wire.Run(ctx, h, conn, conn, w)
}

// open is udf.Config.Open.
func (c *connection) open(u udf.Use) (udf.Store, error) {
	delivery, err := c.daemon.options.Open(u, c.log.With("task", u.Task, "node", u.Node))
	if err != nil {
		return nil, err
	}
	c.delivery = delivery
	return delivery.Store(), nil
}
