package cli

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

// giveBackAfter is how long after the end of a connection its memory is given
// back, and how often at most: looking for it is a collection of all garbage.
const giveBackAfter = 5 * time.Second

// A connection is one use of the function in one task, from Kapacitor's dialling
// to the end of its input.
type connection struct {
	server *server
	edge   string // of its task
	log    *slog.Logger
	use    *use   // nil while no outbox is open
	task   string // that it serves; "" before Init
}

// converse serves one connection. It closes it before the outbox, so that
// Kapacitor, which holds up all its task operations meanwhile, need not wait for
// that; whoever opens another of the task does.
func (d *server) converse(ctx context.Context, conn net.Conn, edge string, log *slog.Logger) {
	c := &connection{server: d, edge: edge, log: log}
	err := c.run(ctx, conn)
	switch {
	case err == errStopped: // and nothing has failed beside it, which would be joined
		log.Info("the daemon ends before a connection's input")
	case err != nil:
		log.Error("a connection ends before its input", "error", err)
	}
	c.end(func() { conn.Close() })
	select {
	case d.ended <- struct{}{}:
	default:
	}
}

// giveMemoryBack gives back to the system what connections that have ended had:
// by itself, Go keeps it for minutes.
func (d *server) giveMemoryBack(ctx context.Context) {
	for {
		select {
		case <-d.ended:
		case <-ctx.Done():
			return
		}
		select { // more may end with it
		case <-time.After(giveBackAfter):
		case <-ctx.Done():
			return
		}
		debug.FreeOSMemory()
	}
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
	s := c.server.settings
	s.Edge = c.edge
	o := s.wireOptions(c.log)
	o.InitWithin = c.server.initWithin
	h := namedHandler{s.newHandler(c.open, nil, c.log), c.serves}
	defer c.serves("")
	return wire.Run(ctx, h, conn, conn, o)
}

// open is udf.Config.Open.
func (c *connection) open(of udf.Use) (udf.Store, error) {
	d := c.server
	u := d.join(of.Task, of.Node)
	wait := predecessorLeaves
	if u.beside {
		wait = 0 // who has the outbox is this process, and was waited for
	}
	delivery, err := d.deliver(of, wait, c.log.With("task", of.Task, "node", of.Node))
	if err != nil {
		d.leave(u, func() {})
		return nil, err
	}
	u.delivery = delivery
	c.use = u
	return delivery.queue, nil
}

// end calls hangUp, and closes what open has opened, if it has.
func (c *connection) end(hangUp func()) {
	if c.use == nil {
		hangUp()
		return
	}
	c.server.leave(c.use, hangUp)
	c.use = nil
}
