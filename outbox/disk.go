package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// DefaultMaxSize is how large the queue may be, in bytes, before
	// intermediate changes are given up: some days of a storm, and less than
	// what a root file system can spare.
	DefaultMaxSize = 4 << 30

	// window is how many queued changes of a lane are known in memory at most
	// (P7); their payloads stay on disk until they are sent.
	window = 8192
	// linger is how many of them may be of one alert, so that an alert that
	// cannot be delivered now leaves room for others.
	linger = 64

	// retryAfter is how long what the disk refused waits to be tried again.
	retryAfter = time.Second

	databaseName = "outbox.db"
	lockName     = "lock"
)

// Options say whose outbox it is and how it behaves.
type Options struct {
	// Task and Node are the use of the function that the outbox belongs to.
	Task, Node string
	// URL is where its alerts go, and Fingerprint makes a keyed hash of the
	// token that they go with: others with the same two may deliver them. The URL
	// is kept and shown as it is, so it is one WithoutQuery.
	URL         string
	Fingerprint func(key []byte) []byte
	// MaxSize is the limit of the queue in bytes; 0 means DefaultMaxSize.
	MaxSize int64
	// Wait is how long Open waits for another process to leave.
	Wait time.Duration
	// Log gets what an operator should know. Required.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Disk is an outbox on disk, in a folder of its own that no other process
// works in. Safe for concurrent use.
//
// What Append was given is on disk, synced, when it returns. While the disk
// refuses that, the newest change of each alert is kept in memory and tried
// again, and the log says so.
type Disk struct {
	folder  string
	lock    *os.File
	options Options
	log     *slog.Logger
	isNew   bool // the database was begun by Open

	mu        sync.Mutex
	closed    bool
	inherited bool // levels of another outbox
	// A numbered outbox works beside the node's own, which takes its changes
	// over in the end. What it has from there is borrowed, and not on its disk;
	// what it forgets stays there as a level without a value.
	store    []byte // its random id
	heir     string // the store that had its levels when it was opened; "": it had
	siblings bool   // it has taken over levels of its task's other nodes
	numbered bool
	borrowed map[string]Level // by key
	db       *bolt.DB         // nil while it could not be opened again
	lastID   uint64
	queued   int   // changes, also those in memory
	bytes    int64 // of their payloads
	full     int64 // the bytes above which changes are given up
	stats    Stats

	schedule     schedule
	window       int                // see there
	linger       int                // see there
	readers      map[string]*reader // by lane
	kept         kept
	retry        *time.Timer          // while the disk refuses
	refusal      error                // what it said
	compactAfter time.Time            // the last try failed
	appended     time.Time            // when Append was last called
	giving       bool                 // giveUp is under way
	adopting     bool                 // nothing may leave before what others left behind is in its place
	strangers    map[string]time.Time // leftovers of other tasks and nodes: when last written; the adopting worker's
	workers      sync.WaitGroup
	stop         context.CancelFunc

	report  func() Delivery // of who delivers; nil: nobody has said
	owner   Owner           // who has the levels in its memory; nil: nobody
	control *controlServer  // nil when it cannot be served
}

// Open opens the outbox of one use of the function in dir, which is made if it
// is not there. When another process has it for longer than Options.Wait, a
// numbered one beside it is opened.
//
// A database that cannot be read is moved aside, and a new one begun. Errors
// are of the folder: it cannot be written, or holds a newer format.
func Open(dir string, o Options) (*Disk, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	folder, lock, err := lockFolder(dir, o)
	if err != nil {
		return nil, err
	}
	d := &Disk{
		folder: folder, lock: lock, options: o, log: o.Log,
		schedule: newSchedule(),
		window:   window, linger: linger,
		readers:   make(map[string]*reader),
		kept:      newKept(),
		strangers: make(map[string]time.Time),
		numbered:  strings.Contains(filepath.Base(folder), "~"),
		borrowed:  make(map[string]Level),
	}
	err = d.start()
	if isDamage(err) {
		err = d.start() // of a new one: that is moved aside
	}
	if err != nil {
		if d.db != nil {
			d.db.Close()
		}
		lock.Close()
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			err = unwritable(dir, err)
		}
		return nil, err
	}
	warnOfNetwork(folder, d.log)
	d.compact()
	if err := d.inherit(); err != nil {
		d.log.Error("what another process left behind cannot be read", "error", err)
	}
	d.adopting = true
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.workers.Go(func() {
		if d.siblings {
			select {
			case <-time.After(ownersBegin):
			case <-ctx.Done():
				return
			}
		}
		for again := time.NewTicker(adoptEvery); ; {
			d.adopt()
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
	})
	d.control = serveControl(folder, d, d.log)
	return d, nil
}

func (d *Disk) path() string { return filepath.Join(d.folder, databaseName) }

// open opens the database, or a new one where that is damaged, unless it is
// open.
func (d *Disk) open() error {
	if d.db != nil {
		return nil
	}
	db, isNew, err := openDatabase(d.path(), d.options)
	if isDamage(err) {
		d.moveAside(err)
		db, isNew, err = openDatabase(d.path(), d.options)
	}
	d.db, d.isNew = db, d.isNew || isNew
	return err
}

// start reads what a database counts.
func (d *Disk) start() error {
	return d.view(func(tx *bolt.Tx) error {
		meta, queue := tx.Bucket(bucketMeta), tx.Bucket(bucketQueue)
		d.store = slices.Clone(meta.Get(keyStore))
		d.heir = string(meta.Get(keyHeir))
		d.isNew = d.isNew || meta.Get(keyBegins) != nil
		d.queued, d.bytes = int(number(meta.Get(keyQueued))), number(meta.Get(keyBytes))
		d.lastID = queue.Sequence()
		d.full = d.options.MaxSize
		d.stats.Dead = tx.Bucket(bucketDead).Stats().KeyN
		return queue.ForEachBucket(func(lane []byte) error {
			d.readers[string(lane)] = &reader{skipped: make(map[string]uint64)}
			return nil
		})
	})
}

// Levels calls each with every level that was appended before, in no order,
// until it returns false. isNew says that the database was begun by this Open.
// Nothing else can be done with the outbox meanwhile, so each must not.
func (d *Disk) Levels(each func(Level) bool) (isNew bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, ErrClosed
	}
	err = d.eachLevel(func(l Level) bool { return len(l.Value) == 0 || each(l) })
	return d.isNew && !d.inherited, err
}

// eachLevel calls f with the level of every series, those that the disk refuses
// and those that were forgotten, too, until it returns false.
func (d *Disk) eachLevel(f func(Level) bool) error {
	others := maps.Clone(d.borrowed)
	maps.Copy(others, d.kept.levels)
	more := true
	err := d.view(func(tx *bolt.Tx) error {
		more = readLevels(tx, func(l Level) bool {
			if other, there := others[l.Key]; there {
				if _, newer := d.kept.levels[l.Key]; newer || l.Time < other.Time {
					return true
				}
				delete(others, l.Key)
			}
			return f(l)
		})
		return nil
	})
	for _, l := range others {
		if more = more && f(l); !more {
			break
		}
	}
	return err
}

// Next takes the oldest changes of one lane for delivery, as Memory.Next does.
func (d *Disk) Next(ctx context.Context, max int, skip func(lane string) bool) (taken []Change, err error) {
	err = await(ctx, func() (bool, <-chan struct{}, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			return false, nil, ErrClosed
		}
		wake := d.schedule.wake // take may find that it is worth another try
		taken = d.take(max, skip)
		return len(taken) > 0, wake, nil
	})
	return taken, err
}

// Stats returns what is held now, and what became of changes since Open.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Queued, s.InFlight = d.queued, len(d.schedule.flying)
	return s
}

// Close writes what is kept, if the disk lets it, and closes the database. What
// is in flight is queued for the next Open. It may be called twice.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.stop()
	d.schedule.awake()
	if d.retry != nil {
		d.retry.Stop()
	}
	d.mu.Unlock()
	d.control.close()
	d.workers.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if !d.kept.empty() || d.hasOtherToken() {
		if err = d.commit(nil, nil); err != nil {
			err = fmt.Errorf("write what the disk refused before, %d changes: %w", len(d.kept.changes), err)
		}
	}
	if d.db != nil {
		err = errors.Join(err, d.db.Close())
	}
	return errors.Join(err, d.lock.Close())
}

// hasOtherToken reports whether the token was changed in its file, and no commit
// has noted it.
func (d *Disk) hasOtherToken() (other bool) {
	if d.db == nil {
		return false
	}
	err := d.view(func(tx *bolt.Tx) error {
		other = !bytes.Equal(tx.Bucket(bucketMeta).Get(keyToken), d.options.Fingerprint(d.store))
		return nil
	})
	return other && err == nil
}

// Drain waits until nothing is queued or in flight, nor being taken over from
// processes that are gone when it was opened. It returns ctx's error when that
// is over first.
func (d *Disk) Drain(ctx context.Context) error {
	return await(ctx, func() (bool, <-chan struct{}, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			return false, nil, ErrClosed
		}
		return d.queued == 0 && !d.adopting, d.schedule.wake, nil
	})
}
