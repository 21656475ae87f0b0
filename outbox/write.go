package outbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Append makes changes, which get their IDs in their order, and levels durable
// in one commit.
func (d *Disk) Append(changes []Change, levels []Level) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.append(changes, levels)
	}
}

func (d *Disk) append(changes []Change, levels []Level) {
	if d.numbered {
		levels = slices.Clone(levels)
		for i := range levels {
			levels[i].Value = append([]byte{}, levels[i].Value...) // nil would remove it
		}
	}
	d.full = max(d.options.MaxSize, min(d.full, d.bytes+d.room()))
	d.appended = d.options.Now()
	for i := range changes {
		d.lastID = nextID(d.lastID, d.appended)
		changes[i].ID = d.lastID
	}
	written := d.try(changes, levels)
	// Not before: what that has found damaged is not counted any more.
	d.queued += len(changes)
	d.bytes += sizeOf(changes)
	if !written {
		for _, c := range changes {
			d.keep(c)
		}
		for _, l := range levels {
			d.kept.levels[l.Key] = l
		}
	}
	for _, c := range changes {
		if d.kept.newest[c.Alert] <= c.ID {
			d.admit(c)
		}
	}
	d.schedule.awake()
	if d.bytes > d.full {
		d.giveUp()
	}
}

// Refresh puts values in the place of those of levels that are there, in one
// commit: what refreshed makes of them, unless that is nil. Their times stay, so
// that it makes no level later than another. What the disk refuses is not kept,
// nor is it tried when it has refused more.
func (d *Disk) Refresh(keys []string, refreshed func(Level) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.retry != nil {
		return
	}
	// The next change finds out what an error means.
	_ = d.update(func(tx *bolt.Tx) error {
		for _, key := range keys {
			l, there := readLevel(tx, key)
			if !there {
				continue
			}
			if l.Value = refreshed(l); l.Value == nil {
				continue
			}
			if err := putLevel(tx, l); err != nil {
				return err
			}
		}
		return nil
	})
}

// try commits, unless the disk refuses at the moment: what it refused before
// is much to write, and not worth the time of every point.
func (d *Disk) try(changes []Change, levels []Level) bool {
	if d.retry != nil {
		return false
	}
	err := d.commit(changes, levels)
	if err != nil {
		d.refused(err)
	}
	return err == nil
}

// forget takes a queued change out of the counts and the schedule.
func (d *Disk) forget(c Change) {
	d.queued--
	d.bytes -= int64(len(c.Payload))
	if d.schedule.drop(c.Alert, c.ID) {
		d.reader(c.Lane).loaded--
	}
}

// Ack removes delivered changes. IDs that are not in flight are ignored. The
// error is the disk's: then they are removed later, and sent again if the
// process ends before.
func (d *Disk) Ack(ids ...uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	for _, id := range ids {
		d.land(id)
	}
	return d.settled()
}

// Dead removes a change that was refused for good and keeps it, with the
// answer, as a dead letter. One that cannot be read now is released.
func (d *Disk) Dead(id uint64, status int, answer string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	l := d.schedule.flying[id]
	if l == nil {
		return nil
	}
	c := Change{ID: id, Lane: l.lane, Alert: l.alert}
	err := d.view(func(tx *bolt.Tx) error {
		whole, err := d.read(tx, l.lane, id)
		if err == nil {
			c = whole
		}
		return nil
	})
	if err != nil {
		d.release(id)
		d.refused(err)
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	d.bury(c, status, answer)
	return d.settled()
}

// bury makes a dead letter of a change in flight.
func (d *Disk) bury(c Change, status int, answer string) {
	d.land(c.ID)
	d.stats.Dead++
	d.kept.dead = append(d.kept.dead, DeadLetter{Change: c, Status: status, Answer: answer, Died: d.options.Now().Unix()})
}

// land ends the flight of a change for good.
func (d *Disk) land(id uint64) {
	l, t := d.schedule.land(id)
	if l == nil {
		return
	}
	d.queued--
	d.bytes -= int64(t.size)
	d.reader(l.lane).loaded--
	if c, there := d.kept.changes[id]; there {
		delete(d.kept.changes, id)
		if d.kept.newest[c.Alert] == id {
			delete(d.kept.newest, c.Alert)
		}
		// A commit that seemed to fail may be on the disk all the same.
	}
	d.kept.done[id] = l.lane
	d.refill(l)
}

// settled writes the ends of flights.
func (d *Disk) settled() error {
	d.schedule.awake()
	if d.kept.empty() {
		return nil
	}
	if !d.try(nil, nil) {
		return fmt.Errorf("remove from outbox: %w", d.refusal)
	}
	d.compact()
	return nil
}

// Release puts changes that were not delivered back in their places.
func (d *Disk) Release(ids ...uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.release(ids...)
	d.schedule.awake()
}

// Postpone releases changes, and lets all other alerts that are known in memory
// go before theirs, as Memory.Postpone does. It is forgotten with the process.
func (d *Disk) Postpone(ids ...uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.schedule.postpone(ids...)
	d.release(ids...)
	d.schedule.awake()
}

// commit writes what is new and all that was refused before, as one. It goes
// a second way round a failure: with the database opened anew, or, on a full
// disk, after what is done with has made room.
func (d *Disk) commit(changes []Change, levels []Level) error {
	err := d.write(changes, levels)
	switch {
	case err == nil:
	case !isFull(err):
		err = d.write(changes, levels)
	case len(d.kept.done) > 0:
		if err := d.update(d.dropDone); err != nil {
			return err
		}
		clear(d.kept.done)
		err = d.write(changes, levels)
	}
	if err == nil {
		d.accepted()
	}
	return err
}

// dropDone removes what is done with.
func (d *Disk) dropDone(tx *bolt.Tx) error {
	for id, lane := range d.kept.done {
		if b := tx.Bucket(bucketQueue).Bucket([]byte(lane)); b != nil {
			if err := b.Delete(encodeID(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) write(changes []Change, levels []Level) error {
	return d.update(func(tx *bolt.Tx) error {
		if err := d.dropDone(tx); err != nil {
			return err
		}
		queue := tx.Bucket(bucketQueue)
		for _, id := range slices.Sorted(maps.Keys(d.kept.changes)) {
			if err := putChange(queue, d.kept.changes[id]); err != nil {
				return err
			}
		}
		for _, c := range changes {
			if err := putChange(queue, c); err != nil {
				return err
			}
		}
		for _, l := range d.kept.levels {
			if err := putLevel(tx, l); err != nil {
				return err
			}
		}
		for _, l := range levels {
			if err := putLevel(tx, l); err != nil {
				return err
			}
		}
		for _, dead := range d.kept.dead {
			if err := putDead(tx, dead); err != nil {
				return err
			}
		}
		return d.putCounts(tx, len(changes), sizeOf(changes))
	})
}

func sizeOf(changes []Change) (size int64) {
	for _, c := range changes {
		size += int64(len(c.Payload))
	}
	return size
}

// putCounts writes down the token's hash, and the counts, with what a transaction adds to them.
func (d *Disk) putCounts(tx *bolt.Tx, changes int, size int64) error {
	meta := tx.Bucket(bucketMeta)
	return errors.Join(
		// The token may have been changed in its file.
		meta.Put(keyToken, d.options.Fingerprint(d.store)),
		tx.Bucket(bucketQueue).SetSequence(d.lastID),
		putNumber(meta, keyQueued, int64(d.queued+changes)), putNumber(meta, keyBytes, d.bytes+size),
	)
}

func putChange(queue *bolt.Bucket, c Change) error {
	b, err := queue.CreateBucketIfNotExists([]byte(c.Lane))
	if err != nil {
		return err
	}
	b.FillPercent = 1 // ids only ascend
	return b.Put(encodeID(c.ID), encodeChange(c))
}

func putLevel(tx *bolt.Tx, l Level) error {
	if l.Value == nil {
		return tx.Bucket(bucketLevels).Delete(levelKey(l.Key))
	}
	return tx.Bucket(bucketLevels).Put(levelKey(l.Key), encodeLevel(l))
}
