package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/counters"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

// networkFileSystem is a variable for tests.
var networkFileSystem = system.NetworkFileSystem

// Disk is an outbox on disk, in a folder of its own that no other process works in. Safe
// for concurrent use. What it promises, and its parts, the package comment says.
type Disk struct {
	options Options
	log     *slog.Logger
	workers sync.WaitGroup // worker, and giveUp
	stop    context.CancelFunc
	worker  *worker

	mu      sync.Mutex // guards all that follows
	control *controlServer
	store   *store
	window
	pending *pending

	lastID      uint64
	queued      int   // changes, also those in memory
	bytes       int64 // of their payloads
	limit       sizeLimit
	stats       Stats
	retry       *time.Timer // while the disk refuses
	writeFailed error       // what it said; nil while it does not
	givingUp    bool        // giveUp is under way
	looking     bool        // nothing may leave before what the use left behind is in its place
	report      func() Delivery
	counted     counters.Counters          // by earlier processes, and of this one by the outbox itself
	counting    []func(*counters.Counters) // add what others have counted
	opened      time.Time
	owner       Owner // who has the levels in its memory; nil: nobody
}

// Open opens the outbox of one use of the function in dir, which is made if it
// is not there. When another process has it for longer than Options.Wait, a
// numbered one beside it is opened.
//
// A database that cannot be read is put aside, and a new one begun. Errors
// are of the folder: it cannot be written, or holds a newer format.
func Open(dir string, o Options) (*Disk, error) {
	o.MaxSize = cmp.Or(o.MaxSize, DefaultMaxSize)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Times = o.Times.withDefaults()
	o.URL = normalURL(o.URL)
	base := filepath.Join(dir, folderName(o.Task, o.Node))
	takeFolder(dir, base, o)
	folder, lock, err := lockFolder(base, time.Now().Add(o.Wait), func(string) bool { return true })
	if err != nil {
		return nil, unwritable(dir, err)
	}
	d := &Disk{options: o, log: o.Log, pending: newPending(), opened: o.Now(), looking: true, limit: sizeLimit{o.MaxSize, o.MaxSize}}
	d.store = &store{folder: folder, lock: lock, options: o, lost: d.lost, failed: d.noteFailure}
	d.store.moved = func() {
		d.control.close()
		d.control = serveControl(d)
	}
	d.retry = time.AfterFunc(math.MaxInt64, func() { d.do(func() { d.commit(nil, nil) }) })
	d.retry.Stop() // until noteFailure
	d.window = newWindow(d.store, d.pending)
	err = d.recount()
	if boltfile.IsDamage(err) {
		err = d.recount() // of a new one: that is put aside
	}
	if err != nil {
		d.store.close()
		return nil, unwritable(dir, err)
	}
	d.counted = d.store.begun.counted
	if name, ok := networkFileSystem(folder); ok {
		d.log.Warn("the outbox is on a network file system, where it may be damaged: set --outbox (BIGPANDA_OUTBOX) to a folder on a disk of this host",
			"folder", folder, "file_system", name)
	}
	if former := d.store.begun.formerURL; former != "" {
		d.log.Warn("alerts go to another URL than before: what is queued goes there, too, and every alert that is open is told again with its next point",
			"url", o.URL, "before", former, "queued", d.queued)
	}
	d.store.compact()
	d.control = serveControl(d)
	d.worker = newWorker(d)
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.workers.Go(func() { d.worker.run(ctx) })
	return d, nil
}

// recount reads what the database says that it holds, and lets the queue be read
// from its beginning.
func (d *Disk) recount() error {
	return d.store.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		d.queued, d.bytes = int(boltfile.Number(meta.Get(keyQueued))), boltfile.Number(meta.Get(keyBytes))
		d.lastID = max(d.lastID, tx.Bucket(bucketQueue).Sequence())
		d.stats.Dead = countDead(tx)
		eachAppKey(tx, func(appKey string, _ *bolt.Bucket) { d.rewind(appKey) })
		d.awake()
		return nil
	})
}

// lost is told that the file is another one now: what is in memory goes with it.
func (d *Disk) lost(why error, aside string) {
	if aside == "" {
		d.log.Error("the outbox's file was overwritten while it is in use: what it holds now counts, and every alert that is open in it is told again after a restart",
			"folder", d.store.folder, "error", why)
	} else {
		d.log.Error("the outbox cannot be read: it is moved aside and a new one begun; what it held is not delivered, and open alerts are sent again",
			"file", aside, "changes", d.queued-len(d.pending.changes), "error", why)
	}
	d.clear()
	clear(d.readers)
	clear(d.pending.done)
	d.queued, d.bytes = 0, 0
	if aside == "" {
		d.recount() // the next transaction finds out what an error means
	}
	for _, c := range d.pending.from("", 0) {
		d.queued++
		d.bytes += int64(len(c.Payload))
		d.admit(c)
	}
}

// locked does something to an outbox that is open. Otherwise the error is ErrClosed.
func (d *Disk) locked(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	return f()
}

// do changes an outbox that is open, and wakes who waits for that.
func (d *Disk) do(f func()) {
	d.locked(func() error {
		f()
		d.awake()
		return nil
	})
}

// home returns the folder, and the id of the database that is open there.
func (d *Disk) home() (folder string, id []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.store.folder, d.store.begun.id
}

// Next takes the oldest changes of one app key for delivery, as Memory.Next does.
func (d *Disk) Next(ctx context.Context, max int, skip func(appKey string) bool) (taken []Change, err error) {
	err = d.await(ctx, &d.mu, func() (bool, error) {
		taken = d.take(max, skip)
		return len(taken) > 0, nil
	})
	return taken, err
}

func (d *Disk) take(max int, skip func(appKey string) bool) []Change {
	if d.looking {
		return nil
	}
	more := d.readOn()
	ids := d.schedule.take(max, skip)
	if len(ids) == 0 {
		if more && d.writeFailed == nil {
			d.awake() // after a pause for others
		} else if (d.queued != 0 || d.bytes != 0) && d.isEmpty() {
			// The count was damaged, or what it counts.
			d.queued, d.bytes = 0, 0
			d.awake()
		}
		return nil
	}
	changes := make([]Change, 0, len(ids))
	unreadable := make(map[uint64]error)
	err := d.store.view(func(tx *bolt.Tx) error {
		for _, id := range ids {
			q := d.inFlight[id]
			c, inMemory := d.pending.changes[id]
			if !inMemory {
				var err error
				if c, err = readChange(tx, q.appKey, id); err != nil {
					unreadable[id] = err
					continue
				}
			}
			c.Postponed = q.postponed > 0
			changes = append(changes, c)
		}
		return nil
	})
	if err != nil {
		d.release(ids...)
		d.noteFailure(err)
		return nil
	}
	for id, err := range unreadable {
		q := d.inFlight[id]
		d.deadLetter(Change{ID: id, AppKey: q.appKey, Alert: q.alert}, 0, err.Error())
		d.log.Error("a queued change cannot be read: it is now a dead letter", "id", id, "error", err)
	}
	if len(unreadable) > 0 {
		d.settle()
	}
	return changes
}

// Stats returns what is held now, and what became of changes since Open.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Queued, s.InFlight = d.queued, len(d.inFlight)
	return s
}

// Close writes what is pending, if the disk lets it, and closes the database. What
// is in flight is queued for the next Open. It may be called twice.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.stop()
	d.awake()
	os.Remove(filepath.Join(d.store.folder, controlName))
	d.control.close()
	d.mu.Unlock()
	d.workers.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	// Also when nothing is pending: the token may have been changed in its file.
	err := d.commit(nil, nil)
	d.retry.Stop()
	if d.pending.empty() {
		err = nil
	} else if err != nil {
		err = fmt.Errorf("write what the disk refused before, %d changes: %w", len(d.pending.changes), err)
	}
	return errors.Join(err, d.store.close())
}
