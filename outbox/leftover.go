package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// A leftover is the database of an outbox whose process is gone, and which
// this one may deliver.
type leftover struct {
	*bolt.DB
	folder             string
	store              []byte
	sameNode, sameTask bool
	heir               []byte // the store that has its levels now; nil: it has them itself
}

// errLeftover is part of each error of a leftover's own file.
var errLeftover = errors.New("leftover")

func (l leftover) view(f func(*bolt.Tx) error) error {
	return ofLeftover(guard(func() error { return l.View(f) }))
}

func (l leftover) levels() (all []Level, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		all = allLevels(tx)
		return nil
	})
	return all, err
}

func (l leftover) update(f func(*bolt.Tx) error) error {
	return ofLeftover(guard(func() error { return l.Update(f) }))
}

func ofLeftover(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLeftover, err)
}

// leftovers opens, one after the other, the outboxes in dir that no process works
// on, with the URL in o and either its token, or its task and node. It leaves out
// the folder that is the caller's own. Where f returns true, nothing of worth is
// left in one, and it is removed.
func leftovers(dir, own string, o Options, f func(leftover) (empty bool, err error)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		if !e.IsDir() || folder == own {
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, databaseName)); err != nil {
			continue
		}
		lock, err := tryLock(folder)
		if err != nil {
			continue // its process lives
		}
		if fault, mend := faultOf(folder); fault != "" {
			failed = errors.Join(failed, fmt.Errorf("%s: run %s, or remove it", fault, mend))
			lock.Close()
			continue
		}
		empty := false
		var l leftover
		err = ofLeftover(guard(func() (err error) {
			l, err = openLeftover(folder, o)
			return err
		}))
		if err == nil && l.DB != nil {
			empty, err = f(l)
			abandon(l.DB)
		}
		switch {
		case errors.Is(err, errLeftover) && isDamage(err):
			path := filepath.Join(folder, databaseName)
			aside, asideErr := moveFileAside(path, o.Now())
			o.Log.Error("an outbox that another process left behind cannot be read: it is moved aside, and what it held is not delivered",
				"file", aside, "error", errors.Join(err, asideErr))
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", folder, err))
		case empty:
			failed = errors.Join(failed, removeFolder(folder))
		}
		lock.Close()
	}
	return failed
}

// removeFolder removes the folder of an outbox that is empty. One that holds
// what is not an outbox's own, or was moved aside, stays with that.
func removeFolder(folder string) error {
	if err := os.Remove(filepath.Join(folder, databaseName)); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(ownFiles, e.Name()) && e.Type() != os.ModeSocket {
			return nil
		}
	}
	// The lock is last: from then on another process may begin here, and then
	// the folder stays.
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.Remove(filepath.Join(folder, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(folder, lockName)); err != nil {
		return err
	}
	if err := os.Remove(folder); !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// openLeftover opens the database in a locked folder. The DB is nil if it is
// not to be delivered with those options.
func openLeftover(folder string, o Options) (leftover, error) {
	l := leftover{folder: folder}
	path := filepath.Join(folder, databaseName)
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		return l, fmt.Errorf("%w: it is empty", errDamagedDatabase)
	}
	db, err := openExisting(path)
	if err != nil {
		return l, err
	}
	mine := false
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil || number(meta.Get(keyVersion)) > formatVersion {
			return nil
		}
		l.store = slices.Clone(meta.Get(keyStore))
		l.heir = slices.Clone(meta.Get(keyHeir))
		l.sameTask = string(meta.Get(keyTask)) == o.Task
		l.sameNode = l.sameTask && string(meta.Get(keyNode)) == o.Node
		url := string(meta.Get(keyURL))
		// Earlier releases kept the query, too, and named the folder by it.
		mine = (url == o.URL || WithoutQuery(url) == o.URL) &&
			(l.sameNode || bytes.Equal(meta.Get(keyToken), o.Fingerprint(meta.Get(keyStore))))
		return nil
	})
	if err != nil || !mine {
		return l, errors.Join(err, db.Close())
	}
	l.DB = db
	return l, nil
}
