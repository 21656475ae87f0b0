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

	"bigpanda-udf/system"

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
	// A larger map must be made while nobody reads.
	if db, err = openBolt(path, bolt.Options{InitialMmapSize: 64 << 20}, openFile); err == nil {
		db.AllocSize = allocSize
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
	err := makeFile(path+compacting, func(db *bolt.DB) error {
		_, err := prepare(db, o)
		return err
	})
	if err == nil {
		err = syncFoldersAbove(path)
	}
	if err == nil {
		err = os.Rename(path+compacting, path)
	}
	return err
}

// makeFile makes a database file, in place of one that a crash has left, and has it
// filled. All of it is on disk when it returns.
func makeFile(path string, fill func(*bolt.DB) error) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := openBolt(path, bolt.Options{NoSync: true}, openFile)
	if err == nil {
		err = guard(func() error { return errors.Join(fill(db), db.Sync()) })
		if err != nil {
			abandon(db)
		} else {
			err = db.Close()
		}
	}
	if err != nil {
		os.Remove(path)
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
		system.Unlock(file)
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
	last  int    // the newest transaction
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
			return fmt.Errorf("%w: it is cut", errDamagedDatabase)
		}
		if first, _ := tx.Cursor().First(); first == nil {
			b.isNew = true
			if err := makeBuckets(tx); err != nil {
				return err
			}
		} else if err := checkFormat(tx); err != nil {
			return err
		}
		meta := tx.Bucket(bucketMeta)
		b.id, b.last = slices.Clone(meta.Get(keyStore)), tx.ID()
		is := []struct{ key, value []byte }{
			{keyVersion, encodeID(formatVersion)}, {keyTask, []byte(o.Task)}, {keyNode, []byte(o.Node)},
			{keyURL, []byte(o.URL)}, {keyToken, o.Fingerprint(b.id)}, {keyOrphan, nil}, {keyHeir, nil}, {keyBegins, nil},
		}
		prepared := !b.isNew
		for _, m := range is {
			prepared = prepared && bytes.Equal(meta.Get(m.key), m.value)
		}
		if prepared {
			b.last--
			return errPrepared
		}
		if err := upgrade(tx); err != nil {
			return err
		}
		if former := normalURL(string(meta.Get(keyURL))); !b.isNew && former != o.URL {
			b.formerURL = former
			if err := markAgain(tx); err != nil {
				return err
			}
		}
		for _, m := range is {
			put := func() error { return meta.Put(m.key, m.value) }
			if m.value == nil {
				put = func() error { return meta.Delete(m.key) }
			}
			if err := put(); err != nil {
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
	for _, name := range [][]byte{bucketMeta, bucketQueue, bucketLevels, bucketAgain, bucketDead} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	id := make([]byte, storeSize)
	rand.Read(id)
	return tx.Bucket(bucketMeta).Put(keyStore, id)
}

// upgrade makes a database of format 1 one of today's.
func upgrade(tx *bolt.Tx) error {
	if tx.Bucket(bucketMeta).Get(keyHeir) != nil {
		// Its levels were copied to another outbox, and are told from there.
		return dropLevels(tx)
	}
	_, err := tx.CreateBucketIfNotExists(bucketAgain)
	return err
}

// checkFormat tells whether a database can be read: the error is that of one that
// this program must leave alone, or of damage.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return fmt.Errorf("%w: it is another program's", errDamagedDatabase)
	}
	if v := number(meta.Get(keyVersion)); v > formatVersion {
		return fmt.Errorf("format %d is newer than %d: it %w", v, formatVersion, ErrNewerFormat)
	} else if v < 1 {
		return fmt.Errorf("%w: it has no version", errDamagedDatabase)
	}
	for _, name := range [][]byte{bucketQueue, bucketLevels, bucketDead} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: it has no %s", errDamagedDatabase, name)
		}
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
