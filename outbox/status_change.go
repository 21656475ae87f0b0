package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// What Drop drops.
const (
	KindDead   = "dead"
	KindQueued = "queued"
)

// maxSelected is how many changes one commit of Retry or Drop is about: points
// wait no longer than that takes.
const maxSelected = 500

// A Selection is which dead letters or queued changes are meant.
type Selection struct {
	IDs []uint64 `json:"ids,omitempty"`
	// All takes those that are there now, behind After; UpTo is filled in.
	All   bool   `json:"all,omitempty"`
	After uint64 `json:"after,omitempty"`
	UpTo  uint64 `json:"up_to,omitempty"`
}

// An Outcome is what became of a Selection.
type Outcome struct {
	Done     int      `json:"done"`
	InFlight []uint64 `json:"in_flight,omitempty"` // are left: they are on their way
	Missing  []uint64 `json:"missing,omitempty"`   // are not there, or damaged
	// Rest is what one commit had no room for. Nil: all is done.
	Rest *Selection `json:"rest,omitempty"`
}

// split takes off what one commit works on. ids returns what is there behind
// an id, ascending; newest is the last of them that All means.
func (s Selection) split(newest uint64, ids func(after uint64, max int) []uint64) (now []uint64, rest *Selection) {
	if !s.All {
		now = slices.Compact(slices.Sorted(slices.Values(s.IDs)))
		if len(now) > maxSelected {
			rest = &Selection{IDs: now[maxSelected:]}
			now = now[:maxSelected]
		}
		return now, rest
	}
	if s.UpTo == 0 {
		s.UpTo = newest
	}
	now = ids(s.After, maxSelected)
	full := len(now) == maxSelected
	now = slices.DeleteFunc(now, func(id uint64) bool { return id > s.UpTo })
	if full && len(now) == maxSelected {
		rest = &Selection{All: true, After: now[maxSelected-1], UpTo: s.UpTo}
	}
	return now, rest
}

// ofDead is split for dead letters.
func (s Selection) ofDead(dead *bolt.Bucket) (now []uint64, rest *Selection) {
	var newest uint64
	if k, _ := dead.Cursor().Last(); k != nil {
		newest = decodeID(k)
	}
	return s.split(newest, func(after uint64, max int) []uint64 {
		ids, _ := keysAfter(dead, after, max)
		return ids
	})
}

// Retry puts dead letters back in the queue as new changes at its end, with new
// IDs. Those that it has no room for in one commit are in Outcome.Rest.
func (d *Disk) Retry(s Selection) (o Outcome, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.settleDead()
	if err == nil && d.retry != nil {
		err = d.refusal // what is kept in memory comes first
	}
	if err != nil {
		return o, fmt.Errorf("put dead letters back: %w", err)
	}
	var back []Change
	err = d.update(func(tx *bolt.Tx) error {
		var err error
		o, back, err = revive(tx, s, func() uint64 {
			d.lastID = nextID(d.lastID, d.options.Now())
			return d.lastID
		})
		return errors.Join(err, d.putCounts(tx, len(back), sizeOf(back)))
	})
	if err != nil && !d.hasQueued(back) {
		return Outcome{}, fmt.Errorf("put dead letters back: %w", err)
	}
	d.queued += len(back)
	d.bytes += sizeOf(back)
	d.stats.Dead = max(0, d.stats.Dead-len(back))
	for _, c := range back {
		d.admit(c)
	}
	if len(back) > 0 {
		d.log.Info("dead letters are back in the queue, as asked for", "changes", len(back))
	}
	d.schedule.awake()
	if d.bytes > d.full {
		d.giveUp()
	}
	return o, nil
}

// hasQueued tells whether a commit that seemed to fail is on the disk all the
// same.
func (d *Disk) hasQueued(changes []Change) (has bool) {
	if len(changes) > 0 {
		d.view(func(tx *bolt.Tx) error {
			_, has = findOnDisk(tx, changes[0].ID)
			return nil
		})
	}
	return has
}

// Drop removes dead letters, or with KindQueued changes that were never sent:
// BigPanda does not hear of those, but the levels are as if it had. What is in
// flight stays.
func (d *Disk) Drop(kind string, s Selection) (o Outcome, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return o, ErrClosed
	}
	switch kind {
	case KindDead:
		if err = d.settleDead(); err == nil {
			err = d.update(func(tx *bolt.Tx) (err error) {
				o, err = dropDead(tx, s)
				return err
			})
		}
		if err == nil {
			d.stats.Dead = max(0, d.stats.Dead-o.Done)
		}
	case KindQueued:
		o, err = d.dropQueued(s)
	default:
		return o, fmt.Errorf("drop: there is no kind %q", kind)
	}
	if err != nil {
		return o, fmt.Errorf("drop %s changes: %w", kind, err)
	}
	if o.Done > 0 {
		d.log.Warn("changes were dropped, as asked for", "kind", kind, "changes", o.Done)
	}
	return o, nil
}

// settleDead sees to it that all dead letters are on the disk.
func (d *Disk) settleDead() error {
	if d.closed {
		return ErrClosed
	}
	if len(d.kept.dead) == 0 {
		return nil
	}
	err := d.commit(nil, nil)
	if err != nil {
		d.refused(err)
	}
	return err
}

func (d *Disk) dropQueued(s Selection) (o Outcome, err error) {
	found := make(map[uint64]queuedChange)
	var now []uint64
	if s.All {
		err = d.eachQueued(s.After, func(q queuedChange) bool {
			found[q.id] = q
			now = append(now, q.id)
			return len(now) < maxSelected
		})
		now, o.Rest = s.split(d.lastID, func(uint64, int) []uint64 { return now })
	} else {
		now, o.Rest = s.split(0, nil)
		err = d.view(func(tx *bolt.Tx) error {
			for _, id := range now {
				if c, kept := d.kept.changes[id]; kept {
					found[id] = queuedChange{entry: entry{c.Lane, c.Alert, id, len(c.Payload)}, kept: &c}
				} else if at, ok := findOnDisk(tx, id); ok {
					if _, removed := d.kept.done[id]; !removed {
						found[id] = queuedChange{entry: at}
					}
				}
			}
			return nil
		})
	}
	if err != nil {
		return Outcome{}, err
	}
	var gone []Change
	for _, id := range now {
		q, there := found[id]
		switch {
		case !there:
			o.Missing = append(o.Missing, id)
		case d.schedule.flying[id] != nil:
			o.InFlight = append(o.InFlight, id)
		default:
			gone = append(gone, Change{ID: id, Lane: q.lane, Alert: q.alert})
			d.bytes -= int64(q.size)
			delete(d.kept.changes, id)
			if d.kept.newest[q.alert] == id {
				delete(d.kept.newest, q.alert)
			}
		}
	}
	if len(gone) == 0 {
		return o, nil
	}
	o.Done = len(gone)
	return o, d.remove(gone)
}

// findOnDisk looks a queued change up by its id alone.
func findOnDisk(tx *bolt.Tx, id uint64) (at entry, ok bool) {
	queue := tx.Bucket(bucketQueue)
	queue.ForEachBucket(func(lane []byte) error {
		if v := queue.Bucket(lane).Get(encodeID(id)); v != nil && !ok {
			alert, size := peekChange(v)
			at, ok = entry{string(lane), alert, id, size}, true
		}
		return nil
	})
	return at, ok
}

// revive moves dead letters to the queue, under new ids. The caller sets the
// counts.
func revive(tx *bolt.Tx, s Selection, newID func() uint64) (o Outcome, back []Change, err error) {
	dead, queue := tx.Bucket(bucketDead), tx.Bucket(bucketQueue)
	var now []uint64
	now, o.Rest = s.ofDead(dead)
	for _, id := range now {
		var letter DeadLetter
		if v := dead.Get(encodeID(id)); v == nil || json.Unmarshal(v, &letter) != nil || len(letter.Payload) == 0 {
			o.Missing = append(o.Missing, id)
			continue
		}
		letter.ID = newID()
		if err := errors.Join(putChange(queue, letter.Change), dead.Delete(encodeID(id))); err != nil {
			return o, nil, err
		}
		back = append(back, letter.Change)
		o.Done++
	}
	return o, back, nil
}

func dropDead(tx *bolt.Tx, s Selection) (o Outcome, err error) {
	dead := tx.Bucket(bucketDead)
	var now []uint64
	now, o.Rest = s.ofDead(dead)
	for _, id := range now {
		if dead.Get(encodeID(id)) == nil {
			o.Missing = append(o.Missing, id)
			continue
		}
		if err := dead.Delete(encodeID(id)); err != nil {
			return o, err
		}
		o.Done++
	}
	return o, nil
}
