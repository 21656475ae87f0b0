package outbox

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Status is the state of one outbox, for people and for monitors.
type Status struct {
	Folder string `json:"folder"`
	Task   string `json:"task"`
	Node   string `json:"node"`
	URL    string `json:"url"`
	Format int    `json:"format_version"`
	// Process is the one that works on the outbox; 0 if there is none.
	Process int `json:"process"`

	Queued   int   `json:"queued"`    // waiting or in flight
	InFlight int   `json:"in_flight"` // on their way
	Bytes    int64 `json:"bytes"`     // of the payloads that are queued
	// Oldest is when the oldest queued change came; zero when none is queued.
	Oldest time.Time `json:"oldest,omitzero"`
	Dead   int       `json:"dead"` // letters that are kept
	// GivenUp counts intermediate changes dropped at the size limit, since the
	// process began.
	GivenUp int `json:"given_up"`
	// KeptInMemory counts changes that the disk refuses.
	KeptInMemory int  `json:"kept_in_memory"`
	DiskRefuses  bool `json:"disk_refuses"`
	// Damaged names the files beside the database that were moved aside.
	Damaged []string `json:"damaged,omitempty"`

	Delivery
}

// Delivery is how delivery goes. It belongs to whoever delivers, and is empty
// when no process does.
type Delivery struct {
	Held          []Held    `json:"held,omitempty"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
}

// Held is what keeps changes from being sent until somebody mends it.
type Held struct {
	AppKey string    `json:"app_key"` // "" for all
	Reason string    `json:"reason"`
	Since  time.Time `json:"since,omitzero"`
}

// Report sets where Status asks how delivery goes. The source is called with
// no lock of the outbox held, also at the same time by several.
func (d *Disk) Report(source func() Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report = source
}

// Status returns what is held now. What it can tell without the disk it tells
// also when that fails.
func (d *Disk) Status() (Status, error) {
	s := Status{Folder: d.folder, Format: formatVersion, Process: os.Getpid(), Damaged: damagedFiles(d.folder)}
	s.Task, s.Node, s.URL = d.options.Task, d.options.Node, d.options.URL
	dead, err := d.countDead()
	if err != nil {
		return Status{}, err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return Status{}, ErrClosed
	}
	s.Queued, s.InFlight, s.Bytes = d.queued, len(d.schedule.flying), d.bytes
	s.Dead = dead + len(d.kept.dead)
	s.GivenUp = d.stats.GivenUp
	s.KeptInMemory, s.DiskRefuses = len(d.kept.changes), d.retry != nil
	err = d.eachQueued(0, func(q queuedChange) bool {
		s.Oldest = cameAt(q.id)
		return false
	})
	report := d.report
	d.mu.Unlock()
	if err != nil && !s.DiskRefuses {
		return Status{}, err
	}
	if report != nil {
		s.Delivery = report()
	}
	return s, nil
}

// countDead counts the dead letters on disk, in pieces: points have their turn
// between two. A database that cannot be read has none.
func (d *Disk) countDead() (n int, err error) {
	for after, more := uint64(0), true; more; {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return 0, ErrClosed
		}
		readErr := d.view(func(tx *bolt.Tx) error {
			var ids []uint64
			ids, more = keysAfter(tx.Bucket(bucketDead), after, piece)
			n += len(ids)
			if more {
				after = ids[len(ids)-1]
			}
			return nil
		})
		d.mu.Unlock()
		if readErr != nil {
			return n, nil
		}
	}
	return n, nil
}

// keysAfter returns up to max ids of a bucket behind one, and whether there are
// more.
func keysAfter(b *bolt.Bucket, after uint64, max int) (ids []uint64, more bool) {
	if after == 1<<64-1 {
		return nil, false
	}
	c := b.Cursor()
	for k, _ := c.Seek(encodeID(after + 1)); k != nil; k, _ = c.Next() {
		if len(ids) == max {
			return ids, true
		}
		ids = append(ids, decodeID(k))
	}
	return ids, false
}

// cameAt is when Append got a change: its ID are the Unix nanoseconds of that.
func cameAt(id uint64) time.Time { return time.Unix(0, int64(id)).UTC() }

// damagedFiles returns the names of what was moved aside in a folder.
func damagedFiles(folder string) []string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if ok, _ := filepath.Match(databaseName+".damaged-*", e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}
