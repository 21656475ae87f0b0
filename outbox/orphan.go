package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

const (
	// movePiece is how many changes are taken over in one commit: points wait
	// no longer than that takes.
	movePiece = 1000
	// maxOrphanAge is how long the levels of an orphan are kept: whoever owned them
	// would tell of them again by then.
	maxOrphanAge = 30 * 24 * time.Hour
)

// isDue reports whether nobody works on the outbox of another use in a folder, and
// it is as it was at the look before, when nobody did either. At the first its own
// process may be about to start, as all do when Kapacitor does: then two would
// deliver changes of one alert, and in no order.
func (d *Disk) isDue(folder string) bool {
	lock, err := tryLock(folder)
	if err != nil {
		delete(d.seen, folder)
		return false
	}
	system.Release(lock)
	seen, known := d.seen[folder]
	d.seen[folder] = writtenAt(folder)
	return known && seen.Equal(d.seen[folder])
}

// look takes over what processes that are gone have left behind: at once what is
// of its own use, at the second look what is of others. Then Next may begin.
func (d *Disk) look(ctx context.Context) {
	d.looks.Lock()
	defer d.looks.Unlock()
	total := 0
	var failed error
	take := func(folder string) {
		n, err := d.adopt(ctx, folder)
		total += n
		failed = errors.Join(failed, err)
	}
	own := d.foldersOfUse()
	for _, folder := range own {
		take(folder)
	}
	d.mu.Lock()
	d.looking = false
	d.awake()
	me := d.folder
	d.mu.Unlock()
	for _, folder := range foldersIn(filepath.Dir(me)) {
		if d.options.LeaveOrphans || folder == me || slices.Contains(own, folder) {
			continue
		}
		if d.isDue(folder) {
			take(folder)
			d.seen[folder] = writtenAt(folder)
		}
	}
	if total > 0 {
		d.log.Info("took over what processes that are gone had not delivered", "changes", total)
	}
	if failed != nil && !errors.Is(failed, ErrClosed) {
		d.log.Error("what another process left behind cannot be taken over", "error", failed)
	}
}

// adopt takes over an orphan's queue, unless a process has it: a piece at a time, and
// in between its owner may have it back. The ids of changes keep them in the order of
// change.
func (d *Disk) adopt(ctx context.Context, folder string) (total int, err error) {
	for {
		n := 0
		err := d.withOrphan(folder, func(o *idle) (empty bool, err error) {
			if n, err = d.movePiece(o); err != nil || n > 0 {
				return false, err
			}
			return d.lookAfter(o)
		})
		total += n
		if errors.Is(err, errInUse) || errors.Is(err, ErrNewerFormat) {
			return total, nil // a process has it, or only a newer program may
		}
		if err != nil || n == 0 {
			return total, err
		}
		select {
		case <-time.After(d.options.Times.Rest):
		case <-ctx.Done():
			return total, nil
		}
	}
}

// movePiece moves the oldest changes.
func (d *Disk) movePiece(o *idle) (int, error) {
	var changes []Change
	// One that cannot be written is left alone: its changes would be taken over again
	// and again.
	err := o.update(func(tx *bolt.Tx) error {
		changes = oldestChanges(tx)
		if o.isOf(d.options) && len(changes) == 0 {
			return nil
		}
		return d.markOrphan(o, tx)
	})
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	if err := d.insert(changes); err != nil {
		return 0, err
	}
	// A crash between the two leaves changes in both: they are taken over again then,
	// under the same ids.
	return len(changes), o.update(func(tx *bolt.Tx) error {
		for _, c := range changes {
			if err := dropChange(tx, c.AppKey, c.ID); err != nil {
				return err
			}
		}
		return (&target{tx: tx}).count(-len(changes), -sizeOf(changes))
	})
}

// markOrphan writes down that the levels are nobody's from now on, or drops them, when
// they have been so for long.
func (d *Disk) markOrphan(o *idle, tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	now := d.options.Now()
	switch since := boltfile.Number(meta.Get(keyOrphan)); {
	case since == 0:
		return boltfile.PutNumber(meta, keyOrphan, now.Unix())
	case !o.isOf(d.options) && now.Sub(time.Unix(since, 0)) > maxOrphanAge:
		return dropLevels(tx)
	}
	return nil
}

// lookAfter sees to what is left of an orphan whose queue is empty: the levels are
// its node's, which takes them over. It tells whether nothing of worth is left then.
func (d *Disk) lookAfter(o *idle) (empty bool, err error) {
	if o.isOf(d.options) && !d.numbered {
		// Its process may have gone after Levels was called.
		theirs, last, err := d.levelsOf(o)
		if err != nil {
			return false, err
		}
		d.inTurn(func(Known) (later []Level) {
			later, err = d.merge(theirs, last)
			return later
		})
		if err == nil {
			err = o.update(dropLevels)
		}
		if err != nil {
			return false, err
		}
	}
	err = o.view(func(tx *bolt.Tx) error {
		dead, _ := tx.Bucket(bucketDead).Cursor().First()
		level, _ := tx.Bucket(bucketLevels).Cursor().First()
		empty, o.counted = dead == nil && level == nil, readCounters(tx)
		for range merged(tx, 0) { // one that cannot be read
			empty = false
			break
		}
		return nil
	})
	return empty, err
}

// insert queues changes of an orphan, in their places.
func (d *Disk) insert(theirs []Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.runNow(served{mode: changes}, func(t *target) (any, error) {
		last := t.tx.Bucket(bucketQueue).Sequence()
		count, size := 0, int64(0)
		for _, c := range theirs {
			there := recordOf(t.tx, c.AppKey, c.ID)
			for ; there != nil && !bytes.Equal(there, encodeChange(c)); there = recordOf(t.tx, c.AppKey, c.ID) {
				c.ID++
			}
			if there != nil {
				continue // a process that was here before died in between
			}
			if err := putChange(t.tx, c); err != nil {
				return nil, err
			}
			count, size, last = count+1, size+int64(len(c.Payload)), max(last, c.ID)
		}
		return nil, errors.Join(t.tx.Bucket(bucketQueue).SetSequence(last), t.count(count, size))
	}, new(target))
	return err
}

// oldestChanges returns the oldest changes that can be read, up to movePiece, of about
// MaxBatchBytes at most.
func oldestChanges(tx *bolt.Tx) (changes []Change) {
	size := 0
	for c, err := range merged(tx, 0) {
		if len(changes) == movePiece || size >= MaxBatchBytes {
			break
		}
		if err == nil {
			size += len(c.Payload)
			c.Payload = bytes.Clone(c.Payload)
			changes = append(changes, c)
		}
	}
	return changes
}

// levelsOf returns all levels of an orphan, and the last ID that was given.
func (d *Disk) levelsOf(o *idle) (all []Level, last uint64, err error) {
	elsewhere := !o.hasURL(d.options)
	err = o.view(func(tx *bolt.Tx) error {
		last = tx.Bucket(bucketQueue).Sequence()
		readLevels(tx, func(l Level) bool {
			l.Again = l.Again || elsewhere
			l.Value = append([]byte{}, l.Value...)
			all = append(all, l)
			return true
		})
		return nil
	})
	return all, last, err
}

// withOrphan calls f with the outbox in a folder, unless it is not this one's to
// deliver: it is of its use, or has its URL and token. errInUse is the error when a
// process works on it. Where f says that it is empty, it is removed.
func (d *Disk) withOrphan(folder string, f func(*idle) (empty bool, err error)) error {
	if fault, hint := system.FolderFault(folder); fault != "" {
		return fmt.Errorf("%s: run %s, or remove it", fault, hint)
	}
	o, err := openIdle(folder, true)
	damage, empty := err, false
	if err == nil {
		defer o.close()
		mine := o.isOf(d.options) || o.hasURL(d.options) && o.hasToken(d.options)
		if o.db == nil || !mine || bytes.Equal(o.store, d.store.begun.id) { // a copy of this one
			return nil
		}
		empty, err = f(o)
		damage = o.failed // an error of f may be of this outbox's own file
	}
	switch {
	case err != nil && boltfile.IsDamage(damage):
		aside, asideErr := boltfile.MoveAside(filepath.Join(folder, databaseName), damaged, d.options.Now())
		d.log.Error("an outbox that another process left behind cannot be read: it is moved aside, and what it held is not delivered",
			"file", aside, "error", errors.Join(err, asideErr))
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", folder, err)
	case empty:
		if err := removeFolder(folder); err != nil || !o.isOf(d.options) {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.counted.Add(o.counted) // they are the use's, and go on
	}
	return nil
}

// removeFolder removes the folder of an outbox that is empty. One that holds
// what is not an outbox's own, or was put aside, stays with that.
func removeFolder(folder string) error {
	// The lock is last: from then on another process may begin here, and then the
	// folder stays.
	for _, name := range ownFiles {
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(folder); !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
