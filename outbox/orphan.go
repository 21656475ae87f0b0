package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/counters"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

const (
	// maxMoved is how many changes are taken over in one commit: points wait no longer
	// than that takes.
	maxMoved = 1000
	// maxOrphanAge is how long the levels of an orphan are kept: whoever owned them
	// would tell of them again by then.
	maxOrphanAge = 30 * 24 * time.Hour
)

// adopt takes over an orphan's queue, unless a process has it: a piece at a time, and
// in between its owner may have it back. The ids of changes keep them in the order of
// change.
func (w *worker) adopt(ctx context.Context, folder string) (total int, err error) {
	for {
		n := 0
		err := w.withOrphan(folder, func(o *idle) (empty bool, err error) {
			if n, err = w.movePiece(o); err != nil || n > 0 {
				return false, err
			}
			return w.lookAfter(o)
		})
		total += n
		if errors.Is(err, errInUse) || errors.Is(err, errNewerFormat) {
			return total, nil // a process has it, or only a newer program may
		}
		if err != nil || n == 0 {
			return total, err
		}
		select {
		case <-time.After(w.options.Times.Rest):
		case <-ctx.Done():
			return total, nil
		}
	}
}

// movePiece moves the oldest changes.
func (w *worker) movePiece(o *idle) (int, error) {
	var changes []Change
	// One that cannot be written is left alone: its changes would be taken over again
	// and again.
	err := o.update(func(tx *bolt.Tx) error {
		changes = oldestChanges(tx)
		if o.isOf(w.options) && len(changes) == 0 {
			return nil
		}
		return w.markOrphan(o, tx)
	})
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	if err := w.insert(changes); err != nil {
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
func (w *worker) markOrphan(o *idle, tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	now := w.options.Now()
	switch since := boltfile.Number(meta.Get(keyOrphan)); {
	case since == 0:
		return boltfile.PutNumber(meta, keyOrphan, now.Unix())
	case !o.isOf(w.options) && now.Sub(time.Unix(since, 0)) > maxOrphanAge:
		return dropLevels(tx)
	}
	return nil
}

// lookAfter sees to what is left of an orphan whose queue is empty: the levels are
// its node's, which takes them over. It tells whether nothing of worth is left then.
func (w *worker) lookAfter(o *idle) (empty bool, err error) {
	if o.isOf(w.options) && !w.isNumbered() {
		// Its process may have gone after Levels was called.
		theirs, last, err := o.levels(w.options)
		if err == nil && len(theirs) > 0 {
			err = w.merge(theirs, last, changes)
		}
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
func (w *worker) insert(theirs []Change) error {
	_, err := w.disk.run(served{mode: inserts}, func(t *target) (any, error) {
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
	})
	return err
}

// merge takes over the levels of another process of the use that is gone: of two
// of one series, the later one is right.
func (w *worker) merge(theirs []Level, last uint64, m mode) error {
	_, err := w.disk.run(served{mode: m}, func(t *target) (any, error) {
		// What comes now follows what they have queued, whatever the clock says.
		t.live.lastID = max(t.live.lastID, last)
		for _, l := range theirs {
			mine, there := readLevel(t.tx, l.Key)
			if len(l.Value) == 0 {
				l.Value = nil
			}
			if there && l.Time > mine.Time || !there && l.Value != nil {
				if err := putLevel(t.tx, l); err != nil {
					return nil, err
				}
				t.levels = append(t.levels, l)
			}
		}
		return nil, nil
	})
	return err
}

// oldestChanges returns the oldest changes that can be read, up to maxMoved, of about
// MaxBatchBytes at most.
func oldestChanges(tx *bolt.Tx) (changes []Change) {
	size := 0
	for c, err := range merged(tx, 0) {
		if len(changes) == maxMoved || size >= MaxBatchBytes {
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

// levels returns all levels of an orphan, and the last ID that was given.
func (i *idle) levels(o Options) (all []Level, last uint64, err error) {
	elsewhere := !i.hasURL(o)
	err = i.view(func(tx *bolt.Tx) error {
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
func (w *worker) withOrphan(folder string, f func(*idle) (empty bool, err error)) error {
	if fault, hint := system.FolderFault(folder); fault != "" {
		return fmt.Errorf("%s: run %s, or remove it", fault, hint)
	}
	_, id := w.disk.home()
	o, err := openIdle(folder, true)
	damage, empty := err, false
	if err == nil {
		defer o.close()
		mine := o.isOf(w.options) || o.hasURL(w.options) && o.hasToken(w.options)
		if o.db == nil || !mine || bytes.Equal(o.store, id) { // a copy of this one
			return nil
		}
		empty, err = f(o)
		damage = o.failed // an error of f may be of this outbox's own file
	}
	switch {
	case err != nil && boltfile.IsDamage(damage):
		aside, asideErr := boltfile.MoveAside(filepath.Join(folder, databaseName), damaged, w.options.Now())
		w.options.Log.Error("an outbox that another process left behind cannot be read: it is moved aside, and what it held is not delivered",
			"file", aside, "error", errors.Join(err, asideErr))
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", folder, err)
	case empty:
		if err := removeFolder(folder); err != nil || !o.isOf(w.options) {
			return err
		}
		counted := o.counted // which are the use's, and go on
		w.disk.Count(func(all *counters.Counters) { all.Add(counted) })
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
