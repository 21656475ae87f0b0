package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

const (
	// compactQuiet is how long no point must have come with a change before a
	// database is written anew: that takes up to a tenth of a second.
	compactQuiet = time.Second
	// compactAgain is how long the next try waits when one has failed.
	compactAgain = 10 * time.Minute

	// compacting ends the name of a database while it is written anew.
	compacting = ".compacting"
	// damaged and replaced follow the name of a database that was put aside.
	damaged  = ".damaged-"
	replaced = ".replaced-"
)

// A store is the database file of an outbox, in a folder whose lock it has. It opens
// the file, opens it anew after a failure, and writes it anew when somebody has taken
// it away. A transaction that has returned without an error is on disk, synced;
// of one with an error nothing is, unless that is of the disk: then what the file
// holds counts. Disk.mu guards it.
type store struct {
	folder  string
	lock    *os.File
	options Options
	db      *bolt.DB    // nil while it could not be opened again
	file    os.FileInfo // of the database that is open
	begun   begun       // its last is that of the newest commit

	appended     time.Time // when Append was last called
	compactAfter time.Time // the last try failed

	// What others are told: lost why the file is another one now, and nothing that was
	// read of it before is true; moved that the folder is another one; failed that the
	// disk did not do what it was asked.
	lost   func(why error, aside string)
	moved  func()
	failed func(error)
}

var errOverwritten = errors.New("another program has written to the file while it was open")

func (s *store) path() string { return filepath.Join(s.folder, databaseName) }

// open opens the database, or a new one where that is damaged, unless it is
// open.
func (s *store) open() error {
	if s.db != nil {
		return nil
	}
	db, b, err := openDatabase(s.path(), s.options)
	if boltfile.IsDamage(err) {
		s.putAside(err)
		db, b, err = openDatabase(s.path(), s.options)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(s.path())
	if err != nil {
		boltfile.Abandon(db)
		return err
	}
	b.isNew = b.isNew || s.begun.isNew
	s.db, s.file, s.begun = db, info, b
	return nil
}

// isThere reports whether the file that is open is the one that has the name.
func (s *store) isThere() bool { return system.IsFileAt(s.path(), s.file) }

// view runs a transaction that reads.
func (s *store) view(f func(*bolt.Tx) error) error {
	if err := s.open(); err != nil {
		return err
	}
	return s.checked(boltfile.Guard(func() error { return s.db.View(f) }))
}

// update runs a transaction that writes, where the outbox belongs.
func (s *store) update(f func(*bolt.Tx) error) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.comeBack(); err != nil {
		return fmt.Errorf("write the outbox anew where it was: %w", err)
	}
	id := 0
	err := boltfile.Guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			id = tx.ID()
			meta := tx.Bucket(bucketMeta)
			if id != s.begun.last+1 || meta == nil || !bytes.Equal(meta.Get(keyStore), s.begun.id) {
				return errOverwritten
			}
			return f(tx)
		})
	})
	if err == nil {
		s.begun.last = id
		return nil
	}
	if errors.Is(err, errOverwritten) {
		boltfile.Abandon(s.db)
		s.db = nil
		if err = s.open(); err == nil {
			// What it says of the levels is of another time.
			if err = boltfile.Guard(func() error { return s.db.Update(markAgain) }); err == nil {
				s.begun.last++
				s.lost(errOverwritten, "")
				return s.update(f)
			}
		}
	}
	return s.checked(err)
}

// checked sees to it that a database that failed is opened anew before it is
// used again: whether the last commit is on the disk is not known, and what
// the file holds is what counts. A full disk is no such failure.
func (s *store) checked(err error) error {
	if err == nil || boltfile.IsFull(err) {
		return err
	}
	if s.db != nil {
		boltfile.Abandon(s.db)
		s.db = nil
	}
	if boltfile.IsDamage(err) {
		s.putAside(err)
	}
	return err
}

// putAside puts a database aside that cannot be read.
func (s *store) putAside(why error) {
	aside, err := boltfile.MoveAside(s.path(), damaged, s.options.Now())
	s.lost(errors.Join(why, err), aside)
}

// compact writes the database anew if that is worth it, and nothing comes now.
func (s *store) compact() {
	now := s.options.Now()
	if s.db == nil || now.Before(s.compactAfter) || now.Sub(s.appended).Abs() < compactQuiet {
		return
	}
	// Of another file the next commit finds out what that means.
	if !s.isThere() || !boltfile.IsSparse(s.db) {
		return
	}
	if err := s.writeAnew(); err != nil {
		s.compactAfter = s.options.Now().Add(compactAgain)
		s.options.Log.Warn("the outbox cannot be made smaller", "error", err)
	} else if err := s.swap(); err != nil {
		s.failed(err)
	}
}

// writeAnew writes what is open to a file beside it.
func (s *store) writeAnew() error {
	return boltfile.Compact(s.path()+compacting, bolt.Options{OpenFile: openFile}, s.db)
}

// swap goes on with what writeAnew has written.
func (s *store) swap() error {
	err := s.db.Close()
	s.db = nil
	if err == nil {
		err = errors.Join(os.Rename(s.path()+compacting, s.path()), system.SyncFolder(s.folder))
	}
	return errors.Join(err, s.open())
}

func (s *store) close() (err error) {
	if s.db != nil {
		err = s.db.Close()
	}
	return errors.Join(err, system.Release(s.lock))
}
