package outbox

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A database never shrinks by itself, and writes the list of its free pages at
// each commit. One of more than compactFrom bytes, of which three quarters are
// free and no more than compactTo are in use, is written anew, when no point has
// come with a change for compactQuiet: that takes up to a tenth of a second.
const (
	compactFrom  = 1 << 20
	compactTo    = 16 << 20
	compactQuiet = time.Second

	// compacting ends the name of a database while it is written anew. One that
	// a crash has left is overwritten.
	compacting = ".compacting"

	// compactAgain is how long the next try waits when one has failed.
	compactAgain = 10 * time.Minute
)

// compact writes the database anew if that is worth it.
func (d *Disk) compact() {
	now := d.options.Now()
	if d.db == nil || now.Before(d.compactAfter) || now.Sub(d.appended).Abs() < compactQuiet {
		return
	}
	var size int64 // what was ever in use: the file itself grows in steps
	err := d.view(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	if err != nil {
		return
	}
	stats := d.db.Stats()
	free := int64(stats.FreePageN+stats.PendingPageN) * int64(d.db.Info().PageSize)
	if size <= compactFrom || free < size/4*3 || size-free > compactTo {
		return
	}
	next := d.path() + compacting
	if err := guard(func() error { return d.copyTo(next) }); err != nil {
		os.Remove(next)
		d.compactAfter = d.options.Now().Add(compactAgain)
		d.log.Warn("the outbox cannot be made smaller", "error", err)
		return
	}
	err = d.db.Close()
	d.db = nil
	if err == nil {
		err = errors.Join(os.Rename(next, d.path()), syncFolder(d.folder))
	}
	if err := errors.Join(err, d.open()); err != nil {
		d.refused(err)
	}
}

func (d *Disk) copyTo(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	next, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	if err := bolt.Compact(next, d.db, 1<<20); err != nil {
		return errors.Join(err, next.Close())
	}
	return errors.Join(next.Sync(), next.Close())
}

// syncFolder makes a rename in a folder durable.
func syncFolder(folder string) error {
	f, err := os.Open(filepath.Clean(folder))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
