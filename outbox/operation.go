package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

// An operation is what a person, or another process, asks of an outbox. define is
// all that it takes to add one: the process that works on the outbox serves it on
// its socket, a Control runs the same function on the database of one whose process
// is gone, and ask is its client.
type operation[In, Out any] struct {
	served
	what string // was attempted, in errors
}

// A mode is how an operation runs. Each is made in one go, in some milliseconds,
// since points wait: who wants more asks again.
type mode int

const (
	// reads is in a transaction that reads.
	reads mode = iota
	// reports is reads, and also where the database cannot be read.
	reports
	// asks is reads, while the owner changes nothing.
	asks
	// changes is in a transaction that writes, while the owner changes nothing, and
	// only if the disk takes what waits in memory first.
	changes
	// inserts is changes that are nothing to the owner, who is not asked.
	inserts
)

// served is an operation as those see it who run it: decode reads the request and
// returns what does it.
type served struct {
	name   string // on the socket
	mode   mode
	decode func(request []byte) (do func(*target) (any, error), err error)
}

// operations are all that are defined, by name.
var operations = make(map[string]served)

// define adds an operation. do works in one transaction; its errors are those of
// the database.
func define[In, Out any](name, what string, m mode, do func(t *target, in In) (Out, error)) operation[In, Out] {
	o := operation[In, Out]{served{name: name, mode: m}, what}
	o.decode = func(request []byte) (func(*target) (any, error), error) {
		var in In
		if len(request) > 0 {
			if err := json.Unmarshal(request, &in); err != nil {
				return nil, fmt.Errorf("read request: %w", err)
			}
		}
		return func(t *target) (any, error) {
			if t.tx == nil && m != reports {
				return *new(Out), nil // only files that were put aside are left
			}
			return do(t, in)
		}, nil
	}
	operations[name] = o.served
	return o
}

// A target is an outbox as an operation finds it.
type target struct {
	folder string
	now    time.Time
	tx     *bolt.Tx // nil where the database cannot be read

	// Of one that a process works on, whose Disk.mu is held:
	live     *Disk // nil for others
	known    Known // of the owner; nil when there is none, or it was not asked
	delivery Delivery

	levels []Level // that were put, for the owner to take over
}

// newID returns the ID of a change that the operation appends.
func (t *target) newID() (uint64, error) {
	queue := t.tx.Bucket(bucketQueue)
	last := queue.Sequence()
	if t.live != nil {
		last = max(last, t.live.lastID)
	}
	id := nextID(last, t.now)
	return id, queue.SetSequence(id)
}

func (t *target) inFlight(id uint64) bool {
	return t.live != nil && t.live.schedule.inFlight[id] != nil
}

// count adds to what the database says it holds.
func (t *target) count(changes int, bytes int64) error {
	meta := t.tx.Bucket(bucketMeta)
	return errors.Join(
		boltfile.PutNumber(meta, keyQueued, max(0, boltfile.Number(meta.Get(keyQueued))+int64(changes))),
		boltfile.PutNumber(meta, keyBytes, max(0, boltfile.Number(meta.Get(keyBytes))+bytes)),
	)
}

// Known is what an owner knows beyond the outbox.
type Known interface {
	// Last returns the newest Change.Time of an alert, 0 for none.
	Last(alert string) int64
	// Seen returns when the last point of a series came, in Unix seconds; 0: that
	// is not known.
	Seen(series string) int64
}

// An Owner keeps the levels in its memory, too.
type Owner interface {
	// Turn calls do once, at a moment at which all that the owner knows is in the
	// outbox, and takes over the levels that do returns before anything else
	// changes what it knows. do may ask known.
	Turn(do func(known Known) []Level)
}

// Own says who keeps the levels in its memory, once, before that calls Levels.
func (d *Disk) Own(o Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owner = o
}

// run does an operation on a live outbox, with Disk.mu held. Where the owner is to
// change nothing meanwhile, it is done in its turn, and it takes over the levels that
// were put.
func (d *Disk) run(op served, do func(*target) (any, error)) (out any, err error) {
	t := new(target)
	d.mu.Lock()
	report := d.report
	d.mu.Unlock()
	if report != nil {
		// Before the outbox is locked: the sender calls it with its own lock held.
		t.delivery = report()
	}
	d.mu.Lock()
	if d.owner == nil || op.mode != asks && op.mode != changes {
		defer d.mu.Unlock() // an owner that comes reads the levels after this
		return d.runNow(op, do, t)
	}
	owner := d.owner // which it stays
	d.mu.Unlock()
	owner.Turn(func(known Known) []Level {
		d.mu.Lock()
		defer d.mu.Unlock()
		t.known = known
		out, err = d.runNow(op, do, t)
		return t.levels
	})
	return out, err
}

func (d *Disk) runNow(op served, do func(*target) (any, error), t *target) (out any, err error) {
	if d.closed {
		return nil, ErrClosed
	}
	t.folder, t.now, t.live = d.store.folder, d.options.Now(), d
	inside := func(tx *bolt.Tx) (err error) {
		t.tx = tx
		out, err = do(t)
		return err
	}
	if op.mode < changes {
		if err = d.store.view(inside); err != nil && op.mode == reports {
			t.tx = nil
			return do(t)
		}
		return out, err
	}
	if !d.pending.empty() {
		if err := d.commit(nil, nil); err != nil {
			return nil, fmt.Errorf("the disk refuses to be written, so nothing was changed: %w", err)
		}
	}
	if err = d.store.update(inside); err != nil {
		t.levels = nil
	}
	// A commit that seemed to fail may be on the disk all the same.
	if countErr := d.recount(); err == nil {
		err = countErr
	}
	if n, ok := out.(interface{ done() int }); ok && err == nil && n.done() > 0 {
		d.log.Warn("the outbox was changed, as asked for", "operation", op.name, "changes", n.done())
	}
	return out, err
}

// runIdle does an operation on an outbox that no process works on.
func runIdle(folder string, op served, do func(*target) (any, error)) (out any, err error) {
	i, err := openIdle(folder, op.mode == changes)
	if err != nil {
		return nil, err
	}
	defer i.close()
	t := &target{folder: folder, now: time.Now()}
	if i.db == nil {
		return do(t)
	}
	transaction := i.view
	if op.mode == changes {
		transaction = i.update
	}
	err = transaction(func(tx *bolt.Tx) (err error) {
		t.tx = tx
		out, err = do(t)
		return err
	})
	return out, err
}

// ask has a control do an operation.
func (o operation[In, Out]) ask(ctx context.Context, c *Control, in In) (out Out, err error) {
	request, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	if err := c.ask(ctx, o.served, request, &out); err != nil {
		return out, fmt.Errorf("%s %s: %w", o.what, c.folder, readable(c.folder, err))
	}
	return out, nil
}
