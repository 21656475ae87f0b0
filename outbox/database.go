package outbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// ErrNewerFormat is the error of a database that a newer program made.
var ErrNewerFormat = errors.New("was made by a newer bigpanda-udf: run that one")

var errDamagedDatabase = errors.New("not a database of this program")

// allocSize is by how much a database grows, in bytes: with bbolt's own 16 MiB
// a small disk is full long before it is.
const allocSize = 1 << 20

// openFile is a variable for tests, which make it fail.
var openFile = os.OpenFile

// openDatabase opens or begins a database. What can be told of a file that is
// damaged, empty or no database at all is errDamagedDatabase.
func openDatabase(path string, o Options) (db *bolt.DB, b begun, err error) {
	info, statErr := os.Stat(path)
	if statErr == nil && info.Size() == 0 {
		// bbolt would take it for a new one, but one was here.
		return nil, b, fmt.Errorf("open outbox %s: %w: it is empty", path, errDamagedDatabase)
	}
	none := errors.Is(statErr, os.ErrNotExist)
	if none {
		if err := beginDatabase(path, o); err != nil {
			return nil, b, fmt.Errorf("begin outbox %s: %w", path, err)
		}
	}
	if db, err = openExisting(path); err == nil {
		err = guard(func() (err error) {
			b, err = prepare(db, o)
			return err
		})
	}
	if err == nil {
		// Whoever gave the file its name may have been killed before the name
		// was durable.
		err = syncFolder(filepath.Dir(path))
	}
	if err == nil {
		b.isNew = b.isNew || none
		return db, b, nil
	}
	if db != nil {
		abandon(db)
	}
	return nil, begun{}, fmt.Errorf("open outbox %s: %w", path, err)
}

// beginDatabase makes a database. The file has its name only when all of it is
// on disk: a half of one would be taken for damage after a loss of power.
func beginDatabase(path string, o Options) error {
	next := path + compacting
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := openExisting(next)
	if err == nil {
		err = guard(func() error {
			_, err := prepare(db, o)
			return err
		})
		if err != nil {
			abandon(db)
		} else {
			err = db.Close()
		}
	}
	if err == nil {
		err = syncFoldersAbove(path)
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
	}
	return err
}

// syncFoldersAbove makes the folder that a database is to be in durable, and
// those above: a loss of power would take the database away with any of them.
func syncFoldersAbove(path string) error {
	dir := filepath.Dir(filepath.Dir(path))
	if err := syncFolder(dir); err != nil {
		return err
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		// One that may not be read was not made by this program.
		syncFolder(dir)
	}
	return nil
}

// openExisting opens a database file to work with it.
func openExisting(path string) (*bolt.DB, error) {
	// A larger map must be made while nobody reads.
	db, err := openBolt(path, bolt.Options{InitialMmapSize: 64 << 20}, openFile)
	if err == nil {
		db.AllocSize = allocSize
	}
	return db, err
}

// openBolt opens a database file, with open. What bbolt cannot make sense of is
// errDamagedDatabase.
func openBolt(path string, o bolt.Options, open func(string, int, os.FileMode) (*os.File, error)) (db *bolt.DB, err error) {
	var file *os.File
	o.Timeout = 100 * time.Millisecond // the default waits for ever
	o.FreelistType = bolt.FreelistMapType
	o.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = open(name, flag, mode)
		return file, err
	}
	err = guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &o)
		return err
	})
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, errDamagedDatabase) && file != nil:
		// It panicked, and has let go of nothing.
		syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		file.Close()
	case !errors.Is(err, boltErrors.ErrTimeout) && !errors.As(err, &errno):
		err = fmt.Errorf("%w: %w", errDamagedDatabase, err)
	}
	return nil, err
}

// abandon closes a database that failed. One that is damaged may have panicked
// with its locks held: nobody waits for that.
func abandon(db *bolt.DB) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		guard(db.Close)
	}()
	select {
	case <-closed:
	case <-time.After(100 * time.Millisecond):
	}
}

// begun is what was found when a database was opened.
type begun struct {
	isNew bool
	id    []byte // of the store
	// formerURL is where its alerts went before, if that was another one.
	formerURL string
}

// prepare makes what is missing in a database, and writes down whose it is. It
// writes nothing when all of that is there: the disk may be full.
func prepare(db *bolt.DB, o Options) (b begun, err error) {
	ready := false
	err = db.View(func(tx *bolt.Tx) error {
		if info, err := os.Stat(db.Path()); err != nil {
			return err
		} else if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it is cut", errDamagedDatabase)
		}
		if ready, err = isPrepared(tx, o); ready {
			b.id = slices.Clone(tx.Bucket(bucketMeta).Get(keyStore))
		}
		return err
	})
	if err != nil || ready {
		return b, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b = begun{isNew: tx.Bucket(bucketMeta) == nil}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if b.isNew {
			id := make([]byte, storeSize)
			rand.Read(id)
			if err := meta.Put(keyStore, id); err != nil {
				return err
			}
		}
		b.id = slices.Clone(meta.Get(keyStore))
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if err := upgrade(tx); err != nil {
			return err
		}
		if former := normalURL(string(meta.Get(keyURL))); !b.isNew && former != o.URL {
			b.formerURL = former
			if err := tellAgain(tx); err != nil {
				return err
			}
		}
		return errors.Join(
			putNumber(meta, keyVersion, formatVersion), meta.Delete(keyOrphan),
			meta.Put(keyTask, []byte(o.Task)), meta.Put(keyNode, []byte(o.Node)), meta.Put(keyURL, []byte(o.URL)),
			meta.Put(keyToken, o.Fingerprint(meta.Get(keyStore))),
		)
	})
	return b, err
}

// upgrade takes out of a database what only format 1 has.
func upgrade(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta.Get(keyHeir) != nil {
		// Its levels were copied to another outbox, and are told from there.
		if err := dropLevels(tx); err != nil {
			return err
		}
	}
	return errors.Join(meta.Delete(keyHeir), meta.Delete(keyBegins))
}

// isPrepared reports whether a database has all that it should. The error is
// that of one that this program must leave alone.
func isPrepared(tx *bolt.Tx, o Options) (bool, error) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return false, fmt.Errorf("%w: it is another program's", errDamagedDatabase)
		}
		return false, nil
	}
	if err := checkVersion(meta); err != nil {
		return false, err
	}
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return false, nil
		}
	}
	return number(meta.Get(keyVersion)) == formatVersion && meta.Get(keyOrphan) == nil &&
		string(meta.Get(keyTask)) == o.Task && string(meta.Get(keyNode)) == o.Node && string(meta.Get(keyURL)) == o.URL &&
		bytes.Equal(meta.Get(keyToken), o.Fingerprint(meta.Get(keyStore))), nil
}

func checkVersion(meta *bolt.Bucket) error {
	if v := number(meta.Get(keyVersion)); v > formatVersion {
		return fmt.Errorf("format %d is newer than %d: it %w", v, formatVersion, ErrNewerFormat)
	} else if v < 1 {
		return fmt.Errorf("%w: it has no version", errDamagedDatabase)
	}
	return nil
}

// guard runs what reads a database file. A damaged one makes bbolt panic, and
// a truncated one faults where it is mapped: both become errDamagedDatabase.
// Any other panic becomes an error that is not damage: no file is put aside
// for a fault of this program.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch v := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // a fault
			err = fmt.Errorf("%w: %v", errDamagedDatabase, v)
		default:
			err = fmt.Errorf("panic: %v, at %s", v, panicked())
			if strings.HasPrefix(panicked(), "go.etcd.io/bbolt") || v == errDamagedRecord {
				err = fmt.Errorf("%w: %w", errDamagedDatabase, err)
			}
		}
	}()
	return f()
}

// panicked is the function that has panicked, for one that recovers.
func panicked() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for inPanic := false; ; {
		frame, more := frames.Next()
		if inRuntime := strings.HasPrefix(frame.Function, "runtime."); inPanic && !inRuntime || !more {
			return frame.Function
		}
		inPanic = inPanic || frame.Function == "runtime.gopanic"
	}
}

func isDamage(err error) bool {
	for _, damage := range []error{boltErrors.ErrInvalid, boltErrors.ErrChecksum, boltErrors.ErrVersionMismatch, errDamagedDatabase} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

// isFull says that the disk has no room: what failed may be tried again on the
// same database. bbolt passes some errors on as text only.
func isFull(err error) bool {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if err != nil && strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}
