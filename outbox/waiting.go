package outbox

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A Use is one use of the function in one task.
type Use struct{ Task, Node string }

// Waiting returns whose outboxes in dir hold queued changes that nobody
// delivers: no process works on them, nor on the one that would take them over.
// It looks only at those that o.URL and o.Fingerprint may deliver. While it
// looks it holds their locks, so an Open in this process should not come in
// between. The one with the oldest change is first. The error is of those that
// cannot be read.
func Waiting(dir string, o Options) ([]Use, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	var uses []Use
	oldest := make(map[Use]uint64)
	err := leftovers(dir, "", o, func(l leftover) (bool, error) {
		var use Use
		first, queued := uint64(0), false
		err := l.view(func(tx *bolt.Tx) error {
			meta := tx.Bucket(bucketMeta)
			use = Use{string(meta.Get(keyTask)), string(meta.Get(keyNode))}
			first, queued = oldestID(tx)
			return nil
		})
		if err != nil || !queued {
			return false, err
		}
		if own := filepath.Join(dir, folderName(use.Task, use.Node, o.URL)); own != l.folder {
			lock, err := tryLock(own)
			switch {
			case err == nil:
				lock.Close()
			case !errors.Is(err, fs.ErrNotExist):
				return false, nil // a process has it, and takes this one over
			}
		}
		if known, there := oldest[use]; !there {
			uses = append(uses, use)
			oldest[use] = first
		} else {
			oldest[use] = min(known, first)
		}
		return false, nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there is no folder yet
	}
	slices.SortFunc(uses, func(a, b Use) int { return cmp.Compare(oldest[a], oldest[b]) })
	return uses, err
}

// oldestID returns the id of the oldest queued change, damaged or not.
func oldestID(tx *bolt.Tx) (id uint64, any bool) {
	for oldest := range merged(tx, 0) {
		return oldest.id, true
	}
	return 0, false
}
