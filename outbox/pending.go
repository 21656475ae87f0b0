package outbox

import (
	"cmp"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// pending is what has still to be written: the ends of flights, until the commit
// that follows, and all that the disk has refused. Disk.mu guards it.
type pending struct {
	changes map[uint64]Change // the newest of each alert, and what is in flight
	newest  map[string]uint64 // of changes, by alert
	levels  map[string]Level  // by key
	done    map[uint64]string // the app keys of changes that are to be removed
	dead    []DeadLetter
}

func newPending() *pending {
	return &pending{
		changes: make(map[uint64]Change), newest: make(map[string]uint64),
		levels: make(map[string]Level), done: make(map[uint64]string),
	}
}

func (p *pending) empty() bool {
	return len(p.changes) == 0 && len(p.levels) == 0 && len(p.done) == 0 && len(p.dead) == 0
}

// from returns the changes of an app key, or of all, from an id on.
func (p *pending) from(appKey string, id uint64) []Change {
	var all []Change
	for _, c := range p.changes {
		if c.ID >= id && (appKey == "" || appKey == c.AppKey) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Change) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// take takes a change out. A commit that seemed to fail may be on the disk all the
// same: so it is to be removed there, too.
func (p *pending) take(id uint64, appKey string) {
	if c, there := p.changes[id]; there {
		delete(p.changes, id)
		if p.newest[c.Alert] == id {
			delete(p.newest, c.Alert)
		}
	}
	p.done[id] = appKey
}

// removeDone removes what is done with.
func (p *pending) removeDone(tx *bolt.Tx) error {
	for id, appKey := range p.done {
		if err := dropChange(tx, appKey, id); err != nil {
			return err
		}
	}
	return nil
}

// write writes all of it.
func (p *pending) write(tx *bolt.Tx) error {
	if err := p.removeDone(tx); err != nil {
		return err
	}
	if err := putAll(tx, p.from("", 0), slices.Collect(maps.Values(p.levels))); err != nil {
		return err
	}
	for _, dead := range p.dead {
		if err := putDead(tx, dead); err != nil {
			return err
		}
	}
	return nil
}

// putAll writes changes, ascending by ID, and levels.
func putAll(tx *bolt.Tx, changes []Change, levels []Level) error {
	for _, c := range changes {
		if err := putChange(tx, c); err != nil {
			return err
		}
	}
	for _, l := range levels {
		if err := putLevel(tx, l); err != nil {
			return err
		}
	}
	return nil
}
