package outbox

import (
	"bytes"
	"errors"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// inherit takes over levels before anybody asks for them: those of numbered
// outboxes of the same node, of which the later change wins; for an outbox that
// is new, those of its task's other nodes, which an edit of the TICKscript
// numbers anew; and where such an edit was taken back, those of the node that
// had taken over this one's, in place of its own.
func (d *Disk) inherit() error {
	d.askHolders()
	return leftovers(filepath.Dir(d.folder), d.folder, d.store, d.options, func(l leftover) (bool, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
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
			return false, err
		}
		// What comes now follows what is taken over, whatever the clock says.
		d.lastID = max(d.lastID, last)
		switch {
		case l.sameNode:
			return false, d.takeLevels(theirs)
		case l.heir:
			return false, d.replaceLevels(theirs)
		case d.isNew && l.sameTask:
			d.siblings = true
			return false, errors.Join(d.update(func(tx *bolt.Tx) error {
				meta := tx.Bucket(bucketMeta)
				return meta.Put(keyHeirOf, bytes.Join([][]byte{meta.Get(keyHeirOf), l.store}, nil))
			}), d.takeLevels(theirs))
		}
		return false, nil
	})
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
