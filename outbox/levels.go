package outbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// levelKey is where a series has its level: keys in bbolt have a limit, and
// those of series have none.
func levelKey(series string) []byte {
	sum := sha256.Sum256([]byte(series))
	return sum[:16]
}

func encodeLevel(l Level) []byte { return boltfile.EncodeRecord(nil, l.Time, l.Value, l.Key) }

// decodeLevel reads a level. Its value is valid within the transaction only.
func decodeLevel(b []byte) (l Level, err error) {
	l.Time, l.Value, err = boltfile.DecodeRecord(nil, b, &l.Key)
	return l, err
}

// putLevel puts the level of a series, or forgets it.
func putLevel(tx *bolt.Tx, l Level) (err error) {
	key := levelKey(l.Key)
	switch again := tx.Bucket(bucketAgain); {
	case again == nil: // in format 1
	case l.Again:
		err = again.Put(key, []byte{1})
	default:
		err = again.Delete(key)
	}
	if l.Value == nil {
		return errors.Join(err, tx.Bucket(bucketLevels).Delete(key))
	}
	return errors.Join(err, tx.Bucket(bucketLevels).Put(key, encodeLevel(l)))
}

// markAgain marks all levels as to be told again.
func markAgain(tx *bolt.Tx) error {
	again := tx.Bucket(bucketAgain)
	again.FillPercent = 1 // they come in their order
	c := tx.Bucket(bucketLevels).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if err := again.Put(k, []byte{1}); err != nil {
			return err
		}
	}
	return nil
}

// dropLevels forgets all levels.
func dropLevels(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketLevels, bucketAgain} {
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, boltErrors.ErrBucketNotFound) {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// readLevels calls f with the levels that can be read, also those that were
// forgotten and leave a mark, until it returns false: a series whose level cannot
// is one that was never told. A value is valid within the transaction only.
func readLevels(tx *bolt.Tx, f func(Level) bool) {
	var again *bolt.Cursor
	var marked []byte                          // the next that is to be told again
	if b := tx.Bucket(bucketAgain); b != nil { // there is none in format 1
		again = b.Cursor()
		marked, _ = again.First()
	}
	c := tx.Bucket(bucketLevels).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		l, err := decodeLevel(v)
		if err != nil {
			continue
		}
		for marked != nil && bytes.Compare(marked, k) < 0 {
			marked, _ = again.Next()
		}
		l.Again = bytes.Equal(marked, k)
		if !f(l) {
			return
		}
	}
}

// Levels calls each with every level that was appended before, in no order,
// until it returns false. A value is each's until it returns: what comes of it is to be
// a copy. isNew says that the database was begun by this Open. Nothing else can be done
// with the outbox meanwhile, so each must not.
//
// While another process of the same use works, all levels are to be told again,
// its own as well: each of the two tells BigPanda of what the other does not know,
// and a level that is no longer true would hide a change.
func (d *Disk) Levels(each func(Level) bool) (isNew bool, err error) {
	<-d.met
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, ErrClosed
	}
	others, alive, err := d.others, d.alive, d.othersErr
	d.others = nil
	isNew = d.store.begun.isNew && !d.numbered && !alive
	more := true
	yield := func(l Level) {
		if other, there := others[l.Key]; there {
			delete(others, l.Key)
			if other.Time > l.Time {
				l = other
			}
		}
		l.Again = l.Again || alive || d.numbered
		if more && len(l.Value) > 0 {
			isNew = false
			more = each(l)
		}
	}
	for _, l := range d.pending.levels {
		yield(l)
	}
	viewErr := d.store.view(func(tx *bolt.Tx) error {
		readLevels(tx, func(l Level) bool {
			if _, newer := d.pending.levels[l.Key]; !newer {
				yield(l)
			}
			return more
		})
		return nil
	})
	for _, l := range others {
		yield(l)
	}
	return isNew, errors.Join(err, viewErr)
}

// LevelCount says about how many levels Levels gives.
func (d *Disk) LevelCount() (n int) {
	d.locked(func() error {
		return d.store.view(func(tx *bolt.Tx) error {
			n = tx.Bucket(bucketLevels).Stats().KeyN
			return nil
		})
	})
	return n
}

// meet finds out what other processes of the use have told, and whether one of
// them works. The node's own outbox takes over what those that are gone have left;
// a numbered one only reads it, and so leaves it to the node's own. It is done
// before Levels returns: nobody knows the levels yet.
func (d *Disk) meet(ctx context.Context) {
	defer close(d.met)
	ctx, cancel := context.WithTimeout(ctx, d.options.Times.Meet)
	defer cancel()
	others, alive := make(map[string]Level), false
	learn := func(l Level) {
		if other, there := others[l.Key]; !there || other.Time < l.Time {
			others[l.Key] = l
		}
	}
	takeOver := func(o *idle) (empty bool, err error) {
		theirs, last, err := d.levelsOf(o)
		if err != nil {
			return false, err
		}
		if d.numbered {
			for _, l := range theirs {
				learn(l)
			}
			return false, nil
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		_, err = d.merge(theirs, last)
		return false, err
	}
	var errs error
	for _, folder := range d.foldersOfUse() {
		err := d.withOrphan(folder, takeOver)
		if errors.Is(err, errInUse) {
			askErr := NewControl(folder, nil).Levels(ctx, learn)
			err = d.withOrphan(folder, takeOver) // it may have been about to end
			if errors.Is(err, errInUse) {
				alive, err = true, nil
				if askErr != nil {
					d.log.Warn("another process works for this node, and does not say what it has told: that is told again", "folder", folder, "error", askErr)
				}
			}
		}
		errs = errors.Join(errs, err)
	}
	if alive {
		d.log.Info("another process works for this node: what is open is told again", "folder", d.folder, "levels", len(others))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others, d.alive, d.othersErr = others, alive, errs
}

// foldersOfUse returns the other folders of the use.
func (d *Disk) foldersOfUse() (folders []string) {
	d.mu.Lock()
	me := d.folder
	d.mu.Unlock()
	for _, folder := range foldersIn(filepath.Dir(me)) {
		if folder != me && baseOf(folder) == baseOf(me) {
			folders = append(folders, folder)
		}
	}
	return folders
}

// merge takes over the levels of another process of the use that is gone: of two
// of one series, the later one is right. It returns those that it has taken.
// Disk.mu is held.
func (d *Disk) merge(theirs []Level, last uint64) (later []Level, err error) {
	// What comes now follows what they have queued, whatever the clock says.
	d.lastID = max(d.lastID, last)
	err = d.store.view(func(tx *bolt.Tx) error {
		for _, l := range theirs {
			mine, there := d.pending.levels[l.Key]
			if !there {
				mine, there = readLevel(tx, l.Key)
			}
			if len(l.Value) == 0 {
				l.Value = nil
			}
			if there && l.Time > mine.Time || !there && l.Value != nil {
				later = append(later, l)
			}
		}
		return nil
	})
	if err != nil || len(later) == 0 {
		return nil, err
	}
	d.append(nil, later)
	return later, d.writeFailed
}
