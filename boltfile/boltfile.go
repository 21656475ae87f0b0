// Package boltfile opens and makes bbolt files, and tells what a failure of one means:
// that it is damaged, that the disk is full, or something else. Beside that it has the
// records and numbers that are kept in one. It knows nothing of what they mean.
package boltfile

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is the error of a file that cannot be read: as a database of this
// program, it is none.
var ErrDamaged = errors.New("not a database of this program")

// Open opens a database file, with o.OpenFile if there is one. What bbolt cannot make sense of is
// ErrDamaged, as is an empty file; ErrTimeout of bbolt is the error when another process has it.
func Open(path string, o bolt.Options) (db *bolt.DB, err error) {
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		// bbolt would take it for a new one, but one was here.
		return nil, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	var file *os.File
	open := o.OpenFile
	if open == nil {
		open = os.OpenFile
	}
	o.Timeout = 100 * time.Millisecond // the default waits for ever
	o.FreelistType = bolt.FreelistMapType
	o.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = open(name, flag, mode)
		return file, err
	}
	err = Guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &o)
		return err
	})
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, ErrDamaged) && file != nil:
		// It panicked, and has let go of nothing.
		system.Unlock(file)
		file.Close()
	case !errors.Is(err, boltErrors.ErrTimeout) && !errors.As(err, &errno):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, err
}

// Abandon closes a database that failed. One that is damaged may have panicked
// with its locks held: nobody waits for that.
func Abandon(db *bolt.DB) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		Guard(db.Close)
	}()
	select {
	case <-closed:
	case <-time.After(100 * time.Millisecond):
	}
}

// Make makes a database file, in place of one that a crash has left, and has it
// filled. All of it is on disk when it returns.
func Make(path string, o bolt.Options, fill func(*bolt.DB) error) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	o.NoSync = true
	db, err := Open(path, o)
	if err == nil {
		err = Guard(func() error { return errors.Join(fill(db), db.Sync()) })
		if err != nil {
			Abandon(db)
		} else {
			err = db.Close()
		}
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// Begin makes a database file under another name, and gives it its own when all of it
// is on disk: a half of one would be taken for damage after a loss of power.
func Begin(path, unfinished string, o bolt.Options, fill func(*bolt.DB) error) error {
	err := Make(unfinished, o, fill)
	if err == nil {
		err = system.SyncFoldersAbove(path)
	}
	if err == nil {
		err = os.Rename(unfinished, path)
	}
	return err
}

// A database never shrinks by itself, and writes the list of its free pages at
// each commit. One of more than compactFrom bytes, of which three quarters are
// free and no more than compactTo are in use, is worth being written anew.
const (
	compactFrom = 1 << 20
	compactTo   = 16 << 20
)

// IsSparse says that a database is worth being written anew.
func IsSparse(db *bolt.DB) bool {
	info, err := os.Stat(db.Path())
	if err != nil {
		return false
	}
	size, stats := info.Size(), db.Stats()
	free := int64(stats.FreePageN+stats.PendingPageN) * int64(db.Info().PageSize)
	return size > compactFrom && free >= size/4*3 && size-free <= compactTo
}

// Compact writes what is in a database to a new file, as Make does.
func Compact(path string, o bolt.Options, db *bolt.DB) error {
	return Make(path, o, func(next *bolt.DB) error { return bolt.Compact(next, db, 1<<20) })
}

// MoveAside renames a database, never to a name that is taken.
func MoveAside(path, why string, now time.Time) (aside string, err error) {
	for ; ; now = now.Add(1) {
		aside = path + why + now.UTC().Format("20060102T150405.000000000Z")
		if _, err := os.Lstat(aside); err != nil {
			if err := os.Rename(path, aside); err != nil {
				return aside, fmt.Errorf("put it aside: %w", err)
			}
			return aside, nil
		}
	}
}

// Guard runs what reads a database file. A damaged one makes bbolt panic, and
// a truncated one faults where it is mapped: both become ErrDamaged, as does a panic
// with that. Any other panic becomes an error that is not damage: no file is put aside
// for a fault of this program.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch v := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // a fault
			err = fmt.Errorf("%w: %v", ErrDamaged, v)
		default:
			err = fmt.Errorf("panic: %v, at %s", v, panicked())
			if strings.HasPrefix(panicked(), "go.etcd.io/bbolt") || v == ErrDamaged {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
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

// IsDamage says that a file cannot be read as it is.
func IsDamage(err error) bool {
	for _, damage := range []error{boltErrors.ErrInvalid, boltErrors.ErrChecksum, boltErrors.ErrVersionMismatch, ErrDamaged} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

// IsFull says that the disk has no room: what failed may be tried again on the
// same database. bbolt passes some errors on as text only.
func IsFull(err error) bool {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if err != nil && strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}
