package outbox

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"bigpanda-udf/system"
)

// A worker sees to what other processes have left behind: it finds out what those of the
// use have told, before Levels returns, and takes over the queues of orphans, before Next
// begins and at each Times.Look.
//
// Its goroutine, which Open starts and Close waits for, owns what it has seen, and there
// is no lock for that. It has the lock of one other folder at a time, for a piece of what
// is there. With that held it asks its Disk, whose methods take Disk.mu, and in run the
// owner's turn before: so nobody may wait for a folder who has one of these.
type worker struct {
	disk    *Disk
	options Options
	seen    map[string]time.Time // orphans, and when each was last written

	met       chan struct{}    // closed when what follows is known: then Disk.mu guards it
	others    map[string]Level // of other processes of the use, until Levels was called
	alive     bool             // one of them works
	othersErr error
}

func newWorker(d *Disk) *worker {
	return &worker{disk: d, options: d.options, seen: make(map[string]time.Time), met: make(chan struct{})}
}

// run works until ctx is done.
func (w *worker) run(ctx context.Context) {
	w.meet(ctx)
	for {
		w.look(ctx)
		select {
		case <-time.After(w.options.Times.Look):
			w.disk.locked(func() error {
				w.disk.store.compact() // the last ack may have come too soon after a change
				return nil
			})
		case <-ctx.Done():
			return
		}
	}
}

// meet finds out what other processes of the use have told, and whether one of
// them works. The node's own outbox takes over what those that are gone have left;
// a numbered one only reads it, and so leaves it to the node's own. It is done
// before Levels returns: nobody knows the levels yet.
func (w *worker) meet(ctx context.Context) {
	defer close(w.met)
	ctx, cancel := context.WithTimeout(ctx, w.options.Times.Meet)
	defer cancel()
	w.others = make(map[string]Level)
	learn := func(l Level) {
		if other, there := w.others[l.Key]; !there || other.Time < l.Time {
			w.others[l.Key] = l
		}
	}
	takeOver := func(o *idle) (empty bool, err error) {
		theirs, last, err := o.levels(w.options)
		if err == nil && !w.isNumbered() {
			if err = w.merge(theirs, last, inserts); err == nil {
				return false, nil
			}
		}
		for _, l := range theirs {
			learn(l)
		}
		return false, err
	}
	ofUse, _ := w.folders()
	for _, folder := range ofUse {
		err := w.withOrphan(folder, takeOver)
		if errors.Is(err, errInUse) {
			askErr := NewControl(folder, nil).Levels(ctx, learn)
			err = w.withOrphan(folder, takeOver) // it may have been about to end
			if errors.Is(err, errInUse) {
				w.alive, err = true, nil
				if askErr != nil {
					w.options.Log.Warn("another process works for this node, and does not say what it has told: that is told again", "folder", folder, "error", askErr)
				}
			}
		}
		w.othersErr = errors.Join(w.othersErr, err)
	}
	if w.alive {
		folder, _ := w.disk.home()
		w.options.Log.Info("another process works for this node: what is open is told again", "folder", folder, "levels", len(w.others))
	}
}

// isNumbered tells whether this works beside the node's own outbox, which takes its
// levels over in the end.
func (w *worker) isNumbered() bool {
	folder, _ := w.disk.home()
	return numberOf(folder) > 1
}

// folders returns the other folders of the use, and those of others that are to be
// looked after.
func (w *worker) folders() (ofUse, ofOthers []string) {
	me, _ := w.disk.home()
	for _, folder := range foldersIn(filepath.Dir(me)) {
		switch {
		case folder == me:
		case baseOf(folder) == baseOf(me):
			ofUse = append(ofUse, folder)
		case !w.options.LeaveOrphans:
			ofOthers = append(ofOthers, folder)
		}
	}
	return ofUse, ofOthers
}

// look takes over what processes that are gone have left behind: at once what is
// of its own use, at the second look what is of others. Then Next may begin.
func (w *worker) look(ctx context.Context) {
	total := 0
	var failed error
	take := func(folder string) {
		n, err := w.adopt(ctx, folder)
		total += n
		failed = errors.Join(failed, err)
	}
	ofUse, ofOthers := w.folders()
	for _, folder := range ofUse {
		take(folder)
	}
	w.disk.do(func() { w.disk.looking = false })
	for _, folder := range ofOthers {
		if w.isDue(folder) {
			take(folder)
			w.seen[folder] = writtenAt(folder)
		}
	}
	if total > 0 {
		w.options.Log.Info("took over what processes that are gone had not delivered", "changes", total)
	}
	if failed != nil && !errors.Is(failed, ErrClosed) {
		w.options.Log.Error("what another process left behind cannot be taken over", "error", failed)
	}
}

// isDue reports whether nobody works on the outbox of another use in a folder, and
// it is as it was at the look before, when nobody did either. At the first its own
// process may be about to start, as all do when Kapacitor does: then two would
// deliver changes of one alert, and in no order.
func (w *worker) isDue(folder string) bool {
	lock, err := tryLock(folder)
	if err != nil {
		delete(w.seen, folder)
		return false
	}
	system.Release(lock)
	seen, known := w.seen[folder]
	w.seen[folder] = writtenAt(folder)
	return known && seen.Equal(w.seen[folder])
}
