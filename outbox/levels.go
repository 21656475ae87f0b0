package outbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"bigpanda-udf/boltfile"

	bolt "go.etcd.io/bbolt"
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
	if again := tx.Bucket(bucketAgain); l.Again {
		err = again.Put(key, []byte{1})
	} else {
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
		if err := tx.DeleteBucket(name); err != nil {
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
	again := tx.Bucket(bucketAgain).Cursor()
	marked, _ := again.First() // the next that is to be told again
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
	<-d.worker.met
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, ErrClosed
	}
	others, alive, err := d.worker.others, d.worker.alive, d.worker.othersErr
	d.worker.others = nil
	numbered := numberOf(d.store.folder) > 1
	isNew = d.store.begun.isNew && !numbered && !alive
	more := true
	yield := func(l Level) {
		if other, there := others[l.Key]; there {
			delete(others, l.Key)
			if other.Time > l.Time {
				l = other
			}
		}
		l.Again = l.Again || alive || numbered
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

// LevelCount says about how many levels Levels gives: their keys are hashes, which are
// spread evenly, so that the first thousand of them tell, and no other page is read.
func (d *Disk) LevelCount() (n int) {
	d.locked(func() error {
		return d.store.view(func(tx *bolt.Tx) error {
			c := tx.Bucket(bucketLevels).Cursor()
			k, _ := c.First()
			for ; k != nil && n < 1000; k, _ = c.Next() {
				n++
			}
			if k != nil { // of a damaged file it may be anything, and each takes 100 bytes
				n = int(min(float64(n)/float64(binary.BigEndian.Uint32(k))*(1<<32), float64(tx.Size()/100)))
			}
			return nil
		})
	})
	return n
}
