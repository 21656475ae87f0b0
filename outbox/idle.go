package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"bigpanda-udf/boltfile"
	"bigpanda-udf/counters"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// errInUse is the error of an outbox that a process works on that does not
// listen: it begins or ends, or moves what another left behind.
var errInUse = errors.New("a process works on it that does not answer")

// Folders returns the folders of the outboxes in dir, sorted. dir may also be
// that of one outbox.
func Folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, readable(dir, err)
	}
	if isOutbox(dir) {
		return []string{dir}, nil
	}
	var folders []string
	for _, e := range entries {
		if folder := filepath.Join(dir, e.Name()); e.IsDir() && isOutbox(folder) {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}

// foldersIn is Folders for who writes there, too, and says what an error means.
func foldersIn(dir string) []string {
	folders, _ := Folders(dir)
	return folders
}

// isOutbox tells whether a folder is an outbox's, also one that cannot be read.
func isOutbox(folder string) bool {
	_, err := os.Lstat(filepath.Join(folder, databaseName))
	return err == nil || errors.Is(err, fs.ErrPermission) || len(putAside(folder)) > 0
}

// putAside returns the names of the databases that were put aside in a folder, sorted.
func putAside(folder string) []string {
	entries, _ := os.ReadDir(folder)
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, databaseName+damaged) || strings.HasPrefix(name, databaseName+replaced) {
			names = append(names, name)
		}
	}
	return names
}

// readable adds the remedy to the error of a file that belongs to somebody else.
func readable(path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	owner := system.OwnerOf(path)
	return fmt.Errorf("it is %s's, and private: run this as %s or as root", owner, owner)
}

// A use is whose an outbox is, as its database says.
type use struct {
	task, node, url string
	store, token    []byte // its id, and the token's hash with that as the key
}

func useOf(tx *bolt.Tx) use {
	meta := tx.Bucket(bucketMeta)
	return use{
		task: string(meta.Get(keyTask)), node: string(meta.Get(keyNode)), url: string(meta.Get(keyURL)),
		store: bytes.Clone(meta.Get(keyStore)), token: bytes.Clone(meta.Get(keyToken)),
	}
}

func (u use) isOf(o Options) bool { return u.task == o.Task && u.node == o.Node }

func (u use) hasURL(o Options) bool { return u.url == o.URL }

func (u use) hasToken(o Options) bool { return bytes.Equal(u.token, o.Fingerprint(u.store)) }

// idle is an outbox whose process is gone, or a copy of one. It stays as it is but
// for what is asked of it: it is neither delivered nor compacted, and belongs to
// whom it belonged to. Its lock is held until close.
type idle struct {
	use
	lock    *os.File          // nil where there is none to take
	db      *bolt.DB          // nil where only files that were put aside are left
	failed  error             // of the last transaction
	counted counters.Counters // as of lookAfter
}

// openIdle opens an outbox that no process works on; errInUse is the error when one
// does. To read it, nothing is written, so that a copy on a medium that cannot be
// written does as well.
func openIdle(folder string, write bool) (*idle, error) {
	lock, err := lockIdle(folder, write)
	if err != nil {
		return nil, err
	}
	i := &idle{lock: lock}
	path := filepath.Join(folder, databaseName)
	_, err = os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(putAside(folder)) > 0:
		return i, nil
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("it has no database: %w", err)
	case err == nil:
		i.db, err = boltfile.Open(path, bolt.Options{ReadOnly: !write, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			return openFile(name, flag&^os.O_CREATE, mode)
		}})
	}
	if err == nil {
		err = i.view(func(tx *bolt.Tx) error {
			if err := checkFormat(tx); err != nil {
				return err
			}
			i.use = useOf(tx)
			return nil
		})
	}
	if errors.Is(err, boltErrors.ErrTimeout) {
		err = errInUse
	}
	if boltfile.IsDamage(err) {
		err = fmt.Errorf("it is damaged, and moved aside by the next process that opens it: %w", err)
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

func lockIdle(folder string, write bool) (lock *os.File, err error) {
	if write {
		lock, err = tryLock(folder)
	} else if lock, err = os.OpenFile(filepath.Join(folder, lockName), os.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0); err == nil {
		if err = system.Lock(lock, true); err != nil {
			system.Release(lock)
		}
	} else if errors.Is(err, os.ErrNotExist) {
		// A copy without it: then no process works there, and the database has
		// a lock of its own.
		return nil, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errInUse
	}
	return lock, err
}

func (i *idle) view(f func(*bolt.Tx) error) error {
	i.failed = boltfile.Guard(func() error { return i.db.View(f) })
	return i.failed
}

func (i *idle) update(f func(*bolt.Tx) error) error {
	i.failed = boltfile.Guard(func() error { return i.db.Update(f) })
	return i.failed
}

func (i *idle) close() {
	if i.db != nil {
		boltfile.Abandon(i.db) // nothing is lost: each commit is synced
	}
	if i.lock != nil {
		system.Release(i.lock)
	}
}
