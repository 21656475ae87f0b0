package outbox

import (
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
// nodes of the task, where an edit of the TICKscript has numbered the node anew,
// or such an edit is taken back.
func (d *Disk) inherit() error {
	d.askHolders()
	heirs := make(map[string]string) // of the task's other nodes, by store
	err := d.beside(func(l leftover) error {
		var theirs []Level
		var last uint64
		err := l.view(func(tx *bolt.Tx) error {
			last = tx.Bucket(bucketQueue).Sequence()
			if l.sameNode {
				theirs = allLevels(tx)
			}
			return nil
		})
		if err != nil {
			return err
		}
		// What comes now follows what is taken over, whatever the clock says.
		d.lastID = max(d.lastID, last)
		if l.sameTask && !l.sameNode {
			heirs[string(l.store)] = string(l.heir)
		}
		return d.takeLevels(theirs)
	})
	from := d.predecessors(heirs)
	if len(from) > 0 {
		d.siblings = true
		err = errors.Join(err, d.succeed(from))
	}
	if d.heir == "" || d.numbered {
		return err
	}
	// Its levels are its own again, whoever had them.
	return errors.Join(err, d.mark(func(meta *bolt.Bucket) error { return meta.Delete(keyHeir) }))
}

// predecessors returns the stores whose levels are this one's to take over, given
// the heirs of its task's other nodes whose processes are gone: for a new outbox
// those that have levels of their own; for one whose levels went to another, the
// one that has them now.
func (d *Disk) predecessors(heirs map[string]string) (from []string) {
	// It is marked as the heir before it takes them, and may have been killed then.
	toTake := func(heir string) bool { return heir == "" || heir == string(d.store) }
	if d.isNew {
		for store, heir := range heirs {
			if toTake(heir) {
				from = append(from, store)
			}
		}
		return from
	}
	at := d.heir
	for range heirs {
		if heir := heirs[at]; !toTake(heir) {
			at = heir
		}
	}
	if heir, gone := heirs[at]; gone && toTake(heir) {
		return []string{at}
	}
	return nil
}

// succeed takes over the levels of other nodes of the task, unless their processes
// begin just now. They keep a copy, which says whose the levels are.
func (d *Disk) succeed(from []string) error {
	if d.isNew {
		// Or it would not be new after a kill.
		if err := d.mark(func(meta *bolt.Bucket) error { return meta.Put(keyBegins, []byte{1}) }); err != nil {
			return err
		}
	}
	time.Sleep(siblingsBegin)
	err := d.beside(func(l leftover) error {
		if !slices.Contains(from, string(l.store)) {
			return nil
		}
		if !d.numbered { // which borrows them
			// One that cannot be written is left alone: it would go on as if its
			// levels were true.
			if err := l.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyHeir, d.store) }); err != nil {
				return err
			}
		}
		theirs, err := l.levels()
		switch {
		case err != nil:
			return err
		case d.isNew || d.numbered:
			return d.takeLevels(theirs)
		}
		return d.replaceLevels(theirs)
	})
	if err != nil || !d.isNew {
		return err
	}
	return d.mark(func(meta *bolt.Bucket) error { return meta.Delete(keyBegins) })
}

// mark writes down something about the outbox.
func (d *Disk) mark(f func(meta *bolt.Bucket) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.update(func(tx *bolt.Tx) error { return f(tx.Bucket(bucketMeta)) })
}

// beside calls f with each leftover, one that stays.
func (d *Disk) beside(f func(leftover) error) error {
	return leftovers(filepath.Dir(d.folder), d.folder, d.options, func(l leftover) (bool, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return false, f(l)
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
