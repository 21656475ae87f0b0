package outbox

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"bigpanda-udf/counters"
	"bigpanda-udf/system"

	bolt "go.etcd.io/bbolt"
)

// Metrics are what a monitor asks for: the Status, and what was counted.
type Metrics struct {
	Status
	// Counters are of the use since its outbox began, also those of a process that is
	// gone, up to its last commit.
	Counters counters.Counters `json:"counters"`
	FileSize int64             `json:"file_size"` // of the database, in bytes
	Free     int64             `json:"free"`      // bytes that may still be written beside it; 0 if that cannot be told

	// Of the process, if there is one:
	Opened  time.Time `json:"opened,omitzero"` // when it began to work on the outbox
	Version string    `json:"version,omitempty"`
}

// Metrics returns them, as Status does.
func (c *Control) Metrics(ctx context.Context) (Metrics, error) {
	m, err := readMetrics.ask(ctx, c, struct{}{})
	m.Folder = c.folder
	return m, err
}

var readMetrics = define("metrics", "read the outbox", reports, func(t *target, _ struct{}) (Metrics, error) {
	m := Metrics{Status: t.status()}
	if free, err := system.Free(t.folder); err == nil {
		m.Free = int64(free)
	}
	if info, err := os.Stat(filepath.Join(t.folder, databaseName)); err == nil {
		m.FileSize = info.Size()
	}
	if d := t.live; d != nil {
		m.Counters, m.Opened, m.Version = d.counters(), d.opened, d.options.Version
	} else if t.tx != nil {
		m.Counters = readCounters(t.tx)
	}
	return m, nil
})

// Count adds a source of counters, which adds what it has counted to what it is given.
// It is called with the outbox locked, so it must not wait for who may be in a call of
// the outbox.
func (d *Disk) Count(source func(*counters.Counters)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counting = append(d.counting, source)
}

// counters are all that was counted. d.mu is locked.
func (d *Disk) counters() counters.Counters {
	all := d.counted
	for _, add := range d.counting {
		add(&all)
	}
	return all
}

// putCounters keeps what was counted for later processes.
func putCounters(meta *bolt.Bucket, all counters.Counters) error {
	all.Active = [len(counters.Levels)]int{}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return meta.Put(keyCounters, b)
}

// readCounters returns what was kept; none where that cannot be read.
func readCounters(tx *bolt.Tx) (all counters.Counters) {
	if json.Unmarshal(tx.Bucket(bucketMeta).Get(keyCounters), &all) != nil {
		return counters.Counters{}
	}
	return all
}
