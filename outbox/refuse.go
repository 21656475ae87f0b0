package outbox

import (
	"cmp"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// kept is what the disk has refused so far.
type kept struct {
	changes map[uint64]Change // the newest of each alert, and what is in flight
	newest  map[string]uint64 // of changes, by alert
	levels  map[string]Level  // by key
	done    map[uint64]string // the lanes of changes that are to be removed
	dead    []DeadLetter
}

func newKept() kept {
	return kept{
		changes: make(map[uint64]Change), newest: make(map[string]uint64),
		levels: make(map[string]Level), done: make(map[uint64]string),
	}
}

func (k *kept) empty() bool {
	return len(k.changes) == 0 && len(k.levels) == 0 && len(k.done) == 0 && len(k.dead) == 0
}

// keep holds a change in memory, in place of an older one of its alert.
func (d *Disk) keep(c Change) {
	if old, ok := d.kept.newest[c.Alert]; ok && d.schedule.flying[old] == nil {
		if older, there := d.kept.changes[old]; there {
			d.forget(older)
			delete(d.kept.changes, old)
			d.stats.GivenUp++
		}
	}
	d.kept.changes[c.ID], d.kept.newest[c.Alert] = c, c.ID
}

// keptFrom returns the kept changes of a lane, or of all, from an id on.
func (d *Disk) keptFrom(lane string, from uint64) []Change {
	var all []Change
	for _, c := range d.kept.changes {
		if c.ID >= from && (lane == "" || lane == c.Lane) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// refused takes note that the disk did not do what it was asked, and sees to it
// that it is asked again.
func (d *Disk) refused(err error) {
	if d.retry == nil {
		d.log.Error("the outbox cannot be written: the newest change of each alert is kept in memory, and lost if the process ends before it can be",
			"folder", d.folder, "error", err)
	} else {
		d.retry.Stop()
	}
	d.refusal = err
	d.retry = time.AfterFunc(retryAfter, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			return
		}
		if err := d.commit(nil, nil); err != nil {
			d.refused(err)
		}
		d.schedule.awake()
	})
}

// accepted takes note that the disk took everything.
func (d *Disk) accepted() {
	d.kept = newKept()
	if d.retry != nil {
		d.retry.Stop()
		d.retry = nil
		d.log.Info("the outbox is written again: everything is on disk", "folder", d.folder)
	}
}

// update runs a transaction that writes.
func (d *Disk) update(f func(*bolt.Tx) error) error {
	if err := d.open(); err != nil {
		return err
	}
	return d.checked(guard(func() error { return d.db.Update(f) }))
}

// view runs a transaction that reads.
func (d *Disk) view(f func(*bolt.Tx) error) error {
	if err := d.open(); err != nil {
		return err
	}
	return d.checked(guard(func() error { return d.db.View(f) }))
}

// checked sees to it that a database that failed is opened anew before it is
// used again: whether the last commit is on the disk is not known, and what
// the file holds is what counts. A full disk is no such failure.
func (d *Disk) checked(err error) error {
	if err == nil || isFull(err) {
		return err
	}
	abandon(d.db)
	d.db = nil
	if isDamage(err) {
		d.moveAside(err)
	}
	return err
}

// moveAside puts a database aside that cannot be read. What is in memory
// begins the next one.
func (d *Disk) moveAside(why error) {
	aside, err := moveFileAside(d.path(), d.options.Now())
	if err != nil {
		why = errors.Join(why, err)
	}
	d.log.Error("the outbox cannot be read: it is moved aside and a new one begun; what it held is not delivered, and open alerts are sent again",
		"file", aside, "changes", d.queued-len(d.kept.changes), "error", why)
	d.schedule.clear()
	clear(d.readers)
	clear(d.kept.done)
	d.queued, d.bytes = 0, 0
	for _, c := range d.keptFrom("", 0) {
		d.queued++
		d.bytes += int64(len(c.Payload))
		d.admit(c)
	}
}
