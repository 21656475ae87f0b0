package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"bigpanda-udf/config"
	"bigpanda-udf/outbox"
	"bigpanda-udf/udf"
)

// tasks is who works on the outboxes of each task. The outboxes of one task are
// each other's business: a node that an edit has numbered anew takes over what
// another had. So nobody opens one while others of the task are being closed,
// and those that are emptied without a connection are closed when one comes.
type tasks map[string]*task

type task struct {
	connected map[string]int    // connections, by node
	left      chan struct{}     // closed when one of them leaves; nil while nobody waits for that
	keeper    *keeper           // nil when there is none
	leaving   []<-chan struct{} // each closed when an outbox is
}

// A use is a connection's share of a task.
type use struct {
	task, node string
	beside     bool // another connection has the same task and node, as in a replay
	delivery   *delivery
}

// A keeper empties an outbox that no connection has. A task has one at a time,
// the one with the oldest change first: those of a node that was numbered anew
// would overtake each other. What that cannot deliver does not hold the others
// up for long, since it takes them over.
type keeper struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when the outbox is
}

func (all tasks) get(name string) *task {
	if all[name] == nil {
		all[name] = &task{connected: make(map[string]int)}
	}
	return all[name]
}

// tidy forgets what has ended.
func (all tasks) tidy() {
	maps.DeleteFunc(all, func(_ string, t *task) bool {
		if t.keeper != nil && isClosed(t.keeper.ended) {
			t.keeper = nil
		}
		t.leaving = slices.DeleteFunc(t.leaving, isClosed)
		return len(t.connected) == 0 && t.keeper == nil && len(t.leaving) == 0
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// join begins a use. It returns when nobody works on an outbox of the task but
// other connections. One of the same node gets predecessorLeaves to end: it may
// be that of a kapacitord that is gone, whose last input is still being read.
func (d *server) join(taskID, node string) *use {
	d.mu.Lock()
	d.tasks.tidy()
	t := d.tasks.get(taskID)
	late := time.After(predecessorLeaves)
	for waits := d.settings.Outbox != config.OutboxMemory; waits && t.connected[node] > 0; {
		if t.left == nil {
			t.left = make(chan struct{})
		}
		left := t.left
		d.mu.Unlock()
		select {
		case <-left:
		case <-late:
			waits = false
		}
		d.mu.Lock()
		d.tasks.tidy()
		t = d.tasks.get(taskID)
	}
	u := &use{task: taskID, node: node, beside: t.connected[node] > 0}
	t.connected[node]++
	if t.keeper != nil {
		t.keeper.stop()
		t.leaving = append(t.leaving, t.keeper.ended)
		t.keeper = nil
	}
	leaving := slices.Clone(t.leaving)
	d.mu.Unlock()
	for _, ended := range leaving {
		<-ended
	}
	return u
}

// leave ends a use. It calls hangUp as soon as whoever joins would wait for the
// outbox to be closed.
func (d *server) leave(u *use, hangUp func()) {
	ended := make(chan struct{})
	defer d.lookSoon()
	defer close(ended)
	d.mu.Lock()
	t := d.tasks.get(u.task)
	if t.connected[u.node]--; t.connected[u.node] == 0 {
		delete(t.connected, u.node)
	}
	if t.left != nil {
		close(t.left)
		t.left = nil
	}
	if d.settings.Outbox != config.OutboxMemory {
		t.leaving = append(t.leaving, ended) // in memory, nobody else has a part in it
	}
	d.mu.Unlock()
	hangUp()
	if u.delivery != nil {
		d.close(u.delivery)
	}
}

// lookSoon has deliverLeftovers look, since an outbox was closed.
func (d *server) lookSoon() {
	select {
	case d.look <- struct{}{}:
	default:
	}
}

func (d *server) close(of *delivery) {
	if waiting := of.close(d.hurrying); waiting > 0 {
		of.log.Info("changes wait in the outbox", "queued", waiting)
	}
}

// deliverLeftovers has what is queued in outboxes delivered while the tasks
// that they belong to are not connected: what these left, and what processes
// left that are gone. It returns when ctx is done and all of them are closed.
func (d *server) deliverLeftovers(ctx context.Context) {
	if !d.settings.Enabled || d.settings.Outbox == config.OutboxMemory || d.settings.Outbox == "" {
		return
	}
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for ctx.Err() == nil {
		d.lookForLeftovers(ctx)
		select { // a task that is reloaded is back by then
		case <-time.After(lookRest):
		case <-ctx.Done():
		}
		select {
		case <-again.C:
		case <-d.look:
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	var ended []<-chan struct{}
	for _, t := range d.tasks {
		if t.keeper != nil {
			ended = append(ended, t.keeper.ended)
		}
	}
	d.mu.Unlock()
	for _, c := range ended {
		<-c
	}
}

func (d *server) lookForLeftovers(ctx context.Context) {
	to, err := d.connect(ctx, 0)
	if err != nil {
		return // it was said at the start, and is at each Init
	}
	d.folders.Lock()
	waiting, err := outbox.Waiting(d.settings.Outbox, d.settings.outboxOptions(to, d.log))
	d.folders.Unlock()
	if err != nil {
		d.log.Error("what waits in outboxes that nobody has cannot be read", "error", err)
	}
	for _, u := range waiting {
		d.keep(ctx, u.Task, u.Node)
	}
}

// keep has an outbox emptied that nobody has, unless a part of the task is
// connected or just being closed: then there is another look afterwards.
func (d *server) keep(ctx context.Context, taskID, node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks.tidy()
	t := d.tasks.get(taskID)
	if len(t.connected) > 0 || len(t.leaving) > 0 || t.keeper != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	k := &keeper{stop: stop, ended: make(chan struct{})}
	t.keeper = k
	go func() {
		opened := d.empty(ctx, taskID, node)
		stop()
		close(k.ended)
		if opened {
			d.lookSoon() // the task may have another one
		}
	}()
}

// empty delivers from an outbox until nothing is left or ctx is done. It reports
// whether that could be opened.
func (d *server) empty(ctx context.Context, taskID, node string) (opened bool) {
	log := d.log.With("task", taskID, "node", node)
	delivery, err := d.deliver(udf.Use{Task: taskID, Node: node}, predecessorLeaves, log)
	if err != nil {
		log.Error("what waits in an outbox cannot be delivered: it is tried again in a minute", "error", err)
		return false
	}
	log.Info("delivering what waits while the task is not connected", "queued", delivery.queue.Stats().Queued)
	delivery.queue.Drain(ctx) // its error says only that it was stopped
	d.close(delivery)
	return true
}
