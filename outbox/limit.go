package outbox

import bolt "go.etcd.io/bbolt"

// limitPiece is how many changes the limit looks at in one go: points wait no longer
// than that takes.
const limitPiece = 2000

// A sizeLimit is how many bytes of changes an outbox holds before it gives intermediate
// ones up, until a tenth of it is free. Whoever has the outbox's lock uses it.
type sizeLimit struct {
	max  int64
	full int64 // the bytes above which changes are given up
}

// room is what giving up makes, in bytes.
func (l *sizeLimit) room() int64 { return l.max / 10 }

// follow lets full come down to the limit again, with the bytes that are held.
func (l *sizeLimit) follow(bytes int64) { l.full = max(l.max, min(l.full, bytes+l.room())) }

// isTight reports whether so little is free that the limit is soon reached again.
func (l *sizeLimit) isTight(bytes int64) bool { return bytes > l.max-l.room()/2 }

// giveUp brings the queue under its limit: intermediate changes go, the oldest
// first, until a tenth is free; the newest change of an alert, and what is in
// flight, stay. It goes on beside the points. Where the newest changes alone
// are too large it comes to nothing, and is not called again before the queue
// has grown by another tenth.
func (d *Disk) giveUp() {
	if d.givingUp {
		return
	}
	d.givingUp = true
	d.log.Warn("the outbox is over its limit: intermediate changes are given up, the oldest first; set --outbox-max-size for more room",
		"bytes", d.bytes, "limit", d.limit.max)
	before := d.stats.GivenUp
	d.workers.Go(func() {
		for d.giveUpOnce() {
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.givingUp = false
		if d.limit.full = d.limit.max; d.limit.isTight(d.bytes) {
			d.limit.full = max(d.limit.max, d.bytes+d.limit.room())
		}
		d.log.Warn("intermediate changes were given up", "changes", d.stats.GivenUp-before, "bytes", d.bytes)
	})
}

// giveUpOnce goes through the queue once, and reports whether another time is
// called for: so many have come meanwhile that there is too much again.
func (d *Disk) giveUpOnce() (again bool) {
	before := d.Stats().GivenUp
	// Of changes that come from now on none is given up.
	newest := make(map[string]uint64)
	d.inPieces(func(c Change) bool {
		if d.inFlight[c.ID] == nil {
			newest[c.Alert] = c.ID
		}
		return false
	})
	d.inPieces(func(c Change) bool {
		return c.ID < newest[c.Alert] && d.inFlight[c.ID] == nil && d.bytes > d.limit.max-d.limit.room()
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.closed && d.limit.isTight(d.bytes) && d.stats.GivenUp > before
}

// inPieces calls f with every queued change on disk, the oldest first, and gives up
// those that f returns true for. Between pieces others have their turn. It ends when
// the disk refuses.
func (d *Disk) inPieces(f func(Change) (remove bool)) {
	from, more := uint64(0), true
	onePiece := func() error {
		more = false
		n := 0
		var gone []Change
		err := d.store.view(func(tx *bolt.Tx) error {
			for c := range merged(tx, from) {
				if n++; n > limitPiece {
					more = true
					break
				}
				from = c.ID + 1
				if _, removed := d.pending.done[c.ID]; !removed && f(c) {
					d.giveUpOne(c)
					d.pending.done[c.ID] = c.AppKey
					gone = append(gone, c)
				}
			}
			return nil
		})
		for _, c := range gone {
			d.refill(c.Alert, c.AppKey)
		}
		if err == nil && len(gone) > 0 {
			err = d.settle()
		}
		return err
	}
	for more && d.locked(onePiece) == nil {
	}
}

// giveUpOne takes a queued change out of what is counted and known.
func (d *Disk) giveUpOne(c Change) {
	d.queued--
	d.bytes -= int64(len(c.Payload))
	d.forget(c)
	d.stats.GivenUp++
	d.counted.GivenUp++
}
