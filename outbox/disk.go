package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
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

// Disk is an outbox on disk, in a folder of its own that no other process
// works in. Safe for concurrent use.
//
// What Append was given is on disk, synced, when it returns. While the disk
// refuses that, the newest change of each alert is kept in memory and tried
// again, and the log says so.
type Disk struct {
	options Options
	log     *slog.Logger
	workers sync.WaitGroup
	stop    context.CancelFunc
	looks   sync.Mutex           // guards seen; held for the whole of a look
	seen    map[string]time.Time // orphans, and when each was last written
	met     chan struct{}        // closed when others, alive and othersErr are known

	mu       sync.Mutex // guards all that follows
	folder   string
	lock     *os.File
	numbered bool         // it works beside the node's own outbox, which takes its levels over in the end
	control  *http.Server // nil when it cannot be served
	store    *store
	window
	pending *pending

	lastID      uint64
	queued      int   // changes, also those in memory
	bytes       int64 // of their payloads
	full        int64 // the bytes above which changes are given up
	stats       Stats
	retry       *time.Timer      // while the disk refuses
	writeFailed error            // what it said; nil while it does not
	appended    time.Time        // when Append was last called
	givingUp    bool             // giveUp is under way
	looking     bool             // nothing may leave before what the use left behind is in its place
	others      map[string]Level // of other processes of the use, until Levels was called
	alive       bool             // one of them works
	othersErr   error
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
	d := &Disk{
		options: o, log: o.Log, seen: make(map[string]time.Time), met: make(chan struct{}),
		folder: folder, lock: lock, numbered: numberOf(folder) > 1,
		store: &store{folder: folder, options: o}, pending: newPending(), opened: o.Now(),
	}
	d.retry = time.AfterFunc(math.MaxInt64, func() {
		d.locked(func() error {
			d.commit(nil, nil)
			d.awake()
			return nil
		})
	})
	d.retry.Stop() // until noteFailure
	d.window = newWindow(d.store, d.pending, d.noteFailure)
	d.store.lost = d.lost
	err = d.recount()
	if boltfile.IsDamage(err) {
		err = d.recount() // of a new one: that is put aside
	}
	if err != nil {
		if d.store.db != nil {
			d.store.db.Close()
		}
		system.Release(lock)
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
	d.compact()
	d.looking = true
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.serveControl()
	d.workers.Go(func() { d.work(ctx) })
	return d, nil
}

// work looks after what others have left behind, until ctx is done.
func (d *Disk) work(ctx context.Context) {
	d.meet(ctx)
	for again := time.NewTicker(d.options.Times.Look); ; {
		d.look(ctx)
		select {
		case <-again.C:
			d.mu.Lock()
			d.compact() // the last ack may have come too soon after a change
			d.mu.Unlock()
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

// recount reads what the database says that it holds, and lets the queue be read
// from its beginning.
func (d *Disk) recount() error {
	return d.store.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		d.queued, d.bytes = int(boltfile.Number(meta.Get(keyQueued))), boltfile.Number(meta.Get(keyBytes))
		d.lastID = max(d.lastID, tx.Bucket(bucketQueue).Sequence())
		d.full = d.options.MaxSize
		d.stats.Dead = countDead(tx)
		eachAppKey(tx, func(appKey string, _ *bolt.Bucket) { d.rewind(appKey) })
		d.awake()
		return nil
	})
}

// update runs a transaction that writes, where the outbox belongs.
func (d *Disk) update(f func(*bolt.Tx) error) error {
	if err := d.store.open(); err != nil {
		return err
	}
	if err := d.comeBack(); err != nil {
		return fmt.Errorf("write the outbox anew where it was: %w", err)
	}
	return d.store.update(f)
}

func (d *Disk) compact() {
	if err := d.store.compact(d.appended); err != nil {
		d.noteFailure(err)
	}
}

// lost is told that the file is another one now: what is in memory goes with it.
func (d *Disk) lost(why error, aside string) {
	if aside == "" {
		d.log.Error("the outbox's file was overwritten while it is in use: what it holds now counts, and every alert that is open in it is told again after a restart",
			"folder", d.folder, "error", why)
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
	d.closeControl()
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
	if d.store.db != nil {
		err = errors.Join(err, d.store.db.Close())
	}
	return errors.Join(err, system.Release(d.lock))
}
