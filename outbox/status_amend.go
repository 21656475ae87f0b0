package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// An Amendment is a change that comes from a person instead of from whoever owns
// the outbox, with the levels that it tells.
type Amendment struct {
	Change Change `json:"change"` // gets its ID when it is made
	// Series are those whose level becomes Value, with the change's time.
	Series []AmendedSeries `json:"series"`
	Value  []byte          `json:"value"`
	// Last is the newest Change.Time of the alert that was read, with whatever
	// series. When the owner knows of a newer one, the amendment is not made; 0:
	// that is not asked.
	Last int64 `json:"last,omitempty"`
}

// AmendedSeries is a series whose level is to be another one.
type AmendedSeries struct {
	Key []byte `json:"key"`
	// Was is the Level.Time that was read. When it is another one by now, the
	// amendment is about what is no longer so, and is not made.
	Was int64 `json:"was"`
}

// AmendOutcome is what became of amendments.
type AmendOutcome struct {
	Done int `json:"done"`
	// Changed names the alerts of which a level was no longer as it was:
	// nothing was done about them.
	Changed []string `json:"changed,omitempty"`
	// InMemory says that the disk refuses what was done: it is lost if the
	// process ends before that is mended.
	InMemory bool `json:"in_memory,omitempty"`
}

// An Owner keeps the levels in its memory, too.
type Owner interface {
	// Amend calls do once, at a moment at which all that the owner knows is in
	// the outbox, and takes over the levels that do returns before anything else
	// changes what it knows. last, which do may call, returns the newest
	// Change.Time of an alert, 0 for none.
	Amend(do func(last func(alert string) int64) []Level)
}

// Own says who keeps the levels in its memory, from before it calls Levels on.
// There is one owner at a time.
func (d *Disk) Own(o Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owner = o
}

// Disown ends Own, unless there is another owner by now.
func (d *Disk) Disown(o Owner) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owner == o {
		d.owner = nil
	}
}

// Amend appends the changes of amendments, with their levels, in one commit, and
// the owner of the outbox learns of them. Each is made or not made as a whole.
func (d *Disk) Amend(all []Amendment) (o AmendOutcome, err error) {
	for {
		d.mu.Lock()
		owner := d.owner
		d.mu.Unlock()
		again := false
		do := func(last func(string) int64) (levels []Level) {
			d.mu.Lock()
			defer d.mu.Unlock()
			// Another one has read the levels before they are amended.
			if again = d.owner != owner; !again {
				o, levels, err = d.amend(all, last)
			}
			return levels
		}
		if owner == nil {
			do(unknown)
		} else {
			owner.Amend(do)
		}
		if !again {
			return o, err
		}
	}
}

// unknown is the newest change of an alert where there is no owner: what was read
// is all that there is.
func unknown(string) int64 { return 0 }

func (d *Disk) amend(all []Amendment, last func(alert string) int64) (o AmendOutcome, levels []Level, err error) {
	if d.closed {
		return o, nil, ErrClosed
	}
	var changes []Change
	err = d.view(func(tx *bolt.Tx) error {
		o, changes, levels = amended(all, last, func(key string) (Level, bool) {
			if l, newer := d.kept.levels[key]; newer {
				return l, l.Value != nil
			}
			return readLevel(tx, key)
		})
		return nil
	})
	if err != nil {
		return AmendOutcome{}, nil, fmt.Errorf("read levels: %w", err)
	}
	if len(changes) > 0 {
		d.append(changes, levels)
		o.InMemory = d.retry != nil
		d.log.Warn("alerts were amended, as asked for", "changes", len(changes))
	}
	return o, levels, nil
}

// amended picks the amendments whose levels are as they were, and returns what
// they come to.
func amended(all []Amendment, last func(alert string) int64, now func(key string) (Level, bool)) (o AmendOutcome, changes []Change, levels []Level) {
	for _, a := range all {
		same, made := a.Last == 0 || last(a.Change.Alert) <= a.Last, true
		for _, s := range a.Series {
			l, there := now(string(s.Key))
			same = same && there && l.Time == s.Was
			made = made && there && l.Time == a.Change.Time && bytes.Equal(l.Value, a.Value)
		}
		switch {
		case made: // it was asked for before, and the answer was lost
			o.Done++
			continue
		case !same:
			o.Changed = append(o.Changed, a.Change.Alert)
			continue
		}
		o.Done++
		changes = append(changes, a.Change)
		for _, s := range a.Series {
			levels = append(levels, Level{Key: string(s.Key), Time: a.Change.Time, Value: a.Value})
		}
	}
	return o, changes, levels
}

// readLevel returns the level of a series, if there is one that can be read.
func readLevel(tx *bolt.Tx, key string) (Level, bool) {
	l, err := decodeLevel(tx.Bucket(bucketLevels).Get(levelKey(key)))
	return l, err == nil
}

// Amend does what Disk.Amend does. There is no owner: the next one reads the
// levels.
func (s *stopped) Amend(all []Amendment) (o AmendOutcome, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		var changes []Change
		var levels []Level
		o, changes, levels = amended(all, unknown, func(key string) (Level, bool) { return readLevel(tx, key) })
		queue := tx.Bucket(bucketQueue)
		last := queue.Sequence()
		for _, c := range changes {
			last = nextID(last, time.Now())
			c.ID = last
			if err := putChange(queue, c); err != nil {
				return err
			}
		}
		for _, l := range levels {
			if err := putLevel(tx, l); err != nil {
				return err
			}
		}
		return errors.Join(queue.SetSequence(last), addCounts(tx, int64(len(changes)), sizeOf(changes)))
	})
	if err != nil {
		return AmendOutcome{}, err
	}
	return o, nil
}

// levelsAfter returns a page of the levels, none where another outbox has them.
func (s *stopped) levelsAfter(after []byte) (page levelPage, err error) {
	err = s.view(func(tx *bolt.Tx) {
		if tx.Bucket(bucketMeta).Get(keyHeir) != nil {
			return
		}
		page = pageOfLevels(tx, after, func(string) bool { return false })
	})
	return page, err
}
