package outbox

import (
	"errors"
	"fmt"
	"slices"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
)

// Append makes changes, which get their IDs in their order, and levels durable
// in one commit.
func (d *Disk) Append(changes []Change, levels []Level) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if numberOf(d.store.folder) > 1 {
		// What it forgets leaves a mark, or the node's own outbox would not know.
		levels = slices.Clone(levels)
		for i := range levels {
			levels[i].Value = append([]byte{}, levels[i].Value...)
		}
	}
	d.limit.follow(d.bytes)
	now := d.options.Now()
	d.store.appended = now
	for i := range changes {
		d.lastID = nextID(d.lastID, now)
		changes[i].ID = d.lastID
	}
	failed := d.writeFailed
	if failed == nil { // else it is much to write, and not worth the time of every point
		failed = d.commit(changes, levels)
	}
	// Not before: what that has found damaged is not counted any more.
	d.queued += len(changes)
	d.bytes += sizeOf(changes)
	if failed != nil {
		for _, c := range changes {
			d.hold(c)
		}
		for _, l := range levels {
			d.pending.levels[l.Key] = l
		}
	}
	durable := d.options.Now()
	for _, c := range changes {
		if failed == nil && !c.Came.IsZero() {
			d.counted.ToDurable.Observe(durable.Sub(c.Came))
		}
		if d.pending.newest[c.Alert] <= c.ID {
			d.admit(c)
		}
	}
	d.awake()
	if d.bytes > d.limit.full {
		d.giveUp()
	}
}

// hold takes a change into memory, in place of an older one of its alert.
func (d *Disk) hold(c Change) {
	if old, ok := d.pending.newest[c.Alert]; ok && d.inFlight[old] == nil {
		if older, there := d.pending.changes[old]; there {
			d.giveUpOne(older)
			delete(d.pending.changes, old)
		}
	}
	d.pending.changes[c.ID], d.pending.newest[c.Alert] = c, c.ID
}

// commit writes what is new and all that is pending, as one. It goes a second
// way round a failure: with the database opened anew, or, on a full disk, after
// what is done with has made room.
func (d *Disk) commit(changes []Change, levels []Level) error {
	write := func(tx *bolt.Tx) error {
		if err := d.pending.write(tx); err != nil {
			return err
		}
		if err := putAll(tx, changes, levels); err != nil {
			return err
		}
		return d.putCounts(tx, len(changes), sizeOf(changes))
	}
	err := d.store.update(write)
	switch {
	case err == nil:
	case !boltfile.IsFull(err):
		err = d.store.update(write)
	case len(d.pending.done) > 0:
		if err = d.store.update(d.pending.removeDone); err == nil {
			clear(d.pending.done)
			err = d.store.update(write)
		}
	}
	if err != nil {
		if !d.closed { // else Close says what is lost
			d.noteFailure(err)
		}
		return err
	}
	*d.pending = *newPending()
	if d.writeFailed != nil {
		d.retry.Stop()
		d.writeFailed = nil
		d.log.Info("the outbox is written again: everything is on disk", "folder", d.store.folder)
	}
	return nil
}

// putCounts writes down the token's hash, and the counts, with what a transaction
// adds to them, and what was counted.
func (d *Disk) putCounts(tx *bolt.Tx, changes int, size int64) error {
	meta := tx.Bucket(bucketMeta)
	return errors.Join(
		// The token may have been changed in its file.
		meta.Put(keyToken, d.options.Fingerprint(meta.Get(keyStore))),
		tx.Bucket(bucketQueue).SetSequence(d.lastID),
		boltfile.PutNumber(meta, keyQueued, int64(d.queued+changes)), boltfile.PutNumber(meta, keyBytes, d.bytes+size),
		putCounters(meta, d.counters()),
	)
}

// noteFailure takes note that the disk did not do what it was asked, and sees to it
// that it is asked again.
func (d *Disk) noteFailure(err error) {
	if d.writeFailed == nil {
		d.log.Error("the outbox cannot be written: the newest change of each alert is kept in memory, and lost if the process ends before it can be",
			"folder", d.store.folder, "error", err)
	}
	d.writeFailed = err
	d.retry.Reset(d.options.Times.Retry)
}

// Ack removes delivered changes. IDs that are not in flight are ignored. The
// error is the disk's: then they are removed later, and sent again if the
// process ends before.
func (d *Disk) Ack(ids ...uint64) error {
	return d.locked(func() error {
		now := d.options.Now()
		for _, id := range ids {
			if d.inFlight[id] != nil {
				d.counted.ToDelivered.Observe(now.Sub(cameAt(id)))
			}
			d.complete(id)
		}
		return d.settle()
	})
}

// Dead removes a change that was refused for good and keeps it, with the
// answer, as a dead letter.
func (d *Disk) Dead(c Change, status int, answer string) error {
	return d.locked(func() error {
		if d.inFlight[c.ID] != nil {
			d.deadLetter(c, status, answer)
		}
		return d.settle()
	})
}

// deadLetter makes a dead letter of a change in flight.
func (d *Disk) deadLetter(c Change, status int, answer string) {
	d.complete(c.ID)
	d.stats.Dead++
	d.counted.Dead++
	d.pending.dead = append(d.pending.dead, DeadLetter{Change: c, Status: status, Answer: answer, Died: d.options.Now().Unix()})
}

// complete ends the flight of a change for good.
func (d *Disk) complete(id uint64) {
	q, e := d.schedule.complete(id)
	if q == nil {
		return
	}
	d.queued--
	d.bytes -= int64(e.size)
	d.reader(q.appKey).loaded--
	d.pending.take(id, q.appKey)
	d.refill(q.alert, q.appKey)
}

// settle writes the ends of flights.
func (d *Disk) settle() error {
	d.awake()
	if d.pending.empty() {
		return nil
	}
	err := d.writeFailed
	if err == nil {
		err = d.commit(nil, nil)
	}
	if err != nil {
		return fmt.Errorf("remove from outbox: %w", err)
	}
	d.store.compact()
	return nil
}

// Release puts changes that were not delivered back in their places.
func (d *Disk) Release(ids ...uint64) {
	d.do(func() { d.release(ids...) })
}

// Postpone releases changes, and lets all other alerts that are known in memory
// go before theirs, as Memory.Postpone does. It is forgotten with the process.
func (d *Disk) Postpone(ids ...uint64) {
	d.do(func() {
		d.postpone(ids...)
		d.release(ids...)
	})
}
