package outbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/counters"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

// errNewerFormat is the error of a database that a newer program made.
var errNewerFormat = errors.New("was made by a newer bigpanda-udf: run that one")

// allocSize is by how much a database grows, in bytes: with bbolt's own 16 MiB
// a small disk is full long before it is.
const allocSize = 1 << 20

// openFile is a variable for tests, which make it fail.
var openFile = os.OpenFile

// openDatabase opens or begins a database. What can be told of a file that is
// damaged, empty or no database at all is boltfile.ErrDamaged.
func openDatabase(path string, o Options) (db *bolt.DB, b begun, err error) {
	_, statErr := os.Stat(path)
	none := errors.Is(statErr, os.ErrNotExist)
	if none {
		err := boltfile.Begin(path, path+compacting, bolt.Options{OpenFile: openFile}, func(db *bolt.DB) error {
			if err := db.Update(makeBuckets); err != nil {
				return err
			}
			_, err := prepare(db, o)
			return err
		})
		if err != nil {
			return nil, b, fmt.Errorf("begin outbox %s: %w", path, err)
		}
	}
	// A larger map must be made while nobody reads.
	if db, err = boltfile.Open(path, bolt.Options{InitialMmapSize: 64 << 20, OpenFile: openFile}); err == nil {
		db.AllocSize = allocSize
		err = boltfile.Guard(func() (err error) {
			b, err = prepare(db, o)
			return err
		})
	}
	if err == nil {
		// Whoever gave the file its name may have been killed before the name
		// was durable.
		err = system.SyncFolder(filepath.Dir(path))
	}
	if err == nil {
		b.isNew = none
		return db, b, nil
	}
	if db != nil {
		boltfile.Abandon(db)
	}
	return nil, begun{}, fmt.Errorf("open outbox %s: %w", path, err)
}

// begun is what was found when a database was opened.
type begun struct {
	isNew bool
	id    []byte // of the store
	last  int    // the newest transaction
	// counted is what was counted until then.
	counted counters.Counters
	// formerURL is where its alerts went before, if that was another one.
	formerURL string
}

// errPrepared ends a transaction that has nothing to write.
var errPrepared = errors.New("all is there")

// prepare makes what is missing in a database, and writes down whose it is. It
// writes nothing when all of that is there: the disk may be full.
func prepare(db *bolt.DB, o Options) (b begun, err error) {
	err = db.Update(func(tx *bolt.Tx) error {
		if info, err := os.Stat(db.Path()); err != nil {
			return err
		} else if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it is cut", boltfile.ErrDamaged)
		}
		if err := checkFormat(tx); err != nil {
			return err
		}
		meta := tx.Bucket(bucketMeta)
		b.id, b.last, b.counted = slices.Clone(meta.Get(keyStore)), tx.ID(), readCounters(tx)
		is := []struct{ key, value []byte }{
			{keyTask, []byte(o.Task)}, {keyNode, []byte(o.Node)}, {keyURL, []byte(o.URL)},
			{keyToken, o.Fingerprint(b.id)}, {keyOrphan, nil},
		}
		prepared := true
		for _, m := range is {
			prepared = prepared && bytes.Equal(meta.Get(m.key), m.value)
		}
		if prepared {
			b.last--
			return errPrepared
		}
		if former := string(meta.Get(keyURL)); former != o.URL {
			b.formerURL = former
			if err := markAgain(tx); err != nil {
				return err
			}
		}
		for _, m := range is {
			err := meta.Delete(m.key)
			if m.value != nil {
				err = meta.Put(m.key, m.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errPrepared) {
		err = nil
	}
	return b, err
}

// makeBuckets makes a new database.
func makeBuckets(tx *bolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	return errors.Join(meta.Put(keyStore, []byte(rand.Text())), boltfile.PutNumber(meta, keyVersion, formatVersion))
}

// checkFormat tells whether a database can be read: the error is that of one that
// this program must leave alone, or of damage.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return fmt.Errorf("%w: it is another program's", boltfile.ErrDamaged)
	}
	if v := boltfile.Number(meta.Get(keyVersion)); v > formatVersion {
		return fmt.Errorf("format %d is newer than %d: it %w", v, formatVersion, errNewerFormat)
	} else if v < 1 {
		return fmt.Errorf("%w: it has no version", boltfile.ErrDamaged)
	} else if v < formatVersion {
		return fmt.Errorf("%w: format %d was never released", boltfile.ErrDamaged, v)
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: it has no %s", boltfile.ErrDamaged, name)
		}
	}
	return nil
}
