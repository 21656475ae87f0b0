package outbox

import (
	bolt "go.etcd.io/bbolt"
)

// A reader is how far a lane of the queue is known to the schedule.
//
//	disk:  1 2 3 4 5 6 7 8 9 …           next is 6: all below is scheduled,
//	             ▲     ▲                 or skipped since its alert has
//	        skipped   next               enough there already
type reader struct {
	next    uint64            // ids from here on are not known
	end     bool              // there are none
	loaded  int               // in the schedule
	skipped map[string]uint64 // by alert: its first id below next that is not in the schedule
}

func (d *Disk) reader(lane string) *reader {
	r := d.readers[lane]
	if r == nil {
		r = &reader{end: true, skipped: make(map[string]uint64)}
		d.readers[lane] = r
	}
	return r
}

// admit takes a new change into the schedule, if there is room and nothing
// before it is left out.
func (d *Disk) admit(c Change) {
	if r := d.reader(c.Lane); r.end {
		r.end = d.load(r, c.Lane, c.Alert, ticket{c.ID, len(c.Payload)})
	}
}

// load takes the next change of a lane. It reports false when there is no room
// for it.
func (d *Disk) load(r *reader, lane, alert string, t ticket) bool {
	if r.loaded >= d.window {
		return false
	}
	r.next = t.id + 1
	if _, removed := d.kept.done[t.id]; removed || d.schedule.flying[t.id] != nil {
		return true
	}
	if _, behind := r.skipped[alert]; behind {
		return true
	}
	if l := d.schedule.alerts[alert]; l != nil && len(l.queued)+len(l.flying) >= d.linger {
		r.skipped[alert] = t.id
		return true
	}
	// It is there already when it was released after a rewind.
	if d.schedule.add(alert, lane, t) {
		r.loaded++
	}
	return true
}

func (d *Disk) take(max int, skip func(lane string) bool) []Change {
	if d.adopting {
		return nil
	}
	reads := false
	for lane, r := range d.readers {
		if d.wantsMore(r) {
			d.readOn(r, lane)
			reads = reads || d.wantsMore(r)
		}
	}
	ids := d.schedule.take(max, skip)
	if len(ids) == 0 {
		if reads && d.retry == nil {
			d.schedule.awake() // after a pause for others
		} else if (d.queued != 0 || d.bytes != 0) && d.isEmpty() {
			// The count was damaged, or what it counts.
			d.queued, d.bytes = 0, 0
			d.schedule.awake()
		}
		return nil
	}
	changes := make([]Change, 0, len(ids))
	damaged := make(map[uint64]error)
	err := d.view(func(tx *bolt.Tx) error {
		for _, id := range ids {
			l := d.schedule.flying[id]
			c, err := d.read(tx, l.lane, id)
			if err != nil {
				damaged[id] = err
			} else {
				c.Postponed = l.postponed > 0
				changes = append(changes, c)
			}
		}
		return nil
	})
	if err != nil {
		d.release(ids...)
		d.refused(err)
		return nil
	}
	for id, err := range damaged {
		d.bury(Change{ID: id, Lane: d.schedule.flying[id].lane, Alert: d.schedule.flying[id].alert}, 0, err.Error())
		d.log.Error("a queued change cannot be read: it is now a dead letter", "id", id, "error", err)
	}
	if len(damaged) > 0 {
		d.settled()
	}
	return changes
}

// isEmpty reports whether all lanes were read to their end, and nothing found.
func (d *Disk) isEmpty() bool {
	for _, r := range d.readers {
		if !r.end || len(r.skipped) > 0 {
			return false
		}
	}
	return len(d.schedule.alerts) == 0 && len(d.kept.changes) == 0
}

func (d *Disk) wantsMore(r *reader) bool { return !r.end && r.loaded < d.window/2 }

// readOn schedules what follows in a lane: on disk, and behind that in memory.
// It looks at no more than a window of it: points wait that long.
func (d *Disk) readOn(r *reader, lane string) {
	r.end = true
	seen := 0
	err := d.scan(lane, r.next, func(id uint64, alert string, size int) bool {
		seen++
		r.end = seen <= d.window && d.load(r, lane, alert, ticket{id, size})
		return r.end
	})
	if err != nil {
		r.end = false
		d.refused(err)
		return
	}
	if !r.end {
		return
	}
	for _, c := range d.keptFrom(lane, r.next) {
		if r.end = d.load(r, lane, c.Alert, ticket{c.ID, len(c.Payload)}); !r.end {
			return
		}
	}
}

// refill schedules more of an alert of which some was skipped, once the rest
// is gone.
func (d *Disk) refill(l *line) {
	alert, lane := l.alert, l.lane
	r := d.reader(lane)
	from, behind := r.skipped[alert]
	if !behind || d.schedule.alerts[alert] != nil {
		return
	}
	delete(r.skipped, alert)
	upTo, room := r.next, d.linger
	take := func(id uint64, about string, size int) bool {
		if id >= upTo {
			return false
		}
		if _, removed := d.kept.done[id]; about != alert || removed {
			return true
		}
		if room == 0 {
			r.skipped[alert] = id
			return false
		}
		room--
		d.schedule.add(alert, lane, ticket{id, size})
		r.loaded++
		return true
	}
	if err := d.scan(lane, from, take); err != nil {
		d.rewind(lane)
		d.refused(err)
		return
	}
	if _, more := r.skipped[alert]; more {
		return
	}
	for _, c := range d.keptFrom(lane, from) {
		if !take(c.ID, c.Alert, len(c.Payload)) {
			return
		}
	}
}

// release puts tickets back in their places. One that was in flight over a
// rewind may have others before it that are not known yet: then its place is on
// the disk alone, until it is read again.
func (d *Disk) release(ids ...uint64) {
	lines := make(map[uint64]*line, len(ids))
	for _, id := range ids {
		if l := d.schedule.flying[id]; l != nil {
			lines[id] = l
		}
	}
	d.schedule.release(ids...)
	for id, l := range lines {
		r := d.reader(l.lane)
		from, behind := r.skipped[l.alert]
		if (id >= r.next || behind && id > from) && d.schedule.drop(l.alert, id) {
			r.loaded--
			d.refill(l)
		}
	}
}

// rewind lets a lane be read from its beginning again, but for what is in
// flight.
func (d *Disk) rewind(lane string) {
	r := d.reader(lane)
	for _, l := range d.schedule.alerts {
		if l.lane == lane {
			r.loaded -= len(l.queued)
			d.schedule.empty(l)
		}
	}
	r.next, r.end = 0, false
	clear(r.skipped)
}

// scan calls f with the changes of a lane that are on disk, from an id on,
// until it returns false.
func (d *Disk) scan(lane string, from uint64, f func(id uint64, alert string, size int) bool) error {
	return d.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketQueue).Bucket([]byte(lane))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(encodeID(from)); k != nil; k, v = c.Next() {
			id := decodeID(k)
			alert, size := peekChange(v)
			if alert == "" {
				alert = "damaged, in " + lane // an alert has one lane
			}
			if !f(id, alert, size) {
				return nil
			}
		}
		return nil
	})
}

// read returns one change with its payload.
func (d *Disk) read(tx *bolt.Tx, lane string, id uint64) (Change, error) {
	if c, there := d.kept.changes[id]; there {
		return c, nil
	}
	var value []byte
	if b := tx.Bucket(bucketQueue).Bucket([]byte(lane)); b != nil {
		value = b.Get(encodeID(id))
	}
	return decodeChange(id, lane, value)
}
