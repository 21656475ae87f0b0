package outbox

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// siblingsBegin is how long the processes of a task's other nodes may take to
// begin: they start together.
const siblingsBegin = time.Second

// inherit takes over levels before anybody asks for them: those of numbered
// outboxes of the same node, of which the later change wins, and those of other
// nodes of the task, if they are its own by now.
func (d *Disk) inherit() error {
	d.askHolders()
	wait := false
	err := d.beside(func(l leftover) error {
		var theirs []Level
		var last uint64
		err := l.view(func(tx *bolt.Tx) error {
			last = tx.Bucket(bucketQueue).Sequence()
			if l.sameTask {
				theirs = allLevels(tx)
			}
			return nil
		})
		if err != nil {
			return err
		}
		// What comes now follows what is taken over, whatever the clock says.
		d.lastID = max(d.lastID, last)
		if l.sameNode {
			return d.takeLevels(theirs)
		}
		if d.succeeds(l) {
			d.siblings = true
			wait = wait || len(theirs) > 0
		}
		return nil
	})
	if wait {
		time.Sleep(siblingsBegin)
		err = errors.Join(err, d.beside(d.moveLevels))
	}
	return err
}

// beside calls f with each leftover, one that stays.
func (d *Disk) beside(f func(leftover) error) error {
	return leftovers(filepath.Dir(d.folder), d.folder, d.store, d.options, func(l leftover) (bool, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return false, f(l)
	})
}

// succeeds reports whether this outbox is that of the leftover's node under
// another number, which an edit of the TICKscript has given it: a new one, or one
// from which the leftover had its levels before, when such an edit is taken back.
func (d *Disk) succeeds(l leftover) bool {
	return l.sameTask && !l.sameNode && (d.isNew || l.heir)
}

// moveLevels takes over the levels of a leftover that it succeeds, which has them
// no longer: BigPanda is told by one node alone.
func (d *Disk) moveLevels(l leftover) error {
	if !d.succeeds(l) {
		return nil
	}
	var theirs []Level
	err := l.view(func(tx *bolt.Tx) error {
		theirs = allLevels(tx)
		return nil
	})
	switch {
	case err != nil || len(theirs) == 0:
		return err
	case d.numbered:
		return d.takeLevels(theirs) // which borrows them
	}
	err = d.update(func(tx *bolt.Tx) error {
		if isHeirOf(tx, l.store) {
			return nil
		}
		meta := tx.Bucket(bucketMeta)
		return meta.Put(keyHeirOf, bytes.Join([][]byte{meta.Get(keyHeirOf), l.store}, nil))
	})
	if err == nil && l.heir {
		err = d.replaceLevels(theirs)
	} else if err == nil {
		err = d.takeLevels(theirs)
	}
	if err != nil {
		return err
	}
	return l.update(func(tx *bolt.Tx) error {
		err := tx.DeleteBucket(bucketLevels)
		if err == nil {
			_, err = tx.CreateBucket(bucketLevels)
		}
		return err
	})
}

// isHeirOf reports whether an outbox has ever taken over the levels of a store.
func isHeirOf(tx *bolt.Tx, store []byte) bool {
	for of := range slices.Chunk(tx.Bucket(bucketMeta).Get(keyHeirOf), storeSize) {
		if bytes.Equal(of, store) {
			return true
		}
	}
	return false
}

func (d *Disk) levelsByKey() (map[string]Level, error) {
	all := make(map[string]Level)
	err := d.eachLevel(func(l Level) bool {
		all[l.Key] = l
		return true
	})
	return all, err
}

// takeLevels takes over levels that are later than its own. One without a value
// was forgotten.
func (d *Disk) takeLevels(theirs []Level) error {
	if len(theirs) == 0 {
		return nil
	}
	if d.numbered {
		for _, l := range theirs {
			if mine, known := d.borrowed[l.Key]; !known || l.Time > mine.Time {
				d.borrowed[l.Key] = l
			}
		}
		d.inherited = true
		return nil
	}
	mine, err := d.levelsByKey()
	if err != nil {
		return err
	}
	var later []Level
	for _, l := range theirs {
		known, there := mine[l.Key]
		switch forgotten := len(l.Value) == 0; {
		case there && l.Time <= known.Time, !there && forgotten:
		case forgotten:
			later = append(later, Level{Key: l.Key, Time: l.Time})
		default:
			later = append(later, l)
		}
	}
	return d.inheritLevels(later)
}

// replaceLevels takes over levels in place of all of its own.
func (d *Disk) replaceLevels(theirs []Level) error {
	mine, err := d.levelsByKey()
	if err != nil {
		return err
	}
	for _, l := range theirs {
		delete(mine, l.Key)
	}
	for _, l := range mine {
		theirs = append(theirs, Level{Key: l.Key, Time: l.Time})
	}
	return d.inheritLevels(theirs)
}

func (d *Disk) inheritLevels(levels []Level) error {
	if len(levels) == 0 {
		return nil
	}
	d.append(nil, levels)
	d.inherited = true
	if d.retry != nil {
		return d.refusal
	}
	return nil
}
