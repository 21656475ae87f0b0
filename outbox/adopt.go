package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// adoptEvery is how often an outbox looks for what processes that are gone
	// have left behind. What is another task's or node's is taken over at the
	// second look.
	adoptEvery = time.Minute
	// ownersBegin is how long a new outbox leaves those of its task's other nodes
	// to their own processes, which may be beginning at this moment, too.
	ownersBegin = 3 * time.Second
	// adoptPiece is how many changes are taken over in one commit: points wait
	// no longer than that takes.
	adoptPiece = 1000
)

// adopt takes over the changes of leftovers, in pieces, and lets Next begin.
// The ids of changes keep them in the order of change.
func (d *Disk) adopt() {
	total := 0
	err := leftovers(filepath.Dir(d.folder), d.folder, d.options, func(l leftover) (bool, error) {
		// Whose levels it has, and the other nodes of its task where it has taken
		// over levels, are the node under another number.
		if !l.sameNode && !bytes.Equal(l.heir, d.store) && !(d.siblings && l.sameTask) && !d.forsaken(l) {
			return false, nil
		}
		for {
			var changes []Change
			if err := l.view(func(tx *bolt.Tx) error {
				changes = oldestChanges(tx, adoptPiece)
				return nil
			}); err != nil {
				return false, err
			}
			if len(changes) == 0 {
				break
			}
			// One that cannot be written is left alone: its changes would be taken
			// over again and again.
			if err := l.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyStore, l.store) }); err != nil {
				return false, err
			}
			if err := d.takeOver(changes); err != nil {
				return false, err
			}
			// A crash between the two leaves changes in both: they are taken
			// over again then, under the same ids.
			if err := l.update(func(tx *bolt.Tx) error { return dropChanges(tx, changes) }); err != nil {
				return false, err
			}
			total += len(changes)
		}
		if l.sameNode {
			// Its process may have gone after inherit looked.
			theirs, err := l.levels()
			if err != nil {
				return false, err
			}
			d.mu.Lock()
			err = d.takeLevels(theirs)
			d.mu.Unlock()
			if err != nil {
				return false, err
			}
		}
		empty := false
		err := l.view(func(tx *bolt.Tx) error {
			dead, _ := tx.Bucket(bucketDead).Cursor().First()
			level, _ := tx.Bucket(bucketLevels).Cursor().First()
			_, queued := oldestID(tx)
			// A numbered outbox only borrows levels.
			empty = dead == nil && (level == nil || l.sameNode && !d.numbered) && !queued
			return nil
		})
		return empty, err
	})
	if total > 0 {
		d.log.Info("took over what processes that are gone had not delivered", "changes", total)
	}
	if err != nil && !errors.Is(err, ErrClosed) {
		d.log.Error("what another process left behind cannot be taken over", "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adopting = false
	d.schedule.awake()
}

// forsaken reports whether a leftover of another task or node is as it was at
// the look before. At the first its own process may be about to start, as all
// do when Kapacitor does: then two would deliver changes of one alert, and in
// no order.
func (d *Disk) forsaken(l leftover) bool {
	info, err := os.Stat(l.Path())
	if err != nil {
		return false
	}
	seen, known := d.strangers[l.folder]
	d.strangers[l.folder] = info.ModTime()
	return known && seen.Equal(info.ModTime())
}

// takeOver queues changes of a leftover, in their places.
func (d *Disk) takeOver(changes []Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.retry != nil {
		return d.refusal // what is kept in memory comes first
	}
	var count int
	var size int64
	err := d.update(func(tx *bolt.Tx) error {
		count, size = 0, 0
		queue := tx.Bucket(bucketQueue)
		for _, c := range changes {
			b, err := queue.CreateBucketIfNotExists([]byte(c.Lane))
			if err != nil {
				return err
			}
			there := b.Get(encodeID(c.ID))
			for ; there != nil && !bytes.Equal(there, encodeChange(c)); there = b.Get(encodeID(c.ID)) {
				c.ID++
			}
			if there != nil {
				continue // a process that was here before died in between
			}
			if err := b.Put(encodeID(c.ID), encodeChange(c)); err != nil {
				return err
			}
			count++
			size += int64(len(c.Payload))
			d.lastID = max(d.lastID, c.ID)
		}
		return d.putCounts(tx, count, size)
	})
	if err != nil {
		return err
	}
	d.queued += count
	d.bytes += size
	for _, c := range changes {
		d.rewind(c.Lane)
	}
	return nil
}

// oldestChanges returns up to max queued changes that can be read, of about
// MaxBatchBytes at most.
func oldestChanges(tx *bolt.Tx, max int) (changes []Change) {
	size := 0
	queue := tx.Bucket(bucketQueue)
	queue.ForEachBucket(func(lane []byte) error {
		c := queue.Bucket(lane).Cursor()
		for k, v := c.First(); k != nil && len(changes) < max && size < MaxBatchBytes; k, v = c.Next() {
			size += len(v)
			if change, err := decodeChange(decodeID(k), string(lane), v); err == nil {
				changes = append(changes, change)
			}
		}
		return nil
	})
	return changes
}

func dropChanges(tx *bolt.Tx, changes []Change) error {
	queue := tx.Bucket(bucketQueue)
	for _, c := range changes {
		if err := queue.Bucket([]byte(c.Lane)).Delete(encodeID(c.ID)); err != nil {
			return err
		}
	}
	return addCounts(tx, -int64(len(changes)), -sizeOf(changes))
}
