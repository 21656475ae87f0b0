package outbox

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// errInUse is the error of an outbox that a process works on that does not
// listen: it begins or ends, or takes over what another left behind.
var errInUse = errors.New("a process works on it that does not answer")

// stopped is an outbox whose process is gone, or a copy of one. It stays as it
// is but for what is asked of it: it is neither delivered nor compacted, and
// belongs to whom it belonged to.
type stopped struct {
	folder string
	lock   *os.File // nil where there is none to take
	db     *bolt.DB // nil where only damaged files are left
}

// openStopped opens an outbox that no process works on. To read it, nothing is
// written, so that a copy on a medium that cannot be written does as well.
func openStopped(folder string, write bool) (*stopped, error) {
	s := &stopped{folder: folder}
	if err := s.takeLock(write); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, databaseName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(damagedFiles(folder)) > 0:
		return s, nil
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("it has no database: %w", err)
	case err == nil && info.Size() == 0:
		err = fmt.Errorf("%w: it is empty", errDamagedDatabase)
	case err == nil:
		s.db, err = openAsItIs(path, write)
	}
	if err == nil {
		err = guard(func() error { return s.db.View(checkFormat) })
	}
	if isDamage(err) {
		err = fmt.Errorf("it is damaged, and moved aside by the next process that opens it: %w", err)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// openAsItIs opens a database that is there, and changes nothing in it.
func openAsItIs(path string, write bool) (*bolt.DB, error) {
	db, err := openBolt(path, bolt.Options{ReadOnly: !write}, func(name string, flag int, mode os.FileMode) (*os.File, error) {
		return os.OpenFile(name, flag&^os.O_CREATE, mode)
	})
	if errors.Is(err, boltErrors.ErrTimeout) {
		err = errInUse
	}
	return db, err
}

func (s *stopped) takeLock(write bool) (err error) {
	path, flag, how := filepath.Join(s.folder, lockName), os.O_RDONLY, syscall.LOCK_SH
	if write {
		flag, how = os.O_RDWR, syscall.LOCK_EX
	}
	// A pipe would be waited for.
	s.lock, err = os.OpenFile(path, flag|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		// A copy without it: then no process works there, and the database has
		// a lock of its own.
		s.lock = nil
		return nil
	case err != nil:
		return err
	}
	if err := syscall.Flock(int(s.lock.Fd()), how|syscall.LOCK_NB); err != nil {
		s.close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errInUse
		}
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return nil
}

func (s *stopped) close() {
	if s.db != nil {
		guard(s.db.Close) // nothing is lost: each commit is synced
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

// checkFormat tells whether a database can be read.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return fmt.Errorf("%w: it is another program's", errDamagedDatabase)
	}
	if err := checkVersion(meta); err != nil {
		return err
	}
	for _, name := range [][]byte{bucketQueue, bucketLevels, bucketDead} {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("%w: it has no %s", errDamagedDatabase, name)
		}
	}
	return nil
}

func (s *stopped) view(f func(*bolt.Tx)) error {
	if s.db == nil {
		return nil
	}
	return guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			f(tx)
			return nil
		})
	})
}

func (s *stopped) Status() (status Status, err error) {
	status = Status{Folder: s.folder, Damaged: damagedFiles(s.folder)}
	err = s.view(func(tx *bolt.Tx) {
		meta := tx.Bucket(bucketMeta)
		status.Task, status.Node, status.URL = string(meta.Get(keyTask)), string(meta.Get(keyNode)), string(meta.Get(keyURL))
		status.Format = int(number(meta.Get(keyVersion)))
		status.Queued, status.Bytes = int(number(meta.Get(keyQueued))), number(meta.Get(keyBytes))
		for after, more := uint64(0), true; more; {
			var ids []uint64
			if ids, more = keysAfter(tx.Bucket(bucketDead), after, piece); more {
				after = ids[len(ids)-1]
			}
			status.Dead += len(ids)
		}
		eachOnDisk(tx, 0, func(q queuedChange) bool {
			status.Oldest = cameAt(q.id)
			return false
		})
	})
	return status, err
}

func (s *stopped) List(after uint64, limit int, payload bool) (Page, error) {
	var l lister
	err := s.view(func(tx *bolt.Tx) {
		eachOnDisk(tx, after, func(q queuedChange) bool { return l.add(q, limit, payload, false) })
	})
	return l.page, err
}

func (s *stopped) DeadLetters(after uint64, limit int, payload bool) (page Page, err error) {
	err = s.view(func(tx *bolt.Tx) { page = deadPage(tx, after, limit, payload) })
	return page, err
}

func (s *stopped) Retry(sel Selection) (o Outcome, err error) {
	o.Missing = sel.IDs // unless there is a database
	err = s.update(func(tx *bolt.Tx) error {
		queue := tx.Bucket(bucketQueue)
		last := queue.Sequence()
		var back []Change
		o, back, err = revive(tx, sel, func() uint64 {
			last = nextID(last, time.Now())
			return last
		})
		return errors.Join(err, queue.SetSequence(last), addCounts(tx, int64(len(back)), sizeOf(back)))
	})
	return o, err
}

func (s *stopped) Drop(kind string, sel Selection) (o Outcome, err error) {
	o.Missing = sel.IDs // unless there is a database
	err = s.update(func(tx *bolt.Tx) (err error) {
		switch kind {
		case KindDead:
			o, err = dropDead(tx, sel)
		case KindQueued:
			o, err = dropQueued(tx, sel)
		default:
			err = fmt.Errorf("drop: there is no kind %q", kind)
		}
		return err
	})
	return o, err
}

func dropQueued(tx *bolt.Tx, sel Selection) (o Outcome, err error) {
	queue := tx.Bucket(bucketQueue)
	var now []uint64
	now, o.Rest = sel.split(queue.Sequence(), func(after uint64, max int) (ids []uint64) {
		eachOnDisk(tx, after, func(q queuedChange) bool {
			ids = append(ids, q.id)
			return len(ids) < max
		})
		return ids
	})
	var bytes int64
	for _, id := range now {
		at, ok := findOnDisk(tx, id)
		if !ok {
			o.Missing = append(o.Missing, id)
			continue
		}
		bytes += int64(at.size)
		if err := queue.Bucket([]byte(at.lane)).Delete(encodeID(id)); err != nil {
			return o, err
		}
		o.Done++
	}
	return o, addCounts(tx, -int64(o.Done), -bytes)
}

func addCounts(tx *bolt.Tx, changes, bytes int64) error {
	meta := tx.Bucket(bucketMeta)
	return errors.Join(
		putNumber(meta, keyQueued, max(0, number(meta.Get(keyQueued))+changes)),
		putNumber(meta, keyBytes, max(0, number(meta.Get(keyBytes))+bytes)),
	)
}

func (s *stopped) update(f func(*bolt.Tx) error) error {
	if s.db == nil {
		return nil
	}
	return guard(func() error { return s.db.Update(f) })
}

// answer is http.ResponseWriter in memory: answers are small.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}
